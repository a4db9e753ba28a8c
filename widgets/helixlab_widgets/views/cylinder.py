"""The unrolled cylinder with the lattice of the current symmetry on it, which can be dragged."""

from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from jaxtyping import Float

from helixlab.explore import FilamentMap
from helixlab.geometry import HelicalSymmetry, Volume, indexed_lattice, symmetry_through
from helixlab.search import UnrolledMap
from helixlab_widgets.colors import MARKER
from helixlab_widgets.views.planes import PlaneCanvas, PlaneView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPARISONS = ("before", "after")

_HELP = """The filament's wall laid flat, seen from outside: the angle around the axis to the right, the height \
upwards. The subunits of a right-handed helix climb to the right.
The points are where the current twist and rise put copies of the origin (the ring, k = 0); k counts subunits along \
the line through them, the one-start helix. Put the origin on a density: if the symmetry is right, every point lies \
on an equal density, all over the picture. The farther a point is from the origin, the finer it tells.
Mouse: drag a point to where it belongs, and twist and rise follow; drag the origin, or anything with Alt or Shift \
held, to move the whole lattice.
Keyboard, after a click or Tab: + and − choose a point, the arrow keys move it by 0.1° or 0.1 Å, with Shift by 1; \
0 chooses the origin.
Radius: where the wall is cut; thickness: how much of it is averaged there, which lowers the noise."""


class CylinderCanvas(PlaneCanvas, script=("plane.js", "cylinder.js")):
    """φ against z; a row of ``marks`` is k, turn, φ (degrees) and z (Å)."""

    origin = traitlets.List([0.0, 0.0], help="Where the lattice's point k = 0 lies: φ in degrees, z in Å.").tag(
        sync=True
    )
    step = traitlets.List([0.0, 0.0], help="Twist and rise: the way from one point of a one-start helix on.").tag(
        sync=True
    )
    cyclic_order = traitlets.Int(1, help="How many one-start helices there are.").tag(sync=True)
    radius_A = traitlets.Float(None, allow_none=True, help="Radius shown, Å; None for the whole wall.").tag(sync=True)
    thickness_A = traitlets.Float(0.0, help="Range of radii averaged, Å.").tag(sync=True)
    shown_radius_A = traitlets.Float(0.0, help="Mean radius of the picture shown, Å.").tag(sync=True)
    max_radius_A = traitlets.Float(100.0, help="Where the slider of the radius ends, Å.").tag(sync=True)
    can_unroll = traitlets.Bool(True, help="Whether there is a map to be cut at another radius.").tag(sync=True)


class CylinderView(PlaneView):
    """The unrolled cylinder (φ, z) with a lattice on it whose points set twist and rise.

    Parameters
    ----------
    source : Volume or UnrolledMap, optional
        A map, which the view unrolls itself as the radius changes, or a picture, whose radius stays. With neither a
        change of the radius is only reported, and :meth:`show_picture` shows what comes of it.
    symmetry : HelicalSymmetry, optional
        Whose lattice is drawn.
    radius_A : float, optional
        Radius of the cylinder, Å; by default the mean over the filament's wall.
    thickness_A : float
        Range of radii averaged around it, Å.
    max_radius_A : float, optional
        Where the slider of the radius ends; by default the box of the map, or 100 Å.
    colour_map : str

    Examples
    --------
    >>> z_A, phi_deg = np.linspace(-20.0, 20.0, 5), np.arange(-180.0, 180.0, 45.0)
    >>> flat = UnrolledMap(np.zeros((5, 8), np.float32), z_A, phi_deg, radius_A=30.0, thickness_A=0.0)
    >>> view = CylinderView(flat, symmetry=HelicalSymmetry(30.0, 5.0))
    >>> view.canvas.drag = {"id": 1, "k": 2, "turn": 0, "phi_deg": 62.0, "z_A": 11.0}
    >>> view.twist_deg, view.rise_A
    (31.0, 5.5)
    """

    comparison = traitlets.Enum(COMPARISONS, "before", help="Which picture: of the map, or of the symmetrised map.")
    origin = traitlets.List([0.0, 0.0], help="Where the lattice's point k = 0 lies: φ in degrees, z in Å.")
    radius_A = traitlets.Float(None, allow_none=True, help="Radius shown, Å; None for the mean over the wall.")
    thickness_A = traitlets.Float(0.0, help="Range of radii averaged around the radius, Å, 0 or more.")
    max_radius_A = traitlets.Float(100.0, help="Where the slider of the radius ends, Å.")

    def __init__(
        self,
        source: Volume | UnrolledMap | None = None,
        *,
        symmetry: HelicalSymmetry | None = None,
        radius_A: float | None = None,
        thickness_A: float = 0.0,
        max_radius_A: float | None = None,
        colour_map: str = "gray",
    ) -> None:
        super().__init__(
            CylinderCanvas(can_unroll=not isinstance(source, UnrolledMap)),
            shared=("origin", "radius_A", "thickness_A", "max_radius_A"),
            symmetry=symmetry,
            colour_map=colour_map,
            title="Unrolled cylinder",
            help_text=_HELP,
            name="cylinder",
        )
        self.watch(self, self._show_marks, "origin")
        self.radius_A, self.thickness_A = radius_A, thickness_A
        if isinstance(source, Volume):
            self._map = FilamentMap(source)
            self._worker = self.add_worker("cylinder")
            # The farthest that still has a voxel on either side.
            max_radius_A = max_radius_A or (min(source.shape[1:]) / 2 - 1) * source.pixel_size_A
            self.watch(self, self._unroll, "radius_A", "thickness_A")
            self._unroll()
        elif source is not None:
            self.show_picture(source)
        if max_radius_A is not None:
            self.max_radius_A = max_radius_A

    def show_picture(self, before: UnrolledMap, after: UnrolledMap | None = None) -> None:
        """Show another picture of the map, and of the symmetrised map on the same grid."""
        step_deg = before.phi_deg[1] - before.phi_deg[0]
        half_A = (before.z_A[1] - before.z_A[0]) / 2
        half_wall_A = before.thickness_A / 2
        canvas = self.canvas
        with canvas.hold_sync():
            canvas.shown_radius_A = before.radius_A
            canvas.caption = (
                f"Mean over radii {before.radius_A - half_wall_A:.1f} to {before.radius_A + half_wall_A:.1f} Å"
                if half_wall_A
                else f"Radius {before.radius_A:.1f} Å"
            )
            self._show_pictures(
                before.density,
                None if after is None else after.density,
                (float(before.phi_deg[0] - step_deg / 2), float(before.phi_deg[-1] + step_deg / 2)),
                (float(before.z_A[0] - half_A), float(before.z_A[-1] + half_A)),
            )

    def _unroll(self, _change: object = None) -> None:
        radius_A, thickness_A = self.radius_A, self.thickness_A
        self._worker.submit(
            lambda _ticket: self._map.unrolled(radius_A, thickness_A=thickness_A),
            self.show_picture,
        )

    # --- the lattice -------------------------------------------------------------------------------------

    def marks_of(self, symmetry: HelicalSymmetry) -> Float[np.ndarray, "p 4"]:
        """The lattice's points: k, turn, φ and z."""
        phi_deg, z_A = self.origin
        low_A, high_A = self.canvas.y_edges
        lattice = indexed_lattice(symmetry, (low_A, high_A), phi_deg=phi_deg, z_A=z_A)
        return np.stack([lattice.k, lattice.turn, lattice.phi_deg, lattice.z_A], axis=1)

    def symmetry_after(self, symmetry: HelicalSymmetry, drag: dict[str, Any]) -> HelicalSymmetry:
        """The symmetry whose point lies where it was dragged to."""
        phi_deg, z_A = (float(drag[name]) - at for name, at in zip(("phi_deg", "z_A"), self.origin, strict=True))
        return symmetry_through(symmetry, int(drag["k"]), int(drag["turn"]), phi_deg, z_A)

    def _marks_depend_on(self) -> tuple[object, ...]:
        return (*super()._marks_depend_on(), *self.origin)

    def _show_symmetry(self, symmetry: HelicalSymmetry | None) -> None:
        canvas = self.canvas
        canvas.step = [symmetry.twist_deg, symmetry.rise_A] if symmetry else [0.0, 0.0]
        canvas.cyclic_order = symmetry.cyclic_order if symmetry else 1

    # --- files -------------------------------------------------------------------------------------------

    def draw(self, figure: "Figure") -> None:
        """The picture shown and the lattice on it."""
        canvas, symmetry = self.canvas, self.symmetry
        axes = figure.add_subplot()
        is_after = self.comparison == "after" and canvas.after is not None
        for turn_deg in (0.0, 360.0):  # the first column's left half belongs to the right end
            self._draw_picture(axes, canvas.after if is_after else canvas.before, shift=turn_deg)
        if symmetry is not None:
            _, _, phi_deg, z_A = self.marks_of(symmetry).T
            axes.scatter(phi_deg, z_A, s=12, facecolors="none", edgecolors=MARKER, linewidths=0.8)
            axes.scatter(*self.origin, s=40, facecolors="none", edgecolors=MARKER, linewidths=1.4)
        title = f"{canvas.caption}{', symmetrised' if is_after else ''}"
        axes.set(xlabel="φ (°)", ylabel="z (Å)", xticks=np.arange(-180, 181, 60), xlim=(-180, 180))
        axes.set_title(f"{title}\n{symmetry}" if symmetry else title)
        if canvas.shown_radius_A:
            arc = axes.secondary_xaxis("top", functions=(self._arc_A, self._angle_deg))
            arc.set_xlabel(f"arc at {canvas.shown_radius_A:.1f} Å (Å)")

    def _arc_A(self, phi_deg: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        return np.deg2rad(phi_deg) * self.canvas.shown_radius_A

    def _angle_deg(self, arc_A: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        return np.rad2deg(arc_A / self.canvas.shown_radius_A)
