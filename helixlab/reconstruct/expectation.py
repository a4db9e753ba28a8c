"""Expectation: the poses at which each image may have been taken, and how probable each is.

Every image meets a grid of orientations and shifts at low resolution (:mod:`helixlab.reconstruct.grid_search`). The
peaks of its posterior there, a few at most, climb to their maxima at ever higher resolution
(:mod:`helixlab.kernels.refine_poses`). All are global searches: nothing of the last iteration's poses is used.

Filament coherence: the segments of a filament share its polarity. What the others say of it is added to a segment's own
evidence, divided by how many segments see the same stretch, whose noise counts only once.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from helixlab.kernels.bands import flip_bands
from helixlab.kernels.project import reference_transform
from helixlab.kernels.refine_poses import refine_poses
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
    peaks = search_grid(particles, rows, transform, noise_power, ranges, shell=shells[0])
    polarity = np.zeros((len(rows), 2))
    if is_coherent and particles.has_filaments:
        odds = _polarity_log_odds(peaks.evidence, particles.filament[rows], _overlap(particles, ranges))
        polarity = 0.5 * odds[:, None] * np.array([-1.0, 1.0])
    score = peaks.score + polarity[:, :, None]
    image, flip, number = np.nonzero(score > score.max(axis=(1, 2), keepdims=True) - _MARGIN)
    found = _Candidates(image, flip, peaks.pose[image, flip, number], score[image, flip, number])
    for shell in shells[1:]:
        n_steps = _STEPS_IN_CELLS if shell == shells[0] else _STEPS
        found = _climb(particles, rows, found, transform, noise_power, ranges, shell, n_steps)
        found = found._replace(score=found.score + polarity[found.image, found.flip])
        found = found.select(_is_near(found, len(rows), margin=_MARGIN / 2))
    return _posterior(found, rows)


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
    found = _Candidates(np.arange(len(poses)), poses.is_flipped.astype(np.int64), pose, np.zeros(len(poses)))
    return _posterior(_climb(particles, poses.image, found, transform, noise_power, ranges, shell, _STEPS), poses.image)


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
    n_steps: int,
) -> _Candidates:
    """Every candidate at its nearest maximum at a resolution, with its score there."""
    mean, precision = ranges.prior(particles.pixel_size_A)
    poses, scores = [], []
    for at, is_valid in particles.batches(len(found.image), shell, most=_BATCH, varies=True):
        x, ctf, band = particles.whitened(rows[found.image[at]], noise_power, shell)
        x = flip_bands(x, spread(found.flip[at] == 1))
        refined = refine_poses(
            transform, x, ctf, found.pose[at], band, prior_mean=mean, prior_precision=precision, n_steps=n_steps
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
