"""Fourier shell correlation curves."""

from collections.abc import Sequence
from html import escape

import bqplot
import ipywidgets
import numpy as np

from helixlab.errors import HelixLabError
from helixlab.validate import FSCCurve
from helixlab_widgets.colors import GUIDE, PALETTE
from helixlab_widgets.images import Frame, plain_axis

_TICKS_A = (100, 50, 30, 20, 15, 12, 10, 9, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.5, 2.2, 2, 1.8, 1.6, 1.5, 1.4, 1.2, 1)


def curve_figure(
    curves: Sequence[FSCCurve],
    *,
    thresholds: tuple[float, ...] = (0.143, 0.5),
    labels: Sequence[str] | None = None,
) -> ipywidgets.VBox:
    """Show FSC curves with the thresholds that resolutions are read at.

    Parameters
    ----------
    curves : sequence of FSCCurve
        One to six.
    thresholds : tuple of float
        Drawn as dashed lines; the legend gives each curve's resolution at the first one.
    labels : sequence of str, optional
        Names for the legend instead of the curves' own.

    Returns
    -------
    ipywidgets.VBox
        The legend, and a :class:`bqplot.Figure` with one :class:`bqplot.Lines` per curve, in the given order, then
        one per threshold. The x axis is linear in 1/Å and labelled in Å.

    Raises
    ------
    HelixLabError
        If there are no curves, more than there are colours, or not one label for each.

    Examples
    --------
    >>> curve = FSCCurve(np.array([0.0, 0.1, 0.2]), np.array([1.0, 0.8, 0.0]), "half maps")
    >>> legend, figure = curve_figure([curve]).children
    >>> "half maps: 5.5 Å" in legend.value, len(figure.marks)
    (True, 3)
    """
    labels = [c.label for c in curves] if labels is None else list(labels)
    if not 1 <= len(curves) <= len(PALETTE) or len(labels) != len(curves):
        raise HelixLabError(
            f"curves: found {len(curves)} curves and {len(labels)} labels; one to {len(PALETTE)} curves can be told "
            "apart, with one label each."
        )
    nyquist_per_A = max(float(c.freq_per_A[-1]) for c in curves)
    lowest = min(float(c.fsc.min()) for c in curves)
    scales = {
        "x": bqplot.LinearScale(min=0.0, max=nyquist_per_A, allow_padding=False),
        "y": bqplot.LinearScale(min=min(-0.05, lowest), max=1.02, allow_padding=False),
    }
    lines = [
        bqplot.Lines(x=curve.freq_per_A, y=curve.fsc, scales=scales, colors=[colour], stroke_width=2.2)
        for curve, colour in zip(curves, PALETTE, strict=False)
    ]
    guides = [
        bqplot.Lines(
            x=[0.0, nyquist_per_A], y=[t, t], scales=scales, colors=[GUIDE], stroke_width=1, line_style="dashed"
        )
        for t in thresholds
    ]
    ticks_A = _spread_ticks(nyquist_per_A)
    at_per_A = 1.0 / np.array(ticks_A)
    in_A = {at: f"{a:g}" for at, a in zip(at_per_A.tolist(), ticks_A, strict=True)}
    fsc_ticks = np.array(sorted({0.0, *thresholds, 1.0}))
    frame = Frame(top=8, left=70, height=300, max_width=760)
    figure = bqplot.Figure(
        marks=[*lines, *guides],
        axes=[
            plain_axis(scales["x"], "Resolution (Å)", at_per_A, tick_labels=in_A),
            plain_axis(scales["y"], "Fourier shell correlation", fsc_ticks, side="left"),
        ],
        fig_margin=frame.fig_margin,
        padding_x=0,
        padding_y=0,
        layout=frame.layout,
    )
    entries = [
        _entry(_name(label, curve, thresholds), colour)
        for label, curve, colour in zip(labels, curves, PALETTE, strict=False)
    ]
    return ipywidgets.VBox(
        # bqplot's own legend neither wraps nor keeps inside a narrow figure.
        [ipywidgets.HTML("".join(entries), layout=ipywidgets.Layout(margin=f"0 0 0 {frame.left}px")), figure],
        layout=ipywidgets.Layout(width="100%", overflow="hidden"),
    )


def _entry(text: str, colour: str) -> str:
    dash = f'<span style="display:inline-block;width:22px;border-top:3px solid {colour};vertical-align:middle"></span>'
    return f'<span style="white-space:nowrap;margin-right:18px;line-height:20px">{dash} {escape(text)}</span> '


def _name(label: str, curve: FSCCurve, thresholds: tuple[float, ...]) -> str:
    if not thresholds:
        return label
    crossing = curve.crossing(thresholds[0])
    # A curve that never falls below the threshold bounds the resolution, it does not give it.
    return f"{label}: {'better than ' if crossing.reaches_nyquist else ''}{crossing.resolution_A:.1f} Å"


def _spread_ticks(nyquist_per_A: float) -> list[float]:
    """Round numbers of Å whose labels do not touch: at least a twelfth of the axis apart."""
    chosen: list[float] = []
    for a in _TICKS_A:
        at = 1.0 / a
        if at <= nyquist_per_A * 1.0001 and (not chosen or at - 1.0 / chosen[-1] >= nyquist_per_A / 12):
            chosen.append(a)
    return chosen
