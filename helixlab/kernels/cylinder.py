"""The cylinder in which a symmetry is imposed: sizes, weights and places that are known before any map is read."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume, axis_coordinates
from helixlab.kernels.helical_waves import REFINE
from helixlab.kernels.interpolate import even_smooth_number
from helixlab.kernels.masks import soft_step

RIM_PX = 3
"""Cylinders beyond the outermost voxel that is read: the splines' end lies that far away."""

_EDGE_PX = 5.0
"""Default width of the soft edge, that of :func:`helixlab.kernels.masks.cylindrical_mask`."""


class Points(NamedTuple):
    """Places in a section, and the soft mask there."""

    node: Float[np.ndarray, "p"]
    """Radius in spline nodes, the first of which lies before the axis."""
    angle_rad: Float[np.ndarray, "p"]
    mask: Float[np.ndarray, "p"]


class Cylinder(NamedTuple):
    """Sizes (which the kernels are compiled for) and lengths in voxels (which they are not)."""

    shape: tuple[int, int, int]
    pixel_size_A: float
    half_side: int
    """The cylinder lies within this many voxels of the axis, in a tile of 2·half_side + 1."""
    first_plane: int
    window: Float[np.ndarray, "z"]
    """Weight of the sections used, from ``first_plane`` on."""
    central_px: float
    """Height of the central part without its edges."""
    outer_px: float
    inner_px: float
    edge_px: float

    @classmethod
    def of(
        cls,
        volume: Volume,
        z_fraction: float,
        outer_radius_A: float | None,
        inner_radius_A: float,
        edge_A: float | None,
    ) -> "Cylinder":
        """As :func:`helixlab.kernels.symmetrize.impose_symmetry` says."""
        pixel, nz = volume.pixel_size_A, volume.shape[0]
        room_px = (min(volume.shape[1:]) - 1) // 2
        if room_px < 4:
            raise HelixLabError(
                f"volume: found a box of {volume.shape} voxels; it needs at least 9 across the filament."
            )
        if edge_A is not None:
            edge_px = edge_A / pixel
        else:
            edge_px = min(
                _EDGE_PX, room_px / 2 if outer_radius_A is None else max(0.0, room_px - outer_radius_A / pixel)
            )
        if not (math.isfinite(edge_px) and 0 <= edge_px < room_px):
            raise HelixLabError(
                f"edge_A: found {edge_px * pixel:g} Å in a box of {room_px * pixel:g} Å radius; "
                "it is the width of the soft edge, 0 or more and less than that radius."
            )
        outer_px = room_px - edge_px if outer_radius_A is None else outer_radius_A / pixel
        if not (outer_px > 0 and outer_px + edge_px <= room_px + 1e-6):
            raise HelixLabError(
                f"outer_radius_A: found {outer_px * pixel:g} Å with an edge of {edge_px * pixel:g} Å; both lie within "
                f"{room_px * pixel:g} Å of the axis in this box. Give a smaller radius or edge, or a wider box."
            )
        inner_px = inner_radius_A / pixel
        if not 0 <= inner_px < outer_px:
            raise HelixLabError(
                f"inner_radius_A: found {inner_radius_A:g} Å with an outer radius of {outer_px * pixel:g} Å; "
                "it must be at least 0 and below the outer radius."
            )
        if not 0 < z_fraction <= 1:
            raise HelixLabError(
                f"z_fraction: found {z_fraction}; it is the part of the box's height that is used, above 0 and up to 1."
            )
        # Sizes come in steps: similar maps share compiled kernels.
        half_side = min(4 * math.ceil((outer_px + edge_px) / 4 - 1e-6), room_px)
        height_px = np.abs(axis_coordinates(nz)) - z_fraction * nz / 2
        weight = np.asarray(soft_step(height_px, _EDGE_PX), float)
        used = np.nonzero(weight)[0]
        n_planes = min(16 * math.ceil(len(used) / 16), nz)
        first_plane = min(int(used[0]), nz - n_planes)
        window = weight[first_plane : first_plane + n_planes]
        return cls(volume.shape, pixel, half_side, first_plane, window, z_fraction * nz, outer_px, inner_px, edge_px)

    def check_rise(self, symmetry: HelicalSymmetry) -> None:
        """Raise an error if the central part holds no full rise."""
        central_A, extent_A = self.central_px * self.pixel_size_A, self.shape[0] * self.pixel_size_A
        if central_A < symmetry.rise_A:
            needed = math.ceil(100 * symmetry.rise_A / extent_A) / 100
            advice = f"Raise z_fraction to {needed:.2f} or more." if needed <= 0.99 else "Use a longer box."
            raise HelixLabError(
                f"z_fraction: found {self.central_px / self.shape[0]:g}, {central_A:.1f} Å of the box's height; it "
                f"must hold at least one rise of {symmetry.rise_A:g} Å. {advice}"
            )

    @property
    def n_phi(self) -> int:
        """Angles per turn at which the cylinders are read."""
        return even_smooth_number(math.ceil(1.05 * 2 * math.pi * self.half_side))

    @property
    def radius_px(self) -> Float[np.ndarray, "r"]:
        """Radii of the cylinders, REFINE per voxel from the axis to beyond the rim."""
        return np.arange(REFINE * (self.half_side + RIM_PX) + 1) / REFINE

    @property
    def plane(self) -> Int[np.ndarray, "z"]:
        """Heights of the sections used over the box's centre."""
        return self.first_plane - self.shape[0] // 2 + np.arange(len(self.window))

    @property
    def ring_areas(self) -> Float[np.ndarray, "r"]:
        """How much each cylinder but the last, where the spline ends, counts in a sum over the filament's section."""
        radius = self.radius_px[:-1]
        return np.where((radius <= self.outer_px) & (radius >= self.inner_px), radius, 0.0)

    @property
    def side(self) -> int:
        """Of the tile."""
        return 2 * self.half_side + 1

    def within(self, n: int) -> slice:
        """The tile along an axis of n voxels."""
        return slice(n // 2 - self.half_side, n // 2 + self.half_side + 1)

    def tile_points(self) -> Points:
        """The voxels of the tile."""
        y, x = np.meshgrid(*[np.arange(-self.half_side, self.half_side + 1)] * 2, indexing="ij")
        return self._points(y.ravel(), x.ravel())

    def wall_points(self, y: int, x: int) -> Points:
        """The voxels of the tile in its column ``x`` (along y), then in its row ``y`` (along x)."""
        along = np.arange(-self.half_side, self.half_side + 1)
        return self._points(np.concatenate([along, 0 * along + y]), np.concatenate([0 * along + x, along]))

    def _points(self, y: Int[np.ndarray, "p"], x: Int[np.ndarray, "p"]) -> Points:
        radius = np.hypot(y, x)
        mask = np.asarray(soft_step(radius - self.outer_px, self.edge_px))
        if self.inner_px > 0:
            mask = mask * np.asarray(soft_step(self.inner_px - radius, self.edge_px))
        return Points(1.0 + REFINE * np.minimum(radius, self.half_side), np.arctan2(y, x), mask)


class TileGrid(NamedTuple):
    """The voxels of a tile on the splines of the n-th part of each cylinder."""

    n_fine: int
    node: Float[Array, "p"]
    angle: Float[Array, "p"]
    mask: Float[Array, "p"]

    @classmethod
    def of(cls, cylinder: Cylinder, order: int, n_modes: int) -> "TileGrid":
        """For Cn and so many angular modes of it."""
        n_fine = REFINE * even_smooth_number(2 * n_modes)
        points = cylinder.tile_points()
        angle = points.angle_rad * (order * n_fine / (2.0 * np.pi)) % n_fine
        return cls(n_fine, *(jnp.asarray(a, jnp.float32) for a in (points.node, angle, points.mask)))
