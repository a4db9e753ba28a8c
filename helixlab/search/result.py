"""What a symmetry search answers."""

import math
from dataclasses import dataclass, field
from typing import Any

from helixlab.geometry import HelicalSymmetry
from helixlab.search.axis import AxisReport
from helixlab.search.filament import Filament
from helixlab.search.imposed import Imposed
from helixlab.search.landscape import Landscape


@dataclass(frozen=True)
class Candidate:
    """One symmetry that a filament may have.

    Parameters
    ----------
    symmetry : HelicalSymmetry
        In canonical form.
    score : float
        Mean correlation of the map with its copies under all operators: 1 is perfect. From half maps it is
        corrected for noise.
    mse : float
        Mean squared difference in units of the map's variance, CryoSPARC's ranking.
    score_se : float
        Standard error of the score from noise.
    twist_se_deg, rise_se_A : float or None
        Standard errors; None where the map does not determine the value, has no noise to estimate an error from, or
        had the symmetry imposed before.
    indistinguishable_from : tuple of int
        Positions, in the list of candidates, of rivals that fit as well within the noise.
    notes : tuple of str
        What a user should know before believing it.
    """

    symmetry: HelicalSymmetry
    score: float
    mse: float
    score_se: float
    twist_se_deg: float | None
    rise_se_A: float | None
    indistinguishable_from: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON and tables."""
        symmetry = self.symmetry
        return {
            "twist_deg": symmetry.twist_deg,
            "rise_A": symmetry.rise_A,
            "point_group": symmetry.point_group,
            "score": self.score,
            "score_se": self.score_se,
            "mse": self.mse,
            "twist_se_deg": self.twist_se_deg,
            "rise_se_A": self.rise_se_A,
            "pitch_A": _finite(symmetry.pitch_A),
            "subunits_per_turn": _finite(symmetry.subunits_per_turn),
            "hand": symmetry.hand,
            "equivalents": [
                {"twist_deg": s.twist_deg, "rise_A": s.rise_A, "point_group": s.point_group}
                for s in symmetry.equivalents()
            ],
            "indistinguishable_from": list(self.indistinguishable_from),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Candidates, best first, with the landscape they come from and what was found on the way.

    Parameters
    ----------
    candidates : tuple of Candidate
    landscape : Landscape
        The whole plane that was searched.
    pairs_evaluated : int
    seconds : float
        Wall-clock time, compilation included.
    warnings : tuple of str
    resolution_A, inner_radius_A, outer_radius_A : float
        As used: FSC 0.143 of half maps (of one map: where 99.9% of its power ends), and the cylinder.
    filament : Filament
        The correlation that the scores were read from, about the aligned axis.
    imposed : Imposed
        Whether the map obeys the screw, or the point group, of the first candidate to more than its noise allows, so
        that the search repeats what was imposed before. Standard errors are given only of a screw that was not.
    axis : AxisReport or None
        What the alignment of the axis did; None when it was switched off.
    dyad_deg, dyad_z_A : float or None
        Azimuth and height of a dyad of Dn.
    """

    candidates: tuple[Candidate, ...]
    landscape: Landscape
    pairs_evaluated: int
    seconds: float
    warnings: tuple[str, ...]
    resolution_A: float
    inner_radius_A: float
    outer_radius_A: float
    filament: Filament = field(repr=False)
    imposed: Imposed
    axis: AxisReport | None = None
    dyad_deg: float | None = None
    dyad_z_A: float | None = None

    @property
    def best(self) -> Candidate:
        """The first candidate."""
        return self.candidates[0]

    @property
    def margin(self) -> float | None:
        """Score of the first candidate minus that of the second; None if there is only one."""
        return self.candidates[0].score - self.candidates[1].score if len(self.candidates) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``helixlab search --json``."""
        return {
            "candidates": [c.to_dict() for c in self.candidates],
            "pairs_evaluated": self.pairs_evaluated,
            "seconds": self.seconds,
            "warnings": list(self.warnings),
            "margin": self.margin,
            "resolution_A": self.resolution_A,
            "inner_radius_A": self.inner_radius_A,
            "outer_radius_A": self.outer_radius_A,
            "axis": self.axis.to_dict() if self.axis else None,
            "dyad_deg": self.dyad_deg,
            "dyad_z_A": self.dyad_z_A,
            "imposed": {"screw": self.imposed.screw, "point_group": self.imposed.point_group},
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
