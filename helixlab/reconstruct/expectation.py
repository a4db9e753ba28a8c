"""Expectation: the poses at which each image may have been taken, and how probable each is.

Every image meets a grid of orientations and shifts at low resolution (:mod:`helixlab.reconstruct.grid_search`). The
peaks of its posterior there, a few at most, climb to their maxima at ever higher resolution
(:mod:`helixlab.kernels.refine_poses`). All are global searches: nothing of the last iteration's poses is used.

What the segments of a filament say of each other's polarity (:mod:`helixlab.reconstruct.coherence`) is added to a
segment's own evidence; in the end their poses are drawn towards each other.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from helixlab.geometry import HelicalSymmetry
from helixlab.kernels.bands import flip_bands
from helixlab.kernels.project import reference_transform
from helixlab.kernels.refine_poses import refine_poses
from helixlab.reconstruct.coherence import coherent_poses, overlap, polarity_log_odds
from helixlab.reconstruct.devices import on_all, spread
from helixlab.reconstruct.grid_search import SearchRange, search_grid
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles

_MARGIN = 12.0
"""Peaks this far below an image's best are left: a cell's centre may score less than its peak by about half of it."""

_LEAST_RATIO = 0.05
"""Poses less probable than this part of the best one are dropped."""

_STEPS, _STEPS_IN_CELLS = 4, 2
"""Gauss–Newton steps at each resolution; and at the grid's own, where the way from a cell's centre is short: two steps
more changed held-out scores by 0.02 of 60."""

_BATCH = 512
"""Images that a device aligns at a time where memory allows."""


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
    lattice: HelicalSymmetry | None = None,
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
        Whether the segments of a filament tell each other's polarity, and on a lattice each other's poses.
    lattice : HelicalSymmetry, optional
        On which they lie.

    Returns
    -------
    Alignment
    """
    transform = on_all(reference_transform(reference, r_max=particles.last_shell))
    peaks = search_grid(particles, rows, transform, noise_power, ranges, shell=shells[0])
    polarity = np.zeros((len(rows), 2))
    if is_coherent and particles.has_filaments:
        odds = polarity_log_odds(peaks.evidence, particles.filament[rows], overlap(particles, ranges))
        polarity = 0.5 * odds[:, None] * np.array([-1.0, 1.0])
    score = peaks.score + polarity[:, :, None]
    image, flip, number = np.nonzero(score > score.max(axis=(1, 2), keepdims=True) - _MARGIN)
    found = _Candidates.at(image, flip, peaks.pose[image, flip, number], score[image, flip, number])
    for shell in shells[1:]:
        n_steps = _STEPS_IN_CELLS if shell == shells[0] else _STEPS
        found = _climb(particles, rows, found, transform, noise_power, ranges, shell, n_steps)
        found = found._replace(score=found.score + polarity[found.image, found.flip])
        found = found.select(_is_near(found, len(rows), margin=_MARGIN / 2))
    alignment, information = _posterior(found, rows)
    if lattice is None or not is_coherent:
        return alignment
    return replace(alignment, poses=coherent_poses(particles, alignment.poses, information, lattice, ranges))


def climb(
    particles: PreparedParticles,
    poses: Poses,
    reference: Float[Array, "n n n"],
    noise_power: Float[np.ndarray, "g s"],
    ranges: SearchRange,
    *,
    shell: int,
) -> Alignment:
    """Poses at their nearest maxima, without a search.

    Parameters
    ----------
    particles : PreparedParticles
    poses : Poses
        One for each image.
    reference, noise_power, ranges
        As in :func:`align_images`.
    shell : int
        To which the images are looked at.

    Returns
    -------
    Alignment
        In the order of the poses.
    """
    transform = on_all(reference_transform(reference, r_max=particles.last_shell))
    pose = np.concatenate([poses.angles_deg, poses.shift_px], axis=1).astype(np.float32)
    found = _Candidates.at(np.arange(len(poses)), poses.is_flipped.astype(np.int64), pose, np.zeros(len(poses)))
    found = _climb(particles, poses.image, found, transform, noise_power, ranges, shell, _STEPS)
    return _posterior(found, poses.image)[0]


# --- climbing -----------------------------------------------------------------------------------


class _Candidates(NamedTuple):
    """Poses still in the race, by image."""

    image: Int[np.ndarray, "c"]
    flip: Int[np.ndarray, "c"]
    pose: Float[np.ndarray, "c 5"]
    score: Float[np.ndarray, "c"]
    information: Float[np.ndarray, "c 5 5"]

    @classmethod
    def at(
        cls,
        image: Int[np.ndarray, "c"],
        flip: Int[np.ndarray, "c"],
        pose: Float[np.ndarray, "c 5"],
        score: Float[np.ndarray, "c"],
    ) -> "_Candidates":
        """Where nothing is known of the posterior around them."""
        return cls(image, flip, pose, score, np.zeros((len(image), 5, 5), np.float32))

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
    n_steps: int,
) -> _Candidates:
    """Every candidate at its nearest maximum at a resolution, with its score there."""
    mean, precision = ranges.prior(particles.pixel_size_A)
    parts = []
    for at, is_valid in particles.batches(len(found.image), shell, most=_BATCH, varies=True):
        x, ctf, band = particles.whitened(rows[found.image[at]], noise_power, shell)
        x = flip_bands(x, spread(found.flip[at] == 1))
        refined = refine_poses(
            transform, x, ctf, found.pose[at], band, prior_mean=mean, prior_precision=precision, n_steps=n_steps
        )
        parts.append([np.asarray(part)[is_valid] for part in refined])
    pose, score, information = (np.concatenate(column) for column in zip(*parts, strict=True))
    return found._replace(pose=pose, score=score, information=information)


def _is_near(found: _Candidates, count: int, margin: float) -> Bool[np.ndarray, "c"]:
    """Which candidates score at most ``margin`` less than the best of their image."""
    best = np.full(count, -np.inf)
    np.maximum.at(best, found.image, found.score)
    return found.score >= best[found.image] - margin


def _posterior(found: _Candidates, rows: Int[np.ndarray, "m"]) -> tuple[Alignment, Float[np.ndarray, "p 5 5"]]:
    """With the poses' information."""
    best = np.full(len(rows), -np.inf)
    np.maximum.at(best, found.image, found.score)
    found = found.select(np.lexsort((-found.score, found.image)))
    weight = np.exp(found.score - best[found.image])
    keep = weight >= _LEAST_RATIO
    found, weight = found.select(keep), weight[keep]
    weight /= np.bincount(found.image, weight)[found.image]
    angles, shifts = np.split(found.pose.astype(np.float64), [3], axis=1)
    poses = Poses(rows[found.image], found.flip == 1, angles, shifts, weight)
    return Alignment(poses, best), found.information.astype(np.float64)
