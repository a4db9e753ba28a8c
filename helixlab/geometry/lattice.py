"""The helical lattice: subunits on the unrolled cylinder and layer lines in its transform."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

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
