"""Three planes of a map, as they are drawn: through one voxel, or summed over the box."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume


class Sections(NamedTuple):
    """Three planes of a map, each through one voxel or summed over the box."""

    zy: Float[np.ndarray, "z y"]
    zx: Float[np.ndarray, "z x"]
    yx: Float[np.ndarray, "y x"]


def take_sections(volume: Volume, at_px: tuple[int, int, int] | None = None) -> Sections:
    """The slices of a map through a voxel (z, y, x); by default the box's centre.

    Raises
    ------
    HelixLabError
        If the voxel lies outside the box.

    Examples
    --------
    >>> counted = Volume(np.arange(24.0).reshape(2, 3, 4), 1.0)
    >>> take_sections(counted, (1, 0, 2)).zy.tolist()
    [[2.0, 6.0, 10.0], [14.0, 18.0, 22.0]]
    """
    z, y, x = checked_voxel(volume.shape, at_px)
    return Sections(volume.data[:, :, x], volume.data[:, y], volume.data[z])


def sum_sections(volume: Volume) -> Sections:
    """The sums of a map along x, y and z."""
    return Sections(*(volume.data.sum(axis=axis) for axis in (2, 1, 0)))


def checked_voxel(shape: tuple[int, int, int], at_px: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """A voxel (z, y, x) of a box; by default the centre.

    Raises
    ------
    HelixLabError
        If it lies outside the box.
    """
    if at_px is None:
        nz, ny, nx = shape
        return nz // 2, ny // 2, nx // 2
    if not all(0 <= at < n for at, n in zip(at_px, shape, strict=True)):
        raise HelixLabError(f"at_px: found the voxel {tuple(at_px)}; the box has {shape} (z, y, x), counted from 0.")
    return at_px
