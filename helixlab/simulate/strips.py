"""Projections of long, gently bent filaments from a short piece of their map.

A stretch of filament about the arc length u_j is a piece of the map, turned by as many twists as it is subunits away.
Stretches overlap and fade into each other with weights that add up to 1. Each is projected straight, as a strip over
(s, v): length along the axis and distance across. Its transform is a central slice of the piece's: at the frequency Z
along s and k across, with the tilt θ and the azimuth rot,

    K = −Z cot θ · (cos rot, sin rot) + k · (−sin rot, cos rot),   K_z = Z,

so that Z falls on the planes of the map's own transform, and only the planes are interpolated. The strip is then read
at (s, v) of every pixel near the curve. Both interpolations are non-uniform Fourier transforms with Kaiser–Bessel
kernels, right to about 10⁻⁵ (Barnett, Magland & af Klinteberg 2019, doi:10.1137/18M120885X), so that nothing but the
map's sampling limits the images.
"""

import math

import numpy as np
from jaxtyping import Complex, Float
from scipy.special import i0

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume, axis_coordinates
from helixlab.simulate.filaments import Filament

_KERNEL_WIDTH = 6
_KERNEL_BETA = 13.86
"""π √(W²/σ² (σ − ½)² − 0.8) at twice oversampling, σ = 2; Beatty et al. (2005), doi:10.1109/TMI.2005.848376, eq. 5."""

_SIDE_MARGIN_PX = 6
"""Beyond the outer radius: the soft edge of the filament's cylinder."""

_TAPER_PX = 12
"""At either end of the piece its density fades out."""

_LONGEST_A = 100.0
"""Distance between stretches at most; longer pieces of the map make longer transforms."""

_SHORTEST_PX = 4


def piece_length_px(symmetry: HelicalSymmetry, pixel_size_A: float, outer_radius_A: float, max_lean_deg: float) -> int:
    """Voxels along the axis of the piece of a map that is best to make filaments from."""
    lost_A = _lost_A(symmetry, pixel_size_A, outer_radius_A, max_lean_deg)
    return 2 * math.ceil((_LONGEST_A / math.cos(math.radians(max_lean_deg)) + lost_A) / pixel_size_A)


class StripProjector:
    """Projects filaments made of one map.

    Parameters
    ----------
    volume : Volume
        The filament's map, symmetric and centred, axis along z, density 0 outside.
    symmetry : HelicalSymmetry
        Its symmetry.
    outer_radius_A : float
        Density beyond is left out.
    max_lean_deg : float
        Tilts lie within ± this of 90°.

    Raises
    ------
    HelixLabError
        If the map is too short, or the radius does not fit in it.
    """

    def __init__(self, volume: Volume, symmetry: HelicalSymmetry, outer_radius_A: float, max_lean_deg: float) -> None:
        self.pixel_size_A = volume.pixel_size_A
        self.outer_radius_A = outer_radius_A
        self._symmetry = symmetry
        cosine = math.cos(math.radians(max_lean_deg))
        lost_A = _lost_A(symmetry, self.pixel_size_A, outer_radius_A, max_lean_deg)
        longest = piece_length_px(symmetry, self.pixel_size_A, outer_radius_A, max_lean_deg)
        length = min(longest, volume.shape[0] // 2 * 2)
        self.step_A = (0.5 * length * self.pixel_size_A - lost_A) * cosine
        side = 2 * (math.ceil(outer_radius_A / self.pixel_size_A) + _SIDE_MARGIN_PX)
        if self.step_A < _SHORTEST_PX * self.pixel_size_A:
            needed_A = 2 * (lost_A + _SHORTEST_PX * self.pixel_size_A / cosine)
            raise HelixLabError(
                f"volume: found {volume.extent_A[0]:.0f} Å along the axis; at tilts up to {max_lean_deg:.1f}° from 90° "
                f"a filament of this radius is made from at least {needed_A:.0f} Å. Give a longer map."
            )
        if outer_radius_A > 0.5 * min(volume.extent_A[1:]):
            raise HelixLabError(
                f"outer_radius_A: found {outer_radius_A:g}; the map reaches {0.5 * min(volume.extent_A[1:]):g} Å from "
                "its axis. Give a smaller radius or a wider map."
            )
        self._shape = (length, side)
        self._planes = _transform_planes(_piece(volume, length, side, outer_radius_A))

    def project(self, filament: Filament, size_px: int) -> Float[np.ndarray, "n n"]:
        """The filament through a square patch of micrograph whose centre pixel is its middle.

        Parameters
        ----------
        filament : Filament
        size_px : int
            Edge of the patch, even. The filament runs on beyond its edges.

        Returns
        -------
        float32 array, shape (size_px, size_px)
            Sums of the map's voxels along the rays.
        """
        x_A = axis_coordinates(size_px, self.pixel_size_A)
        u_A, v_A = filament.along_and_across_A(np.tile(x_A, size_px), np.repeat(x_A, size_px))
        near = np.flatnonzero(np.abs(v_A) < 0.5 * (self._shape[1] - 1) * self.pixel_size_A)
        near = near[np.argsort(u_A[near])]
        u_A, v_A = u_A[near], v_A[near]

        image = np.zeros(size_px * size_px, np.float32)
        first, last = math.floor(u_A[0] / self.step_A), math.ceil(u_A[-1] / self.step_A)
        knots_A = np.arange(first, last + 1) * self.step_A
        rot_deg, offsets_A = self._nearest_subunits(filament, knots_A)
        tilt_deg = filament.tilt_deg_at(knots_A)
        strips = self._strips(rot_deg, tilt_deg)
        for j, knot_A in enumerate(knots_A):
            lo, hi = np.searchsorted(u_A, [knot_A - self.step_A, knot_A + self.step_A])
            if lo == hi:
                continue
            from_knot_A = u_A[lo:hi] - knot_A
            z_px = (from_knot_A / math.sin(math.radians(tilt_deg[j])) + offsets_A[j]) / self.pixel_size_A
            weight = np.cos(0.5 * np.pi * from_knot_A / self.step_A) ** 2
            values = _interpolate(strips[j : j + 1], 2 * v_A[None, lo:hi] / self.pixel_size_A, 2 * z_px[None])[0]
            image[near[lo:hi]] += (weight * values).astype(np.float32)
        return image.reshape(size_px, size_px)

    def _nearest_subunits(
        self, filament: Filament, u_A: Float[np.ndarray, "j"]
    ) -> tuple[Float[np.ndarray, "j"], Float[np.ndarray, "j"]]:
        """The rot of the reference nearest to each place, and how far along the axis the place is from it."""
        s_A = filament.axis_length_A(u_A)
        m = np.rint(s_A / self._symmetry.rise_A)
        return filament.rot_deg - m * self._symmetry.twist_deg, s_A - m * self._symmetry.rise_A

    def _strips(self, rot_deg: Float[np.ndarray, "j"], tilt_deg: Float[np.ndarray, "j"]) -> Float[np.ndarray, "j v s"]:
        """Straight projections on a grid of half pixels over (v, s), origin at index 0, for :func:`_interpolate`."""
        length, side = self._shape
        rot, tilt = np.deg2rad(rot_deg)[:, None], np.deg2rad(tilt_deg)[:, None]
        across = np.fft.fftfreq(side)  # 1/pixel
        along = np.arange(length // 2 + 1)[:, None, None] / length
        from_axis = -along / np.tan(tilt)
        kx = from_axis * np.cos(rot) - across * np.sin(rot)
        ky = from_axis * np.sin(rot) + across * np.cos(rot)
        flat = (len(along), len(rot_deg) * side)
        values = _interpolate(self._planes, 2 * side * ky.reshape(flat), 2 * side * kx.reshape(flat)).reshape(kx.shape)
        # Beyond Nyquist the map's transform is none: without it the image can be turned without aliasing.
        values *= (kx**2 + ky**2 + along**2 < 0.25) / np.sin(tilt)
        values /= _kernel_transform(np.fft.fftfreq(side) / 2) * _kernel_transform(along / 2)

        fine = np.zeros((len(rot_deg), 2 * side, length + 1), np.complex64)
        middle = side // 2
        spectrum = np.moveaxis(values, 0, 2)
        fine[:, :middle, : length // 2 + 1] = spectrum[:, :middle]
        fine[:, -middle:, : length // 2 + 1] = spectrum[:, middle:]
        return 4.0 * np.fft.irfft2(fine, (2 * side, 2 * length))


def _lost_A(symmetry: HelicalSymmetry, pixel_size_A: float, outer_radius_A: float, max_lean_deg: float) -> float:
    """Of a piece's half length: its end fades, rays at a tilt leave it, and its centre is up to half a rise off."""
    tangent = math.tan(math.radians(max_lean_deg))
    return _TAPER_PX * pixel_size_A + outer_radius_A * tangent + 0.5 * symmetry.rise_A


def _piece(volume: Volume, length: int, side: int, outer_radius_A: float) -> Float[np.ndarray, "z y x"]:
    """The middle of the map within a soft cylinder, its ends faded out; zeros where the map is narrower."""
    nz, ny, nx = volume.shape
    low = [n // 2 - m // 2 for n, m in zip((nz, ny, nx), (length, side, side), strict=True)]
    piece = np.zeros((length, side, side), np.float32)
    inside = volume.data[tuple(slice(max(a, 0), a + m) for a, m in zip(low, piece.shape, strict=True))]
    piece[tuple(slice(max(-a, 0), max(-a, 0) + n) for a, n in zip(low, inside.shape, strict=True))] = inside
    z, r = np.abs(axis_coordinates(length)), axis_coordinates(side)
    beyond = np.hypot(r[:, None], r) - outer_radius_A / volume.pixel_size_A
    piece *= _fade(beyond / (_SIDE_MARGIN_PX - 1))
    return piece * _fade((z - (length // 2 - _TAPER_PX)) / _TAPER_PX)[:, None, None]


def _fade(t: np.ndarray) -> np.ndarray:
    """1 up to t = 0, 0 from t = 1 on, half a cosine between."""
    return (0.5 + 0.5 * np.cos(np.pi * np.clip(t, 0.0, 1.0))).astype(np.float32)


def _transform_planes(piece: Float[np.ndarray, "z y x"]) -> Complex[np.ndarray, "zh p p"]:
    """Transform of the piece, planes of constant Z >= 0 on a grid twice as fine, ready for the kernel."""
    side = piece.shape[1]
    correction = _kernel_transform(np.fft.fftfreq(side) / 2)
    rows = np.fft.rfft(np.fft.ifftshift(piece), axis=0) / (correction[:, None] * correction)
    planes = np.zeros((len(rows), 2 * side, 2 * side), np.complex64)
    middle = side // 2
    for here in (slice(None, middle), slice(-middle, None)):
        planes[:, here, :middle], planes[:, here, -middle:] = rows[:, here, :middle], rows[:, here, -middle:]
    for plane in planes:
        plane[:] = np.fft.fft2(plane)
    return planes


# --- interpolation on periodic grids ----------------------------------------------------------------------


def _interpolate(grids: np.ndarray, row: Float[np.ndarray, "g n"], column: Float[np.ndarray, "g n"]) -> np.ndarray:
    """Each grid at its own n places, given in grid steps from index 0 and taken as periodic."""
    n_grids, height, width = grids.shape
    flat = grids.ravel()
    first_row, row_weights = _taps(row)
    first_column, column_weights = _taps(column)
    start = (np.arange(n_grids) * height)[:, None]
    columns = [(first_column + b) % width for b in range(_KERNEL_WIDTH)]
    total = np.zeros(row.shape, grids.dtype)
    for a in range(_KERNEL_WIDTH):
        rows = (start + (first_row + a) % height) * width
        along_row = np.zeros(row.shape, grids.dtype)
        for b in range(_KERNEL_WIDTH):
            along_row += column_weights[b] * flat[rows + columns[b]]
        total += row_weights[a] * along_row
    return total


def _taps(place: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The first grid point under the kernel at each place, and the kernel's values from there on."""
    first = np.floor(place).astype(np.int64) - _KERNEL_WIDTH // 2 + 1
    distance = (first - place).astype(np.float32)
    inside = (1.0 - ((distance + np.float32(a)) * np.float32(2 / _KERNEL_WIDTH)) ** 2 for a in range(_KERNEL_WIDTH))
    peak = np.float32(i0(_KERNEL_BETA))
    return first, [i0(np.float32(_KERNEL_BETA) * np.sqrt(np.maximum(t, 0))) / peak for t in inside]


def _kernel_transform(freq: np.ndarray) -> np.ndarray:
    """Fourier transform of the kernel at frequencies in cycles per grid step, |freq| <= 1/4."""
    root = np.sqrt(_KERNEL_BETA**2 - (np.pi * _KERNEL_WIDTH * freq) ** 2)
    return _KERNEL_WIDTH * np.sinh(root) / root / i0(_KERNEL_BETA)
