"""The correlation of a filament with itself over every rotation and shift along its axis.

A map sampled on cylinders is c(r, φ, z). Its correlation with a copy turned by Δφ and shifted by Δz,

    C(Δφ, Δz) = Σ_r r Σ_φ Σ_z w(z) c₁(r, φ, z) · w(z + Δz) c₂(r, φ + Δφ, z + Δz),

comes for all lags at once from one transform over φ and z (zero-padded in z, w a soft window). A helix of twist
t and rise R has peaks at the lags (k·t, k·R). What overlaps is accounted for section by section: E(Δz) is the
autocorrelation of w(z)·√e(z), with e(z) the energy of a section, so that C/E is a correlation coefficient that
reaches 1 when each section equals a turned copy of another one.

Lags are read from cubic B-splines on a grid twice finer than the map, so that scores have continuous
derivatives in twist and rise.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from helixlab.kernels.interpolate import (
    cubic_weight_curvatures,
    cubic_weight_slopes,
    cubic_weights,
    spline_transfer,
)

_LAG_REFINE = 2
"""Lag samples per map sample: the factor at which a cubic spline is accurate up to the map's Nyquist frequency."""


class Correlation(NamedTuple):
    """Spline coefficients of everything that is read at a lag (Δφ, Δz).

    Periodic in both axes: φ over 360°, z over twice the map's length.
    """

    product: Float[Array, "lag_z lag_phi"]
    """C: correlation of the two maps (or of a map with itself)."""
    noise: Float[Array, "lag_z lag_phi"]
    """A realisation of what noise alone adds to C; rotating it gives further realisations."""
    energy: Float[Array, "lag_z"]
    """E: the value of C for a perfect copy."""
    spread: Float[Array, "lag_z"]
    """Sum of both energies over the overlap: spread − 2C is a sum of squared differences."""
    overlap: Float[Array, "lag_z"]
    """Energy of a map whose sections are all average: the unit in which squared differences are reported."""
    z_step_A: Float[Array, ""]
    """Å per lag sample along z."""
    section_energy: Float[Array, "z"]
    """Energy of each section, window included."""


def cylinder_spectrum(
    cylinder: Float[Array, "r phi z"], radius: Float[Array, "r"], window: Float[Array, "z"]
) -> Complex[Array, "r m kz"]:
    """Transform over φ and z of √r·w(z)·(c − its mean on each cylinder), zero-padded to twice the length."""
    nz = cylinder.shape[2]
    mean = jnp.sum(cylinder.mean(axis=1) * window, axis=1) / jnp.sum(window)
    weighted = (cylinder - mean[:, None, None]) * window * jnp.sqrt(radius)[:, None, None]
    return jnp.fft.fft(jnp.fft.rfft(weighted, axis=1), n=2 * nz, axis=2)


def section_energy(spectrum: Complex[Array, "r m kz"], n_phi: int) -> Float[Array, "z"]:
    """Energy w(z)²·e(z) of each section, from the transform (Parseval over φ)."""
    nz = spectrum.shape[2] // 2
    sections = jnp.abs(jnp.fft.ifft(spectrum, axis=2)[:, :, :nz]) ** 2
    return jnp.einsum("rmz,m->z", sections, _hermitian_weight(spectrum.shape[1], n_phi)) / n_phi


def cross_power(first: Complex[Array, "r m kz"], second: Complex[Array, "r m kz"]) -> Complex[Array, "m kz"]:
    """Σ_r conj(first)·second."""
    return jnp.sum(jnp.conj(first) * second, axis=0)


@partial(jax.jit, static_argnames=("n_phi",))
def correlate_map(
    cylinder: Float[Array, "r phi z"],
    radius: Float[Array, "r"],
    window: Float[Array, "z"],
    pixel_size_A: Float[Array, ""],
    *,
    n_phi: int,
) -> Correlation:
    """Correlation of one map with itself; its noise term is left zero."""
    spectrum = cylinder_spectrum(cylinder, radius, window)
    energy = section_energy(spectrum, n_phi)
    power = cross_power(spectrum, spectrum)
    return _assemble(power, jnp.zeros_like(power), energy, window, pixel_size_A, n_phi)


@partial(jax.jit, static_argnames=("n_phi",))
def correlate_halves(
    half1: Float[Array, "r phi z"],
    half2: Float[Array, "r phi z"],
    radius: Float[Array, "r"],
    window: Float[Array, "z"],
    pixel_size_A: Float[Array, ""],
    *,
    n_phi: int,
) -> Correlation:
    """Correlation of two half maps: noise that they do not share adds no bias.

    The energies are those of the signal, scaled so that C/E is 1 at lag 0. With a = (F₁ + F₂)/2 and d = F₁ − F₂
    the product conj(a)·d has the mean zero and the variance of the noise in conj(F₁)·F₂: 2σ²|s|² + σ⁴ for
    half-map noise σ² and signal s.
    """
    first = cylinder_spectrum(half1, radius, window)
    second = cylinder_spectrum(half2, radius, window)
    power = cross_power(first, second).real.astype(first.dtype)
    noise = cross_power((first + second) / 2, first - second) * np.float32(np.sqrt(0.5))
    energy = jnp.sqrt(section_energy(first, n_phi) * section_energy(second, n_phi))
    at_zero = jnp.einsum("mk,m->", power.real, _hermitian_weight(power.shape[0], n_phi)) / (power.shape[1] * n_phi)
    energy = energy * (at_zero / jnp.sum(energy))
    return _assemble(power, noise, energy, window, pixel_size_A, n_phi)


@partial(jax.jit, static_argnames=("n_phi", "n_steps"))
def departure_noise(
    cylinder: Float[Array, "r phi z"],
    radius: Float[Array, "r"],
    window: Float[Array, "z"],
    twist_deg: Float[Array, ""],
    rise_px: Float[Array, ""],
    order: Float[Array, ""],
    *,
    n_phi: int,
    n_steps: int,
) -> Float[Array, "lag_z lag_phi"]:
    """The noise term of a single map, from its departure d from its own symmetric average s.

    The map's power is |s + d|². Beside |s|² it holds 2 Re(conj(s)·d), taken as it is, and |d|², in whose place stands
    the correlation of d with its own point image, d²: d with itself would peak at the origin, not spread like noise.
    Neighbouring radii, whose noise is alike, keep what they share.

    Parameters
    ----------
    cylinder, radius, window
        As for :func:`correlate_map`.
    twist_deg, rise_px, order
        The symmetry to average over: screw and cyclic order.
    n_steps : int
        Copies each way.
    """
    spectrum = cylinder_spectrum(cylinder, radius, window)
    nz = window.shape[0]
    m, kz = jnp.arange(spectrum.shape[1]), jnp.fft.fftfreq(2 * nz)
    k = jnp.arange(-n_steps, n_steps + 1, dtype=jnp.float32)
    inside = jnp.abs(k * rise_px) < nz
    turn = jnp.exp(1j * jnp.deg2rad((k[:, None] * twist_deg) % 360.0) * m) * inside[:, None]
    shift = jnp.exp(2j * jnp.pi * ((k[:, None] * rise_px * kz) % 1.0))
    kernel = jnp.einsum("km,kz->mz", turn, shift) * (m % order == 0)[:, None]
    copies = jnp.fft.ifft(spectrum * kernel, axis=2)[:, :, :nz]
    padded = jnp.fft.fft(window, n=2 * nz)
    count = jnp.fft.ifft(padded * jnp.einsum("k,kz->z", inside.astype(jnp.float32), shift)).real[:nz]
    average = jnp.fft.fft(copies * (window / jnp.maximum(count, 0.5)), n=2 * nz, axis=2)
    departure = spectrum - average
    # Points and images overlap most at the height of the last section: that comes to lag 0.
    centred = jnp.exp(2j * jnp.pi * (((nz - 1) * kz) % 1.0))
    power = cross_power(2.0 * average, departure) + jnp.sum(departure**2, axis=0) * centred
    n_copies = jnp.maximum(jnp.sum(inside) * order, 2.0)
    # The average carries 1/n of the noise, which the departure lacks. Of the variance of the complex terms only the
    # real half is in |F|².
    return _lag_splines(power * jnp.sqrt(0.5 * n_copies / (n_copies - 1.0)), n_phi)


@partial(jax.jit, static_argnames=("n_phi",))
def correlate_dyad(
    half1: Float[Array, "r phi z"],
    half2: Float[Array, "r phi z"],
    radius: Float[Array, "r"],
    window: Float[Array, "z"],
    *,
    n_phi: int,
) -> Float[Array, "lag_z lag_phi"]:
    """Correlation with the map turned upside down: a dyad at (φ₀, z₀) gives a peak at (2φ₀, 2z₀).

    D(a, b) = Σ c₁(r, φ, z) c₂(r, a − φ, b − z), heights counted from the first section; splines as in
    :class:`Correlation`.
    """
    first = cylinder_spectrum(half1, radius, window)
    second = cylinder_spectrum(half2, radius, window)
    return _lag_splines(jnp.sum(first * second, axis=0), n_phi)


@jax.jit
def dyad_energy(energy: Float[Array, "z"]) -> Float[Array, "lag_z"]:
    """The value of :func:`correlate_dyad` for a perfect dyad at each height, from the energy of the sections."""
    spectrum = jnp.fft.fft(jnp.sqrt(jnp.maximum(energy, 0.0)), n=2 * energy.shape[0])
    return _lag_spline(spectrum**2)


def _hermitian_weight(n_m: int, n_phi: int) -> Float[Array, "m"]:
    """How often each rfft term stands in the full transform."""
    m = jnp.arange(n_m)
    return jnp.where((m == 0) | (2 * m == n_phi), 1.0, 2.0)


def _assemble(
    power: Complex[Array, "m kz"],
    noise: Complex[Array, "m kz"],
    energy: Float[Array, "z"],
    window: Float[Array, "z"],
    pixel_size_A: Float[Array, ""],
    n_phi: int,
) -> Correlation:
    nz = energy.shape[0]
    amplitude = jnp.sqrt(jnp.maximum(energy, 0.0))
    spectrum = lambda signal: jnp.fft.fft(signal, n=2 * nz)  # noqa: E731
    own = jnp.abs(spectrum(amplitude)) ** 2
    # Sum of both energies over the overlap: each section's energy, without its own window, times both windows.
    bare = jnp.where(window > 1e-3, energy / jnp.maximum(window, 1e-3), 0.0)
    spread = 2.0 * (jnp.conj(spectrum(bare)) * spectrum(window)).real
    overlap = jnp.abs(spectrum(window)) ** 2 * (jnp.sum(energy) / jnp.sum(window**2))
    return Correlation(
        product=_lag_splines(power, n_phi),
        noise=_lag_splines(noise, n_phi),
        energy=_lag_spline(own),
        spread=_lag_spline(spread),
        overlap=_lag_spline(overlap),
        z_step_A=pixel_size_A / _LAG_REFINE,
        section_energy=energy,
    )


def _pad_centre(spectrum: Complex[Array, "*rest k"], n_fine: int) -> Complex[Array, "*rest fine"]:
    """Zero-pad a full spectrum of even length (last axis) in its middle; the Nyquist term is shared by ±k."""
    half = spectrum.shape[-1] // 2
    nyquist = spectrum[..., half : half + 1] / 2
    gap = jnp.zeros((*spectrum.shape[:-1], n_fine - 2 * half - 1), spectrum.dtype)
    return jnp.concatenate([spectrum[..., :half], nyquist, gap, nyquist, spectrum[..., half + 1 :]], axis=-1)


def _lag_splines(power: Complex[Array, "m kz"], n_phi: int) -> Float[Array, "lag_z lag_phi"]:
    n_m, n_kz = power.shape
    fine_phi, fine_z = _LAG_REFINE * n_phi, _LAG_REFINE * n_kz
    power = power.at[-1].divide(2.0)  # n_phi is even: its Nyquist term is shared by ±m
    fine = _pad_centre(power, fine_z) / spline_transfer(np.fft.fftfreq(fine_z).astype(np.float32))
    fine = jnp.pad(fine, ((0, fine_phi // 2 + 1 - n_m), (0, 0)))
    fine = fine / spline_transfer(np.fft.rfftfreq(fine_phi).astype(np.float32))[:, None]
    return jnp.fft.irfft2(fine.T, s=(fine_z, fine_phi)) * _LAG_REFINE**2


def _lag_spline(power: Float[Array, "kz"] | Complex[Array, "kz"]) -> Float[Array, "lag_z"]:
    fine_z = _LAG_REFINE * power.shape[0]
    fine = _pad_centre(power.astype(jnp.complex64), fine_z)
    fine = fine / spline_transfer(np.fft.fftfreq(fine_z).astype(np.float32))
    return jnp.fft.ifft(fine).real * _LAG_REFINE


# --- reading lags ---------------------------------------------------------------------------------


def read_plane(
    coefficients: Float[Array, "lag_z lag_phi"], phi_deg: Float[Array, "*k"], z: Float[Array, "*k"]
) -> Float[Array, "*k"]:
    """Spline values at angles φ (degrees, any) and heights z (lag samples)."""
    nz, n_phi = coefficients.shape
    x = phi_deg * (n_phi / 360.0)
    iz, ix = jnp.floor(z), jnp.floor(x)
    wz, wx = cubic_weights(z - iz), cubic_weights(x - ix)
    tap = jnp.arange(-1, 3)
    rows: Int[Array, "*k 4"] = (iz.astype(jnp.int32)[..., None] + tap) % nz
    columns = (ix.astype(jnp.int32)[..., None] + tap) % n_phi
    patch = coefficients[rows[..., :, None], columns[..., None, :]]
    return jnp.einsum("...ab,...a,...b->...", patch, wz, wx)


def read_line(coefficients: Float[Array, "lag_z"], z: Float[Array, "*k"]) -> Float[Array, "*k"]:
    """Spline values at heights z (lag samples)."""
    iz = jnp.floor(z)
    rows = (iz.astype(jnp.int32)[..., None] + jnp.arange(-1, 3)) % coefficients.shape[0]
    return jnp.einsum("...a,...a->...", coefficients[rows], cubic_weights(z - iz))


class Jet(NamedTuple):
    """A function of angle (degrees) and height (lag samples) with its derivatives up to the second."""

    value: Float[Array, "*k"]
    d_phi: Float[Array, "*k"]
    d_z: Float[Array, "*k"]
    d_phi_phi: Float[Array, "*k"]
    d_phi_z: Float[Array, "*k"]
    d_z_z: Float[Array, "*k"]


def plane_jet(coefficients: Float[Array, "lag_z lag_phi"], phi_deg: Float[Array, "*k"], z: Float[Array, "*k"]) -> Jet:
    """:func:`read_plane` with derivatives, from the splines' own."""
    nz, n_phi = coefficients.shape
    per_degree = n_phi / 360.0
    x = phi_deg * per_degree
    iz, ix = jnp.floor(z), jnp.floor(x)
    tap = jnp.arange(-1, 3)
    rows = (iz.astype(jnp.int32)[..., None] + tap) % nz
    columns = (ix.astype(jnp.int32)[..., None] + tap) % n_phi
    patch = coefficients[rows[..., :, None], columns[..., None, :]]
    along = [jnp.einsum("...ab,...a->...b", patch, w(z - iz)) for w in _SPLINE_JET]
    across = [w(x - ix) for w in _SPLINE_JET]

    def term(i_phi: int, i_z: int) -> Float[Array, "*k"]:
        return jnp.einsum("...b,...b->...", along[i_z], across[i_phi]) * per_degree**i_phi

    return Jet(term(0, 0), term(1, 0), term(0, 1), term(2, 0), term(1, 1), term(0, 2))


def line_jet(
    coefficients: Float[Array, "lag_z"], z: Float[Array, "*k"]
) -> tuple[Float[Array, "*k"], Float[Array, "*k"], Float[Array, "*k"]]:
    """:func:`read_line` with its first and second derivative."""
    iz = jnp.floor(z)
    taps = coefficients[(iz.astype(jnp.int32)[..., None] + jnp.arange(-1, 3)) % coefficients.shape[0]]
    value, slope, curvature = (jnp.einsum("...a,...a->...", taps, w(z - iz)) for w in _SPLINE_JET)
    return value, slope, curvature


_SPLINE_JET = (cubic_weights, cubic_weight_slopes, cubic_weight_curvatures)
