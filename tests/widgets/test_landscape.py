"""The landscape without a browser: no peak is lost, and clicks, boxes and keys do what they say."""

import io
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab.kernels.correlate import Correlation
from helixlab.kernels.lags import LagLimits
from helixlab.search import Filament, Landscape, SearchSettings
from helixlab_widgets import LandscapeView
from helixlab_widgets.views.plane_source import PITCH_SUBUNITS
from helixlab_widgets.views.score_plane import MAX_CELLS, block_maximum


def plane(twists: int = 1440, rises: int = 1181, peak: tuple[int, int] = (808, 9)) -> Landscape:
    """A plane as large as a search's, with one peak of one point."""
    score = np.full((twists, rises), 0.1, np.float32)
    score[peak] = 0.9
    score[:, -40:] = -1.0
    twist_deg = np.linspace(-180.0, 180.0, twists, endpoint=False)
    return Landscape(twist_deg, np.linspace(1.0, 60.0, rises), score, 1 - score)


def tell(view: LandscapeView, intent: str, **details: Any) -> None:
    """What the browser sends."""
    view.picture.pointer._receive(view.picture.pointer, {"intent": intent, **details}, [])


def rings(view: LandscapeView) -> tuple[list[tuple[float, float]], list[str]]:
    scatter, *labels = view.picture.figure.marks[1:4]
    places = zip(scatter.x.tolist(), scatter.y.tolist(), strict=True)
    return list(places), sorted(str(text) for label in labels for text in label.text)


# --- nothing is lost --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1440, 1181), (481, 299), (7, 1000), (480, 300)])
def test_no_peak_is_lost_in_the_reduction(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape).astype(np.float32)
    reduced, block = block_maximum(values, MAX_CELLS)
    assert all(n <= most for n, most in zip(reduced.shape, MAX_CELLS, strict=True))
    assert reduced.max() == values.max()
    for a, b in rng.integers(0, reduced.shape, size=(50, 2)):
        under = values[a * block[0] : (a + 1) * block[0], b * block[1] : (b + 1) * block[1]]
        assert reduced[a, b] == under.max()


def test_a_peak_of_one_point_is_seen_and_a_click_near_it_picks_it() -> None:
    scores = plane()
    view = LandscapeView(scores)
    picture = imread(io.BytesIO(view.picture.figure.marks[0].image.value))
    brightness = picture[..., :3].sum(axis=-1)
    assert (brightness > np.median(brightness) + 0.5).sum() == 1
    assert view.picked is None
    # Two cells beside it; a cell is three twists and four rises wide.
    tell(view, "click", x=scores.twist_deg[808 + 6], y=scores.rise_A[9 + 8])
    assert view.picked == pytest.approx((scores.twist_deg[808], scores.rise_A[9]))
    assert (view.twist_deg, view.rise_A) == view.picked
    assert view.readout.value.startswith("Picked: twist 22.000°, rise 1.450 Å, score 0.900")


@pytest.mark.parametrize("place", [(-180.1, 1.0), (179.8, 60.0), (-180.0, 60.0)])
def test_clicks_at_the_rim_stay_in_the_plane(place: tuple[float, float]) -> None:
    scores = plane()
    view = LandscapeView(scores)
    tell(view, "click", x=place[0], y=place[1])
    assert view.picked[0] in scores.twist_deg
    assert view.picked[1] in scores.rise_A


# --- the symmetry in hand ---------------------------------------------------------------------------


def test_the_same_spot_can_be_picked_again_once_the_symmetry_has_moved() -> None:
    view = LandscapeView(plane())
    heard = []
    view.observe(lambda change: heard.append(change["new"]), "picked")
    view.pick_near(22.0, 1.45)
    with view.hold_trait_notifications():
        view.twist_deg, view.rise_A, view.point_group = 30.0, 2.0, "C2"
    assert view.readout.value.startswith("In hand")
    view.pick_near(22.0, 1.45)
    assert heard == [(22.0, pytest.approx(1.45)), None, (22.0, pytest.approx(1.45))]


def test_cross_equivalents_and_cuts_follow_the_symmetry() -> None:
    view = LandscapeView(plane())
    with view.hold_trait_notifications():
        view.twist_deg, view.rise_A, view.point_group = 22.0, 1.45, "C2"
    assert view.picture.cross == (22.0, 1.45)
    assert view.picture.figure.marks[-2].x.tolist() == [-158.0]
    twist_curve, rise_curve = (cut.figure.marks[1] for cut in (view._twist_cut, view._rise_cut))
    assert twist_curve.x[np.argmax(twist_curve.y)] == pytest.approx(22.0)
    assert np.ptp(twist_curve.x) == pytest.approx(4.0)
    assert rise_curve.x[np.argmax(rise_curve.y)] == pytest.approx(1.45)
    view._twist_cut.pointer._receive(None, {"intent": "click", "x": 23.25, "y": 0.5}, [])
    assert view.picked == (23.25, 1.45)
    view.twist_deg = None
    assert view.picture.cross is None
    assert view._cuts.layout.visibility == "hidden"


def test_a_cut_goes_on_where_the_plane_begins_again() -> None:
    view = LandscapeView(plane(peak=(1, 9)))  # at −179.75°
    view.show_symmetry(HelicalSymmetry(179.5, 1.45))
    curve = view._twist_cut.figure.marks[1]
    assert np.ptp(curve.x) == pytest.approx(4.0)
    assert curve.x[np.argmax(curve.y)] == pytest.approx(180.25)


def test_every_description_of_a_candidate_is_ringed() -> None:
    places, numbers = rings(LandscapeView(plane(), candidates=[HelicalSymmetry(29.4, 21.8, "C6")]))
    assert sorted(t for t, _ in places) == pytest.approx([-150.6, -90.6, -30.6, 29.4, 89.4, 149.4])
    assert numbers == ["1"] * 6


def test_candidates_at_one_place_share_a_ring() -> None:
    view = LandscapeView(plane())
    view.candidates = (HelicalSymmetry(-0.71, 4.75), HelicalSymmetry(-0.71, 4.75, "C2"))
    places, numbers = rings(view)
    assert len(places) == 2
    assert numbers == ["1, 2", "2"]


# --- windows ----------------------------------------------------------------------------------------


def test_a_box_shows_that_part_in_finer_cells_and_a_double_click_all_again() -> None:
    view = LandscapeView(plane(), candidates=[HelicalSymmetry(90.0, 5.0)])
    assert len(rings(view)[0]) == 1
    tell(view, "box", x=[0, 60], y=[1, 7])
    scale = view.picture.figure.marks[0].scales["x"]
    assert (scale.min, scale.max) == pytest.approx((-0.125, 60.125))  # half a step of 0.25° beyond the outer points
    assert view.picture.pointer.x_range == (scale.min, scale.max)
    assert view.picture.pointer.waits_for_double_click
    assert rings(view)[0] == []
    assert view.x_range == (0, 60)
    tell(view, "double_click")
    assert (view.x_range, view.y_range) == (None, None)
    assert scale.max == pytest.approx(179.875)


def test_keys_move_the_cross_and_zoom_at_it() -> None:
    view = LandscapeView(plane())
    view.pick_near(22.0, 1.45)
    tell(view, "key", key="ArrowLeft")
    assert view.picked == pytest.approx((22.0 - 0.75, 1.45))  # three twists to a cell
    tell(view, "key", key="+")
    assert np.mean(view.x_range) == pytest.approx(21.25)
    assert np.ptp(view.x_range) == pytest.approx(180.0)
    tell(view, "key", key="-")
    assert view.picture.spans == (pytest.approx((-180.125, 179.875)), pytest.approx((0.975, 60.175)))
    tell(view, "key", key="Escape")
    assert view.x_range is None


@pytest.mark.parametrize("ranges", [{"twist_range_deg": (400, 500)}, {"rise_range_A": (5, 2)}])
def test_an_empty_part_is_refused_in_words(ranges: dict) -> None:
    with pytest.raises(HelixLabError, match="runs from"):
        LandscapeView(plane(), **ranges)


def test_a_box_too_small_for_the_grid_is_answered_in_the_view() -> None:
    view = LandscapeView(plane())
    tell(view, "box", x=[0, 0.1], y=[1, 1.01])
    assert "two steps" in view.heading.error
    tell(view, "double_click")
    assert view.heading.error == ""


# --- a map is scored anew ---------------------------------------------------------------------------


@dataclass
class Cuts:
    twist_deg: np.ndarray
    twist_score: np.ndarray
    rise_A: np.ndarray
    rise_score: np.ndarray


@dataclass
class PitchPlane:
    pitch_A: np.ndarray
    subunits_per_turn: np.ndarray
    score: np.ndarray


@cache
def filament() -> Filament:
    """What the steps of a plane follow from: a box of 90 Å at 4 Å, and nothing in it."""
    plane, row, one = jnp.zeros((4, 4)), jnp.zeros(4), jnp.float32(1.0)
    return Filament(
        correlation=Correlation(plane, plane, row, row, row, one, row),
        limits=LagLimits(max_z_A=jnp.float32(45.0), min_arc_A=one, radius_A=jnp.float32(40.0)),
        pixel_size_A=2.0,
        length_A=90.0,
        inner_radius_A=0.0,
        outer_radius_A=50.0,
        resolution_A=4.0,
        has_half_maps=False,
        cylinders=(jnp.zeros((2, 4, 4)),),
        radius_px=np.arange(2.0),
        window=np.ones(4),
    )


@dataclass
class FakeMap:
    """What a FilamentMap is asked for; scores say how near to a twist of 22° and a rise of 1.4 Å."""

    asked: list = field(default_factory=list)
    filament: Filament = field(default_factory=filament)
    settings: SearchSettings = field(default_factory=SearchSettings)

    def landscape(self, twist_range_deg, rise_range_A, *, shape, point_group):
        self.asked.append((twist_range_deg, rise_range_A, shape, point_group))
        twist, rise = np.linspace(*twist_range_deg, shape[0]), np.linspace(*rise_range_A, shape[1])
        score = np.exp(-((twist[:, None] - 22.0) ** 2) - (rise - 1.4) ** 2).astype(np.float32)
        return Landscape(twist, rise, score, 1 - score)

    def pitch_landscape(self, pitch_range_A, subunits_range, *, hand, shape, point_group):
        self.asked.append((pitch_range_A, subunits_range, hand))
        pitch, n = np.linspace(*pitch_range_A, shape[0]), np.linspace(*subunits_range, shape[1])
        score = np.exp(-((pitch[:, None] - 22.9) ** 2) - (n - 16.36) ** 2)
        return PitchPlane(pitch, n, score.astype(np.float32))

    def cuts(self, symmetry, *, twist_half_width_deg, rise_half_width_A):
        twist = symmetry.twist_deg + np.linspace(-1, 1, 201) * twist_half_width_deg
        rise = symmetry.rise_A + np.linspace(-1, 1, 201) * rise_half_width_A
        return Cuts(twist, np.cos(twist - 22.0), rise, np.full(201, 0.75))


def settled(view: LandscapeView) -> LandscapeView:
    assert all(worker.wait(10) for worker in view.workers)
    return view


def test_a_window_of_a_map_is_scored_at_the_new_resolution() -> None:
    source = FakeMap()
    view = settled(LandscapeView(source))
    (_, rise_range_A, shape, _), *rest = source.asked
    assert rest == []
    assert rise_range_A[1] == 45.0  # longer ones cannot be compared in this box
    assert shape[0] == 1440  # 360° in steps of 0.25°
    assert [n % cells for n, cells in zip(shape, MAX_CELLS, strict=True)] == [0, 0]
    tell(view, "box", x=[20, 24], y=[1, 2])
    settled(view)
    assert source.asked[-1] == ((20, 24), (1, 2), MAX_CELLS, "C1")
    view.pick_near(21.99, 1.401)
    assert view.picked == pytest.approx((22.0, 1.4), abs=4 / 480)
    settled(view)
    assert "score 0.750" in view.readout.value


def test_a_plane_that_is_known_is_not_scored_again() -> None:
    source, view = FakeMap(), LandscapeView()
    view.show(source, whole=plane())
    settled(view)
    assert source.asked == []
    assert view.picture.plane.score.shape == (1440, 1181)
    view.point_group = "D3"
    settled(view)
    assert source.asked[-1][-1] == "C3"


def test_pitch_and_subunits_are_another_way_to_pick() -> None:
    source = FakeMap()
    view = LandscapeView(source)
    view.twist_deg, view.rise_A = -22.0, 1.4
    view._basis_buttons.value = PITCH_SUBUNITS
    settled(view)
    assert source.asked[-1][-1] == -1  # the plane of the hand that is in hand
    assert [axis.label for axis in view.picture.figure.axes[:2]] == ["Subunits per turn", "Pitch (Å)"]
    assert view.picture.cross == pytest.approx((360 / 22, 360 / 22 * 1.4))
    tell(view, "box", x=[15, 18], y=[20, 26])
    settled(view)
    view.pick_near(16.36, 22.9)
    assert view.picked == pytest.approx((-360 / 16.36, 22.9 / 16.36), rel=1e-3)  # within a cell
    view.basis = "twist, rise"
    settled(view)
    assert (view.x_range, view.picture.figure.axes[0].label) == (None, "Twist (°)")


def test_what_fails_in_the_background_is_shown() -> None:
    class Broken(FakeMap):
        def landscape(self, *_args, **_options):
            raise HelixLabError("map: no filament found.")

    view = settled(LandscapeView(Broken()))
    assert view.heading.error == "map: no filament found."
    assert view.heading.activity == ""


def test_without_a_map_the_view_says_so_and_closes() -> None:
    view = LandscapeView()
    assert "open a map" in view.readout.value
    view.pick_near(1.0, 2.0)
    assert view.picked is None
    view.close()
    assert view.comm is None


def test_the_figure_for_print_has_axes_marks_and_cuts() -> None:
    view = LandscapeView(plane(144, 118, (80, 9)), candidates=[HelicalSymmetry(20.0, 5.5)])
    view.pick_near(20.0, 5.5)
    text = view.to_svg()
    for words in ("Twist (°)", "Rise (Å)", "Score"):
        assert words in text
