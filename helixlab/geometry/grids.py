"""Where voxels lie: the origin of every axis is at index ``n // 2``."""

import numpy as np
from jaxtyping import Float


def axis_coordinates(n: int, pixel_size_A: float = 1.0) -> Float[np.ndarray, "n"]:
    """Coordinates in Å of the ``n`` voxels of one axis, zero at voxel ``n // 2``.

    Examples
    --------
    >>> axis_coordinates(4, 2.0).tolist()
    [-4.0, -2.0, 0.0, 2.0]
    >>> axis_coordinates(5).tolist()
    [-2.0, -1.0, 0.0, 1.0, 2.0]
    """
    return (np.arange(n) - n // 2) * float(pixel_size_A)
