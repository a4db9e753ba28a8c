"""The global search: every image meets every orientation and shift of one grid at low resolution.

All images share the grid, so that its scores are matrix products (:mod:`helixlab.kernels.likelihood`), the fastest work
that processors know; and all of it is searched. Branch and bound (a coarser grid first, then only the parts of its best
cells; Punjani et al. 2017) tries a fifth as many poses, but others for each image, whose slices come one by one from
memory: it was measured to take as long or longer where a helix leaves few shifts to search, and half as long at best
where there are tens. The sum of the posterior over all poses, of which the likelihood of held-out segments and the
polarity of filaments are made, would lack what was pruned.

References
----------
Punjani, Rubinstein, Fleet & Brubaker (2017) Nat. Methods 14, 290, doi:10.1038/nmeth.4169.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from helixlab.kernels._chunked import map_rows
from helixlab.kernels.bands import Band, narrow_band
from helixlab.kernels.likelihood import best_shifts, score_grid
from helixlab.kernels.project import pose_matrices, slices
from helixlab.reconstruct.devices import on_all
from helixlab.reconstruct.prepare import PreparedParticles

_PEAKS = 4
"""Peaks of the posterior that are handed on, for each polarity of an image."""

_BATCH = 512
"""Images that a device searches at a time where memory allows."""

_SLICES = 256
"""Slices made at a time."""


class OrientationGrid(NamedTuple):
    """Cells of rot × tilt × psi (psi: the angle left in the images' frames), all of one size.

    Examples
    --------
    >>> OrientationGrid((2, 1, 1), ((0.0, 360.0), (80.0, 100.0), (-5.0, 5.0))).angles_deg().tolist()
    [[90.0, 90.0, 0.0], [270.0, 90.0, 0.0]]
    """

    shape: tuple[int, ...]
    """Cells of each angle."""
    ranges_deg: tuple[tuple[float, float], ...]
    """First and last edge of each angle."""

    @property
    def steps_deg(self) -> tuple[float, ...]:
        """Edges of a cell."""
        return tuple((last - first) / n for (first, last), n in zip(self.ranges_deg, self.shape, strict=True))

    def angles_deg(self) -> Float[np.ndarray, "o 3"]:
        """Centres of all cells, rot slowest."""
        return _centres(self.shape, self.ranges_deg)


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
        >>> SearchRange(50.0, 200.0, 1, 3.0, 10.0, 3.0, 3.0).orientations(20.0).shape
        (32, 2, 4)
        """
        turn_deg = math.degrees(resolution_A / (2 * self.radius_A))
        swing_deg = math.degrees(resolution_A / self.length_A)
        tilt, psi = 3 * self.tilt_sd_deg, 3 * self.psi_sd_deg
        ranges_deg = (0.0, 360.0 / self.cyclic_order), (90.0 - tilt, 90.0 + tilt), (-psi, psi)
        steps_deg = turn_deg, turn_deg, swing_deg
        return OrientationGrid(_counts(ranges_deg, steps_deg), ranges_deg)

    def shifts_px(self, resolution_A: float, pixel_size_A: float) -> Float[np.ndarray, "s 2"]:
        """Centres of cells no wider than a third of the resolution, along and across."""
        ranges_A = (-self.along_A, self.along_A), (-self.across_A, self.across_A)
        step_A = resolution_A / 3
        return _centres(_counts(ranges_A, (step_A, step_A)), ranges_A) / pixel_size_A

    def prior(self, pixel_size_A: float) -> tuple[Float[np.ndarray, "5"], Float[np.ndarray, "5"]]:
        """Means and precisions of rot, tilt, psi (degrees) and shifts (pixels): flat in rot, Gaussian in the rest."""
        along, across = (max(a, 1e-3) / pixel_size_A for a in (self.along_A, self.across_A))
        spread = np.array([np.inf, max(self.tilt_sd_deg, 1e-3), max(self.psi_sd_deg, 1e-3), along, across])
        return np.array([0.0, 90.0, 0.0, 0.0, 0.0]), 1.0 / spread**2

    def log_prior(self, angles_deg: Float[np.ndarray, "o 3"]) -> Float[np.ndarray, "o"]:
        """Of orientations, up to a constant."""
        mean, precision = self.prior(1.0)
        return -0.5 * np.sum(precision[:3] * (angles_deg - mean[:3]) ** 2, axis=1)


class Peaks(NamedTuple):
    """Of each image, as it is and turned by 180°: the highest peaks over the orientations; missing ones score −∞."""

    pose: Float[np.ndarray, "m 2 p 5"]
    """Rot, tilt, psi in degrees and the best shift along and across in pixels."""
    score: Float[np.ndarray, "m 2 p"]
    """Log posterior, summed over the shifts."""
    evidence: Float[np.ndarray, "m 2"]
    """Log of the likelihood's mean over the prior: orientations, shifts and both polarities, without the term Σ|X|²."""


def search_grid(
    particles: PreparedParticles,
    rows: Int[np.ndarray, "m"],
    transform: Float[Array, "z z x 2"],
    noise_power: Float[np.ndarray, "g s"],
    ranges: SearchRange,
    *,
    shell: int,
) -> Peaks:
    """Search all orientations, shifts and both polarities of some images.

    Parameters
    ----------
    particles : PreparedParticles
    rows : int array, shape (m,)
        The images.
    transform : float32 array
        Of the reference, from :func:`helixlab.kernels.project.reference_transform`; on all devices.
    noise_power : float array, shape (g, s)
        Of each optics group and shell.
    ranges : SearchRange
    shell : int
        The last that is looked at; the grid's cells follow it.

    Returns
    -------
    Peaks
        In the order of the rows.
    """
    grid = _Grid.of(particles, transform, ranges, shell)
    batches = particles.batches(len(rows), shell, most=_BATCH, bytes_beside=grid.bytes_per_image)
    parts = [grid.peaks(particles, rows[at], noise_power) for at, _ in batches]
    return Peaks(*(np.concatenate(columns)[: len(rows)] for columns in zip(*parts, strict=True)))


def grid_evidence(
    particles: PreparedParticles,
    rows: Int[np.ndarray, "m"],
    transform: Float[Array, "z z x 2"],
    noise_power: Float[np.ndarray, "g s"],
    ranges: SearchRange,
    *,
    shell: int,
) -> Float[np.ndarray, "m 2"]:
    """The evidence of :func:`search_grid` without the peaks: of each image as it is, and flipped."""
    grid = _Grid.of(particles, transform, ranges, shell)
    batches = particles.batches(len(rows), shell, most=_BATCH, bytes_beside=grid.bytes_per_image)
    parts = [grid.scored(particles, rows[at], noise_power).evidence for at, _ in batches]
    return np.concatenate(parts)[: len(rows)]


class _Scored(NamedTuple):
    """Some images, and what the grid says of them, as they are and turned by 180°."""

    x: Float[Array, "n 2 f"]
    ctf: Float[Array, "n f"]
    band: Band
    log_sum: Float[np.ndarray, "n 2 o"]
    evidence: Float[np.ndarray, "n 2"]


@dataclass(frozen=True, eq=False)
class _Grid:
    """What all images have in common."""

    orientations: OrientationGrid
    references: Float[Array, "o 2 f"]
    log_prior: Float[Array, "o"]
    shifts_px: Float[Array, "s 2"]
    log_prior_shift: Float[Array, "s"]
    log_total_prior: float
    """Of orientations, shifts and both polarities: the priors above sum to anything."""
    shell: int

    @classmethod
    def of(
        cls, particles: PreparedParticles, transform: Float[Array, "z z x 2"], ranges: SearchRange, shell: int
    ) -> "_Grid":
        resolution_A = particles.resolution_A(shell)
        grid, shifts = ranges.orientations(resolution_A), ranges.shifts_px(resolution_A, particles.pixel_size_A)
        angles, k = grid.angles_deg(), narrow_band(particles.band, shell).k
        matrices = np.asarray(pose_matrices(*angles.T))
        references = map_rows(lambda at: slices(transform, matrices[at], k), len(angles), min(_SLICES, len(angles)))
        _, precision = ranges.prior(particles.pixel_size_A)
        priors = ranges.log_prior(angles), -0.5 * np.sum(precision[3:] * shifts**2, axis=1)
        log_prior, log_prior_shift = (on_all(jnp.asarray(p, jnp.float32)) for p in priors)
        return cls(
            grid,
            on_all(jnp.asarray(references)),
            log_prior,
            on_all(jnp.asarray(shifts, jnp.float32)),
            log_prior_shift,
            math.log(2) + float(sum(np.logaddexp.reduce(p) for p in priors)),
            shell,
        )

    def scored(
        self, particles: PreparedParticles, rows: Int[np.ndarray, "m"], noise_power: Float[np.ndarray, "g s"]
    ) -> _Scored:
        """Some images on all of the grid."""
        # The shifts and their prior are symmetric: turned images, at the opposites, meet the same ones.
        x, ctf, band = particles.whitened(rows, noise_power, self.shell)
        log_sum = score_grid(
            x,
            ctf,
            self.references,
            self.shifts_px,
            band,
            log_prior=self.log_prior,
            log_prior_shift=self.log_prior_shift,
        )
        height = log_sum.max(axis=2)
        total = np.sum(np.exp(log_sum - height[..., None]), axis=2, dtype=np.float64)
        return _Scored(x, ctf, band, log_sum, height + np.log(total) - self.log_total_prior)

    def peaks(
        self, particles: PreparedParticles, rows: Int[np.ndarray, "m"], noise_power: Float[np.ndarray, "g s"]
    ) -> Peaks:
        """The peaks of some images: all of the grid first, then at each peak's orientation the best of the shifts."""
        x, ctf, band, log_sum, evidence = self.scored(particles, rows, noise_power)
        number, score = (np.asarray(a) for a in _highest_peaks(log_sum, self.orientations.shape, count=_PEAKS))
        shift = best_shifts(x, ctf, self.references, number, self.shifts_px, band, log_prior_shift=self.log_prior_shift)
        pose = np.concatenate([self.orientations.angles_deg()[number], np.asarray(self.shifts_px)[shift]], axis=-1)
        return Peaks(pose.astype(np.float32), score, evidence)

    @property
    def bytes_per_image(self) -> int:
        """What its scores take: of both polarities, on the device and beside it."""
        return 16 * len(self.references)


@partial(jax.jit, static_argnames=("shape", "count"))
def _highest_peaks(
    score: Float[Array | np.ndarray, "n 2 o"], shape: tuple[int, ...], *, count: int
) -> tuple[Int[Array, "n 2 p"], Float[Array, "n 2 p"]]:
    """Orientations that score more than all their neighbours; rot goes round. Fewer peaks than asked for score −∞."""
    cells = score.reshape(-1, *shape)
    around = jnp.concatenate([cells[:, -1:], cells, cells[:, :1]], axis=1)
    around = jnp.pad(around, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-jnp.inf)
    highest = jax.lax.reduce_window(around, -jnp.inf, jax.lax.max, (1, 3, 3, 3), (1, 1, 1, 1), "VALID")
    peaks = jnp.where(cells >= highest, cells, -jnp.inf).reshape(score.shape)
    values, number = jax.lax.top_k(peaks, min(count, peaks.shape[-1]))
    return number, values


def _counts(ranges: tuple[tuple[float, float], ...], steps: tuple[float, ...]) -> tuple[int, ...]:
    """How many cells, none wider than its step, divide each range."""
    return tuple(max(1, math.ceil((last - first) / step)) for (first, last), step in zip(ranges, steps, strict=True))


def _centres(counts: tuple[int, ...], ranges: tuple[tuple[float, float], ...]) -> Float[np.ndarray, "c d"]:
    """Of all cells, the last axis fastest."""
    axes = [f + (np.arange(n) + 0.5) / n * (g - f) for n, (f, g) in zip(counts, ranges, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
