"""What held-out scores say of symmetry hypotheses: which one is best, how surely, and why the others are not.

Three things are told by algebra, not by scores. The mirror image of a helix (the twist's sign) has the same
projections. Every m-th subunit of a true symmetry is true as well, but less of it: a map averaged over fewer copies
scores a little less at best, so that of two that score alike the finer is preferred. And equal operators are one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab.reconstruct.held_out import HeldOutScores, Mean

Kind = Literal["helical", "asymmetric", "round"]
Verdict = Literal["best", "same", "mirror", "multiple", "worse", "undecided", "better"]

LEAST_RISES = 3
"""Rises that a box must hold: fewer copies say nothing of a symmetry."""

LEAST_SHELLS = 4
"""Fewer make a map of less than nine voxels, in which no symmetry can be imposed."""

N_SE = 3.0
"""Paired standard errors by which scores must differ to be told apart."""

_SAME = {"twist_tol_deg": 0.01, "rise_tol_A": 0.01}
"""Values are typed with two or three decimals, and of the m-th subunit the rounding counts m times."""

_CONTROLS = {"asymmetric": "the map without symmetry", "round": "a featureless round filament"}


@dataclass(frozen=True, eq=False)
class ScoredMaps:
    """A pair of half maps made under a hypothesis, and their held-out scores.

    Parameters
    ----------
    kind : str
        "helical"; or one of the controls: "asymmetric", a map without symmetry, and "round", a map that has nothing
        but a radius.
    symmetry : HelicalSymmetry or None
        None for the controls.
    scores : HeldOutScores
    iterations : int
        Of the refinement that made them.
    seconds : float
        With the scoring.
    """

    kind: Kind
    symmetry: HelicalSymmetry | None
    scores: HeldOutScores
    iterations: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """In words."""
        return name_of(self.symmetry, self.kind)


@dataclass(frozen=True, eq=False)
class ComparedHypothesis:
    """One line of a comparison.

    Parameters
    ----------
    maps : ScoredMaps
    difference : Mean
        To the best hypothesis, per segment, paired.
    verdict : str
        "best"; "same" (operators as the best); "mirror"; "multiple" (part of the best's operators); "worse", by more
        than three standard errors; "undecided"; "better", by more than three: nothing is best then.
    reason : str
        In words.
    """

    maps: ScoredMaps
    difference: Mean
    verdict: Verdict
    reason: str

    @property
    def log_likelihood(self) -> Mean:
        """Held out, per segment."""
        return self.maps.scores.mean

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers."""
        symmetry = self.maps.symmetry
        return {
            "kind": self.maps.kind,
            "twist_deg": symmetry and symmetry.twist_deg,
            "rise_A": symmetry and symmetry.rise_A,
            "point_group": symmetry and symmetry.point_group,
            "log_likelihood": self.log_likelihood.value,
            "log_likelihood_se": self.log_likelihood.se,
            "difference": self.difference.value,
            "difference_se": self.difference.se,
            "verdict": self.verdict,
            "reason": self.reason,
            "iterations": self.maps.iterations,
            "seconds": self.maps.seconds,
        }


@dataclass(frozen=True, eq=False)
class HypothesisComparison:
    """Hypotheses and controls, ranked.

    Parameters
    ----------
    rows : tuple of ComparedHypothesis
        By log-likelihood, the highest first; but the one called best leads.
    is_decided : bool
        Whether the best beats the round control and all that is not the same, its mirror image or part of it by three
        standard errors, and is not below the map without symmetry. With enough segments that comes as close to the
        truth as one likes, but not above it; where it cannot be told from the best, another hypothesis must be beaten.
    conclusion : str
        In words.
    """

    rows: tuple[ComparedHypothesis, ...]
    is_decided: bool
    conclusion: str

    @property
    def best(self) -> HelicalSymmetry | None:
        """The symmetry that the segments decide for, of either hand; None if they are undecided."""
        return self.rows[0].maps.symmetry if self.is_decided else None


def compare_scores(maps: Sequence[ScoredMaps]) -> HypothesisComparison:
    """Rank hypotheses by their held-out scores of the same segments.

    Parameters
    ----------
    maps : sequence of ScoredMaps
        At least one helical; the controls among them decide whether any is better than nothing. Of both hands of one
        helix the first is preferred.

    Raises
    ------
    HelixLabError
        If none is helical, or segments are not the same.

    Examples
    --------
    >>> import numpy as np
    >>> filament = np.repeat(np.arange(10), 4)
    >>> noise = np.random.default_rng(0).normal(size=(3, 40))
    >>> first, second = HelicalSymmetry(-101.1, 5.13), HelicalSymmetry(-101.1, 5.28)
    >>> scored = [
    ...     ScoredMaps("helical", second, HeldOutScores(20 + noise[0], filament)),
    ...     ScoredMaps("helical", first, HeldOutScores(30 + noise[1], filament)),
    ...     ScoredMaps("asymmetric", None, HeldOutScores(10 + noise[2], filament)),
    ... ]
    >>> found = compare_scores(scored)
    >>> found.best == first, [row.verdict for row in found.rows]
    (True, ['best', 'worse', 'worse'])
    """
    best = _best_of(maps)
    others = sorted((m for m in maps if m is not best), key=lambda m: -m.scores.mean.value)
    first = ComparedHypothesis(best, Mean(0.0, 0.0), "best", "")
    rest = [_compared(m, best) for m in others]
    is_decided, conclusion = _conclusion(best, rest)
    if not is_decided:
        first = ComparedHypothesis(best, first.difference, "undecided", "scores highest, but not surely")
    else:
        first = ComparedHypothesis(best, first.difference, "best", "explains the held-out segments best")
    return HypothesisComparison((first, *rest), is_decided, conclusion)


def name_of(symmetry: HelicalSymmetry | None, kind: Kind = "asymmetric") -> str:
    """A hypothesis, or one of the controls, in the words in which all that is said of it names it.

    Examples
    --------
    >>> name_of(HelicalSymmetry(-101.1, 5.13)), name_of(None)
    ('twist -101.100°, rise 5.130 Å, C1', 'the map without symmetry')
    """
    return _CONTROLS[kind] if symmetry is None else str(symmetry)


# --- private steps ------------------------------------------------------------------------------


def _best_of(maps: Sequence[ScoredMaps]) -> ScoredMaps:
    """The highest score; or what contains its operators, or mirrors them, and is not worse."""
    helical = [m for m in maps if m.symmetry is not None]
    if not helical:
        raise HelixLabError("hypotheses: found none with a helical symmetry; give at least one twist and rise.")
    top = max(helical, key=lambda m: m.scores.mean.value)
    finer = [m for m in helical if _is_part_of(top, m) and not _is_worse(m, top)]
    finest = min(finer, key=_unit_length_A)
    return next(m for m in helical if _is_part_of(m, finest) and _is_part_of(finest, m) and not _is_worse(m, finest))


def _compared(maps: ScoredMaps, best: ScoredMaps) -> ComparedHypothesis:
    difference = maps.scores.less(best.scores)
    verdict, reason = _verdict(maps, best, difference)
    return ComparedHypothesis(maps, difference, verdict, reason)


def _verdict(maps: ScoredMaps, best: ScoredMaps, difference: Mean) -> tuple[Verdict, str]:
    symmetry, other = maps.symmetry, best.symmetry
    if symmetry is not None and other is not None:
        if symmetry.is_equivalent(other, **_SAME):
            return "same", "the same operators as the best, written otherwise"
        if symmetry.is_equivalent(other.mirrored(), **_SAME):
            if abs(difference.value) <= N_SE * difference.se:
                return (
                    "mirror",
                    "the best's mirror image, which has the same projections: segments cannot tell the hand",
                )
            return "mirror", (
                "the best's mirror image, whose projections are the same: that its score differs shows how far runs "
                "from random azimuths part"
            )
        if _is_part_of(maps, best):
            count = round(_unit_length_A(maps) / _unit_length_A(best))
            return (
                "multiple",
                f"one in {count} of the best's operators: as true as the best, but not the whole symmetry",
            )
    if difference.value < -N_SE * difference.se:
        contains = _is_part_of(best, maps) if symmetry is not None else False
        return "worse", f"worse by {_text(-difference.value, difference.se)}" + (
            ", so that what it adds to the best does not hold" if contains else ""
        )
    if difference.value > N_SE * difference.se:
        return "better", f"better by {_text(difference.value, difference.se)}"
    return "undecided", f"cannot be told from the best: {difference}, less than {N_SE:g} standard errors"


def _conclusion(best: ScoredMaps, rest: Sequence[ComparedHypothesis]) -> tuple[bool, str]:
    for row in sorted(rest, key=lambda row: row.maps.kind != "round"):
        if objection := _objection(best, row):
            return False, objection
    rivals = [row for row in rest if row.maps.kind == "helical" and row.verdict in ("undecided", "better")]
    if rivals:
        names = "; ".join(f"{row.maps.name} ({row.difference})" for row in rivals)
        return False, (
            f"Undecided: {best.name} cannot be told from {names}. Give more segments, or compare at a finer resolution."
        )
    worse = [row for row in rest if row.verdict == "worse"]
    lead = ""
    if worse:
        nearest = max(worse, key=lambda row: row.difference.value)
        lead = f", by {_text(-nearest.difference.value, nearest.difference.se)} more than {nearest.maps.name}"
    equals = [row for row in rest if row.maps.kind == "asymmetric" and row.verdict == "undecided"]
    if equals and not any(row.maps.kind == "helical" for row in worse):
        return False, (
            f"Undecided: {equals[0].maps.name} explains the segments as well as {best.name} ({equals[0].difference}), "
            "and no other hypothesis was beaten. Give others to compare it with."
        )
    note = "".join(f" {row.maps.name.capitalize()} explains them as well ({row.difference})." for row in equals)
    return True, (
        f"{best.name} explains the held-out segments best{lead}.{note} Its mirror image would do so as well: segments "
        "do not tell the hand."
    )


def _objection(best: ScoredMaps, row: ComparedHypothesis) -> str:
    """What a control has against the best hypothesis, if anything.

    A symmetry that holds averages more images than a map without one, which therefore comes close, but not above.
    """
    name, by = row.maps.name, _text(abs(row.difference.value), row.difference.se)
    if row.maps.kind == "round" and row.verdict != "worse":
        return (
            f"Undecided: even the best, {best.name}, explains the segments no better than {name} ({row.difference}). "
            "Give more segments, or ones with less noise."
        )
    if row.maps.kind == "asymmetric" and row.verdict == "better":
        return (
            f"None of the hypotheses holds: {name} explains the segments better than the best of them, {best.name}, "
            f"by {by}. Search an asymmetric map for its symmetry, or check the segments' in-plane angles."
        )
    if row.maps.kind == "asymmetric" and row.difference.value > 0:
        return (
            f"Undecided: {name} scores higher than the best hypothesis, {best.name}, by {by}, if not surely. Give more "
            "segments, or other hypotheses."
        )
    return ""


def _is_part_of(maps: ScoredMaps, other: ScoredMaps) -> bool:
    """Whether one's operators, or their mirror images, are among another's."""
    if maps.symmetry is None or other.symmetry is None:
        return False
    return any(maps.symmetry.is_subgroup_of(s, **_SAME) for s in (other.symmetry, other.symmetry.mirrored()))


def _is_worse(maps: ScoredMaps, other: ScoredMaps) -> bool:
    difference = maps.scores.less(other.scores)
    return difference.value < -N_SE * difference.se


def _unit_length_A(maps: ScoredMaps) -> float:
    """Length of filament per operator."""
    if maps.symmetry is None:
        raise ValueError("symmetry: a control has no operators.")
    return maps.symmetry.rise_A / (maps.symmetry.cyclic_order * (2 if maps.symmetry.is_dihedral else 1))


def _text(value: float, se: float) -> str:
    return f"{value:.2f} ± {se:.2f} per segment"
