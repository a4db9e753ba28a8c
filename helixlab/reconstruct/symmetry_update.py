"""Twist and rise between iterations: searched in the half maps as they are before any symmetry is applied to them."""

from dataclasses import dataclass, replace

import numpy as np

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.search import compute_landscape, prepare_filament
from helixlab.search.judge import Judge

_DETERMINED = 0.1
"""Largest standard errors, as parts of the search's extents, with which values are taken if no resolution is set from
which on they are: a filament without features along its axis has a rise that is anywhere."""

_MISFIT = 0.2
"""What may be missing from a perfect score: true symmetries missed 0.02 to 0.05, wrong ones 0.3 to 0.7."""

_SIGMAS = 3.0
"""Standard errors beyond which a difference is more than noise."""

_SETTLED = 0.25
"""Values that have moved by less than this part of the search's extents are the same as before."""


@dataclass(frozen=True)
class SymmetryEstimate:
    """A symmetry with the standard errors of its numbers; infinite where they are not known.

    Parameters
    ----------
    symmetry : HelicalSymmetry
    twist_se_deg, rise_se_A : float
    warning : str
        Why the values were not updated, if they were not.
    doubt : str
        Why the symmetry is doubted, if it is.
    """

    symmetry: HelicalSymmetry
    twist_se_deg: float = np.inf
    rise_se_A: float = np.inf
    warning: str = ""
    doubt: str = ""


def update_symmetry(
    half1: Volume,
    half2: Volume,
    latest: SymmetryEstimate,
    settings: RefinementSettings,
    *,
    outer_radius_A: float,
    is_imposed: bool = False,
) -> SymmetryEstimate:
    """The best twist and rise in the settings' search ranges.

    Parameters
    ----------
    half1, half2 : Volume
        Half maps without symmetry.
    latest : SymmetryEstimate
        Of the last iteration; kept if the half maps do not determine a better one, and, with a warning, if the best
        lies outside the ranges.
    settings : RefinementSettings
    outer_radius_A : float
        Of the filament, unless the settings say.
    is_imposed : bool
        Whether the images were aligned with maps that the symmetry had been imposed on in real space. What is made of
        these poses has it, true or not: it cannot take back an earlier doubt.

    Notes
    -----
    All pairs of the grid are scored by the correlation between the halves over all copies; the best is refined
    continuously, and so is the latest one: that with the higher score is taken.
    """
    outer_A = settings.outer_diameter_A / 2 if settings.outer_diameter_A else outer_radius_A
    inner_A = settings.inner_diameter_A / 2 if settings.inner_diameter_A else None
    filament = prepare_filament(half1, half2, inner_radius_A=inner_A, outer_radius_A=outer_A)
    before = latest.symmetry
    twists, rises = settings.search_ranges(before)
    landscape = compute_landscape(
        filament,
        np.linspace(*twists, settings.twist_grid),
        np.linspace(*rises, settings.rise_grid),
        cyclic_order=before.cyclic_order,
    )
    twist, rise = np.unravel_index(landscape.score.argmax(), landscape.score.shape)
    start = HelicalSymmetry(float(landscape.twist_deg[twist]), float(landscape.rise_A[rise]), before.point_group)
    judge = Judge(filament)
    found = max(judge.refine_all([start, before]), key=lambda symmetry: judge.score(symmetry)[0])
    errors = judge.standard_errors(found)
    extents = (twists[1] - twists[0]) / 2, (rises[1] - rises[0]) / 2
    ranges = zip(_values(found), (twists, rises), strict=True)
    excess = [max(low - value, value - high, 0.0) for value, (low, high) in ranges]
    is_early = settings.symmetry_search_start_res_A is None
    is_within = all(e <= _SIGMAS * error for e, error in zip(excess, errors, strict=True))
    if is_early and is_within and any(error > _DETERMINED * e for error, e in zip(errors, extents, strict=True)):
        return replace(latest, warning="")
    if any(excess):
        return replace(
            latest,
            warning=f"Before any is imposed, the best symmetry of the half maps, {found.twist_deg:.3f}° and "
            f"{found.rise_A:.3f} Å, lies outside the search ranges. Widen the ranges, or doubt the symmetry.",
        )
    is_same = all(abs(a - b) < _SETTLED * e for a, b, e in zip(_values(found), _values(before), extents, strict=True))
    earlier = latest.doubt if is_imposed and is_same else ""
    return SymmetryEstimate(found, *errors, doubt=_doubt(judge, found) or earlier)


def _values(symmetry: HelicalSymmetry) -> tuple[float, float]:
    return symmetry.twist_deg, symmetry.rise_A


def _doubt(judge: Judge, symmetry: HelicalSymmetry) -> str:
    """A warning if maps on which no helix was imposed do not have it.

    Images that were aligned with a symmetric reference repeat it only as far as they fit it.
    """
    score, error = judge.score(symmetry)[0], judge.score_error(symmetry)
    if 1.0 - score <= max(_MISFIT, _SIGMAS * error):
        return ""
    return (
        f"The imposed symmetry is doubted: before it is imposed, the half maps correlate with their copies under it by "
        f"only {score:.2f} ± {error:.2f} of what a true symmetry gives. Compare it with others (helixlab compare)."
    )
