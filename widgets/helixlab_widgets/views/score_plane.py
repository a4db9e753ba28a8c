"""Scores over a plane, reduced to what a screen shows, without losing a peak."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError

MAX_CELLS = (480, 300)
"""Cells shown along x and y: fewer than a figure's pixels even where it is 600 px wide, so that the browser has no cell
to leave out."""

_REACH_CELLS = 3
"""How far from a click a peak is still meant, in cells: some pixels, as far as a hand misses."""


@dataclass(frozen=True, eq=False)
class ScorePlane:
    """Scores over evenly spaced x and y.

    Each cell of ``shown`` holds the highest score of the grid points under it, so that a peak narrower than a pixel
    is not overlooked.

    Parameters
    ----------
    x, y : arrays
    score : array, shape (x, y)
        −1 stands for "never compared".

    Examples
    --------
    >>> score = np.zeros((960, 300))
    >>> score[101, 4] = 0.9
    >>> plane = ScorePlane(np.arange(960.0), np.arange(300.0), score)
    >>> plane.shown.shape, plane.best_near(102.0, 5.0), plane.score_at(101.2, 3.9)
    ((480, 300), (101.0, 4.0), 0.9)
    """

    x: Float[np.ndarray, "x"]
    y: Float[np.ndarray, "y"]
    score: Float[np.ndarray, "x y"]
    shown: Float[np.ndarray, "a b"] = field(init=False)
    _block: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        shown, block = block_maximum(self.score, MAX_CELLS)
        object.__setattr__(self, "shown", shown)
        object.__setattr__(self, "_block", block)

    @property
    def x_range(self) -> tuple[float, float]:
        """Outer edges of the first and the last cell."""
        return self._edges(0)

    @property
    def y_range(self) -> tuple[float, float]:
        """Outer edges of the first and the last cell."""
        return self._edges(1)

    def part(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> "ScorePlane":
        """The grid points inside two ranges.

        Raises
        ------
        HelixLabError
            If a range holds fewer than two of them.
        """
        x, y = _within("x_range", self.x, x_range), _within("y_range", self.y, y_range)
        return ScorePlane(self.x[x], self.y[y], self.score[x, y])

    def best_near(self, x: float, y: float) -> tuple[float, float]:
        """The grid point with the highest score in the cells round a place; the place itself beyond the plane."""
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        if not (x0 <= x <= x1 and y0 <= y <= y1):
            return x, y
        a, b = (self._cells_round(axis, value) for axis, value in enumerate((x, y)))
        near = self.score[a, b]
        i, j = np.unravel_index(int(np.argmax(near)), near.shape)
        return float(self.x[a][i]), float(self.y[b][j])

    def score_at(self, x: float, y: float) -> float:
        """The score of the grid point nearest to a place."""
        return float(self.score[np.argmin(np.abs(self.x - x)), np.argmin(np.abs(self.y - y))])

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of a cell."""
        return _step(self.x) * self._block[0], _step(self.y) * self._block[1]

    def _edges(self, axis: int) -> tuple[float, float]:
        values = (self.x, self.y)[axis]
        first = float(values[0]) - _step(values) / 2  # a grid point lies in the middle of its own step
        return first, first + self.cell[axis] * self.shown.shape[axis]

    def _cells_round(self, axis: int, value: float) -> slice:
        low, _ = self._edges(axis)
        at = int((value - low) // self.cell[axis])
        return slice(max(0, (at - _REACH_CELLS) * self._block[axis]), (at + _REACH_CELLS + 1) * self._block[axis])


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


def _step(axis: Float[np.ndarray, "n"]) -> float:
    return float(axis[1] - axis[0])


def _within(name: str, axis: Float[np.ndarray, "n"], wanted: tuple[float, float]) -> slice:
    low, high = np.searchsorted(axis, wanted[0], "left"), np.searchsorted(axis, wanted[1], "right")
    if high - low < 2:
        raise HelixLabError(
            f"{name}: found {wanted}; the plane runs from {axis[0]:g} to {axis[-1]:g} in steps of {_step(axis):.3g}. "
            "Give a range inside that holds two steps or more, the smaller value first."
        )
    return slice(int(low), int(high))
