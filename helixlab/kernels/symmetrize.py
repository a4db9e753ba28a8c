"""Imposing helical symmetry on a map, by its layer lines.

The average over all screw copies S(φ, z) = Σ_k w(z − kR) c(φ − kt, z − kR) / Σ_k w(z − kR) has the symmetry
S(φ + t, z + R) = S(φ, z). A density has it exactly when it is a sum of helical waves

    exp(i m φ + 2πi f z),    m·t/360° + f·R a whole number l,

the selection rule of helical diffraction (Cochran, Crick & Vand 1952, Acta Cryst. 5, 581,
doi:10.1107/S0365110X52001635; for Cn only m divisible by n). The average is the sum of such waves that fits the
central part of the map best, in least squares with the weight w: what the copies share is kept, and what they do
not is averaged out. That fit is computed here, cylinder by cylinder and order by order:

1. the central part of the map is read on cylinders by splines, and transformed over φ;
2. each order m is fitted by its layer lines along z, at most R/voxel + 1 of them;
3. a dyad, if there is one, pairs each wave with its conjugate;
4. the waves are summed at every height of the box, and read back on the voxels by splines.

Nothing is interpolated along z, a map that has the symmetry comes back as it was, and the result depends on the
few numbers of one asymmetric unit, which makes it quick. The first step does not depend on the symmetry: a
:class:`Symmetrizer` does it once for a map.
"""

import math
from collections.abc import Iterable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.kernels.cylinder import RIM_PX, Cylinder, TileGrid
from helixlab.kernels.helical_waves import (
    BLOCK_LINES,
    REFINE,
    LineBlock,
    angular_modes,
    average_dyad,
    cylinder_coefficients,
    fit_waves,
    line_blocks,
    masked_sections,
    modes_energy,
    section_modes,
    shared_energy,
    wall_density,
)
from helixlab.kernels.interpolate import cubic_spline_rows, mirrored_spline_matrix, plane_coefficients, sample_sections
from helixlab.kernels.kept import Kept
from helixlab.kernels.sections import Sections, checked_voxel

_CHUNK = 32
"""Sections summed at a time: bounds the memory."""

_READ_CHUNK = 16
"""Sections read on cylinders at a time."""

_Lines = list[tuple[Complex[Array, "q l r"], LineBlock]]
"""The layer lines of a map, block by block."""


def impose_symmetry(
    volume: Volume,
    symmetry: HelicalSymmetry,
    *,
    z_fraction: float = 0.3,
    outer_radius_A: float | None = None,
    inner_radius_A: float = 0.0,
    edge_A: float | None = None,
    dyad_deg: float = 0.0,
    dyad_z_A: float = 0.0,
) -> Volume:
    """Average a map over its helical symmetry, and extend it over the whole box.

    Parameters
    ----------
    volume : Volume
        A filament along z, its axis through voxel (n // 2, n // 2).
    symmetry : HelicalSymmetry
        Twist, rise and point group to impose.
    z_fraction : float
        Middle part of the box's height whose density is used, in (0, 1], weighted 1, with a cosine edge of 5
        voxels outside it; it holds at least one rise. RELION's ``--z_percentage``.
    outer_radius_A : float, optional
        The filament's radius; by default the box holds it with its edge. Å.
    inner_radius_A : float
        Radius of a hole along the axis, Å; 0 for none.
    edge_A : float, optional
        Width of the cosine edges: beyond ``outer_radius_A`` and within ``inner_radius_A`` the result falls to 0 over
        this length. Default 5 voxels, or what a given ``outer_radius_A`` leaves of the box.
    dyad_deg, dyad_z_A : float
        For Dn: azimuth (degrees from +x towards +y) and height over the box's centre (Å) of one of its dyads.

    Returns
    -------
    Volume
        On the same grid. It has the symmetry at every height of the box; outside the cylinder it is 0.

    Raises
    ------
    HelixLabError
        If a value is out of range, the central part holds no full rise, or the cylinder does not fit in the box.

    Notes
    -----
    A band-limited map that has the symmetry is kept within 0.2% of its amplitude up to half the Nyquist frequency.
    White noise falls to 1/(number of copies in the central part) of its variance.

    Examples
    --------
    >>> from helixlab.simulate import simulate_helix
    >>> helix = HelicalSymmetry(60.0, 12.0)
    >>> made = simulate_helix("builtin", helix, box=48, pixel_size_A=2.5, resolution_A=8.0).volume
    >>> imposed = impose_symmetry(made, helix, outer_radius_A=46.0)
    >>> bool(np.abs(imposed.data - made.data).max() < 0.02 * made.data.max())
    True
    """
    symmetrizer = Symmetrizer(
        volume, z_fraction=z_fraction, outer_radius_A=outer_radius_A, inner_radius_A=inner_radius_A, edge_A=edge_A
    )
    return symmetrizer.impose(symmetry, dyad_deg=dyad_deg, dyad_z_A=dyad_z_A)


def impose_sections(
    volume: Volume,
    symmetry: HelicalSymmetry,
    *,
    z_fraction: float = 0.3,
    outer_radius_A: float | None = None,
    inner_radius_A: float = 0.0,
    edge_A: float | None = None,
    dyad_deg: float = 0.0,
    dyad_z_A: float = 0.0,
) -> Sections:
    """Only the three central slices of :func:`impose_symmetry`.

    Parameters
    ----------
    volume, symmetry, z_fraction, outer_radius_A, inner_radius_A, edge_A, dyad_deg, dyad_z_A
        As for :func:`impose_symmetry`.

    Returns
    -------
    Sections
        The slices at x = 0, y = 0 and z = 0, float32.

    Raises
    ------
    HelixLabError
        As :func:`impose_symmetry`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = Volume(rng.normal(size=(32, 24, 28)).astype(np.float32), 2.0)
    >>> sections = impose_sections(noise, HelicalSymmetry(22.03, 1.408))
    >>> [s.shape for s in sections]
    [(32, 24), (32, 28), (24, 28)]
    """
    symmetrizer = Symmetrizer(
        volume, z_fraction=z_fraction, outer_radius_A=outer_radius_A, inner_radius_A=inner_radius_A, edge_A=edge_A
    )
    return symmetrizer.sections(symmetry, dyad_deg=dyad_deg, dyad_z_A=dyad_z_A)


class Symmetrizer:
    """One map, ready to have any symmetry imposed on it: all that does not depend on the symmetry is done once.

    Parameters
    ----------
    volume, z_fraction, outer_radius_A, inner_radius_A, edge_A
        As for :func:`impose_symmetry`.

    Raises
    ------
    HelixLabError
        If a value is out of range or the cylinder does not fit in the box.

    Notes
    -----
    Keeps the map's angular modes: about 8 bytes for each voxel of the cylinder's central part. Kernels are compiled
    for a map's size and a cyclic order, never for a twist or rise (see :meth:`warm_up`). Methods may be called from
    several threads.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = Volume(rng.normal(size=(32, 24, 28)).astype(np.float32), 2.0)
    >>> symmetrizer = Symmetrizer(noise, z_fraction=0.5)
    >>> [s.shape for s in symmetrizer.sections(HelicalSymmetry(22.03, 1.408), at_px=(10, 12, 15))]
    [(32, 24), (32, 28), (24, 28)]
    """

    def __init__(
        self,
        volume: Volume,
        *,
        z_fraction: float = 0.3,
        outer_radius_A: float | None = None,
        inner_radius_A: float = 0.0,
        edge_A: float | None = None,
    ) -> None:
        self.volume = volume
        self._cylinder = Cylinder.of(volume, z_fraction, outer_radius_A, inner_radius_A, edge_A)
        self._kept = Kept()

    def impose(self, symmetry: HelicalSymmetry, *, dyad_deg: float = 0.0, dyad_z_A: float = 0.0) -> Volume:
        """The whole map with the symmetry imposed, see :func:`impose_symmetry`."""
        _, ny, nx = self.volume.shape
        data = np.zeros(self.volume.shape, np.float32)
        data[:, self._cylinder.within(ny), self._cylinder.within(nx)] = self.tile(
            symmetry, dyad_deg=dyad_deg, dyad_z_A=dyad_z_A
        )
        return self.volume.with_data(data)

    def tile(
        self,
        symmetry: HelicalSymmetry,
        sections: range | None = None,
        *,
        dyad_deg: float = 0.0,
        dyad_z_A: float = 0.0,
    ) -> Float[np.ndarray, "z side side"]:
        """The imposed map round the axis only, which is in the middle; beyond the tile the imposed map is 0.

        ``sections`` are the wanted ones, in voxels of the box; by default all.
        """
        nz = self.volume.shape[0]
        sections = sections or range(nz)
        lines, grid = self._lines(symmetry, dyad_deg, dyad_z_A), self._grid(symmetry.cyclic_order)
        side = self._cylinder.side
        data = np.empty((len(sections), side, side), np.float32)
        for at in range(0, len(sections), _CHUNK):
            first = jnp.float32(sections[at] - nz // 2)
            modes = _total(section_modes(a, block, first, n_z=_CHUNK) for a, block in lines)
            last = min(at + _CHUNK, len(sections))
            data[at:last] = _on_tile(modes, grid)[: last - at].reshape(last - at, side, side)
        return data

    def sections(
        self,
        symmetry: HelicalSymmetry,
        *,
        at_px: tuple[int, int, int] | None = None,
        dyad_deg: float = 0.0,
        dyad_z_A: float = 0.0,
    ) -> Sections:
        """Three slices of the imposed map: what is drawn while a slider moves.

        Parameters
        ----------
        symmetry : HelicalSymmetry
        at_px : (z, y, x), optional
            The voxel that they go through; by default the box's centre.
        dyad_deg, dyad_z_A : float
            As for :func:`impose_symmetry`.

        Raises
        ------
        HelixLabError
            If the voxel lies outside the box, or the central part holds no full rise.
        """
        shape = self.volume.shape
        z, y, x = (at - n // 2 for at, n in zip(checked_voxel(shape, at_px), shape, strict=True))
        lines, grid = self._lines(symmetry, dyad_deg, dyad_z_A), self._grid(symmetry.cyclic_order)
        walls = self._walls(symmetry.cyclic_order, y, x)
        even, odd = _total(wall_density(a, block, *walls) for a, block in lines)
        middle = _on_tile(_total(section_modes(a, block, jnp.float32(z), n_z=1) for a, block in lines), grid)
        even, odd = np.asarray(even), np.asarray(odd)
        density = np.concatenate([(even + odd)[:, :0:-1], even - odd], axis=1)[:, : shape[0]]
        side = self._cylinder.side
        return self._in_box(density[:side].T, density[side:].T, middle.reshape(side, side))

    def projections(self, symmetry: HelicalSymmetry, *, dyad_deg: float = 0.0, dyad_z_A: float = 0.0) -> Sections:
        """Sums of the imposed map along x, y and z."""
        tile = self.tile(symmetry, dyad_deg=dyad_deg, dyad_z_A=dyad_z_A)
        return self._in_box(*(tile.sum(axis=axis) for axis in (2, 1, 0)))

    def correlation(self, symmetry: HelicalSymmetry, *, dyad_deg: float = 0.0, dyad_z_A: float = 0.0) -> float:
        """Correlation of the map's central part with itself symmetrised: 1 for a map that has the symmetry.

        The fit is a projection, and so its energy is read from the amplitudes alone, without summing the waves. White
        noise reaches 1/√(number of copies).
        """
        cylinder, lines = self._cylinder, self._lines(symmetry, dyad_deg, dyad_z_A)
        plain = self._lines(symmetry, dyad_deg, dyad_z_A, is_fit=False)
        density = jnp.asarray(cylinder.ring_areas, jnp.float32)
        energy = _total(shared_energy(a, b, density) for (a, _), (b, _) in zip(lines, plain, strict=True))
        mean, total = self._kept.get(
            "energy", None, lambda: modes_energy(self._modes, jnp.asarray(cylinder.window, jnp.float32), density)
        )
        return float(np.sqrt(np.clip((energy - mean) / max(float(total - mean), 1e-30), 0.0, 1.0)))

    def warm_up(self, cyclic_order: int = 1) -> None:
        """Compile what :meth:`sections` needs for a cyclic order, whatever the twist and rise."""
        for n_lines in BLOCK_LINES:
            rise_px = min(n_lines - 0.5, self._cylinder.central_px)
            self.sections(HelicalSymmetry(20.0, rise_px * self.volume.pixel_size_A, f"C{cyclic_order}"))

    # --- what is kept ---------------------------------------------------------------------------------

    @property
    def _modes(self) -> Float[Array, "q z rr"]:
        return self._kept.get("modes", None, lambda: _read_modes(self.volume, self._cylinder))

    def _grid(self, order: int) -> TileGrid:
        n_modes = math.ceil(self._modes.shape[0] / order)
        return self._kept.get("grid", order, lambda: TileGrid.of(self._cylinder, order, n_modes))

    def _walls(self, order: int, y: int, x: int) -> "_Walls":
        def make() -> _Walls:
            points, m = self._cylinder.wall_points(y, x), np.arange(0, self._modes.shape[0], order)[:, None]
            # Each order stands for −m, too.
            turn = np.where(m > 0, 2.0, 1.0) * np.exp(1j * m * points.angle_rad) * points.mask
            heights = np.arange(self.volume.shape[0] // 2 + 1)
            return (
                cubic_spline_rows(points.node, self._modes.shape[2] // 2),
                jnp.asarray(turn, jnp.complex64),
                jnp.asarray(heights, jnp.float32),
            )

        return self._kept.get("walls", (order, y, x), make)

    def _lines(self, symmetry: HelicalSymmetry, dyad_deg: float, dyad_z_A: float, *, is_fit: bool = True) -> _Lines:
        """The layer lines of the map: by least squares, or as plain projections."""
        for name, value in (("dyad_deg", dyad_deg), ("dyad_z_A", dyad_z_A)):
            if not math.isfinite(value):
                raise HelixLabError(f"{name}: found {value}; it is a finite number.")
        self._cylinder.check_rise(symmetry)
        pixel, plane = self._cylinder.pixel_size_A, self._cylinder.plane
        modes = self._modes[:: symmetry.cyclic_order]
        m = symmetry.cyclic_order * np.arange(modes.shape[0])
        blocks = line_blocks(
            self._cylinder.window, plane, symmetry.rise_A / pixel, m * (symmetry.twist_deg / 360.0), is_fit=is_fit
        )
        lines = [(fit_waves(modes, jnp.asarray(plane, jnp.float32), block), block) for block in blocks]
        if not symmetry.is_dihedral:
            return lines
        azimuth, height = jnp.asarray(m * (dyad_deg / 360.0) % 1.0, jnp.float32), jnp.float32(dyad_z_A / pixel)
        return [(average_dyad(amplitude, block, azimuth, height), block) for amplitude, block in lines]

    def _in_box(
        self, zy: Float[np.ndarray, "z s"], zx: Float[np.ndarray, "z s"], yx: Float[np.ndarray, "s s"]
    ) -> Sections:
        """Planes of the tile as planes of the box."""
        nz, ny, nx = self.volume.shape
        rows, columns = self._cylinder.within(ny), self._cylinder.within(nx)
        planes = Sections(*(np.zeros(shape, np.float32) for shape in ((nz, ny), (nz, nx), (ny, nx))))
        planes.zy[:, rows], planes.zx[:, columns], planes.yx[rows, columns] = zy, zx, yx
        return planes


_Walls = tuple[Float[Array, "p r"], Complex[Array, "q p"], Float[Array, "h"]]
"""What :func:`helixlab.kernels.helical_waves.wall_density` needs of two lines of voxels."""


def _total(parts: Iterable[Any]) -> Any:
    return reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts)


def _on_tile(modes: Complex[Array, "r z q"], grid: TileGrid) -> Float[np.ndarray, "z p"]:
    """The density of sections at the tile's voxels, from their angular modes."""
    # Compiled apart: merged into one kernel the gathers would run across z, ten times slower.
    coefficients = cylinder_coefficients(modes, n_fine=grid.n_fine)
    return np.asarray(masked_sections(sample_sections(coefficients, grid.node, grid.angle), grid.mask))


def _read_modes(volume: Volume, cylinder: Cylinder) -> Float[Array, "q z rr"]:
    """The angular modes of the map's central part, see :func:`helixlab.kernels.helical_waves.angular_modes`."""
    margin, cut, centre = RIM_PX + 3, [], []
    for n in volume.shape[1:]:
        first, last = max(0, n // 2 - cylinder.half_side - margin), min(n, n // 2 + cylinder.half_side + margin + 1)
        cut.append(slice(first, last))
        centre.append(n // 2 - first + margin)
    radius, phi_rad = cylinder.radius_px[:, None], np.arange(cylinder.n_phi) * (2.0 * np.pi / cylinder.n_phi)
    y = jnp.asarray(REFINE * (centre[0] + radius * np.sin(phi_rad)).ravel(), jnp.float32)
    x = jnp.asarray(REFINE * (centre[1] + radius * np.cos(phi_rad)).ravel(), jnp.float32)
    n_planes, parts = len(cylinder.window), []
    for at in range(0, n_planes, _READ_CHUNK):
        first = cylinder.first_plane + at
        last = cylinder.first_plane + min(at + _READ_CHUNK, n_planes)
        slab = np.ascontiguousarray(volume.data[first:last, cut[0], cut[1]])
        matrices = (jnp.asarray(mirrored_spline_matrix(n, margin, REFINE)) for n in slab.shape[1:])
        values = sample_sections(plane_coefficients(jnp.asarray(slab), *matrices), y, x)
        parts.append(angular_modes(values, n_phi=cylinder.n_phi))
    return jnp.concatenate(parts, axis=1)
