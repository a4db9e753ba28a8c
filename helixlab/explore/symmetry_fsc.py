"""FSC of half maps that were given the same symmetry, quick enough to follow a slider."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.kernels.fourier import shell_correlation, shell_freqs_per_A
from helixlab.kernels.interpolate import even_smooth_number
from helixlab.kernels.masks import cylindrical_mask
from helixlab.kernels.symmetrize import Symmetrizer
from helixlab.validate import FSCCurve
from helixlab.validate.fsc import fsc_values

_EDGE_PX = 5.0


class CentralPart:
    """The middle of a filament, cut out of its box: the same soft mask for every symmetry, so that curves compare.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Of the box.
    pixel_size_A : float
    outer_px : float
        Radius of the mask, voxels.
    z_fraction : float
        Part of the box's height that it covers.
    """

    def __init__(self, shape: tuple[int, int, int], pixel_size_A: float, outer_px: float, z_fraction: float) -> None:
        nz, ny, nx = shape
        height = min(nz, even_smooth_number(int(np.ceil(z_fraction * nz + 2 * _EDGE_PX))))
        side = min(ny, nx, even_smooth_number(int(np.ceil(2 * (outer_px + _EDGE_PX))) + 1))
        self.shape = (height, side, side)
        self.sections = range(nz // 2 - height // 2, nz // 2 - height // 2 + height)
        self.freq_per_A = shell_freqs_per_A(self.shape, pixel_size_A)
        self._mask = cylindrical_mask(
            self.shape, outer_px, z_fraction=min(1.0, z_fraction * nz / height), edge_px=_EDGE_PX
        )

    def of_map(self, volume: Volume) -> Float[np.ndarray, "z y x"]:
        """The part of a map."""
        starts = (n // 2 - m // 2 for n, m in zip(volume.shape, self.shape, strict=True))
        return volume.data[tuple(slice(a, a + m) for a, m in zip(starts, self.shape, strict=True))]

    def of_symmetrised(
        self, symmetrizer: Symmetrizer, symmetry: HelicalSymmetry, dyad: tuple[float, float]
    ) -> Float[np.ndarray, "z y x"]:
        """The part of a map that was symmetrised."""
        tile = symmetrizer.tile(symmetry, self.sections, dyad_deg=dyad[0], dyad_z_A=dyad[1])
        side, inner = self.shape[1], tile.shape[1]
        if inner > side:
            first = inner // 2 - side // 2
            return tile[:, first : first + side, first : first + side]
        part, first = np.zeros(self.shape, np.float32), side // 2 - inner // 2
        part[:, first : first + inner, first : first + inner] = tile
        return part

    def fsc(self, first: Float[np.ndarray, "z y x"], second: Float[np.ndarray, "z y x"], label: str) -> FSCCurve:
        """Correlate two parts shell by shell."""
        both: tuple[Array, Array] = jnp.asarray(first), jnp.asarray(second)
        values, _ = fsc_values(*shell_correlation(*both, self._mask))
        return FSCCurve(self.freq_per_A, values, label)
