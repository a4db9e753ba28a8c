"""The figures without a browser: what they are given is what they hold. tests/ui looks at them painted."""

import io

import bqplot
import numpy as np
import pytest
from matplotlib.image import imread

from helixlab.errors import HelixLabError
from helixlab_widgets import image_figure
from helixlab_widgets.colors import GUIDE, PALETTE, png_bytes
from helixlab_widgets.views.images import replace_image, show_ranges


def pixels(figure: bqplot.Figure) -> np.ndarray:
    return imread(io.BytesIO(figure.marks[0].image.value))


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
    assert before.comm is not None  # a page that is loading may still ask for it
    replace_image(figure, np.eye(3))
    assert before.comm is None  # closed: the browser forgets it


def test_a_part_of_the_same_axes_in_a_finer_picture() -> None:
    figure = image_figure(np.eye(3), (0, 90), (0, 1), x_label="Twist (°)", value_label="Score")
    replace_image(figure, 5 * np.eye(4), x_range=(20, 30), y_range=(0.25, 0.5))
    show_ranges(figure, (20, 30), (0.25, 0.5))
    mark, scales = figure.marks[0], figure.marks[0].scales
    assert (mark.x.tolist(), mark.y.tolist()) == ([20, 30], [0.25, 0.5])
    assert (scales["x"].min, scales["x"].max, scales["y"].min, scales["y"].max) == (20, 30, 0.25, 0.5)
    assert figure.axes[2].scale.max == 5
    assert all(20 <= tick <= 30 for tick in figure.axes[0].tick_values)


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
