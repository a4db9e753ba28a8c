"""Isosurfaces without a browser: what is sent, when, and at which level."""

import base64
from pathlib import Path

import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab_widgets.views.isosurface import IsosurfaceView


def some_map(seed: int = 0, box: int = 12, pixel_size_A: float = 2.0) -> Volume:
    return Volume(np.random.default_rng(seed).normal(size=(box, box, box)), pixel_size_A, (1.0, 2.0, 3.0))


def rod(radius: float, *, noise: float = 0.0) -> Volume:
    """Density 10 within a radius of the axis, plus noise."""
    y, x = np.ogrid[-10:10, -10:10]
    data = np.broadcast_to(10.0 * (np.hypot(y, x) < radius), (20, 20, 20))
    return Volume(data + noise * np.random.default_rng(0).normal(size=data.shape), 1.0)


def draw(view: IsosurfaceView) -> None:
    """What a browser sends when it has drawn what it was given."""
    view._canvas._receive(None, {"intent": "drawn", "number": view._canvas.number}, [])


def densities(values: np.ndarray, grid: dict[str, float]) -> np.ndarray:
    return grid["low"] + values * (grid["high"] - grid["low"]) / 255


def test_the_browser_gets_the_densities_and_their_place() -> None:
    volume = some_map()
    canvas = IsosurfaceView(volume)._canvas
    grid = canvas.before_grid
    step = (grid["high"] - grid["low"]) / 255
    inside = (slice(1, -1),) * 3
    kept = np.maximum(volume.data, grid["low"])[inside]
    # Rounding is half a step; the rest is float32 of numbers below 255.
    np.testing.assert_allclose(densities(canvas.before[inside], grid), kept, atol=0.501 * step)
    assert canvas.before.sum() == canvas.before[inside].sum()  # closed at the ends of the box
    assert (grid["pixel_size_A"], grid["origin_A"]) == (2.0, [1.0, 2.0, 3.0])
    assert canvas.note == "12 × 12 × 12 voxels of 2 Å"


def test_both_maps_are_cut_at_one_density() -> None:
    volume = some_map()
    view = IsosurfaceView(volume, symmetrised=volume.with_data(3 * volume.data), level_sigma=2.0)
    assert view.level == pytest.approx(volume.data.mean() + 2 * volume.data.std(), rel=1e-6)
    assert view._canvas.before_grid["low"] == view._canvas.after_grid["low"]
    assert view._canvas.after_grid["high"] == pytest.approx(3 * view._canvas.before_grid["high"])


@pytest.mark.parametrize("radius", [2.5, 4.0, 7.0])
@pytest.mark.parametrize("noise", [0.1, 3.0])
def test_the_first_level_shows_the_rod_and_no_noise(radius: float, noise: float) -> None:
    volume = rod(radius, noise=noise)
    is_inside = rod(radius).data > 0
    is_shown = volume.data > IsosurfaceView(volume).level
    # Noise exceeds 3 of its standard deviations in 0.13 % of the voxels; with that of 3, 10 in the rod is 3.3 of them.
    assert is_shown[~is_inside].mean() < 0.004
    assert is_shown[is_inside].mean() > 0.5


def test_something_is_always_shown() -> None:
    volume = some_map()
    assert (volume.data > IsosurfaceView(volume).level).any()


def test_a_large_map_is_reduced_and_says_so() -> None:
    view = IsosurfaceView(some_map(box=20), box_px=16)
    assert view._canvas.before.shape == (16, 16, 16)
    assert view._canvas.note == "20 × 20 × 20 reduced to 16 × 16 × 16 voxels of 2.5 Å"


def test_a_level_of_the_users_is_kept_and_a_first_one_follows_the_map() -> None:
    view = IsosurfaceView(rod(2.5))
    draw(view)
    first = view.level_sigma
    view.show(rod(7.0))
    draw(view)
    assert view.level_sigma != first
    view.level_sigma = 1.5
    view.show(rod(2.5))
    assert view.level_sigma == 1.5


def test_traits_follow_the_browser_and_lead_it() -> None:
    view = IsosurfaceView(some_map(), symmetrised=some_map(1))
    view._canvas.set_state({"shown": "both", "level_sigma": 2.5, "is_spinning": True})
    assert (view.shown, view.level_sigma, view.is_spinning) == ("both", 2.5, True)
    view.shown = "before"
    assert view._canvas.shown == "before"


def test_of_many_maps_the_newest_is_sent_when_the_last_was_drawn() -> None:
    before, maps = some_map(), [some_map(seed) for seed in range(1, 5)]
    view = IsosurfaceView(before, symmetrised=maps[0])
    sent_before = view._canvas.before
    for after in maps[1:]:
        view.show(None, after)
    assert view._canvas.number == 1
    draw(view)
    grid = view._canvas.after_grid
    assert view._canvas.number == 2
    assert grid["high"] == pytest.approx(float(maps[-1].data.max()))
    assert view._canvas.before is sent_before
    draw(view)
    assert view._canvas.number == 2


def test_a_new_map_is_not_lost_to_a_newer_symmetrised_one() -> None:
    view = IsosurfaceView(some_map())
    other = some_map(5)
    view.show(other, some_map(1))
    view.show(None, some_map(2))
    draw(view)
    assert view._canvas.before_grid["high"] == pytest.approx(float(other.data.max()))


def test_a_browser_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    view = IsosurfaceView(some_map())
    monkeypatch.setattr("helixlab_widgets.views.isosurface._PATIENCE_S", 0.0)
    view.show(None, some_map(1))
    assert view._canvas.number == 2
    view._canvas._receive(None, {"intent": "drawn", "number": 1}, [])  # the first map's answer comes late
    assert not view._is_drawn


def test_maps_can_be_taken_away_and_come_back() -> None:
    view = IsosurfaceView(some_map(), symmetrised=some_map(1))
    draw(view)
    view.show(None)
    assert view._canvas.after is None


def test_a_model_is_sent_as_text(tmp_path: Path) -> None:
    (tmp_path / "model.CIF").write_text("data_x\n", encoding="utf-8")
    view = IsosurfaceView()
    view.add_model(tmp_path / "model.CIF")
    assert view._canvas.atoms == {"text": "data_x\n", "format": "cif"}
    view.remove_model()
    assert view._canvas.atoms == {}


def test_a_picture_goes_to_whom_asked_for_it() -> None:
    view, pictures = IsosurfaceView(some_map()), []
    view.request_png(pictures.append)
    view._canvas._receive(None, {"intent": "picture", "png": base64.b64encode(b"PNG").decode()}, [])
    view._canvas._receive(None, {"intent": "picture", "png": ""}, [])  # a second browser's
    assert pictures == [b"PNG"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IsosurfaceView(symmetrised=some_map()), "no map is shown"),
        (lambda: IsosurfaceView(Volume(np.zeros((8, 8, 8)), 1.0)), "density 0 everywhere"),
        (lambda: IsosurfaceView().add_model("model.mrc"), "PDB or mmCIF"),
        (lambda: IsosurfaceView().add_model("/nowhere/model.pdb"), "no such file"),
        (lambda: IsosurfaceView(some_map(box=20), box_px=4), "box_px"),
    ],
)
def test_errors_say_what_to_do(make: object, message: str) -> None:
    with pytest.raises(HelixLabError, match=message):
        make()


def test_closed_views_close_what_they_hold() -> None:
    view = IsosurfaceView(some_map())
    view.close()
    assert view._canvas.comm is None
