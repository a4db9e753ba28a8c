"""How well images fit slices of a reference at orientations and shifts, as matrix products.

For a whitened image X (noise power 1), its CTF C and a slice P, up to a term that depends on the image alone,

    log p(X | P, s) = −Σ |X·e^{−2πi k·s} − C·P|² = 2 Σ Re(C·X·e^{−2πi k·s} · conj P) − Σ C²·|P|²

with sums over the half plane (each frequency stands for two of variance one half in each part, which is what makes
the factor −½ into −1). The first sum, for all images and shifts against all slices, is a product of real matrices;
so is the second, for all images. Log priors of orientations and shifts are added: the scores are log posteriors.

An image turned by 180°, the other polarity, has the conjugate transform. With Y = C·X·e^{−2πi k·s} its first sum, at
the opposite shift, is 2 Σ (Re Y·Re P − Im Y·Im P), where the image's own has a plus: both are the sum and the
difference of two products of half the size.

Images may be spread over devices (:mod:`helixlab.kernels._sharded`): then each scores its own.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from helixlab.errors import HelixLabError
from helixlab.kernels._chunked import map_rows
from helixlab.kernels._sharded import jit_rows, shard_count, spread_like
from helixlab.kernels.bands import Band, shift_phases

_CPU_SCORES, _GPU_SCORES = 2**20, 2**24
"""Scores of each product that exist at a time: 4 MB, which caches hold, and 64 MB, which keep a GPU busy."""

_BLOCK = 64
"""Images at a time where each has its own slices."""


def score_grid(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    references: Float[Array, "o 2 f"],
    shifts_px: Float[Array, "s 2"],
    band: Band,
    *,
    log_prior: Float[Array, "o"] | None = None,
    log_prior_shift: Float[Array, "s"] | None = None,
) -> Float[np.ndarray, "n 2 o"]:
    """Every image, as it is and turned by 180°, against every slice, summed over the shifts.

    Parameters
    ----------
    x, ctf : float32 arrays, shapes (n, 2, f) and (n, f)
        Images in their frames and their CTFs, both divided by the noise's amplitude.
    references : float32 array, shape (o, 2, f)
        Slices (:func:`helixlab.kernels.project.slices`).
    shifts_px : float32 array, shape (s, 2)
        Shifts (x, y) in the images' frames, added to the images; to turned images their opposites are added, with the
        same priors.
    band : Band
    log_prior, log_prior_shift : float32 arrays, shapes (o,) and (s,), optional
        Default 0.

    Returns
    -------
    float32 NumPy array, shape (n, 2, o)
        Log of the posteriors' sum over the shifts.

    Examples
    --------
    >>> from helixlab.kernels.bands import frequency_band
    >>> band = frequency_band(8, 1)
    >>> x, ctf = jnp.ones((1, 2, 4)), jnp.ones((1, 4))
    >>> score_grid(x, ctf, x, jnp.zeros((1, 2)), band).tolist()  # of Σ|X|² = 8; turned, the parts cancel
    [[[8.0], [-8.0]]]
    """
    prior = _or_zero(log_prior, len(references)), _or_zero(log_prior_shift, len(shifts_px))
    shards = shard_count(x)
    scores = _CPU_SCORES if jax.default_backend() == "cpu" else _GPU_SCORES
    images = max(1, min(scores // (len(shifts_px) * len(references)), len(x) // shards))

    def score(rows: Int[np.ndarray, "m"]) -> Float[Array, "m 2 o"]:
        return _score_all(x, ctf, references, rows, shifts_px, *prior, band)

    return map_rows(score, len(x), images, shards=shards)


def best_shifts(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    references: Float[Array, "o 2 f"],
    chosen: Int[np.ndarray, "n 2 c"],
    shifts_px: Float[Array, "s 2"],
    band: Band,
    *,
    log_prior_shift: Float[Array, "s"] | None = None,
) -> Int[np.ndarray, "n 2 c"]:
    """Which shift fits best, for some slices of each image, as it is and turned by 180°.

    Parameters
    ----------
    chosen : int array, shape (n, 2, c)
        Numbers of slices.
    shifts_px : float32 array, shape (s, 2)
        Added to the images, turned or not.
    x, ctf, references, band, log_prior_shift
        As for :func:`score_grid`.

    Returns
    -------
    int NumPy array, shape (n, 2, c)
        Numbers of shifts.

    Raises
    ------
    HelixLabError
        If there is no such slice.
    """
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(references):
        raise HelixLabError(
            f"chosen: found numbers {chosen.min()} to {chosen.max()}; there are {len(references)} slices, numbered "
            "from 0."
        )
    prior, shards = _or_zero(log_prior_shift, len(shifts_px)), shard_count(x)
    numbers = spread_like(chosen.astype(np.int32), x)

    def find(rows: Int[np.ndarray, "m"]) -> Int[Array, "m 2 c"]:
        return _best_shifts(x, ctf, references, numbers, rows, shifts_px, prior, band)

    return map_rows(find, len(x), min(_BLOCK, len(x) // shards), shards=shards)


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
) -> Float[Array, "m 2 o"]:
    x, ctf = x[rows], ctf[rows]
    cos, sin = shift_phases(shifts_px, band)
    real, imag = (2 * ctf[:, None] * x[:, part, None] for part in (0, 1))
    # Two products, not one of twice the width: their sum is the one polarity, their difference the other.
    first = _product(real * cos - imag * sin, references[:, 0]) + log_prior_shift[:, None]
    second = _product(real * sin + imag * cos, references[:, 1])
    rest = log_prior - ctf**2 @ jnp.sum(references**2, axis=1).T
    return jnp.stack([_log_sum(first + second) + rest, _log_sum(first - second) + rest], axis=1)


@jit_rows("x", "ctf", "chosen")
def _best_shifts(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    references: Float[Array, "o 2 f"],
    chosen: Int[Array, "n 2 c"],
    rows: Int[Array, "m"],
    shifts_px: Float[Array, "s 2"],
    log_prior_shift: Float[Array, "s"],
    band: Band,
) -> Int[Array, "m 2 c"]:
    slices = references.at[chosen[rows]].get(mode="promise_in_bounds")
    x = x[rows] * ctf[rows][:, None]
    # Turned images are conjugates.
    real, imag = x[:, None, None, 0], x[:, None, None, 1] * jnp.array([1.0, -1.0])[:, None, None]
    # X·conj P, to be turned by each shift.
    cross = real * slices[..., 0, :] + imag * slices[..., 1, :], imag * slices[..., 0, :] - real * slices[..., 1, :]
    cos, sin = shift_phases(shifts_px, band)
    score = 2 * (cross[0] @ cos.T - cross[1] @ sin.T) + log_prior_shift
    return jnp.argmax(score, axis=-1)


def _product(shifted: Float[Array, "n s f"], part: Float[Array, "o f"]) -> Float[Array, "n s o"]:
    n, s, f = shifted.shape
    return (shifted.reshape(n * s, f) @ part.T).reshape(n, s, -1)


def _log_sum(score: Float[Array, "n s o"]) -> Float[Array, "n o"]:
    best = jnp.max(score, axis=1)
    return best + jnp.log(jnp.sum(jnp.exp(score - best[:, None]), axis=1))


def _or_zero(log_prior: Float[Array, "n"] | None, count: int) -> Float[Array, "n"]:
    return jnp.zeros(count, jnp.float32) if log_prior is None else log_prior
