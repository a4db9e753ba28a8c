"""What the unrolled cylinder and the power spectrum share: a picture under axes, with marks that set the symmetry."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from jaxtyping import Float

from helixlab.geometry import HelicalSymmetry
from helixlab_widgets.arrays import Array
from helixlab_widgets.base import Canvas, View
from helixlab_widgets.colors import COLOUR_MAPS, colour_table
from helixlab_widgets.export import figure_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Edges = tuple[float, float]


class PlaneCanvas(Canvas):
    """Two pictures of one plane, their colours, and marks that can be dragged."""

    before = Array(ndim=2, help="Picture of the map, (y, x), the first row at the bottom.")
    after = Array(ndim=2, help="The same of the symmetrised map; None if there is none.")
    x_edges = traitlets.List([0.0, 1.0], help="Values at the pictures' left and right edge.").tag(sync=True)
    y_edges = traitlets.List([0.0, 1.0], help="Values at the pictures' lower and upper edge.").tag(sync=True)
    low = traitlets.Float(0.0, help="The value at the colour map's dark end.").tag(sync=True)
    high = traitlets.Float(1.0, help="The value at the colour map's bright end.").tag(sync=True)
    table = Array(ndim=2, dtype="uint8", help="256 RGB triples: the colour map.")
    colour_map = traitlets.Enum(COLOUR_MAPS, "gray", help="The colour map's name.").tag(sync=True)
    colour_maps = traitlets.List(list(COLOUR_MAPS), help="The names to choose from.").tag(sync=True)
    comparison = traitlets.Unicode("before", help="Which of the pictures is shown.").tag(sync=True)
    marks = Array(ndim=2, help="A row for each mark that the symmetry predicts.")
    caption = traitlets.Unicode(help="What the picture is, in words.").tag(sync=True)
    drag = traitlets.Dict(
        help="The mark the user moves and where to; `id` tells one drag from the next. A trait, not a message: the "
        "browser sends the newest value when Python has dealt with the last."
    ).tag(sync=True)


class PlaneView(View):
    """A card with one :class:`PlaneCanvas`; subclasses say what the marks are and what moving one means.

    Parameters
    ----------
    canvas : PlaneCanvas
    shared : sequence of str
        Traits that view and canvas have in common, beside those of this class.
    symmetry : HelicalSymmetry or None
    colour_map : str
    **heading
        Of the :class:`View`.
    """

    twist_deg = traitlets.Float(0.0, help="Of the symmetry whose marks are shown, degrees, right-handed positive.")
    rise_A = traitlets.Float(0.0, help="Of the same, Å; 0 for no symmetry and no marks.")
    point_group = traitlets.Unicode("C1", help="Of the same: Cn or Dn.")
    colour_map = traitlets.Enum(COLOUR_MAPS, "gray", help="The picture's colour map.")
    percentiles = (1.0, 99.7)
    """Of the map's picture: the values at the colour map's ends, for both pictures."""
    size_in = (6.0, 4.0)
    """Of the exported figure."""

    def __init__(
        self,
        canvas: PlaneCanvas,
        *,
        shared: tuple[str, ...],
        symmetry: HelicalSymmetry | None,
        colour_map: str,
        **heading: str,
    ) -> None:
        self.canvas = canvas
        self._before_given: object = None
        self._marks_shown: object = None
        self._dragged: tuple[object, HelicalSymmetry] | None = None
        super().__init__([canvas], **heading)
        self.watch(self, self._show_colours, "colour_map")
        self.watch(self, self._show_marks, "twist_deg", "rise_A", "point_group")
        self.watch(canvas, self._on_drag, "drag")
        self.share(canvas, "colour_map", "comparison", *shared)
        self.colour_map = colour_map
        self._show_colours()
        if symmetry is not None:
            self.symmetry = symmetry

    # --- the symmetry ------------------------------------------------------------------------------------

    @property
    def symmetry(self) -> HelicalSymmetry | None:
        """The symmetry whose marks are shown: the traits ``twist_deg``, ``rise_A`` and ``point_group`` as one."""
        return HelicalSymmetry(self.twist_deg, self.rise_A, self.point_group) if self.rise_A else None

    @symmetry.setter
    def symmetry(self, symmetry: HelicalSymmetry) -> None:
        with self.hold_trait_notifications():
            self.twist_deg, self.rise_A = symmetry.twist_deg, symmetry.rise_A
            self.point_group = symmetry.point_group

    @abstractmethod
    def marks_of(self, symmetry: HelicalSymmetry) -> Float[np.ndarray, "p columns"]:
        """Where the symmetry's marks lie, as the canvas wants them."""

    @abstractmethod
    def symmetry_after(self, symmetry: HelicalSymmetry, drag: dict[str, Any]) -> HelicalSymmetry:
        """The symmetry in which the dragged mark lies where it was dragged to."""

    def _on_drag(self, _change: object) -> None:
        drag, symmetry = self.canvas.drag, self.symmetry
        if symmetry is None or not drag:
            return
        # A drag goes on from its own last step: whoever follows may have written the symmetry another way meanwhile,
        # in which the marks have other indices.
        if self._dragged is not None and self._dragged[0] == drag["id"]:
            symmetry = self._dragged[1]
        moved = self.symmetry_after(symmetry, drag)
        self._dragged = (drag["id"], moved)
        self.symmetry = moved

    def _show_marks(self, _change: object = None) -> None:
        with self.canvas.hold_sync():  # what is sent last is then also what was read last
            symmetry = self.symmetry
            state = (self.twist_deg, self.rise_A, self.point_group, *self._marks_depend_on())
            if state == self._marks_shown:
                return
            self.canvas.marks = None if symmetry is None else self.marks_of(symmetry)
            self._show_symmetry(symmetry)
            self._marks_shown = state

    def _marks_depend_on(self) -> tuple[object, ...]:
        return (*self.canvas.x_edges, *self.canvas.y_edges)

    def _show_symmetry(self, symmetry: HelicalSymmetry | None) -> None:
        """Tell the canvas more than the marks."""

    # --- pictures ----------------------------------------------------------------------------------------

    def _show_pictures(
        self, before: Float[np.ndarray, "y x"], after: Float[np.ndarray, "y x"] | None, x_edges: Edges, y_edges: Edges
    ) -> None:
        """New pictures in one message. The contrast is that of the first, which is not sent again while it stays."""
        canvas = self.canvas
        with canvas.hold_sync():
            if before is not self._before_given:
                canvas.before = displayed = self.scaled(before)
                finite = displayed[np.isfinite(displayed)]
                low, high = np.percentile(finite, self.percentiles) if finite.size else (0.0, 1.0)
                canvas.low, canvas.high = float(low), float(high)
                self._before_given = before
            canvas.after = None if after is None else self.scaled(after)
            canvas.x_edges, canvas.y_edges = list(x_edges), list(y_edges)
            self._show_marks()

    def scaled(self, picture: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
        """The numbers that are shown as colours."""
        return picture

    def _show_colours(self, _change: object = None) -> None:
        self.canvas.table = colour_table(self.colour_map)(np.arange(256), bytes=True)[:, :3]

    # --- files -------------------------------------------------------------------------------------------

    @abstractmethod
    def draw(self, figure: "Figure") -> None:
        """What is shown, on an empty figure for print."""

    def to_png(self) -> bytes:
        """What is shown, as a PNG file."""
        return figure_bytes(self.draw, file_format="png", size_in=self.size_in)

    def to_svg(self) -> str:
        """What is shown, as an SVG file."""
        return figure_bytes(self.draw, file_format="svg", size_in=self.size_in).decode()

    def _draw_picture(self, axes: "Axes", picture: np.ndarray | None, *, shift: float = 0.0) -> None:
        canvas = self.canvas
        x0, x1 = canvas.x_edges
        if picture is not None:
            axes.imshow(
                picture,
                origin="lower",
                extent=(x0 + shift, x1 + shift, *canvas.y_edges),
                cmap=self.colour_map,
                vmin=canvas.low,
                vmax=canvas.high,
                aspect="auto",
            )
        axes.set(xlim=canvas.x_edges, ylim=canvas.y_edges)
