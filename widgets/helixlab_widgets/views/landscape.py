"""The plane of all screws as a heat map: pick one, zoom, see where the candidates lie."""

from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
import traitlets

from helixlab.explore import FilamentMap
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.geometry.symmetry import parse_point_group
from helixlab.search import Candidate, Landscape, SearchResult
from helixlab_widgets.base import View
from helixlab_widgets.export import figure_bytes
from helixlab_widgets.jobs import Ticket
from helixlab_widgets.views.cuts import ScoreCut
from helixlab_widgets.views.landscape_picture import LandscapePicture
from helixlab_widgets.views.plane_source import (
    BASES,
    PITCH_SUBUNITS,
    TWIST_RISE,
    Curve,
    GridSource,
    MapSource,
    PlaneRequest,
    PlaneSource,
    Range,
)
from helixlab_widgets.views.score_plane import ScorePlane

_HELP = """The score of every screw: how well the map agrees with itself after a turn by the twist and a shift by the \
rise, repeated (1 is perfect). Every cell shows the best screw under it. A true symmetry is a bright spot; so are its \
multiples (twice the twist and rise, and so on), which is why the spot with the smallest rise of a row matters.
Click a spot to take it in hand: the best screw within a few pixels is picked. Drag a box to look closer, in finer \
steps; double-click or press "Whole plane" to go back. Rings with numbers are the candidates of the search, the cross \
is the symmetry in hand, and small crosses are the same symmetry in other words. Below are the scores along twist and \
rise through the cross; click there to fine-tune one of them.
Keys, after a click or Tab into the map: arrows move the cross by a cell, + and − zoom at the cross, Esc shows the \
whole plane."""

_HINT = "Click the map to pick a screw."
_STEPS = {"ArrowLeft": (-1, 0), "ArrowRight": (1, 0), "ArrowDown": (0, -1), "ArrowUp": (0, 1)}
_ZOOMS = {"+": 0.5, "=": 0.5, "-": 2.0}
_CUT_HALF_WIDTHS = (2.0, 1.0)
"""Degrees and Å that the cuts reach to either side."""


class LandscapeView(View):
    """A heat map of scores, to pick a screw from.

    Parameters
    ----------
    source : Landscape, SearchResult, FilamentMap or Volume, optional
        A map is scored anew for every window, in the background. Of a search's result the candidates are shown, too,
        and the best one is taken in hand.
    candidates : sequence of Candidate or HelicalSymmetry
        Ringed and numbered from 1, wherever an equivalent description of them lies in the plane.
    twist_range_deg, rise_range_A : (low, high), optional
        Show this part of the plane first.

    Raises
    ------
    HelixLabError
        If a range holds fewer than two points of a landscape.

    Examples
    --------
    >>> twist_deg, rise_A = np.arange(-180.0, 180.0, 2.0), np.arange(1.0, 10.0, 0.5)
    >>> score = np.zeros((180, 18), np.float32)
    >>> score[101, 4] = 0.9
    >>> view = LandscapeView(Landscape(twist_deg, rise_A, score, 1 - score))
    >>> view.pick_near(22.3, 3.1)
    >>> view.picked
    (22.0, 3.0)
    """

    picked = traitlets.Tuple(
        traitlets.Float(),
        traitlets.Float(),
        default_value=None,
        allow_none=True,
        help="Twist in degrees and rise in Å that the user picked; None before, and once another symmetry is in hand.",
    )
    twist_deg = traitlets.Float(None, allow_none=True, help="Of the symmetry in hand, degrees; None without one.")
    rise_A = traitlets.Float(None, allow_none=True, help="Of the symmetry in hand, Å; None without one.")
    point_group = traitlets.Unicode("C1", help="Of the symmetry in hand; scores are averaged over the turns of its Cn.")
    candidates = traitlets.Tuple(help="Ringed and numbered: Candidate or HelicalSymmetry.")
    basis = traitlets.Enum(BASES, TWIST_RISE, help="What the axes are.")
    hand = traitlets.Enum((1, -1), 1, help="Of the plane of pitch and subunits: 1 right, −1 left.")
    x_range = traitlets.Tuple(
        traitlets.Float(), traitlets.Float(), default_value=None, allow_none=True, help="Shown; None for the whole."
    )
    y_range = traitlets.Tuple(
        traitlets.Float(), traitlets.Float(), default_value=None, allow_none=True, help="Shown; None for the whole."
    )

    def __init__(
        self,
        source: "Landscape | SearchResult | FilamentMap | Volume | None" = None,
        *,
        candidates: Sequence[Candidate | HelicalSymmetry] | None = None,
        twist_range_deg: Range | None = None,
        rise_range_A: Range | None = None,
    ) -> None:
        self._source: PlaneSource | None = None
        self._asked: PlaneRequest | None = None
        self._whole: tuple[Range, Range] | None = None
        self._score: float | None = None
        self.picture = LandscapePicture(key_names=[*_STEPS, *_ZOOMS, "Escape"])
        self._twist_cut, self._rise_cut = ScoreCut("Twist (°)"), ScoreCut("Rise (Å)")
        self._whole_button = ipywidgets.Button(description="Whole plane", tooltip="Show all screws (Esc)")
        self._basis_buttons = ipywidgets.ToggleButtons(
            options=[("twist, rise", TWIST_RISE), ("subunits, pitch", PITCH_SUBUNITS)]
        )
        self._hand_buttons = ipywidgets.ToggleButtons(options=[("right-handed", 1), ("left-handed", -1)])
        self._hand_buttons.layout.display = "none"
        self.readout = ipywidgets.HTML().add_class("helixlab-readout")
        buttons = _row(self._whole_button, self._basis_buttons, self._hand_buttons).add_class("helixlab-actions")
        self._cuts = _row(self._twist_cut.widget, self._rise_cut.widget)
        super().__init__(
            [buttons, self.picture.widget, self.readout, self._cuts],
            title="Landscape",
            help_text=_HELP,
            name="landscape",
        )
        self._plane_worker = self.add_worker("landscape", shows_progress=True)
        self.listen(self.heading, "cancel", self._cancel)
        self._cut_worker = self.add_worker("landscape-cuts")
        self._follow_the_state()
        self._follow_the_user()
        self.show(source, candidates=candidates, twist_range_deg=twist_range_deg, rise_range_A=rise_range_A)

    # --- what is shown ------------------------------------------------------------------------------

    def show(
        self,
        source: "Landscape | SearchResult | FilamentMap | Volume | None",
        *,
        candidates: Sequence[Candidate | HelicalSymmetry] | None = None,
        whole: Landscape | None = None,
        twist_range_deg: Range | None = None,
        rise_range_A: Range | None = None,
    ) -> None:
        """Show the scores of something else.

        Parameters
        ----------
        source, candidates, twist_range_deg, rise_range_A
            As for the view.
        whole : Landscape, optional
            Of a map: its whole plane in C1, if that is known already.
        """
        if candidates is None:
            candidates = source.candidates if isinstance(source, SearchResult) else ()
        self._source, self._asked, self._whole = _plane_source(source, whole), None, None
        bases = self._source.bases if self._source else (TWIST_RISE,)
        self._basis_buttons.layout.display = None if len(bases) > 1 else "none"
        with self.hold_trait_notifications():
            self.candidates = tuple(candidates)
            self.basis = self.basis if self.basis in bases else TWIST_RISE
            self.x_range, self.y_range = twist_range_deg, rise_range_A
            if isinstance(source, SearchResult) and self.symmetry is None:
                self.show_symmetry(source.best.symmetry)
        self._ask_plane()
        self._ask_cuts()
        self._show_readout()

    def show_symmetry(self, symmetry: HelicalSymmetry) -> None:
        """Take a symmetry in hand that was not picked here."""
        with self.hold_trait_notifications():
            self.twist_deg, self.rise_A, self.point_group = symmetry.twist_deg, symmetry.rise_A, symmetry.point_group

    @property
    def symmetry(self) -> HelicalSymmetry | None:
        """The symmetry in hand."""
        if self.twist_deg is None or self.rise_A is None:
            return None
        return HelicalSymmetry(self.twist_deg, self.rise_A, self.point_group)

    @property
    def request(self) -> PlaneRequest:
        """The plane that is wanted."""
        order = parse_point_group(self.point_group)[1]
        return PlaneRequest(self.basis, self.x_range, self.y_range, self.hand, f"C{order}")

    def _ask_plane(self, _change: object = None) -> None:
        """Ask for the plane that is wanted now, unless it has been asked for."""
        source, request = self._source, self.request
        if source is None or request == self._asked:
            return
        if source.is_quick:
            self._plane_worker.cancel()
            self._show_plane(source.plane(request), request)
            self._asked = request
            return
        if self._asked is not None and request.basis == self._asked.basis:
            # The old picture, coarse as it is, lies right at once.
            x_range, y_range = self.picture.spans
            self.picture.span(request.x_range or x_range, request.y_range or y_range)
            self._show_marks()
        self._asked = request

        def score(ticket: Ticket) -> ScorePlane:
            ticket.progress("Scoring the plane", 0.0)
            try:
                return source.plane(request)
            except Exception:
                self._asked = None  # it may be asked for again
                raise

        def show(plane: ScorePlane) -> None:
            if source is self._source and request == self._asked:
                self._show_plane(plane, request)

        self._plane_worker.submit(score, show)

    def _cancel(self) -> None:
        self._plane_worker.cancel()
        self._asked = None

    def _show_plane(self, plane: ScorePlane, request: PlaneRequest) -> None:
        self.picture.show(plane, request)
        is_whole = request.x_range is None and request.y_range is None
        self.picture.pointer.waits_for_double_click = not is_whole
        if is_whole:
            self._whole = self.picture.spans
        self._show_marks()
        self._show_readout()

    def _show_marks(self, _change: object = None) -> None:
        self.picture.ring(self.candidates)
        self.picture.mark_symmetry(self.symmetry)

    def _ask_cuts(self) -> None:
        source, symmetry = self._source, self.symmetry
        if source is None or symmetry is None:
            self._cuts.layout.visibility = "hidden"
        elif source.is_quick:
            self._show_cuts(symmetry, source.cuts(symmetry, _CUT_HALF_WIDTHS))
        else:

            def cut(ticket: Ticket) -> tuple[Curve, Curve]:
                ticket.yield_to_others()
                return source.cuts(symmetry, _CUT_HALF_WIDTHS)

            self._cut_worker.submit(
                cut, lambda cuts: self._show_cuts(symmetry, cuts) if symmetry == self.symmetry else None
            )

    def _show_cuts(self, symmetry: HelicalSymmetry, cuts: tuple[Curve, Curve]) -> None:
        (twist_deg, twist_score), (rise_A, rise_score) = cuts
        self._cuts.layout.visibility = "visible"
        self._twist_cut.show(twist_deg, twist_score, symmetry.twist_deg)
        self._rise_cut.show(rise_A, rise_score, symmetry.rise_A)
        self._score = float(np.interp(symmetry.rise_A, rise_A, rise_score))
        self._show_readout()

    def _show_symmetry(self, _change: object) -> None:
        symmetry = self.symmetry
        if self.picked != (self.twist_deg, self.rise_A):
            self.picked = None
        if symmetry is not None and symmetry.hand:
            self.hand = symmetry.hand
        self._score = None
        self.picture.mark_symmetry(symmetry)
        self._ask_plane()
        self._ask_cuts()
        self._show_readout()

    def _show_readout(self, _change: object = None) -> None:
        symmetry = self.symmetry
        if self._source is None:
            self.readout.value = "Nothing to show yet: open a map."
        elif symmetry is None:
            self.readout.value = _HINT
        else:
            score = "" if self._score is None else f", score {self._score:.3f}"
            turn = f" (pitch {symmetry.pitch_A:.2f} Å, {symmetry.subunits_per_turn:.3f} subunits per turn)"
            self.readout.value = (
                f"{'Picked' if self.picked else 'In hand'}: twist {symmetry.twist_deg:.3f}°, "
                f"rise {symmetry.rise_A:.3f} Å{score}{turn if symmetry.hand else ''}"
            )

    def _show_basis(self, _change: object) -> None:
        self._hand_buttons.layout.display = "none" if self.basis == TWIST_RISE else None
        self._whole = None
        self.show_window(None, None)
        self._ask_plane()

    def _follow_the_state(self) -> None:
        for buttons, name in ((self._basis_buttons, "basis"), (self._hand_buttons, "hand")):
            self.watch(self, lambda change, buttons=buttons: setattr(buttons, "value", change["new"]), name)
        self.watch(self, self._show_basis, "basis")
        self.watch(self, self._ask_plane, "x_range", "y_range", "hand")
        self.watch(self, self._show_symmetry, "twist_deg", "rise_A", "point_group")
        self.watch(self, self._show_marks, "candidates")
        self.watch(self, self._show_readout, "picked")

    # --- what the user does -------------------------------------------------------------------------

    def pick_near(self, x: float, y: float) -> None:
        """What a click at this place of the plane does: take the best screw within a few pixels in hand."""
        if self.picture.plane is not None:
            self.pick(*self.picture.request.screw(*self.picture.plane.best_near(x, y)))

    def pick(self, twist_deg: float, rise_A: float) -> None:
        """Take exactly this screw in hand."""
        with self.hold_trait_notifications():
            self.picked, self.twist_deg, self.rise_A = (twist_deg, rise_A), twist_deg, rise_A

    def show_window(self, x_range: Range | None, y_range: Range | None) -> None:
        """Show a part of the plane; None for the whole."""
        with self.hold_trait_notifications():
            self.x_range, self.y_range = x_range, y_range

    def zoom(self, factor: float) -> None:
        """Show a window so many times as large, about the cross or the middle, inside the plane."""
        spans = self.picture.spans
        windows = []
        for at, (low, high), (least, most) in zip(
            self.picture.cross or map(_middle, spans), spans, self._whole or spans, strict=True
        ):
            size = min(factor * (high - low), most - least)
            start = min(max(at - size / 2, least), most - size)
            windows.append((start, start + size))
        self.show_window(*windows)

    def _on_key(self, key: str) -> None:
        plane, cross = self.picture.plane, self.picture.cross
        if key == "Escape":
            self.show_window(None, None)
        elif key in _ZOOMS:
            self.zoom(_ZOOMS[key])
        elif plane is not None and cross is not None:
            x, y = (at + n * size for at, n, size in zip(cross, _STEPS[key], plane.cell, strict=True))
            self.pick(*self.picture.request.screw(x, y))

    def _follow_the_user(self) -> None:
        for buttons, name in ((self._basis_buttons, "basis"), (self._hand_buttons, "hand")):
            self.watch(buttons, lambda change, name=name: setattr(self, name, change["new"]), "value")
        pointers = (self.picture.pointer, self._twist_cut.pointer, self._rise_cut.pointer)
        for pointer in pointers:
            pointer.listen("error", self._show_browser_error)
        plane, twist, rise = pointers
        self.listen(plane, "click", self.pick_near)
        self.listen(plane, "box", lambda x, y: self.show_window(tuple(x), tuple(y)))
        self.listen(plane, "double_click", lambda: self.show_window(None, None))
        self.listen(plane, "key", self._on_key)
        self.listen(twist, "click", lambda x, y: self.symmetry and self.pick(x, self.rise_A))
        self.listen(rise, "click", lambda x, y: self.symmetry and self.pick(self.twist_deg, x))
        self._whole_button.on_click(self.guarded(lambda _button: self.show_window(None, None)))

    # --- export -------------------------------------------------------------------------------------

    def draw(self, figure: Any) -> None:
        """Draw picture and cuts into a matplotlib figure."""
        grid = figure.add_gridspec(2, 2, height_ratios=(3, 1))
        self.picture.draw(figure, figure.add_subplot(grid[0, :]))
        for column, cut in enumerate((self._twist_cut, self._rise_cut)):
            cut.draw(figure.add_subplot(grid[1, column]))

    def to_png(self) -> bytes:
        """The landscape as a PNG picture."""
        return figure_bytes(self.draw, file_format="png", size_in=(6.0, 5.0))

    def to_svg(self) -> str:
        """The landscape as SVG."""
        return figure_bytes(self.draw, file_format="svg", size_in=(6.0, 5.0)).decode()


def _middle(span: Range) -> float:
    return sum(span) / 2


def _row(*widgets: ipywidgets.Widget) -> ipywidgets.Box:
    return ipywidgets.Box(widgets, layout=ipywidgets.Layout(flex_flow="row wrap", width="100%"))


def _plane_source(
    source: "Landscape | SearchResult | FilamentMap | Volume | None", whole: Landscape | None
) -> PlaneSource | None:
    if source is None:
        return None
    if isinstance(source, SearchResult):
        source = source.landscape
    if isinstance(source, Volume):
        source = FilamentMap(source)
    return GridSource(source) if isinstance(source, Landscape) else MapSource(source, whole)
