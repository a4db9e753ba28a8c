"""Slices without a browser: which planes are shown, and what the user's moves change."""

import numpy as np
import pytest
import traitlets

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.kernels.symmetrize import Sections
from helixlab_widgets import SliceView
from helixlab_widgets.export import figure_bytes
from helixlab_widgets.views.slice_planes import MOST_PX, draw_plane, reduced_plane

SHAPE = (10, 12, 14)


def some_volume(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Volume:
    return Volume(np.random.default_rng(seed).normal(size=shape).astype(np.float32), 2.0)


def some_planes(shape: tuple[int, int, int] = SHAPE, scale: float = 1.0) -> Sections:
    nz, ny, nx = shape
    rng = np.random.default_rng(1)
    return Sections(*(scale * rng.normal(size=s).astype(np.float32) for s in [(nz, ny), (nz, nx), (ny, nx)]))


def shown(view: SliceView, state: str = "before") -> list[np.ndarray | None]:
    return [getattr(view.canvas, f"{state}_{name}") for name in ("zy", "zx", "yx")]


# --- planes of a map ----------------------------------------------------------------------------------------


def test_sections_go_through_the_cross_hair_and_only_the_moved_ones_are_sent() -> None:
    volume = some_volume()
    view = SliceView(volume)
    centre = shown(view)
    for plane, expected in zip(centre, (volume.data[:, :, 7], volume.data[:, 6], volume.data[5]), strict=True):
        np.testing.assert_array_equal(plane, expected)
    view.canvas.at_px = (2, 6, 7)  # as the browser does it
    assert view.at_px == (2, 6, 7)
    np.testing.assert_array_equal(view.canvas.before_yx, volume.data[2])
    assert shown(view)[:2] == centre[:2]


def test_projections_do_not_depend_on_the_cross_hair() -> None:
    volume = some_volume()
    view = SliceView(volume, kind="projection", at_px=(0, 0, 0))
    # Sums of at most 14 numbers of order 1, rounded to float32.
    np.testing.assert_allclose(view.canvas.before_zx, volume.data.sum(axis=1), atol=1e-5)
    before = shown(view)
    view.at_px = (1, 1, 1)
    assert all(new is old for new, old in zip(shown(view), before, strict=True))


def test_another_map_of_another_box() -> None:
    view = SliceView(some_volume(), after=some_volume(seed=1), at_px=(9, 11, 13))
    view.show(some_volume((8, 8, 8)))
    assert view.canvas.shape == (8, 8, 8)
    assert view.at_px is None
    assert shown(view, "after") == [None] * 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"at_px": (0, 12, 0)}, "at_px"),
        ({"after": some_volume((8, 8, 8))}, "after"),
        ({"volume": None, "after": some_volume()}, "after"),
        ({"kind": "slab"}, "kind"),
        ({"colour_map": "jet"}, "colour_map"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(given: dict, message: str) -> None:
    with pytest.raises((HelixLabError, traitlets.TraitError), match=message):
        SliceView(**{"volume": some_volume(), **given})


# --- planes from elsewhere ----------------------------------------------------------------------------------


def test_planes_from_elsewhere_stay_until_there_are_new_ones() -> None:
    view = SliceView()
    view.show_planes(some_planes(), some_planes(scale=2.0))
    before = shown(view)
    view.show_planes(None, some_planes(scale=3.0))
    assert all(new is old for new, old in zip(shown(view), before, strict=True))
    np.testing.assert_array_equal(view.canvas.after_yx, some_planes(scale=3.0).yx)
    view.canvas.at_px = (0, 0, 0)
    assert view.at_px == (0, 0, 0)
    assert all(new is old for new, old in zip(shown(view), before, strict=True))


def test_planes_of_different_boxes_are_refused() -> None:
    view = SliceView()
    view.show_planes(some_planes(), None)
    with pytest.raises(HelixLabError, match="after"):
        view.show_planes(None, some_planes((8, 8, 8)))
    with pytest.raises(HelixLabError, match=r"\(nz, ny\)"):
        view.show_planes(Sections(*[np.zeros((4, 5), np.float32)] * 3), None)


def test_one_message_per_move(monkeypatch: pytest.MonkeyPatch) -> None:
    view = SliceView(some_volume())
    sent = []
    monkeypatch.setattr(view.canvas, "send_state", lambda key=None: sent.append(set(key)))
    view.show_planes(None, some_planes())
    assert sent == [{"after_zy", "after_zx", "after_yx"}]


# --- contrast -----------------------------------------------------------------------------------------------


def test_contrast_follows_the_map_before_and_does_not_flicker() -> None:
    view = SliceView()
    view.show_planes(some_planes(), some_planes())
    auto = view.canvas.auto_limits
    view.show_planes(None, some_planes(scale=100.0))
    view.show_planes(some_planes(scale=1.1), None)
    assert view.canvas.auto_limits == auto
    view.show_planes(some_planes(scale=3.0), None)
    assert view.canvas.auto_limits[1] > 2 * auto[1]


def test_limits_set_by_hand_end_with_the_kind() -> None:
    view = SliceView(some_volume())
    view.canvas.low = -0.5
    assert view.low == -0.5
    view.kind = "projection"
    assert (view.low, view.canvas.low) == (None, None)


def test_large_planes_are_reduced_to_means() -> None:
    view = SliceView()
    n = MOST_PX + 1
    view.show_planes(Sections(*[np.ones((n, n), np.float32)] * 3), None)
    assert view.canvas.reduction == 2
    assert view.canvas.shape == (n, n, n)
    # The last row and column are means of what is left.
    np.testing.assert_array_equal(view.canvas.before_yx, np.ones((193, 193)))
    plane = np.arange(20.0).reshape(4, 5)
    assert reduced_plane(plane, 2)[1, 1] == plane[2:4, 2:4].mean()


# --- export -------------------------------------------------------------------------------------------------


def test_figures_hold_what_is_shown() -> None:
    svg = SliceView(some_volume(), after=some_volume(seed=1), comparison="difference", at_px=(5, 6, 8)).to_svg()
    assert svg.count("Density") == 1
    assert "after − before" in svg
    assert "x = 2.0 Å" in svg
    with pytest.raises(HelixLabError, match="show a map"):
        SliceView().to_png()


def test_a_drawn_plane_lies_around_the_origin_of_the_box() -> None:
    def draw(figure) -> None:
        axes = figure.subplots()
        draw_plane(axes, "yx", np.zeros((6, 7), np.float32), shape=SHAPE, pixel_size_A=2.0, reduction=2, cmap="gray")
        # 14 voxels of 2 Å, the origin in the middle of voxel 7.
        assert axes.get_xlim() == (-15.0, 13.0)
        assert axes.get_ylim() == (-13.0, 11.0)

    assert figure_bytes(draw, file_format="svg").startswith(b"<?xml")
    with pytest.raises(HelixLabError, match="png"):
        figure_bytes(draw, file_format="pdf")
