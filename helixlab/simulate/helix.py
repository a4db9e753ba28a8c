"""From an asymmetric unit and a symmetry to the density map of a filament, with or without noise."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume, axis_coordinates
from helixlab.simulate.atoms import AtomicUnit, read_atomic_unit
from helixlab.simulate.builtin import builtin_unit
from helixlab.simulate.density import band_limit_per_A, default_b_factor_A2, density_on_grid
from helixlab.simulate.noise import HalfMapNoise, choose_noise, soft_cylinder, white_noise

_FLAT_MARGIN = 4.0
"""Atoms are complete this many resolution lengths beyond the box along the axis ..."""

_TAPER_MARGIN = 8.0
"""... and fade out over this many more. With both, the box's end planes differ from an endless filament's by less
than 1% of the map's standard deviation in the worst voxel (4 Å, B = 20 Å²), and inner planes by ten times less."""

_SIDE_MARGIN = 6.0
"""Resolution lengths between a filament that fills the box and its periodic image in the transform."""


@dataclass(frozen=True, eq=False)
class SimulatedMap:
    """A simulated filament and all that is true of it.

    Parameters
    ----------
    volume : Volume
        The map: noise-free, or the mean of the half maps.
    half1, half2 : Volume or None
        Half maps with independent noise; None without noise.
    truth : Volume
        The noise-free map. Its standard deviation within the filament is 1, the solvent lies at 0.
    symmetry : HelicalSymmetry
    unit : AtomicUnit
        The atoms of one subunit, before offset and tilt.
    resolution_A, b_factor_A2 : float
        Low-pass (half amplitude) and B factor.
    outer_radius_A : float
        Radius of the cylinder about the filament's axis in which "within the filament" is meant.
    noise : HalfMapNoise
        Level of the noise and the half-map FSC to be expected.
    offset_px : (x, y)
        Where the axis passes at the height of the box's centre, from the centre.
    tilt_deg, tilt_azimuth_deg : float
        Angle between the axis and z, and the direction (from x towards y) to which its upper end leans.
    seed : int
        Of the noise.
    """

    volume: Volume
    half1: Volume | None
    half2: Volume | None
    truth: Volume
    symmetry: HelicalSymmetry
    unit: AtomicUnit
    resolution_A: float
    b_factor_A2: float
    outer_radius_A: float
    noise: HalfMapNoise
    offset_px: tuple[float, float]
    tilt_deg: float
    tilt_azimuth_deg: float
    seed: int


def simulate_helix(
    model: str | Path | AtomicUnit,
    symmetry: HelicalSymmetry,
    *,
    box: int | tuple[int, int, int],
    pixel_size_A: float,
    resolution_A: float,
    b_factor_A2: float | None = None,
    noise: float = 0.0,
    fsc_resolution_A: float | None = None,
    noise_resolution_A: float | None = None,
    seed: int = 0,
    offset_px: tuple[float, float] = (0.0, 0.0),
    tilt_deg: float = 0.0,
    tilt_azimuth_deg: float = 0.0,
    outer_radius_A: float | None = None,
    chains: str | tuple[str, ...] | list[str] | None = None,
    axis_xy_A: tuple[float, float] | Literal["auto"] | None = "auto",
) -> SimulatedMap:
    """Simulate the density map of a filament.

    The asymmetric unit is copied by every operator of the symmetry, each once, over the box and a margin beyond
    its ends; the electron scattering density of the atoms is low-passed before it is sampled; the box is cut
    out, so that the filament runs through both ends.

    Parameters
    ----------
    model : path, "builtin" or AtomicUnit
        PDB or mmCIF file (read by :func:`read_atomic_unit`), the built-in chiral test structure, or atoms.
    symmetry : HelicalSymmetry
        The symmetry of the assembly.
    box : int or (z, y, x)
        Voxels along each edge.
    pixel_size_A : float
        Å per voxel, > 0.
    resolution_A : float
        The low-pass has half amplitude here; at least two pixels.
    b_factor_A2 : float, optional
        One B factor for all atoms, Å², ≥ 0; default 48·pixel², see :func:`default_b_factor_A2`. The file's
        B factors are not used.
    noise : float
        Standard deviation of the white Gaussian noise in each voxel of each half map, over the standard
        deviation of the noise-free map's voxels within the filament's cylinder. 0 gives no half maps.
    fsc_resolution_A : float, optional
        Instead of ``noise``: choose the level for which the FSC of the half maps, within the filament's
        cylinder, is expected to fall below 0.143 at this resolution (Å, coarser than ``resolution_A``).
    noise_resolution_A : float, optional
        Low-pass of the noise; its standard deviation stays. By default it is white.
    seed : int
        Of the noise; the same seed gives the same maps.
    offset_px : (x, y)
        Moves the filament off the centre of the box, on purpose.
    tilt_deg, tilt_azimuth_deg : float
        Tilts the filament about the box's centre, on purpose: its upper end leans towards this azimuth (from x
        towards y). The atoms are moved, nothing is interpolated. Tilt in [0, 45].
    outer_radius_A : float, optional
        Radius of the filament's cylinder; default: the outermost atom plus half of ``resolution_A`` and 3 Å.
    chains, axis_xy_A
        As in :func:`read_atomic_unit`; only for files.

    Returns
    -------
    SimulatedMap

    Raises
    ------
    HelixLabError
        If a value is out of range, the filament does not fit in the box, or the model cannot be used.

    Examples
    --------
    >>> made = simulate_helix("builtin", HelicalSymmetry(60.0, 12.0), box=48, pixel_size_A=2.5, resolution_A=8.0)
    >>> made.volume.shape, made.half1
    ((48, 48, 48), None)
    """
    shape = _checked_shape(box)
    _check_numbers(pixel_size_A, resolution_A, b_factor_A2, tilt_deg)
    b_factor_A2 = default_b_factor_A2(pixel_size_A) if b_factor_A2 is None else float(b_factor_A2)
    unit = _unit_from(model, symmetry, chains, axis_xy_A)
    if outer_radius_A is None:
        outer_radius_A = unit.outer_radius_A + 0.5 * resolution_A + 3.0
    axis = _Axis.of(offset_px, pixel_size_A, tilt_deg, tilt_azimuth_deg)
    _refuse_small_box(shape, pixel_size_A, unit, axis, offset_px)

    # The assembly, longer than the box: complete over the flat margin, fading over the taper.
    half_box_A = 0.5 * shape[0] * pixel_size_A
    flat_A = half_box_A + _FLAT_MARGIN * resolution_A
    end_A = flat_A + _TAPER_MARGIN * resolution_A
    xyz_A, weights, elements = _assemble(unit, symmetry, axis, flat_A, end_A)

    side_px = math.ceil(0.5 * _SIDE_MARGIN * resolution_A / pixel_size_A)
    density = density_on_grid(
        xyz_A,
        elements,
        weights,
        shape=shape,
        padding_px=(math.ceil((end_A - half_box_A) / pixel_size_A), side_px, side_px),
        pixel_size_A=pixel_size_A,
        resolution_A=resolution_A,
        b_factor_A2=b_factor_A2,
    )
    distance_A = axis.distance_A(shape, pixel_size_A)
    spread = density[distance_A <= outer_radius_A].std()
    if not spread > 0:
        raise HelixLabError(f"model: {unit.name} gives no contrast within {outer_radius_A:g} Å of the axis.")
    truth = Volume((density / spread).astype(np.float32), pixel_size_A)

    level = choose_noise(
        truth,
        soft_cylinder(distance_A, outer_radius_A, 5 * pixel_size_A, pixel_size_A),
        sd=noise,
        fsc_resolution_A=fsc_resolution_A,
        lowpass_A=noise_resolution_A,
        map_resolution_A=resolution_A,
    )
    half1 = half2 = None
    volume = truth
    if level.sd > 0:
        halves = [truth.data + white_noise(truth, level, (seed, k)) for k in (0, 1)]
        half1, half2 = (truth.with_data(half) for half in halves)
        volume = truth.with_data(0.5 * (halves[0] + halves[1]))
    return SimulatedMap(
        volume=volume,
        half1=half1,
        half2=half2,
        truth=truth,
        symmetry=symmetry,
        unit=unit,
        resolution_A=float(resolution_A),
        b_factor_A2=b_factor_A2,
        outer_radius_A=float(outer_radius_A),
        noise=level,
        offset_px=(float(offset_px[0]), float(offset_px[1])),
        tilt_deg=float(tilt_deg),
        tilt_azimuth_deg=float(tilt_azimuth_deg),
        seed=int(seed),
    )


# --- the assembly ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    """The filament's axis in the box: a point at z = 0 and the rotation that takes z to its direction."""

    point_A: Float[np.ndarray, "3"]
    rotation: Float[np.ndarray, "3 3"]

    @classmethod
    def of(cls, offset_px: tuple[float, float], pixel_size_A: float, tilt_deg: float, azimuth_deg: float) -> "_Axis":
        """Tilt within the plane of the azimuth: Rz(azimuth) Ry(tilt) Rz(−azimuth)."""
        ca, sa = math.cos(math.radians(azimuth_deg)), math.sin(math.radians(azimuth_deg))
        ct, st = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
        turn = np.array([[ca, -sa, 0], [sa, ca, 0], [0, 0, 1]])
        lean = np.array([[ct, 0, st], [0, 1, 0], [-st, 0, ct]])
        point_A = np.array([offset_px[0] * pixel_size_A, offset_px[1] * pixel_size_A, 0.0])
        return cls(point_A, turn @ lean @ turn.T)

    def distance_A(self, shape: tuple[int, int, int], pixel_size_A: float) -> Float[np.ndarray, "z y x"]:
        """Distance of every voxel from the axis."""
        z, y, x = (axis_coordinates(n, pixel_size_A) for n in shape)
        ux, uy, uz = self.rotation[:, 2]
        z, y, x = z[:, None, None], y[:, None] - self.point_A[1], x - self.point_A[0]
        along = ux * x + uy * y + uz * z
        return np.sqrt(np.clip(x**2 + y**2 + z**2 - along**2, 0, None))


def _assemble(
    unit: AtomicUnit, symmetry: HelicalSymmetry, axis: _Axis, flat_A: float, end_A: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All atoms up to the height ``end_A`` in the box's frame, with weights that fade from ``flat_A`` on."""
    reach_A = end_A / axis.rotation[2, 2] + unit.outer_radius_A * math.sqrt(1 / axis.rotation[2, 2] ** 2 - 1)
    rotations, shifts_A = symmetry.operators(reach_A + float(np.abs(unit.xyz_A[:, 2]).max()))
    copies = np.einsum("kij,nj->kni", rotations, unit.xyz_A) + shifts_A[:, None]
    xyz_A = copies.reshape(-1, 3) @ axis.rotation.T + axis.point_A
    fade = 0.5 + 0.5 * np.cos(np.pi * np.clip((np.abs(xyz_A[:, 2]) - flat_A) / (end_A - flat_A), 0.0, 1.0))
    weights = np.tile(unit.occupancy, len(rotations)) * fade
    kept = weights > 0
    return xyz_A[kept], weights[kept], np.tile(unit.elements, len(rotations))[kept]


def _unit_from(
    model: str | Path | AtomicUnit,
    symmetry: HelicalSymmetry,
    chains: str | tuple[str, ...] | list[str] | None,
    axis_xy_A: tuple[float, float] | Literal["auto"] | None,
) -> AtomicUnit:
    is_file = not isinstance(model, AtomicUnit) and str(model) != "builtin"
    if not is_file and (chains is not None or axis_xy_A != "auto"):
        raise HelixLabError("chains, axis_xy_A: these choose from a model file; leave them out for other atoms.")
    if isinstance(model, AtomicUnit):
        return model
    if not is_file:
        return builtin_unit(symmetry)
    return read_atomic_unit(model, symmetry=symmetry, chains=chains, axis_xy_A=axis_xy_A)


# --- checks -----------------------------------------------------------------------------------------------


def _checked_shape(box: int | tuple[int, int, int]) -> tuple[int, int, int]:
    edges = tuple(box) if isinstance(box, tuple | list) else (box, box, box)
    if len(edges) != 3 or any(int(n) != n or n < 8 for n in edges):
        raise HelixLabError(f"box: found {box}; needed one whole number or (z, y, x), each at least 8 voxels.")
    return int(edges[0]), int(edges[1]), int(edges[2])


def _check_numbers(pixel_size_A: float, resolution_A: float, b_factor_A2: float | None, tilt_deg: float) -> None:
    if not (math.isfinite(pixel_size_A) and pixel_size_A > 0):
        raise HelixLabError(f"pixel_size_A: found {pixel_size_A}; it must be a positive number of Å per voxel.")
    band_limit_per_A(resolution_A, pixel_size_A)
    if b_factor_A2 is not None and not (math.isfinite(b_factor_A2) and b_factor_A2 >= 0):
        raise HelixLabError(f"b_factor_A2: found {b_factor_A2}; it must be 0 or a positive number of Å².")
    if not 0 <= tilt_deg <= 45:
        raise HelixLabError(f"tilt_deg: found {tilt_deg}; the filament may lean by 0 to 45 degrees from z.")


def _refuse_small_box(
    shape: tuple[int, ...], pixel_size_A: float, unit: AtomicUnit, axis: _Axis, offset_px: tuple[float, float]
) -> None:
    """The atoms must lie within the box at every height that it shows."""
    slope = axis.rotation[:2, 2] / axis.rotation[2, 2]
    drift_A = np.abs(slope) * 0.5 * shape[0] * pixel_size_A
    needed_A = unit.outer_radius_A / axis.rotation[2, 2] + drift_A + np.abs(axis.point_A[:2])
    half_A = 0.5 * pixel_size_A * np.array([shape[2], shape[1]])
    if (needed_A > half_A).any():
        enough = 2 * math.ceil(float(needed_A.max()) / pixel_size_A) + 2
        raise HelixLabError(
            f"box: found {shape[2]} × {shape[1]} voxels of {pixel_size_A:g} Å across the filament; {unit.name} "
            f"reaches {unit.outer_radius_A:.0f} Å from its axis"
            + (", which is moved off the centre" if any(offset_px) or slope.any() else "")
            + f". Use a box of at least {enough} or larger voxels."
        )
