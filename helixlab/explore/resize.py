"""Maps on other grids: made smaller for drawing, and mirrored."""

from fractions import Fraction

import jax.numpy as jnp
import numpy as np

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.kernels.fourier import fft_volume, ifft_volume

_MOST_PARTS = 24
"""The scale of a box that is no cube is a fraction with at most this denominator: so many voxels, at most, are added to
an edge."""


def downsize_volume(volume: Volume, box_px: int) -> Volume:
    """A map on a coarser grid, low-pass filtered by cutting its transform.

    Parameters
    ----------
    volume : Volume
    box_px : int
        Longest edge of the result in voxels, at least 8. A smaller map is returned as it is.

    Returns
    -------
    Volume
        Of the same extent, but for a margin of zeros where a box that is no cube has none that divides; its centre
        (voxel n // 2) lies where that of the map does.

    Raises
    ------
    HelixLabError
        If the edge is below 8 voxels.

    Examples
    --------
    >>> small = downsize_volume(Volume(np.ones((32, 32, 32)), 1.5), 16)
    >>> small.shape, small.pixel_size_A, bool(np.allclose(small.data, 1.0))
    ((16, 16, 16), 3.0, True)
    """
    if box_px < 8:
        raise HelixLabError(f"box_px: found {box_px}; a map is made smaller to 8 voxels or more.")
    longest = max(volume.shape)
    if longest <= box_px:
        return volume
    scale = Fraction(box_px, longest)
    if len(set(volume.shape)) > 1:
        parts = range(2, _MOST_PARTS + 1)
        scale = max((Fraction(n, d) for d in parts if (n := box_px // -(-longest // d))), default=scale)
    padded = [scale.denominator * -(-n // scale.denominator) for n in volume.shape]
    shape = tuple(int(n * scale) for n in padded)
    margins = [(p // 2 - n // 2, p - n - (p // 2 - n // 2)) for p, n in zip(padded, volume.shape, strict=True)]
    transform = np.asarray(fft_volume(jnp.asarray(np.pad(volume.data, margins))))
    for axis, n in enumerate(shape[:2]):
        low = (n - 1) // 2  # a Nyquist term has no mate in the coarser grid: left out
        kept = np.zeros((*transform.shape[:axis], n, *transform.shape[axis + 1 :]), transform.dtype)
        first, last = [(slice(None),) * axis + (part,) for part in (slice(low + 1), slice(-low, None))]
        kept[first], kept[last] = transform[first], transform[last]
        transform = kept
    transform = transform[:, :, : shape[2] // 2 + 1].copy()
    if shape[2] % 2 == 0:
        transform[:, :, -1] = 0.0
    data = np.asarray(ifft_volume(jnp.asarray(transform), shape)) * float(scale) ** 3
    pixel_size_A = volume.pixel_size_A / float(scale)
    centre_A = [o + n // 2 * volume.pixel_size_A for o, n in zip(volume.origin_A, volume.shape[::-1], strict=True)]
    x, y, z = (c - n // 2 * pixel_size_A for c, n in zip(centre_A, shape[::-1], strict=True))
    return Volume(data, pixel_size_A, (x, y, z))


def mirror_volume(volume: Volume) -> Volume:
    """The mirror image about the section n // 2 (z → −z): the hand of every helix changes.

    In a box of even height section 0 has no partner and stays.

    Examples
    --------
    >>> column = Volume(np.arange(4.0).reshape(4, 1, 1), 1.0)
    >>> mirror_volume(column).data.ravel().tolist()
    [0.0, 3.0, 2.0, 1.0]
    """
    mirrored = volume.data[::-1]
    return volume.with_data(np.roll(mirrored, 1, axis=0) if volume.shape[0] % 2 == 0 else mirrored)
