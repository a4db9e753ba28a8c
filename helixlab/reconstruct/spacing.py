"""How far apart the segments of a filament lie, and how many asymmetric units each of them contributes."""

import math

import numpy as np

from helixlab.io import ParticleStack

_SAME = 1e-6
"""Lengths this close, relative to each other, are one: a distance of 3 rises is 3 of them after rounding too."""


def max_symmetry_order(inter_box_distance_A: float | None, rise_A: float) -> int:
    """How many asymmetric units a segment contributes so that every unit of the filament counts once: ⌊d/Δz⌋.

    Parameters
    ----------
    inter_box_distance_A : float or None
        Between neighbouring boxes along the axis, Å; None if unknown.
    rise_A : float
        Å, > 0.

    Returns
    -------
    int
        At least 1. Also 1 where the distance is unknown: less averaging than there could be, but no unit counted
        twice. The user's own number is ``RefinementSettings.max_symmetry_order``.

    Examples
    --------
    >>> max_symmetry_order(25.0, 5.13), max_symmetry_order(3 * 5.13, 5.13), max_symmetry_order(None, 5.13)
    (4, 3, 1)
    """
    if inter_box_distance_A is None:
        return 1
    return max(1, math.floor(inter_box_distance_A / rise_A * (1 + _SAME)))


def inter_box_distance_A(stack: ParticleStack) -> float | None:
    """The distance of neighbouring boxes along the filaments: the table's own, or the step of the track lengths.

    Parameters
    ----------
    stack : ParticleStack

    Returns
    -------
    float or None
        Median in Å; None where the table says neither.

    Examples
    --------
    >>> from helixlab.io import new_particle_stack
    >>> stack = new_particle_stack(["a.mrcs"], [0, 0, 0, 0], [0, 1, 2, 3], 1.5, 64)
    >>> stack = stack.replace(filament_id=np.array([0, 0, 1, 1]), track_length_A=np.array([0.0, 25.0, 0.0, 25.0]))
    >>> inter_box_distance_A(stack)
    25.0
    """
    distance_A = stack.inter_box_distance_A
    if distance_A is None and stack.track_length_A is not None and stack.filament_id is not None:
        order = np.lexsort((stack.track_length_A, stack.filament_id))
        steps_A = np.diff(stack.track_length_A[order])
        distance_A = steps_A[np.diff(stack.filament_id[order]) == 0]
    known_A = np.zeros(0) if distance_A is None else distance_A[distance_A > 0]
    return float(np.median(known_A)) if known_A.size else None
