"""What the explorer computes in the background, and when.

Threads of their own, so that what is quick never waits for what is slow: slices at every move of the slider; curves
(FSC, score) close behind; the scene (isosurface, unrolled wall, power spectrum) once the slider rests; and what the
user asked for by name (search, refine). Each job reads the state when it runs, so that what it shows is never older
than need be, and shows it unless the map was flipped meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from helixlab.explore import FilamentMap
from helixlab.geometry import HelicalSymmetry
from helixlab.search import Candidate, Landscape, SearchResult, UnrolledMap, compute_landscape, search_axes
from helixlab_widgets.apps.explorer_state import ExplorerState
from helixlab_widgets.jobs import HAND_FIRST_S, Ticket

if TYPE_CHECKING:
    from helixlab_widgets.apps.symmetry_explorer import SymmetryExplorer

QUIET_S = 0.25
"""How long the slider rests before the scene is computed: longer than the pause between two steps of a key held."""

SURFACE_BOX_PX = 96
"""Box of the map drawn as a surface: what a browser draws again within a tenth of a second."""

_FSC_NOTE = "An FSC cannot choose between two symmetries that both fit: compare hypotheses, and look at the map."
_NO_HALVES_NOTE = "One map has no FSC of its own: open two half maps. Shown: the map against itself symmetrised."
_FLIPPED_NOTE = "The map was mirrored, and the twist with it. The candidates were of the other hand: search again."
_MOVED_NOTE = (
    "The candidates hold for the straightened map; the views show the map as it lies, in which they score less. Open "
    "the straightened one, e.g. SymmetryExplorer(hl.align_axis(volume)[0])."
)


class ExplorerWork:
    """The explorer's computations; each method only asks for work and returns at once."""

    def __init__(self, explorer: SymmetryExplorer) -> None:
        self._explorer = explorer
        self._planes_shown: tuple | None = None
        self._surface_shown: tuple | None = None
        self._spectrum_shown: tuple | None = None
        self._wall: tuple[tuple, UnrolledMap] | None = None
        self._finds_start = False
        self._first_look = explorer.landscape.add_worker("first-look")
        self._slices = explorer.slices.add_worker("slices")
        self._curves = explorer.fsc.add_worker("curves")
        self._scene = explorer.add_worker("scene")
        self._asked = explorer.add_worker("asked", shows_progress=True)

    @property
    def map(self) -> FilamentMap:
        """The map that is looked at: as opened, or its mirror image."""
        explorer = self._explorer
        return explorer.map.flipped() if explorer.state.is_flipped else explorer.map

    def open(self, *, finds_start: bool) -> None:
        """Show the map and its landscape; start at the landscape's highest place if nothing else was given."""
        explorer, filament_map = self._explorer, self.map
        begun = explorer.state
        self._finds_start = finds_start
        self._show_all()

        def look(_ticket: Ticket) -> Landscape:
            whole = _whole_landscape(filament_map)
            explorer.spectrum.radius_A = filament_map.outer_radius_A
            return whole

        def show(whole: Landscape) -> None:
            if explorer.state.is_flipped != begun.is_flipped:
                return
            explorer.landscape.show(filament_map, whole=whole)
            guess = whole.first_guess()
            if self._finds_start and guess and explorer.state is begun:
                explorer.set_symmetry(HelicalSymmetry(*guess))
            # What the compiler has done now no slider has to wait for.
            self._first_look.submit(lambda _ticket: filament_map.warm_up(explorer.state.point_group))

        self._first_look.submit(look, show)

    def follow(self, old: ExplorerState, new: ExplorerState) -> None:
        """Compute again what a change of the state makes stale."""
        if old.is_flipped != new.is_flipped:
            self._asked.cancel()
            self._explorer.candidates.show((), warnings=(_FLIPPED_NOTE,))
            self._explorer.landscape.show(self.map)
            self._show_all()
        elif (old.twist_deg, old.rise_A, old.point_group) != (new.twist_deg, new.rise_A, new.point_group):
            self._show_all()
        elif (old.display.at_px, old.display.kind) != (new.display.at_px, new.display.kind):
            self._slices.submit(self._show_planes)
        elif old.display != new.display:
            self._scene.submit(self._show_scene)

    def search(self) -> None:
        """Search the symmetry without a hint; the best candidate comes in hand."""
        explorer, filament_map, begun = self._explorer, self.map, self._explorer.state
        self._finds_start = False  # a guess that comes during the search would be taken for a move of the user

        def show(result: SearchResult) -> None:
            if explorer.state.is_flipped != begun.is_flipped:
                return
            was_moved = result.axis is not None and result.axis.was_moved
            warnings = (_MOVED_NOTE, *result.warnings) if was_moved else result.warnings
            explorer.candidates.show(result.candidates, warnings=warnings)
            explorer.landscape.candidates = result.candidates
            # Who moved on meanwhile chooses from the table.
            if explorer.state.with_display() == begun.with_display(**explorer.state.display.model_dump()):
                explorer.candidates.chosen = 0
            explorer.candidates.mark(explorer.symmetry)

        self._asked.submit(lambda ticket: filament_map.search(progress=ticket.progress), show)

    def refine(self) -> None:
        """Go to the nearest maximum of the score."""
        explorer, filament_map, begun = self._explorer, self.map, self._explorer.state

        def work(ticket: Ticket) -> Candidate:
            ticket.progress("Refining", 0.5)
            return filament_map.refine(begun.symmetry)

        def show(candidate: Candidate) -> None:
            if explorer.state.is_flipped == begun.is_flipped:
                explorer.set_symmetry(candidate.symmetry)

        self._asked.submit(work, show)

    # --- the lanes ------------------------------------------------------------------------------------

    def _show_all(self) -> None:
        self._slices.submit(self._show_planes)
        self._curves.submit(self._show_curves)
        self._scene.submit(self._show_scene)
        self._slices.wait(HAND_FIRST_S)

    def _show_planes(self, _ticket: Ticket) -> None:
        state, filament_map, view = self._explorer.state, self.map, self._explorer.slices
        at_px, kind = state.display.at_px, state.display.kind
        cut = (state.is_flipped, at_px, kind)
        if cut != self._planes_shown:
            # At once: the first symmetrised planes of a map take longer.
            view.show_planes(filament_map.planes(at_px, kind), None)
            self._planes_shown = cut
        view.show_planes(None, filament_map.symmetrised_planes(state.symmetry, at_px, kind))

    def _show_curves(self, ticket: Ticket) -> None:
        ticket.yield_to_others()
        explorer, filament_map, symmetry = self._explorer, self.map, self._explorer.symmetry
        readout = explorer.controls.canvas
        readout.readout = "Score …"
        baseline = next(iter(filament_map.fsc(None)), None)
        explorer.fsc.show(filament_map.fsc(symmetry), baseline=baseline)
        explorer.fsc.reads_resolution = filament_map.has_halves
        explorer.fsc.note = _FSC_NOTE if filament_map.has_halves else _NO_HALVES_NOTE
        ticket.check()
        score = filament_map.score(symmetry)
        meaning = "how well the map correlates with its copies under this symmetry. 1 is perfect"
        above = "; noise can lift it a little above" if score.has_errors else ""
        readout.readout = " ".join((f"Score {score.score_text}: {meaning}{above}.", *score.notes))

    def _show_scene(self, ticket: Ticket) -> None:
        ticket.settle(QUIET_S)
        # Each part's errors are shown where the part is.
        for view, part in (
            (self._explorer.cylinder, self._show_wall),
            (self._explorer.isosurface, self._show_surface),
            (self._explorer.spectrum, self._show_spectrum),
        ):
            view.guarded(part)()
            ticket.check()

    def _show_wall(self) -> None:
        state, filament_map = self._explorer.state, self.map
        radius_A, thickness_A = state.display.radius_A, state.display.thickness_A
        cut = (state.is_flipped, radius_A, thickness_A)
        if self._wall is None or self._wall[0] != cut:
            self._wall = cut, filament_map.unrolled(radius_A, thickness_A=thickness_A)
        imposed = filament_map.unrolled(radius_A, thickness_A=thickness_A, symmetry=state.symmetry)
        self._explorer.cylinder.show_picture(self._wall[1], imposed)

    def _show_surface(self) -> None:
        state, filament_map = self._explorer.state, self.map
        drawn = (state.is_flipped, state.twist_deg, state.rise_A, state.point_group)
        if drawn == self._surface_shown:
            return
        is_new_map = self._surface_shown is None or self._surface_shown[0] != state.is_flipped
        before = filament_map.downsized(SURFACE_BOX_PX) if is_new_map else None
        self._explorer.isosurface.show(before, filament_map.symmetrised(state.symmetry, box_px=SURFACE_BOX_PX))
        self._surface_shown = drawn

    def _show_spectrum(self) -> None:
        state, filament_map = self._explorer.state, self.map
        drawn = (state.is_flipped, state.twist_deg, state.rise_A, state.point_group)
        if drawn != self._spectrum_shown:
            imposed = filament_map.power_spectrum(state.symmetry)
            self._explorer.spectrum.show(filament_map.power_spectrum(), imposed)
            self._spectrum_shown = drawn


def _whole_landscape(filament_map: FilamentMap) -> Landscape:
    """The whole plane, in the steps and ranges of a search."""
    filament, settings = filament_map.filament, filament_map.settings
    return compute_landscape(filament, *search_axes(filament, settings.twist_range_deg, settings.rise_range_A))
