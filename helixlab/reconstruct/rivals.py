"""Would another symmetry with the same layer lines explain the segments better? Asked once, when a run ends.

With u units in a turn of pitch P, layer lines lie at Z = (n + m·u)/P, n being the order of their Bessel function. With
u + q units they lie at the same heights, with orders n − m·q. Seen from the side, a line of order n is the same on both
sides of the meridian, but for the sign (−1)ⁿ: with an even q, what is an image of the one helix is an image of the
other from elsewhere. Maps made under the wrong one agree with each other, and have its symmetry before it is imposed.
What is left to tell the two apart is where the density lies: of a line that is taken for one of higher order a part
comes to lie outside the filament (on such pairs: Egelman 2014, eLife 3, e04969,
doi:10.7554/eLife.04969).

Where the image of one helix was taken of the other follows from the phases n·φ − 2πZ·z of all lines, which are to be
the same: from φ and z one comes to the other's pose by −q·φ/360° steps of the other's screw, whole or not. Thus a rival
needs no search: the poses are carried over, climb to their maxima, and the map of each half-set is scored on the
segments of the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from helixlab.geometry import HelicalSymmetry, wrap_deg
from helixlab.geometry.lattice import layer_lines
from helixlab.kernels.masks import cylindrical_mask
from helixlab.reconstruct.at_once import at_once
from helixlab.reconstruct.events import IterationEvent
from helixlab.reconstruct.expectation import Alignment, climb
from helixlab.reconstruct.grid_search import SearchRange
from helixlab.reconstruct.held_out import HeldOutScores, Mean
from helixlab.reconstruct.masking import dynamic_mask
from helixlab.reconstruct.maximisation import low_passed_map, mean_map, symmetrised_in_real_space
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.poses import Poses, joined_poses
from helixlab.reconstruct.prepare import PreparedParticles, narrowed
from helixlab.reconstruct.references import GRID_RES_A
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.state import RefinementState, search_range, symmetry_order
from helixlab.reconstruct.verdicts import LEAST_RISES, LEAST_SHELLS, N_SE

_Map = Float[Array, "n n n"]

_COUNT = 4
"""Rivals that are tried: those whose lines are most alike."""

_LEAST_GAIN = 0.01
"""Part of its log-likelihood by which a better symmetry is better at least. Pairs whose orders differ by little are
hardly told apart: a true symmetry's best rival came to between 10% less and 0.6% more, to 0.9% more where density might
lie anywhere. True symmetries came to 1.5 to 7% more than wrong ones."""

_LEAST_FILAMENTS = 6
"""Standard errors over fewer say little: over two and three filaments true symmetries were doubted."""

_MOST_SEGMENTS = 2000
"""More are not needed: whole filaments are left out evenly."""

_MARGIN_PX, _EDGE_PX = 1.0, 2.0
"""Of the mask round the filament, in voxels of half the resolution."""

_SAME_DEG, _SAME_PART = 1.0, 0.02
"""Twist, and part of the rise, by which a rival differs at least: nearer ones are found by the search of both."""


@dataclass(frozen=True)
class Rival:
    """A symmetry whose layer lines lie where those of another one lie.

    Parameters
    ----------
    symmetry : HelicalSymmetry
        Its twist is not wrapped: parts of its steps count.
    steps_per_turn : int
        Steps of its screw by which a pose moves when the other's azimuth grows by 360°.
    """

    symmetry: HelicalSymmetry
    steps_per_turn: int


def with_rival(
    event: IterationEvent, particles: PreparedParticles, state: RefinementState, settings: RefinementSettings
) -> IterationEvent:
    """The event of the last iteration with a warning if a rival explains the segments better."""
    symmetry = state.symmetry
    found = best_rival(particles, state, settings)
    if symmetry is None or found is None:
        return event
    rival, gain = found
    better = HelicalSymmetry(wrap_deg(rival.symmetry.twist_deg), rival.symmetry.rise_A, symmetry.point_group)
    hypotheses = ",".join(f"{s.twist_deg:.2f}/{s.rise_A:.3f}/{s.point_group}" for s in (symmetry, better))
    warning = (
        f"The imposed symmetry is doubted: another one ({better}), whose layer lines lie at the same heights, explains "
        f"held-out segments better, by {gain} of log-likelihood each. Compare both (helixlab compare "
        f'--hypotheses="{hypotheses}"), and refine with the better one.'
    )
    return event.model_copy(update={"warnings": (*event.warnings, warning)})


def best_rival(
    particles: PreparedParticles, state: RefinementState, settings: RefinementSettings
) -> tuple[Rival, Mean] | None:
    """The rival that explains segments better than the imposed symmetry, if there is one.

    Parameters
    ----------
    particles : PreparedParticles
    state : RefinementState
        After an iteration.
    settings : RefinementSettings

    Returns
    -------
    (Rival, Mean) or None
        The rival, and its log-likelihood per segment less that of the imposed symmetry, of segments on the map of the
        other half-set, paired by filament.
    """
    # Where polarities may be mixed, poses say nothing of symmetries, and the run has been doubted before.
    if state.symmetry is None or state.poses is None or state.start_warning:
        return None
    if len(np.unique(particles.filament)) < _LEAST_FILAMENTS or state.symmetry.rise_A * LEAST_RISES > particles.box_A:
        return None
    # A static mask may be wide, and what tells rivals apart is where no density lies.
    filament = dynamic_mask(mean_map(state.half_maps), settings)
    radius_A = min(state.mask.outer_radius_A, filament.outer_radius_A)
    # A dyad would have to lie where it lay: without it nothing is said but of the helix.
    imposed = replace(state.symmetry, point_group=f"C{state.symmetry.cyclic_order}")
    rivals = [
        rival
        for rival in rivals_of(imposed, radius_A, GRID_RES_A)
        if rival.symmetry.rise_A * LEAST_RISES <= particles.box_A
    ][:_COUNT]
    if not rivals or particles.shell_of(GRID_RES_A) < LEAST_SHELLS:
        return None
    coarse = narrowed(_with_fewer_filaments(particles), GRID_RES_A)
    poses = state.poses.best
    poses = replace(poses, shift_px=poses.shift_px * (particles.pixel_size_A / coarse.pixel_size_A))
    seen = _Seen.of(coarse, settings, image_power(coarse), [imposed, *(r.symmetry for r in rivals)], radius_A)
    views = [(imposed, poses), *((r.symmetry, carried(poses, r, coarse.pixel_size_A)) for r in rivals)]
    own, *others = (seen.scores(*view) for view in views)
    gains = [scores.less(own) for scores in others]
    best = max(range(len(rivals)), key=lambda n: gains[n].value)
    if gains[best].value < -N_SE * gains[best].se:
        return None
    # Poses that were carried over are not quite those that its own map gives.
    own, other = at_once(
        lambda symmetry, view: seen.scores(symmetry, seen.climbed(symmetry, view)),
        *zip(views[0], views[1 + best], strict=True),
    )
    gain = other.less(own)
    is_better = gain.value > N_SE * gain.se and gain.value > _LEAST_GAIN * abs(own.mean.value)
    return (rivals[best], gain) if is_better else None


def rivals_of(symmetry: HelicalSymmetry, radius_A: float, resolution_A: float) -> list[Rival]:
    """All symmetries of the same pitch and layer lines, those with the most similar orders first.

    Parameters
    ----------
    symmetry : HelicalSymmetry
        Of point group Cn.
    radius_A : float
        Of the filament: with the resolution it bounds the orders that are seen.
    resolution_A : float

    Returns
    -------
    list of Rival
        Empty if no line but those of the equator's orders is seen.

    Examples
    --------
    >>> first = rivals_of(HelicalSymmetry(-81.1, 4.115), 42.0, 12.0)[0].symmetry
    >>> round(first.twist_deg, 1), round(first.rise_A, 2)  # 8 − 4.44 units in a turn
    (-101.1, 5.13)
    """
    order = symmetry.cyclic_order
    twist_deg = wrap_deg(symmetry.twist_deg, 360.0 / order) or 360.0 / order
    units = 360.0 / twist_deg
    last = int(2 * np.pi * radius_A / resolution_A) + 2
    basic = replace(symmetry, twist_deg=twist_deg)
    lines = [line for line in layer_lines(basic, 1.0 / resolution_A, last) if line.branch]
    found = []
    step = int(np.lcm(2, order))
    for shift in range(-2 * last // step * step, 2 * last + 1, step):
        ratio = units / (units + shift) if shift and abs(units + shift) > 1e-6 else 0.0
        if not lines or not ratio:
            continue
        hand = 1 if ratio > 0 else -1
        rival = HelicalSymmetry(hand * ratio * twist_deg, hand * ratio * symmetry.rise_A, symmetry.point_group)
        if not _is_near(rival, symmetry):
            change = np.mean([abs(abs(a.bessel_order - a.branch * shift) - abs(a.bessel_order)) for a in lines])
            found.append((float(change), Rival(rival, -hand * shift)))
    return [rival for _, rival in sorted(found, key=lambda pair: (pair[0], abs(pair[1].steps_per_turn)))]


def carried(poses: Poses, rival: Rival, pixel_size_A: float) -> Poses:
    """The poses at which images of a helix, taken from the side, are images of its rival.

    Parameters
    ----------
    poses : Poses
    rival : Rival
    pixel_size_A : float

    Returns
    -------
    Poses
        At tilts of 90° and in the central unit: lines of different order follow a tilt differently.
    """
    flat = replace(poses, angles_deg=poses.angles_deg * [1.0, 0.0, 1.0] + [0.0, 90.0, 0.0])
    steps = rival.steps_per_turn * poses.angles_deg[:, 0] / 360.0
    return flat.along_screw(rival.symmetry, pixel_size_A, steps).within_one_unit(rival.symmetry, pixel_size_A)


# --- private helpers ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Seen:
    """What all symmetries have in common."""

    particles: PreparedParticles
    settings: RefinementSettings
    noise_power: Float[np.ndarray, "g s"]
    ranges: SearchRange
    mask: Float[np.ndarray, "n n n"]

    @classmethod
    def of(
        cls,
        particles: PreparedParticles,
        settings: RefinementSettings,
        noise_power: Float[np.ndarray, "g s"],
        symmetries: Sequence[HelicalSymmetry],
        radius_A: float,
    ) -> "_Seen":
        pixel_A, box = particles.pixel_size_A, particles.box_px
        radius_px = min(radius_A / pixel_A, box / 2 - _MARGIN_PX - _EDGE_PX)
        ranges = search_range(particles, settings, symmetries[0], radius_px * pixel_A)
        ranges = replace(ranges, along_A=max(s.rise_A for s in symmetries) / 2)
        clip = settings.mask_z_clip_fraction
        mask = cylindrical_mask((box, box, box), radius_px + _MARGIN_PX, z_fraction=clip, edge_px=_EDGE_PX)
        return cls(particles, settings, noise_power, ranges, np.asarray(mask))

    def scores(self, symmetry: HelicalSymmetry, poses: Poses) -> HeldOutScores:
        """Of every segment, at its nearest maximum on the other half-set's map."""
        one, two = self._maps(symmetry, poses)
        found = self._found(poses, (two, one))
        score = np.zeros(len(self.particles))
        for alignment in found:
            score[alignment.poses.image] = alignment.log_posterior
        rows = np.flatnonzero(self.particles.half_set)
        return HeldOutScores(score[rows], self.particles.filament[rows])

    def climbed(self, symmetry: HelicalSymmetry, poses: Poses) -> Poses:
        """The poses at their nearest maxima on their own half-set's map."""
        found = self._found(poses, self._maps(symmetry, poses))
        return joined_poses([alignment.poses for alignment in found]).within_one_unit(
            symmetry, self.particles.pixel_size_A
        )

    def _found(self, poses: Poses, maps: tuple[_Map, _Map]) -> list[Alignment]:
        def climbed(part: Poses, reference: _Map) -> Alignment:
            shell = self.particles.last_shell
            return climb(self.particles, part, reference, self.noise_power, self.ranges, shell=shell)

        return at_once(climbed, self._halves(poses), maps)

    def _halves(self, poses: Poses) -> list[Poses]:
        return [poses.select(self.particles.half_set[poses.image] == half) for half in (1, 2)]

    def _maps(self, symmetry: HelicalSymmetry, poses: Poses) -> tuple[_Map, _Map]:
        one, two = at_once(lambda part: self._map(symmetry, part), self._halves(poses))
        return one, two

    def _map(self, symmetry: HelicalSymmetry, poses: Poses) -> _Map:
        particles, order = self.particles, symmetry_order(self.particles, self.settings, symmetry)
        made = low_passed_map(
            particles,
            poses,
            self.noise_power,
            symmetry,
            symmetry.point_group,
            order=order,
            shell=particles.last_shell,
        )
        made = symmetrised_in_real_space(made, symmetry, self.ranges.radius_A)
        return jnp.asarray(made.data * self.mask)


def _is_near(symmetry: HelicalSymmetry, other: HelicalSymmetry) -> bool:
    """Whether one is another, or its mirror image, but for what a search of twist and rise would find."""
    tolerances = {"twist_tol_deg": _SAME_DEG, "rise_tol_A": _SAME_PART * other.rise_A}
    return any(symmetry.is_equivalent(o, **tolerances) for o in (other, other.mirrored()))


def _with_fewer_filaments(particles: PreparedParticles) -> PreparedParticles:
    """Every so many filaments of each half-set, the other images in neither."""
    every = -(-len(particles) // _MOST_SEGMENTS)
    half_set = np.zeros_like(particles.half_set)
    for half in (1, 2):
        rows = particles.rows_of(half)
        number = np.unique(particles.filament[rows], return_inverse=True)[1].reshape(-1)
        half_set[rows[number % every == 0]] = half
    return replace(particles, half_set=half_set)
