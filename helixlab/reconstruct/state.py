"""All that one iteration of the refinement hands to the next, and what follows from it at once."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from helixlab.geometry import HelicalSymmetry, Volume, parse_point_group
from helixlab.reconstruct.grid_search import SearchRange
from helixlab.reconstruct.masking import FilamentMask
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.spacing import max_symmetry_order
from helixlab.reconstruct.symmetry_update import SymmetryEstimate


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
        GSFSC of the last iteration, before the first that to which an initial model that another one confirmed is taken
        for known; and the best GSFSC made in the same way.
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


def with_edits(state: RefinementState, settings: RefinementSettings, names: Collection[str]) -> RefinementState:
    """The state from which a run goes on with settings of which some were edited: a new symmetry holds from now on."""
    edited = {"twist_deg", "rise_A", "point_group"} & set(names)
    if not edited:
        return state
    symmetry = settings.symmetry
    if edited == {"point_group"} and symmetry is not None and state.symmetry is not None:
        symmetry = replace(state.symmetry, point_group=settings.point_group)
    estimate = None if symmetry is None else SymmetryEstimate(symmetry)
    return replace(state, estimate=estimate, is_real_space=False, best_resolution_A=np.inf, n_stalled=0)


def search_range(
    particles: PreparedParticles, settings: RefinementSettings, symmetry: HelicalSymmetry | None, radius_A: float
) -> SearchRange:
    """Where poses of a filament of this symmetry and radius are searched."""
    across_A = settings.shift_range_across_A
    along_A = settings.shift_range_along_A
    if along_A is None:
        spacing_A = particles.inter_box_distance_A or 0.0
        along_A = max(across_A, spacing_A / 2) if symmetry is None else symmetry.rise_A / 2
    return SearchRange(
        max(radius_A, particles.pixel_size_A),
        settings.mask_z_clip_fraction * particles.box_A,
        parse_point_group(settings.point_group)[1],
        along_A,
        across_A,
        settings.tilt_prior_sd_deg,
        settings.psi_prior_sd_deg,
    )


def in_place(poses: Poses, settings: RefinementSettings, ranges: SearchRange) -> Poses:
    """Poses of a map whose axis is where it belongs; where a symmetry is imposed it cannot leave its place."""
    if settings.symmetry is not None or settings.point_group != "C1":
        return poses
    sd = np.array([settings.tilt_prior_sd_deg, settings.psi_prior_sd_deg, ranges.along_A, ranges.across_A])
    return poses.upright(np.maximum(sd, 1e-3))


def symmetry_order(particles: PreparedParticles, settings: RefinementSettings, symmetry: HelicalSymmetry | None) -> int:
    """How many asymmetric units of this symmetry each segment contributes."""
    if symmetry is None:
        return 1
    return settings.max_symmetry_order or max_symmetry_order(particles.inter_box_distance_A, symmetry.rise_A)
