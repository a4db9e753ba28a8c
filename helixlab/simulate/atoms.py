"""The asymmetric unit of a filament: atoms about the helical axis, from a file or built in.

Deposited models hold one subunit (and the axis is x = y = 0), or a stack of copies somewhere in the frame of
their map. The axis and the copies are told apart here, so that an assembly holds every subunit once.
"""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import gemmi
import numpy as np
from jaxtyping import Float

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab.simulate.screw import MAX_PAIR_RMS_A, ScrewFit, Trace, fit_screw_to_traces

_CLASH_A = 2.7
"""Cα or P atoms of different chains are at least 3 Å apart; closer than this, two copies fill one place. Of two
proteins that interpenetrate, nearly half of the Cα atoms are that close (one Cα per 135 Å³)."""


@dataclass(frozen=True, eq=False)
class AtomicUnit:
    """Atoms of one asymmetric unit, in the frame whose z axis is the helical axis.

    Parameters
    ----------
    xyz_A : float64 array, shape (n, 3)
        Positions (x, y, z) in Å.
    elements : array of str, shape (n,)
        Chemical symbols.
    occupancy : float64 array, shape (n,) or (1,)
        In [0, 1]; one value stands for all atoms.
    name : str
        Where it comes from.
    chains : tuple of str
        The file's chains that make up the unit.

    Raises
    ------
    HelixLabError
        If there are no atoms, the lengths disagree, or a coordinate is not finite.

    Examples
    --------
    >>> AtomicUnit(np.array([[10.0, 0, 0], [12, 0, 5]]), np.array(["C", "N"])).outer_radius_A
    12.0
    """

    xyz_A: Float[np.ndarray, "n 3"]
    elements: np.ndarray
    occupancy: Float[np.ndarray, "m"] = field(default_factory=lambda: np.ones(1))
    name: str = "atoms"
    chains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        xyz = np.asarray(self.xyz_A, float)
        elements = np.asarray(self.elements)
        occupancy = np.asarray(self.occupancy, float)
        if xyz.ndim != 2 or xyz.shape[1:] != (3,) or not len(xyz):
            raise HelixLabError(f"AtomicUnit.xyz_A: found shape {xyz.shape}; needed (n, 3) with at least one atom.")
        if occupancy.shape == (1,):
            occupancy = np.repeat(occupancy, len(xyz))
        if elements.shape != (len(xyz),) or occupancy.shape != (len(xyz),):
            raise HelixLabError(
                f"AtomicUnit: found {len(xyz)} positions, elements of shape {elements.shape} and occupancies of "
                f"shape {occupancy.shape}; needed one of each per atom."
            )
        if not (np.isfinite(xyz).all() and np.isfinite(occupancy).all()):
            raise HelixLabError("AtomicUnit: found a coordinate or occupancy that is not finite; correct the model.")
        for name, value in (("xyz_A", xyz), ("elements", elements), ("occupancy", occupancy)):
            view = value.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    @property
    def outer_radius_A(self) -> float:
        """Distance of the outermost atom from the axis."""
        return float(np.hypot(self.xyz_A[:, 0], self.xyz_A[:, 1]).max())

    @property
    def inner_radius_A(self) -> float:
        """Distance of the innermost atom from the axis."""
        return float(np.hypot(self.xyz_A[:, 0], self.xyz_A[:, 1]).min())


def fit_screw(model: str | Path, *, axis_along_z: bool = False) -> ScrewFit:
    """Measure the helical symmetry of an atomic model that holds several copies of its chains.

    Parameters
    ----------
    model : str or Path
        PDB or mmCIF file, possibly gzipped. Only its first MODEL is used.
    axis_along_z : bool
        Keep the axis parallel to z; otherwise a small tilt is fitted as well.

    Returns
    -------
    ScrewFit
        Twist, rise, Cn, axis, and how well the copies agree.

    Raises
    ------
    FileFormatError
        If the file cannot be read as a model.
    HelixLabError
        If no two chains are related by a screw along z.
    """
    path = Path(model)
    return fit_screw_to_traces(_traces(_read_structure(path)[0]), axis_along_z=axis_along_z)


def read_atomic_unit(
    path: str | Path,
    *,
    symmetry: HelicalSymmetry | None = None,
    chains: str | tuple[str, ...] | list[str] | None = None,
    axis_xy_A: tuple[float, float] | Literal["auto"] | None = "auto",
) -> AtomicUnit:
    """Read the asymmetric unit of a filament from an atomic model.

    Parameters
    ----------
    path : str or Path
        PDB or mmCIF file, possibly gzipped. Its first MODEL is used, without water. B factors are ignored.
    symmetry : HelicalSymmetry, optional
        Copies under this symmetry are left out: of the chains that its operators relate, directly or through
        others, the one nearest to the middle of the model stays. Without it every chain is kept.
    chains : str or sequence of str, optional
        Keep this chain or these, whatever their relation.
    axis_xy_A : (x, y), "auto" or None
        Where the helical axis passes, parallel to z. None: x = y = 0. "auto": the axis of the screw that relates
        the file's chains, if they are copies under ``symmetry`` (any screw, without one); else the axis of
        the file's own assembly operators (BIOMT), if it has them; else x = y = 0.

    Returns
    -------
    AtomicUnit
        About the axis. With a Cn symmetry (or none) the unit's centre is moved along the axis to z = 0; with Dn
        z is kept, for the dyad lies along x at z = 0.

    Raises
    ------
    FileFormatError
        If the file cannot be read as a model or holds no atoms.
    HelixLabError
        If a chain is missing, or copies would fill the same place so that the asymmetric unit is undecided.

    Notes
    -----
    A model of 1QL2's kind keeps all of its chains: they are related by 65.9°/3.05 Å only roughly, and repeat
    exactly under 197.745°/9.15 Å, of which no operator takes one chain to another.
    """
    path = Path(path)
    chains = (chains,) if isinstance(chains, str) else chains
    structure = _read_structure(path)
    named = {chain.name for chain in structure[0]}
    if chains is not None and not set(chains) <= named:
        raise HelixLabError(
            f"{path}: found no chain {', '.join(sorted(set(chains) - named))}; it has {', '.join(sorted(named))}. "
            "Name chains of the file."
        )
    traces = _traces(structure[0])
    frame = _choose_frame(structure, traces, symmetry, axis_xy_A, picks_chains=chains is not None)
    traces = [frame.move(t) for t in traces]
    if chains is not None:
        kept = [t.name for t in traces if t.name in chains]
    elif symmetry is None:
        kept = [t.name for t in traces]
    else:
        asymmetric = _asymmetric_traces(traces, symmetry)
        _refuse_overlap(path, asymmetric, symmetry)
        kept = [t.name for t in asymmetric]
    return _unit_of(path, structure[0], kept, frame, moves_along_axis=symmetry is None or not symmetry.is_dihedral)


# --- reading ----------------------------------------------------------------------------------------


def _read_structure(path: Path) -> gemmi.Structure:
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file; give the path of a PDB or mmCIF model.")
    try:
        structure = gemmi.read_structure(str(path), merge_chain_parts=True)
    except Exception as error:  # gemmi raises RuntimeError, ValueError and others, each with its own words
        raise FileFormatError(
            f"{path}: cannot be read as an atomic model ({error}); give a PDB or mmCIF file, plain or .gz."
        ) from error
    structure.setup_entities()
    structure.remove_waters()
    structure.remove_empty_chains()
    if not len(structure) or not structure[0].count_atom_sites():
        raise FileFormatError(f"{path}: found no atoms; give a PDB or mmCIF file with coordinates.")
    return structure


def _traces(model: gemmi.Model) -> list[Trace]:
    """Of every chain the Cα or P atoms, or all atoms where these are fewer than three."""
    traces = []
    for chain in model:
        atoms = [(r, a) for r in chain.first_conformer() for a in r.first_conformer()]
        backbone = [(r, a) for r, a in atoms if (a.name, a.element.name) in {("CA", "C"), ("P", "P")}]
        chosen = backbone if len(backbone) >= 3 else atoms
        key = tuple((r.name, r.seqid.num, a.name) for r, a in chosen)
        traces.append(Trace(chain.name, key, np.array([a.pos.tolist() for _, a in chosen])))
    return traces


def _unit_of(path: Path, model: gemmi.Model, kept: list[str], frame: "_Frame", *, moves_along_axis: bool) -> AtomicUnit:
    atoms = [atom for chain in model if chain.name in kept for residue in chain for atom in residue]
    xyz = frame.apply(np.array([atom.pos.tolist() for atom in atoms]))
    occupancy = np.array([atom.occ for atom in atoms])
    if not (occupancy > 0).any():
        raise FileFormatError(f"{path}: every occupancy is 0, which leaves no density; set them to 1.")
    if moves_along_axis:
        xyz[:, 2] -= 0.5 * (xyz[:, 2].min() + xyz[:, 2].max())
    return AtomicUnit(xyz, np.array([atom.element.name for atom in atoms]), occupancy, path.name, tuple(kept))


# --- the axis -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    """The file's frame → the frame whose z axis is the helical axis."""

    point_A: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def apply(self, xyz_A: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Rotate the axis onto z by the shortest way and move it to x = y = 0; heights along it are kept."""
        u = np.array(self.direction)
        cross = np.array([[0, 0, -u[0]], [0, 0, -u[1]], [u[0], u[1], 0]])  # of the vector u × z
        rotation = np.eye(3) + cross + cross @ cross / (1.0 + u[2])
        return (xyz_A - self.point_A) @ rotation.T + [0.0, 0.0, self.point_A[2]]

    def move(self, trace: Trace) -> Trace:
        return Trace(trace.name, trace.key, self.apply(trace.xyz_A))


def _choose_frame(
    structure: gemmi.Structure,
    traces: list[Trace],
    symmetry: HelicalSymmetry | None,
    axis_xy_A: tuple[float, float] | Literal["auto"] | None,
    *,
    picks_chains: bool,
) -> _Frame:
    """The first of: what the user says, the copies' screw, the file's assembly, x = y = 0."""
    if axis_xy_A is None:
        return _Frame()
    if not isinstance(axis_xy_A, str):
        return _Frame((float(axis_xy_A[0]), float(axis_xy_A[1]), 0.0))
    if axis_xy_A != "auto":
        raise HelixLabError(f'axis_xy_A: found {axis_xy_A!r}; give (x, y) in Å, "auto", or None for x = y = 0.')
    by_copies = _frame_from_copies(traces)
    if by_copies is not None:
        moved = [by_copies.move(t) for t in traces]
        if symmetry is None or len(_asymmetric_traces(moved, symmetry)) < len(traces):
            return by_copies
    by_assembly = _frame_from_assembly(structure)
    if by_assembly is not None:
        return by_assembly
    # The copies' screw is none of the symmetry asked for: several chains make up one subunit, about the origin
    # as depositions have it, unless single chains were picked from a stack.
    return by_copies if by_copies is not None and picks_chains else _Frame()


def _frame_from_copies(traces: list[Trace]) -> _Frame | None:
    try:
        fit = fit_screw_to_traces(traces)
    except HelixLabError:
        return None  # a single subunit, or no screw along z: both are usual
    z_A = float(np.mean(np.concatenate([t.xyz_A for t in traces])[:, 2]))
    return _Frame((*fit.axis_xy_A, z_A), fit.axis_direction)


def _frame_from_assembly(structure: gemmi.Structure) -> _Frame | None:
    """From operators x → R x + t about an axis through p: (I − R) p = t in the plane, by least squares."""
    transforms = [op.transform for a in structure.assemblies for g in a.generators for op in g.operators]
    rotations = np.array([t.mat.tolist() for t in transforms]).reshape(-1, 3, 3)
    shifts = np.array([t.vec.tolist() for t in transforms]).reshape(-1, 3)
    turning = (rotations[:, 2, 2] > 1 - 1e-4) & (np.abs(shifts[:, 2]) > 0) & (rotations[:, 0, 0] < 1 - 1e-6)
    if not turning.any():
        return None
    left = (np.eye(2) - rotations[turning, :2, :2]).reshape(-1, 2)
    x_A, y_A = np.linalg.lstsq(left, shifts[turning, :2].ravel(), rcond=None)[0]
    return _Frame((float(x_A), float(y_A), 0.0))


# --- one of every copy -----------------------------------------------------------------------------------


def _asymmetric_traces(traces: list[Trace], symmetry: HelicalSymmetry) -> list[Trace]:
    """One chain of each class that the operators relate, the one nearest to the model's middle."""
    heights = [float(t.xyz_A[:, 2].mean()) for t in traces]
    rotations, shifts_A = symmetry.operators(max(heights) - min(heights) + symmetry.rise_A)
    label = list(range(len(traces)))
    for i, a in enumerate(traces):
        copies = None
        for j in range(i + 1, len(traces)):
            b = traces[j]
            if label[i] == label[j] or a.key != b.key:
                continue
            if copies is None:
                copies = np.einsum("kij,nj->kni", rotations, a.xyz_A) + shifts_A[:, None]
            rms_A = np.sqrt(np.mean(np.sum((copies - b.xyz_A) ** 2, axis=2), axis=1)).min()
            if rms_A < MAX_PAIR_RMS_A:
                label = [label[i] if x == label[j] else x for x in label]
    middle = 0.5 * (max(heights) + min(heights))
    kept = {min((k for k, x in enumerate(label) if x == one), key=lambda k: abs(heights[k] - middle)) for one in label}
    return [traces[k] for k in sorted(kept)]


def _refuse_overlap(path: Path, kept: list[Trace], symmetry: HelicalSymmetry) -> None:
    """Equal chains that the symmetry does not relate, yet whose copies collide, are copies under another one."""
    if len({t.key for t in kept}) == len(kept):
        return
    points = np.concatenate([t.xyz_A for t in kept])
    rotations, shifts_A = symmetry.operators(float(np.ptp(points[:, 2])) + _CLASH_A)
    clashing = np.zeros(len(points), bool)
    for rotation, shift_A in zip(rotations[1:], shifts_A[1:], strict=True):
        copy = points @ rotation.T + shift_A
        squared = (points**2).sum(1)[:, None] + (copy**2).sum(1) - 2 * points @ copy.T
        clashing |= squared.min(1) < _CLASH_A**2
    if clashing.mean() > 0.1:
        found = ""
        with contextlib.suppress(HelixLabError):
            found = f" The chains repeat under {fit_screw_to_traces(kept).symmetry}."
        raise HelixLabError(
            f"{path}: cannot decide which chains make up the asymmetric unit: {', '.join(t.name for t in kept)} are "
            f"not copies under {symmetry}, but their copies fill the same place.{found} Correct the symmetry, or "
            f"name the chains of one unit, e.g. chains=({kept[0].name!r},)."
        )
