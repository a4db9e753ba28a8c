"""The figures without a browser: what they are given is what they hold. tests/ui looks at them painted."""

import doctest
import importlib
import io

import bqplot
import numpy as np
import pytest
from matplotlib.image import imread

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.search import Landscape
from helixlab.validate import FSCCurve
from helixlab_widgets import LandscapeFigure, curve_figure, image_figure, landscape_figure, section_figure
from helixlab_widgets.colors import GUIDE, PALETTE, png_bytes
from helixlab_widgets.images import replace_image
from helixlab_widgets.landscape import MAX_CELLS, block_maximum

MODULES = ["colors", "curves", "images", "landscape", "sections"]


def landscape(twists: int = 1440, rises: int = 1181, peak: tuple[int, int] = (808, 9)) -> Landscape:
    """A plane as large as a search's, with one peak of one point."""
    score = np.full((twists, rises), 0.1, np.float32)
    score[peak] = 0.9
    score[:, -40:] = -1.0
    twist_deg = np.linspace(-180.0, 180.0, twists, endpoint=False)
    return Landscape(twist_deg, np.linspace(1.0, 60.0, rises), score, 1 - score)


def pixels(figure: bqplot.Figure) -> np.ndarray:
    return imread(io.BytesIO(figure.marks[0].image.value))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"helixlab_widgets.{name}")
    assert doctest.testmod(module).failed == 0


# --- pictures -----------------------------------------------------------------------------------------------


def test_the_first_row_lies_at_the_bottom_and_nan_is_transparent() -> None:
    ramp = np.array([[0.0, 0.5], [1.0, np.nan]])
    picture = imread(io.BytesIO(png_bytes(ramp, "gray", 0.0, 1.0)))
    top, bottom = picture
    assert bottom[0, :3] == pytest.approx(0.0)
    assert top[0, :3] == pytest.approx(1.0)
    assert top[1, 3] == 0
    assert bottom[1, :3] == pytest.approx(0.5, abs=1 / 255)


def test_axes_carry_units_and_ranges() -> None:
    figure = image_figure(np.eye(3), (-1, 2), (0, 6), x_label="Twist (°)", y_label="Rise (Å)", value_label="Score")
    assert [axis.label for axis in figure.axes] == ["Twist (°)", "Rise (Å)", "Score"]
    scales = figure.marks[0].scales
    assert (scales["x"].min, scales["x"].max, scales["y"].min, scales["y"].max) == (-1, 2, 0, 6)


def test_a_constant_image_is_shown() -> None:
    assert pixels(image_figure(np.full((3, 4), 7.0), (0, 1), (0, 1))).shape == (3, 4, 4)


def test_another_image_under_the_same_axes() -> None:
    figure = image_figure(np.eye(3), (0, 1), (0, 1))
    mark, before = figure.marks[0], figure.marks[0].image
    replace_image(figure, 1 - np.eye(3))
    assert figure.marks[0] is mark
    assert mark.image is not before
    assert before.comm is None  # closed: the browser forgets it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros(3)}, "rows and columns"),
        ({"image": np.full((2, 2), np.nan)}, "no finite value"),
        ({"x_range": (1, 0)}, "x_range"),
        ({"value_range": (1, 1)}, "value_range"),
        ({"colour_map": "jet"}, "perceptual"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(change: dict, message: str) -> None:
    with pytest.raises(HelixLabError, match=message):
        image_figure(**{"image": np.eye(2), "x_range": (0, 1), "y_range": (0, 1), **change})


def test_colours_read_on_light_and_dark() -> None:
    """Contrast as WCAG 2.1 defines it; 3 is what it asks of graphics."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    for colour in (*PALETTE, GUIDE):
        for background in ("#ffffff", "#111111"):
            dark, light = sorted([luminance(colour), luminance(background)])
            assert (light + 0.05) / (dark + 0.05) > 3, f"{colour} on {background}"


# --- landscape ----------------------------------------------------------------------------------------------


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
    plane = landscape()
    view = landscape_figure(plane)
    brightness = pixels(view.figure)[..., :3].sum(axis=-1)
    assert (brightness > np.median(brightness) + 0.5).sum() == 1
    assert view.picked is None
    # A click of the browser: anywhere in the cell, which is three twists and four rises wide.
    twist_deg, rise_A = plane.twist_deg[807] + 0.1, plane.rise_A[10]
    click = {"event": "element_click", "data": {"click_x": twist_deg, "click_y": rise_A}}
    view.figure.marks[0]._handle_custom_msg(click, [])
    assert view.picked == pytest.approx((plane.twist_deg[808], plane.rise_A[9]))
    assert "score 0.900" in view.readout.value


def test_clicks_at_the_rim_and_beyond_stay_in_the_plane() -> None:
    plane = landscape()
    view = landscape_figure(plane)
    for twist_deg, rise_A in [(-1e3, -1e3), (1e3, 1e3), (-180.0, 60.0)]:
        view.pick(twist_deg, rise_A)
        assert view.picked[0] in plane.twist_deg
        assert view.picked[1] in plane.rise_A


def test_callers_hear_of_a_pick() -> None:
    heard = []
    view = landscape_figure(landscape(), on_pick=lambda twist_deg, rise_A: heard.append((twist_deg, rise_A)))
    view.pick(22.0, 1.5)
    view.picked = None
    assert len(heard) == 1
    assert view.readout.value.startswith("Click")


def rings_and_numbers(view: LandscapeFigure) -> tuple[list[tuple[float, float]], set[str]]:
    scatter = view.figure.marks[1]
    labels = [mark for mark in view.figure.marks if isinstance(mark, bqplot.Label)]
    return list(zip(scatter.x, scatter.y, strict=True)), {str(t) for mark in labels for t in mark.text}


def test_every_description_of_a_candidate_is_ringed() -> None:
    rings, numbers = rings_and_numbers(landscape_figure(landscape(), [HelicalSymmetry(29.4, 21.8, "C6")]))
    assert sorted(t for t, _ in rings) == pytest.approx([-150.6, -90.6, -30.6, 29.4, 89.4, 149.4])
    assert numbers == {"1"}


def test_candidates_at_one_place_share_a_ring() -> None:
    both = [HelicalSymmetry(-0.71, 4.75), HelicalSymmetry(-0.71, 4.75, "C2")]
    rings, numbers = rings_and_numbers(landscape_figure(landscape(), both))
    assert len(rings) == 2
    assert numbers == {"1, 2", "2"}


def test_a_part_of_the_plane_is_shown_in_finer_cells() -> None:
    plane = landscape()
    view = landscape_figure(plane, twist_range_deg=(0, 60), rise_range_A=(1, 7))
    scale = view.figure.marks[0].scales["x"]
    assert (scale.min, scale.max) == pytest.approx((-0.125, 60.125))  # half a step of 0.25° beyond the outer points
    view.pick(22.0, 1.45)
    assert view.picked == pytest.approx((22.0, 1.45))


@pytest.mark.parametrize("ranges", [{"twist_range_deg": (400, 500)}, {"rise_range_A": (5, 2)}])
def test_an_empty_part_is_refused_in_words(ranges: dict) -> None:
    with pytest.raises(HelixLabError, match=next(iter(ranges))):
        landscape_figure(landscape(), **ranges)


# --- curves -------------------------------------------------------------------------------------------------


def curve(label: str = "half maps", last: float = 0.0) -> FSCCurve:
    return FSCCurve(np.linspace(0, 0.25, 26), np.linspace(1.0, last, 26), label)


def test_curves_thresholds_and_resolution() -> None:
    legend, figure = curve_figure([curve(), curve("<b>", last=0.4)]).children
    assert len(figure.marks) == 4
    # Straight from 1 at 0 to 0 at 1/4 Å: 0.143 at 0.857 of it.
    assert "half maps: 4.7 Å" in legend.value
    assert "&lt;b&gt;: better than 4.0 Å" in legend.value
    assert [float(mark.y[0]) for mark in figure.marks[2:]] == [0.143, 0.5]


def test_ticks_are_in_angstrom_and_apart() -> None:
    axis = curve_figure([curve()]).children[1].axes[0]
    gaps = np.diff(axis.tick_values)
    assert (gaps >= 0.25 / 12 - 1e-9).all()
    for at, text in axis.tick_labels.items():
        assert float(text) == pytest.approx(1 / float(at), rel=1e-3)


@pytest.mark.parametrize(("count", "labels"), [(0, None), (7, None), (2, ["one"])])
def test_too_few_or_too_many_curves_are_refused(count: int, labels: list[str] | None) -> None:
    with pytest.raises(HelixLabError, match="curves"):
        curve_figure([curve()] * count, labels=labels)


# --- sections -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["section", "projection"])
def test_sections_show_the_right_planes_at_one_scale(kind: str) -> None:
    values = np.zeros((10, 20, 30), np.float32)
    values[5, 10, 20] = 1.0  # z, y, x: in the central planes across z and y, off the one across x
    xy, xz, yz = section_figure(Volume(values, 2.0), kind=kind).children
    assert [pixels(f).shape[:2] for f in (xy, xz, yz)] == [(20, 30), (10, 30), (10, 20)]
    assert np.argwhere(pixels(xy)[::-1, :, 0] == 1).tolist() == [[10, 20]]
    assert np.argwhere(pixels(xz)[::-1, :, 0] == 1).tolist() == [[5, 20]]
    assert np.argwhere(pixels(yz)[::-1, :, 0] == 1).tolist() == ([[5, 10]] if kind == "projection" else [])
    per_A = [
        (float(f.layout.width.removesuffix("px")) - 16) / (f.marks[0].x[1] - f.marks[0].x[0]) for f in (xy, xz, yz)
    ]
    assert per_A == pytest.approx([per_A[0]] * 3, rel=0.02)  # widths are whole px


def test_the_scale_bar_has_a_round_length() -> None:
    panel = section_figure(Volume(np.random.default_rng(0).normal(size=(96, 96, 96)), 2.2)).children[0]
    bar, label = panel.marks[1:]
    assert float(bar.x[1] - bar.x[0]) == pytest.approx(50.0)
    assert label.text[0] == "50 Å"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(HelixLabError, match="projection"):
        section_figure(Volume(np.zeros((4, 4, 4)), 1.0), kind="slab")
