"""Are these (deposited) values right for this map?"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume, wrap_deg
from helixlab.search.filament import prepare_filament
from helixlab.search.judge import Judge
from helixlab.search.pipeline import Progress, search_symmetry
from helixlab.search.result import Candidate, SearchResult
from helixlab.search.settings import MIN_RISE_A, SearchSettings

Code = Literal[
    "axis",
    "sign",
    "multiple",
    "too_fine",
    "point_group",
    "values",
    "undecided",
    "imposed",
    "no_noise",
    "other",
    "right",
]
Verdict = Literal["right", "incomplete", "wrong", "undecided"]

_GOOD_PART = 0.97
"""A description whose score reaches this part of the best one's is accepted as it stands."""

_SAME_AXIS_MARGIN = 0.2
"""Another box axis must score this much better to be called the helical axis."""

_PERMUTATIONS = {"z": (0, 1, 2), "y": (1, 2, 0), "x": (2, 0, 1)}
"""Cyclic, hence without a change of hand: (z, y, x) in the order that puts the named axis first."""


@dataclass(frozen=True)
class Finding:
    """One thing that is right or wrong with a description.

    Parameters
    ----------
    code : str
        "axis", "sign", "multiple", "too_fine", "point_group", "values", "other", "right"; "undecided" between rivals;
        "imposed" (on the map, before); "no_noise" (to tell whether it was).
    message : str
        What was found, and what it should be.
    """

    code: Code
    message: str


@dataclass(frozen=True)
class AuditReport:
    """The judgement on a symmetry that a map is said to have.

    Parameters
    ----------
    verdict : str
        "right"; "incomplete" (true, but less than the whole symmetry); "wrong"; "undecided" (this map cannot tell, or
        it repeats what was imposed on it: the findings then say how that differs from what was given).
    findings : tuple of Finding
    given : HelicalSymmetry
    given_score : float
        Correlation of the map with its copies under the given symmetry, at exactly the given values.
    suggested : HelicalSymmetry or None
        What the map has instead; None when the given values are right or the verdict is undecided.
    search : SearchResult
        The search without a hint that the judgement rests on.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    given: HelicalSymmetry
    given_score: float
    suggested: HelicalSymmetry | None
    search: SearchResult

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``helixlab audit --json``."""
        return {
            "verdict": self.verdict,
            "findings": [{"code": f.code, "message": f.message} for f in self.findings],
            "given": _numbers(self.given) | {"score": self.given_score},
            "suggested": _numbers(self.suggested) if self.suggested else None,
            "best": self.search.best.to_dict(),
            "warnings": list(self.search.warnings),
        }


def audit_symmetry(
    volume: Volume, symmetry: HelicalSymmetry, half2: Volume | None = None, *, progress: Progress | None = None
) -> AuditReport:
    """Hold a described symmetry against the map: sign of the twist, axis, multiples, Cn, decimals.

    Of 1,732 curated EMDB entries 307 have a wrong or missing twist, rise or Cn; nearly half of these a wrong sign.

    Parameters
    ----------
    volume : Volume
        The map, or half map 1.
    symmetry : HelicalSymmetry
        What it is said to have.
    half2 : Volume, optional
        Half map 2.
    progress : callable, optional
        Called with a text and the part done, 0 to 1.

    Returns
    -------
    AuditReport

    Raises
    ------
    HelixLabError
        As :func:`~helixlab.search.search_symmetry`.

    Examples
    --------
    >>> from helixlab.simulate import builtin_unit, simulate_helix
    >>> sim = simulate_helix(
    ...     builtin_unit(), HelicalSymmetry(-101.1, 5.13), box=64, pixel_size_A=2.5, resolution_A=8.0
    ... )
    >>> report = audit_symmetry(sim.volume, HelicalSymmetry(101.1, 5.13))
    >>> report.verdict, report.findings[0].code
    ('wrong', 'sign')
    """
    if symmetry.rise_A < MIN_RISE_A:
        raise HelixLabError(f"rise_A: found {symmetry.rise_A}; no protein repeats below {MIN_RISE_A} Å.")
    findings: list[Finding] = []
    axis = _helical_axis(volume, half2, symmetry)
    if axis != "z":
        findings.append(
            Finding("axis", f"The helical axis lies along {axis} of the box, not z: reorder the axes of the map.")
        )
        volume = _reordered(volume, axis)
        half2 = _reordered(half2, axis) if half2 is not None else None
    settings = SearchSettings(rise_range_A=_range_around(symmetry))
    search = search_symmetry(volume, half2, settings, progress=progress)
    judge = Judge(search.filament)
    given_score = judge.score(symmetry)[0]
    best = search.best
    exceeds = symmetry.is_dihedral and not best.symmetry.is_dihedral
    exceeds |= best.symmetry.cyclic_order % symmetry.cyclic_order != 0
    if given_score >= _GOOD_PART * best.score and not exceeds:
        verdict, found = _about_good(symmetry, best)
    else:
        verdict, found = _about_bad(judge, symmetry, given_score, best)
    rivals = [search.candidates[i].symmetry for i in best.indistinguishable_from]
    if rivals and verdict != "wrong":
        verdict = "undecided"
        found.append(
            Finding(
                "undecided",
                f"This map cannot decide: {best.symmetry} and {'; '.join(map(str, rivals))} fit alike.",
            )
        )
    verdict, found = _as_far_as_noise_tells(verdict, found, search)
    findings += found
    if axis != "z" and verdict in ("right", "incomplete"):
        verdict = "wrong"
    is_right = verdict in ("right", "undecided")
    return AuditReport(verdict, tuple(findings), symmetry, given_score, None if is_right else best.symmetry, search)


def _as_far_as_noise_tells(
    verdict: Verdict, found: list[Finding], search: SearchResult
) -> tuple[Verdict, list[Finding]]:
    """What is left of a verdict on a map that may repeat what was imposed on it."""
    imposed, symmetry = search.imposed, search.best.symmetry
    if imposed.is_certain:
        # A point group that was imposed says nothing about the screw.
        if imposed.screw or {one.code for one in found} <= {"right", "point_group", "undecided"}:
            verdict = "undecided"
        if imposed.screw:
            found = [replace(one, message=f"Held against what was imposed: {one.message}") for one in found]
        warning = imposed.warning(symmetry, has_half_maps=search.filament.has_half_maps)
        return verdict, [*found, Finding("imposed", warning)]
    return verdict, [*found, Finding("no_noise", imposed.note(symmetry))] if imposed.is_open else found


def _about_good(given: HelicalSymmetry, best: Candidate) -> tuple[Literal["right", "incomplete"], list[Finding]]:
    """The given operators hold: are they all of them?"""
    symmetry = best.symmetry
    steps = max(1, round(given.rise_A / symmetry.rise_A))
    found: list[Finding] = []
    if steps > 1:
        found.append(
            Finding(
                "multiple",
                f"The description is {steps} times a smaller screw: every subunit is related by {symmetry}.",
            )
        )
    if given.point_group != symmetry.point_group:
        found.append(
            Finding("point_group", f"The map has {symmetry.point_group}, not just {given.point_group}: {symmetry}.")
        )
    if found:
        return "incomplete", found
    error = "" if best.twist_se_deg is None else f" ± {best.twist_se_deg:.4f}° and {best.rise_se_A:.4f} Å"
    return "right", [Finding("right", f"The map agrees; refined: {symmetry}{error}.")]


def _about_bad(
    judge: Judge, given: HelicalSymmetry, given_score: float, best: Candidate
) -> tuple[Literal["wrong"], list[Finding]]:
    """The given operators do not hold: which small mistake would explain them?"""
    symmetry, mirror = best.symmetry, given.mirrored()
    scores = f"(correlation {given_score:.2f}; {best.score:.2f} is possible)"
    own, mirrored = _distance(given, symmetry), _distance(mirror, symmetry)
    mirror_score = judge.score(mirror)[0]
    found: list[Finding] = []
    if mirrored < own / 3 and mirror_score > given_score:
        found.append(Finding("sign", f"The twist has the wrong sign {scores}: with {mirror} it is {mirror_score:.2f}."))
        own, given = mirrored, mirror
    if given.is_dihedral and not symmetry.is_dihedral:
        found.append(Finding("point_group", f"The map has no dyad across its axis: {symmetry.point_group}, not D."))
    elif given.cyclic_order != symmetry.cyclic_order:
        plain = replace(given, point_group=symmetry.point_group)
        if judge.score(plain)[0] > given_score + 0.02 or symmetry.cyclic_order % given.cyclic_order == 0:
            found.append(Finding("point_group", f"The point group is {symmetry.point_group}, not {given.point_group}."))
    steps = given.rise_A / symmetry.rise_A
    if steps < 0.75 and abs(1 / steps - round(1 / steps)) < 0.1:
        found.append(
            Finding(
                "too_fine",
                f"The description is finer than the map {scores}: only {round(1 / steps)} of its steps together hold, "
                f"{symmetry}; one of them is a pseudo-symmetry.",
            )
        )
    elif steps > 1.5 and abs(steps - round(steps)) < 0.1:
        found.append(Finding("multiple", f"The description is about {round(steps)} times a smaller screw: {symmetry}."))
    if not found:
        near = _distance(given, symmetry) < 0.05 * 360.0 and abs(steps - round(steps)) < 0.05 and steps > 0.75
        found.append(
            Finding("values", f"The values are off {scores}: refined, they are {symmetry}.")
            if near
            else Finding("other", f"The map does not have this symmetry {scores}; it has {symmetry}.")
        )
    return "wrong", found


def _distance(given: HelicalSymmetry, known: HelicalSymmetry) -> float:
    """Angle in degrees between a screw and the nearest operator of another symmetry at about its height."""
    steps = max(1, round(given.rise_A / known.rise_A))
    return abs(wrap_deg(given.twist_deg - steps * known.twist_deg, 360.0 / known.cyclic_order))


def _helical_axis(volume: Volume, half2: Volume | None, symmetry: HelicalSymmetry) -> str:
    """The box axis along which the given symmetry, or its mirror image, fits best; z unless another is clearly so."""
    scores: dict[str, float] = {}
    for axis in _PERMUTATIONS:
        scores[axis] = -1.0
        halves = [_reordered(m, axis) for m in (volume, half2) if m is not None]
        try:
            judge = Judge(prepare_filament(*halves))
        except HelixLabError:  # seen along a wrong axis a map may well hold nothing to correlate
            continue
        scores[axis] = max(judge.score(s)[0] for s in (symmetry, symmetry.mirrored()))
    best = max(scores, key=lambda axis: scores[axis])
    return best if scores[best] > scores["z"] + _SAME_AXIS_MARGIN else "z"


def _reordered(volume: Volume, axis: str) -> Volume:
    return Volume(np.ascontiguousarray(np.transpose(volume.data, _PERMUTATIONS[axis])), volume.pixel_size_A)


def _range_around(symmetry: HelicalSymmetry) -> tuple[float, float]:
    """Rises searched: all of 1 to 60 Å, and more if the description lies outside."""
    return max(MIN_RISE_A, min(1.0, 0.5 * symmetry.rise_A)), max(60.0, 1.2 * symmetry.rise_A)


def _numbers(symmetry: HelicalSymmetry) -> dict[str, Any]:
    return {
        "twist_deg": symmetry.twist_deg,
        "rise_A": symmetry.rise_A,
        "point_group": symmetry.point_group,
    }
