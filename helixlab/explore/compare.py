"""Hypotheses side by side: what speaks for each, and how they are related."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from helixlab.errors import HelixLabError
from helixlab.explore.answers import SymmetryScore
from helixlab.explore.filament_map import FilamentMap
from helixlab.explore.hypotheses import Hypothesis, check_names
from helixlab.geometry import HelicalSymmetry
from helixlab.search.judge import Judge
from helixlab.search.pipeline import Progress
from helixlab.validate.fsc import HALF_MAP_THRESHOLD, MODEL_THRESHOLD, Crossing

_SAME = {"twist_tol_deg": 1e-3, "rise_tol_A": 1e-3}
"""Values are given to a thousandth."""


_HOLDS = 0.3
"""Operators that correlate less than this are no symmetry of the map, whatever may be said of further ones. (Noise in a
single map lowers all correlations.)"""


@dataclass(frozen=True)
class HypothesisReport:
    """What a map says about one hypothesis.

    Parameters
    ----------
    hypothesis : Hypothesis
    score : SymmetryScore or None
        None for the control without symmetry.
    crossing, crossing_half : Crossing or None
        Where the FSC of the half maps under it falls to 0.143 and to 0.5; None without half maps.
    remarks : tuple of str
        How it is related to the other hypotheses, and whether the map seems to have had it imposed before.
    """

    hypothesis: Hypothesis
    score: SymmetryScore | None
    crossing: Crossing | None
    crossing_half: Crossing | None
    remarks: tuple[str, ...] = ()

    @property
    def score_text(self) -> str:
        """The score, with its standard error if the map has noise to take one from."""
        return "–" if self.score is None else self.score.score_text

    @property
    def resolution_text(self) -> str:
        """The resolution at 0.143."""
        return "–" if self.crossing is None else str(self.crossing)

    @property
    def remark(self) -> str:
        """All remarks as one text."""
        return "; ".join(self.remarks)

    def filled(self) -> Hypothesis:
        """The hypothesis with the numbers found, for its file."""
        return self.hypothesis.model_copy(
            update={
                "score": self.score and self.score.score,
                "score_se": self.score.score_se if self.score and self.score.has_errors else None,
                "resolution_A": self.crossing and self.crossing.resolution_A,
            }
        )


def compare_hypotheses(
    filament_map: FilamentMap, hypotheses: Sequence[Hypothesis], *, progress: Progress | None = None
) -> list[HypothesisReport]:
    """Score hypotheses on one map, and say how they are related.

    Parameters
    ----------
    filament_map : FilamentMap
        As opened; hypotheses that hold for its mirror image are looked at there.
    hypotheses : sequence of Hypothesis
        With names of their own. One that this map cannot answer for (its rise is too long for the box) says so in
        its remarks.
    progress : callable, optional
        Called with a text and the part done, 0 to 1.

    Raises
    ------
    HelixLabError
        If two share a name.

    Notes
    -----
    Related hypotheses (one's operators are among the other's) are told apart by the operators that only the finer one
    has: do they hold as well? Unrelated ones are compared by all operators of each
    (:meth:`helixlab.search.judge.Judge.compare_rivals`). An FSC says nothing about which of them is right.

    Examples
    --------
    >>> from helixlab.simulate import simulate_helix
    >>> truth = HelicalSymmetry(60.0, 12.0)
    >>> volume = simulate_helix("builtin", truth, box=48, pixel_size_A=2.5, resolution_A=8.0).volume
    >>> rows = [Hypothesis(name="one", twist_deg=60.0, rise_A=12.0), Hypothesis(name="two", twist_deg=120, rise_A=24)]
    >>> for report in compare_hypotheses(FilamentMap(volume), rows):
    ...     print(report.hypothesis.name, "-", report.remark)
    one - contains “two”, and what it adds holds as well
    two - every 2nd subunit of “one”, whose further operators hold as well
    """
    check_names(hypotheses)
    reports = []
    for number, hypothesis in enumerate(hypotheses):
        if progress is not None:
            progress(f"Comparing {hypothesis.name}", number / len(hypotheses))
        try:
            reports.append(_report(filament_map, hypothesis, hypotheses))
        except HelixLabError as error:
            reports.append(HypothesisReport(hypothesis, None, None, None, (str(error),)))
    return reports


def _report(filament_map: FilamentMap, hypothesis: Hypothesis, hypotheses: Sequence[Hypothesis]) -> HypothesisReport:
    # The mirror image fits the mirrored symmetry as the map fits the symmetry: one map answers for both.
    symmetry = _in_first_hand(hypothesis)
    curve = filament_map.fsc(symmetry)[0] if filament_map.has_halves else None
    first = curve and curve.crossing(HALF_MAP_THRESHOLD)
    half = curve and curve.crossing(MODEL_THRESHOLD)
    if symmetry is None:
        return HypothesisReport(hypothesis, None, first, half)
    judge, others = filament_map.judge(symmetry), (h for h in hypotheses if h is not hypothesis)
    remarks = tuple(remark for other in others if (remark := _relation(judge, hypothesis, other)))
    score = filament_map.score(symmetry)
    if score.imposed.is_certain:
        remarks = (score.imposed.remark(symmetry), *remarks)
    return HypothesisReport(hypothesis, score, first, half, remarks)


def _relation(judge: Judge, hypothesis: Hypothesis, other: Hypothesis) -> str:
    """What one hypothesis is to another one, in words; nothing if there is nothing to say."""
    symmetry, second = (_in_first_hand(h) for h in (hypothesis, other))
    if symmetry is None or second is None:
        return ""
    if symmetry.is_equivalent(second, **_SAME):
        if hypothesis.is_flipped != other.is_flipped:
            return f"mirror image of “{other.name}”: neither score nor FSC can tell the hand"
        return f"same operators as “{other.name}”"
    if _is_part_of(judge, symmetry, second):
        return _within(judge, symmetry, second, other.name)
    if _is_part_of(judge, second, symmetry):
        comparison = judge.compare(symmetry, second)
        if comparison.coarser < _HOLDS:
            return f"contains “{other.name}”, which does not hold itself"
        return f"contains “{other.name}”, and what it adds {'holds as well' if comparison.holds else 'does not hold'}"
    if min(judge.score(s)[0] for s in (symmetry, second)) > _HOLDS and _fits_as_well(judge, symmetry, second):
        return f"indistinguishable from “{other.name}” within the noise"
    return ""


def _is_part_of(judge: Judge, symmetry: HelicalSymmetry, other: HelicalSymmetry) -> bool:
    """Whether one symmetry's operators are among another's, as far as the map can show it.

    The screws may differ, but not so much that their last copies in the map lie more than a peak's width apart: near-2₁
    screws of either hand differ by little in one step.
    """
    steps = max(1.0, judge.filament.max_lag_A / symmetry.rise_A)
    near_A = 0.3 * judge.filament.resolution_A
    near_deg = math.degrees(near_A / float(judge.filament.limits.radius_A))
    return symmetry.is_subgroup_of(other, twist_tol_deg=near_deg / steps, rise_tol_A=near_A / steps)


def _within(judge: Judge, symmetry: HelicalSymmetry, second: HelicalSymmetry, name: str) -> str:
    """What a symmetry is whose operators are among another one's."""
    k = round(symmetry.rise_A / second.rise_A)
    same_group = symmetry.point_group == second.point_group
    if k == 1 and same_group:
        return f"differs from “{name}” by less than the map can show"
    comparison = judge.compare(second, symmetry)
    what = f"every {_ordinal(k)} subunit of “{name}”" if k > 1 and same_group else f"part of “{name}”"
    if comparison.coarser < _HOLDS:
        return f"{what}; neither holds"
    if comparison.holds:
        return f"{what}, whose further operators hold as well"
    return f"{what}, whose further operators do not hold ({comparison.ratio:.2f} of the correlation)"


def _fits_as_well(judge: Judge, first: HelicalSymmetry, second: HelicalSymmetry) -> bool:
    """Whether neither of two symmetries correlates better than noise explains."""
    return judge.compare_rivals(first, second).holds and judge.compare_rivals(second, first).holds


def _in_first_hand(hypothesis: Hypothesis) -> HelicalSymmetry | None:
    """The symmetry as it is in the map that was opened."""
    symmetry = hypothesis.symmetry
    return symmetry.mirrored() if symmetry is not None and hypothesis.is_flipped else symmetry


def _ordinal(n: int) -> str:
    suffix = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"
