"""Weights of images levelled before they are added, so that linear insertion leaves a map's size as it is.

Insertion shares each sample out between steps of the grid half a cycle per box apart. Where the samples' weight, CTF²
over the noise, rises with frequency, a step holds more of what lies beyond it than of what lies before it: features
come out at too low a frequency, and the map too large. Before the CTF's first peak the weight grows as k⁴, and a
filament of 27.5 Å rise in a box of 256 Å became 0.5% longer, many times the standard error of its rise. Samples are
therefore divided by the images' mean weight at their own frequency, and steps multiplied by it at theirs.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from helixlab.kernels.bands import PAD
from helixlab.kernels.ctf import CtfCoefficients, evaluate_ctf
from helixlab.reconstruct.prepare import PreparedParticles

_ENOUGH = 1000
"""Images whose mean is taken."""

_LEAST = 1e-9
"""Of the largest weight: nothing is divided by 0."""


def mean_level(
    particles: PreparedParticles, rows: Int[np.ndarray, "m"], noise_power: Float[np.ndarray, "g s"]
) -> Float[np.ndarray, "s"]:
    """How much images weigh at each shell up to the last, by what they weigh most, on its way up.

    Beyond its first peak the weight of images of one defocus falls to zero and rises again, to both sides alike: there
    the highest weight so far is kept.

    Parameters
    ----------
    particles : PreparedParticles
    rows : int array, shape (m,)
        The images.
    noise_power : float array, shape (g, s)

    Returns
    -------
    float array, shape (s,)
        Ascending to 1; all 1 if there are no images.
    """
    rows = np.unique(rows)
    rows = rows[:: max(1, len(rows) // _ENOUGH)]
    if not len(rows):
        return np.ones(noise_power.shape[1])
    shells = jnp.arange(1, noise_power.shape[1], dtype=jnp.float32)
    # Images lie in frames of their own: one direction in them is any direction of astigmatism.
    ctf = evaluate_ctf(CtfCoefficients(*(jnp.asarray(np.asarray(c)[rows]) for c in particles.ctf)), shells, 0 * shells)
    weight = np.mean(np.asarray(ctf) ** 2 / noise_power[particles.optics_group[rows], 1:], axis=0)
    highest = np.maximum.accumulate(weight / weight.max())
    return np.maximum(np.insert(highest, 0, highest[0]), _LEAST)


@jax.jit
def levelling_gain(level: Float[Array, "s"], k: Float[Array, "f 2"]) -> Float[Array, "f"]:
    """What images and CTFs are multiplied by at the frequencies ``k``, in cycles per box.

    Examples
    --------
    >>> levelling_gain(jnp.array([0.25, 0.25, 1.0]), jnp.array([[1.0, 0.0], [0.0, 2.0]])).tolist()
    [2.0, 1.0]
    """
    return 1.0 / jnp.sqrt(_at(level, jnp.hypot(k[:, 0], k[:, 1])))


@partial(jax.jit, donate_argnums=0)
def restored(accumulator: Float[Array, "z z x 3"], level: Float[Array, "s"]) -> Float[Array, "z z x 3"]:
    """The accumulator of levelled images with the weights that they had.

    Examples
    --------
    >>> total = restored(jnp.ones((7, 7, 4, 3)), jnp.array([0.25, 0.25, 1.0]))
    >>> total[3, 3, :, 0].tolist()  # steps of half a cycle per box
    [0.25, 0.25, 0.25, 0.625]
    """
    radius = accumulator.shape[2] - 1
    both, half = jnp.arange(-radius, radius + 1) ** 2, jnp.arange(radius + 1) ** 2
    squared = both[:, None, None] + both[:, None] + half
    return accumulator * _at(level, jnp.sqrt(squared.astype(jnp.float32)) / PAD)[..., None]


def _at(level: Float[Array, "s"], k: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Between shells linearly, beyond the last as there."""
    first = jnp.clip(jnp.floor(k).astype(jnp.int32), 0, len(level) - 2)
    part = jnp.minimum(k - first, 1.0)
    return level[first] * (1 - part) + level[first + 1] * part
