"""Fourier shell correlation curves that follow what they are computed from."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets

from helixlab.errors import HelixLabError
from helixlab.validate import FSCCurve
from helixlab_widgets.base import View, retire
from helixlab_widgets.colors import GUIDE, PALETTE
from helixlab_widgets.export import figure_bytes
from helixlab_widgets.views.images import Frame, plain_axis
from helixlab_widgets.views.pointer import under_pointer

_HELP = """How well two maps agree, from coarse detail (left) to fine (right): 1 is perfect agreement, 0 none. The \
resolution is where a curve first falls below a dashed line: 0.143 for two half maps, 0.5 for a map against a model.
Point at the curves to read them; with the keyboard, focus the plot and use the left and right arrow keys.
Imposing a symmetry raises the curve whether the symmetry is right or wrong, because both half maps get the same: an \
FSC tells how much the maps agree, not which of two symmetries is true."""

_EMPTY = "Nothing to show yet: an FSC needs two maps."
_HINT = "Point at the curves to read them."

_TICKS_A = (100, 50, 30, 20, 15, 12, 10, 9, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.5, 2.2, 2, 1.8, 1.6, 1.5, 1.4, 1.2, 1)

_FRAME = Frame(top=8, left=70, height=300, max_width=760)


class FSCView(View):
    """FSC curves with the thresholds that resolutions are read at.

    Parameters
    ----------
    curves : sequence of FSCCurve
        At most six.
    labels : sequence of str, optional
        Names for the legend instead of the curves' own.
    thresholds : tuple of float
        Drawn as dashed lines; the legend gives each curve's resolution at all of them.
    baseline : FSCCurve, optional
        Drawn in grey, for comparison.

    Raises
    ------
    HelixLabError
        If there are more curves than colours, or not one label for each.

    Examples
    --------
    >>> curve = FSCCurve(np.array([0.0, 0.1, 0.2]), np.array([1.0, 0.8, 0.0]), "half maps")
    >>> view = FSCView([curve])
    >>> "half maps: 5.5 Å at 0.143, 7.3 Å at 0.5" in view.legend.value
    True
    >>> view.freq_per_A = 0.1
    >>> view.readout.value
    '10.0 Å: half maps 0.800'
    """

    curves = traitlets.Tuple(help="The curves shown, in the order of their colours.")
    baseline = traitlets.Instance(FSCCurve, allow_none=True, help="A curve to compare with, in grey.")
    note = traitlets.Unicode(help="What a reader must know before believing the curves; shown below them.")
    reads_resolution = traitlets.Bool(True, help="Whether the legend gives the resolution where a curve crosses.")
    freq_per_A = traitlets.Float(None, allow_none=True, help="Where the curves are read, 1/Å; None for nowhere.")

    def __init__(
        self,
        curves: Sequence[FSCCurve] = (),
        *,
        labels: Sequence[str] | None = None,
        thresholds: tuple[float, ...] = (0.143, 0.5),
        baseline: FSCCurve | None = None,
        note: str = "",
    ) -> None:
        self.thresholds = thresholds
        self._scales = {
            "x": bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False),
            "y": bqplot.LinearScale(min=-0.05, max=1.02, allow_padding=False),
        }
        self._lines = [self._line(colour, 2.2) for colour in PALETTE]
        self._grey = self._line(GUIDE, 2.2)
        self._guides = [self._line(GUIDE, 1, style="dashed", y=[t, t]) for t in thresholds]
        self._x_axis = plain_axis(self._scales["x"], "Resolution (Å)", np.array([]))
        y_axis = plain_axis(
            self._scales["y"], "Fourier shell correlation", np.array(sorted({0.0, *thresholds, 1.0})), side="left"
        )
        self.figure = bqplot.Figure(
            marks=[*self._guides, self._grey, *self._lines],
            axes=[self._x_axis, y_axis],
            fig_margin=_FRAME.fig_margin,
            padding_x=0,
            padding_y=0,
            layout=_FRAME.layout,
        )
        plot, self.pointer = under_pointer(
            self.figure,
            _FRAME,
            reports_hover=True,
            key_names=["ArrowLeft", "ArrowRight", "Escape"],
            label="FSC curves; the arrow keys move the place where they are read",
        )
        # bqplot's own legend neither wraps nor keeps inside a narrow figure.
        inset = ipywidgets.Layout(margin=f"0 0 0 {_FRAME.left}px")
        self.legend = ipywidgets.HTML(layout=inset)
        self.readout = ipywidgets.HTML(layout=inset).add_class("helixlab-readout")
        self.remark = ipywidgets.HTML().add_class("helixlab-note")
        super().__init__(
            [self.legend, plot, self.readout, self.remark],
            title="Fourier shell correlation",
            help_text=_HELP,
            name="fsc",
        )
        self.pointer.listen("error", self._show_browser_error)
        self.listen(self.pointer, "key", self._on_key)
        self.watch(self.pointer, self._on_hover, "hovered")
        self.watch(self, self._show_curves, "curves", "baseline", "reads_resolution")
        self.watch(self, self._show_values, "curves", "baseline", "freq_per_A")
        self.watch(self, self._show_note, "note")
        self._show_curves()
        self._show_values()
        self.show(curves, labels=labels, baseline=baseline)
        self.note = note

    # --- what is shown ------------------------------------------------------------------------------

    def show(
        self,
        curves: Sequence[FSCCurve],
        *,
        labels: Sequence[str] | None = None,
        baseline: FSCCurve | None = None,
    ) -> None:
        """Show these curves instead, in one step.

        Parameters
        ----------
        curves, labels, baseline
            As for the view; ``baseline=None`` takes the grey curve away.
        """
        if labels is not None and len(labels) != len(curves):
            raise HelixLabError(f"labels: found {len(labels)} for {len(curves)} curves; give one for each.")
        named = curves if labels is None else [replace(c, label=name) for c, name in zip(curves, labels, strict=True)]
        with self.hold_trait_notifications():
            self.curves, self.baseline = tuple(named), baseline

    @traitlets.validate("curves")
    def _few_enough(self, proposal: traitlets.Bunch) -> tuple[FSCCurve, ...]:
        curves = proposal["value"]
        if len(curves) > len(PALETTE):
            raise HelixLabError(
                f"curves: found {len(curves)}; at most {len(PALETTE)} can be told apart. Show fewer at a time."
            )
        return curves

    @property
    def _all_curves(self) -> list[tuple[FSCCurve, str, bqplot.Lines]]:
        """Each curve with its colour and its line, the baseline first."""
        grey = [(self.baseline, GUIDE, self._grey)] if self.baseline is not None else []
        return [*grey, *zip(self.curves, PALETTE, self._lines, strict=False)]

    def _show_curves(self, _change: object = None) -> None:
        shown = self._all_curves
        nyquist_per_A = max((float(c.freq_per_A[-1]) for c, _, _ in shown), default=0.5)
        lowest = min((float(c.fsc.min()) for c, _, _ in shown), default=0.0)
        self._scales["y"].min = min(-0.05, lowest)
        if nyquist_per_A != self._scales["x"].max:
            self._scales["x"].max = nyquist_per_A
            self.pointer.x_range = (0.0, nyquist_per_A)
            # A new axis: one that bqplot is still drawing for the first time would keep its old labels.
            old = self._x_axis
            at_per_A, names = _ticks(nyquist_per_A)
            self._x_axis = plain_axis(self._scales["x"], "Resolution (Å)", at_per_A, tick_labels=names)
            self.figure.axes = [self._x_axis, *self.figure.axes[1:]]
            retire(self.figure, old)
            for guide in self._guides:
                guide.x = [0.0, nyquist_per_A]
        used = {id(line) for _, _, line in shown}
        for curve, _, line in shown:
            with line.hold_sync():
                line.x, line.y, line.visible = curve.freq_per_A, curve.fsc, True
        for line in (self._grey, *self._lines):
            if id(line) not in used:
                line.visible = False
        self.legend.value = "".join(_entry(self._summary(c), colour) for c, colour, _ in shown) or _EMPTY

    def _show_values(self, _change: object = None) -> None:
        freq = self.freq_per_A
        if self.pointer.hovered[:1] != ([] if freq is None else [freq]):
            self.pointer.hovered = [] if freq is None else [freq, 0.0]
        if not self._all_curves:
            self.readout.value = ""
        elif freq is None:
            self.readout.value = _HINT
        else:
            values = [
                f"{escape(curve.label)} {np.interp(freq, curve.freq_per_A, curve.fsc):.3f}"
                for curve, _, _ in self._all_curves
                if freq <= curve.freq_per_A[-1]
            ]
            self.readout.value = f"{_in_A(freq)}: {', '.join(values)}"

    def _show_note(self, _change: object) -> None:
        self.remark.value = escape(self.note)

    def _summary(self, curve: FSCCurve) -> str:
        crossings = [curve.crossing(t) for t in self.thresholds] if self.reads_resolution else []
        # A curve that never falls below the threshold bounds the resolution, it does not give it.
        read = [f"{'better than ' * c.reaches_nyquist}{c.resolution_A:.1f} Å at {c.threshold:g}" for c in crossings]
        return f"{curve.label}: {', '.join(read)}" if read else curve.label

    # --- what the user does -------------------------------------------------------------------------

    def _on_hover(self, change: dict[str, Any]) -> None:
        self.freq_per_A = change["new"][0] if change["new"] and self._all_curves else None

    def _on_key(self, key: str) -> None:
        """Read the next shell to the left or right."""
        if key == "Escape" or not self._all_curves:
            self.freq_per_A = None
            return
        shells = max((c.freq_per_A for c, _, _ in self._all_curves), key=lambda f: f[-1])
        now = int(np.argmin(np.abs(shells - (self.freq_per_A or 0.0))))
        new = np.clip(now + (1 if key == "ArrowRight" else -1), 1, len(shells) - 1)
        self.freq_per_A = float(shells[new])

    # --- export -------------------------------------------------------------------------------------

    def draw(self, figure: Any) -> None:
        """Draw the curves into a matplotlib figure."""
        axes = figure.subplots()
        for curve, colour, _ in self._all_curves:
            axes.plot(curve.freq_per_A, curve.fsc, color=colour, label=self._summary(curve))
        for threshold in self.thresholds:
            axes.axhline(threshold, color=GUIDE, linewidth=0.8, linestyle="--")
        nyquist_per_A = self._scales["x"].max
        at_per_A, names = _ticks(nyquist_per_A)
        axes.set_xticks(at_per_A, list(names.values()))
        axes.set_yticks(sorted({0.0, *self.thresholds, 1.0}))
        axes.set(xlim=(0.0, nyquist_per_A), ylim=(self._scales["y"].min, 1.02))
        axes.set(xlabel="Resolution (Å)", ylabel="Fourier shell correlation")
        if self._all_curves:
            axes.legend(fontsize="small", frameon=False)

    def to_png(self) -> bytes:
        """The curves as a PNG picture."""
        return figure_bytes(self.draw, file_format="png", size_in=(6.0, 3.6))

    def to_svg(self) -> str:
        """The curves as SVG."""
        return figure_bytes(self.draw, file_format="svg", size_in=(6.0, 3.6)).decode()

    def _line(self, colour: str, width: float, *, style: str = "solid", y: Sequence[float] = ()) -> bqplot.Lines:
        return bqplot.Lines(
            x=[0.0, 1.0] if y else [],
            y=list(y),
            scales=self._scales,
            colors=[colour],
            stroke_width=width,
            line_style=style,
        )


def _entry(text: str, colour: str) -> str:
    dash = f'<span style="display:inline-block;width:22px;border-top:3px solid {colour};vertical-align:middle"></span>'
    return f'<span style="display:inline-block;margin-right:18px;line-height:20px">{dash} {escape(text)}</span> '


def _in_A(freq_per_A: float) -> str:
    return f"{1.0 / freq_per_A:.{1 if freq_per_A > 0.01 else 0}f} Å" if freq_per_A > 0 else "∞ Å"


def _ticks(nyquist_per_A: float) -> tuple[np.ndarray, dict[float, str]]:
    """Round numbers of Å whose labels do not touch, at least a twelfth of the axis apart: places and names."""
    chosen: list[float] = []
    for a in _TICKS_A:
        at = 1.0 / a
        if at <= nyquist_per_A * 1.0001 and (not chosen or at - 1.0 / chosen[-1] >= nyquist_per_A / 12):
            chosen.append(a)
    at_per_A = 1.0 / np.array(chosen)
    return at_per_A, {at: f"{a:g}" for at, a in zip(at_per_A.tolist(), chosen, strict=True)}
