"""Branch and bound over orientations: all of a coarse grid at low resolution, then only what can still win.

A grid divides rot × tilt × psi (psi: the angle left in the image's frame) into cells, scored at their centres. Each
cell of one grid is eight cells of the next. Both polarities of an image compete. After a level an image keeps

- the cells that together hold 1 − ε of its posterior, best first, and
- those that score less than the last of them by no more than g + 3·√(2g).

g = ⅓ Σ C²|P(face) − P(centre)|², summed over the faces across the three angles, is what lying anywhere in a cell
costs on average: the centre of the true pose's cell scores g ± √(2g) less than the true pose. That bounds a cell by the
score of its centre in the way of Punjani et al. (2017), with the power that a step changes measured on the reference
instead of bounded by the signal's whole power, and with 1 − ε of the posterior (RELION's criterion) for one best pose.

References
----------
Punjani, Rubinstein, Fleet & Brubaker (2017) Nat. Methods 14, 290, doi:10.1038/nmeth.4169.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from helixlab.errors import HelixLabError
from helixlab.kernels._chunked import blocks
from helixlab.kernels.bands import Band, flip_bands, narrow_band, shift_bands
from helixlab.kernels.likelihood import score_candidates, score_grid
from helixlab.kernels.project import pose_matrices, slices

_MISSED = 1e-3
"""ε: the part of the posterior that is dropped at each level."""

_SIGMAS = 3.0
"""How far the cost of lying off a cell's centre may exceed its mean."""

_LOG_NEGLIGIBLE = 30.0
"""exp(−30) times any number of cells is nothing beside ε."""

_CANDIDATE_SIZES = (16, 128, 1024)
"""Candidates per image come in these sizes: one compilation each."""

_SAMPLE = 64
"""Orientations from which the cost of lying off a cell's centre is measured."""

_SLICES = 256
"""Slices made at a time."""


@dataclass(frozen=True)
class OrientationGrid:
    """Cells of rot × tilt × psi; orientation number = (rot · n_tilt + tilt) · n_psi + psi.

    Parameters
    ----------
    n_rot, n_tilt, n_psi : int
        Cells of each angle, ≥ 1.
    rot_range_deg, tilt_range_deg, psi_range_deg : pair of floats
        First and last edge. Rot: (0, 360/n) for Cn.

    Examples
    --------
    >>> grid = OrientationGrid(6, 1, 1, (0.0, 360.0), (80.0, 100.0), (-5.0, 5.0))
    >>> grid.angles_deg()[:2].tolist()
    [[30.0, 90.0, 0.0], [90.0, 90.0, 0.0]]
    >>> grid.children(np.array([1])).tolist()
    [[8, 9, 10, 11, 12, 13, 14, 15]]
    """

    n_rot: int
    n_tilt: int
    n_psi: int
    rot_range_deg: tuple[float, float] = (0.0, 360.0)
    tilt_range_deg: tuple[float, float] = (75.0, 105.0)
    psi_range_deg: tuple[float, float] = (-10.0, 10.0)

    def __len__(self) -> int:
        return self.n_rot * self.n_tilt * self.n_psi

    @property
    def steps_deg(self) -> tuple[float, float, float]:
        """Edges of a cell: rot, tilt, psi."""
        ranges = (self.rot_range_deg, self.tilt_range_deg, self.psi_range_deg)
        rot, tilt, psi = (
            (last - first) / n for (first, last), n in zip(ranges, (self.n_rot, self.n_tilt, self.n_psi), strict=True)
        )
        return rot, tilt, psi

    def angles_deg(self) -> Float[np.ndarray, "o 3"]:
        """Centres of all cells: rot, tilt, psi."""
        firsts = (self.rot_range_deg[0], self.tilt_range_deg[0], self.psi_range_deg[0])
        counts = (self.n_rot, self.n_tilt, self.n_psi)
        axes = [f + (np.arange(n) + 0.5) * s for f, n, s in zip(firsts, counts, self.steps_deg, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)

    def halved(self) -> "OrientationGrid":
        """The grid of cells with half the edges."""
        return replace(self, n_rot=2 * self.n_rot, n_tilt=2 * self.n_tilt, n_psi=2 * self.n_psi)

    def children(self, number: Int[np.ndarray, "m"]) -> Int[np.ndarray, "m 8"]:
        """Numbers, in the halved grid, of the eight parts of cells of this one."""
        psi = number % self.n_psi
        tilt = number // self.n_psi % self.n_tilt
        rot = number // (self.n_psi * self.n_tilt)
        corner = np.indices((2, 2, 2)).reshape(3, 8)
        rot, tilt, psi = (2 * a[:, None] + c for a, c in zip((rot, tilt, psi), corner, strict=True))
        return (rot * (2 * self.n_tilt) + tilt) * (2 * self.n_psi) + psi


class ShiftGrid(NamedTuple):
    """Square windows of shifts about a centre that each image has of its own."""

    step_px: float
    n_x: int
    """Steps each way along x, the direction of the filament."""
    n_y: int

    def shifts_px(self) -> Float[np.ndarray, "s 2"]:
        """All of them, (x, y)."""
        x, y = (np.arange(-n, n + 1) * self.step_px for n in (self.n_x, self.n_y))
        return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)


class Level(NamedTuple):
    """One level of the search."""

    r_max: int
    """Last shell that is looked at."""
    shifts: ShiftGrid


class Survivors(NamedTuple):
    """What the search left: a list of (image, polarity, orientation, shift), best first for each image."""

    image: Int[np.ndarray, "m"]
    is_flipped: Bool[np.ndarray, "m"]
    """The image was turned by 180°: psi + 180°, and the shift is that of the turned image."""
    orientation: Int[np.ndarray, "m"]
    """Number in ``grid``."""
    shift_px: Float[np.ndarray, "m 2"]
    """The polarity's best shift, in the frame."""
    score: Float[np.ndarray, "m"]
    """Log posterior, summed over the shifts."""
    grid: OrientationGrid
    tried: int
    """Orientations scored, summed over images and levels."""


def search_orientations(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    reference: Float[Array, "z z x 2"],
    band: Band,
    grid: OrientationGrid,
    levels: list[Level],
    *,
    log_prior: Callable[[Float[np.ndarray, "o 3"]], Float[np.ndarray, "o"]] | None = None,
    keep_all: bool = False,
) -> Survivors:
    """Search rot, tilt, psi, both polarities and shifts.

    Parameters
    ----------
    x, ctf : float32 arrays, shapes (n, 2, f) and (n, f)
        Whitened images in their frames, and their CTFs.
    reference : float32 array
        From :func:`helixlab.kernels.project.reference_transform`, up to the band's r_max.
    band : Band
        Of ``x``; at least to the last level's r_max.
    grid : OrientationGrid
        Of the first level; halved at every further one.
    levels : list of Level
        At least one, r_max ascending. Shifts of the first are about zero, of each further about the best so far.
    log_prior : callable, optional
        From orientations (rot, tilt, psi) in degrees to their log prior. Default: all alike.
    keep_all : bool
        Drop nothing: the exhaustive search that branch and bound stands for. Small cases only.

    Returns
    -------
    Survivors

    Raises
    ------
    HelixLabError
        If there is no level, or a level's r_max exceeds the band's.
    """
    shells = int(band.shell[-1])
    if not levels or max(level.r_max for level in levels) > shells:
        raise HelixLabError(
            f"levels: found r_max {[level.r_max for level in levels]}; at least one is needed, none above the "
            f"band's last shell, {shells}."
        )
    count = len(x)
    centre = np.zeros((2 * count, 2))
    row, orientation = (a.ravel() for a in np.indices((2 * count, len(grid))))
    score, tried = np.zeros(len(row), np.float32), 0
    for number, level in enumerate(levels):
        if number > 0:
            children = grid.children(orientation)
            row, orientation, grid = np.repeat(row, 8), children.ravel(), grid.halved()
        view = narrow_band(band, level.r_max)
        references = _grid_slices(reference, grid, view)
        moved, both_ctf = _both_polarities(x, ctf, jnp.asarray(centre, jnp.float32), view)
        prior = np.zeros(len(grid)) if log_prior is None else log_prior(grid.angles_deg())
        shifts = level.shifts.shifts_px()
        score, best_shift = _score_pairs(
            moved, both_ctf, references, prior, row, orientation, shifts, view, is_full=number == 0
        )
        centre = centre + shifts[best_shift]
        tried += len(row)
        if not keep_all:
            cost = _cell_cost(reference, references, grid, both_ctf, view)
            is_kept = _keep(score, row % count, count, cost + _SIGMAS * math.sqrt(2 * cost))
            row, orientation, score = row[is_kept], orientation[is_kept], score[is_kept]
    image = row % count
    order = np.lexsort((-score, image))
    row, image = row[order], image[order]
    return Survivors(image, row >= count, orientation[order], centre[row], score[order], grid, tried)


def marginal_rot(scores: Float[Array, "n o"], grid: OrientationGrid) -> Float[Array, "n rot"]:
    """Log of the sum over tilt and psi of exp(scores), for each rot: what neighbours in a filament are held to.

    Examples
    --------
    >>> grid = OrientationGrid(2, 1, 3)
    >>> np.exp(marginal_rot(jnp.zeros((1, 6)), grid)).round(3).tolist()
    [[3.0, 3.0]]
    """
    by_rot = scores.reshape(len(scores), grid.n_rot, -1)
    best = jnp.max(by_rot, axis=2)
    height = jnp.where(jnp.isfinite(best), best, 0.0)
    return height + jnp.log(jnp.sum(jnp.exp(by_rot - height[..., None]), axis=2))


# --- private steps ------------------------------------------------------------------------------


@jax.jit
def _both_polarities(
    x: Float[Array, "n 2 f"], ctf: Float[Array, "n f"], shift_px: Float[Array, "m 2"], band: Band
) -> tuple[Float[Array, "m 2 g"], Float[Array, "m g"]]:
    """Images up to a narrower band's last shell, first as they are, then turned by 180°, each moved."""
    x, ctf = x[..., : len(band.k)], ctf[:, : len(band.k)]
    return shift_bands(jnp.concatenate([x, flip_bands(x)]), shift_px, band), jnp.concatenate([ctf, ctf])


def _grid_slices(reference: Float[Array, "z z x 2"], grid: OrientationGrid, band: Band) -> Float[Array, "o 2 f"]:
    matrices = np.asarray(pose_matrices(*grid.angles_deg().T))
    parts = [slices(reference, matrices[rows], band.k) for rows, _ in blocks(len(grid), min(_SLICES, len(grid)))]
    return jnp.concatenate(parts)[: len(grid)]


def _score_pairs(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    references: Float[Array, "o 2 f"],
    prior: Float[np.ndarray, "o"],
    row: Int[np.ndarray, "m"],
    orientation: Int[np.ndarray, "m"],
    shifts_px: Float[np.ndarray, "s 2"],
    band: Band,
    *,
    is_full: bool,
) -> tuple[Float[np.ndarray, "m"], Int[np.ndarray, "n"]]:
    """Log posterior of each (row, orientation), summed over the shifts, and the best shift of each row; rows ascend."""
    shifts, log_prior = jnp.asarray(shifts_px, jnp.float32), jnp.asarray(prior, jnp.float32)
    if is_full:
        scores = score_grid(x, ctf, references, shifts, band, log_prior=log_prior)
        return np.asarray(scores.log_sum).ravel(), np.asarray(scores.by_shift).argmax(axis=1)
    found = np.empty(len(row), np.float32)
    best_shift = np.zeros(len(x), int)
    rows, first, many = np.unique(row, return_index=True, return_counts=True)
    edges = (0, *_CANDIDATE_SIZES, *([many.max()] if many.max() > _CANDIDATE_SIZES[-1] else []))
    for low, high in pairwise(edges):
        group = np.flatnonzero((many > low) & (many <= high))
        if not group.size:
            continue
        slot = np.arange(high) < many[group, None]
        place = np.where(slot, first[group, None] + np.arange(high), 0)
        candidates = np.where(slot, orientation[place], -1)
        chosen = rows[group]
        scores = score_candidates(x, ctf, references, chosen, candidates, shifts, band, log_prior=log_prior)
        found[place[slot]] = np.asarray(scores.log_sum)[slot]
        best_shift[chosen] = np.asarray(scores.by_shift).argmax(axis=1)
    return found, best_shift


def _cell_cost(
    reference: Float[Array, "z z x 2"],
    references: Float[Array, "o 2 f"],
    grid: OrientationGrid,
    ctf: Float[Array, "n f"],
    band: Band,
) -> float:
    """g: the mean over orientations and images of what lying off a cell's centre costs."""
    power = np.mean(np.asarray(ctf) ** 2, axis=0)
    sample = np.unique(np.linspace(0, len(grid) - 1, min(_SAMPLE, len(grid))).astype(int))
    angles, centre = grid.angles_deg()[sample], np.asarray(references)[sample]
    cost = 0.0
    for axis in range(3):
        moved = angles.copy()
        moved[:, axis] += grid.steps_deg[axis] / 2
        difference = np.asarray(slices(reference, pose_matrices(*moved.T), band.k)) - centre
        # The square of a step, spread evenly over the cell, is a third of that to its face.
        cost += float(np.mean(np.sum(difference**2, axis=1) @ power)) / 3
    return cost


def _keep(
    score: Float[np.ndarray, "m"], image: Int[np.ndarray, "m"], count: int, margin: float
) -> Bool[np.ndarray, "m"]:
    """Which cells hold 1 − ε of the posterior of their image, or score at most ``margin`` less than one that does."""
    best = np.full(count, -np.inf, score.dtype)
    np.maximum.at(best, image, score)
    below = best[image] - score
    listed = np.flatnonzero(below < _LOG_NEGLIGIBLE)
    listed = listed[np.lexsort((below[listed], image[listed]))]
    mass = np.exp(-below[listed].astype(np.float64))
    total = np.bincount(image[listed], mass, minlength=count)
    before = np.concatenate([[0.0], np.cumsum(mass)])[:-1]
    start = np.concatenate([[0.0], np.cumsum(total)])[image[listed]]
    holds = listed[before - start < (1 - _MISSED) * total[image[listed]]]
    deepest = np.zeros(count)
    np.maximum.at(deepest, image[holds], below[holds])
    return below <= deepest[image] + margin
