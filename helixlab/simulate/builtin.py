"""A built-in asymmetric unit: a seeded, compact, chiral chain that fits any helical symmetry."""

import numpy as np

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab.simulate.atoms import AtomicUnit

_INNER_RADIUS_A, _OUTER_RADIUS_A = 10.0, 42.0
_BOND_A = 3.8
"""Distance of neighbouring Cα atoms."""

_CONTACT_A = 3.2
"""No two atoms start closer than this; a cell too full for the chain relaxes it step by step."""

_REACH_A = 18.0
"""Half size of the largest cell, so that the unit stays compact where the symmetry leaves much room."""


def builtin_unit(symmetry: HelicalSymmetry | None = None, *, n_atoms: int = 120, seed: int = 2022) -> AtomicUnit:
    """A made-up subunit, the same on every call: a random chain folded into the cell that one subunit owns.

    Parameters
    ----------
    symmetry : HelicalSymmetry, optional
        The chain is confined to the points that are nearer to their own subunit's centre than to any copy's;
        without it, to the cell of a twist of 22.03° and a rise of 1.408 Å.
    n_atoms : int
        Length of the chain, ≥ 4.
    seed : int
        Another seed folds another chain.

    Returns
    -------
    AtomicUnit
        C, N, O and S atoms between 10 and 42 Å from the axis; chiral, as a random fold is.

    Raises
    ------
    HelixLabError
        If ``n_atoms`` is below 4, which could not be chiral.

    Examples
    --------
    >>> unit = builtin_unit()
    >>> len(unit.elements), 10 <= unit.inner_radius_A < unit.outer_radius_A <= 42
    (120, True)
    """
    if n_atoms < 4:
        raise HelixLabError(f"n_atoms: found {n_atoms}; a chiral unit needs at least 4 atoms.")
    symmetry = symmetry or HelicalSymmetry(22.03, 1.408)
    rng = np.random.default_rng(seed)
    is_inside, centre_A = _cell(symmetry)
    chain = [centre_A]
    tip, failures, contact_A = 0, 0, _CONTACT_A
    while len(chain) < n_atoms:
        step = rng.normal(size=3)
        candidate = chain[tip] + _BOND_A * step / np.linalg.norm(step)
        gap_A = np.linalg.norm(np.array(chain) - candidate, axis=1).min()
        if gap_A > contact_A and is_inside(candidate):
            chain.append(candidate)
            tip, failures = len(chain) - 1, 0
            continue
        failures += 1
        if failures % 40 == 0:  # a dead end: branch off somewhere else
            tip = int(rng.integers(len(chain)))
        if failures % 800 == 0:
            contact_A *= 0.9
    elements = np.array(["C", "N", "O", "C", "C", "S", "C", "O"])[np.arange(n_atoms) % 8]
    return AtomicUnit(np.array(chain), elements, name="builtin")


def _cell(symmetry: HelicalSymmetry):
    """The test whether a point lies in the subunit's Wigner–Seitz cell on the unrolled cylinder, and its centre.

    Distances are taken on the cylinder of mean radius, in arc length and height. With a dyad (along x, z = 0)
    the cell's centre is a quarter of a turn of Cn and a quarter of the rise away from it.
    """
    mean_radius_A = 0.5 * (_INNER_RADIUS_A + _OUTER_RADIUS_A)
    phi, z_A = 0.0, 0.0
    if symmetry.is_dihedral:
        phi, z_A = 0.5 * np.pi / symmetry.cyclic_order, 0.25 * symmetry.rise_A
    own = np.array([mean_radius_A * np.cos(phi), mean_radius_A * np.sin(phi), z_A])
    rotations, shifts_A = symmetry.operators(2.5 * _REACH_A + symmetry.rise_A)
    copies = rotations @ own + shifts_A
    copy_phi, copy_z_A = np.arctan2(copies[:, 1], copies[:, 0]), copies[:, 2]

    def is_inside(point_A: np.ndarray) -> bool:
        radius_A, angle = np.hypot(point_A[0], point_A[1]), np.arctan2(point_A[1], point_A[0])
        arc_A = mean_radius_A * np.angle(np.exp(1j * (angle - copy_phi)))
        distance_A = np.hypot(arc_A, point_A[2] - copy_z_A)
        near = distance_A[0] <= min(_REACH_A, distance_A[1:].min(initial=np.inf))
        return bool(near and _INNER_RADIUS_A <= radius_A <= _OUTER_RADIUS_A)

    return is_inside, own
