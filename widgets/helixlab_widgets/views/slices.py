"""Sections and projections of a map from its three sides, before and after it was symmetrised."""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from jaxtyping import UInt8

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab_widgets.arrays import Array
from helixlab_widgets.base import Canvas, View
from helixlab_widgets.colors import COLOUR_MAPS, colour_table
from helixlab_widgets.export import figure_bytes
from helixlab_widgets.views.slice_planes import (
    AXES,
    MOST_PX,
    PLANES,
    Plane,
    box_of,
    cut_plane,
    draw_plane,
    is_inside,
    reduced_plane,
    settled_limits,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from helixlab.kernels.symmetrize import Sections

KINDS = ("section", "projection")
COMPARISONS = ("before", "after", "difference", "side by side")

DIFFERENCE_MAP = "coolwarm"
"""Blue below 0, red above, light grey at 0: reads on a light and on a dark page."""

_HELP = """Three planes of the map, seen along x, along y, and along the helical axis z; protein is bright. The lines \
of the cross-hair show where the other two planes cut.
Click or drag in a plane to move the cross-hair. With the keyboard: 1, 2, 3 choose a plane, the arrow keys move by a \
voxel, Page Up and Page Down step through the planes, Shift makes it ten, Home goes to the centre. After a click the \
mouse wheel steps through the planes, too.
Before and after: a right symmetry sharpens what is there. Where "after" blurs a feature, or the difference (red: \
gained, blue: lost) shows the shape of the molecule and not noise, the symmetry is wrong. The difference's colours \
span half the contrast to either side. Set the contrast with the two handles on the histogram."""


class SliceCanvas(Canvas, script=("contrast.js", "slice_panels.js", "slices.js")):
    """Draws the planes; contrast, colours, difference and cross-hair are made in the browser."""

    before_zy = Array(ndim=2, help="The plane across x: rows z, columns y.")
    before_zx = Array(ndim=2, help="The plane across y: rows z, columns x.")
    before_yx = Array(ndim=2, help="The plane across z: rows y, columns x.")
    after_zy = Array(ndim=2, help="As before_zy, of the symmetrised map; None if there is none.")
    after_zx = Array(ndim=2, help="As before_zx, of the symmetrised map.")
    after_yx = Array(ndim=2, help="As before_yx, of the symmetrised map.")
    shape = traitlets.Tuple((0, 0, 0), help="The box's voxels (nz, ny, nx); zeros if there is no map.").tag(sync=True)
    reduction = traitlets.Int(1, help="Voxels along the side of a square that is averaged to one pixel.").tag(sync=True)
    pixel_size_A = traitlets.Float(1.0, help="Edge of a voxel, Å.").tag(sync=True)
    at_px = traitlets.Tuple(
        traitlets.Int(),
        traitlets.Int(),
        traitlets.Int(),
        default_value=None,
        allow_none=True,
        help="Voxel (z, y, x) of the cross-hair; None for the box's centre.",
    ).tag(sync=True)
    kind = traitlets.Enum(KINDS, "section", help="One plane of voxels, or the sum over all.").tag(sync=True)
    comparison = traitlets.Enum(COMPARISONS, "before", help="Which maps are shown.").tag(sync=True)
    colour_map = traitlets.Enum(COLOUR_MAPS, "gray", help="Colours of the density.").tag(sync=True)
    low = traitlets.Float(None, allow_none=True, help="Density of the darkest colour; None for auto.").tag(sync=True)
    high = traitlets.Float(None, allow_none=True, help="Density of the brightest colour; None for auto.").tag(sync=True)
    auto_limits = traitlets.Tuple((0.0, 0.0), help="What auto stands for, from the map before.").tag(sync=True)
    colour_maps = traitlets.List(list(COLOUR_MAPS), help="Names of all tables but the last.").tag(sync=True)
    colour_tables = Array(ndim=3, dtype="uint8", help="256 RGB triples of each map, and of the difference's.")


class SliceView(View):
    """Orthogonal sections or projections of a map; with a second map, also what changed.

    Parameters
    ----------
    volume : Volume, optional
        Without it, :meth:`show` or :meth:`show_planes` gives the view something to show.
    after : Volume, optional
        On the same grid, e.g. the symmetrised map.
    kind : "section" or "projection"
    at_px : (z, y, x), optional
        The voxel through which the sections go; by default the box's centre.
    comparison : "before", "after", "difference" or "side by side"
        Of use with a second map.
    colour_map : str
        One of :data:`helixlab_widgets.colors.COLOUR_MAPS`.

    Raises
    ------
    HelixLabError
        If the maps' boxes differ, or ``at_px`` lies outside.
    traitlets.TraitError
        If a choice is none of those above.

    Examples
    --------
    >>> volume = Volume(np.random.default_rng(0).normal(size=(8, 9, 10)), 2.0)
    >>> view = SliceView(volume, after=volume.with_data(-volume.data), comparison="side by side")
    >>> view.at_px = (0, 4, 5)
    >>> bool((view.canvas.after_yx == -volume.data[0]).all())
    True
    >>> view.close()
    """

    at_px = traitlets.Tuple(
        traitlets.Int(),
        traitlets.Int(),
        traitlets.Int(),
        default_value=None,
        allow_none=True,
        help="Voxel (z, y, x) of the cross-hair; None for the box's centre.",
    )
    kind = traitlets.Enum(KINDS, "section", help="One plane of voxels, or the sum over all.")
    comparison = traitlets.Enum(COMPARISONS, "before", help="Which maps are shown, if there are two.")
    colour_map = traitlets.Enum(COLOUR_MAPS, "gray", help="Colours of the density.")
    low = traitlets.Float(None, allow_none=True, help="Density of the darkest colour; None for auto.")
    high = traitlets.Float(None, allow_none=True, help="Density of the brightest colour; None for auto.")
    pixel_size_A = traitlets.Float(1.0, help="Edge of a voxel, Å; a given map's own.")

    def __init__(
        self,
        volume: Volume | None = None,
        *,
        after: Volume | None = None,
        kind: str = "section",
        at_px: tuple[int, int, int] | None = None,
        comparison: str = "before",
        colour_map: str = "gray",
    ) -> None:
        self.canvas = SliceCanvas(colour_tables=_colour_tables())
        super().__init__([self.canvas], title="Slices", help_text=_HELP, name="slices")
        self._volumes: dict[str, Volume] = {}
        self.share(self.canvas, *_SHARED)
        self.watch(self, self._on_kind, "kind")
        self.watch(self, self._on_place, "at_px")
        self.kind, self.comparison, self.colour_map = kind, comparison, colour_map
        if volume is not None:
            self.show(volume, after)
        elif after is not None:
            raise HelixLabError("after: found a map, but none before it; give both.")
        self.at_px = at_px

    @traitlets.validate("at_px")
    def _check_place(self, proposal: dict[str, Any]) -> tuple[int, int, int] | None:
        place, shape = proposal["value"], self.canvas.shape
        if place is not None and any(shape) and not is_inside(place, shape):
            raise HelixLabError(f"at_px: found {place}; the box has {shape} voxels (z, y, x), counted from 0.")
        return place

    # --- what is shown ------------------------------------------------------------------------------

    @property
    def place_px(self) -> tuple[int, int, int]:
        """The cross-hair's voxel (z, y, x); the box's centre if ``at_px`` is None."""
        z, y, x = self.at_px or (n // 2 for n in self.canvas.shape)
        return z, y, x

    def show(self, volume: Volume, after: Volume | None = None) -> None:
        """Show a map, or two on the same grid; the planes follow the cross-hair.

        Raises
        ------
        HelixLabError
            If the maps' boxes differ.
        """
        if after is not None and after.shape != volume.shape:
            raise HelixLabError(
                f"after: found a box of {after.shape} voxels, and {volume.shape} before; they are equal."
            )
        with self.canvas.hold_sync():
            self._fit(volume.shape)
            self._volumes = {"before": volume} if after is None else {"before": volume, "after": after}
            self.pixel_size_A = volume.pixel_size_A
            if after is None:
                self._put("after", dict.fromkeys(PLANES))
            self._cut()

    def show_planes(self, before: "Sections | None", after: "Sections | None") -> None:
        """Show planes that were cut elsewhere; what is None stays as it is.

        From then on a change of ``at_px`` or ``kind`` is only reported: who gave the planes gives the next ones. May
        be called by a thread of its own. ``pixel_size_A`` has to be set once.

        Parameters
        ----------
        before, after : Sections or None
            The planes across x, y and z of the map, and of the symmetrised map.

        Raises
        ------
        HelixLabError
            If the planes do not belong to one box.
        """
        shape = self.canvas.shape if before is None else box_of(before)
        if after is not None and box_of(after) != shape:
            raise HelixLabError(
                f"after: found planes of a box of {box_of(after)} voxels, and {shape} before; they are equal."
            )
        with self.canvas.hold_sync():
            self._fit(shape)
            for state, planes in (("before", before), ("after", after)):
                if planes is not None:
                    self._put(state, planes._asdict())

    def _fit(self, shape: tuple[int, int, int]) -> None:
        """Make ready for planes of this box; what was shown of another one goes."""
        self._volumes = {}
        if shape == self.canvas.shape:
            return
        if self.at_px is not None and not is_inside(self.at_px, shape):
            self.at_px = None
        self._put("after", dict.fromkeys(PLANES))
        self.canvas.shape, self.canvas.reduction = shape, -(-max(shape) // MOST_PX)

    def _cut(self, names: Iterable[str] = tuple(PLANES)) -> None:
        """Show these planes of the maps."""
        place = self.place_px
        normals = {name: PLANES[name][2] for name in names}
        for state, volume in self._volumes.items():
            self._put(state, {name: cut_plane(volume, n, place[n], self.kind) for name, n in normals.items()})

    def _put(self, state: str, planes: dict[str, Any]) -> None:
        canvas = self.canvas
        for name, plane in planes.items():
            setattr(canvas, f"{state}_{name}", None if plane is None else reduced_plane(plane, canvas.reduction))
        if state == "before":
            shown = [getattr(canvas, f"before_{name}").ravel() for name in PLANES]
            canvas.auto_limits = settled_limits(np.concatenate(shown), canvas.auto_limits)

    # --- what the user does -------------------------------------------------------------------------

    def _on_kind(self, _change: object) -> None:
        # Limits set by hand for a section mean nothing for a sum, and the other way round.
        self.low = self.high = None
        with self.canvas.hold_sync():
            self._cut()

    def _on_place(self, change: dict[str, Any]) -> None:
        if not self._volumes or self.kind != "section":
            return
        centre = tuple(n // 2 for n in self.canvas.shape)
        old, new = (place or centre for place in (change["old"], change["new"]))
        with self.canvas.hold_sync():
            self._cut(name for name, (*_, normal) in PLANES.items() if old[normal] != new[normal])

    # --- export -------------------------------------------------------------------------------------

    def draw(self, figure: "Figure") -> None:
        """Draw the planes that are shown into a matplotlib figure: a row per map, axes in Å from the axis."""
        canvas = self.canvas
        _, ny, nx = canvas.shape
        states = self._states()
        grid = figure.subplots(len(states), 3, squeeze=False, width_ratios=[ny, nx, nx])
        box: dict[str, Any] = {"shape": canvas.shape, "pixel_size_A": self.pixel_size_A, "reduction": canvas.reduction}
        for state, row in zip(states, grid, strict=True):
            for name, axes in zip(PLANES, row, strict=True):
                draw_plane(axes, name, self._displayed(state, name), **box, **self._colouring(state))
                axes.set_title(self._where(PLANES[name][2]))
            label = "Density, after − before" if state == "difference" else f"Density, {state}"
            figure.colorbar(row[-1].images[0], ax=list(row), label=label, shrink=0.8, pad=0.01)

    def to_png(self) -> bytes:
        """The planes that are shown, as a PNG picture."""
        return figure_bytes(self.draw, file_format="png", size_in=self._size_in())

    def to_svg(self) -> str:
        """The planes that are shown, as SVG."""
        return figure_bytes(self.draw, file_format="svg", size_in=self._size_in()).decode()

    def _states(self) -> tuple[str, ...]:
        if self.canvas.after_yx is None:
            return ("before",)
        return COMPARISONS[:3] if self.comparison == "side by side" else (self.comparison,)

    def _colouring(self, state: str) -> dict[str, Any]:
        """As the browser does it."""
        low, high = (
            auto if own is None else own
            for own, auto in zip((self.low, self.high), self.canvas.auto_limits, strict=True)
        )
        if state == "difference":
            return {"cmap": DIFFERENCE_MAP, "vmin": -(high - low) / 2, "vmax": (high - low) / 2}
        return {"cmap": self.colour_map, "vmin": low, "vmax": high}

    def _where(self, normal: int) -> str:
        if self.kind == "projection":
            return f"summed along {AXES[normal]}"
        at_A = (self.place_px[normal] - self.canvas.shape[normal] // 2) * self.pixel_size_A
        return f"{AXES[normal]} = {at_A:.1f} Å"

    def _displayed(self, state: str, name: str) -> Plane:
        if state == "difference":
            return self._displayed("after", name) - self._displayed("before", name)
        return getattr(self.canvas, f"{state}_{name}")

    def _size_in(self) -> tuple[float, float]:
        """As wide as a page's text; high enough that the width decides the scale, which all panels then share."""
        if not any(self.canvas.shape):
            raise HelixLabError("slices: found nothing to draw; show a map first.")
        nz, ny, nx = self.canvas.shape
        return 7.0, len(self._states()) * (0.65 + 4.8 * max(nz, ny) / (ny + 2 * nx))


_SHARED = ("at_px", "kind", "comparison", "colour_map", "low", "high", "pixel_size_A")
"""Traits of the view that its canvas has, too."""


@cache
def _colour_tables() -> UInt8[np.ndarray, "maps 256 3"]:
    from matplotlib import colormaps

    maps = [*map(colour_table, COLOUR_MAPS), colormaps[DIFFERENCE_MAP]]
    return np.stack([table(np.arange(256), bytes=True)[:, :3] for table in maps])
