"""The plane of all twists and rises as a heat map, with the candidates on it."""

from collections.abc import Callable, Sequence

import bqplot
import ipywidgets
import numpy as np
import traitlets
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab.search import Candidate, Landscape
from helixlab_widgets.colors import MARKER
from helixlab_widgets.images import Frame, image_figure

MAX_CELLS = (480, 300)
"""Twists × rises shown: fewer than a figure's pixels even where it is 600 px wide, so that the browser has no cell
to leave out."""


class LandscapeFigure(ipywidgets.VBox):
    """A heat map of scores that is clicked to pick a screw.

    Each cell of the map shows the highest score of the grid points under it, and a click picks that very point: a
    peak narrower than a pixel can be neither overlooked nor missed. Made by :func:`landscape_figure`.
    """

    picked = traitlets.Tuple(
        traitlets.Float(),
        traitlets.Float(),
        default_value=None,
        allow_none=True,
        help="Twist in degrees and rise in Å of the grid point clicked last; None before the first click.",
    )

    def __init__(
        self,
        landscape: Landscape,
        candidates: Sequence[Candidate | HelicalSymmetry],
        twist_range_deg: tuple[float, float] | None,
        rise_range_A: tuple[float, float] | None,
    ) -> None:
        twists, rises = (
            _within("twist_range_deg", landscape.twist_deg, twist_range_deg),
            _within("rise_range_A", landscape.rise_A, rise_range_A),
        )
        self._twist_deg, self._rise_A = landscape.twist_deg[twists], landscape.rise_A[rises]
        self._score = landscape.score[twists, rises]
        self._shown, self._block = block_maximum(self._score, MAX_CELLS)
        (x0, dx), (y0, dy) = _cells(self._twist_deg, self._block[0]), _cells(self._rise_A, self._block[1])
        self._corner, self._cell = (x0, y0), (dx, dy)
        x1, y1 = x0 + dx * self._shown.shape[0], y0 + dy * self._shown.shape[1]
        places = _in_view(candidates, (x0, x1), (y0, y1))
        self.figure = image_figure(
            # −1 stands for "never compared"; negative correlations are of no more interest than none.
            np.where(self._shown.T > -1.0, self._shown.T, np.nan),
            (x0, x1),
            (y0, y1),
            x_label="Twist (°)",
            y_label="Rise (Å)",
            value_label="Score",
            value_range=(0.0, max(float(self._shown.max()), 0.1)),
            is_pixelated=True,
            overlay=lambda scales: [*_rings(places, (x0, x1), scales), _cross(scales)],
            frame=Frame(right=96, height=420),
        )
        self._cross = self.figure.marks[-1]
        self.readout = ipywidgets.HTML(value="Click the map to pick a screw.")
        super().__init__([self.figure, self.readout], layout=ipywidgets.Layout(width="100%", overflow="hidden"))
        self.figure.marks[0].on_element_click(self._on_click)

    def _on_click(self, _mark: bqplot.Mark, message: dict) -> None:
        self.pick(message["data"]["click_x"], message["data"]["click_y"])

    def pick(self, twist_deg: float, rise_A: float) -> None:
        """What a click at this place does: take the best grid point of the cell there."""
        at = (twist_deg, rise_A)
        cell = [
            int(np.clip((value - corner) // size, 0, n - 1))
            for value, corner, size, n in zip(at, self._corner, self._cell, self._shown.shape, strict=True)
        ]
        t0, r0 = (index * step for index, step in zip(cell, self._block, strict=True))
        under = self._score[t0 : t0 + self._block[0], r0 : r0 + self._block[1]]
        t, r = np.unravel_index(int(np.argmax(under)), under.shape)
        self.picked = (float(self._twist_deg[t0 + t]), float(self._rise_A[r0 + r]))

    @traitlets.observe("picked")
    def _show_picked(self, change: traitlets.Bunch) -> None:
        if change["new"] is None:
            self._cross.x, self._cross.y = [], []
            self.readout.value = "Click the map to pick a screw."
            return
        twist_deg, rise_A = change["new"]
        t = int(np.argmin(np.abs(self._twist_deg - twist_deg)))
        r = int(np.argmin(np.abs(self._rise_A - rise_A)))
        with self._cross.hold_sync():
            self._cross.x, self._cross.y = [twist_deg], [rise_A]
        self.readout.value = f"Picked: twist {twist_deg:.2f}°, rise {rise_A:.2f} Å, score {self._score[t, r]:.3f}"


def landscape_figure(
    landscape: Landscape,
    candidates: Sequence[Candidate | HelicalSymmetry] = (),
    *,
    twist_range_deg: tuple[float, float] | None = None,
    rise_range_A: tuple[float, float] | None = None,
    on_pick: Callable[[float, float], None] | None = None,
) -> LandscapeFigure:
    """Show the scores of all screws.

    Parameters
    ----------
    landscape : Landscape
        ``SearchResult.landscape``.
    candidates : sequence of Candidate or HelicalSymmetry
        Ringed and numbered from 1, wherever an equivalent description of them lies in the plane.
    twist_range_deg, rise_range_A : (low, high), optional
        Show this part of the plane, in finer cells.
    on_pick : callable, optional
        Called with twist (degrees) and rise (Å) after each click.

    Returns
    -------
    LandscapeFigure
        Its trait ``picked`` holds the last screw clicked.

    Raises
    ------
    HelixLabError
        If a range holds fewer than two grid points.

    Examples
    --------
    >>> twist_deg, rise_A = np.arange(-180.0, 180.0, 2.0), np.arange(1.0, 10.0, 0.5)
    >>> score = np.zeros((180, 18), np.float32)
    >>> score[101, 4] = 0.9
    >>> view = landscape_figure(Landscape(twist_deg, rise_A, score, 1 - score))
    >>> view.pick(22.3, 3.1)
    >>> view.picked
    (22.0, 3.0)
    """
    view = LandscapeFigure(landscape, candidates, twist_range_deg, rise_range_A)
    if on_pick is not None:
        view.observe(lambda change: on_pick(*change["new"]) if change["new"] else None, "picked")
    return view


def block_maximum(
    values: Float[np.ndarray, "a b"], max_cells: tuple[int, int]
) -> tuple[Float[np.ndarray, "c d"], tuple[int, int]]:
    """The highest value in each block of equal size, and that size; at most ``max_cells`` blocks.

    Examples
    --------
    >>> block_maximum(np.array([[1.0, 5.0, 2.0], [0.0, 3.0, 4.0]]), (2, 2))
    (array([[5., 2.],
           [3., 4.]]), (1, 2))
    """
    block = tuple(-(-n // most) for n, most in zip(values.shape, max_cells, strict=True))
    for axis in (0, 1):
        values = np.maximum.reduceat(values, np.arange(0, values.shape[axis], block[axis]), axis=axis)
    return values, (block[0], block[1])


def _within(name: str, axis: Float[np.ndarray, "n"], wanted: tuple[float, float] | None) -> slice:
    if wanted is None:
        return slice(0, len(axis))
    low, high = np.searchsorted(axis, wanted[0], "left"), np.searchsorted(axis, wanted[1], "right")
    if high - low < 2:
        raise HelixLabError(
            f"{name}: found {wanted}; the landscape runs from {axis[0]:g} to {axis[-1]:g}. Give a range inside, the "
            "smaller value first."
        )
    return slice(int(low), int(high))


def _cells(axis: Float[np.ndarray, "n"], block: int) -> tuple[float, float]:
    """Lower edge of the first cell, and a cell's width: a grid point lies in the middle of its own step."""
    step = float(axis[1] - axis[0])
    return float(axis[0]) - step / 2, step * block


def _in_view(
    candidates: Sequence[Candidate | HelicalSymmetry], x_range: tuple[float, float], y_range: tuple[float, float]
) -> dict[tuple[float, float], str]:
    """Where descriptions of candidates lie in the plane, and the numbers of those that lie there."""
    places: dict[tuple[float, float], str] = {}
    for number, candidate in enumerate(candidates, 1):
        symmetry = candidate.symmetry if isinstance(candidate, Candidate) else candidate
        for s in symmetry.equivalents():
            if x_range[0] <= s.twist_deg <= x_range[1] and y_range[0] <= s.rise_A <= y_range[1]:
                at = (round(s.twist_deg, 2), round(s.rise_A, 2))  # closer ones cannot be told apart on a screen
                places[at] = f"{places[at]}, {number}" if at in places else str(number)
    return places


def _rings(
    places: dict[tuple[float, float], str], x_range: tuple[float, float], scales: dict[str, bqplot.Scale]
) -> list[bqplot.Mark]:
    """Each place ringed, whole even at the plane's edge, with its numbers beside it where there is room."""
    rings = bqplot.Scatter(
        x=[twist_deg for twist_deg, _ in places],
        y=[rise_A for _, rise_A in places],
        scales=scales,
        colors=[MARKER],
        fill=False,
        stroke=MARKER,
        stroke_width=2,
        default_size=160,
        apply_clip=False,
    )
    last_deg = x_range[1] - 0.1 * (x_range[1] - x_range[0])
    on_right = [(place, text) for place, text in places.items() if place[0] <= last_deg]
    on_left = [(place, text) for place, text in places.items() if place[0] > last_deg]
    numbers = [
        bqplot.Label(
            x=[place[0] for place, _ in group],
            y=[place[1] for place, _ in group],
            text=[text for _, text in group],
            scales=scales,
            colors=["#ffffff"],
            default_size=14,
            font_weight="bold",
            align=align,
            x_offset=offset_px,
            y_offset=-8,
        )
        for group, align, offset_px in ((on_right, "start", 10), (on_left, "end", -10))
    ]
    return [rings, *numbers]


def _cross(scales: dict[str, bqplot.Scale]) -> bqplot.Scatter:
    return bqplot.Scatter(
        x=[], y=[], scales=scales, marker="cross", colors=["#ffffff"], stroke="#000000", stroke_width=1, default_size=90
    )
