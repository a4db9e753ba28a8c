"""The Symmetry Explorer: one map, one symmetry in hand, and every view of it following."""

import os
import threading
from collections.abc import Sequence

import ipywidgets
import traitlets

from helixlab.errors import HelixLabError
from helixlab.explore import FilamentMap, HypothesisReport
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.search import SearchSettings
from helixlab_widgets.apps.explorer_files import ExplorerFiles
from helixlab_widgets.apps.explorer_state import ExplorerState, History
from helixlab_widgets.apps.explorer_work import ExplorerWork
from helixlab_widgets.arrays import Exact
from helixlab_widgets.base import View
from helixlab_widgets.panels.controls import ACTIONS, SymmetryControls
from helixlab_widgets.panels.export_panel import ExportPanel
from helixlab_widgets.panels.hypotheses import HypothesesView
from helixlab_widgets.views.candidates import CandidatesTable
from helixlab_widgets.views.cylinder import CylinderView
from helixlab_widgets.views.fsc import FSCView
from helixlab_widgets.views.isosurface import IsosurfaceView
from helixlab_widgets.views.landscape import LandscapeView
from helixlab_widgets.views.slices import SliceView
from helixlab_widgets.views.spectrum import SpectrumView

_HELP = """Press "Search symmetry", or click a bright place of the landscape, or drag a point of the lattice: all \
views show the same symmetry. A right symmetry leaves the map as it is and sharpens it: "before" and "after" look \
alike, and the lattice's points lie on equal densities all over the cylinder. A wrong one smears. Keep what you \
find as a hypothesis, try another, and compare them in the table."""

Source = str | os.PathLike[str] | Volume | FilamentMap | Sequence[str | os.PathLike[str] | Volume]


class SymmetryExplorer(View):
    """Tune twist and rise, and watch map, lattice, landscape and FSC follow.

    Parameters
    ----------
    source : path, Volume, FilamentMap, or two paths or Volumes
        A map of a filament along z, or two half maps.
    symmetry : HelicalSymmetry, optional
        Where to start; by default at the highest place of the landscape.
    pixel_size_A : float, optional
        For a file whose header has none.
    settings : SearchSettings, optional
        Ranges and radii of the search.
    state : ExplorerState or dict, optional
        A whole state to begin with, as the exported code does.

    Attributes
    ----------
    state : ExplorerState
        What is shown; set it to show something else.

    Raises
    ------
    HelixLabError
        If a map cannot be read, the halves do not fit together, or two arguments say the same thing.

    Examples
    --------
    >>> from helixlab.simulate import simulate_helix
    >>> truth = HelicalSymmetry(60.0, 12.0)
    >>> volume = simulate_helix("builtin", truth, box=48, pixel_size_A=2.5, resolution_A=8.0).volume
    >>> explorer = SymmetryExplorer(volume, symmetry=truth)
    >>> explorer.controls.canvas.rise_A = 12.5
    >>> explorer.state.rise_A
    12.5
    >>> explorer.close()
    """

    state = Exact(ExplorerState, help="The symmetry in hand, the hypotheses, and how the map is looked at.")

    def __init__(
        self,
        source: Source,
        *,
        symmetry: HelicalSymmetry | None = None,
        pixel_size_A: float | None = None,
        settings: SearchSettings | None = None,
        state: ExplorerState | dict | None = None,
    ) -> None:
        if symmetry is not None and state is not None:
            raise HelixLabError("symmetry: found one beside a state, which holds a symmetry itself; give one of them.")
        if settings is not None and isinstance(source, FilamentMap):
            raise HelixLabError("settings: found them beside a FilamentMap, which has its own; give them to the map.")
        self.opened_with = {"pixel_size_A": pixel_size_A, "settings": settings}
        self.source = source
        self.map = FilamentMap.open(source, pixel_size_A=pixel_size_A, search=settings)
        start = symmetry or HelicalSymmetry(22.0, 1.4)
        given = ExplorerState.model_validate(state) if isinstance(state, dict) else state
        first = given or ExplorerState(twist_deg=start.twist_deg, rise_A=start.rise_A, point_group=start.point_group)
        self._history = History(first)
        self._showing = threading.RLock()
        self._follower: int | None = None
        """Thread in which the views are told the state: what they report in it is no wish of the user."""

        self.controls = SymmetryControls(first.symmetry, max_rise_A=self.map.max_rise_A)
        self.candidates = CandidatesTable()
        self.landscape = LandscapeView()
        self.slices = SliceView()
        self.slices.comparison = "after"  # what follows the sliders
        volume = self.map.volume
        self.slices.pixel_size_A = volume.pixel_size_A
        self.cylinder = CylinderView(max_radius_A=(min(volume.shape[1:]) / 2 - 1) * volume.pixel_size_A)
        self.spectrum = SpectrumView()
        self.fsc = FSCView()
        self.isosurface = IsosurfaceView()
        self.hypotheses = HypothesesView()
        self.exports = ExportPanel(stem=self.map.name)
        columns = [
            ipywidgets.VBox([self.slices, self.cylinder, self.spectrum]),
            ipywidgets.VBox([self.fsc, self.landscape, self.isosurface]),
        ]
        body = ipywidgets.Box(columns).add_class("helixlab-columns")
        super().__init__(
            [self.controls, self.candidates, body, self.hypotheses, self.exports],
            title="",
            help_text=_HELP,
            name="explorer",
        )
        self.state = first
        self.work = ExplorerWork(self)
        self.files = ExplorerFiles(self)
        self._link()
        self.files.compare()
        self.work.open(finds_start=symmetry is None and given is None)

    @property
    def views(self) -> tuple[View, ...]:
        """The cards, from top to bottom."""
        return (
            *(self.controls, self.slices, self.cylinder, self.landscape, self.candidates, self.fsc),
            *(self.isosurface, self.spectrum, self.hypotheses, self.exports),
        )

    @property
    def reports(self) -> list[HypothesisReport]:
        """Score, FSC and remarks of the hypotheses, as far as they are known."""
        return self.files.reports

    # --- the state ----------------------------------------------------------------------------------

    @property
    def symmetry(self) -> HelicalSymmetry:
        """The symmetry in hand."""
        return self.state.symmetry

    @traitlets.validate("state")
    def _check_state(self, proposal: dict) -> ExplorerState:
        state, box = proposal["value"], self.map.volume.shape
        if state.rise_A > self.map.max_rise_A:
            raise HelixLabError(
                f"rise_A: found {state.rise_A:g} Å; the part of this box that is averaged holds rises up to "
                f"{self.map.max_rise_A:g} Å. Give a smaller rise, or open a longer box."
            )
        at_px = state.display.at_px
        is_outside = at_px is not None and not all(0 <= i < n for i, n in zip(at_px, box, strict=True))
        return state.with_display(at_px=None) if is_outside else state

    def set_symmetry(self, symmetry: HelicalSymmetry) -> None:
        """Take this symmetry in hand.

        Raises
        ------
        HelixLabError
            If the box is too short for the rise.
        """
        new = self.state.with_symmetry(symmetry)
        if new != self.state:
            self.state = new

    def undo(self) -> None:
        """Take the last change back."""
        self._show_history(self._history.undone())

    def redo(self) -> None:
        """Make the change again that was taken back."""
        self._show_history(self._history.redone())

    def flip(self) -> None:
        """Mirror the map; the twist changes its sign with it."""
        flipped = self.state.with_symmetry(self.symmetry.mirrored())
        self.state = flipped.model_copy(update={"is_flipped": not self.state.is_flipped})

    # --- what the buttons do, for code ------------------------------------------------------------------

    def search(self) -> None:
        """Search the symmetry without a hint, in the background; the best candidate comes in hand."""
        self.work.search()

    def refine(self) -> None:
        """Go to the nearest maximum of the score, in the background."""
        self.work.refine()

    def keep(self, name: str = "") -> None:
        """Keep the symmetry in hand as a hypothesis."""
        self.files.keep(name)

    def keep_control(self) -> None:
        """Keep the map as it is, without symmetry, among the hypotheses."""
        self.files.keep_control()

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the hypotheses to a JSON file."""
        self.files.save(os.fspath(path), overwrite)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Show the hypotheses of a JSON file instead."""
        self.files.load(os.fspath(path))

    def wait(self, timeout_s: float = 120.0) -> bool:
        """Wait until the background work rests; False if that takes longer than the limit."""
        views = (self, *self.views)
        return all(worker.wait(timeout_s) for view in views for worker in view.workers)

    def _show_history(self, history: History) -> None:
        self._history = history
        self.state = history.present

    # --- links: what the user does in a view becomes state; the state becomes what views show --------------

    def _link(self) -> None:
        self.watch(self, self._on_state, "state")
        # Each view watches itself: what goes wrong is shown where the user's hand was.
        self.controls.watch(self.controls, self._on_numbers, "symmetry")
        for view in (self.cylinder, self.spectrum):
            view.watch(view, self._on_dragged, "twist_deg", "rise_A")
        self.landscape.watch(self.landscape, self._on_picked, "picked")
        self.candidates.watch(self.candidates, self._on_chosen, "chosen")
        self.slices.watch(self.slices, self._on_display, "at_px", "kind")
        self.cylinder.watch(self.cylinder, self._on_display, "radius_A", "thickness_A")
        for name in ACTIONS:
            self.controls.on_action(name, getattr(self, name))
        self._show_symmetry()

    def _on_numbers(self, change: dict) -> None:
        self._take(change["new"])

    def _on_dragged(self, change: dict) -> None:
        view = change["owner"]
        if self._follower != threading.get_ident():
            self._take(HelicalSymmetry(view.twist_deg, view.rise_A, self.state.point_group))

    def _take(self, symmetry: HelicalSymmetry) -> None:
        """Take a symmetry in hand; if that is impossible, all views go back to the present one."""
        try:
            self.set_symmetry(symmetry)
        except HelixLabError:
            self._show_symmetry()
            raise

    def _on_picked(self, change: dict) -> None:
        if change["new"] is not None:
            self._take(HelicalSymmetry(*change["new"], self.state.point_group))

    def _on_chosen(self, change: dict) -> None:
        if change["new"] is not None:
            self._take(self.candidates.candidates[change["new"]].symmetry)

    def _on_display(self, change: dict) -> None:
        if self._follower != threading.get_ident():
            self.state = self.state.with_display(**{change["name"]: change["new"]})

    def _on_state(self, change: dict) -> None:
        old, new = change["old"], change["new"]
        self._history = self._history.to(new)
        self.controls.canvas.can_undo = bool(self._history.past)
        self.controls.canvas.can_redo = bool(self._history.future)
        self.work.follow(old, new)
        self._show_symmetry()
        self.files.show_rows()
        if old.hypotheses != new.hypotheses:
            self.files.compare()

    def _show_symmetry(self) -> None:
        """Tell every view the symmetry in hand, and what is looked at."""
        # By one thread at a time: the last to begin has the newest state.
        with self._showing:
            state, symmetry = self.state, self.symmetry
            size = " × ".join(map(str, self.map.volume.shape))
            what = "half maps, " if self.map.has_halves else ""
            mirrored = ", mirrored" if state.is_flipped else ""
            pixel = f"{self.map.volume.pixel_size_A:.4g} Å"
            self.heading.title = f"{self.map.name}: {what}{size} voxels of {pixel}{mirrored}"
            self._follower = threading.get_ident()
            try:
                self.controls.symmetry = symmetry
                for view in (self.cylinder, self.spectrum, self.landscape):
                    with view.hold_trait_notifications():
                        view.twist_deg, view.rise_A = symmetry.twist_deg, symmetry.rise_A
                        view.point_group = symmetry.point_group
                self.candidates.mark(symmetry)
                self.slices.at_px, self.slices.kind = state.display.at_px, state.display.kind
                self.cylinder.radius_A, self.cylinder.thickness_A = state.display.radius_A, state.display.thickness_A
            finally:
                self._follower = None
