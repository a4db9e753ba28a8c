"""From an accumulator to a map: Wiener filter, inverse transform, gridding correction.

With the signal's power τ² in units of the whitened noise, the transform that is most likely is
numerator / (weight + 1/τ²) (Scheres 2012). From the FSC of the half maps, of which each had the mean weight w in a
shell, the signal-to-noise ratio is FSC/(1 − FSC) = w·τ², hence 1/τ² = w·(1 − FSC)/FSC.

References
----------
Scheres (2012) J. Mol. Biol. 415, 406, doi:10.1016/j.jmb.2011.11.010, eqs. 7 and 10.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from helixlab.errors import HelixLabError
from helixlab.kernels.bands import PAD, largest_radius
from helixlab.kernels.project import gridding_window

_LEAST_WEIGHT = 1e-3
"""Of a step of the grid, as a part of its shell's mean: bounds what nearly empty ones can become."""

_FSC_RANGE = (1e-3, 0.999)
"""Beyond these an FSC from finite shells says nothing about the ratio of signal and noise."""


def reconstruct_volume(
    accumulator: Float[Array, "z z x 3"], *, box: int, inverse_signal_power: Float[Array, "s"] | None = None
) -> Float[Array, "n n n"]:
    """The map of an accumulator.

    Parameters
    ----------
    accumulator : float32 array
        From :func:`helixlab.kernels.backproject.with_mates`, with or without operators averaged.
    box : int
        Edge of the map in voxels.
    inverse_signal_power : float32 array, shape (s,), optional
        1/τ² of the shells 0 to the accumulator's r_max (:func:`inverse_signal_power`). Default 0: no filter.

    Returns
    -------
    float32 array, shape (box, box, box)
        On the scale of the map whose projections the images are; zero beyond the accumulator's r_max. Its corners
        hold what backprojection smears there: multiply by a mask of :mod:`helixlab.kernels.masks`.

    Raises
    ------
    HelixLabError
        If the accumulator reaches beyond the box's Nyquist frequency, or the numbers of shells differ.
    """
    r_max = shell_limit(accumulator)
    if r_max > largest_radius(box):
        raise HelixLabError(
            f"box: found {box} voxels for an accumulator with {r_max} shells; it needs at least {2 * r_max + 1}."
        )
    if inverse_signal_power is None:
        inverse_signal_power = jnp.zeros(r_max + 1, jnp.float32)
    if len(inverse_signal_power) != r_max + 1:
        raise HelixLabError(
            f"inverse_signal_power: found {len(inverse_signal_power)} shells; the accumulator has {r_max + 1}."
        )
    return _reconstruct(accumulator, jnp.asarray(inverse_signal_power, jnp.float32), box=box)


def shell_limit(accumulator: Float[Array, "z z x 3"]) -> int:
    """r_max of an accumulator."""
    return (accumulator.shape[2] - 2) // PAD


@jax.jit
def mean_weights(accumulator: Float[Array, "z z x 3"]) -> Float[Array, "s"]:
    """Mean weight of each shell 0 to r_max."""
    shells = _shells(accumulator.shape[2] - 1)
    count = shell_limit(accumulator) + 1
    is_used = shells.ravel() < count
    total = jnp.bincount(shells.ravel(), jnp.where(is_used, accumulator[..., 2].ravel(), 0.0), length=count + 1)
    number = jnp.bincount(shells.ravel(), length=count + 1)
    return total[:count] / number[:count]


def inverse_signal_power(mean_weight: Float[Array, "s"], fsc: Float[Array, "s"]) -> Float[Array, "s"]:
    """1/τ² of each shell, from the mean weight of a half map and the FSC between the two.

    Examples
    --------
    >>> inverse_signal_power(jnp.array([8.0, 8.0]), jnp.array([0.5, 0.8])).round(3).tolist()
    [8.0, 2.0]
    """
    fsc = jnp.clip(fsc, *_FSC_RANGE)
    return mean_weight * (1 - fsc) / fsc


# --- private kernels ----------------------------------------------------------------------------


@partial(jax.jit, static_argnames="box")
def _reconstruct(
    accumulator: Float[Array, "z z x 3"], inverse_power: Float[Array, "s"], *, box: int
) -> Float[Array, "n n n"]:
    radius, padded = accumulator.shape[2] - 1, PAD * box
    shells, count = _shells(radius), len(inverse_power)
    least = _LEAST_WEIGHT * mean_weights(accumulator)
    weight = jnp.maximum(accumulator[..., 2], jnp.append(least, 0.0)[shells]) + jnp.append(inverse_power, 0.0)[shells]
    is_known = (shells < count) & (weight > 0)
    gain = jnp.where(is_known, box / jnp.where(is_known, weight, 1.0), 0.0)
    transform = jax.lax.complex(accumulator[..., 0] * gain, accumulator[..., 1] * gain)
    # Axis by axis, the planes of zeros put in only when their turn comes, and what lies outside the box left out.
    first = padded // 2 - box // 2
    inside = np.arange(first, first + box)
    for axis in (0, 1):
        transform = _padded_ifft(transform, axis, padded)
        transform = jnp.take(transform, (inside - padded // 2) % padded, axis=axis)
    values = jnp.fft.irfft(transform, n=padded, axis=2)
    return jnp.take(values, (inside - padded // 2) % padded, axis=2) / gridding_window(box)


def _padded_ifft(transform: Array, axis: int, padded: int) -> Array:
    """Inverse transform along one axis that runs from −R to R."""
    radius = transform.shape[axis] // 2
    # In the largest odd box −R and R are one frequency; both are zero.
    both = np.arange(-radius, radius + 1)[: min(2 * radius + 1, padded)]
    source = np.full(padded, 2 * radius + 1)
    source[both % padded] = np.arange(len(both))
    wanted = jnp.take(transform, source, axis=axis, mode="fill", fill_value=0)
    return jnp.fft.ifft(wanted, axis=axis)


def _shells(radius: int) -> Int[Array, "z z x"]:
    """Shell of each step, in cycles per box; r_max + 1 for all beyond."""
    both, half = jnp.arange(-radius, radius + 1) ** 2, jnp.arange(radius + 1) ** 2
    squared = both[:, None, None] + both[:, None] + half
    shell = jnp.floor(jnp.sqrt(squared.astype(jnp.float32)) / PAD + 0.5).astype(jnp.int32)
    return jnp.minimum(shell, (radius - 1) // PAD + 1)
