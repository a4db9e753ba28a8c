"""The helical lattice: subunits on the unrolled cylinder and layer lines in its transform."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from helixlab.geometry.symmetry import HelicalSymmetry


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
        Columns φ and z, sorted by z then φ. The dyad of Dn (along x) adds the copies at (−φ, −z).

    Examples
    --------
    >>> lattice_points(HelicalSymmetry(100.0, 5.0), 5.0).round(3).tolist()
    [[-100.0, -5.0], [0.0, 0.0], [100.0, 5.0]]
    """
    rotations, shifts_A = symmetry.operators(half_length_A)
    theta = np.deg2rad(phi_deg)
    xyz = rotations @ np.array([np.cos(theta), np.sin(theta), z_A]) + shifts_A
    phi = np.rad2deg(np.arctan2(xyz[:, 1], xyz[:, 0]))
    phi[phi <= -180 + 1e-9] = 180.0
    points = np.stack([phi, xyz[:, 2]], axis=1)
    return points[np.lexsort((points[:, 0].round(6), points[:, 1].round(6)))]


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
    lines = []
    step = symmetry.cyclic_order
    for n in range(-(max_bessel_order // step) * step, max_bessel_order + 1, step):
        offset = n * symmetry.twist_deg / 360.0
        last = math.floor(max_freq_per_A * symmetry.rise_A - offset + 1e-9)
        for m in range(math.ceil(-offset - 1e-9), last + 1):
            lines.append(LayerLine(max(0.0, (offset + m) / symmetry.rise_A), n, m))
    return sorted(lines, key=lambda line: (round(line.freq_per_A, 9), abs(line.bessel_order), -line.bessel_order))
