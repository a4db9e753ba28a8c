"""Images as lists of frequencies: a half plane up to some radius, seen in the frame of their filaments.

A band holds one of each pair of Friedel mates, ordered by shell: a band of lower resolution is the beginning of a
band of higher resolution, and so are the values of images there. Values are stored as float32 pairs, first all
real parts, then all imaginary parts, ``(n, 2, f)``: reshaped to ``(n, 2·f)`` a sum over frequencies of Re(a·conj b)
is a real matrix product.

The frame of an image is the image turned by its psi prior: the pose (rot, tilt, psi + d) of the particle is the pose
(rot, tilt, d) in the frame (:mod:`helixlab.geometry.pose`). All images then share one grid of orientations.
A filament of unknown polarity is looked at twice; the pose (rot, tilt, psi + 180°) sees the complex conjugate.

Transforms are divided by the box's edge: white noise of unit variance has E|X|² = 1 at every frequency, and by
Parseval the sum of squares over the image is twice the sum of |X|² over the half plane.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from helixlab.errors import HelixLabError
from helixlab.geometry.grids import axis_coordinates
from helixlab.kernels._sharded import jit_rows
from helixlab.kernels.interpolate import cubic_weights

PAD = 2
"""Transforms are sampled this many times finer than the box asks for before anything is interpolated in them."""


class Band(NamedTuple):
    """The frequencies of a half plane, by shell and within a shell by angle."""

    k: Float[Array, "f 2"]
    """(kx, ky) in cycles per box: whole numbers with kx > 0, or kx = 0 and ky ≥ 0."""
    shell: Int[Array, "f"]
    """|k| rounded; at most the band's r_max."""
    box: Float[Array, ""]
    """Edge of the images in pixels."""


def largest_radius(box: int) -> int:
    """The last shell below Nyquist: the largest r_max of a band.

    Examples
    --------
    >>> largest_radius(96), largest_radius(97)
    (47, 48)
    """
    return (box - 1) // 2


def frequency_band(box: int, r_max: int, r_min: int = 1) -> Band:
    """All frequencies of the half plane in the shells r_min to r_max.

    Parameters
    ----------
    box : int
        Edge of the images in pixels.
    r_max, r_min : int
        Last and first shell, in cycles per box; 0 ≤ r_min ≤ r_max < box/2. Shell 0 is the mean, its own mate: by
        default it is left out, as sums over the half plane would count it twice. Maps need it.

    Returns
    -------
    Band

    Raises
    ------
    HelixLabError
        If the radii are out of range.

    Examples
    --------
    >>> band = frequency_band(8, 1)
    >>> band.k.tolist()
    [[0.0, 1.0], [1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    if not 0 <= r_min <= r_max <= largest_radius(box):
        raise HelixLabError(
            f"r_max: found shells {r_min} to {r_max} in a box of {box} pixels; they lie between 0 and "
            f"{largest_radius(box)}, the first not above the last."
        )
    kx, ky = (a.ravel() for a in np.meshgrid(np.arange(r_max + 1), np.arange(-r_max, r_max + 1), indexing="ij"))
    shell = np.floor(np.hypot(kx, ky) + 0.5).astype(np.int32)
    is_in = (shell >= r_min) & (shell <= r_max) & ((kx > 0) | (ky >= 0))
    kx, ky, shell = kx[is_in], ky[is_in], shell[is_in]
    order = np.lexsort((ky, kx, shell))
    k = np.stack([kx, ky], axis=1)[order].astype(np.float32)
    return Band(jnp.asarray(k), jnp.asarray(shell[order]), jnp.float32(box))


def narrow_band(band: Band, r_max: int) -> Band:
    """The beginning of a band, up to the shell r_max; values there are ``x[..., : len(narrow.k)]``.

    Examples
    --------
    >>> len(narrow_band(frequency_band(32, 10), 3).k) == len(frequency_band(32, 3).k)
    True
    """
    count = int(np.searchsorted(np.asarray(band.shell), r_max, side="right"))
    return Band(band.k[:count], band.shell[:count], band.box)


def normalise_images(images: Float[Array, "n y x"], radius_px: float) -> Float[Array, "n y x"]:
    """Mean 0 and variance 1 outside a circle, image by image.

    Parameters
    ----------
    images : float32 array, shape (n, y, x)
    radius_px : float
        What lies further from the centre is background.

    Raises
    ------
    HelixLabError
        If the circle leaves no background, or an image has a constant or non-finite one.

    Examples
    --------
    >>> noise = 5 + 3 * jax.random.normal(jax.random.key(0), (2, 32, 32))
    >>> bool(abs(normalise_images(noise, 12.0).std() - 1) < 0.05)
    True
    """
    y, x = (axis_coordinates(n) for n in images.shape[1:])
    outside = jnp.asarray(np.hypot(y[:, None], x) > radius_px)
    if not outside.any():
        raise HelixLabError(
            f"radius_px: found {radius_px}; images of {images.shape[1:]} pixels have no background outside it."
        )
    mean, deviation = _background(images, outside)
    bad = np.flatnonzero(~(np.isfinite(deviation) & (np.asarray(deviation) > 0)))
    if bad.size:
        raise HelixLabError(
            f"images: found a constant or non-finite background in {len(bad)} images (the first: number {bad[0] + 1}); "
            "each needs noise outside the particle. Leave these out."
        )
    return (images - mean[:, None, None]) / deviation[:, None, None]


@jit_rows("images", "psi_deg")
def image_bands(
    images: Float[Array, "n b b"], mask: Float[Array, "b b"], psi_deg: Float[Array, "n"], band: Band
) -> Float[Array, "n 2 f"]:
    """Transforms of masked images at a band's frequencies, in the frames that ``psi_deg`` turns them to.

    Parameters
    ----------
    images : float32 array, shape (n, b, b)
        Origin at pixel b // 2.
    mask : float32 array, shape (b, b)
        Multiplied in; soft.
    psi_deg : float32 array, shape (n,)
        Psi of each image's frame (RELION's sign).
    band : Band

    Returns
    -------
    float32 array, shape (n, 2, f)

    Notes
    -----
    Cubic B-splines on the transform of the image padded to twice its edge; divided out in real space is the
    spline's own transform, sinc⁴. Wrong by less than 1.2% of the densities at the box's edge, 0.02% half way.
    """
    box = images.shape[1]
    padded = PAD * box
    attenuation = jnp.asarray(np.sinc(axis_coordinates(box) / padded) ** 4, jnp.float32)
    images = images * (mask / (attenuation[:, None] * attenuation))
    before = padded // 2 - box // 2
    images = jnp.pad(images, ((0, 0), *2 * [(before, padded - box - before)]))
    transforms = jnp.fft.fft2(jnp.fft.ifftshift(images, axes=(1, 2))) / box
    pairs = jnp.stack([transforms.real, transforms.imag], axis=-1)
    return jax.vmap(_sample_spline)(pairs, PAD * particle_frequencies(band.k, psi_deg))


def particle_frequencies(k: Float[Array, "f 2"], psi_deg: Float[Array, "n"]) -> Float[Array, "n f 2"]:
    """Where the frequencies of the frames lie in the particles' own images: Rz(psi) k.

    Examples
    --------
    >>> particle_frequencies(jnp.array([[1.0, 0.0]]), jnp.array([90.0])).round(3).tolist()
    [[[-0.0, -1.0]]]
    """
    psi = jnp.deg2rad(psi_deg)[:, None]
    cos, sin = jnp.cos(psi), jnp.sin(psi)
    return jnp.stack([cos * k[:, 0] + sin * k[:, 1], cos * k[:, 1] - sin * k[:, 0]], axis=-1)


def frame_shifts(shift_px: Float[Array, "n 2"], psi_deg: Float[Array, "n"]) -> Float[Array, "n 2"]:
    """Shifts (x, y) of particles, as seen in their frames: Rz(−psi) s. With −psi: back again.

    Examples
    --------
    >>> frame_shifts(jnp.array([[0.0, -1.0]]), jnp.array([90.0])).round(3).tolist()
    [[1.0, 0.0]]
    """
    psi = jnp.deg2rad(psi_deg)
    cos, sin = jnp.cos(psi), jnp.sin(psi)
    return jnp.stack([cos * shift_px[:, 0] - sin * shift_px[:, 1], sin * shift_px[:, 0] + cos * shift_px[:, 1]], axis=1)


@jax.jit
def shift_bands(x: Float[Array, "n 2 f"], shift_px: Float[ArrayLike, "n 2"], band: Band) -> Float[Array, "n 2 f"]:
    """Images moved by ``shift_px`` (x, y): RELION's shift, added to an image to centre its particle."""
    cos, sin = shift_phases(jnp.asarray(shift_px), band)
    return rotate_pairs(x, cos, sin)


@jax.jit
def flip_bands(x: Float[Array, "n 2 f"], is_flipped: Bool[ArrayLike, "n"] | bool = True) -> Float[Array, "n 2 f"]:
    """Images turned by 180°, all or some: the other polarity. Their shifts change sign."""
    sign = jnp.where(jnp.asarray(is_flipped), -1.0, 1.0).astype(x.dtype)
    return x.at[:, 1].multiply(sign[..., None])


@partial(jax.jit, static_argnames="box")
def band_images(x: Float[Array, "n 2 f"], band: Band, *, box: int) -> Float[Array, "n b b"]:
    """Real images of ``box`` pixels whose transforms are ``x`` in the band and zero elsewhere."""
    kx, ky = (band.k[:, a].astype(jnp.int32) for a in (0, 1))
    count = x.shape[2]
    # Which value belongs to each term of irfft2's half space, which holds both mates where kx = 0; none: a zero.
    source = jnp.full((box, box // 2 + 1), 2 * count).at[ky, kx].set(jnp.arange(count))
    source = source.at[jnp.where((kx == 0) & (ky > 0), -ky, box), kx].set(count + jnp.arange(count), mode="drop")
    values = jax.lax.complex(x[:, 0], x[:, 1])
    values = jnp.concatenate([values, jnp.conj(values), jnp.zeros_like(values[:, :1])], axis=1)
    half = values.at[:, source].get(mode="promise_in_bounds")
    return jnp.fft.fftshift(jnp.fft.irfft2(half, s=(box, box)), axes=(1, 2)) * box


def shift_phases(shift_px: Float[Array, "n 2"], band: Band) -> tuple[Float[Array, "n f"], Float[Array, "n f"]]:
    """Cosine and sine of −2π k·s/box: what a shift s multiplies a transform by."""
    # Written out: as a matrix product a GPU may round it to ten bits.
    turns = shift_px[:, :1] * band.k[:, 0] + shift_px[:, 1:] * band.k[:, 1]
    angle = (-2 * jnp.pi / band.box) * turns
    return jnp.cos(angle), jnp.sin(angle)


def rotate_pairs(x: Float[Array, "... 2 f"], cos: Float[Array, "... f"], sin: Float[Array, "... f"]) -> Array:
    """Multiply by cos + i·sin; leading axes are broadcast."""
    real, imag = x[..., 0, :], x[..., 1, :]
    return jnp.stack([real * cos - imag * sin, real * sin + imag * cos], axis=-2)


# --- private kernels ----------------------------------------------------------------------------


@jit_rows("images")
def _background(
    images: Float[Array, "n y x"], outside: Bool[Array, "y x"]
) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    count = jnp.sum(outside)
    mean = jnp.sum(images * outside, axis=(1, 2)) / count
    variance = jnp.sum((images - mean[:, None, None]) ** 2 * outside, axis=(1, 2)) / count
    return mean, jnp.sqrt(variance)


def _sample_spline(transform: Float[Array, "y x 2"], q: Float[Array, "f 2"]) -> Float[Array, "2 f"]:
    """A periodic transform at frequencies q (x, y), by cubic B-splines."""
    n = transform.shape[0]
    rows = transform.reshape(n * n, 2)
    corner = jnp.floor(q).astype(jnp.int32)
    weight_x, weight_y = (cubic_weights(q[:, a] - corner[:, a]) for a in (0, 1))
    total = jnp.zeros((q.shape[0], 2), transform.dtype)
    for a in range(4):
        for b in range(4):
            index = ((corner[:, 1] + a - 1) % n) * n + (corner[:, 0] + b - 1) % n
            value = rows.at[index].get(mode="promise_in_bounds")
            total += (weight_y[:, a] * weight_x[:, b])[:, None] * value
    return total.T
