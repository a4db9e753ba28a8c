"""The score along twist and along rise, through the symmetry in hand."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np
from jaxtyping import Float

from helixlab_widgets.colors import GUIDE, PALETTE
from helixlab_widgets.views.images import Frame, plain_axis, round_ticks
from helixlab_widgets.views.pointer import PlotPointer, under_pointer

_FRAME = Frame(top=8, bottom=42, left=62, right=10, height=150, max_width=760)


class ScoreCut:
    """A curve of the score against one quantity, with a line at its present value.

    Parameters
    ----------
    label : str
        The quantity with its unit.
    """

    def __init__(self, label: str) -> None:
        scales = {"x": bqplot.LinearScale(min=0.0, max=1.0), "y": bqplot.LinearScale(min=0.0, max=1.0)}
        self._curve = bqplot.Lines(x=[], y=[], scales=scales, colors=[PALETTE[0]], stroke_width=1.8)
        self._present = bqplot.Lines(x=[], y=[], scales=scales, colors=[GUIDE], stroke_width=1, line_style="dashed")
        self._x_axis = plain_axis(scales["x"], label, np.array([]))
        self._y_axis = plain_axis(scales["y"], "Score", np.array([]), side="left")
        self.figure = bqplot.Figure(
            marks=[self._present, self._curve],
            axes=[self._x_axis, self._y_axis],
            fig_margin=_FRAME.fig_margin,
            padding_x=0,
            padding_y=0,
            layout=_FRAME.layout,
        )
        self.widget: ipywidgets.Box
        self.pointer: PlotPointer
        self.widget, self.pointer = under_pointer(self.figure, _FRAME, label=f"Score against {label}; a click picks")
        self.widget.layout.flex = "1 1 200px"

    def show(self, values: Float[np.ndarray, "n"], score: Float[np.ndarray, "n"], present: float) -> None:
        """Show this curve, and where on it the symmetry in hand is."""
        x_range = (float(values[0]), float(values[-1]))
        low, high = min(0.0, float(score.min())), max(0.1, 1.05 * float(score.max()))
        for axis, (first, last) in ((self._x_axis, x_range), (self._y_axis, (low, high))):
            if (axis.scale.min, axis.scale.max) != (first, last):
                with axis.scale.hold_sync():
                    axis.scale.min, axis.scale.max = first, last
                axis.tick_values = round_ticks(first, last, count=4)
        self.pointer.x_range = x_range
        for mark, x, y in ((self._curve, values, score), (self._present, [present] * 2, [low, high])):
            with mark.hold_sync():
                mark.x, mark.y = x, y

    def draw(self, axes: Any) -> None:
        """Draw the curve into matplotlib axes."""
        axes.plot(self._curve.x, self._curve.y, color=PALETTE[0])
        axes.plot(self._present.x, self._present.y, color=GUIDE, linewidth=0.8, linestyle="--")
        axes.set(xlabel=self._x_axis.label, ylabel="Score")
