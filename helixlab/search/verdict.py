"""From refined peaks to a ranked list of symmetries, and what stays open."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from helixlab.geometry import HelicalSymmetry
from helixlab.search.dyad import DyadFit, find_dyad
from helixlab.search.filament import Filament
from helixlab.search.judge import PSEUDO_SCORE, SYSTEMATIC_PART, Comparison, Judge, PseudoSymmetry
from helixlab.search.peaks import Peak
from helixlab.search.result import Candidate
from helixlab.search.settings import SearchSettings

_CROSS_BETA_A = 4.79
_CROSS_BETA_SE_A = 0.07
"""Spacing of β-strands along an amyloid, assumed (and said so) where a map cannot show it: mean and standard deviation
over 646 EMDB entries of amyloids whose symmetry was validated against the map (jianglab's curation, 2024)."""

_CROSS_BETA_RESOLUTION_A = 15.0
"""A map coarser than this shows no cross-section that could be called an amyloid's."""

_MAX_CROSS_BETA_TWIST_DEG = 12.0
"""No amyloid twists more from strand to strand."""

_DYAD_FLOOR = 5e-3
"""Relative loss of correlation at a true dyad by resampling: its height falls between voxels."""

_SAME_SCORE = 1e-3
"""Scores of multiples of one screw, over different numbers of copies, agree to this in a single map."""

_LISTED_PART = 0.2
"""Candidates with a lower part of the best score are not listed."""

_COMPARED = 10
"""Candidates compared with the first one, however few are to be listed."""

_RIVALS = 24
"""Peaks of half maps whose errors are looked at; those that score below _RIVAL_PART of the best have lost anyway."""

_RIVAL_PART = 0.8


@dataclass(frozen=True)
class Verdict:
    """Candidates, best first; the dyad of Dn; what the user must be told; whether the rise is that of β-strands."""

    candidates: list[Candidate]
    dyad: DyadFit | None
    warnings: list[str]
    is_rise_assumed: bool = False


def judge_peaks(filament: Filament, settings: SearchSettings, peaks: Sequence[Peak]) -> Verdict:
    """Group the peaks into symmetries, find the largest group that holds, and rank what is left.

    Parameters
    ----------
    filament : Filament
    settings : SearchSettings
    peaks : sequence of Peak
        Refined maxima of the landscape; at least one.
    """
    min_rise_A = settings.rise_range_A[0]
    is_auto = settings.point_group == "auto"
    base = base_screw(filament, peaks)
    if not filament.has_half_maps:
        filament = filament.with_departure_noise(base)
    judge = Judge(filament, min_rise_A)
    continuous = judge.continuous_slope(base)
    if continuous is not None:
        return _without_rise(judge, base, continuous, settings)
    best, pseudo, undecided = judge.finest(base, may_turn=is_auto)
    if not filament.has_half_maps:
        judge = Judge(filament.with_departure_noise(best), min_rise_A)
    listed = [best, *undecided]
    for peak in peaks:
        symmetry = replace(peak.symmetry, point_group=best.point_group).canonical()
        if len(listed) < max(settings.max_candidates, _COMPARED) and not any(
            _shares_lattice(judge, symmetry, s) for s in listed
        ):
            listed.append(symmetry)
    found = [candidate_for(judge, s) for s in listed]
    found = [
        found[0],
        *sorted((c for c in found[1:] if c.score > _LISTED_PART * found[0].score), key=lambda c: -c.score),
    ]
    found, warnings = _mark_rivals(judge, found, undecided)
    dyad, notes = None, [_pseudo_note(p) for p in pseudo[:3]]
    if is_auto or settings.point_group[0] == "D":
        dyad, note = _dyad(judge, found[0], is_given=not is_auto)
        if dyad is not None:
            found = [
                replace(c, symmetry=_dihedral(c.symmetry)) if i == 0 or not is_auto else c for i, c in enumerate(found)
            ]
        if note:
            notes.append(note)
    found[0] = replace(found[0], notes=(*found[0].notes, *notes))
    found = [
        replace(c, indistinguishable_from=tuple(i for i in c.indistinguishable_from if i < settings.max_candidates))
        for c in found[: settings.max_candidates]
    ]
    return Verdict(found, dyad, range_warnings(judge.filament, found[0], settings) + warnings)


def base_screw(filament: Filament, peaks: Sequence[Peak]) -> HelicalSymmetry:
    """The smallest screw among the peaks that fits as well as the best one.

    The best is the one whose score is highest by the lower end of its error: few copies score high by luck.
    """
    judge = Judge(filament)
    if not filament.has_half_maps:
        best = max(peaks, key=lambda p: p.score)
        tolerance = max(_SAME_SCORE, SYSTEMATIC_PART * (1.0 - best.score))
        good = [p for p in peaks if p.score >= best.score - tolerance]
        return min(good, key=lambda p: p.symmetry.rise_A).symmetry
    highest = max(p.score for p in peaks)
    near = sorted((p for p in peaks if p.score > _RIVAL_PART * highest), key=lambda p: -p.score)[:_RIVALS]
    best = max(near, key=lambda p: p.score - 2 * judge.score_error(p.symmetry))
    for peak in sorted((p for p in near if p.symmetry.rise_A < best.symmetry.rise_A), key=lambda p: p.symmetry.rise_A):
        comparison = judge.compare_rivals(peak.symmetry, best.symmetry)
        if comparison.holds and comparison.is_decisive:
            return peak.symmetry
    return best.symmetry


def candidate_for(judge: Judge, symmetry: HelicalSymmetry) -> Candidate:
    """A symmetry with its scores and errors."""
    score, mse = judge.score(symmetry)
    twist_se, rise_se = judge.standard_errors(symmetry)
    return Candidate(
        symmetry,
        score,
        mse,
        judge.score_error(symmetry),
        twist_se if np.isfinite(twist_se) else None,
        rise_se if np.isfinite(rise_se) else None,
    )


def _shares_lattice(judge: Judge, symmetry: HelicalSymmetry, known: HelicalSymmetry) -> bool:
    """Whether a low power of the screw is an operator of a known symmetry, to within a peak's width.

    Twice or five times a known screw says nothing new; half or two thirds of one scores on the operators that it
    shares. Such fractions that nearly hold are reported as pseudo-symmetries.
    """
    return any(judge.is_within_peak(symmetry.multiple(k), known) for k in (1, 2, 3))


def _mark_rivals(
    judge: Judge, found: list[Candidate], undecided: Sequence[HelicalSymmetry]
) -> tuple[list[Candidate], list[str]]:
    rivals = [
        i
        for i, candidate in enumerate(found[1:], start=1)
        if candidate.symmetry in undecided or judge.compare_rivals(candidate.symmetry, found[0].symmetry).holds
    ]
    return _with_rivals(found, rivals)


def _with_rivals(found: list[Candidate], rivals: Sequence[int]) -> tuple[list[Candidate], list[str]]:
    if not rivals:
        return found, []
    marked = [replace(c, indistinguishable_from=(0,)) if i in rivals else c for i, c in enumerate(found)]
    marked[0] = replace(marked[0], indistinguishable_from=tuple(rivals))
    names = "; ".join(str(found[i].symmetry) for i in rivals)
    return marked, [
        f"This map cannot tell {found[0].symmetry} from: {names}. An FSC will not decide either; compare them in a "
        "map of higher resolution, or on the particles."
    ]


def _pseudo_note(pseudo: PseudoSymmetry) -> str:
    return f"Pseudo-symmetry: {pseudo.symmetry} nearly holds ({pseudo.ratio:.3f} of the correlation)."


def _dihedral(symmetry: HelicalSymmetry) -> HelicalSymmetry:
    return replace(symmetry, point_group=f"D{symmetry.cyclic_order}")


def _dyad(judge: Judge, candidate: Candidate, *, is_given: bool) -> tuple[DyadFit | None, str | None]:
    """The dyad, if there is one, and a remark if one nearly holds."""
    fit = find_dyad(judge.filament, candidate.symmetry)
    comparison = Comparison(fit.score, candidate.score, np.sqrt(2.0) * candidate.score_se)
    tolerance = max(comparison.tolerance, _DYAD_FLOOR * abs(candidate.score))
    if candidate.score - fit.score <= tolerance:
        return fit, None
    if is_given:
        return fit, (
            f"The dyad of the given point group does not hold: the best one, at azimuth {fit.azimuth_deg:.1f}°, "
            f"reaches {comparison.ratio:.3f} of the screw's correlation."
        )
    if comparison.ratio > PSEUDO_SCORE:
        return None, (
            f"A dyad across the axis nearly holds ({comparison.ratio:.3f} of the correlation, at azimuth "
            f"{fit.azimuth_deg:.1f}°): the filament is close to D{candidate.symmetry.cyclic_order}."
        )
    return None, None


def range_warnings(filament: Filament, candidate: Candidate, settings: SearchSettings) -> list[str]:
    """What the box and the searched ranges say against a candidate."""
    warnings = []
    symmetry = candidate.symmetry
    rises = filament.length_A / symmetry.rise_A
    if rises < 3:
        warnings.append(
            f"Only {rises:.1f} rises of {symmetry.rise_A:.2f} Å fit into the box of {filament.length_A:.0f} Å; "
            "3 are needed to trust a symmetry. Use a longer box."
        )
    low, high = settings.rise_range_A
    if min(symmetry.rise_A - low, high - symmetry.rise_A) < min(0.02 * symmetry.rise_A, 0.05 * (high - low)):
        warnings.append(
            f"The rise {symmetry.rise_A:.3f} Å lies at the edge of the searched range {low:g} to {high:g} Å; widen it."
        )
    low, high = settings.twist_range_deg
    nearest = min(min(abs(s.twist_deg - low), abs(s.twist_deg - high)) for s in symmetry.equivalents())
    if high - low < 360.0 and nearest < 0.01 * (high - low):
        warnings.append(
            f"The twist {symmetry.twist_deg:.3f}° lies at the edge of the searched range {low:g}° to {high:g}°; "
            "widen it."
        )
    if candidate.score < 0.5:
        warnings.append(
            f"Even the best symmetry explains only {candidate.score:.2f} of the map: noise, a filament that is "
            "not straight, or no helical symmetry. Look at the landscape before using it."
        )
    return warnings


# --- a filament without features along its axis ------------------------------------------------------


def _without_rise(
    judge: Judge, base: HelicalSymmetry, continuous: tuple[float, int], settings: SearchSettings
) -> Verdict:
    """Candidates for a map that shows a twisted rod: any rise along its pitch fits.

    For a slender, slowly twisting rod the spacing of β-strands is assumed and every way to put strands on it is
    listed; they fit alike.
    """
    slope, _ = continuous
    is_auto = settings.point_group == "auto"
    order = judge.rod_order(slope) if is_auto else base.cyclic_order
    twist = slope * _CROSS_BETA_A
    low, high = settings.rise_range_A
    is_fine = judge.filament.resolution_A < _CROSS_BETA_RESOLUTION_A
    may_be_amyloid = is_fine and abs(twist) <= _MAX_CROSS_BETA_TWIST_DEG
    options = _strand_symmetries(twist, order, is_auto) if may_be_amyloid else []
    options = [s for s in options if low <= s.rise_A <= high] or [replace(base, point_group=f"C{order}")]
    found = []
    for symmetry in options[: settings.max_candidates]:
        candidate = candidate_for(judge, symmetry)
        if may_be_amyloid:
            rise_se = _CROSS_BETA_SE_A * symmetry.rise_A / _CROSS_BETA_A
            twist_se = float(np.hypot(judge.twist_error(symmetry), slope * rise_se))
        else:
            rise_se = twist_se = None
        found.append(replace(candidate, twist_se_deg=twist_se, rise_se_A=rise_se))
    found, warnings = _with_rivals(found, range(1, len(found)))
    warnings.insert(
        0,
        f"The map shows no features along its axis: it fixes the twist per length, {slope:.4f}°/Å (C{order}), but not "
        "the rise. "
        + (
            f"A β-strand spacing of {_CROSS_BETA_A} ± {_CROSS_BETA_SE_A} Å is assumed for the candidates."
            if may_be_amyloid
            else "The rise given is one of many that fit."
        ),
    )
    return Verdict(found, None, warnings, is_rise_assumed=may_be_amyloid)


def _strand_symmetries(twist_deg: float, order: int, is_auto: bool) -> list[HelicalSymmetry]:
    """Strands as n-fold screws (staggered), as Cn (level), and with the symmetry of each divisor of n."""
    if not is_auto:
        return [HelicalSymmetry(twist_deg, _CROSS_BETA_A, f"C{order}").canonical()]
    level = HelicalSymmetry(twist_deg, _CROSS_BETA_A)
    found: list[HelicalSymmetry] = []
    for n in (d for d in range(order, 1, -1) if order % d == 0):
        ring, *staggered = level.one_start_reductions(n)
        found += [*[s for s in staggered if abs(s.twist_deg) > 360.0 / n - 180.0 / n], ring]
    return [*found, level.canonical()]
