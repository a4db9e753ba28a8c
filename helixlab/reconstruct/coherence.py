"""What the segments of a filament tell of each other: its polarity, and poses that change little from one to the next.

Segments of one filament share its polarity. Along it the azimuth advances with the screw, and tilt, in-plane angle and
distance from the traced line change slowly: the lattice on which one segment lies says where the next ones do. How much
is taken from neighbours is read from the poses themselves, as a geostatistician reads it from samples of a field
(Matheron 1963): what the difference of two segments grows by with their distance is the filament's own change; what is
left at distance zero is, beyond the errors that the images' curvature predicts, each segment's own deviation. Filaments
that are not coherent, or whose distances are not known well enough, then say nothing about their segments, and where
only some are not, most of their segments contradict each other and are left as they are.

References
----------
Matheron (1963) Econ. Geol. 58, 1246, doi:10.2113/gsecongeo.58.8.1246.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from helixlab.geometry import HelicalSymmetry
from helixlab.reconstruct.grid_search import SearchRange
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles

_REACH, _LENGTHS = 16, 3
"""Neighbours to either side that are asked: the nearest ones or, where these see the same piece of the filament, as
many within so many lengths of a segment."""

_STEPS = np.arange(-2.0, 3.0)
"""Steps of the screw, about the one that the distance of two segments asks for, among which the azimuth decides."""

_LATTICE_MOVE, _LATTICE_TURN_DEG = 0.5, 5.0
"""Misfits along the axis, in rises, and about it that weigh the same where steps of the screw are counted."""

_OUTLIER = 4.0
"""A neighbour that differs by more than so many standard deviations has another pose, or another lattice."""

_LEAST_AGREED = 0.5
"""Part of its neighbours that a segment has to agree with to be told anything: by chance it agrees with a quarter."""

_LEAST_DISTANCES = 3
"""Distances beyond the length of a segment, from which change and deviation are told apart."""

_LEAST_PAIRS = 30
"""Pairs of segments at a distance, below which nothing is read from their differences."""

_LEAST_INFORMATION = 1.0 / 180.0**2
"""Of azimuths, 1/deg²: known to half a turn."""

_TO_SD = 1.4826
"""Of the median absolute value of a normal distribution."""


def overlap(particles: PreparedParticles, ranges: SearchRange) -> float:
    """How many segments see the same piece of a filament."""
    distance_A = particles.inter_box_distance_A
    return 1.0 if distance_A is None else max(1.0, ranges.length_A / distance_A)


def polarity_log_odds(
    evidence: Float[np.ndarray, "m 2"], filament: Int[np.ndarray, "m"], n_sharing: float
) -> Float[np.ndarray, "m"]:
    """What the other segments of its filament say of each segment's being flipped: their evidence, divided by how many
    segments see the same stretch, whose noise counts only once.

    Examples
    --------
    >>> polarity_log_odds(np.array([[0.0, 3.0], [0.0, 1.0], [2.0, 0.0]]), np.array([0, 0, 1]), 1.0).tolist()
    [1.0, 3.0, 0.0]
    """
    own = evidence[:, 1] - evidence[:, 0]
    return (np.bincount(filament, own)[filament] - own) / n_sharing


def coherent_poses(
    particles: PreparedParticles,
    poses: Poses,
    information: Float[np.ndarray, "p 5 5"],
    symmetry: HelicalSymmetry,
    ranges: SearchRange,
) -> Poses:
    """Poses drawn towards what the other segments of their filament say, as far as these can know.

    Parameters
    ----------
    particles : PreparedParticles
        With places along filaments.
    poses : Poses
        At their maxima; the best one of each image speaks to its neighbours.
    information : float array, shape (p, 5, 5)
        Curvature of the log posterior there, by rot, tilt, psi in degrees and shifts in pixels.
    symmetry : HelicalSymmetry
        Whose lattice the segments lie on.
    ranges : SearchRange

    Returns
    -------
    Poses
        The same images and weights: neighbours do not choose among an image's maxima. Without places, or where too few
        segments lie further apart than their length, the same poses.
    """
    if particles.place_A is None:
        return poses
    own = _along_and_across(information, poses)
    chain = _Chain.of(particles, particles.place_A, poses, symmetry)
    n_sharing = overlap(particles, ranges)
    farthest = max(_REACH, _LENGTHS * n_sharing)
    lags = np.unique(np.rint(np.linspace(1, farthest, _REACH)).astype(int))
    field = _Field.of(chain, own, lags, ranges.length_A)
    if field is None:
        return poses
    weight, total = np.zeros((2, len(poses), 5))
    asked, agreed = np.zeros((2, len(poses)), np.int64)
    for lag in (*lags, *-lags):
        pair = chain.differences(lag)
        variance = field.variance(pair.distance_A)
        is_like = pair.is_valid & (np.abs(pair.difference) <= _OUTLIER * np.sqrt(variance)).all(axis=1)
        # What is known of the neighbour, and how much the filament changes on the way to it.
        share = is_like[:, None] / (variance - field.error - field.nugget)
        weight += share
        total += share * pair.difference
        asked += pair.is_valid
        agreed += is_like
    told = np.flatnonzero((agreed > 0) & (agreed >= _LEAST_AGREED * asked))
    mean = total[told] / weight[told]
    precision = 1.0 / (field.nugget + max(1.0, n_sharing * len(lags) / farthest) / weight[told])
    move = np.zeros((len(poses), 5))
    # The maximum of the product of both: of what the image says, and of what its neighbours do.
    both = own[told] + precision[:, :, None] * np.eye(5)
    move[told] = np.linalg.solve(both, (precision * mean)[..., None])[..., 0]
    return replace(
        poses,
        angles_deg=poses.angles_deg + move[:, :3],
        shift_px=poses.shift_px + np.einsum("pj,pjk->pk", move[:, 3:], poses.axes),
    )


# --- private helpers ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Each pose with a neighbour's best one of the same polarity."""

    is_valid: Bool[np.ndarray, "p"]
    distance_A: Float[np.ndarray, "p"]
    difference: Float[np.ndarray, "p 5"]
    """How far from the pose its neighbour sees it: rot, tilt, psi in degrees, along and across in pixels."""


@dataclass(frozen=True, eq=False)
class _Chain:
    """Poses by their places along filaments."""

    particles: PreparedParticles
    place_A: Float[np.ndarray, "n"]
    poses: Poses
    symmetry: HelicalSymmetry
    best: Int[np.ndarray, "2 m"]
    """Of each image, filament by filament in the order of their places, the rows of its best pose of either polarity;
    −1 where there is none."""
    at: Int[np.ndarray, "p"]
    """Of each pose, its image's position in that order."""

    @classmethod
    def of(
        cls, particles: PreparedParticles, place_A: Float[np.ndarray, "n"], poses: Poses, symmetry: HelicalSymmetry
    ) -> "_Chain":
        image = poses.best.image
        at = np.empty(len(image), np.int64)
        at[np.lexsort((place_A[image], particles.filament[image]))] = np.arange(len(image))
        at = at[np.cumsum(poses.is_best) - 1]
        best = np.full((2, len(image)), -1)
        # Backwards: what is written last is the best.
        best[poses.is_flipped[::-1].astype(int), at[::-1]] = np.arange(len(poses))[::-1]
        return cls(particles, place_A, poses, symmetry, best, at)

    def differences(self, lag: int | np.integer) -> _Pairs:
        """Of each pose from the neighbour ``lag`` places further."""
        poses, particles = self.poses, self.particles
        near = self.at + lag
        is_there = (near >= 0) & (near < self.best.shape[1])
        other = self.best[poses.is_flipped.astype(int), np.where(is_there, near, 0)]
        here, there = poses.image, poses.image[other]
        is_valid = is_there & (other >= 0) & (particles.filament[here] == particles.filament[there])
        apart_A = self.place_A[there] - self.place_A[here]
        along, across = np.einsum("pk,pjk->jp", poses.shift_px, poses.axes)
        tilt, psi = poses.angles_deg[:, 1], particles.psi_prior_deg[here] + poses.angles_deg[:, 2]
        # Where the reference's origin lies, along the axis, seen from the pose's.
        gap = np.where(poses.is_flipped, -apart_A, apart_A) / particles.pixel_size_A + along[other] - along
        turn = poses.angles_deg[other, 0] - poses.angles_deg[:, 0]
        move, turn = self._on_lattice(gap, turn, np.sin(np.deg2rad((tilt + tilt[other]) / 2)))
        difference = [turn, tilt[other] - tilt, _wrapped(psi[other] - psi, 360.0), move, across[other] - across]
        return _Pairs(is_valid, np.abs(apart_A), np.stack(difference, axis=1))

    def _on_lattice(
        self, gap: Float[np.ndarray, "p"], turn: Float[np.ndarray, "p"], foreshortening: Float[np.ndarray, "p"]
    ) -> tuple[Float[np.ndarray, "p"], Float[np.ndarray, "p"]]:
        """A gap and a turn less the steps of the screw that leave the least of both."""
        rise = self.symmetry.rise_A / self.particles.pixel_size_A * foreshortening
        steps = np.rint(gap / rise)[:, None] + _STEPS
        moves = gap[:, None] - steps * rise[:, None]
        # An origin one rise further up belongs to an azimuth that is less by the twist.
        turns = _wrapped(turn[:, None] + steps * self.symmetry.twist_deg, 360.0 / self.symmetry.cyclic_order)
        cost = (moves / (_LATTICE_MOVE * rise[:, None])) ** 2 + (turns / _LATTICE_TURN_DEG) ** 2
        best = cost.argmin(axis=1)[:, None]
        move, turn = (np.take_along_axis(a, best, axis=1)[:, 0] for a in (moves, turns))
        return move, turn


@dataclass(frozen=True, eq=False)
class _Field:
    """How poses change along filaments: variances of rot, tilt, psi, and of places along and across."""

    error: Float[np.ndarray, "5"]
    """Of a pose, from its image's noise."""
    nugget: Float[np.ndarray, "5"]
    """Of a segment from its filament: errors of picking, and all that the images' curvature does not predict."""
    slope_per_A: Float[np.ndarray, "5"]
    """Of the filament, by distance."""

    @classmethod
    def of(
        cls, chain: _Chain, own: Float[np.ndarray, "p 5 5"], lags: Int[np.ndarray, "l"], length_A: float
    ) -> "_Field | None":
        """Read from best poses at growing distances; None where there are too few.

        Neighbours that see the same piece of the filament share its noise, and differ by less than their errors.
        """
        distances, variances = [], []
        is_best = chain.poses.is_best
        for lag in lags:
            pair = chain.differences(lag)
            chosen = pair.is_valid & is_best
            if chosen.sum() >= _LEAST_PAIRS and np.median(pair.distance_A[chosen]) >= length_A:
                distances.append(np.mean(pair.distance_A[chosen]))
                variances.append((_TO_SD * np.median(np.abs(pair.difference[chosen]), axis=0)) ** 2)
        if len(distances) < _LEAST_DISTANCES:
            return None
        distance, variance = np.array(distances)[:, None], np.array(variances)
        off = distance - distance.mean()
        slope = np.maximum(np.sum(off * variance, axis=0) / np.sum(off**2), 0.0)
        start = variance.mean(axis=0) - slope * distance.mean()
        slope = np.where(start > 0, slope, np.sum(distance * variance, axis=0) / np.sum(distance**2))
        error = np.median(np.diagonal(np.linalg.inv(own[is_best]), axis1=1, axis2=2), axis=0)
        return cls(error, np.maximum(start / 2 - error, 0.0), slope)

    def variance(self, distance_A: Float[np.ndarray, "p"]) -> Float[np.ndarray, "p 5"]:
        """Of the difference of two segments."""
        return 2 * (self.error + self.nugget) + distance_A[:, None] * self.slope_per_A


def _along_and_across(information: Float[np.ndarray, "p 5 5"], poses: Poses) -> Float[np.ndarray, "p 5 5"]:
    """Information by shifts along and across each pose's axis instead of along its frame's."""
    # Of a map that is round images say no azimuth; none is not 0, or nothing could be solved for.
    turned = information + np.diag([_LEAST_INFORMATION, 0.0, 0.0, 0.0, 0.0])
    turned[:, 3:] = poses.axes @ turned[:, 3:]
    turned[:, :, 3:] = turned[:, :, 3:] @ poses.axes.transpose(0, 2, 1)
    return turned


def _wrapped(angle_deg: Float[np.ndarray, "*shape"], period_deg: float) -> Float[np.ndarray, "*shape"]:
    """The smallest equivalent angle."""
    return (angle_deg + period_deg / 2) % period_deg - period_deg / 2
