"""Sections and projections of a map along its three axes, with a scale bar."""

from typing import Literal

import bqplot
import ipywidgets
import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab_widgets.colors import GUIDE
from helixlab_widgets.images import Frame, image_figure

_PANEL_PX = 270
_MARGIN_PX = 8
_TITLE_PX = 36
"""bqplot puts a title half of this above the drawing, and its own height lower."""
_BAR_STEPS_A = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def section_figure(volume: Volume, *, kind: Literal["section", "projection"] = "section") -> ipywidgets.Box:
    """Show a map from its three sides, protein bright.

    Parameters
    ----------
    volume : Volume
    kind : "section" or "projection"
        The plane of voxels through the box's centre, or the sum over all planes.

    Returns
    -------
    ipywidgets.Box
        Three figures: across the helical axis, and two along it. They wrap where the notebook is narrow; all have
        one scale, shown by a bar.

    Raises
    ------
    HelixLabError
        If ``kind`` is unknown.

    Examples
    --------
    >>> panels = section_figure(Volume(np.random.default_rng(0).normal(size=(8, 8, 8)), 2.0))
    >>> [figure.title for figure in panels.children]
    ['across the axis (x, y)', 'along the axis (x, z)', 'along the axis (y, z)']
    """
    if kind not in ("section", "projection"):
        raise HelixLabError(f'kind: found {kind!r}; it is "section" or "projection".')
    planes = [_plane(volume, axis, kind) for axis in (0, 1, 2)]
    low, high = np.quantile(np.concatenate([p.ravel() for p in planes]), [0.005, 0.999])
    if not low < high:
        low, high = low - 0.5, low + 0.5
    titles = ("across the axis (x, y)", "along the axis (x, z)", "along the axis (y, z)")
    px_per_A = _PANEL_PX / max(volume.extent_A)
    panels = [
        _panel(plane, title, volume.pixel_size_A, px_per_A, (float(low), float(high)))
        for plane, title in zip(planes, titles, strict=True)
    ]
    return ipywidgets.Box(panels, layout=ipywidgets.Layout(flex_flow="row wrap", width="100%", overflow="hidden"))


def _plane(volume: Volume, axis: int, kind: str) -> Float[np.ndarray, "rows columns"]:
    """Rows are z, or y where z is looked along; the first at the bottom."""
    if kind == "section":
        return np.take(volume.data, volume.shape[axis] // 2, axis=axis)
    return volume.data.sum(axis=axis, dtype=np.float64)


def _panel(
    plane: np.ndarray, title: str, pixel_size_A: float, px_per_A: float, value_range: tuple[float, float]
) -> bqplot.Figure:
    height_A, width_A = (n * pixel_size_A for n in plane.shape)
    bar_A = max([step for step in _BAR_STEPS_A if step <= 0.4 * width_A], default=width_A / 4)
    left_A, bottom_A = 0.06 * width_A, 0.06 * height_A

    def scale_bar(scales: dict[str, bqplot.Scale]) -> list[bqplot.Mark]:
        bar = bqplot.Lines(
            x=[left_A, left_A + bar_A], y=[bottom_A, bottom_A], scales=scales, colors=["#ffffff"], stroke_width=4
        )
        label = bqplot.Label(
            x=[left_A],
            y=[bottom_A + 0.03 * height_A],
            scales=scales,
            text=[f"{bar_A:g} Å"],
            colors=["#ffffff"],
            default_size=14,
            font_weight="bold",
        )
        return [bar, label]

    frame = Frame(top=_TITLE_PX, bottom=_MARGIN_PX, left=_MARGIN_PX, right=_MARGIN_PX)
    figure = image_figure(
        plane,
        (0.0, width_A),
        (0.0, height_A),
        colour_map="gray",
        value_range=value_range,
        overlay=scale_bar,
        frame=frame,
    )
    figure.axes = []
    figure.title = title
    figure.title_style = {"font-size": "13px", "fill": GUIDE}
    figure.layout = ipywidgets.Layout(
        width=f"{width_A * px_per_A + 2 * _MARGIN_PX:.0f}px",
        height=f"{height_A * px_per_A + _TITLE_PX + _MARGIN_PX:.0f}px",
        flex="0 0 auto",
    )
    return figure
