"""A picture under axes with units."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import bqplot
import ipywidgets
import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab_widgets.base import retire
from helixlab_widgets.colors import GUIDE, colour_steps, png_bytes

Overlay = Callable[[dict[str, bqplot.Scale]], Sequence[bqplot.Mark]]


@dataclass(frozen=True)
class Frame:
    """Where a figure's drawing area lies, in px, and how large the figure is."""

    top: int = 12
    bottom: int = 48
    left: int = 62
    right: int = 16
    height: int = 380
    max_width: int = 980

    @property
    def fig_margin(self) -> dict[str, int]:
        """As bqplot wants it."""
        return {"top": self.top, "bottom": self.bottom, "left": self.left, "right": self.right}

    @property
    def layout(self) -> ipywidgets.Layout:
        """As wide as there is room, up to ``max_width``; never with a scroll bar of its own."""
        return ipywidgets.Layout(
            width="100%",
            max_width=f"{self.max_width}px",
            min_width="0px",
            height=f"{self.height}px",
            margin="0px",  # on top of 100% it would stick out
            overflow="hidden",
        )


def image_figure(
    image: Float[np.ndarray, "rows columns"],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    *,
    x_label: str = "",
    y_label: str = "",
    value_label: str = "",
    colour_map: str = "viridis",
    value_range: tuple[float, float] | None = None,
    is_pixelated: bool = False,
    overlay: Overlay | None = None,
    frame: Frame | None = None,
) -> bqplot.Figure:
    """Show an array as a picture.

    Parameters
    ----------
    image : array, shape (rows, columns)
        The first row lies at the bottom, the first column at the left. NaN is transparent.
    x_range, y_range : (low, high)
        Values at the picture's outer edges (not at the centres of its outermost cells), in the labels' units.
    x_label, y_label, value_label : str
        What the axes and the colours mean, with unit. With ``value_label`` there is a colour bar.
    colour_map : str
        A perceptual colour map: viridis, cividis, inferno, magma, plasma or gray.
    value_range : (low, high), optional
        Values at the ends of the colour map; by default the array's own.
    is_pixelated : bool
        Show cells as cells; otherwise the browser smooths between them.
    overlay : callable, optional
        Given the figure's scales, returns the marks to be drawn over the picture. (bqplot cannot show a mark that
        was made without scales, even if it gets some later.)
    frame : Frame, optional
        Margins and size.

    Returns
    -------
    bqplot.Figure
        ``marks[0]`` is the picture, a :class:`bqplot.Image`; :func:`replace_image` changes it.

    Raises
    ------
    HelixLabError
        If the array is no picture or a range is empty.

    Examples
    --------
    >>> ramp = np.linspace(0.0, 1.0, 12).reshape(3, 4)
    >>> figure = image_figure(ramp, (0, 4), (0, 3), x_label="x (Å)", y_label="y (Å)")
    >>> figure.axes[0].label, figure.marks[0].x.tolist()
    ('x (Å)', [0.0, 4.0])
    """
    frame = frame or Frame(right=96 if value_label else 16)
    (x0, x1), (y0, y1) = (_checked_range(*pair) for pair in (("x_range", x_range), ("y_range", y_range)))
    low, high = displayed_range(image, value_range)
    scales = {
        "x": bqplot.LinearScale(min=x0, max=x1, allow_padding=False),
        "y": bqplot.LinearScale(min=y0, max=y1, allow_padding=False),
    }
    picture = bqplot.Image(
        image=ipywidgets.Image(value=png_bytes(image, colour_map, low, high), format="png"),
        x=np.array([x0, x1]),
        y=np.array([y0, y1]),
        scales=scales,
        pixelated=is_pixelated,
    )
    axes = [
        plain_axis(scales["x"], x_label, round_ticks(x0, x1, is_angle="°" in x_label)),
        plain_axis(scales["y"], y_label, round_ticks(y0, y1, is_angle="°" in y_label), side="left"),
    ]
    if value_label:
        axes.append(_colour_bar(value_label, colour_map, low, high))
    return bqplot.Figure(
        marks=[picture, *(overlay(scales) if overlay else ())],
        axes=axes,
        fig_margin=frame.fig_margin,
        padding_x=0,
        padding_y=0,
        layout=frame.layout,
    )


def replace_image(
    figure: bqplot.Figure,
    image: Float[np.ndarray, "rows columns"],
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    colour_map: str = "viridis",
    value_range: tuple[float, float] | None = None,
) -> None:
    """Show another array in a figure of :func:`image_figure`; it lies where the old one did, or in the given ranges.

    The axes stay as they are, see :func:`show_ranges`; the colour bar follows.
    """
    low, high = displayed_range(image, value_range)
    picture = figure.marks[0]
    old = picture.image
    with picture.hold_sync():
        # bqplot draws a picture when it gets a new widget, not when the widget's bytes change.
        picture.image = ipywidgets.Image(value=png_bytes(image, colour_map, low, high), format="png")
        if x_range is not None:
            picture.x = np.array(_checked_range("x_range", x_range))
        if y_range is not None:
            picture.y = np.array(_checked_range("y_range", y_range))
    retire(picture, old)
    for bar in (axis for axis in figure.axes if isinstance(axis, bqplot.ColorAxis)):
        with bar.scale.hold_sync():
            bar.scale.min, bar.scale.max = low, high
        bar.tick_values = round_ticks(low, high, count=4)


def show_ranges(figure: bqplot.Figure, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
    """Let the axes of a figure of :func:`image_figure` span these ranges."""
    for axis, (low, high) in zip(figure.axes[:2], (x_range, y_range), strict=True):
        with axis.scale.hold_sync():
            axis.scale.min, axis.scale.max = low, high
        axis.tick_values = round_ticks(low, high, is_angle="°" in axis.label)


def displayed_range(image: np.ndarray, value_range: tuple[float, float] | None = None) -> tuple[float, float]:
    """Values at the ends of the colour map: those asked for, or the array's own.

    Raises
    ------
    HelixLabError
        If the array has not two axes or holds no finite value, or the range is empty.
    """
    if np.ndim(image) != 2 or 0 in np.shape(image):
        raise HelixLabError(f"image: found an array of shape {np.shape(image)}; a picture has rows and columns.")
    if value_range is not None:
        return _checked_range("value_range", value_range)
    finite = np.asarray(image)[np.isfinite(image)]
    if not finite.size:
        raise HelixLabError("image: found no finite value; there is nothing to show.")
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low, low + 1.0)


def _checked_range(name: str, pair: tuple[float, float]) -> tuple[float, float]:
    low, high = (float(v) for v in pair)
    if not low < high or not np.isfinite([low, high]).all():
        raise HelixLabError(f"{name}: found {pair}; give the smaller value first, both finite.")
    return low, high


def plain_axis(
    scale: bqplot.Scale, label: str, ticks: Float[np.ndarray, "n"], *, side: str = "bottom", **options: Any
) -> bqplot.Axis:
    """An axis with the given ticks, its label clear of the ticks' numbers."""
    return bqplot.Axis(
        scale=scale,
        label=label,
        side=side,
        label_color=GUIDE,
        label_offset="36px" if side == "bottom" else "48px",
        grid_lines="none",
        tick_values=ticks,
        **{"tick_format": "~g", **options},
    )


def round_ticks(low: float, high: float, *, count: int = 7, is_angle: bool = False) -> Float[np.ndarray, "n"]:
    """At most ``count`` or so round numbers between two values; angles in parts of a turn.

    Examples
    --------
    >>> round_ticks(-180.9, 179.1, is_angle=True).tolist(), round_ticks(1.0, 7.0).tolist()
    ([-180.0, -120.0, -60.0, 0.0, 60.0, 120.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    """
    from matplotlib.ticker import MaxNLocator

    steps = [1, 1.5, 3, 4.5, 6, 9, 10] if is_angle else [1, 2, 2.5, 5, 10]
    ticks = MaxNLocator(count, steps=steps).tick_values(low, high)
    margin = 1e-9 * (high - low)
    return ticks[(ticks >= low - margin) & (ticks <= high + margin)]


def _colour_bar(label: str, colour_map: str, low: float, high: float) -> bqplot.ColorAxis:
    return bqplot.ColorAxis(
        scale=bqplot.ColorScale(colors=colour_steps(colour_map), min=low, max=high),
        label=label,
        side="right",
        label_color=GUIDE,
        tick_values=round_ticks(low, high, count=4),
        tick_format="~g",
    )
