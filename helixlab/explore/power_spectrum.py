"""The power of a filament's projections: layer lines."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from helixlab.geometry import Volume
from helixlab.kernels.fourier import hermitian_weights
from helixlab.kernels.masks import cylindrical_mask

_ENDS_PART = 0.1
"""Part of the height over which the density falls to zero at either end: the box's own ends would shine as a cross."""


@dataclass(frozen=True, eq=False)
class PowerSpectrum:
    """Power over height Z along the axis and distance R from the meridian.

    Parameters
    ----------
    freq_z_per_A : array, shape (z,)
        1/Å, increasing through 0.
    freq_r_per_A : array, shape (r,)
        1/Å, increasing through 0.
    power : float32 array, shape (z, r)
        Squared amplitude, mean over all side views; both halves of R are the same.
    """

    freq_z_per_A: Float[np.ndarray, "z"]
    freq_r_per_A: Float[np.ndarray, "r"]
    power: Float[np.ndarray, "z r"]


def compute_power_spectrum(volume: Volume, outer_radius_A: float, max_freq_per_A: float) -> PowerSpectrum:
    """The power of a filament's side views, averaged over all of them.

    Parameters
    ----------
    volume : Volume
        A filament along z.
    outer_radius_A : float
        Density beyond is left out, Å.
    max_freq_per_A : float
        Where the spectrum ends, 1/Å; Nyquist at most.

    Notes
    -----
    The transform of a projection is a central section of the map's transform (Bracewell 1956). The views at all
    azimuths together are the whole of it, and so the mean of their powers is the map's power averaged over circles
    about the axis: no azimuth is special, and none is left out.

    Examples
    --------
    >>> from helixlab.geometry import HelicalSymmetry
    >>> from helixlab.simulate import simulate_helix
    >>> made = simulate_helix("builtin", HelicalSymmetry(60.0, 12.0), box=48, pixel_size_A=2.5, resolution_A=8.0)
    >>> spectrum = compute_power_spectrum(made.volume, 50.0, 1 / 8.0)
    >>> spectrum.power.shape
    (31, 31)
    """
    nz, ny, nx = volume.shape
    room_px = (min(ny, nx) - 1) // 2
    outer_px = min(outer_radius_A / volume.pixel_size_A, room_px - 1.0)
    ends = {"z_fraction": 1.0 - 2 * _ENDS_PART, "edge_px": min(max(3.0, _ENDS_PART * nz), max(room_px - outer_px, 1.0))}
    power = np.asarray(_ring_power(jnp.asarray(volume.data), cylindrical_mask(volume.shape, outer_px, **ends)))
    z_per_A = np.fft.fftshift(np.fft.fftfreq(nz, volume.pixel_size_A))
    r_per_A = np.arange(power.shape[1]) / (min(ny, nx) * volume.pixel_size_A)
    limit = min(max_freq_per_A, 0.5 / volume.pixel_size_A) * (1 + 1e-9)
    # From −limit to limit: an even box has a term at −Nyquist only.
    in_z, in_r = np.abs(z_per_A) <= min(limit, z_per_A[-1] * (1 + 1e-9)), r_per_A <= limit
    half = np.fft.fftshift(power, axes=0)[in_z][:, in_r]
    return PowerSpectrum(
        z_per_A[in_z],
        np.concatenate([-r_per_A[in_r][:0:-1], r_per_A[in_r]]),
        np.concatenate([half[:, :0:-1], half], axis=1),
    )


@jax.jit
def _ring_power(data: Float[Array, "z y x"], mask: Float[Array, "z y x"]) -> Float[Array, "z r"]:
    """Mean power on circles about the axis, for every section of the transform."""
    masked = data * mask
    # The filament's mean density would outshine all else near the origin.
    masked = (data - masked.sum() / mask.sum()) * mask
    transform = jnp.fft.rfftn(masked)
    _, ny, nx = data.shape
    n_rings = min(ny, nx) // 2 + 1
    y, x = np.fft.fftfreq(ny) * min(ny, nx), np.arange(nx // 2 + 1) * (min(ny, nx) / nx)
    ring = np.minimum(np.floor(np.hypot(y[:, None], x) + 0.5).astype(np.int32), n_rings).ravel()
    weight = jnp.broadcast_to(hermitian_weights(nx), (ny, nx // 2 + 1)).ravel()

    def sums(values: Float[Array, "k"]) -> Float[Array, "r"]:
        return jax.ops.segment_sum(values * weight, ring, num_segments=n_rings + 1)[:n_rings]

    power = transform.real**2 + transform.imag**2
    return jax.vmap(sums)(power.reshape(len(power), -1)) / sums(jnp.ones_like(weight))
