"""A pointer on a bqplot figure: hovering, clicks, boxes and keys, told in the axes' own values."""

from typing import Any

import bqplot
import ipywidgets
import traitlets

from helixlab_widgets.base import Canvas
from helixlab_widgets.views.images import Frame


class PlotPointer(Canvas, script="pointer.js"):
    """A transparent layer over a figure's drawing area.

    bqplot's own selectors take every click for themselves; this one tells a click from a drag. Intents:
    ``click(x, y)``, ``box(x, y)`` with two (low, high) pairs, ``double_click()`` and ``key(key)``, for the keys that
    are listed.
    """

    margins = traitlets.Dict(help="Of the figure, px: top, bottom, left, right.").tag(sync=True)
    x_range = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(0.0, 1.0)).tag(sync=True)
    y_range = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(0.0, 1.0)).tag(sync=True)
    hovered = traitlets.List(
        traitlets.Float(), help="The value of x and of y under the pointer; empty if it is elsewhere."
    ).tag(sync=True)
    reports_hover = traitlets.Bool(help="Whether `hovered` is wanted; a line then marks the value of x.").tag(sync=True)
    draws_box = traitlets.Bool(help="Whether a drag draws a box.").tag(sync=True)
    waits_for_double_click = traitlets.Bool(help="Whether a click is told only when no second one follows.").tag(
        sync=True
    )
    key_names = traitlets.List(traitlets.Unicode(), help="Names of the keys that are reported.").tag(sync=True)
    label = traitlets.Unicode(help="What the figure is, for readers of the page by ear.").tag(sync=True)


def under_pointer(figure: bqplot.Figure, frame: Frame, **traits: Any) -> tuple[ipywidgets.Box, PlotPointer]:
    """A figure of the given frame with a pointer on it: what to show, and the pointer.

    Parameters
    ----------
    **traits
        Of the :class:`PlotPointer`.
    """
    pointer = PlotPointer(margins=frame.fig_margin, **traits)
    # The pointer finds the drawing area by the figure's margins: box and figure have to be of one width.
    figure.layout.max_width = None
    box = ipywidgets.Box([figure, pointer], layout=frame.layout)
    box.add_class("helixlab-plot")
    return box, pointer
