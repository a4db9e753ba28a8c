"""Fourier transforms of maps, shells of equal frequency, and radial filters: the one FFT module.

Transforms are ``rfftn`` half-spaces: shape ``(z, y, x // 2 + 1)``, axis x halved. Every term with
0 < kx < nx/2 stands for itself and its Friedel mate, so sums over shells weigh it twice. Frequencies are true
ones also in boxes that are not cubes: term (kz, ky, kx) lies at |(kz/nz, ky/ny, kx/nx)| per voxel. Shells are
as wide as the coarsest sampling step, one over the shortest edge, so that each holds terms of every direction;
shell s is centred at s/min(nz, ny, nx) per voxel and the last one, min(n)//2, at Nyquist. The corners of the
transform beyond Nyquist belong to no shell.

A shift of the origin changes phases alone: sums over shells and radial filters need none of the centring that
:func:`fft_volume` does.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float, Int

from helixlab.errors import HelixLabError

Shape3D = tuple[int, int, int]


# --- frequencies and shells ---------------------------------------------------------------------


def shell_count(shape: Shape3D) -> int:
    """Number of shells of a box, the zero-frequency one and Nyquist's included.

    Examples
    --------
    >>> shell_count((64, 64, 64)), shell_count((100, 45, 46))
    (33, 23)
    """
    return min(shape) // 2 + 1


def shell_freqs_per_A(shape: Shape3D, pixel_size_A: float) -> Float[np.ndarray, "s"]:
    """Central frequency of every shell in 1/Å, float64.

    Examples
    --------
    >>> shell_freqs_per_A((8, 8, 8), 1.25).tolist()
    [0.0, 0.1, 0.2, 0.3, 0.4]
    """
    return np.arange(shell_count(shape)) / (min(shape) * float(pixel_size_A))


def radial_freq_per_px(shape: Shape3D) -> Float[Array, "z y xh"]:
    """Frequency of every term of the half-space in 1/voxel; Nyquist is 0.5.

    Examples
    --------
    >>> radial_freq_per_px((4, 4, 4))[0, 0].tolist()
    [0.0, 0.25, 0.5]
    """
    return _scaled_radius(shape, min(shape)) / min(shape)


def shell_numbers(shape: Shape3D) -> Int[Array, "z y xh"]:
    """Shell of every term of the half-space; ``shell_count(shape)`` for the corners beyond Nyquist.

    Examples
    --------
    >>> shell_numbers((4, 4, 4))[1, 1].tolist()
    [1, 2, 2]
    """
    shells = jnp.floor(_scaled_radius(shape, min(shape)) + 0.5).astype(jnp.int32)
    return jnp.minimum(shells, shell_count(shape))


def hermitian_weights(nx: int) -> Float[Array, "xh"]:
    """How many terms of the full transform each kx of the half-space stands for: 1 or 2.

    Examples
    --------
    >>> hermitian_weights(6).tolist(), hermitian_weights(5).tolist()
    ([1.0, 2.0, 2.0, 1.0], [1.0, 2.0, 2.0])
    """
    kx = np.arange(nx // 2 + 1)
    is_own_mate = (kx == 0) | (2 * kx == nx)
    return jnp.asarray(np.where(is_own_mate, 1.0, 2.0), jnp.float32)


# --- transforms ---------------------------------------------------------------------------------


@jax.jit
def fft_volume(volume: Float[Array, "z y x"]) -> Complex[Array, "z y xh"]:
    """Transform of a map whose origin is voxel ``n // 2``: a point there has a real, constant transform.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> fft_volume(jnp.zeros((4, 4, 4)).at[2, 2, 2].set(3.0))[1, 3].real.tolist()
    [3.0, 3.0, 3.0]
    """
    return jnp.fft.rfftn(jnp.fft.ifftshift(volume))


@partial(jax.jit, static_argnames="shape")
def ifft_volume(transform: Complex[Array, "z y xh"], shape: Shape3D) -> Float[Array, "z y x"]:
    """The map back from :func:`fft_volume`; ``shape`` tells an odd x from an even one.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> ones = jnp.ones((3, 4, 5))
    >>> bool(jnp.allclose(ifft_volume(fft_volume(ones), (3, 4, 5)), ones))
    True
    """
    return jnp.fft.fftshift(jnp.fft.irfftn(transform, s=shape))


# --- sums over shells ---------------------------------------------------------------------------


@partial(jax.jit, static_argnames="shape")
def shell_sums(values: Float[Array, "z y xh"], shape: Shape3D) -> Float[Array, "s"]:
    """Sum of a real quantity over each shell of the whole transform.

    Parameters
    ----------
    values : float32 array, shape (nz, ny, nx // 2 + 1)
        On the half-space; Friedel mates have equal values.
    shape : tuple of int
        Of the map, (nz, ny, nx).

    Returns
    -------
    float32 array, shape (shell_count(shape),)

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> shell_sums(jnp.ones((4, 4, 3)), (4, 4, 4)).tolist()  # the other 10 of 64 terms are corners
    [1.0, 18.0, 35.0]
    """
    count = shell_count(shape)
    weighted = values * hermitian_weights(shape[2])
    # One sum per plane first: short float32 sums keep their digits, and the planes run side by side.
    per_plane = jax.vmap(partial(jax.ops.segment_sum, num_segments=count + 1))(
        weighted.reshape(shape[0], -1), shell_numbers(shape).reshape(shape[0], -1)
    )
    return jnp.sum(per_plane, axis=0)[:count]


@jax.jit
def shell_correlation(
    map1: Float[Array, "z y x"], map2: Float[Array, "z y x"], mask: Float[Array, "z y x"]
) -> tuple[Float[Array, "s"], Float[Array, "s"], Float[Array, "s"]]:
    """The three sums of the Fourier shell correlation of two masked maps.

    Parameters
    ----------
    map1, map2, mask : float32 arrays, shape (z, y, x)
        Each map is multiplied by the mask; ones leave it as it is.

    Returns
    -------
    cross, power1, power2 : float32 arrays, shape (s,)
        Σ Re(F1·F2*), Σ|F1|² and Σ|F2|² over each shell. Each map is scaled by its own largest value before, so
        that no scale over- or underflows; FSC = cross/√(power1·power2) does not change. The means of the
        masked maps, too large for the digits of float32 beside the rest, are taken out: shell 0 holds nothing.

    Examples
    --------
    >>> import jax
    >>> noise = jax.random.normal(jax.random.key(0), (8, 8, 8))
    >>> cross, power1, power2 = shell_correlation(noise, -3 * noise, noise * 0 + 1)
    >>> (cross / (power1 * power2) ** 0.5)[1:].round(3).tolist()
    [-1.0, -1.0, -1.0, -1.0]
    """
    shape = _shape_of(map1)
    first, second = (jnp.fft.rfftn(_normalised(m * mask)) for m in (map1, map2))
    cross = first.real * second.real + first.imag * second.imag
    powers = (f.real**2 + f.imag**2 for f in (first, second))
    cross, power1, power2 = (shell_sums(v, shape) for v in (cross, *powers))
    return cross, power1, power2


# --- radial filters -----------------------------------------------------------------------------


def apply_shell_weights(
    volume: Float[ArrayLike, "z y x"],
    weights: Float[ArrayLike, "s"],
) -> Float[Array, "z y x"]:
    """Multiply a map's transform by a radial function given at the shells.

    Parameters
    ----------
    volume : array, shape (z, y, x)
    weights : array, shape (s,)
        One weight for each of the ``shell_count(shape)`` shells; linear in between, and beyond Nyquist the last.

    Returns
    -------
    float32 array, shape (z, y, x)

    Raises
    ------
    HelixLabError
        If the number of weights is not the number of shells.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    >>> bool(np.allclose(apply_shell_weights(noise, np.full(5, 2.0)), 2 * noise, atol=1e-5))
    True
    """
    volume, weights = jnp.asarray(volume, jnp.float32), jnp.asarray(weights, jnp.float32)
    needed = shell_count(_shape_of(volume))
    if weights.shape != (needed,):
        raise HelixLabError(
            f"weights: found shape {weights.shape}; a map of shape {volume.shape} has {needed} shells, "
            "give one weight for each (helixlab.kernels.fourier.shell_freqs_per_A lists them)."
        )
    return _apply_shell_weights(volume, weights)


def low_pass(
    volume: Float[ArrayLike, "z y x"], cutoff_per_px: float, *, edge_per_px: float = 0.02
) -> Float[Array, "z y x"]:
    """Take away a map's high frequencies with a raised-cosine edge.

    Parameters
    ----------
    volume : array, shape (z, y, x)
    cutoff_per_px : float
        Frequency at which half of the amplitude is left, 1/voxel: pixel size over resolution. Nyquist is 0.5.
    edge_per_px : float
        Full width of the edge, 1/voxel, > 0.

    Returns
    -------
    float32 array, shape (z, y, x)

    Raises
    ------
    HelixLabError
        If the cut-off or the width is not positive.

    Notes
    -----
    Below cutoff − edge/2 all is kept, above cutoff + edge/2 nothing; in between (1 + cos πt)/2.

    Examples
    --------
    >>> import numpy as np
    >>> wave = np.cos(2 * np.pi * np.arange(20) * 0.4) * np.ones((20, 20, 20))
    >>> bool(np.abs(low_pass(wave, 0.3)).max() < 1e-5), bool(np.allclose(low_pass(wave, 0.45), wave, atol=1e-5))
    (True, True)
    """
    for name, value in (("cutoff_per_px", cutoff_per_px), ("edge_per_px", edge_per_px)):
        if not (np.isfinite(value) and value > 0):
            raise HelixLabError(f"{name}: found {value}; it is a positive frequency in 1/voxel (Nyquist is 0.5).")
    return _low_pass(
        jnp.asarray(volume, jnp.float32), jnp.asarray(cutoff_per_px, jnp.float32), jnp.asarray(edge_per_px, jnp.float32)
    )


# --- private kernels ----------------------------------------------------------------------------


@jax.jit
def _apply_shell_weights(volume: Float[Array, "z y x"], weights: Float[Array, "s"]) -> Float[Array, "z y x"]:
    shape = _shape_of(volume)
    radius = _scaled_radius(shape, min(shape))
    radial = jnp.interp(radius, jnp.arange(len(weights), dtype=jnp.float32), weights)
    return jnp.fft.irfftn(jnp.fft.rfftn(volume) * radial, s=shape)


@jax.jit
def _low_pass(volume: Float[Array, "z y x"], cutoff: Float[Array, ""], edge: Float[Array, ""]) -> Float[Array, "z y x"]:
    t = jnp.clip((radial_freq_per_px(_shape_of(volume)) - cutoff) / edge + 0.5, 0.0, 1.0)
    return jnp.fft.irfftn(jnp.fft.rfftn(volume) * (0.5 + 0.5 * jnp.cos(jnp.pi * t)), s=volume.shape)


def _scaled_radius(shape: Shape3D, scale: int) -> Float[Array, "z y xh"]:
    """Frequency × ``scale`` voxels. In a cube with scale n these are roots of exact integers: no shell is misread."""
    kz, ky = (np.fft.fftfreq(n, 1 / n) * (scale / n) for n in shape[:2])
    kx = np.arange(shape[2] // 2 + 1) * (scale / shape[2])
    z2, y2, x2 = (jnp.asarray(k**2, jnp.float32) for k in (kz, ky, kx))
    return jnp.sqrt(z2[:, None, None] + y2[:, None] + x2)


def _shape_of(volume: Array) -> Shape3D:
    if volume.ndim != 3:
        raise HelixLabError(f"volume: found {volume.ndim} axes; a map has three (z, y, x).")
    nz, ny, nx = volume.shape
    return nz, ny, nx


def _normalised(volume: Float[Array, "z y x"]) -> Float[Array, "z y x"]:
    """Mean 0, largest deviation 1; a constant map becomes zeros."""
    # Scaled before the mean is taken, so that the mean of large values cannot overflow.
    scaled = volume / jnp.maximum(jnp.max(jnp.abs(volume)), jnp.finfo(jnp.float32).tiny)
    centred = scaled - jnp.mean(scaled)
    return centred / jnp.maximum(jnp.max(jnp.abs(centred)), jnp.finfo(jnp.float32).tiny)
