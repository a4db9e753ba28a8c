"""One iteration of the refinement, as a function from state to state, and when there are no more.

It aligns every image with its half-set's reference, measures the noise, sums the images into two maps, lets twist and
rise follow them, and reads from the FSC of the half maps how far the next one may look.
"""

import time
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from helixlab.geometry import HelicalSymmetry, Volume, parse_point_group
from helixlab.reconstruct.agreement import Agreement, half_map_agreement
from helixlab.reconstruct.at_once import at_once
from helixlab.reconstruct.expectation import Alignment, align_images
from helixlab.reconstruct.masking import FilamentMask, dynamic_mask
from helixlab.reconstruct.maximisation import (
    accumulate,
    half_map,
    mean_map,
    symmetrised,
    symmetrised_in_real_space,
)
from helixlab.reconstruct.noise import residual_power
from helixlab.reconstruct.poses import joined_poses
from helixlab.reconstruct.prepare import PreparedParticles
from helixlab.reconstruct.references import (
    GRID_RES_A,
    align_shells,
    first_shared_res_A,
    joined_references,
    next_align_shell,
    shared_res_A,
    trusted_fsc,
)
from helixlab.reconstruct.regularise import filtered_nonuniform
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.state import RefinementState, in_place, search_range, symmetry_order
from helixlab.reconstruct.symmetry_update import update_symmetry

_IMPROVED = 0.01
"""The GSFSC or the posterior has improved if it grew by this part."""

_CONVERGING_RES_A = 6.0
"""Before it one iteration without progress is no reason to stop."""

_PATIENCE = 2
"""How many more there must be."""

_PARTED = 0.9
"""The halves part when they agree beyond this part of the resolution up to which they were joined."""

_MEMORY = 0.7
"""The Wiener filter believes at least this part of what it believed before: the chance FSC of one iteration must not
starve the next of its reference."""


@dataclass(frozen=True, eq=False)
class StepInfo:
    """What an iteration tells beside its state.

    Parameters
    ----------
    agreement : Agreement
    log_posterior : float array, shape (n,)
        Of each image's best pose.
    align_shell : int
        To which this iteration aligned.
    join_A : float
        The halves shared their reference up to this resolution.
    is_searched, is_real_space, is_nonuniform : bool
        Whether twist and rise were searched, symmetry was imposed in real space, and the next references were filtered
        locally.
    seconds : dict
        By phase.
    """

    agreement: Agreement
    log_posterior: Float[np.ndarray, "n"]
    align_shell: int
    join_A: float
    is_searched: bool
    is_real_space: bool
    is_nonuniform: bool
    seconds: dict[str, float]


def step(
    particles: PreparedParticles, state: RefinementState, settings: RefinementSettings
) -> tuple[RefinementState, StepInfo]:
    """One iteration.

    Parameters
    ----------
    particles : PreparedParticles
    state : RefinementState
    settings : RefinementSettings

    Returns
    -------
    RefinementState, StepInfo
    """
    clock = _Clock()
    shells = align_shells(particles, state.align_shell)
    ranges = search_range(particles, settings, state.symmetry, state.mask.outer_radius_A)

    def aligned(half: int, reference: Volume) -> Alignment:
        return align_images(
            particles,
            particles.rows_of(half),
            jnp.asarray(reference.data),
            state.noise_power,
            ranges,
            shells=shells,
            is_coherent=settings.filament_coherence,
            lattice=state.symmetry,
        )

    alignments = at_once(aligned, (1, 2), state.references)
    poses = joined_poses([alignment.poses for alignment in alignments])
    if state.symmetry is not None and settings.limit_shifts:
        poses = poses.within_one_unit(state.symmetry, particles.pixel_size_A)
    clock.lap("expectation")

    first, second = (jnp.asarray(reference.data) for reference in state.references)
    noise = residual_power(particles, poses, (first, second), state.noise_power)
    clock.lap("noise")

    poses = in_place(poses, settings, ranges)

    def accumulated(half: int) -> Float[Array, "z z x 3"]:
        return accumulate(particles, poses.select(particles.half_set[poses.image] == half), noise)

    plain = at_once(accumulated, (1, 2))
    clock.lap("maximisation")

    estimate, is_searched = state.estimate, False
    if estimate is not None and state.resolution_A <= (settings.symmetry_search_start_res_A or GRID_RES_A):
        # Images see one n-th of the azimuths of a Cn: its turns are no part of what is searched.
        whole = (symmetrised(total, None, settings.point_group, order=1, box_A=particles.box_A) for total in plain)
        one, two = (_volume(particles, half_map(total, box_px=particles.box_px)) for total in whole)
        radius_A, is_imposed = state.mask.outer_radius_A, state.is_real_space
        estimate = update_symmetry(one, two, estimate, settings, outer_radius_A=radius_A, is_imposed=is_imposed)
        is_searched = True
        clock.lap("symmetry")

    order = symmetry_order(particles, settings, settings.symmetry)
    symmetry = None if estimate is None else estimate.symmetry
    totals = [symmetrised(total, symmetry, settings.point_group, order=order, box_A=particles.box_A) for total in plain]
    is_real_space = symmetry is not None and (
        state.is_real_space or state.resolution_A <= settings.realspace_symmetrize_res_A
    )
    imposed = symmetry if is_real_space else None

    def half_maps(fsc: Float[np.ndarray, "s"] | None) -> tuple[Volume, Volume]:
        # One after the other: in large boxes each takes much memory for a short time.
        one, two = (_half_volume(particles, total, fsc, imposed, state.mask) for total in totals)
        return one, two

    halves = half_maps(None)
    agreement = half_map_agreement(
        *halves,
        state.mask.mask,
        cyclic_order=parse_point_group(settings.point_group)[1],
        is_corrected=settings.hr_noise_substitution,
        seed=settings.seed,
        shared_res_A=shared_res_A(settings, state.is_joined),
    )
    fsc = np.maximum(trusted_fsc(agreement.smooth.fsc[: particles.last_shell + 1]), _MEMORY * state.fsc)
    resolution_A = agreement.resolution_A
    is_nonuniform = (
        settings.use_nonuniform and min(resolution_A, state.best_resolution_A) <= settings.nonuniform_start_res_A
    )
    filtered = filtered_nonuniform(halves, state.mask.mask)[0] if is_nonuniform else half_maps(fsc)
    clock.lap("maps")

    poses_agree_A = agreement.poses_agree_A
    next_shell = next_align_shell(particles, state.align_shell, particles.box_A / poses_agree_A)
    is_joined = state.is_joined and poses_agree_A > _PARTED * first_shared_res_A(settings)
    join_A = shared_res_A(settings, is_joined)
    mask = state.mask if settings.mask == "static" else dynamic_mask(mean_map(filtered), settings)
    reference = joined_references(filtered, particles.shell_of(join_A), mask)
    log_posterior = float(np.mean(np.concatenate([alignment.log_posterior for alignment in alignments])))
    # Averaging in real space takes away what the halves shared by mistake: their agreement is measured anew.
    best_A = state.best_resolution_A if is_real_space == state.is_real_space else np.inf
    has_reached_end = min(state.align_shell, particles.shell_of(resolution_A)) == particles.last_shell
    has_improved = next_shell > state.align_shell or (
        not has_reached_end
        and (
            resolution_A < best_A * (1 - _IMPROVED)
            or log_posterior > state.log_posterior + _IMPROVED * abs(state.log_posterior)
        )
    )
    new = RefinementState(
        state.iteration + 1,
        estimate,
        halves,
        reference,
        mask,
        noise,
        poses,
        fsc,
        next_shell,
        is_joined,
        is_real_space,
        resolution_A,
        min(resolution_A, best_A),
        log_posterior,
        0 if has_improved else state.n_stalled + 1,
        state.start_warning,
    )
    posterior = np.empty(len(particles))
    for half, alignment in enumerate(alignments, start=1):
        posterior[particles.rows_of(half)] = alignment.log_posterior
    return new, StepInfo(
        agreement, posterior, state.align_shell, join_A, is_searched, is_real_space, is_nonuniform, clock.seconds
    )


def terminate(
    particles: PreparedParticles, state: RefinementState, settings: RefinementSettings
) -> Literal["converged", "max_iterations"] | None:
    """Whether the run ends here, and why.

    Notes
    -----
    A run converges when an iteration that aligned as far as the halves agree has improved neither the best GSFSC nor
    the images' posterior, or in which the halves agree up to the images' last shell, where nothing is left to gain;
    then the extra final passes follow. Before 6 Å (or a tenth before the Nyquist frequency, where the images' pixels
    are coarser) three such iterations in a row are needed, and there may be no more of all than the settings say.
    """
    if state.iteration >= settings.max_iterations:
        return "max_iterations"
    enough_A = max(_CONVERGING_RES_A, 2 * particles.pixel_size_A * 1.1)
    is_coarse = state.best_resolution_A > enough_A
    if state.n_stalled > settings.extra_final_passes + (_PATIENCE if is_coarse else 0):
        return "converged"
    return "max_iterations" if is_coarse and state.iteration >= settings.max_iterations_below_6A else None


# --- private steps ------------------------------------------------------------------------------


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = round(now - self._last, 3)
        self._last = now


def _volume(particles: PreparedParticles, data: Float[np.ndarray, "n n n"]) -> Volume:
    return Volume(data, particles.pixel_size_A)


def _half_volume(
    particles: PreparedParticles,
    total: Float[Array, "z z x 3"],
    fsc: Float[np.ndarray, "s"] | None,
    symmetry: HelicalSymmetry | None,
    mask: FilamentMask,
) -> Volume:
    made = _volume(particles, half_map(total, fsc, box_px=particles.box_px))
    return made if symmetry is None else symmetrised_in_real_space(made, symmetry, mask.outer_radius_A)
