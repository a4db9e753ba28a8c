"""How well images fit slices of a reference at orientations and shifts, as matrix products.

For a whitened image X (noise power 1), its CTF C and a slice P, up to a term that depends on the image alone,

    log p(X | P, s) = −Σ |X·e^{−2πi k·s} − C·P|² = 2 Σ Re(C·X·e^{−2πi k·s} · conj P) − Σ C²·|P|²

with sums over the half plane (each frequency stands for two of variance one half in each part, which is what makes
the factor −½ into −1). The first sum, for all images and shifts against all slices, is a product of real matrices;
so is the second, for all images. Log priors of orientations and shifts are added: the scores are log posteriors.

Images may be spread over devices (:mod:`helixlab.kernels._sharded`): then each scores its own.

Scores of all pairs exist only a block at a time. What is kept of them: per image and orientation the best and the
log of the sum over shifts, per image and shift the best over orientations.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from helixlab.errors import HelixLabError
from helixlab.kernels._chunked import map_rows
from helixlab.kernels._sharded import jit_rows, shard_count
from helixlab.kernels.bands import Band, rotate_pairs, shift_phases

_SCORES = 2**23
"""Scores that exist at a time: 32 MB."""

_CANDIDATE_ROWS = 32
"""Images at a time where each has its own slices."""


class Scores(NamedTuple):
    """What is kept of the log posteriors of images × orientations × shifts."""

    best: Float[Array | np.ndarray, "n o"]
    """Largest over the shifts."""
    log_sum: Float[Array | np.ndarray, "n o"]
    """Log of the sum of exponentials over the shifts."""
    by_shift: Float[Array | np.ndarray, "n s"]
    """Largest over the orientations."""


def score_grid(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    references: Float[Array, "o 2 f"],
    shifts_px: Float[Array, "s 2"],
    band: Band,
    *,
    log_prior: Float[Array, "o"] | None = None,
    log_prior_shift: Float[Array, "s"] | None = None,
) -> Scores:
    """Every image against every slice at every shift.

    Parameters
    ----------
    x, ctf : float32 arrays, shapes (n, 2, f) and (n, f)
        Images in their frames and their CTFs, both divided by the noise's amplitude.
    references : float32 array, shape (o, 2, f)
        Slices (:func:`helixlab.kernels.project.slices`).
    shifts_px : float32 array, shape (s, 2)
        Shifts (x, y) in the images' frames, added to the images.
    band : Band
    log_prior, log_prior_shift : float32 arrays, shapes (o,) and (s,), optional
        Default 0.

    Returns
    -------
    Scores
        NumPy arrays.
    """
    prior = _or_zero(log_prior, len(references)), _or_zero(log_prior_shift, len(shifts_px))
    shards = shard_count(x)
    images = max(1, min(_SCORES // (len(shifts_px) * len(references)), len(x) // shards))

    def score(rows: Int[np.ndarray, "m"]) -> Scores:
        return _score_all(x, ctf, references, rows, shifts_px, *prior, band)

    return map_rows(score, len(x), images, shards=shards)


def score_candidates(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    references: Float[Array, "o 2 f"],
    images: Int[np.ndarray, "m"],
    candidates: Int[np.ndarray, "m c"],
    shifts_px: Float[Array, "s 2"],
    band: Band,
    *,
    log_prior: Float[Array, "o"] | None = None,
    log_prior_shift: Float[Array, "s"] | None = None,
) -> Scores:
    """Some images, each against slices of its own choice, at every shift.

    Parameters
    ----------
    images : int array, shape (m,)
        Numbers of images. Where images are spread over devices, each has an equal part of the list, with its own.
    candidates : int array, shape (m, c)
        Numbers of slices for each; negative ones stand for none and score −∞.
    x, ctf, references, shifts_px, band, log_prior, log_prior_shift
        As for :func:`score_grid`.

    Returns
    -------
    Scores
        NumPy arrays, with candidates in the place of orientations. Only the number of candidates makes a new
        compilation, that of images does not.

    Raises
    ------
    HelixLabError
        If there is no such slice or image, or an image is listed in the part of another device.
    """
    for name, numbers, count in (("candidates", candidates, len(references)), ("images", images, len(x))):
        if numbers.size and numbers.max() >= count:
            raise HelixLabError(f"{name}: found number {numbers.max()}; there are {count}, numbered from 0.")
    prior = _or_zero(log_prior, len(references)), _or_zero(log_prior_shift, len(shifts_px))
    # By device, as numbers on it.
    shards = shard_count(x)
    device, number = np.divmod(images.reshape(shards, -1).astype(np.int32), len(x) // shards)
    if np.any(device != np.arange(shards)[:, None]):
        raise HelixLabError("images: found images in the part of another device; list those of each device together.")
    chosen = candidates.astype(np.int32).reshape(shards, -1, candidates.shape[1])

    def score(rows: Int[np.ndarray, "b"]) -> Scores:
        mine, theirs = (a[:, rows].reshape(-1, *a.shape[2:]) for a in (number, chosen))
        return _score_chosen(x, ctf, references, mine, theirs, shifts_px, *prior, band)

    return map_rows(score, len(images), _CANDIDATE_ROWS, shards=shards)


# --- private kernels ----------------------------------------------------------------------------


@jit_rows("x", "ctf")
def _score_all(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    references: Float[Array, "o 2 f"],
    rows: Int[Array, "m"],
    shifts_px: Float[Array, "s 2"],
    log_prior: Float[Array, "o"],
    log_prior_shift: Float[Array, "s"],
    band: Band,
) -> Scores:
    x, ctf = x[rows], ctf[rows]
    shifted = _shifted(x * ctf[:, None], *shift_phases(shifts_px, band))
    n, s, width = shifted.shape
    cross = shifted.reshape(n * s, width) @ references.reshape(-1, width).T
    power = ctf**2 @ jnp.sum(references**2, axis=1).T
    score = 2 * cross.reshape(n, s, -1) + (log_prior - power)[:, None] + log_prior_shift[:, None]
    return Scores(*_over_shifts(score), jnp.max(score, axis=2))


@jit_rows("x", "ctf", "images", "chosen")
def _score_chosen(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    references: Float[Array, "o 2 f"],
    images: Int[Array, "m"],
    chosen: Int[Array, "m c"],
    shifts_px: Float[Array, "s 2"],
    log_prior: Float[Array, "o"],
    log_prior_shift: Float[Array, "s"],
    band: Band,
) -> Scores:
    cos, sin = shift_phases(shifts_px, band)

    def one(pair: tuple[Int[Array, ""], Int[Array, "c"]]) -> Scores:
        image, chosen = pair
        slices = references.at[jnp.maximum(chosen, 0)].get(mode="promise_in_bounds")
        prior = jnp.where(chosen >= 0, log_prior[chosen], -jnp.inf)
        shifted = _shifted((x[image] * ctf[image])[None], cos, sin)[0]
        cross = shifted @ slices.reshape(len(chosen), -1).T
        power = jnp.sum(slices**2, axis=1) @ ctf[image] ** 2
        score = 2 * cross + (prior - power) + log_prior_shift[:, None]
        best, log_sum = _over_shifts(score[None])
        return Scores(best[0], log_sum[0], jnp.max(score, axis=1))

    # One image after the other: each is a matrix product that fills the cores.
    return jax.lax.map(one, (images, chosen))


def _shifted(x: Float[Array, "n 2 f"], cos: Float[Array, "s f"], sin: Float[Array, "s f"]) -> Float[Array, "n s w"]:
    """Every image at every shift, real and imaginary parts in one row."""
    return rotate_pairs(x[:, None], cos, sin).reshape(len(x), len(cos), -1)


def _over_shifts(score: Float[Array, "n s o"]) -> tuple[Float[Array, "n o"], Float[Array, "n o"]]:
    best = jnp.max(score, axis=1)
    # −∞ − (−∞) is no number: impossible slices are compared with 0.
    height = jnp.where(jnp.isfinite(best), best, 0.0)
    return best, height + jnp.log(jnp.sum(jnp.exp(score - height[:, None]), axis=1))


def _or_zero(log_prior: Float[Array, "n"] | None, count: int) -> Float[Array, "n"]:
    return jnp.zeros(count, jnp.float32) if log_prior is None else log_prior
