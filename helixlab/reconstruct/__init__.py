"""From filament segments to half maps and a symmetry: settings, the refinement and its folder, symmetries compared."""

from helixlab.reconstruct.check import check_set_up
from helixlab.reconstruct.compare import compare_hypotheses
from helixlab.reconstruct.control import Control, StopRequested
from helixlab.reconstruct.events import (
    Curve,
    Event,
    Histogram,
    IterationEvent,
    Mask,
    Message,
    Polarity,
    RunEnded,
    RunStarted,
    SettingsEdited,
    event_from_line,
    event_to_line,
)
from helixlab.reconstruct.findings import Finding
from helixlab.reconstruct.half_sets import split_half_sets
from helixlab.reconstruct.iterate import refine
from helixlab.reconstruct.results import write_fsc_xml, write_results
from helixlab.reconstruct.run_directory import (
    RunDirectory,
    SavedIteration,
    installed_versions,
    latest_settings,
    read_events,
)
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.spacing import inter_box_distance_A, max_symmetry_order
from helixlab.reconstruct.verdicts import ComparedHypothesis, HypothesisComparison

__all__ = [
    "ComparedHypothesis",
    "Control",
    "Curve",
    "Event",
    "Finding",
    "Histogram",
    "HypothesisComparison",
    "IterationEvent",
    "Mask",
    "Message",
    "Polarity",
    "RefinementSettings",
    "RunDirectory",
    "RunEnded",
    "RunStarted",
    "SavedIteration",
    "SettingsEdited",
    "StopRequested",
    "check_set_up",
    "compare_hypotheses",
    "event_from_line",
    "event_to_line",
    "installed_versions",
    "inter_box_distance_A",
    "latest_settings",
    "max_symmetry_order",
    "read_events",
    "refine",
    "split_half_sets",
    "write_fsc_xml",
    "write_results",
]
