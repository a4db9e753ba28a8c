"""Twist and rise between iterations: searched in the half maps as they are before any symmetry is applied to them."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class SymmetryEstimate:
    """A symmetry with the standard errors of its numbers; infinite where they are not known.

    Parameters
    ----------
    symmetry : HelicalSymmetry
    twist_se_deg, rise_se_A : float
    warning : str
        Why the values were not updated, if they were not, or why they are doubted.
    """

    symmetry: HelicalSymmetry
    twist_se_deg: float = np.inf
    rise_se_A: float = np.inf
    warning: str = ""


def update_symmetry(
    half1: Volume,
    half2: Volume,
    latest: HelicalSymmetry,
    settings: RefinementSettings,
    *,
    outer_radius_A: float,
) -> SymmetryEstimate:
    """The best twist and rise in the settings' search ranges.

    Parameters
    ----------
    half1, half2 : Volume
        Half maps without symmetry.
    latest : HelicalSymmetry
        Of the last iteration; kept, with a warning, if the best lies outside the ranges.
    settings : RefinementSettings
    outer_radius_A : float
        Of the filament, unless the settings say.

    Notes
    -----
    All pairs of the grid are scored by the correlation between the halves over all copies; the best is refined
    continuously, and so is the latest one: that with the higher score is taken.
    """
    outer_A = settings.outer_diameter_A / 2 if settings.outer_diameter_A else outer_radius_A
    inner_A = settings.inner_diameter_A / 2 if settings.inner_diameter_A else None
    filament = prepare_filament(half1, half2, inner_radius_A=inner_A, outer_radius_A=outer_A)
    twists, rises = settings.search_ranges(latest)
    landscape = compute_landscape(
        filament,
        np.linspace(*twists, settings.twist_grid),
        np.linspace(*rises, settings.rise_grid),
        cyclic_order=latest.cyclic_order,
    )
    twist, rise = np.unravel_index(landscape.score.argmax(), landscape.score.shape)
    start = HelicalSymmetry(float(landscape.twist_deg[twist]), float(landscape.rise_A[rise]), latest.point_group)
    judge = Judge(filament)
    found = max(judge.refine_all([start, latest]), key=lambda symmetry: judge.score(symmetry)[0])
    if not (twists[0] <= found.twist_deg <= twists[1] and rises[0] <= found.rise_A <= rises[1]):
        return SymmetryEstimate(
            latest,
            warning=f"The best symmetry, {found.twist_deg:.3f}° and {found.rise_A:.3f} Å, lies outside the search "
            "ranges; twist and rise were kept. Widen the ranges, or doubt the symmetry.",
        )
    errors = judge.standard_errors(found)
    is_early = settings.symmetry_search_start_res_A is None
    extents = (twists[1] - twists[0]) / 2, (rises[1] - rises[0]) / 2
    if is_early and any(error > _DETERMINED * extent for error, extent in zip(errors, extents, strict=True)):
        return SymmetryEstimate(latest)
    return SymmetryEstimate(found, *errors, _doubt(judge, found))


def _doubt(judge: Judge, symmetry: HelicalSymmetry) -> str:
    """A warning if maps on which no helix was imposed do not have it.

    Images that were aligned with a symmetric reference repeat it only as far as they fit it.
    """
    score, error = judge.score(symmetry)[0], judge.score_error(symmetry)
    if 1.0 - score <= max(_MISFIT, 3 * error):
        return ""
    return (
        f"The imposed symmetry is doubted: before it is imposed, the half maps correlate with their copies under it by "
        f"only {score:.2f} ± {error:.2f} of what a true symmetry gives. Compare it with others (helixlab compare)."
    )
