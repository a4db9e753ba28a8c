"""What exploring a filament's symmetry needs: one map prepared once, and hypotheses compared side by side."""

from helixlab.explore.advice import with_advice
from helixlab.explore.answers import Cuts, PitchLandscape, SymmetryScore
from helixlab.explore.compare import HypothesisReport, compare_hypotheses
from helixlab.explore.filament_map import FilamentMap
from helixlab.explore.hypotheses import (
    Hypothesis,
    HypothesisFile,
    MapIdentity,
    parse_hypotheses,
    read_hypotheses,
    write_hypotheses,
)
from helixlab.explore.power_spectrum import PowerSpectrum, compute_power_spectrum
from helixlab.explore.resize import downsize_volume, mirror_volume

__all__ = [
    "Cuts",
    "FilamentMap",
    "Hypothesis",
    "HypothesisFile",
    "HypothesisReport",
    "MapIdentity",
    "PitchLandscape",
    "PowerSpectrum",
    "SymmetryScore",
    "compare_hypotheses",
    "compute_power_spectrum",
    "downsize_volume",
    "mirror_volume",
    "parse_hypotheses",
    "read_hypotheses",
    "with_advice",
    "write_hypotheses",
]
