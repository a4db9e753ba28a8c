"""Helical symmetry as a group of operators: screw, point group, and all the ways to write them.

Conventions (the whole project refers to this paragraph). Axes are right-handed and the helical axis is +z.
Subunit ``k + 1`` is ``Rz(+twist) · subunit k + rise · z`` with rise > 0, so that a right-handed one-start helix
has twist > 0: the sign of RELION's ``rlnHelicalTwist`` and of CryoSPARC's twist. The point group is Cn (axis z)
or Dn (Cn and a dyad perpendicular to z; at the origin along x unless a dyad is given).

Two descriptions are the same symmetry when they generate the same operators. With Cn a turn by 360°/n is an
operator, hence twist ≡ twist + 360°/n: EMPIAR-10019 (C6) is 29.4° and −30.6° alike.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError

_ANGLE_EPS_DEG = 1e-6
"""Angles closer than this are one angle: float64 rounding over some hundred multiples of a twist."""

_LENGTH_EPS_A = 1e-6


def wrap_deg(angle_deg: float, period_deg: float = 360.0) -> float:
    """The equivalent angle in (−period/2, period/2].

    Examples
    --------
    >>> wrap_deg(197.745), wrap_deg(-180.0), wrap_deg(89.4, 60.0)
    (-162.255, 180.0, 29.400000000000006)
    """
    half = period_deg / 2
    wrapped = half - (half - angle_deg) % period_deg
    # A value a rounding error above −half belongs to +half: one description for one symmetry.
    return half if wrapped + half < _ANGLE_EPS_DEG else wrapped


def parse_point_group(name: str) -> tuple[Literal["C", "D"], int]:
    """Split "C6" or "d2" into family and order.

    Raises
    ------
    HelixLabError
        If the name is neither Cn nor Dn with n ≥ 1.

    Examples
    --------
    >>> parse_point_group("d2")
    ('D', 2)
    """
    match = re.fullmatch(r"\s*([CD])([1-9]\d*)\s*", str(name).upper())
    if match is None:
        raise HelixLabError(
            f"point group: found {name!r}; a helix has Cn (rotations about its axis) or Dn (with a dyad across it). "
            "Write e.g. C1, C6 or D2."
        )
    return ("C" if match[1] == "C" else "D"), int(match[2])


@dataclass(frozen=True, eq=False)
class HelicalSymmetry:
    """The symmetry of a filament: twist and rise of one subunit, and a point group.

    Parameters
    ----------
    twist_deg : float
        Rotation about +z from one subunit to the next, degrees, right-handed positive. Any finite value.
    rise_A : float
        Shift along +z from one subunit to the next, Å, > 0.
    point_group : str
        "Cn" or "Dn"; CryoSPARC's "Point group symmetry", RELION's ``--sym``.

    Raises
    ------
    HelixLabError
        If the rise is not positive, a value is not finite, or the point group is unknown.

    Notes
    -----
    Instances are equal when they generate the same operators, see :meth:`is_equivalent` for a tolerance.

    References
    ----------
    He & Scheres (2017) J. Struct. Biol. 198, 163, doi:10.1016/j.jsb.2017.02.003.

    Examples
    --------
    >>> HelicalSymmetry(29.4, 21.8, "C6") == HelicalSymmetry(-30.6, 21.8, "C6")
    True
    >>> tmv = HelicalSymmetry(22.03, 1.408)
    >>> round(tmv.pitch_A, 2), round(tmv.subunits_per_turn, 2), tmv.hand
    (23.01, 16.34, 1)
    """

    twist_deg: float
    rise_A: float
    point_group: str = "C1"

    def __post_init__(self) -> None:
        twist, rise = float(self.twist_deg), float(self.rise_A)
        if not math.isfinite(twist):
            raise HelixLabError(f"twist_deg: found {self.twist_deg}; the twist is a finite angle in degrees.")
        if not math.isfinite(rise) or rise <= 0:
            raise HelixLabError(
                f"rise_A: found {self.rise_A}; the rise is a positive length in Å. "
                "For a left-handed helix make the twist negative, not the rise."
            )
        family, order = parse_point_group(self.point_group)
        object.__setattr__(self, "twist_deg", twist)
        object.__setattr__(self, "rise_A", rise)
        object.__setattr__(self, "point_group", f"{family}{order}")

    @classmethod
    def from_pitch(
        cls, pitch_A: float, subunits_per_turn: float, hand: int = 1, point_group: str = "C1"
    ) -> "HelicalSymmetry":
        """From pitch p, subunits per turn n and hand h: twist = 360°·h/n, rise = p/n.

        Raises
        ------
        HelixLabError
            If pitch or n is not positive, or the hand is neither +1 (right) nor −1 (left).

        Examples
        --------
        >>> HelicalSymmetry.from_pitch(23.0, 16.0, -1)
        HelicalSymmetry(twist_deg=-22.5, rise_A=1.4375, point_group='C1')
        """
        if hand not in (1, -1):
            raise HelixLabError(f"hand: found {hand}; write 1 for a right-handed helix, -1 for a left-handed one.")
        if not (math.isfinite(subunits_per_turn) and subunits_per_turn > 0):
            raise HelixLabError(f"subunits_per_turn: found {subunits_per_turn}; it must be a positive number.")
        if not (math.isfinite(pitch_A) and pitch_A > 0):
            raise HelixLabError(f"pitch_A: found {pitch_A}; the pitch is a positive length in Å.")
        return cls(360.0 * hand / subunits_per_turn, pitch_A / subunits_per_turn, point_group)

    # --- other ways to say it -------------------------------------------------------------------

    @property
    def cyclic_order(self) -> int:
        """The n of Cn or Dn."""
        return parse_point_group(self.point_group)[1]

    @property
    def is_dihedral(self) -> bool:
        """Whether a dyad perpendicular to the axis is part of the symmetry."""
        return self.point_group[0] == "D"

    @property
    def pitch_A(self) -> float:
        """Pitch p = 360°·rise/|twist| in Å; infinite for twist 0."""
        return 360.0 * self.rise_A / abs(self.twist_deg) if self.twist_deg else math.inf

    @property
    def subunits_per_turn(self) -> float:
        """n = 360°/|twist|; infinite for twist 0."""
        return 360.0 / abs(self.twist_deg) if self.twist_deg else math.inf

    @property
    def hand(self) -> int:
        """+1 right-handed, −1 left-handed, 0 for twist 0."""
        return int(np.sign(self.twist_deg))

    def canonical(self) -> "HelicalSymmetry":
        """The same symmetry with its twist in (−180°/n, 180°/n]."""
        return HelicalSymmetry(wrap_deg(self.twist_deg, 360.0 / self.cyclic_order), self.rise_A, self.point_group)

    def equivalents(self) -> list["HelicalSymmetry"]:
        """Every description of this symmetry with its twist in (−360°, 360°), the canonical one first.

        Examples
        --------
        >>> [s.twist_deg for s in HelicalSymmetry(197.745, 9.15).equivalents()]
        [-162.255, 197.745]
        """
        period = 360.0 / self.cyclic_order
        first = self.canonical()
        twists = [first.twist_deg + j * period for j in range(-2 * self.cyclic_order, 2 * self.cyclic_order + 1)]
        twists = [t for t in twists if abs(t) < 360.0 - _ANGLE_EPS_DEG]
        twists.sort(key=lambda t: (abs(t - first.twist_deg) > _ANGLE_EPS_DEG, abs(t)))
        return [HelicalSymmetry(t, self.rise_A, self.point_group) for t in twists]

    def mirrored(self) -> "HelicalSymmetry":
        """The symmetry of the mirror image (a map whose hand was flipped): the twist changes its sign."""
        return HelicalSymmetry(-self.twist_deg, self.rise_A, self.point_group)

    def multiple(self, k: int) -> "HelicalSymmetry":
        """The subgroup of every k-th subunit: k × twist, k × rise, same point group; k ≥ 1."""
        if k < 1:
            raise HelixLabError(f"multiple: found k = {k}; it counts subunits and starts at 1.")
        return HelicalSymmetry(wrap_deg(k * self.twist_deg), k * self.rise_A, self.point_group)

    # --- comparison of operator sets ------------------------------------------------------------

    def is_equivalent(
        self,
        other: "HelicalSymmetry",
        *,
        twist_tol_deg: float = _ANGLE_EPS_DEG,
        rise_tol_A: float = _LENGTH_EPS_A,
    ) -> bool:
        """Whether both generate the same operators, within a tolerance on twist (modulo 360°/n) and rise."""
        if self.point_group != other.point_group or abs(self.rise_A - other.rise_A) > rise_tol_A:
            return False
        return abs(wrap_deg(self.twist_deg - other.twist_deg, 360.0 / self.cyclic_order)) <= twist_tol_deg

    def is_subgroup_of(
        self,
        other: "HelicalSymmetry",
        *,
        twist_tol_deg: float = _ANGLE_EPS_DEG,
        rise_tol_A: float = _LENGTH_EPS_A,
    ) -> bool:
        """Whether every operator of this symmetry is one of ``other``'s (equal symmetries are subgroups).

        The tolerances are those of this symmetry's own generator.

        Examples
        --------
        >>> pseudo = HelicalSymmetry(179.64, 2.393)
        >>> HelicalSymmetry(-0.72, 4.786).is_subgroup_of(pseudo, twist_tol_deg=1e-3)
        True
        """
        if self.is_dihedral and not other.is_dihedral:
            return False
        if other.cyclic_order % self.cyclic_order:
            return False
        k = round(self.rise_A / other.rise_A)
        if k < 1 or abs(self.rise_A - k * other.rise_A) > rise_tol_A:
            return False
        return abs(wrap_deg(self.twist_deg - k * other.twist_deg, 360.0 / other.cyclic_order)) <= twist_tol_deg

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HelicalSymmetry):
            return NotImplemented
        return self.is_equivalent(other)

    def __hash__(self) -> int:
        # Only what equality never blurs may enter: equal symmetries must have equal hashes.
        return hash(self.point_group)

    # --- operators ------------------------------------------------------------------------------

    def operators(self, half_length_A: float) -> tuple[Float[np.ndarray, "k 3 3"], Float[np.ndarray, "k 3"]]:
        """All operators that shift by at most ``half_length_A`` (Å, ≥ 0) along z, the identity first.

        Raises
        ------
        HelixLabError
            If the length is negative or not finite.

        Returns
        -------
        rotations : float64 array, shape (k, 3, 3)
            Matrices that act on column vectors (x, y, z).
        shifts_A : float64 array, shape (k, 3)
            Applied after the rotation: x → R x + t.

        Examples
        --------
        >>> rotations, shifts_A = HelicalSymmetry(90.0, 10.0, "C2").operators(10.0)
        >>> len(rotations), sorted(set(shifts_A[:, 2].tolist()))
        (6, [-10.0, 0.0, 10.0])
        """
        if not (math.isfinite(half_length_A) and half_length_A >= 0):
            raise HelixLabError(
                f"half_length_A: found {half_length_A}; it is a length in Å, 0 or more, that bounds the shifts listed."
            )
        count = int(half_length_A / self.rise_A + _LENGTH_EPS_A)
        steps = np.array(sorted(range(-count, count + 1), key=abs), float)
        turns = np.arange(self.cyclic_order) * (360.0 / self.cyclic_order)
        angle_deg = (steps[:, None] * self.twist_deg + turns).ravel()
        rotations = rotation_about_z(angle_deg)
        shifts_A = np.zeros((len(angle_deg), 3))
        shifts_A[:, 2] = np.repeat(steps * self.rise_A, self.cyclic_order)
        if self.is_dihedral:
            rotations = np.concatenate([rotations, rotations @ np.diag([1.0, -1.0, -1.0])])
            shifts_A = np.concatenate([shifts_A, shifts_A])
        return rotations, shifts_A

    # --- construction from strands ----------------------------------------------------------------

    @classmethod
    def from_generators(
        cls,
        *generators: "HelicalSymmetry",
        twist_tol_deg: float = _ANGLE_EPS_DEG,
        rise_tol_A: float = _LENGTH_EPS_A,
    ) -> "HelicalSymmetry":
        """The smallest symmetry that contains all the given ones, in canonical form.

        Lattice vectors read from an unrolled map (say an 11-start and a 16-start helix) become one twist and
        rise; a pure rotation that they generate becomes the Cn. Euclid's algorithm on the screws.

        Parameters
        ----------
        *generators : HelicalSymmetry
            At least one.
        twist_tol_deg, rise_tol_A : float
            Two operators closer than this are one.

        Raises
        ------
        HelixLabError
            If the generators do not close to a discrete symmetry within the tolerance.

        Examples
        --------
        >>> one = HelicalSymmetry(22.03, 1.408)
        >>> HelicalSymmetry.from_generators(one.multiple(16), one.multiple(17)) == one
        True
        """
        if not generators:
            raise HelixLabError("from_generators: found no generator; give at least one screw.")
        order = math.lcm(*(g.cyclic_order for g in generators))
        dihedral = any(g.is_dihedral for g in generators)
        twist, rise = generators[0].twist_deg, generators[0].rise_A
        for other in generators[1:]:
            a, b = (rise, twist), (other.rise_A, other.twist_deg)
            while b[0] > rise_tol_A:
                k = math.floor(a[0] / b[0] + rise_tol_A / b[0])
                a, b = b, (a[0] - k * b[0], a[1] - k * b[1])
            rise, twist = a
            if rise < 10 * rise_tol_A:
                raise HelixLabError(
                    "from_generators: the rises have no common divisor, so that the shifts would become "
                    "infinitely small; check the values or widen rise_tol_A."
                )
            order = _with_rotation(order, wrap_deg(b[1]), twist_tol_deg)
        return cls(twist, rise, f"{'D' if dihedral else 'C'}{order}").canonical()

    def one_start_reductions(self, n_start: int) -> list["HelicalSymmetry"]:
        """The symmetries in which this screw is the step along one of ``n_start`` equal strands.

        Strands related by rotation make a ring: (twist, rise, Cn), listed first. Strands staggered along the axis
        (He & Scheres 2017) make one strand of twist (twist + 360°·m)/n and rise/n. Where n is composite the two
        mix: rings of c strands, n/c of them staggered. Every whole m that gives another symmetry is listed; m = 0
        lays the strands over one another.

        Raises
        ------
        HelixLabError
            If ``n_start`` is less than 1.

        Examples
        --------
        >>> [round(s.twist_deg, 2) for s in HelicalSymmetry(-1.2, 4.8).one_start_reductions(2)]
        [-1.2, -0.6, 179.4]
        """
        if n_start < 1:
            raise HelixLabError(f"n_start: found {n_start}; it counts strands and starts at 1.")
        found = []
        for ring in (c for c in range(n_start, 0, -1) if n_start % c == 0):
            staggered = n_start // ring
            order = self.cyclic_order * ring
            for m in range(staggered):
                twist_deg = (self.twist_deg + m * 360.0 / order) / staggered
                point_group = f"{self.point_group[0]}{order}"
                found.append(HelicalSymmetry(twist_deg, self.rise_A / staggered, point_group).canonical())
        return found

    def __str__(self) -> str:
        return f"twist {self.twist_deg:.3f}°, rise {self.rise_A:.3f} Å, {self.point_group}"


def rotation_about_z(angle_deg: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k 3 3"]:
    """Right-handed rotations about +z that act on column vectors (x, y, z)."""
    theta_rad = np.deg2rad(angle_deg)
    cos, sin = np.cos(theta_rad), np.sin(theta_rad)
    zero, one = np.zeros_like(cos), np.ones_like(cos)
    rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]
    return np.moveaxis(np.array(rows), 2, 0)


def _with_rotation(order: int, angle_deg: float, tol_deg: float) -> int:
    """The order of the cyclic group generated by C``order`` and a rotation by ``angle_deg``."""
    if abs(wrap_deg(angle_deg, 360.0 / order)) <= tol_deg:
        return order
    for n in range(2, 361):
        if abs(wrap_deg(n * angle_deg)) <= n * tol_deg:
            return math.lcm(order, n)
    raise HelixLabError(
        f"from_generators: they generate a rotation by {angle_deg:.4f}°, which is no whole fraction of a turn; "
        "check the values or widen twist_tol_deg."
    )
