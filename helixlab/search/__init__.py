"""From a map to its helical symmetry."""

from helixlab.search.alignment import align_axis
from helixlab.search.audit import AuditReport, Finding, audit_symmetry
from helixlab.search.axis import AxisReport
from helixlab.search.dyad import DyadFit, find_dyad
from helixlab.search.filament import Filament, prepare_filament
from helixlab.search.landscape import Landscape, compute_landscape, score_pitch_plane, search_axes
from helixlab.search.pipeline import search_symmetry
from helixlab.search.result import Candidate, SearchResult
from helixlab.search.settings import SearchSettings
from helixlab.search.unroll import UnrolledMap, unroll

__all__ = [
    "AuditReport",
    "AxisReport",
    "Candidate",
    "DyadFit",
    "Filament",
    "Finding",
    "Landscape",
    "SearchResult",
    "SearchSettings",
    "UnrolledMap",
    "align_axis",
    "audit_symmetry",
    "compute_landscape",
    "find_dyad",
    "prepare_filament",
    "score_pitch_plane",
    "search_axes",
    "search_symmetry",
    "unroll",
]
