"""The screw that relates the chains of an atomic model, measured by least squares.

Chains with the same atoms are copies. Each pair is superposed (Kabsch), the pairs give an axis parallel to z and
the lattice of turns and shifts between copies, and a Gauss–Newton fit over all chains then sharpens twist, rise
and axis together.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, rotation_about_z, wrap_deg

MAX_PAIR_RMS_A = 2.0
"""Copies of one subunit superpose closer than this; refined fibril models deviate by less than 0.5 Å."""

_MIN_RISE_A = 0.5
"""Shifts below this are none: chains of one layer of Cn."""

_MAX_TILT_DEG = 20.0
"""Pairs whose superposition tilts z by more are not related by a screw along z (or are related by a dyad)."""


@dataclass(frozen=True)
class Trace:
    """The atoms by which one chain is compared with others.

    Parameters
    ----------
    name : str
        Chain name.
    key : tuple
        Names of the atoms' residues and numbers; chains with equal keys may be copies.
    xyz_A : float64 array, shape (n, 3)
        Cα (protein) or P (nucleic acid) positions; all atoms where these are fewer than three.
    """

    name: str
    key: tuple
    xyz_A: Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class ScrewFit:
    """The screw found in a model.

    Parameters
    ----------
    twist_deg, rise_A : float
        Twist in (−180°/n, 180°/n] and rise of one subunit.
    cyclic_order : int
        The n of Cn: chains of one layer are turned by 360°/n.
    axis_xy_A : tuple of two floats
        Where the axis passes, at the height of the model's centre.
    axis_direction : tuple of three floats
        Unit vector, z positive.
    rms_A : float
        Root mean square distance of all traced atoms from those of the ideal helix.
    chain_names : tuple of str
        The chains that were compared.
    """

    twist_deg: float
    rise_A: float
    cyclic_order: int
    axis_xy_A: tuple[float, float]
    axis_direction: tuple[float, float, float]
    rms_A: float
    chain_names: tuple[str, ...]

    @property
    def symmetry(self) -> HelicalSymmetry:
        """The screw as a symmetry."""
        return HelicalSymmetry(self.twist_deg, self.rise_A, f"C{self.cyclic_order}")


@dataclass(frozen=True)
class _Pairs:
    """Superpositions of chain j on chain i: the turn about z and the centres of both."""

    first: np.ndarray
    second: np.ndarray
    angle_deg: np.ndarray
    centre_first_A: np.ndarray
    centre_second_A: np.ndarray


def fit_screw_to_traces(traces: list[Trace], *, axis_along_z: bool = False) -> ScrewFit:
    """Fit twist, rise, Cn and axis to the copies among the chains.

    Parameters
    ----------
    traces : list of Trace
        At least two with the same key.
    axis_along_z : bool
        Keep the axis parallel to z; otherwise its tilt (small, the search starts from z) is fitted as well.

    Returns
    -------
    ScrewFit

    Raises
    ------
    HelixLabError
        If no two chains are copies, or none are related by a screw along z.

    Notes
    -----
    For a pair with turn R about z and centres c, c′ the axis point p obeys (I − R) p = c′ − R c in the plane;
    all pairs are solved together, so that small turns count little. The smallest shift between copies is the
    rise, its turn the twist; turns without shift give the n of Cn.

    References
    ----------
    Kabsch (1976) Acta Cryst. A32, 922, doi:10.1107/S0567739476001873.
    """
    pairs = _superpose_pairs(traces)
    axis_xy_A = _axis_from_pairs(pairs)
    shift_A = pairs.centre_second_A[:, 2] - pairs.centre_first_A[:, 2]
    order = _cyclic_order(pairs.angle_deg[np.abs(shift_A) < _MIN_RISE_A])
    twist_deg, rise_A = _smallest_step(pairs.angle_deg, shift_A, order)
    return _refine(traces, twist_deg, rise_A, order, axis_xy_A, axis_along_z)


def superpose(
    moving_A: Float[np.ndarray, "n 3"], fixed_A: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "3 3"], float]:
    """The rotation that best lays one set of points on another, both about their centres, and the rms distance.

    Examples
    --------
    >>> points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    >>> rotation, rms_A = superpose(points, points @ rotation_about_z(np.array([90.0]))[0].T)
    >>> (rotation[:, 0].round(6) + 0).tolist(), round(rms_A, 6)
    ([0.0, 1.0, 0.0], 0.0)
    """
    a, b = moving_A - moving_A.mean(0), fixed_A - fixed_A.mean(0)
    u, _, vt = np.linalg.svd(b.T @ a)
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return rotation, float(np.sqrt(np.mean(np.sum((a @ rotation.T - b) ** 2, axis=1))))


def _superpose_pairs(traces: list[Trace]) -> _Pairs:
    first, second, angles = [], [], []
    limit = math.cos(math.radians(_MAX_TILT_DEG))
    for i, a in enumerate(traces):
        for j in range(i + 1, len(traces)):
            if traces[j].key != a.key:
                continue
            rotation, rms_A = superpose(a.xyz_A, traces[j].xyz_A)
            if rms_A < MAX_PAIR_RMS_A and rotation[2, 2] > limit:
                first.append(i)
                second.append(j)
                angles.append(
                    math.degrees(math.atan2(rotation[1, 0] - rotation[0, 1], rotation[0, 0] + rotation[1, 1]))
                )
    if not first:
        raise HelixLabError(
            f"model: found no two chains related by a screw along z among {len(traces)} chains "
            f"({', '.join(t.name for t in traces)}). A screw needs copies of one chain with the same residues, "
            "stacked along z; where the file holds a single subunit give the symmetry and the axis yourself."
        )
    centres = np.array([t.xyz_A.mean(0) for t in traces])
    i, j = np.array(first), np.array(second)
    return _Pairs(i, j, np.array(angles), centres[i], centres[j])


def _axis_from_pairs(pairs: _Pairs) -> Float[np.ndarray, "2"]:
    rotations = rotation_about_z(pairs.angle_deg)[:, :2, :2]
    left = (np.eye(2) - rotations).reshape(-1, 2)
    right = pairs.centre_second_A[:, :2] - np.einsum("kij,kj->ki", rotations, pairs.centre_first_A[:, :2])
    if np.linalg.norm(left, 2) < 1e-3:
        raise HelixLabError(
            "model: its copies are shifted along z but not turned, which leaves the axis undetermined; "
            "pass axis_xy_A=(x, y)."
        )
    return np.linalg.lstsq(left, right.ravel(), rcond=None)[0]


def _cyclic_order(turns_deg: np.ndarray) -> int:
    """The n of Cn from the turns between chains at one height; they are multiples of 360°/n within 2°."""
    if not len(turns_deg):
        return 1
    for order in range(2, 61):
        if all(abs(wrap_deg(float(t), 360.0 / order)) < 2.0 for t in turns_deg):
            return order
    return 1


def _smallest_step(angle_deg: np.ndarray, shift_A: np.ndarray, order: int) -> tuple[float, float]:
    """Twist and rise of the smallest shift between copies, the mean over the pairs that share it."""
    upward = np.sign(shift_A)
    rise = np.abs(shift_A)
    stacked = rise >= _MIN_RISE_A
    if not stacked.any():
        raise HelixLabError(
            "model: its copies lie at one height, so that they give no rise; it holds one layer. "
            "Give the symmetry, and pass axis_xy_A."
        )
    smallest = rise[stacked].min()
    chosen = stacked & (rise < smallest + min(_MIN_RISE_A, 0.25 * smallest))
    turns = [float(t) for t in angle_deg[chosen] * upward[chosen]]
    period = 360.0 / order
    twist = turns[0] + np.mean([wrap_deg(t - turns[0], period) for t in turns])
    return wrap_deg(float(twist), period), float(rise[chosen].mean())


def _refine(
    traces: list[Trace], twist_deg: float, rise_A: float, order: int, axis_xy_A: np.ndarray, axis_along_z: bool
) -> ScrewFit:
    """Gauss–Newton over twist, rise, axis point and axis tilt; every chain is sent back to the first of its kind."""
    origin_z_A = float(np.mean(np.concatenate([t.xyz_A for t in traces])[:, 2]))
    groups = [[t for t in traces if t.key == key] for key in dict.fromkeys(t.key for t in traces)]
    groups = [group for group in groups if len(group) > 1]
    parameters = np.array([twist_deg, rise_A, *axis_xy_A, 0.0, 0.0])
    steps = _indices(groups, parameters, order, origin_z_A)
    free = np.diag([1e-4, 1e-4, 1e-3, 1e-3, 1e-5, 1e-5])[: 4 if axis_along_z else 6]
    for _ in range(20):
        residual = _residuals(groups, steps, parameters, order, origin_z_A)
        jacobian = np.stack(
            [
                (_residuals(groups, steps, parameters + delta, order, origin_z_A) - residual) / delta.sum()
                for delta in free
            ],
            axis=1,
        )
        change = np.linalg.lstsq(jacobian, -residual, rcond=1e-10)[0]
        parameters[: len(free)] += change
        if np.all(np.abs(change) < 1e-7):
            break
    residual = _residuals(groups, steps, parameters, order, origin_z_A)
    ux, uy, uz = (float(u) for u in _axis_rotation(parameters[4:])[:, 2])
    return ScrewFit(
        wrap_deg(float(parameters[0]), 360.0 / order),
        float(parameters[1]),
        order,
        (float(parameters[2]), float(parameters[3])),
        (ux, uy, uz),
        float(np.sqrt(3 * np.mean(residual**2))),
        tuple(t.name for group in groups for t in group),
    )


def _axis_rotation(tilt_rad: np.ndarray) -> np.ndarray:
    """The rotation that takes z to the axis: about x by the first angle after about y by the second, radians."""
    (ca, cb), (sa, sb) = np.cos(tilt_rad), np.sin(tilt_rad)
    return np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]]) @ np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])


def _about_axis(xyz_A: np.ndarray, parameters: np.ndarray, origin_z_A: float) -> np.ndarray:
    """Coordinates in the frame whose z axis is the helical axis."""
    return (xyz_A - [parameters[2], parameters[3], origin_z_A]) @ _axis_rotation(parameters[4:])


def _indices(groups: list[list[Trace]], parameters: np.ndarray, order: int, origin_z_A: float) -> list[np.ndarray]:
    """For every chain the steps along the screw and the turns of Cn from the first chain of its kind."""
    twist_deg, rise_A = parameters[:2]
    indices = []
    for group in groups:
        start = _about_axis(group[0].xyz_A, parameters, origin_z_A)
        rows = []
        for trace in group:
            here = _about_axis(trace.xyz_A, parameters, origin_z_A)
            rotation, _ = superpose(start, here)
            turn = math.degrees(math.atan2(rotation[1, 0] - rotation[0, 1], rotation[0, 0] + rotation[1, 1]))
            step = round((here[:, 2].mean() - start[:, 2].mean()) / rise_A)
            rows.append((step, round((turn - step * twist_deg) / (360.0 / order)) % order))
        indices.append(np.array(rows))
    return indices


def _residuals(
    groups: list[list[Trace]], steps: list[np.ndarray], parameters: np.ndarray, order: int, origin_z_A: float
) -> np.ndarray:
    """Distances of all copies, sent back to the first, from their mean."""
    out = []
    for group, index in zip(groups, steps, strict=True):
        xyz = _about_axis(np.stack([t.xyz_A for t in group]), parameters, origin_z_A)
        xyz = xyz - np.array([0.0, 0.0, 1.0]) * (index[:, :1, None] * parameters[1])
        back = rotation_about_z(-(index[:, 0] * parameters[0] + index[:, 1] * 360.0 / order))
        xyz = np.einsum("kij,knj->kni", back, xyz)
        out.append((xyz - xyz.mean(0)).ravel())
    return np.concatenate(out)
