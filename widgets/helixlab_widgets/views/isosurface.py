"""A map and its symmetrised version as surfaces in 3D, drawn by NGL.

NGL comes with nglview's JupyterLab extension, and that is all that is used of nglview: its Python side asks for a front
end that its wheel does not have, polls in two threads for each view, and keeps every map as text in the notebook.
"""

import base64
import threading
import time
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import traitlets
from jaxtyping import UInt8

from helixlab.errors import HelixLabError
from helixlab.explore.resize import downsize_volume
from helixlab.geometry import Volume
from helixlab_widgets.arrays import Array
from helixlab_widgets.base import Canvas, View

_SHOWN = ("before", "after", "both")
_PATIENCE_S = 2.0
"""A browser that has drawn nothing for so long is hidden or gone: the next map is sent all the same."""

_MODEL_FORMATS = {".pdb": "pdb", ".ent": "pdb", ".cif": "cif", ".mmcif": "cif"}

_HELP = """The surface holds all that is denser than one level. The grey arrow is the helical axis, towards larger z.
Level: in standard deviations (σ) above the map's mean; beside it the density that this is, at which both maps are cut.
Large maps are drawn on a coarser grid, named at the end of the controls.
Map, Symmetrised, Both: what is drawn. The right symmetry makes features of the map clearer; a wrong one smears them.
Mouse: drag to turn, Shift-drag or right-drag to move; click the picture, then scroll to zoom.
Keyboard, in the picture: arrow keys turn by 10° (with Shift by 1°), + and − zoom, Home resets the view."""


class _Surfaces(Canvas, script=("ngl_scene.js", "isosurface.js")):
    before = Array(ndim=3, dtype="uint8", help="The map (z, y, x): 0 to 255 are `low` to `high` of its grid.")
    after = Array(ndim=3, dtype="uint8", help="The symmetrised map, likewise; None if there is none.")
    before_grid = traitlets.Dict(help="low, high: densities; pixel_size_A; origin_A: x, y, z.").tag(sync=True)
    after_grid = traitlets.Dict(help="The same of the symmetrised map.").tag(sync=True)
    mean = traitlets.Float(help="Mean density of the map.").tag(sync=True)
    sigma = traitlets.Float(1.0, help="Standard deviation of the map's densities.").tag(sync=True)
    level_range = traitlets.List([0.0, 10.0], help="Ends of the level's slider, in σ above the mean.").tag(sync=True)
    number = traitlets.Int(help="Counts what was sent; the browser names the last that it has drawn.").tag(sync=True)
    note = traitlets.Unicode(help="The grid of the maps, in words.").tag(sync=True)
    atoms = traitlets.Dict(help="An atomic model: its text, and format pdb or cif; empty if none.").tag(sync=True)
    level_sigma = traitlets.Float(1.0, help="The surface's density in σ above the mean.").tag(sync=True)
    shown = traitlets.Enum(_SHOWN, "after", help="Which of the two maps are drawn.").tag(sync=True)
    is_spinning = traitlets.Bool(help="Whether the picture turns about the helical axis.").tag(sync=True)


class IsosurfaceView(View):
    """Show the surface of a map, and of the map with a symmetry imposed, in 3D.

    Parameters
    ----------
    volume : Volume, optional
        The map; helical axis z.
    symmetrised : Volume, optional
        The map with a symmetry imposed.
    level_sigma : float, optional
        Density of the surface in standard deviations above the mean of ``volume``. Without it one that shows most of
        the filament and little noise, found from the map's histogram (Otsu 1979) and the corners of its box.
    shown : "before", "after" or "both"
        What is drawn; always the map as long as there is no symmetrised one.
    box_px : int
        Larger maps are drawn on a grid of at most so many voxels a side; the time to draw grows with their number.

    Attributes
    ----------
    level_sigma, shown, is_spinning
        Traits: they follow the user, and setting them changes the picture.

    Notes
    -----
    The next map is sent when a browser has drawn the one before. Of those that come meanwhile the newest is kept.

    References
    ----------
    Otsu (1979), https://doi.org/10.1109/TSMC.1979.4310076

    Examples
    --------
    >>> view = IsosurfaceView(Volume(np.random.default_rng(0).normal(size=(8, 8, 8)), 2.0), level_sigma=1.5)
    >>> view.level_sigma, view.shown
    (1.5, 'after')
    >>> view.close()
    """

    level_sigma = traitlets.Float(1.0, help="The surface's density in standard deviations above the map's mean.")
    shown = traitlets.Enum(_SHOWN, "after", help="Drawn: the map (before), the symmetrised map (after), or both.")
    is_spinning = traitlets.Bool(help="Whether the picture turns about the helical axis.")

    def __init__(
        self,
        volume: Volume | None = None,
        *,
        symmetrised: Volume | None = None,
        level_sigma: float | None = None,
        shown: Literal["before", "after", "both"] = "after",
        box_px: int = 96,
    ) -> None:
        self._box_px = box_px
        self._canvas = _Surfaces(shown=shown)
        self._lock = threading.Lock()
        self._volume: Volume | None = None
        self._mean, self._sigma = 0.0, 1.0
        self._default_level = self._canvas.level_sigma
        self._waiting: dict[str, Any] = {}
        self._number = 0
        self._is_drawn = True
        self._sent_at_s = 0.0
        self._wants_picture: list[Callable[[bytes], None]] = []
        super().__init__([self._canvas], title="Isosurface", help_text=_HELP, name="isosurface")
        for name in ("level_sigma", "shown", "is_spinning"):
            self.set_trait(name, getattr(self._canvas, name))
            self.watch(self, partial(_copy, self._canvas), name)
            self.watch(self._canvas, partial(_copy, self), name)
        self.listen(self._canvas, "drawn", self._drawn)
        self.listen(self._canvas, "picture", self._take_picture)
        if volume is not None or symmetrised is not None:
            self.show(volume, symmetrised)
        if level_sigma is not None:
            self.level_sigma = level_sigma

    @property
    def level(self) -> float:
        """The density at the surface, in the map's units."""
        return self._mean + self.level_sigma * self._sigma

    def show(self, volume: Volume | None, symmetrised: Volume | None = None) -> None:
        """Show other maps; the camera stays unless the box has another size or place.

        Parameters
        ----------
        volume : Volume or None
            The map; None keeps the one that is shown, which is then not sent again.
        symmetrised : Volume, optional
            The map with a symmetry imposed; without it there is none any more.

        Raises
        ------
        HelixLabError
            If there is no map to keep, or the map is the same everywhere.
        """
        if volume is None and self._volume is None:
            raise HelixLabError("volume: found None and no map is shown; give the map `symmetrised` was made from.")
        changes: dict[str, Any] = {}
        if volume is not None and volume is not self._volume:
            changes |= self._described(volume)
        changes["after"] = None
        if symmetrised is not None:
            small = downsize_volume(symmetrised, self._box_px)
            changes["after"], changes["after_grid"] = _quantised(small, self._mean - self._sigma)
        with self._lock:
            self._volume = volume or self._volume
            self._waiting |= changes
        self._pass_on()

    def add_model(self, path: str | PathLike[str]) -> None:
        """Draw an atomic model over the map, in the coordinates of its file; it replaces the one before.

        Parameters
        ----------
        path : path
            PDB (.pdb, .ent) or mmCIF (.cif, .mmcif).

        Raises
        ------
        HelixLabError
            If the file's name has another ending or there is no such file.
        """
        file = Path(path)
        if file.suffix.lower() not in _MODEL_FORMATS:
            raise HelixLabError(f"{file}: found no ending {', '.join(_MODEL_FORMATS)}; give a PDB or mmCIF file.")
        if not file.is_file():
            raise HelixLabError(f"{file}: found no such file; give the path of a PDB or mmCIF file.")
        self._canvas.atoms = {"text": file.read_text(encoding="utf-8"), "format": _MODEL_FORMATS[file.suffix.lower()]}

    def remove_model(self) -> None:
        """Take the atomic model away."""
        self._canvas.atoms = {}

    def request_png(self, deliver: Callable[[bytes], None]) -> None:
        """Ask a browser for the picture with its legend and scale bar; ``deliver`` gets the PNG later.

        Nothing comes as long as no browser shows this view. A cell that waits for the picture waits in vain: the
        browser's answer is read when the cell has ended.
        """
        self._wants_picture.append(deliver)
        self._canvas.send({"intent": "picture"})

    def _described(self, volume: Volume) -> dict[str, Any]:
        """What the browser needs of a map, and a level unless the user chose one."""
        box = "" if max(volume.shape) <= self._box_px else f"{_shape_text(volume)} reduced to "
        volume = downsize_volume(volume, self._box_px)
        mean, sigma = float(volume.data.mean(dtype=np.float64)), float(volume.data.std(dtype=np.float64))
        if sigma == 0.0:
            raise HelixLabError(f"volume: found the density {mean:g} everywhere; a surface needs a map that varies.")
        self._mean, self._sigma = mean, sigma
        before, grid = _quantised(volume, mean - sigma)
        changes = {
            "before": before,
            "before_grid": grid,
            "mean": mean,
            "sigma": sigma,
            "level_range": [0.0, round((grid["high"] - mean) / sigma, 2)],
            "note": f"{box}{_shape_text(volume)} voxels of {volume.pixel_size_A:.3g} Å",
        }
        is_default = self.level_sigma == self._default_level
        self._default_level = round((_first_level(volume) - mean) / sigma, 2)
        return changes | {"level_sigma": self._default_level} if is_default else changes

    def _pass_on(self) -> None:
        """What waits goes to the browser, if that has drawn what it got before."""
        with self._lock:
            is_ready = self._is_drawn or time.monotonic() - self._sent_at_s > _PATIENCE_S
            if not self._waiting or not is_ready:
                return
            changes, self._waiting = self._waiting, {}
            self._number += 1
            changes["number"] = self._number
            self._is_drawn, self._sent_at_s = False, time.monotonic()
        with self._canvas.hold_sync():
            for name, value in changes.items():
                setattr(self._canvas, name, value)

    def _drawn(self, number: int) -> None:
        with self._lock:
            self._is_drawn = self._is_drawn or number == self._number
        self._pass_on()

    def _take_picture(self, png: str) -> None:
        waiting, self._wants_picture = self._wants_picture, []
        for deliver in waiting:
            deliver(base64.b64decode(png))


def _copy(to: traitlets.HasTraits, change: Any) -> None:
    setattr(to, change["name"], change["new"])


def _shape_text(volume: Volume) -> str:
    return " × ".join(str(n) for n in volume.shape[::-1])


def _quantised(volume: Volume, low: float) -> tuple[UInt8[np.ndarray, "z y x"], dict[str, Any]]:
    """Densities from ``low`` to the highest as 0 to 255, a quarter of the bytes, and what they mean.

    What is less than ``low`` is cut off: no surface is sought there. So are the box's outermost voxels, which closes
    the surface: its inside need not be drawn.
    """
    high = max(float(volume.data.max()), low + 1e-6 * abs(low) + 1e-30)
    values = np.rint(np.clip((volume.data - low) * (255.0 / (high - low)), 0.0, 255.0)).astype(np.uint8)
    for ends in (values, values.transpose(1, 0, 2), values.transpose(2, 0, 1)):
        ends[[0, -1]] = 0
    return values, {"low": low, "high": high, "pixel_size_A": volume.pixel_size_A, "origin_A": list(volume.origin_A)}


def _first_level(volume: Volume) -> float:
    """A density that shows the filament: halfway from what parts the values in two (Otsu 1979) to the mean above it.

    Noise is kept out: the level is three standard deviations above the mean of the box's corners, where a filament
    leaves solvent; but something is always in.
    """
    data = volume.data
    counts, edges = np.histogram(data, 256)
    middle = (edges[1:] + edges[:-1]) / 2
    below, sum_below = np.cumsum(counts)[:-1], np.cumsum(counts * middle)[:-1]
    total, total_sum = counts.sum(), counts @ middle
    between = (total_sum * below - total * sum_below) ** 2 / (below * (total - below))
    threshold = edges[1 + int(np.argmax(between))]
    signal = (threshold + data[data > threshold].mean()) / 2
    y, x = np.ogrid[tuple(slice(-(n // 2), n - n // 2) for n in data.shape[1:])]
    corners = data[:, np.hypot(y, x) > min(data.shape[1:]) / 2]
    noise = corners.mean() + 3 * corners.std() if corners.size else signal
    return float(min(max(signal, noise), np.quantile(data, 0.99)))
