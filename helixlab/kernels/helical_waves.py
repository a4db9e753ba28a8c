"""Helical waves exp(i m φ + 2πi f z): fitting them to a map on cylinders, and summing them.

Arrays are ordered by q (order m = n·q for Cn), r (radius), l (layer line) and z (section). How they make a map
symmetric is told in :mod:`helixlab.kernels.symmetrize`.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from helixlab.kernels.interpolate import spline_transfer

REFINE = 2
"""Spline nodes per voxel along the radius and along the arc: at two, 99.8% of the amplitude is kept at Nyquist."""

_MIN_EIGENVALUE = 0.1
"""Combinations of layer lines that the central part shows less than a tenth as well as the best are left out: two
lines that differ by nearly the sampling frequency look alike."""


class HelicalWaves(NamedTuple):
    """Helical waves: order m = order·q, layer line l."""

    amplitude: Complex[Array, "q r l"]
    """Spline coefficients over radius (from one node before the axis) and angle."""
    frequency: Float[Array, "q l"]
    """Cycles per section."""


def normal_inverses(
    window: Float[np.ndarray, "z"], plane: Int[np.ndarray, "z"], rise_px: float, is_resolved: Bool[np.ndarray, "q l"]
) -> Complex[np.ndarray, "q l l"]:
    """Inverse of the least-squares matrix of each order's layer lines, zero for lines that are not resolved.

    The matrix Σ_z w(z) exp(−2πi (f_l − f_l') z) depends on l − l' only, and orders differ only in how many lines
    are resolved: two numbers, one apart.
    """
    n_lines = is_resolved.shape[1]
    count = is_resolved.sum(axis=1)
    lag = np.arange(n_lines)[:, None] - np.arange(n_lines)
    overlap = np.exp((-2j * np.pi / rise_px) * np.arange(1 - n_lines, n_lines)[:, None] * plane) @ window
    normal = overlap[lag + n_lines - 1]
    inverses = np.zeros((n_lines + 1, n_lines, n_lines), complex)
    for n in np.unique(count[count > 0]):
        inverses[n, :n, :n] = np.linalg.pinv(normal[:n, :n], rcond=_MIN_EIGENVALUE, hermitian=True)
    return inverses[count]


@partial(jax.jit, static_argnames=("order", "n_sector"))
def angular_modes(values: Float[Array, "p z"], *, order: int, n_sector: int) -> Complex[Array, "r z q"]:
    """Values on cylinders, averaged over Cn and transformed over φ; without the Nyquist term."""
    sector = values.reshape(-1, order, n_sector, values.shape[1]).mean(axis=1)
    return jnp.fft.rfft(jnp.swapaxes(sector, 1, 2), axis=2)[:, :, :-1] / n_sector


@jax.jit
def fit_waves(
    modes: Complex[Array, "r z q"],
    window: Float[Array, "z"],
    plane: Float[Array, "z"],
    frequency: Float[Array, "q l"],
    solution: Complex[Array, "q l l"],
) -> Complex[Array, "q r l"]:
    """Least-squares amplitudes of the layer lines."""
    waves = _waves(-frequency, plane) * window
    return jnp.einsum("rzq,qlz,qkl->qrk", modes, waves, solution, optimize=[(0, 1), (0, 1)])


@jax.jit
def average_dyad(amplitude: Complex[Array, "q r l"], phase: Float[Array, "q l"]) -> Complex[Array, "q r l"]:
    """Average with the density turned about a dyad; ``phase`` in turns."""
    turned = jnp.conj(amplitude) * jnp.exp(-2j * jnp.pi * phase)[:, None]
    return 0.5 * (amplitude + turned)


@partial(jax.jit, static_argnames="order")
def spline_coefficients(amplitude: Complex[Array, "q r l"], *, order: int) -> Complex[Array, "q nodes l"]:
    """Amplitudes at the nodes to coefficients of cubic splines over radius and angle.

    Along a diameter order m is even or odd as m is, which continues it through the axis. One coefficient before
    the axis is put in front.
    """
    n_q, n_r, _ = amplitude.shape
    parity = jnp.where(order * np.arange(n_q) % 2, -1.0, 1.0)[:, None, None]
    pole = math.sqrt(3.0) - 2.0
    reach = 12  # the pole's 12th power is 1e-7
    before = parity * amplitude[:, reach + 1 : 0 : -1]
    beyond = amplitude[:, -2 : -2 - reach : -1]
    extended = jnp.concatenate([before, amplitude, beyond], axis=1)
    # The inverse of the spline's sampling filter, −6z/(1 − z²)·z^|k| (Unser 1999, box 2).
    taps = -6.0 * pole / (1.0 - pole**2) * pole ** np.abs(np.arange(-reach, reach + 1))
    filtered = [float(tap) * extended[:, k : k + n_r + 1] for k, tap in enumerate(taps)]
    over_phi = spline_transfer(np.arange(n_q, dtype=np.float32) / (2 * REFINE * n_q))
    return jnp.sum(jnp.stack(filtered), axis=0) / over_phi[:, None, None]


@partial(jax.jit, static_argnames=("n_fine", "n_z"))
def sum_waves(lines: HelicalWaves, first: Float[Array, ""], *, n_fine: int, n_z: int) -> Float[Array, "r phi n_z"]:
    """Spline coefficients of the density on cylinders."""
    waves = _waves(lines.frequency, first + jnp.arange(n_z))
    modes = jnp.einsum("qrl,qlz->rzq", lines.amplitude, waves)
    return jnp.swapaxes(jnp.fft.irfft(modes, n=n_fine, axis=2, norm="forward"), 1, 2)


@jax.jit
def masked_sections(values: Float[Array, "p z"], mask: Float[Array, "p"]) -> Float[Array, "z p"]:
    """Values times the mask, as sections."""
    return (values * mask[:, None]).T


def _waves(frequency: Float[Array, "q l"], plane: Float[Array, "z"]) -> Complex[Array, "q l z"]:
    cycles = frequency[:, :, None] * plane
    turn = (2.0 * jnp.pi) * (cycles - jnp.round(cycles))
    return jax.lax.complex(jnp.cos(turn), jnp.sin(turn))
