"""Where the scores of a landscape come from, and the two ways to lay out its plane."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float

from helixlab.geometry import HelicalSymmetry
from helixlab.search import Landscape, search_axes
from helixlab_widgets.views.score_plane import MAX_CELLS, ScorePlane

if TYPE_CHECKING:
    from helixlab.explore import FilamentMap

Range = tuple[float, float]
Curve = tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]

TWIST_RISE = "twist, rise"
PITCH_SUBUNITS = "pitch, subunits"
BASES = (TWIST_RISE, PITCH_SUBUNITS)

_PITCH_PLANE_CELLS = (2 * MAX_CELLS[0], 4 * MAX_CELLS[1])
"""Points along subunits per turn and pitch: as many as a whole plane of twist and rise has."""


@dataclass(frozen=True)
class PlaneRequest:
    """A plane that is wanted.

    Parameters
    ----------
    basis : str
        One of :data:`BASES`.
    x_range, y_range : (low, high) or None
        Twist (degrees) and rise (Å), or subunits per turn and pitch (Å); None for all that is sensible.
    hand : int
        Of the plane of pitch and subunits: 1 right, −1 left.
    point_group : str
        Scores are averaged over the turns of its Cn.
    """

    basis: str = TWIST_RISE
    x_range: Range | None = None
    y_range: Range | None = None
    hand: int = 1
    point_group: str = "C1"

    @property
    def labels(self) -> tuple[str, str]:
        """Of the x and the y axis."""
        return ("Twist (°)", "Rise (Å)") if self.basis == TWIST_RISE else ("Subunits per turn", "Pitch (Å)")

    def place(self, symmetry: HelicalSymmetry) -> tuple[float, float]:
        """Where a symmetry lies, as it is described."""
        if self.basis == TWIST_RISE:
            return symmetry.twist_deg, symmetry.rise_A
        return symmetry.subunits_per_turn, symmetry.pitch_A

    def places(self, symmetry: HelicalSymmetry) -> list[tuple[float, float]]:
        """Where it lies in all its descriptions."""
        others = [s for s in symmetry.equivalents() if abs(s.twist_deg - symmetry.twist_deg) > 1e-6]
        return [self.place(s) for s in (symmetry, *others) if self.basis == TWIST_RISE or s.hand == self.hand]

    def screw(self, x: float, y: float) -> tuple[float, float]:
        """Twist and rise at a place."""
        if self.basis == TWIST_RISE:
            return x, y
        symmetry = HelicalSymmetry.from_pitch(y, x, self.hand)
        return symmetry.twist_deg, symmetry.rise_A


class PlaneSource(Protocol):
    """What gives planes and cuts."""

    bases: tuple[str, ...]
    is_quick: bool
    """Whether a plane takes no longer than a click may."""

    def plane(self, request: PlaneRequest) -> ScorePlane:
        """The scores of the wanted plane."""
        ...

    def cuts(self, symmetry: HelicalSymmetry, half_widths: tuple[float, float]) -> tuple[Curve, Curve]:
        """Score along twist and along rise through a symmetry, so far (degrees, Å) to either side."""
        ...


class GridSource:
    """A landscape that was computed before: its grid points are all there is."""

    bases: tuple[str, ...] = (TWIST_RISE,)
    is_quick = True

    def __init__(self, landscape: Landscape) -> None:
        self._whole = ScorePlane(landscape.twist_deg, landscape.rise_A, landscape.score)

    def plane(self, request: PlaneRequest) -> ScorePlane:
        """The part of the grid that was asked for."""
        if request.x_range is None and request.y_range is None:
            return self._whole
        return self._whole.part(request.x_range or self._whole.x_range, request.y_range or self._whole.y_range)

    def cuts(self, symmetry: HelicalSymmetry, half_widths: tuple[float, float]) -> tuple[Curve, Curve]:
        """The row and the column of grid points nearest to the symmetry."""
        plane = self._whole
        # Beyond ±180° the plane begins again.
        twist_off = (plane.x - symmetry.twist_deg + 180.0) % 360.0 - 180.0
        t = int(np.argmin(np.abs(twist_off)))
        r = int(np.argmin(np.abs(plane.y - symmetry.rise_A)))
        order = np.argsort(twist_off)
        order = order[np.abs(twist_off[order] - twist_off[t]) <= half_widths[0]]
        near_r = np.abs(plane.y - plane.y[r]) <= half_widths[1]
        return (symmetry.twist_deg + twist_off[order], plane.score[order, r]), (plane.y[near_r], plane.score[t, near_r])


class MapSource:
    """A map: every window is scored anew, in the cells that are shown."""

    bases: tuple[str, ...] = BASES
    is_quick = False

    def __init__(self, filament_map: "FilamentMap", whole: Landscape | None = None) -> None:
        self._map = filament_map
        self._whole = whole

    def plane(self, request: PlaneRequest) -> ScorePlane:
        """The scores of the wanted window, in steps fine enough that no peak falls between."""
        if request.basis == TWIST_RISE:
            return self._twist_plane(request)
        x_range, y_range = request.x_range or (1.0, 40.0), request.y_range or (5.0, 200.0)
        is_whole = request.x_range is None or request.y_range is None
        n, pitch = _PITCH_PLANE_CELLS if is_whole else MAX_CELLS
        plane = self._map.pitch_landscape(
            y_range, x_range, hand=request.hand, shape=(pitch, n), point_group=request.point_group
        )
        return ScorePlane(plane.subunits_per_turn, plane.pitch_A, plane.score.T)

    def _twist_plane(self, request: PlaneRequest) -> ScorePlane:
        if self._whole is not None and request == PlaneRequest(hand=request.hand):
            return ScorePlane(self._whole.twist_deg, self._whole.rise_A, self._whole.score)
        twist_deg, rise_A = search_axes(
            self._map.filament,
            request.x_range or self._map.settings.twist_range_deg,
            request.y_range or self._map.settings.rise_range_A,
        )
        # Whole multiples of the cells shown: few shapes, few compilations.
        n_twist, n_rise = (
            math.ceil(len(axis) / cells) * cells for axis, cells in zip((twist_deg, rise_A), MAX_CELLS, strict=True)
        )
        plane = self._map.landscape(
            request.x_range or self._map.settings.twist_range_deg,
            (float(rise_A[0]), float(rise_A[-1])),
            shape=(n_twist, n_rise),
            point_group=request.point_group,
        )
        return ScorePlane(plane.twist_deg, plane.rise_A, plane.score)

    def cuts(self, symmetry: HelicalSymmetry, half_widths: tuple[float, float]) -> tuple[Curve, Curve]:
        """Scored along both lines."""
        twist, rise = half_widths
        cuts = self._map.cuts(symmetry, twist_half_width_deg=twist, rise_half_width_A=rise)
        return (cuts.twist_deg, cuts.twist_score), (cuts.rise_A, cuts.rise_score)
