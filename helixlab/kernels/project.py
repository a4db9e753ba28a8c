"""Projections of a map by central slices of its transform.

The projection of a map along a direction is, in Fourier space, the slice through the origin perpendicular to it. The
map is padded to twice its edge and its transform sampled linearly between eight neighbours. Linear interpolation
multiplies the map by sinc² along each axis of the padded box: that is divided out beforehand (gridding correction).

A reference is the padded transform as far as a band needs it: shape ``(2R + 1, 2R + 1, R + 1, 2)`` with
R = 2·r_max + 1, axes kz, ky (−R to R), kx (0 to R), then real and imaginary part. One step is half a cycle per box.
Signs, axes and angles are those of :mod:`helixlab.geometry.pose`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.geometry.grids import axis_coordinates
from helixlab.geometry.pose import euler_to_matrix
from helixlab.kernels._chunked import map_rows
from helixlab.kernels._sharded import jit_rows
from helixlab.kernels.bands import PAD, band_images, frequency_band, largest_radius, shift_bands

_BLOCK = 32
"""Images at a time: what lies between slice and image fits into a core's cache."""


def project_volume(
    volume: Volume,
    rot_deg: Float[np.ndarray, "n"],
    tilt_deg: Float[np.ndarray, "n"],
    psi_deg: Float[np.ndarray, "n"],
    *,
    shift_A: Float[np.ndarray, "n 2"] | None = None,
) -> Float[np.ndarray, "n y x"]:
    """Projections of a cubic map: ``relion_project``.

    Parameters
    ----------
    volume : Volume
        A cube.
    rot_deg, tilt_deg, psi_deg : float arrays, shape (n,)
        RELION's angles, degrees.
    shift_A : float array, shape (n, 2), optional
        RELION's shifts (x, y) in Å: what centres the particle, which sits at minus the shift. Default 0.

    Returns
    -------
    float32 array, shape (n, y, x)
        Sums of densities along the line of sight, without the frequencies at Nyquist and beyond. Origin n // 2.

    Raises
    ------
    HelixLabError
        If the map is no cube or the numbers of angles differ.

    Examples
    --------
    >>> peak = np.zeros((16, 16, 16), np.float32)
    >>> peak[8 + 4, 8, 8] = 1.0  # 4 voxels up the axis
    >>> image = project_volume(Volume(peak, 1.0), *np.array([[0.0], [90.0], [0.0]]))[0]
    >>> [int(i) - 8 for i in np.unravel_index(image.argmax(), image.shape)]  # (y, x): along -x at psi = 0
    [0, -4]
    """
    box = volume.shape[0]
    if volume.shape != (box, box, box):
        raise HelixLabError(f"volume: found {volume.shape} voxels; a map to project is a cube. Pad it to one.")
    band = frequency_band(box, largest_radius(box), r_min=0)
    shift_px = np.zeros((len(rot_deg), 2)) if shift_A is None else np.asarray(shift_A) / volume.pixel_size_A
    reference = reference_transform(jnp.asarray(volume.data), r_max=largest_radius(box))

    matrices = np.asarray(pose_matrices(rot_deg, tilt_deg, psi_deg))
    moves = np.asarray(-shift_px, np.float32)

    def project(rows: Int[np.ndarray, "m"]) -> Float[Array, "m y x"]:
        seen = slices(reference, matrices[rows], band.k)
        return band_images(shift_bands(seen, moves[rows], band), band, box=box)

    return map_rows(project, len(matrices), _BLOCK)


def pose_matrices(
    rot_deg: Float[np.ndarray, "n"], tilt_deg: Float[np.ndarray, "n"], psi_deg: Float[np.ndarray, "n"]
) -> Float[Array, "n 3 3"]:
    """The matrices of :func:`helixlab.geometry.pose.euler_to_matrix` as kernels want them: on the device, float32."""
    return jnp.asarray(euler_to_matrix(rot_deg, tilt_deg, psi_deg), jnp.float32)


@partial(jax.jit, static_argnames="r_max")
def reference_transform(volume: Float[Array, "n n n"], *, r_max: int) -> Float[Array, "z z x 2"]:
    """The padded transform of a map, corrected for gridding, for bands up to ``r_max``.

    Parameters
    ----------
    volume : float32 array, shape (n, n, n)
        Origin at voxel n // 2.
    r_max : int
        Last shell, cycles per box, at most ``largest_radius(n)``.

    Returns
    -------
    float32 array, shape (2R + 1, 2R + 1, R + 1, 2) with R = 2·r_max + 1
        Divided by n: on the scale of :func:`helixlab.kernels.bands.image_bands`.
    """
    box, radius = volume.shape[0], stencil_radius(r_max)
    both, half = np.arange(-radius, radius + 1) % (PAD * box), np.arange(radius + 1)
    # Axis by axis, each padded when its turn comes and cut to its band at once: a third of the whole transform's work.
    transform = jnp.fft.rfft(_padded(volume / gridding_window(box), 2), axis=2)[:, :, half]
    transform = jnp.fft.fft(_padded(transform, 1), axis=1)[:, both]
    transform = jnp.fft.fft(_padded(transform, 0), axis=0)[both] / box
    return jnp.stack([transform.real, transform.imag], axis=-1)


def _padded(values: Array, axis: int) -> Array:
    """One axis padded with zeros to twice its length, its origin moved to the first place."""
    n = values.shape[axis]
    before = PAD * n // 2 - n // 2
    widths = [(before, (PAD - 1) * n - before) if a == axis else (0, 0) for a in range(values.ndim)]
    return jnp.fft.ifftshift(jnp.pad(values, widths), axes=axis)


def stencil_radius(r_max: int) -> int:
    """R: the last step of the padded transform that a frequency of shell r_max touches.

    |k| < r_max + 1/2, so that twice of it lies below 2·r_max + 1, and that is its outer neighbour.
    """
    return PAD * r_max + 1


def gridding_window(box: int) -> Float[Array, "n n n"]:
    """What linear interpolation in the padded transform multiplies a map by: sinc² along each axis."""
    axis = jnp.asarray(np.sinc(axis_coordinates(box) / (PAD * box)) ** 2, jnp.float32)
    return axis[:, None, None] * axis[:, None] * axis


@jit_rows("matrices")
def slices(
    reference: Float[Array, "z z x 2"], matrices: Float[ArrayLike, "m 3 3"], k: Float[Array, "f 2"]
) -> Float[Array, "m 2 f"]:
    """Central slices: the reference at kx·A₀ + ky·A₁, A₀ and A₁ the first rows of each pose's matrix.

    Parameters
    ----------
    reference : float32 array
        From :func:`reference_transform`, for an r_max not below the band's.
    matrices : float32 array, shape (m, 3, 3)
        From :func:`pose_matrices`.
    k : float32 array, shape (f, 2)
        A band's frequencies.

    Returns
    -------
    float32 array, shape (m, 2, f)
    """
    rows = reference.reshape(-1, 2)

    def slice_at(matrix: Float[Array, "3 3"]) -> Float[Array, "2 f"]:
        stencil = stencil_at(matrix, k, reference.shape[0])
        total = jnp.zeros((k.shape[0], 2), reference.dtype)
        for index, weight in stencil.corners():
            total += weight[:, None] * rows.at[index].get(mode="promise_in_bounds")
        return conjugate_where(stencil.is_mate, total).T

    return jax.vmap(slice_at)(jnp.asarray(matrices))


class Stencil(NamedTuple):
    """The eight neighbours of each frequency of a slice in the flattened half-space."""

    first: Int[Array, "f"]
    """Number of the neighbour with the lowest kz, ky, kx."""
    fraction: Float[Array, "f 3"]
    """Position (x, y, z) within the eight, each in [0, 1)."""
    is_mate: Bool[Array, "f"]
    """The frequency has kx < 0: its Friedel mate was looked up, the value is the conjugate."""
    steps: tuple[int, int]
    """How far the next ky and the next kz lie."""

    def corners(self) -> list[tuple[Int[Array, "f"], Float[Array, "f"]]]:
        """Numbers and weights of the neighbours; kx runs fastest."""
        x, y, z = (self.fraction[:, a] for a in range(3))
        found = []
        for step_z, weight_z in ((0, 1 - z), (self.steps[1], z)):
            for step_y, weight_y in ((0, 1 - y), (self.steps[0], y)):
                both = weight_z * weight_y
                first = self.first + (step_z + step_y)
                found += [(first, both * (1 - x)), (first + 1, both * x)]
        return found


def stencil_at(matrix: Float[Array, "3 3"], k: Float[Array, "f 2"], side: int) -> Stencil:
    """The stencil of a slice in a reference of edge ``side`` = 2R + 1."""
    # Written out: as a matrix product a GPU may round it to ten bits.
    point = PAD * (k[:, :1] * matrix[0] + k[:, 1:] * matrix[1])
    is_mate = point[:, 0] < 0
    point = jnp.where(is_mate[:, None], -point, point)
    corner = jnp.floor(point)
    radius = side // 2
    step_y, step_z = radius + 1, side * (radius + 1)
    whole = corner.astype(jnp.int32)
    first = (whole[:, 2] + radius) * step_z + (whole[:, 1] + radius) * step_y + whole[:, 0]
    return Stencil(first, point - corner, is_mate, (step_y, step_z))


def conjugate_where(is_mate: Bool[Array, "f"], value: Float[Array, "f 2"]) -> Float[Array, "f 2"]:
    """Conjugates of some pairs; its own transpose."""
    return jnp.where(is_mate[:, None], value * jnp.array([1.0, -1.0], value.dtype), value)
