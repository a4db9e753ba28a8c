"""Expectation: the poses at which each image may have been taken, and how probable each is.

Every image meets a grid of orientations and shifts at low resolution, as matrix products
(:mod:`helixlab.kernels.likelihood`). The peaks of its posterior there, a few at most, climb to their maxima at ever
higher resolution (:mod:`helixlab.kernels.refine_poses`). All are global searches: nothing of the last iteration's
poses is used.

Filament coherence: the segments of a filament share its polarity. What the others say of it is added to a segment's own
evidence, divided by how many segments see the same stretch, whose noise counts only once.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from helixlab.kernels._chunked import map_rows
from helixlab.kernels.bands import flip_bands, narrow_band
from helixlab.kernels.likelihood import score_candidates, score_grid
from helixlab.kernels.project import pose_matrices, reference_transform, slices
from helixlab.kernels.prune import OrientationGrid
from helixlab.kernels.refine_poses import refine_poses
from helixlab.reconstruct.devices import on_all, spread
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles

_PEAKS = 4
"""Peaks of the coarse posterior that are followed, for each polarity of an image."""

_MARGIN = 12.0
"""Peaks this far below an image's best are left: a cell's centre may score less than its peak by about half of it."""

_LEAST_RATIO = 0.05
"""Poses less probable than this part of the best one are dropped."""

_STEPS = 4
"""Gauss–Newton steps at each resolution."""

_BATCH = 512
"""Images that a device aligns at a time where memory allows."""

_SLICES = 256
"""Slices made at a time."""


@dataclass(frozen=True)
class SearchRange:
    """Where poses are searched, in the images' frames.

    Parameters
    ----------
    radius_A : float
        Of the filament.
    length_A : float
        Of the piece of it that an image sees.
    cyclic_order : int
        Rot is searched over 360°/n.
    along_A, across_A : float
        Largest shifts.
    tilt_sd_deg, psi_sd_deg : float
        Priors about 90° and 0°; three of them are searched.
    """

    radius_A: float
    length_A: float
    cyclic_order: int
    along_A: float
    across_A: float
    tilt_sd_deg: float
    psi_sd_deg: float

    def orientations(self, resolution_A: float) -> OrientationGrid:
        """A grid whose neighbours differ, at the filament's surface and ends, by half of ``resolution_A``.

        Examples
        --------
        >>> len(SearchRange(50.0, 200.0, 1, 3.0, 10.0, 3.0, 3.0).orientations(20.0))
        256
        """
        turn = math.degrees(resolution_A / (2 * self.radius_A))
        tilt, psi = 3 * self.tilt_sd_deg, 3 * self.psi_sd_deg
        period = 360.0 / self.cyclic_order
        swing = math.degrees(resolution_A / self.length_A)
        rots, tilts, psis = (max(1, math.ceil(a / b)) for a, b in ((period, turn), (2 * tilt, turn), (2 * psi, swing)))
        return OrientationGrid(rots, tilts, psis, (0.0, period), (90.0 - tilt, 90.0 + tilt), (-psi, psi))

    def shifts_px(self, resolution_A: float, pixel_size_A: float) -> Float[np.ndarray, "s 2"]:
        """Centres of cells no wider than a third of the resolution."""
        axes = []
        for largest in (self.along_A, self.across_A):
            count = max(1, math.ceil(2 * largest / (resolution_A / 3)))
            axes.append(((np.arange(count) + 0.5) / count * 2 - 1) * largest / pixel_size_A)
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)

    def prior(self, pixel_size_A: float) -> tuple[Float[np.ndarray, "5"], Float[np.ndarray, "5"]]:
        """Means and precisions of rot, tilt, psi (degrees) and shifts (pixels): flat in rot, Gaussian in the rest."""
        along, across = (max(a, 1e-3) / pixel_size_A for a in (self.along_A, self.across_A))
        spread = np.array([np.inf, max(self.tilt_sd_deg, 1e-3), max(self.psi_sd_deg, 1e-3), along, across])
        return np.array([0.0, 90.0, 0.0, 0.0, 0.0]), 1.0 / spread**2

    def log_prior(self, angles_deg: Float[np.ndarray, "o 3"]) -> Float[np.ndarray, "o"]:
        """Of orientations."""
        mean, precision = self.prior(1.0)
        return -0.5 * np.sum(precision[:3] * (angles_deg - mean[:3]) ** 2, axis=1)


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where some images lie, and how well a reference explains them.

    Parameters
    ----------
    poses : Poses
    log_posterior : float array, shape (m,)
        Of each image's best pose, in the order of the rows, without the term Σ|X|².
    """

    poses: Poses
    log_posterior: Float[np.ndarray, "m"]


def align_images(
    particles: PreparedParticles,
    rows: Int[np.ndarray, "m"],
    reference: Float[Array, "n n n"],
    noise_power: Float[np.ndarray, "g s"],
    ranges: SearchRange,
    *,
    shells: tuple[int, ...],
    is_coherent: bool = True,
) -> Alignment:
    """Align some images with a reference.

    Parameters
    ----------
    particles : PreparedParticles
    rows : int array, shape (m,)
        The images to align: whole filaments.
    reference : float32 array, shape (n, n, n)
        On the scale of the images' projections.
    noise_power : float array, shape (g, s)
        Of each optics group and shell.
    ranges : SearchRange
    shells : tuple of int
        The last shell of the grid search, then that of each climb, ascending.
    is_coherent : bool
        Whether the segments of a filament share their polarity.

    Returns
    -------
    Alignment
    """
    transform = on_all(reference_transform(reference, r_max=particles.last_shell))
    grid = _CoarseGrid.of(particles, transform, ranges, shells[0])
    batches = particles.batches(len(rows), shells[0], most=_BATCH, bytes_beside=grid.bytes_per_image)
    parts = [grid.peaks(particles, rows[at], noise_power) for at, _ in batches]
    peaks = _Peaks(*(np.concatenate(columns)[: len(rows)] for columns in zip(*parts, strict=True)))
    polarity = np.zeros((len(rows), 2))
    if is_coherent:
        odds = _polarity_log_odds(peaks.evidence, particles.filament[rows], _overlap(particles, ranges))
        polarity = 0.5 * odds[:, None] * np.array([-1.0, 1.0])
    score = peaks.score + polarity[:, :, None]
    image, flip, number = np.nonzero(score > score.max(axis=(1, 2), keepdims=True) - _MARGIN)
    found = _Candidates(image, flip, peaks.pose[image, flip, number], score[image, flip, number])
    for shell in shells[1:]:
        found = _climb(particles, rows, found, transform, noise_power, ranges, shell)
        found = found._replace(score=found.score + polarity[found.image, found.flip])
        found = found.select(_is_near(found, len(rows), margin=_MARGIN / 2))
    return _posterior(found, rows)


# --- the grid -----------------------------------------------------------------------------------


class _Peaks(NamedTuple):
    """Of each image, both polarities: the highest peaks over the orientations; missing ones score −∞."""

    pose: Float[np.ndarray, "m 2 p 5"]
    score: Float[np.ndarray, "m 2 p"]
    evidence: Float[np.ndarray, "m 2"]
    """Log of the sum over orientations and shifts."""


@dataclass(frozen=True, eq=False)
class _CoarseGrid:
    """What the images of a half-set have in common in the search over the grid."""

    grid: OrientationGrid
    references: Float[Array, "o 2 f"]
    log_prior: Float[Array, "o"]
    shifts_px: Float[Array, "s 2"]
    log_prior_shift: Float[Array, "s"]
    shell: int

    @classmethod
    def of(
        cls, particles: PreparedParticles, transform: Float[Array, "z z x 2"], ranges: SearchRange, shell: int
    ) -> "_CoarseGrid":
        resolution_A = particles.resolution_A(shell)
        grid = ranges.orientations(resolution_A)
        angles, k = grid.angles_deg(), narrow_band(particles.band, shell).k
        matrices = np.asarray(pose_matrices(*angles.T))
        references = map_rows(lambda at: slices(transform, matrices[at], k), len(angles), min(_SLICES, len(angles)))
        shifts = ranges.shifts_px(resolution_A, particles.pixel_size_A)
        _, precision = ranges.prior(particles.pixel_size_A)
        return cls(
            grid,
            on_all(jnp.asarray(references)),
            on_all(jnp.asarray(ranges.log_prior(angles), jnp.float32)),
            on_all(jnp.asarray(shifts, jnp.float32)),
            on_all(jnp.asarray(-0.5 * np.sum(precision[3:] * shifts**2, axis=1), jnp.float32)),
            shell,
        )

    def peaks(
        self, particles: PreparedParticles, rows: Int[np.ndarray, "m"], noise_power: Float[np.ndarray, "g s"]
    ) -> _Peaks:
        """The peaks of some images: all of the grid first, then at each peak's orientation all shifts once more."""
        x, ctf, band = particles.whitened(rows, noise_power, self.shell)
        # An image and its flipped one are neighbours: they stay on one device.
        x = jnp.stack([x, flip_bands(x)], axis=1).reshape(2 * len(x), *x.shape[1:])
        ctf = jnp.repeat(ctf, 2, axis=0)
        priors = {"log_prior": self.log_prior, "log_prior_shift": self.log_prior_shift}
        log_sum = np.asarray(score_grid(x, ctf, self.references, self.shifts_px, band, **priors).log_sum)
        height = log_sum.max(axis=1)
        evidence = height + np.log(np.exp(log_sum - height[:, None]).sum(axis=1))
        number, score = (np.asarray(a) for a in _highest_peaks(log_sum, self._shape, count=_PEAKS))
        # Missing peaks are scored as well, so that every device has as many; their score stays −∞.
        image, chosen = np.repeat(np.arange(len(x)), number.shape[1]), number.reshape(-1, 1)
        again = score_candidates(x, ctf, self.references, image, chosen, self.shifts_px, band, **priors)
        shift = np.asarray(self.shifts_px)[np.asarray(again.by_shift).argmax(axis=1)]
        pose = np.concatenate([self.grid.angles_deg()[number], shift.reshape(*number.shape, 2)], axis=2)
        both = pose.astype(np.float32), score, evidence
        return _Peaks(*(a.reshape(len(rows), 2, *a.shape[1:]) for a in both))

    @property
    def bytes_per_image(self) -> int:
        """What its scores take: best and sum over the shifts, of both polarities."""
        return 16 * len(self.grid)

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.grid.n_rot, self.grid.n_tilt, self.grid.n_psi


@partial(jax.jit, static_argnames=("shape", "count"))
def _highest_peaks(
    score: Float[Array | np.ndarray, "n o"], shape: tuple[int, int, int], *, count: int
) -> tuple[Int[Array, "n p"], Float[Array, "n p"]]:
    """Orientations that score more than all their neighbours; rot goes round. Fewer peaks than asked for score −∞."""
    cells = score.reshape(-1, *shape)
    around = jnp.concatenate([cells[:, -1:], cells, cells[:, :1]], axis=1)
    around = jnp.pad(around, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-jnp.inf)
    highest = jax.lax.reduce_window(around, -jnp.inf, jax.lax.max, (1, 3, 3, 3), (1, 1, 1, 1), "VALID")
    peaks = jnp.where(cells >= highest, cells, -jnp.inf).reshape(score.shape)
    values, number = jax.lax.top_k(peaks, min(count, peaks.shape[1]))
    return number, values


# --- filaments ----------------------------------------------------------------------------------


def _overlap(particles: PreparedParticles, ranges: SearchRange) -> float:
    """How many segments see the same piece of a filament."""
    distance_A = particles.inter_box_distance_A
    return 1.0 if distance_A is None else max(1.0, ranges.length_A / distance_A)


def _polarity_log_odds(
    evidence: Float[np.ndarray, "m 2"], filament: Int[np.ndarray, "m"], overlap: float
) -> Float[np.ndarray, "m"]:
    """What the other segments of its filament say of each segment's being flipped.

    Examples
    --------
    >>> _polarity_log_odds(np.array([[0.0, 3.0], [0.0, 1.0], [2.0, 0.0]]), np.array([0, 0, 1]), 1.0).tolist()
    [1.0, 3.0, 0.0]
    """
    own = evidence[:, 1] - evidence[:, 0]
    return (np.bincount(filament, own)[filament] - own) / overlap


# --- climbing -----------------------------------------------------------------------------------


class _Candidates(NamedTuple):
    """Poses still in the race, by image."""

    image: Int[np.ndarray, "c"]
    flip: Int[np.ndarray, "c"]
    pose: Float[np.ndarray, "c 5"]
    score: Float[np.ndarray, "c"]

    def select(self, chosen: np.ndarray) -> "_Candidates":
        return _Candidates(*(column[chosen] for column in self))


def _climb(
    particles: PreparedParticles,
    rows: Int[np.ndarray, "m"],
    found: _Candidates,
    transform: Float[Array, "z z x 2"],
    noise_power: Float[np.ndarray, "g s"],
    ranges: SearchRange,
    shell: int,
) -> _Candidates:
    """Every candidate at its nearest maximum at a resolution, with its score there."""
    mean, precision = ranges.prior(particles.pixel_size_A)
    poses, scores = [], []
    for at, is_valid in particles.batches(len(found.image), shell, most=_BATCH, varies=True):
        x, ctf, band = particles.whitened(rows[found.image[at]], noise_power, shell)
        x = jnp.where(spread(found.flip[at] == 1)[:, None, None], flip_bands(x), x)
        refined = refine_poses(
            transform, x, ctf, found.pose[at], band, prior_mean=mean, prior_precision=precision, n_steps=_STEPS
        )
        poses.append(np.asarray(refined.pose)[is_valid])
        scores.append(np.asarray(refined.score)[is_valid])
    return found._replace(pose=np.concatenate(poses), score=np.concatenate(scores))


def _is_near(found: _Candidates, count: int, margin: float) -> Bool[np.ndarray, "c"]:
    """Which candidates score at most ``margin`` less than the best of their image."""
    best = np.full(count, -np.inf)
    np.maximum.at(best, found.image, found.score)
    return found.score >= best[found.image] - margin


def _posterior(found: _Candidates, rows: Int[np.ndarray, "m"]) -> Alignment:
    best = np.full(len(rows), -np.inf)
    np.maximum.at(best, found.image, found.score)
    found = found.select(np.lexsort((-found.score, found.image)))
    weight = np.exp(found.score - best[found.image])
    keep = weight >= _LEAST_RATIO
    found, weight = found.select(keep), weight[keep]
    weight /= np.bincount(found.image, weight)[found.image]
    angles, shifts = np.split(found.pose.astype(np.float64), [3], axis=1)
    return Alignment(Poses(rows[found.image], found.flip == 1, angles, shifts, weight), best)
