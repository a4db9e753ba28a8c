"""A density map on a cubic-voxel grid.

Conventions, stated here once for the whole project:

- arrays are float32 in the order ``(z, y, x)``; the helical axis is z;
- the physical origin lies at voxel ``n // 2`` of each axis (:mod:`helixlab.geometry.grids`);
- lengths are in Å, public angles in degrees.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError


@dataclass(frozen=True, eq=False)
class Volume:
    """A map: its densities, its voxel size, and where it lies in the laboratory.

    Parameters
    ----------
    data : float32 array, shape (nz, ny, nx)
        Densities in the order z, y, x; finite.
    pixel_size_A : float
        Edge of the cubic voxel in Å, > 0.
    origin_A : tuple of three floats
        Position in Å, as (x, y, z), of voxel (0, 0, 0): the header's ORIGIN or ``nstart`` × voxel.
        It is carried through, it moves nothing.

    Raises
    ------
    HelixLabError
        If the array is not three-dimensional, is empty or holds non-finite values, or if the voxel size is
        not a positive number.

    Examples
    --------
    >>> import numpy as np
    >>> Volume(np.zeros((4, 6, 6), np.float32), pixel_size_A=1.5).extent_A
    (6.0, 9.0, 9.0)
    """

    data: Float[np.ndarray, "z y x"]
    pixel_size_A: float
    origin_A: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        data = np.asarray(self.data, np.float32)
        if data.ndim != 3 or 0 in data.shape:
            raise HelixLabError(
                f"Volume.data: found an array of shape {data.shape}; a map needs three axes (z, y, x), none empty."
            )
        if not np.isfinite(self.pixel_size_A) or self.pixel_size_A <= 0:
            raise HelixLabError(
                f"Volume.pixel_size_A: found {self.pixel_size_A}; it must be a positive number of Å per voxel."
            )
        bad = data.size - int(np.count_nonzero(np.isfinite(data)))
        if bad:
            raise HelixLabError(
                f"Volume.data: found {bad} values that are NaN or infinite; every voxel must be finite. "
                "Repair the map, e.g. with numpy.nan_to_num, or export it again."
            )
        data = data.view()
        data.flags.writeable = False
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "pixel_size_A", float(self.pixel_size_A))
        object.__setattr__(self, "origin_A", tuple(float(x) for x in self.origin_A))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along z, y, x."""
        nz, ny, nx = self.data.shape
        return nz, ny, nx

    @property
    def extent_A(self) -> tuple[float, float, float]:
        """Edge lengths along z, y, x in Å."""
        nz, ny, nx = (n * self.pixel_size_A for n in self.shape)
        return nz, ny, nx

    def with_data(self, data: Float[np.ndarray, "z y x"]) -> "Volume":
        """The same grid with other densities."""
        return Volume(data, self.pixel_size_A, self.origin_A)
