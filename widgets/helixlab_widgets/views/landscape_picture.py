"""A plane of scores as a picture under axes, with candidates ringed and the symmetry in hand marked."""

from collections.abc import Iterable, Sequence
from typing import Any

import bqplot
import numpy as np

from helixlab.geometry import HelicalSymmetry
from helixlab.search import Candidate
from helixlab_widgets.colors import MARKER
from helixlab_widgets.views.images import Frame, image_figure, replace_image, show_ranges
from helixlab_widgets.views.plane_source import PlaneRequest, Range
from helixlab_widgets.views.pointer import under_pointer
from helixlab_widgets.views.score_plane import ScorePlane

_FRAME = Frame(right=96, height=390)

_DARK_QUANTILE = 0.3
"""So much of a plane is shown in the darkest colour: noise, of which there is most."""

_CROSS = {"x": [], "y": [], "marker": "cross", "colors": ["#ffffff"], "stroke": "#000000"}

Place = tuple[float, float]


class LandscapePicture:
    """The picture of one plane.

    Attributes
    ----------
    widget : widget
        To be shown.
    pointer : PlotPointer
        Tells clicks, boxes and keys.
    plane : ScorePlane or None
        What is shown.
    spans : pair of (low, high)
        What the axes show of it.
    """

    def __init__(self, *, key_names: Sequence[str]) -> None:
        self.plane: ScorePlane | None = None
        self.spans: tuple[Range, Range] = ((-180.0, 180.0), (0.0, 60.0))
        self.request = PlaneRequest()
        x_label, y_label = self.request.labels
        self.figure = image_figure(
            np.zeros((2, 2)),
            *self.spans,
            x_label=x_label,
            y_label=y_label,
            value_label="Score",
            is_pixelated=True,
            overlay=self._make_marks,
            frame=_FRAME,
        )
        self.widget, self.pointer = under_pointer(
            self.figure,
            _FRAME,
            draws_box=True,
            key_names=list(key_names),
            label="Landscape of scores; arrow keys move the symmetry, plus and minus zoom, Escape shows the whole",
        )

    def _make_marks(self, scales: dict[str, bqplot.Scale]) -> list[bqplot.Mark]:
        self._rings = bqplot.Scatter(
            x=[],
            y=[],
            scales=scales,
            colors=[MARKER],
            fill=False,
            stroke=MARKER,
            stroke_width=2,
            default_size=160,
            apply_clip=False,
        )
        self._numbers = [
            bqplot.Label(
                x=[],
                y=[],
                text=[],
                scales=scales,
                colors=["#ffffff"],
                default_size=14,
                font_weight="bold",
                align=align,
                x_offset=offset_px,
                y_offset=-8,
            )
            for align, offset_px in (("start", 10), ("end", -10))
        ]
        self._others = bqplot.Scatter(**_CROSS, scales=scales, stroke_width=0.5, default_size=36)
        self._cross = bqplot.Scatter(**_CROSS, scales=scales, stroke_width=1, default_size=110)
        return [self._rings, *self._numbers, self._others, self._cross]

    # --- what is shown ------------------------------------------------------------------------------

    def show(self, plane: ScorePlane, request: PlaneRequest) -> None:
        """Show another plane, and all of it."""
        self.plane, self.request = plane, request
        for axis, label in zip(self.figure.axes, request.labels, strict=False):
            axis.label = label
        image, value_range = _picture(plane)
        replace_image(self.figure, image, x_range=plane.x_range, y_range=plane.y_range, value_range=value_range)
        self.span(plane.x_range, plane.y_range)

    def span(self, x_range: Range, y_range: Range) -> None:
        """Let the axes span these ranges."""
        self.spans = (x_range, y_range)
        show_ranges(self.figure, x_range, y_range)
        with self.pointer.hold_sync():
            self.pointer.x_range, self.pointer.y_range = x_range, y_range

    def mark_symmetry(self, symmetry: HelicalSymmetry | None) -> None:
        """A cross at the symmetry, small ones at its equivalents."""
        inside = [place for place in self.request.places(symmetry) if self._is_shown(place)] if symmetry else []
        own = self.request.place(symmetry) if symmetry else None
        _move(self._cross, [place for place in inside if place == own])
        _move(self._others, [place for place in inside if place != own])

    @property
    def cross(self) -> Place | None:
        """Where the symmetry in hand is, if it is shown."""
        return (float(self._cross.x[0]), float(self._cross.y[0])) if len(self._cross.x) else None

    def ring(self, candidates: Sequence[Candidate | HelicalSymmetry]) -> None:
        """Ring each place of a candidate, whole even at the plane's edge, with its numbers where there is room."""
        numbers: dict[Place, str] = {}
        for number, candidate in enumerate(candidates, 1):
            symmetry = candidate.symmetry if isinstance(candidate, Candidate) else candidate
            for place in filter(self._is_shown, self.request.places(symmetry)):
                at = next((other for other in numbers if self._touch(place, other)), place)
                numbers[at] = f"{numbers[at]}, {number}" if at in numbers else str(number)
        _move(self._rings, numbers)
        x0, x1 = self.spans[0]
        for label, is_right in zip(self._numbers, (False, True), strict=True):
            beside = [place for place in numbers if (place[0] > x1 - 0.1 * (x1 - x0)) == is_right]
            with label.hold_sync():
                _move(label, beside)
                label.text = [numbers[place] for place in beside]

    def _is_shown(self, place: Place) -> bool:
        return all(low <= value <= high for value, (low, high) in zip(place, self.spans, strict=True))

    def _touch(self, one: Place, other: Place) -> bool:
        """Whether two places are one on a screen: within a thousandth of the axes."""
        return all(abs(a - b) < (high - low) / 1000 for a, b, (low, high) in zip(one, other, self.spans, strict=True))

    # --- export -------------------------------------------------------------------------------------

    def draw(self, figure: Any, axes: Any) -> None:
        """Draw the same into matplotlib axes."""
        if self.plane is not None:
            image, (low, high) = _picture(self.plane)
            extent = (*self.plane.x_range, *self.plane.y_range)
            drawn = axes.imshow(image, origin="lower", extent=extent, aspect="auto", vmin=low, vmax=high)
            figure.colorbar(drawn, ax=axes, label="Score")
        axes.scatter(self._rings.x, self._rings.y, s=60, facecolors="none", edgecolors=MARKER)
        for label, side, offset in zip(self._numbers, ("left", "right"), (6, -6), strict=True):
            for x, y, text in zip(label.x, label.y, label.text, strict=True):
                axes.annotate(
                    text, (x, y), (offset, 4), textcoords="offset points", color="white", ha=side, weight="bold"
                )
        for cross, size in ((self._others, 15), (self._cross, 50)):
            axes.scatter(cross.x, cross.y, s=size, marker="P", color="white", edgecolors="black", linewidths=0.5)
        x_label, y_label = self.request.labels
        axes.set(xlim=self.spans[0], ylim=self.spans[1], xlabel=x_label, ylabel=y_label)


def _picture(plane: ScorePlane) -> tuple[np.ndarray, Range]:
    """Rows of y, and the scores at the ends of the colour map."""
    is_compared = plane.shown.T > -1.0
    compared = plane.shown.T[is_compared]
    low, high = (float(np.quantile(compared, q)) for q in (_DARK_QUANTILE, 1.0)) if compared.size else (0.0, 0.0)
    # Negative correlations are of no more interest than none.
    low = max(low, 0.0)
    return np.where(is_compared, plane.shown.T, np.nan), (low, max(high, low + 0.1))


def _move(mark: bqplot.Mark, places: Iterable[Place]) -> None:
    places = list(places)
    with mark.hold_sync():
        mark.x, mark.y = [x for x, _ in places], [y for _, y in places]
