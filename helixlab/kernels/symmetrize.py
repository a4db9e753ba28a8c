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
few numbers of one asymmetric unit, which makes it quick.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume, axis_coordinates
from helixlab.kernels.helical_waves import (
    REFINE,
    HelicalWaves,
    angular_modes,
    average_dyad,
    fit_waves,
    masked_sections,
    normal_inverses,
    spline_coefficients,
    sum_waves,
)
from helixlab.kernels.interpolate import mirrored_spline_matrix, plane_coefficients, sample_sections

_RIM_PX = 3
"""Cylinders beyond the outermost voxel that is read: the splines' end lies that far away."""

_EDGE_PX = 5.0
"""Default width of the soft edge, that of :func:`helixlab.kernels.masks.cylindrical_mask`."""

_CHUNK = 32
"""Sections summed at a time: bounds the memory."""


class Sections(NamedTuple):
    """Three slices through the centre of a map."""

    zy: Float[np.ndarray, "z y"]
    zx: Float[np.ndarray, "z x"]
    yx: Float[np.ndarray, "y x"]


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
    plan = _Plan.of(volume, symmetry, z_fraction, outer_radius_A, inner_radius_A, edge_A)
    lines = _fit_lines(volume, symmetry, plan, dyad_deg, dyad_z_A)
    points = _tile_voxels(plan)
    data = np.zeros(volume.shape, np.float32)
    half = plan.half_side
    centre_z, centre_y, centre_x = (n // 2 for n in volume.shape)
    rows, columns = (slice(c - half, c + half + 1) for c in (centre_y, centre_x))
    for first in range(0, volume.shape[0], _CHUNK):
        tile = _density(lines, first - centre_z, _CHUNK, points, plan.n_fine).reshape(_CHUNK, 2 * half + 1, -1)
        last = min(first + _CHUNK, volume.shape[0])
        data[first:last, rows, columns] = tile[: last - first]
    return volume.with_data(data)


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
    """Only the three central slices of :func:`impose_symmetry`: what is drawn while a slider moves.

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
    plan = _Plan.of(volume, symmetry, z_fraction, outer_radius_A, inner_radius_A, edge_A)
    lines = _fit_lines(volume, symmetry, plan, dyad_deg, dyad_z_A)
    (nz, ny, nx), half = volume.shape, plan.half_side
    plane = _density(lines, 0, 1, _tile_voxels(plan), plan.n_fine)
    y, x = (np.arange(n) - n // 2 for n in (ny, nx))
    cross = _polar(plan, np.concatenate([y, 0 * x]), np.concatenate([0 * y, x]))
    walls = _density(lines, -(nz // 2), nz, cross, plan.n_fine)
    yx = np.zeros((ny, nx), np.float32)
    centre_y, centre_x = ny // 2, nx // 2
    yx[centre_y - half : centre_y + half + 1, centre_x - half : centre_x + half + 1] = plane.reshape(2 * half + 1, -1)
    return Sections(walls[:, :ny], walls[:, ny:], yx)


# --- geometry: everything that is known before the map is read ----------------------------------------


class _Plan(NamedTuple):
    """Sizes (which the kernels are compiled for) and lengths in voxels (which they are not)."""

    half_side: int
    """The cylinder lies within this many voxels of the axis, in a tile of 2·half_side + 1."""
    order: int
    n_sector: int
    """Angles in the nth part of a turn."""
    n_lines: int
    """Layer lines per order, at most."""
    first_plane: int
    n_planes: int
    window: Float[np.ndarray, "z"]
    outer_px: float
    inner_px: float
    edge_px: float

    @property
    def n_fine(self) -> int:
        return REFINE * self.n_sector

    @classmethod
    def of(
        cls,
        volume: Volume,
        symmetry: HelicalSymmetry,
        z_fraction: float,
        outer_radius_A: float | None,
        inner_radius_A: float,
        edge_A: float | None,
    ) -> "_Plan":
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
        central_A = z_fraction * volume.extent_A[0]
        if central_A < symmetry.rise_A:
            needed = math.ceil(100 * symmetry.rise_A / volume.extent_A[0]) / 100
            advice = f"Raise z_fraction to {needed:.2f} or more." if needed <= 0.99 else "Use a longer box."
            raise HelixLabError(
                f"z_fraction: found {z_fraction:g}, {central_A:.1f} Å of the box's height; it must hold at least one "
                f"rise of {symmetry.rise_A:g} Å. {advice}"
            )
        # Sizes come in steps, so that a moving slider seldom meets one that is not compiled yet.
        half_side = min(4 * math.ceil((outer_px + edge_px) / 4 - 1e-6), room_px)
        order = symmetry.cyclic_order
        n_sector = _good_size(math.ceil(1.05 * 2 * math.pi * half_side / order))
        n_lines = max(4, 1 << math.ceil(math.log2(symmetry.rise_A / pixel + 1)))
        height_px = np.abs(axis_coordinates(nz)) - z_fraction * nz / 2
        weight = _soft_step(height_px, _EDGE_PX)
        used = np.nonzero(weight)[0]
        n_planes = min(16 * math.ceil(len(used) / 16), nz)
        first_plane = min(int(used[0]), nz - n_planes)
        window = weight[first_plane : first_plane + n_planes]
        return cls(half_side, order, n_sector, n_lines, first_plane, n_planes, window, outer_px, inner_px, edge_px)


def _good_size(n: int) -> int:
    """The next even number, at least 8, with no prime factor above 5."""
    n = max(8, n + n % 2)
    while _without_small_factors(n) > 1:
        n += 2
    return n


def _without_small_factors(n: int) -> int:
    for p in (2, 3, 5):
        while n % p == 0:
            n //= p
    return n


def _soft_step(distance: Float[np.ndarray, "*shape"], edge: float) -> Float[np.ndarray, "*shape"]:
    """1 at distance ≤ 0, raised cosine down to 0 at ``edge``."""
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(distance / max(edge, 1e-6), 0.0, 1.0))


def _polar(
    plan: _Plan, y: Float[np.ndarray, "p"] | Int[np.ndarray, "p"], x: Float[np.ndarray, "p"] | Int[np.ndarray, "p"]
) -> tuple[Float[Array, "p"], Float[Array, "p"], Float[Array, "p"]]:
    """Where voxels lie on the grid of cylinders, and the soft mask there."""
    radius = np.hypot(y, x)
    angle = np.arctan2(y, x) * (plan.order * plan.n_fine / (2.0 * np.pi))
    mask = _soft_step(radius - plan.outer_px, plan.edge_px)
    if plan.inner_px > 0:
        mask = mask * _soft_step(plan.inner_px - radius, plan.edge_px)
    nodes = 1.0 + REFINE * np.minimum(radius, plan.half_side)
    return (
        jnp.asarray(nodes, jnp.float32),
        jnp.asarray(angle % plan.n_fine, jnp.float32),
        jnp.asarray(mask, jnp.float32),
    )


def _tile_voxels(plan: _Plan) -> tuple[Float[Array, "p"], Float[Array, "p"], Float[Array, "p"]]:
    y, x = np.meshgrid(*[np.arange(-plan.half_side, plan.half_side + 1)] * 2, indexing="ij")
    return _polar(plan, y.ravel(), x.ravel())


# --- the layer lines of a map ---------------------------------------------------------------------


def _fit_lines(
    volume: Volume, symmetry: HelicalSymmetry, plan: _Plan, dyad_deg: float, dyad_z_A: float
) -> HelicalWaves:
    for name, value in (("dyad_deg", dyad_deg), ("dyad_z_A", dyad_z_A)):
        if not math.isfinite(value):
            raise HelixLabError(f"{name}: found {value}; it is a finite number.")
    # Frequencies in float64: at the box's end a phase is hundreds of times the step from section to section.
    rise_px = symmetry.rise_A / volume.pixel_size_A
    m = plan.order * np.arange(plan.n_sector // 2)[:, None]
    winding = m * (symmetry.twist_deg / 360.0)
    line = np.ceil(winding - 0.5 * rise_px) + np.arange(plan.n_lines)
    frequency = (line - winding) / rise_px
    is_resolved = frequency < 0.5
    plane = plan.first_plane - volume.shape[0] // 2 + np.arange(plan.n_planes)
    solution = normal_inverses(plan.window, plane, rise_px, is_resolved)
    phase = (2.0 * m * (dyad_deg / 360.0) + 2.0 * frequency * (dyad_z_A / volume.pixel_size_A)) % 1.0

    cut, centre = [slice(plan.first_plane, plan.first_plane + plan.n_planes)], []
    margin = _RIM_PX + 3
    for n in volume.shape[1:]:
        first, last = max(0, n // 2 - plan.half_side - margin), min(n, n // 2 + plan.half_side + margin + 1)
        cut.append(slice(first, last))
        centre.append(n // 2 - first + margin)
    slab = np.ascontiguousarray(volume.data[tuple(cut)])
    matrix_y, matrix_x = (jnp.asarray(mirrored_spline_matrix(n, margin, REFINE)) for n in slab.shape[1:])
    radius = np.arange(REFINE * (plan.half_side + _RIM_PX) + 1) / REFINE
    phi_rad = np.arange(plan.order * plan.n_sector) * (2.0 * np.pi / (plan.order * plan.n_sector))
    y = REFINE * (centre[0] + radius[:, None] * np.sin(phi_rad)).ravel()
    x = REFINE * (centre[1] + radius[:, None] * np.cos(phi_rad)).ravel()
    # Compiled apart: merged into one kernel the gathers would run across z, ten times slower.
    coefficients = plane_coefficients(jnp.asarray(slab), matrix_y, matrix_x)
    values = sample_sections(coefficients, jnp.asarray(y, jnp.float32), jnp.asarray(x, jnp.float32))
    modes = angular_modes(values, order=plan.order, n_sector=plan.n_sector)
    frequency = jnp.asarray(np.where(is_resolved, frequency, 0.0), jnp.float32)
    amplitude = fit_waves(
        modes,
        jnp.asarray(plan.window, jnp.float32),
        jnp.asarray(plane, jnp.float32),
        frequency,
        jnp.asarray(solution, jnp.complex64),
    )
    if symmetry.is_dihedral:
        amplitude = average_dyad(amplitude, jnp.asarray(phase, jnp.float32))
    return HelicalWaves(spline_coefficients(amplitude, order=plan.order), frequency)


def _density(
    lines: HelicalWaves,
    first: int,
    n_z: int,
    points: tuple[Float[Array, "p"], Float[Array, "p"], Float[Array, "p"]],
    n_fine: int,
) -> Float[np.ndarray, "n_z p"]:
    """The density of ``n_z`` sections, from ``first`` over the centre, at points from :func:`_polar`."""
    radius, angle, mask = points
    cylinders = sum_waves(lines, jnp.float32(first), n_fine=n_fine, n_z=n_z)
    return np.asarray(masked_sections(sample_sections(cylinders, radius, angle), mask))
