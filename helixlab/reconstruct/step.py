"""One iteration of the refinement, as a function from state to state: ``init``, ``step`` and ``terminate``.

One iteration aligns every image with its half-set's reference, measures the noise, sums the images into two maps, lets
twist and rise follow them, and reads from the FSC of the half maps how far the next one may look.

How far: to the frequency at which the halves agree, but by at most :data:`_GROWTH` beyond the last alignment, because
poses found at a low resolution may agree at a high one only where they are right. All maps are made up to Nyquist, so
that the FSC says what happens beyond the frequencies that were aligned on, where no reference has biased it.
"""

import time
from dataclasses import dataclass, replace
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume, parse_point_group
from helixlab.kernels.fourier import fft_volume, ifft_volume, shell_numbers
from helixlab.reconstruct.agreement import Agreement, half_map_agreement
from helixlab.reconstruct.expectation import SearchRange, align_images
from helixlab.reconstruct.initial_model import initial_model
from helixlab.reconstruct.masking import FilamentMask, dynamic_mask, static_mask
from helixlab.reconstruct.maximisation import accumulate, half_map, symmetrised, symmetrised_in_real_space
from helixlab.reconstruct.noise import image_power, residual_power
from helixlab.reconstruct.poses import Poses, joined_poses
from helixlab.reconstruct.prepare import PreparedParticles
from helixlab.reconstruct.regularise import filtered_nonuniform
from helixlab.reconstruct.settings import RefinementSettings, max_symmetry_order
from helixlab.reconstruct.starts import find_start
from helixlab.reconstruct.symmetry_update import SymmetryEstimate, update_symmetry
from helixlab.validate.fsc import HALF_MAP_THRESHOLD

_GROWTH = 2**0.5
"""Alignment looks at most this much further than in the last iteration; the shells it ends at are powers of it apart,
so that few different sizes are compiled."""

_GRID_RES_A = 12.0
"""The search over all orientations looks no further: there a filament's projections are told apart."""

_FSC_FLOOR = 0.02
"""The least that the Wiener filter believes: the FSC of a finite shell is no proof of there being nothing."""

_IMPROVED = 0.01
"""The GSFSC or the posterior has improved if it grew by this part."""

_CONVERGING_RES_A = 6.0
"""Before it one iteration without progress is no reason to stop."""

_PATIENCE = 2
"""How many more there must be."""

_PARTED = 0.9
"""The halves part when they agree beyond this part of the resolution up to which they were joined."""

_HOPE = 0.9
"""FSC of the first references, which were low-passed instead of compared."""

_NO_TWO_AGREE = (
    "Of {} pairs of initial models from random azimuths no two agreed (highest correlation {:.2f}): polarities may be "
    "mixed. Compare runs with other seeds, allow more initial models, give one, or doubt the symmetry."
)

_SAME_PIXEL = 0.01
"""Calibrations of one microscope differ by less."""

_MEMORY = 0.7
"""The Wiener filter believes at least this part of what it believed before: the chance FSC of one iteration must not
starve the next of its reference."""


@dataclass(frozen=True, eq=False)
class RefinementState:
    """All that one iteration hands to the next.

    Parameters
    ----------
    iteration : int
        Those done.
    estimate : SymmetryEstimate or None
        None where no helical symmetry is imposed.
    half_maps : pair of Volume
        As reconstructed, without filter.
    references : pair of Volume
        What the next iteration aligns with: joined, filtered, masked.
    mask : FilamentMask
    noise_power : float array, shape (g, s)
    poses : Poses or None
        Of all images; None before the first iteration.
    fsc : float array, shape (s,)
        That the references were filtered by, unless they were filtered locally.
    align_shell : int
        To which the next iteration aligns.
    is_joined : bool
        Whether the halves share their reference as far as at first.
    is_real_space : bool
        Whether symmetry is imposed in real space: once begun it stays.
    resolution_A, best_resolution_A : float
        GSFSC of the last iteration and of the best made in its way; before the first that of a start in which two
        models agreed.
    log_posterior : float
        Mean over the images of the last iteration's.
    n_stalled : int
        Iterations since something last improved.
    start_warning : str
        Why the model it began with is doubted; empty if it is not.
    """

    iteration: int
    estimate: SymmetryEstimate | None
    half_maps: tuple[Volume, Volume]
    references: tuple[Volume, Volume]
    mask: FilamentMask
    noise_power: Float[np.ndarray, "g s"]
    poses: Poses | None
    fsc: Float[np.ndarray, "s"]
    align_shell: int
    is_joined: bool = True
    is_real_space: bool = False
    resolution_A: float = np.inf
    best_resolution_A: float = np.inf
    log_posterior: float = -np.inf
    n_stalled: int = 0
    start_warning: str = ""

    @property
    def symmetry(self) -> HelicalSymmetry | None:
        """Imposed in the next iteration."""
        return None if self.estimate is None else self.estimate.symmetry


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


def init(
    particles: PreparedParticles,
    settings: RefinementSettings,
    *,
    volume: Volume | None = None,
    mask: Volume | None = None,
) -> RefinementState:
    """The state before the first iteration.

    Parameters
    ----------
    particles : PreparedParticles
    settings : RefinementSettings
    volume : Volume, optional
        An initial model; default: made from the images or a cylinder, as the settings say.
    mask : Volume, optional
        The static mask.

    Raises
    ------
    HelixLabError
        If a map does not lie on the images' grid, or the settings ask for a static mask and none is given.
    """
    for name, given in (("volume", volume), ("mask", mask)):
        if given is not None and given.shape != 3 * (particles.box_px,):
            raise HelixLabError(
                f"{name}: found {given.shape} voxels for images of {particles.box_px} pixels; resample it to the "
                "images' box and pixel size."
            )
        if given is not None and abs(given.pixel_size_A / particles.pixel_size_A - 1) > _SAME_PIXEL:
            raise HelixLabError(
                f"{name}: found {given.pixel_size_A:.4g} Å per voxel for images of {particles.pixel_size_A:.4g} Å; "
                "resample it to the images' box and pixel size, or correct its header."
            )
    if settings.mask == "static" and mask is None:
        raise HelixLabError("mask: the settings ask for a static mask; give one, or set mask=dynamic.")
    noise = image_power(particles)
    order = symmetry_order(particles, settings)
    halves = initial_model(particles, settings, noise, order=order, given=volume)
    found = static_mask(mask) if settings.mask == "static" and mask is not None else _mask_of(halves, settings)
    first = particles.shell_of(settings.initial_lowpass_res_A)
    estimate = None if settings.symmetry is None else SymmetryEstimate(settings.symmetry)
    fsc = np.where(np.arange(particles.last_shell + 1) <= first, _HOPE, _FSC_FLOOR)
    references = _references(halves, particles.last_shell, found)
    state = RefinementState(
        0, estimate, halves, references, found, noise, None, fsc, _next_shell(particles, first, first * _GROWTH)
    )
    is_given = volume is not None or settings.use_cylindrical_model
    return state if is_given or settings.n_initial_models == 0 else _from_best_start(particles, state, settings)


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
    shells = _align_shells(particles, state.align_shell)
    ranges = search_range(particles, state, settings)
    alignments = [
        align_images(
            particles,
            particles.rows_of(half),
            jnp.asarray(reference.data),
            state.noise_power,
            ranges,
            shells=shells,
            is_coherent=settings.filament_coherence,
        )
        for half, reference in enumerate(state.references, start=1)
    ]
    poses = joined_poses([alignment.poses for alignment in alignments])
    if state.symmetry is not None and settings.limit_shifts:
        poses = poses.within_one_unit(state.symmetry, particles.pixel_size_A)
    clock.lap("expectation")

    first, second = (jnp.asarray(reference.data) for reference in state.references)
    noise = residual_power(particles, poses, (first, second), state.noise_power)
    clock.lap("noise")

    plain = [accumulate(particles, poses.select(particles.half_set[poses.image] == half), noise) for half in (1, 2)]
    clock.lap("maximisation")

    estimate, is_searched = state.estimate, False
    if state.symmetry is not None and state.resolution_A <= (settings.symmetry_search_start_res_A or _GRID_RES_A):
        # Images see one n-th of the azimuths of a Cn: its turns are no part of what is searched.
        whole = (symmetrised(total, None, settings.point_group, order=1, box_A=particles.box_A) for total in plain)
        one, two = (_volume(particles, half_map(total, box_px=particles.box_px)) for total in whole)
        estimate = update_symmetry(one, two, state.symmetry, settings, outer_radius_A=state.mask.outer_radius_A)
        is_searched = True
        clock.lap("symmetry")

    order = symmetry_order(particles, settings)
    symmetry = None if estimate is None else estimate.symmetry
    totals = [symmetrised(total, symmetry, settings.point_group, order=order, box_A=particles.box_A) for total in plain]
    is_real_space = symmetry is not None and (
        state.is_real_space or state.resolution_A <= settings.realspace_symmetrize_res_A
    )
    imposed = symmetry if is_real_space else None

    def half_maps(fsc: Float[np.ndarray, "s"] | None) -> tuple[Volume, Volume]:
        one, two = (_half_volume(particles, total, fsc, imposed, state.mask) for total in totals)
        return one, two

    halves = half_maps(None)
    agreement = half_map_agreement(
        *halves,
        state.mask.mask,
        cyclic_order=parse_point_group(settings.point_group)[1],
        is_corrected=settings.hr_noise_substitution,
        seed=settings.seed,
        shared_res_A=_join_A(settings, state.is_joined),
    )
    fsc = np.maximum(_trusted(agreement.smooth.fsc[: particles.last_shell + 1]), _MEMORY * state.fsc)
    resolution_A = agreement.resolution_A
    is_nonuniform = (
        settings.use_nonuniform and min(resolution_A, state.best_resolution_A) <= settings.nonuniform_start_res_A
    )
    filtered = filtered_nonuniform(halves, state.mask.mask)[0] if is_nonuniform else half_maps(fsc)
    clock.lap("maps")

    poses_agree_A = agreement.poses_agree_A
    next_shell = _next_shell(particles, state.align_shell, particles.box_A / poses_agree_A)
    is_joined = state.is_joined and poses_agree_A > _PARTED * _first_join_A(settings)
    join_A = _join_A(settings, is_joined)
    mask = state.mask if settings.mask == "static" else _mask_of(filtered, settings)
    reference = _references(filtered, particles.shell_of(join_A), mask)
    log_posterior = float(np.mean(np.concatenate([alignment.log_posterior for alignment in alignments])))
    # Averaging in real space takes away what the halves shared by mistake: their agreement is measured anew.
    best_A = state.best_resolution_A if is_real_space == state.is_real_space else np.inf
    has_improved = (
        resolution_A < best_A * (1 - _IMPROVED)
        or log_posterior > state.log_posterior + _IMPROVED * abs(state.log_posterior)
        or next_shell > state.align_shell
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
    the images' posterior; then the extra final passes follow. Before 6 Å (or a tenth before the Nyquist frequency,
    where the images' pixels are coarser) three such iterations in a row are needed, and there may be no more of all
    than the settings say.
    """
    if state.iteration >= settings.max_iterations:
        return "max_iterations"
    enough_A = max(_CONVERGING_RES_A, 2 * particles.pixel_size_A * 1.1)
    is_coarse = state.best_resolution_A > enough_A
    if state.n_stalled > settings.extra_final_passes + (_PATIENCE if is_coarse else 0):
        return "converged"
    return "max_iterations" if is_coarse and state.iteration >= settings.max_iterations_below_6A else None


def search_range(particles: PreparedParticles, state: RefinementState, settings: RefinementSettings) -> SearchRange:
    """Where the next iteration looks for poses."""
    across_A = settings.shift_range_across_A
    along_A = settings.shift_range_along_A
    if along_A is None:
        along_A = across_A if state.symmetry is None else state.symmetry.rise_A / 2
    order = parse_point_group(settings.point_group)[1]
    return SearchRange(
        max(state.mask.outer_radius_A, particles.pixel_size_A),
        settings.mask_z_clip_fraction * particles.box_A,
        order,
        along_A,
        across_A,
        settings.tilt_prior_sd_deg,
        settings.psi_prior_sd_deg,
    )


def symmetry_order(particles: PreparedParticles, settings: RefinementSettings) -> int:
    """How many asymmetric units each segment contributes."""
    if settings.symmetry is None:
        return 1
    return settings.max_symmetry_order or max_symmetry_order(particles.inter_box_distance_A, settings.symmetry.rise_A)


# --- private steps ------------------------------------------------------------------------------


def _from_best_start(
    particles: PreparedParticles, state: RefinementState, settings: RefinementSettings
) -> RefinementState:
    """The state with one reference for both half-sets, as far as they share it, in which polarities have settled."""
    join_A = _first_join_A(settings)
    start = find_start(
        particles,
        settings,
        state.noise_power,
        search_range(particles, state, settings),
        order=symmetry_order(particles, settings),
        resolution_A=_GRID_RES_A,
        model_res_A=join_A,
    )
    shell = particles.shell_of(join_A)
    return replace(
        state,
        references=_references((start.model, start.model), shell, state.mask),
        fsc=np.where(np.arange(particles.last_shell + 1) <= shell, _HOPE, _FSC_FLOOR),
        resolution_A=particles.resolution_A(shell) if start.has_agreed else np.inf,
        align_shell=_next_shell(particles, shell, max(shell, particles.shell_of(_GRID_RES_A))),
        start_warning="" if start.has_agreed else _NO_TWO_AGREE.format(start.n_models, start.agreement),
    )


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = round(now - self._last, 3)
        self._last = now


def _align_shells(particles: PreparedParticles, last: int) -> tuple[int, ...]:
    """The grid search's shell, then those of the climbs: the grid's own and the last."""
    grid = min(particles.shell_of(_GRID_RES_A), last)
    return (grid, grid, last) if last > grid else (grid, grid)


def _next_shell(particles: PreparedParticles, latest: int, wanted: float) -> int:
    """The shell to align to next: the first of the ladder not below what is wanted, a step up at most.

    The ladder's shells are powers of :data:`_GROWTH` below the last shell.
    """
    n_steps = int(np.log(max(particles.last_shell, 2)) / np.log(_GROWTH))
    ladder = np.unique(np.ceil(particles.last_shell / _GROWTH ** np.arange(n_steps, -1.0, -1.0)).astype(int))
    above = ladder[ladder > latest]
    highest = above[0] if len(above) else particles.last_shell
    reaching = ladder[ladder >= min(wanted, particles.last_shell)]
    return int(min(highest, max(reaching[0], ladder[ladder <= latest][-1] if latest >= ladder[0] else ladder[0])))


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


def _trusted(fsc: Float[np.ndarray, "s"]) -> Float[np.ndarray, "s"]:
    """The FSC as the Wiener filter goes by it: nothing that comes after the first crossing counts."""
    below = np.flatnonzero(fsc[1:] < HALF_MAP_THRESHOLD) + 1
    is_after = np.arange(len(fsc)) >= (below[0] if len(below) else len(fsc))
    return np.clip(np.where(is_after, np.minimum(fsc, HALF_MAP_THRESHOLD), fsc), _FSC_FLOOR, 0.999)


def _first_join_A(settings: RefinementSettings) -> float:
    """Up to which resolution the halves share their reference at first.

    As far as the search over the grid looks, which decides on azimuth and polarity: halves that decide apart would
    never meet again.
    """
    return min(settings.low_resolution_join_A or _GRID_RES_A, settings.gsfsc_split_res_A)


def _join_A(settings: RefinementSettings, is_joined: bool) -> float:
    """Up to which resolution the halves share their reference."""
    return _first_join_A(settings) if is_joined else settings.gsfsc_split_res_A


def _mask_of(halves: tuple[Volume, Volume], settings: RefinementSettings) -> FilamentMask:
    return dynamic_mask(halves[0].with_data((halves[0].data + halves[1].data) / 2), settings)


def _references(halves: tuple[Volume, Volume], join_shell: int, mask: FilamentMask) -> tuple[Volume, Volume]:
    """The half maps with their mean in place of both up to a shell, masked."""
    shape = halves[0].data.shape
    first, second = (fft_volume(jnp.asarray(half.data)) for half in halves)
    is_shared = shell_numbers(shape) <= join_shell
    mean = (first + second) / 2
    joined = (ifft_volume(jnp.where(is_shared, mean, own), shape) for own in (first, second))
    one, two = (half.with_data(np.asarray(j) * mask.mask) for half, j in zip(halves, joined, strict=True))
    return one, two
