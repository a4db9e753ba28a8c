"""The power spectrum with the layer lines of the current symmetry on it, which can be dragged."""

from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from jaxtyping import Float

from helixlab.explore import FilamentMap, PowerSpectrum
from helixlab.geometry import (
    HelicalSymmetry,
    LayerLine,
    Volume,
    first_maximum_per_A,
    layer_lines,
    symmetry_with_layer_line,
)
from helixlab_widgets.colors import MARKER
from helixlab_widgets.views.planes import PlaneCanvas, PlaneView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPARISONS = ("before", "after", "halves")

_HELP = """The power of the filament's projections, on a logarithmic scale: what a diffraction pattern would show. A \
helix puts it on layer lines. Height is the frequency along the axis (Z), width the distance from it (R); the centre \
is the lowest frequency.
The marks at both sides are the layer lines that the current twist and rise allow, each with its Bessel order n: \
positive for right-handed lines of subunits, 0 on the meridian. The dots are where a line is brightest if the density \
lies at the given radius: the lower the order, the nearer to the meridian. Power on a line that is not marked, or on \
the meridian where no line of order 0 is, speaks against the symmetry.
Mouse: drag a line. One of order 0 sets the rise and keeps the pitch; any other sets the twist and keeps the rise. \
With Shift or Alt held the twist is kept, and the whole pattern stretches.
Keyboard, after a click or Tab: + and − choose a line, the up and down arrows move it by 0.00002 1/Å, with Shift by \
ten times that, with Alt at constant twist."""


class SpectrumCanvas(PlaneCanvas, script=("plane.js", "spectrum.js")):
    """R against Z; a row of ``marks`` is order, branch, Z (1/Å) and R of the first maximum (1/Å)."""

    max_order = traitlets.Int(8, help="Largest |n| of the lines shown.").tag(sync=True)
    radius_A = traitlets.Float(60.0, help="Distance from the axis for which the dots are drawn, Å.").tag(sync=True)


class SpectrumView(PlaneView):
    """A 2D power spectrum with the layer lines and Bessel orders that a symmetry predicts.

    Parameters
    ----------
    spectrum : PowerSpectrum or Volume, optional
        Of a map, the mean over all its side views.
    after : PowerSpectrum, optional
        Of the symmetrised map, on the same grid; then the left half shows the map, the right half this.
    symmetry : HelicalSymmetry, optional
        Whose layer lines are drawn.
    radius_A : float
        Distance of the density from the axis, Å: where on its line each order is brightest.
    max_order : int
        Largest |n| of the lines drawn.
    colour_map : str

    Examples
    --------
    >>> freq_per_A = np.linspace(-0.2, 0.2, 21)
    >>> view = SpectrumView(PowerSpectrum(freq_per_A, freq_per_A, np.ones((21, 21), np.float32)))
    >>> view.symmetry = HelicalSymmetry.from_pitch(20.0, 4.0)
    >>> view.canvas.drag = {"id": 1, "order": 1, "branch": 0, "freq_per_A": 0.04, "keeps_twist": False}
    >>> round(view.symmetry.pitch_A, 9), view.rise_A
    (25.0, 5.0)
    """

    comparison = traitlets.Enum(COMPARISONS, "before", help="The map's, the symmetrised map's, or half of each.")
    max_order = traitlets.Int(8, help="Largest |n| of the lines shown, 0 or more.")
    radius_A = traitlets.Float(60.0, help="Distance from the axis for which the dots are drawn, Å, above 0.")
    percentiles = (20.0, 99.9)
    size_in = (5.0, 5.0)

    def __init__(
        self,
        spectrum: PowerSpectrum | Volume | None = None,
        after: PowerSpectrum | None = None,
        *,
        symmetry: HelicalSymmetry | None = None,
        radius_A: float = 60.0,
        max_order: int = 8,
        colour_map: str = "gray",
    ) -> None:
        super().__init__(
            SpectrumCanvas(caption="Power on a logarithmic scale"),
            shared=("max_order", "radius_A"),
            symmetry=symmetry,
            colour_map=colour_map,
            title="Power spectrum and layer lines",
            help_text=_HELP,
            name="spectrum",
        )
        self.watch(self, self._show_marks, "max_order", "radius_A")
        self.max_order, self.radius_A = max_order, radius_A
        if isinstance(spectrum, Volume):
            spectrum = FilamentMap(spectrum).power_spectrum()
        if spectrum is not None:
            self.show(spectrum, after)

    def show(self, before: PowerSpectrum, after: PowerSpectrum | None = None) -> None:
        """Show another spectrum of the map, and of the symmetrised map on the same grid."""
        had_after = self.canvas.after is not None
        x_edges, y_edges = _edges(before.freq_r_per_A), _edges(before.freq_z_per_A)
        self._show_pictures(before.power, None if after is None else after.power, x_edges, y_edges)
        if after is not None and not had_after and self.comparison == "before":
            self.comparison = "halves"

    def scaled(self, picture: Float[np.ndarray, "z r"]) -> Float[np.ndarray, "z r"]:
        """log₁₀ of the power, and NaN, which is drawn as nothing, where there is none at all."""
        power = np.asarray(picture, np.float32)
        return np.log10(power, where=power > 0, out=np.full_like(power, np.nan))

    # --- the layer lines ---------------------------------------------------------------------------------

    def marks_of(self, symmetry: HelicalSymmetry) -> Float[np.ndarray, "p 4"]:
        """The layer lines: order, branch, Z, and R of the first maximum."""
        rows = [
            (line.bessel_order, line.branch, line.freq_per_A, first_maximum_per_A(line.bessel_order, self.radius_A))
            for line in layer_lines(symmetry, self.canvas.y_edges[1], self.max_order)
        ]
        return np.array(rows).reshape(-1, 4)

    def symmetry_after(self, symmetry: HelicalSymmetry, drag: dict[str, Any]) -> HelicalSymmetry:
        """The symmetry whose layer line has the height it was dragged to."""
        freq_per_A = float(drag["freq_per_A"])
        line = LayerLine(freq_per_A, int(drag["order"]), int(drag["branch"]))
        return symmetry_with_layer_line(symmetry, line, freq_per_A, keeps_twist=bool(drag["keeps_twist"]))

    def _marks_depend_on(self) -> tuple[object, ...]:
        return (*super()._marks_depend_on(), self.max_order, self.radius_A)

    # --- files -------------------------------------------------------------------------------------------

    def draw(self, figure: "Figure") -> None:
        """The spectrum shown, with the layer lines at its right."""
        axes, symmetry = figure.add_subplot(), self.symmetry
        self._draw_picture(axes, self._shown())
        axes.set(xlabel="R (1/Å)", ylabel="Z (1/Å)", title=str(symmetry) if symmetry else "", box_aspect=1)
        if symmetry is None:
            return
        marks = self.marks_of(symmetry)
        for sign in (-1, 1):
            axes.plot(sign * marks[:, 3], marks[:, 2], ".", color=MARKER, markersize=3)
        named: dict[float, str] = {}
        for order, _, freq_per_A, _ in sorted(marks.tolist(), key=lambda mark: abs(mark[0])):
            # Where two numbers would overlap, the lower order is named.
            if all(abs(freq_per_A - other) > 0.02 * self.canvas.y_edges[1] for other in named):
                named[freq_per_A] = f"{order:.0f}".replace("-", "−")
        right = axes.secondary_yaxis("right")
        right.set_yticks(list(named), list(named.values()), fontsize=5)
        right.set_ylabel("Bessel order n")

    def _shown(self) -> np.ndarray | None:
        before, after = self.canvas.before, self.canvas.after
        if before is None or after is None or self.comparison == "before":
            return before
        if self.comparison == "after":
            return after
        half = before.shape[1] // 2
        return np.concatenate([before[:, :half], after[:, half:]], axis=1)


def _edges(freq_per_A: Float[np.ndarray, "n"]) -> tuple[float, float]:
    half = (freq_per_A[1] - freq_per_A[0]) / 2
    return float(freq_per_A[0] - half), float(freq_per_A[-1] + half)
