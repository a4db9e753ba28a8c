"""Where the helical axis lies: found, reported, and brought onto z through the centre."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from helixlab.geometry import HelicalSymmetry, Volume, axis_coordinates
from helixlab.kernels.fourier import low_pass
from helixlab.kernels.interpolate import mirrored_spline_matrix, plane_coefficients, spline_matrix
from helixlab.kernels.register import ScrewAxis, fit_axis, straighten

_POINTS = 8_000
"""Voxels compared: their sampling error, 1/√N of a correlation length, lies far below a hundredth of a voxel."""

_POWERS = 6
"""Copies compared; spread over half the length."""

_SECTIONS = 16
"""Sections resampled at a time: bounds the memory for the finer grid."""

NEGLIGIBLE_PX = 0.1
"""An axis nearer than this to the z axis over the whole length is left where it is."""


@dataclass(frozen=True)
class AxisReport:
    """How far a filament's axis was from the z axis through the centre of the box.

    Parameters
    ----------
    offset_A : (x, y)
        Where the axis crosses the central section, Å from the centre.
    tilt_deg : float
        Angle between the axis and z.
    tilt_azimuth_deg : float
        Direction in which the axis leans as z grows, degrees from +x towards +y.
    was_moved : bool
        Whether the map was resampled: an axis within a tenth of a voxel of its place is left there.
    """

    offset_A: tuple[float, float]
    tilt_deg: float
    tilt_azimuth_deg: float
    was_moved: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "offset_A": list(self.offset_A),
            "tilt_deg": self.tilt_deg,
            "tilt_azimuth_deg": self.tilt_azimuth_deg,
            "was_moved": self.was_moved,
        }


@dataclass(frozen=True)
class Axis:
    """A straight line near z: its crossing of the section z = 0 in Å, and its slopes dx/dz and dy/dz."""

    x_A: float = 0.0
    y_A: float = 0.0
    lean_x: float = 0.0
    lean_y: float = 0.0

    def distance_px(self, volume: Volume) -> float:
        """Greatest distance from the z axis inside the box, in voxels."""
        half_A = volume.extent_A[0] / 2
        ends = [math.hypot(self.x_A + s * half_A * self.lean_x, self.y_A + s * half_A * self.lean_y) for s in (-1, 1)]
        return max(ends) / volume.pixel_size_A

    def report(self, *, was_moved: bool) -> AxisReport:
        """In public units."""
        return AxisReport(
            (self.x_A, self.y_A),
            math.degrees(math.atan(math.hypot(self.lean_x, self.lean_y))),
            math.degrees(math.atan2(self.lean_y, self.lean_x)),
            was_moved,
        )


@dataclass(frozen=True)
class AxisRefinement:
    """An axis, refined together with the screw, and how much the correlation gained by it."""

    axis: Axis
    gain: float


def axis_from_mass(volume: Volume) -> Axis:
    """A line through the sections' centres of mass: a first guess, exact for filaments of many turns."""
    nz, ny, nx = volume.shape
    data = volume.data
    # What stands out of the solvent: the border of the box tells its level and its noise.
    rim = np.concatenate([data[:, :2].ravel(), data[:, -2:].ravel(), data[:, :, :2].ravel(), data[:, :, -2:].ravel()])
    mass = np.clip(data - (np.median(rim) + 3.0 * rim.std()), 0.0, None).astype(np.float64)
    weight = mass.sum(axis=(1, 2))
    if weight.sum() <= 0:
        return Axis()
    x, y, z = (axis_coordinates(n, volume.pixel_size_A) for n in (nx, ny, nz))
    safe = np.where(weight > 0, weight, 1.0)
    lines = []
    for centre in ((mass.sum(axis=1) @ x) / safe, (mass.sum(axis=2) @ y) / safe):
        slope, offset = np.polyfit(z, centre, 1, w=np.sqrt(weight))
        lines.append((float(offset), float(slope)))
    (x_A, lean_x), (y_A, lean_y) = lines
    return Axis(x_A, y_A, lean_x, lean_y)


def refine_axis(
    volume: Volume, symmetry: HelicalSymmetry, start: Axis, *, outer_radius_A: float, low_pass_A: float | None = None
) -> AxisRefinement:
    """The axis about which the map lies best on its own screwed copies.

    Parameters
    ----------
    volume : Volume
    symmetry : HelicalSymmetry
        A screw near the true one (any of the filament's screws).
    start : Axis
    outer_radius_A : float
        Points farther from the axis are not compared.
    low_pass_A : float, optional
        Compare at this resolution: a coarser map widens the range from which the fit finds the axis.

    Returns
    -------
    AxisRefinement
    """
    data = jnp.asarray(volume.data)
    if low_pass_A is not None and low_pass_A > 2.0 * volume.pixel_size_A:
        data = low_pass(data, volume.pixel_size_A / low_pass_A)
    px = volume.pixel_size_A
    points, weights = _points(volume, start, outer_radius_A)
    fit = fit_axis(
        _coefficients(data),
        jnp.asarray([n // 2 for n in volume.shape], jnp.float32),
        points,
        weights,
        jnp.asarray(_powers(symmetry, volume.extent_A[0]), jnp.float32),
        _in_voxels(start, px, math.radians(symmetry.twist_deg), symmetry.rise_A / px),
    )
    x, y, lean_x, lean_y, _, _ = (float(v) for v in fit.axis)
    # A squared difference falls by twice what the correlation gains.
    gain = (float(fit.start_misfit) - float(fit.misfit)) / 2
    return AxisRefinement(Axis(x * px, y * px, lean_x, lean_y), gain)


def straighten_volume(volume: Volume, axis: Axis) -> Volume:
    """The map resampled so that ``axis`` becomes the z axis through the centre.

    Cubic splines on a grid twice as fine, a few sections at a time. Beyond the ends of the box the filament is
    continued by its mirror image: a tilted map has a wedge without data at either end.
    """
    nz, ny, nx = volume.shape
    px = volume.pixel_size_A
    planes = plane_coefficients(
        jnp.asarray(volume.data), jnp.asarray(spline_matrix(ny)), jnp.asarray(spline_matrix(nx))
    )
    # How far a section leaves its height by the tilt.
    lean = math.hypot(axis.lean_x, axis.lean_y)
    reach = math.ceil(lean * math.hypot(ny, nx) / 2 + (1.0 - 1.0 / math.hypot(1.0, lean)) * nz / 2) + 4
    along_z = mirrored_spline_matrix(nz, reach + _SECTIONS)
    z, y, x = (axis_coordinates(n) for n in volume.shape)
    parts = []
    for first in range(0, nz, _SECTIONS):
        # Fine coefficients from `reach` sections below the first to as many above the last.
        rows = slice(2 * (first + _SECTIONS), 2 * (first + 2 * _SECTIONS + 2 * reach))
        heights = z[0] + first + np.arange(_SECTIONS)
        origin = (2.0 * (reach - first + nz // 2), 2.0 * (ny // 2), 2.0 * (nx // 2))
        parts.append(
            straighten(
                jnp.einsum("fz,yxz->fyx", jnp.asarray(along_z[rows]), planes),
                jnp.asarray(origin, jnp.float32),
                _in_voxels(axis, px),
                jnp.asarray(heights, jnp.float32),
                jnp.asarray(y, jnp.float32),
                jnp.asarray(x, jnp.float32),
            )
        )
    return volume.with_data(np.concatenate([np.asarray(p) for p in parts])[:nz])


def _in_voxels(axis: Axis, px: float, twist_rad: float = 0.0, rise_px: float = 0.0) -> ScrewAxis:
    values = (axis.x_A / px, axis.y_A / px, axis.lean_x, axis.lean_y, twist_rad, rise_px)
    x, y, lean_x, lean_y, twist, rise = (jnp.float32(v) for v in values)
    return ScrewAxis(x, y, lean_x, lean_y, twist, rise)


def _coefficients(data: Float[Array, "z y x"]) -> Float[Array, "z y x"]:
    matrices = [jnp.asarray(spline_matrix(n, 1)) for n in data.shape]
    return jnp.einsum("zyx,az,by,cx->abc", data, *matrices, optimize="optimal")


def _points(volume: Volume, axis: Axis, radius_A: float) -> tuple[Float[Array, "3 p"], Float[Array, "p"]]:
    """Voxels inside the filament, drawn evenly, weighted by how far they stand out; always as many."""
    rng = np.random.default_rng(0)
    nz, ny, nx = volume.shape
    px = volume.pixel_size_A
    z, y, x = (rng.integers(2, n - 2, 4 * _POINTS) for n in (nz, ny, nx))
    xyz = np.stack([x - nx // 2, y - ny // 2, z - nz // 2]).astype(np.float32)
    dx = xyz[0] - axis.x_A / px - axis.lean_x * xyz[2]
    dy = xyz[1] - axis.y_A / px - axis.lean_y * xyz[2]
    is_inside = np.hypot(dx, dy) <= radius_A / px
    order = np.argsort(~is_inside, kind="stable")[:_POINTS]
    return jnp.asarray(xyz[:, order]), jnp.asarray(is_inside[order], jnp.float32)


def _powers(symmetry: HelicalSymmetry, length_A: float) -> Float[np.ndarray, "k"]:
    """Powers of the screw, spread up to half the length."""
    last = max(1, int(0.5 * length_A / symmetry.rise_A))
    return np.unique(np.linspace(1, last, _POWERS).round())[np.arange(_POWERS) % min(_POWERS, last)]
