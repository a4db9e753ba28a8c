"""Helical waves exp(i m φ + 2πi f z): fitting them to a map on cylinders, and summing them.

Arrays are ordered by q (order m = n·q for Cn), r (node along the radius), l (layer line) and z (section); p counts
points. How the waves make a map symmetric is told in :mod:`helixlab.kernels.symmetrize`.

Lines come in blocks of a few fixed sizes (:data:`BLOCK_LINES`), so that no kernel is compiled anew as twist and rise
change, which decide how many lines there are.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from helixlab.kernels.interpolate import spline_transfer

REFINE = 2
"""Spline nodes per voxel along the radius and along the arc: at two, 99.8% of the amplitude is kept at Nyquist."""

BLOCK_LINES = (4, 8)
"""Sizes of blocks of layer lines: up to 4 lines make one small block, more of them make large ones."""

_MIN_EIGENVALUE = 0.1
"""Combinations of layer lines that the central part shows less than a tenth as well as the best are left out: two
lines that differ by nearly the sampling frequency look alike."""


class LineBlock(NamedTuple):
    """Some consecutive layer lines of every order: line l of order q has the frequency ``first[q] + l·step``."""

    first: Float[Array, "q"]
    """Frequency of the block's first line, cycles per section."""
    step: Float[Array, ""]
    """From line to line, 1/rise."""
    is_resolved: Float[Array, "q l"]
    """1 for lines below the Nyquist frequency, 0 for those that fill up the block."""
    start: Float[Array, "q"]
    """Frequency of the order's first line in any block."""
    weight: Complex[Array, "2 l z"]
    """Σ_z weight(l, z)·exp(−2πi·start·z)·c(z) is the amplitude of line l, for orders with fewer and with more lines."""
    has_more: Int[Array, "q"]
    """Which of the two holds for an order."""


def line_blocks(
    window: Float[np.ndarray, "z"],
    plane: Int[np.ndarray, "z"],
    rise_px: float,
    winding: Float[np.ndarray, "q"],
    *,
    is_fit: bool = True,
) -> list[LineBlock]:
    """The layer lines of all orders, with the weights that read their amplitudes from a map.

    Parameters
    ----------
    window : array, shape (z,)
        Weight of each section.
    plane : int array, shape (z,)
        Height of each section over the box's centre.
    rise_px : float
    winding : array, shape (q,)
        m·twist/360°: the selection rule is winding + f·rise = a whole number.
    is_fit : bool
        Amplitudes of least squares; otherwise plain projections on each line, the right-hand sides of the fit.

    Notes
    -----
    The normal matrix Σ_z w(z) exp(−2πi (f_l − f_l') z) depends on l − l' only, and orders differ only in how many
    lines are resolved: two numbers, one apart. Frequencies are float64: at the box's end a phase is hundreds of times
    the step from section to section.
    """
    start = (np.ceil(winding - 0.5 * rise_px) - winding) / rise_px
    count = np.ceil((0.5 - start) * rise_px).astype(int)  # lines with −0.5 ≤ f < 0.5
    most = int(count.max())
    block = BLOCK_LINES[0] if most <= BLOCK_LINES[0] else BLOCK_LINES[1]
    n_lines = block * math.ceil(most / block)
    lines = np.arange(n_lines)
    waves = np.exp((-2j * np.pi / rise_px) * lines[:, None] * plane) * window
    lag = lines[:, None] - lines
    overlap = np.exp((-2j * np.pi / rise_px) * np.arange(1 - n_lines, n_lines)[:, None] * plane) @ window
    normal = overlap[lag + n_lines - 1]
    weight = np.zeros((2, n_lines, len(plane)), np.complex64)
    for which, n in enumerate((most - 1, most)):
        if n > 0:
            solution = np.linalg.pinv(normal[:n, :n], rcond=_MIN_EIGENVALUE, hermitian=True) if is_fit else np.eye(n)
            weight[which, :n] = solution @ waves[:n]
    return [
        LineBlock(
            first=jnp.asarray(start + at / rise_px, jnp.float32),
            step=jnp.float32(1.0 / rise_px),
            is_resolved=jnp.asarray(lines[at : at + block] < count[:, None], jnp.float32),
            start=jnp.asarray(start, jnp.float32),
            weight=jnp.asarray(weight[:, at : at + block]),
            has_more=jnp.asarray(count == most, jnp.int32),
        )
        for at in range(0, n_lines, block)
    ]


@partial(jax.jit, static_argnames="n_phi")
def angular_modes(values: Float[Array, "p z"], *, n_phi: int) -> Float[Array, "q z rr"]:
    """Values on cylinders transformed over φ, as coefficients of cubic splines over the radius.

    Without the Nyquist term. Along a diameter order m is even or odd as m is, which continues it through the axis; one
    coefficient before the axis is put in front. Real parts of all radii come first, then imaginary parts.
    """
    sections = jnp.swapaxes(values.reshape(-1, n_phi, values.shape[1]), 1, 2)
    modes = jnp.transpose(jnp.fft.rfft(sections, axis=2)[:, :, :-1] / n_phi, (2, 1, 0))
    n_q, _, n_r = modes.shape
    parity = jnp.where(np.arange(n_q) % 2, -1.0, 1.0)[:, None, None]
    pole = math.sqrt(3.0) - 2.0
    reach = 12  # the pole's 12th power is 1e-7
    before = parity * modes[:, :, reach + 1 : 0 : -1]
    beyond = modes[:, :, -2 : -2 - reach : -1]
    extended = jnp.concatenate([before, modes, beyond], axis=2)
    # The inverse of the spline's sampling filter, −6z/(1 − z²)·z^|k| (Unser 1999, box 2).
    taps = -6.0 * pole / (1.0 - pole**2) * pole ** np.abs(np.arange(-reach, reach + 1))
    filtered = jnp.zeros((n_q, values.shape[1], n_r + 1), modes.dtype)
    for k, tap in enumerate(taps):
        filtered += float(tap) * extended[:, :, k : k + n_r + 1]
    return jnp.concatenate([filtered.real, filtered.imag], axis=2)


@jax.jit
def fit_waves(modes: Float[Array, "q z rr"], plane: Float[Array, "z"], block: LineBlock) -> Complex[Array, "q l r"]:
    """Amplitudes of a block's layer lines."""
    waves = _waves(-block.start[:, None], plane) * block.weight[block.has_more]
    waves = waves * block.is_resolved[:, :, None]
    n_lines, n_r = waves.shape[1], modes.shape[2] // 2
    # In real numbers: the batched product of complex ones is several times slower.
    parts = jnp.einsum("qaz,qzb->qab", jnp.concatenate([waves.real, waves.imag], axis=1), modes)
    by_real, by_imag = parts[:, :n_lines], parts[:, n_lines:]
    return jax.lax.complex(
        by_real[:, :, :n_r] - by_imag[:, :, n_r:],
        by_real[:, :, n_r:] + by_imag[:, :, :n_r],
    )


@jax.jit
def average_dyad(
    amplitude: Complex[Array, "q l r"], block: LineBlock, azimuth: Float[Array, "q"], height: Float[Array, ""]
) -> Complex[Array, "q l r"]:
    """Average with the density turned about a dyad: at ``azimuth`` (m·φ in turns) and ``height`` (sections)."""
    phase = 2.0 * (azimuth[:, None] + _frequency(block) * height)
    turned = jnp.conj(amplitude) * jnp.exp(-2j * jnp.pi * (phase - jnp.round(phase)))[:, :, None]
    return 0.5 * (amplitude + turned)


@jax.jit
def wall_density(
    amplitude: Complex[Array, "q l r"],
    block: LineBlock,
    at_radius: Float[Array, "p r"],
    turn: Complex[Array, "q p"],
    height: Float[Array, "h"],
) -> tuple[Float[Array, "p h"], Float[Array, "p h"]]:
    """Density at points of a section, at many heights: its even and its odd part in the height.

    Parameters
    ----------
    at_radius : array, shape (p, r)
        Weights of the radial splines at each point. Dense: a product of matrices is quicker than gathering rows.
    turn : complex array, shape (q, p)
        exp(i m φ) of each point, doubled for m > 0 (which stands for −m, too).
    height : array, shape (h,)
        Sections over the centre, ≥ 0. The density is even − odd there, and even + odd at −height.
    """
    real, imag = (jnp.einsum("qlr,pr->qlp", part, at_radius) for part in (amplitude.real, amplitude.imag))
    cos, sin = turn.real[:, None], turn.imag[:, None]
    waves = _waves(_frequency(block), height)
    even = jnp.einsum("qlp,qlh->ph", real * cos - imag * sin, waves.real)
    odd = jnp.einsum("qlp,qlh->ph", real * sin + imag * cos, waves.imag)
    return even, odd


@partial(jax.jit, static_argnames="n_z")
def section_modes(
    amplitude: Complex[Array, "q l r"], block: LineBlock, first: Float[Array, ""], *, n_z: int
) -> Complex[Array, "r z q"]:
    """Angular modes of ``n_z`` sections from height ``first`` on."""
    return jnp.einsum("qlr,qlz->rzq", amplitude, _waves(_frequency(block), first + jnp.arange(n_z)))


@jax.jit
def shared_energy(
    first: Complex[Array, "q l r"], second: Complex[Array, "q l r"], area: Float[Array, "n"]
) -> Float[Array, ""]:
    """Σ first·conj(second) over all waves and cylinders; each order stands for −m, too."""
    each = (_at_nodes(first) * jnp.conj(_at_nodes(second))).real
    return jnp.einsum("qlr,q,r->", each, _both_signs(len(first)), area)


@jax.jit
def modes_energy(
    modes: Float[Array, "q z rr"], window: Float[Array, "z"], area: Float[Array, "n"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Weighted energy of a map's mean density, and of the map."""
    n_r = modes.shape[2] // 2
    real, imag = (_at_nodes(part) for part in (modes[:, :, :n_r], modes[:, :, n_r:]))
    total = jnp.einsum("qzr,q,z,r->", real**2 + imag**2, _both_signs(len(modes)), window, area)
    mean = jnp.einsum("zr,z,r->", real[0], window, area)
    return mean**2 / (window.sum() * area.sum()), total


def _both_signs(n_q: int) -> Float[Array, "q"]:
    return jnp.where(jnp.arange(n_q) > 0, 2.0, 1.0)


def _at_nodes(coefficients: Array) -> Array:
    """Values of a cubic spline over the radius at its nodes, from the axis on."""
    return (coefficients[..., :-2] + 4.0 * coefficients[..., 1:-1] + coefficients[..., 2:]) / 6.0


@partial(jax.jit, static_argnames="n_fine")
def cylinder_coefficients(modes: Complex[Array, "r z q"], *, n_fine: int) -> Float[Array, "r phi z"]:
    """From angular modes to coefficients of cubic splines over the angle, too."""
    n_q = modes.shape[2]
    over_phi = spline_transfer(np.arange(n_q, dtype=np.float32) / n_fine)
    return jnp.swapaxes(jnp.fft.irfft(modes / over_phi, n=n_fine, axis=2, norm="forward"), 1, 2)


@jax.jit
def masked_sections(values: Float[Array, "p z"], mask: Float[Array, "p"]) -> Float[Array, "z p"]:
    """Values times the mask, as sections."""
    return (values * mask[:, None]).T


def _frequency(block: LineBlock) -> Float[Array, "q l"]:
    # A filling line may lie anywhere: its amplitude is 0.
    return block.first[:, None] + block.step * jnp.arange(block.is_resolved.shape[1])


def _waves(frequency: Float[Array, "q l"], plane: Float[Array, "z"]) -> Complex[Array, "q l z"]:
    cycles = frequency[:, :, None] * plane
    turn = (2.0 * jnp.pi) * (cycles - jnp.round(cycles))
    return jax.lax.complex(jnp.cos(turn), jnp.sin(turn))
