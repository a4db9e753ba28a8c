"""The helical lattice: subunits on the unrolled cylinder and layer lines in its transform."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import jnp_zeros

from helixlab.errors import HelixLabError
from helixlab.geometry.symmetry import HelicalSymmetry

_SAME = 1e-6
"""Degrees or Å within which two lattice points are one: float64 rounding of a turn times some hundred steps."""


@dataclass(frozen=True)
class LayerLine:
    """One allowed term of a helix's transform.

    Parameters
    ----------
    freq_per_A : float
        Height Z of the layer line in 1/Å, ≥ 0.
    bessel_order : int
        Order n of the Bessel function; right-handed families of lines are positive.
    branch : int
        The m of the selection rule.
    """

    freq_per_A: float
    bessel_order: int
    branch: int


@dataclass(frozen=True, eq=False)
class IndexedLattice:
    """Points of the unrolled lattice that know by which operator they come from its origin.

    Parameters
    ----------
    k : int array, shape (p,)
        Power of the screw; 0 for the origin and its ring.
    turn : int array, shape (p,)
        The j of the rotation by j·360°/n of Cn or Dn, in [0, n).
    phi_deg : array, shape (p,)
        Azimuth in (−180, 180].
    z_A : array, shape (p,)
        Height in Å.
    """

    k: Int[np.ndarray, "p"]
    turn: Int[np.ndarray, "p"]
    phi_deg: Float[np.ndarray, "p"]
    z_A: Float[np.ndarray, "p"]


def lattice_points(
    symmetry: HelicalSymmetry, half_length_A: float, *, phi_deg: float = 0.0, z_A: float = 0.0
) -> Float[np.ndarray, "k 2"]:
    """Azimuth (degrees, in (−180, 180]) and height (Å) of all copies of a point on the unrolled cylinder.

    Parameters
    ----------
    symmetry : HelicalSymmetry
    half_length_A : float
        Copies are listed up to this distance along the axis from the given point, both ways; Å, ≥ 0.
    phi_deg, z_A : float
        The point itself.

    Returns
    -------
    float64 array, shape (k, 2)
        Columns φ and z, sorted by z then φ. The dyad of Dn (along x) adds the copies at (−φ, −z). A point on
        a dyad is listed once.

    Raises
    ------
    HelixLabError
        If the length is negative or not finite.

    Examples
    --------
    >>> lattice_points(HelicalSymmetry(100.0, 5.0), 5.0).round(3).tolist()
    [[-100.0, -5.0], [0.0, 0.0], [100.0, 5.0]]
    """
    # A dyad takes the point to −z, up to 2|z| away: more operators are needed than the window is long.
    reach_A = half_length_A + (2 * abs(z_A) if symmetry.is_dihedral else 0.0)
    rotations, shifts_A = symmetry.operators(reach_A)
    theta_rad = np.deg2rad(phi_deg)
    xyz = rotations @ np.array([np.cos(theta_rad), np.sin(theta_rad), z_A]) + shifts_A
    xyz = xyz[np.abs(xyz[:, 2] - z_A) <= half_length_A + _SAME]
    phi = np.rad2deg(np.arctan2(xyz[:, 1], xyz[:, 0]))
    phi[phi <= -180 + _SAME] = 180.0
    points = np.stack([phi, xyz[:, 2]], axis=1)
    points = points[np.lexsort((points[:, 0].round(6), points[:, 1].round(6)))]
    # A point on a dyad is its own copy.
    is_repeat = np.all(np.abs(np.diff(points, axis=0)) < _SAME, axis=1)
    return points[np.concatenate([[True], ~is_repeat])]


def indexed_lattice(
    symmetry: HelicalSymmetry, z_range_A: tuple[float, float], *, phi_deg: float = 0.0, z_A: float = 0.0
) -> IndexedLattice:
    """The copies of a point that lie between two heights, each with its place in the group.

    Parameters
    ----------
    symmetry : HelicalSymmetry
        Its screw and its rotations about the axis; the copies by a dyad of Dn are those of :func:`lattice_points`.
    z_range_A : (low, high)
        Heights in Å between which copies are listed; the point itself may lie beyond.
    phi_deg, z_A : float
        The point itself: k = 0, turn = 0.

    Raises
    ------
    HelixLabError
        If a height is not finite or the lower one is not given first.

    Examples
    --------
    >>> lattice = indexed_lattice(HelicalSymmetry(100.0, 5.0), (0.0, 10.0), z_A=-5.0)
    >>> lattice.k.tolist(), lattice.z_A.tolist(), lattice.phi_deg.round(6).tolist()
    ([1, 2, 3], [0.0, 5.0, 10.0], [100.0, -160.0, -60.0])
    """
    low_A, high_A = z_range_A
    if not (math.isfinite(low_A) and math.isfinite(high_A) and low_A <= high_A):
        raise HelixLabError(f"z_range_A: found {z_range_A}; give two heights in Å, the lower one first.")
    first = math.ceil((low_A - z_A - _SAME) / symmetry.rise_A)
    last = math.floor((high_A - z_A + _SAME) / symmetry.rise_A)
    k, turn = (index.ravel() for index in np.mgrid[first : last + 1, 0 : symmetry.cyclic_order])
    turned_deg = phi_deg + k * symmetry.twist_deg + turn * (360.0 / symmetry.cyclic_order)
    return IndexedLattice(k, turn, 180.0 - (180.0 - turned_deg) % 360.0, z_A + k * symmetry.rise_A)


def symmetry_through(symmetry: HelicalSymmetry, k: int, turn: int, phi_deg: float, z_A: float) -> HelicalSymmetry:
    """The nearest symmetry whose lattice has a given point at a given place.

    Parameters
    ----------
    symmetry : HelicalSymmetry
        Where to start from; the point group stays.
    k, turn : int
        The point, as :class:`IndexedLattice` counts; k ≠ 0.
    phi_deg, z_A : float
        Where it is to lie, from the lattice's origin.

    Returns
    -------
    HelicalSymmetry
        rise = z/k and twist = (φ − 360°·turn/n + 360°·m)/k, with the whole m that changes the twist least. The
        twist is not wrapped, so that a chain of small steps is continuous.

    Raises
    ------
    HelixLabError
        If k is 0, or the place is on the wrong side of the origin, where the rise would not be positive.

    Examples
    --------
    The tenth subunit, moved by 1° and 1 Å, moves twist and rise by a tenth of that:

    >>> symmetry_through(HelicalSymmetry(22.0, 1.4), 10, 0, 221.0, 15.0)
    HelicalSymmetry(twist_deg=22.1, rise_A=1.5, point_group='C1')
    """
    if k == 0:
        raise HelixLabError("k: found 0; the origin's own ring says nothing of twist and rise. Take another point.")
    if not (math.isfinite(z_A) and z_A / k > 0):
        side = "above" if k > 0 else "below"
        raise HelixLabError(
            f"z_A: found {z_A:g} for subunit {k}; the rise is positive, so it lies {side} the lattice's origin."
        )
    angle_deg = phi_deg - turn * 360.0 / symmetry.cyclic_order
    m = round((k * symmetry.twist_deg - angle_deg) / 360.0)
    return HelicalSymmetry((angle_deg + 360.0 * m) / k, z_A / k, symmetry.point_group)


def layer_lines(symmetry: HelicalSymmetry, max_freq_per_A: float, max_bessel_order: int) -> list[LayerLine]:
    """The layer lines a helix may have, from the selection rule.

    Parameters
    ----------
    symmetry : HelicalSymmetry
    max_freq_per_A : float
        Highest Z listed, 1/Å; the map's or image's resolution.
    max_bessel_order : int
        Largest |n| listed. At radius r and distance R from the meridian, orders |n| > 2πRr + 2 are empty.

    Returns
    -------
    list of LayerLine
        Sorted by height, then by |n|.

    Raises
    ------
    HelixLabError
        If a limit is negative or the frequency is not finite.

    Notes
    -----
    A density that repeats under Rz(twist) and a shift by the rise has terms exp(i(nφ − 2πZz)) only where
    Z = (n·twist/360° + m)/rise with whole n and m, and n a multiple of the order of Cn. A Dn dyad forbids no
    line. This is Cochran, Crick & Vand's rule (1952, Acta Cryst. 5, 581, doi:10.1107/S0365110X52001635) with
    the pitch written as twist and rise.

    Examples
    --------
    >>> [(round(1 / l.freq_per_A, 2), l.bessel_order) for l in layer_lines(HelicalSymmetry(-101.1, 5.13), 0.06, 2)
    ...  if l.freq_per_A]
    [(18.27, -1)]
    """
    if not (math.isfinite(max_freq_per_A) and max_freq_per_A >= 0):
        raise HelixLabError(f"max_freq_per_A: found {max_freq_per_A}; it is a frequency in 1/Å, 0 or more.")
    if max_bessel_order < 0:
        raise HelixLabError(f"max_bessel_order: found {max_bessel_order}; it bounds |n| and is 0 or more.")
    lines = []
    step = symmetry.cyclic_order
    for n in range(-(max_bessel_order // step) * step, max_bessel_order + 1, step):
        offset = n * symmetry.twist_deg / 360.0
        last = math.floor(max_freq_per_A * symmetry.rise_A - offset + 1e-9)
        for m in range(math.ceil(-offset - 1e-9), last + 1):
            lines.append(LayerLine(max(0.0, (offset + m) / symmetry.rise_A), n, m))
    return sorted(lines, key=lambda line: (round(line.freq_per_A, 9), abs(line.bessel_order), -line.bessel_order))


def symmetry_with_layer_line(
    symmetry: HelicalSymmetry, line: LayerLine, freq_per_A: float, *, keeps_twist: bool = False
) -> HelicalSymmetry:
    """The symmetry in which a layer line has another height.

    One height cannot settle both twist and rise. A line on the meridian (order 0) sets the rise, and pitch and hand
    stay; any other sets the twist, and the rise stays. With 1/pitch = twist/(360°·rise) and 1/rise as the axes of
    the (n, m) plane, where Z = n/pitch + m/rise, that is a step along one of the two.

    Parameters
    ----------
    symmetry : HelicalSymmetry
        Where to start from; the point group stays.
    line : LayerLine
        One of its lines, as :func:`layer_lines` lists them; of it, order and branch count.
    freq_per_A : float
        The height Z that it is to have, 1/Å, > 0.
    keeps_twist : bool
        Keep the twist instead, and stretch the helix until the line fits: all lines move in proportion.

    Returns
    -------
    HelicalSymmetry
        Its twist is not wrapped: the branches of its lines stay what they were.

    Raises
    ------
    HelixLabError
        If the height is not positive, the line is the equator, or the point group forbids its order.

    Examples
    --------
    >>> symmetry = HelicalSymmetry.from_pitch(23.0, 16.0)
    >>> basic = LayerLine(1 / 23.0, 1, 0)
    >>> moved = symmetry_with_layer_line(symmetry, basic, 1 / 25.0)
    >>> round(moved.pitch_A, 9), moved.rise_A == symmetry.rise_A
    (25.0, True)
    """
    n, m = line.bessel_order, line.branch
    if not (math.isfinite(freq_per_A) and freq_per_A > 0):
        raise HelixLabError(f"freq_per_A: found {freq_per_A}; a layer line's height is a frequency in 1/Å above 0.")
    if n % symmetry.cyclic_order:
        raise HelixLabError(
            f"line: found order {n}; {symmetry.point_group} allows multiples of {symmetry.cyclic_order} only."
        )
    if n and not keeps_twist:
        return HelicalSymmetry(360.0 * (freq_per_A * symmetry.rise_A - m) / n, symmetry.rise_A, symmetry.point_group)
    height = n * symmetry.twist_deg / 360.0 + m
    if height <= _SAME:
        raise HelixLabError(
            f"line: found order {n}, branch {m}, which lies on the equator; stretching the helix leaves it there. "
            "Take another line."
        )
    rise_A = height / freq_per_A
    twist_deg = symmetry.twist_deg * (1.0 if keeps_twist else rise_A / symmetry.rise_A)
    return HelicalSymmetry(twist_deg, rise_A, symmetry.point_group)


def first_maximum_per_A(bessel_order: int, radius_A: float) -> float:
    """How far from the meridian a layer line's first and strongest maximum lies, 1/Å.

    Density at distance r from the axis gives the term of order n the amplitude J_n(2πRr); its first maximum is the
    nearer to the meridian, the lower the order and the larger the radius. That is how orders are told apart.

    Parameters
    ----------
    bessel_order : int
        The sign does not matter: |J₋n| = |Jn|.
    radius_A : float
        Distance from the axis in Å, > 0; of the whole filament, about its outer radius.

    Raises
    ------
    HelixLabError
        If the radius is not positive.

    References
    ----------
    Klug, Crick & Wyckoff (1958) Acta Cryst. 11, 199, doi:10.1107/S0365110X58000517.

    Examples
    --------
    >>> [round(first_maximum_per_A(n, 80.0), 4) for n in (0, -1, 16)]
    [0.0, 0.0037, 0.0359]
    """
    if not (math.isfinite(radius_A) and radius_A > 0):
        raise HelixLabError(f"radius_A: found {radius_A}; it is a distance from the axis in Å, above 0.")
    if bessel_order == 0:
        return 0.0
    return float(jnp_zeros(abs(bessel_order), 1)[0]) / (2 * math.pi * radius_A)
