"""Where segments lie along their filaments, how far apart, and how many asymmetric units each of them contributes."""

import math

import numpy as np
from jaxtyping import Float

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


def places_A(stack: ParticleStack, psi_deg: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"] | None:
    """Where the box of each segment lies along its filament, in the image plane.

    Coordinates say it, more exactly than nominal track lengths; these say how large a pixel of the micrographs is,
    which may be finer than those of the images.

    Parameters
    ----------
    stack : ParticleStack
    psi_deg : float array, shape (n,)
        In-plane angles; the axis of a segment points along (−cos psi, sin psi).

    Returns
    -------
    float array, shape (n,), or None
        Å from the filament's first box, along the way in which the axes of most of its segments point. None where
        filaments, coordinates or track lengths are not known of all segments.

    Examples
    --------
    >>> from helixlab.io import new_particle_stack
    >>> stack = new_particle_stack(["a.mrcs"], [0, 0, 0], [0, 1, 2], 1.5, 64)
    >>> stack = stack.replace(filament_id=np.zeros(3, int), track_length_A=np.array([0.0, 25.0, 50.0]))
    >>> stack = stack.replace(coordinate_x_px=np.array([80.0, 70.0, 60.0]), coordinate_y_px=np.zeros(3))
    >>> places_A(stack, np.array([0.0, 1.0, 359.0])).round(2).tolist()
    [0.0, 25.0, 50.0]
    >>> places_A(stack, np.array([0.0, 180.0, 180.0])).round(2).tolist()
    [0.0, -25.0, -50.0]
    """
    columns = stack.filament_id, stack.track_length_A, stack.coordinate_x_px, stack.coordinate_y_px
    if any(column is None or not np.isfinite(column).all() for column in columns):
        return None
    filament, track_A, x_px, y_px = (np.asarray(column) for column in columns)
    order = np.lexsort((track_A, filament))
    _, first, number = np.unique(filament[order], return_index=True, return_inverse=True)
    is_within = np.diff(number) == 0
    psi_rad = np.deg2rad(psi_deg[order])
    axis = np.stack([-np.cos(psi_rad), np.sin(psi_rad)], axis=1)
    # All axes of a filament one way: that of the one before, then that of most.
    sense = np.cumprod(np.r_[1.0, np.where(np.sum(axis[1:] * axis[:-1], axis=1) < 0, -1.0, 1.0)])
    sense *= np.where(np.bincount(number, sense) < 0, -1.0, 1.0)[number]
    axis *= sense[:, None]
    between = axis[1:] + axis[:-1]
    between /= np.maximum(np.linalg.norm(between, axis=1), 1e-9)[:, None]
    step_px = np.sum(np.diff(np.stack([x_px, y_px], axis=1)[order], axis=0) * between, axis=1) * is_within
    length_px, length_A = np.abs(step_px).sum(), np.diff(track_A[order])[is_within].sum()
    if length_px <= 0 or length_A <= 0:
        return None
    reached_A = np.r_[0.0, np.cumsum(step_px)] * length_A / length_px
    places = np.empty(len(stack))
    places[order] = reached_A - reached_A[first[number]]
    return places
