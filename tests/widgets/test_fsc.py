"""FSC curves without a browser: what follows when they, or the place where they are read, change."""

import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.validate import FSCCurve
from helixlab_widgets import FSCView


def curve(label: str = "half maps", last: float = 0.0, nyquist_per_A: float = 0.25) -> FSCCurve:
    """Straight from 1 to a last value at Nyquist."""
    return FSCCurve(np.linspace(0, nyquist_per_A, 26), np.linspace(1.0, last, 26), label)


def shown(view: FSCView) -> list:
    return [mark for mark in view.figure.marks[len(view.thresholds) :] if mark.visible]


def test_curves_thresholds_and_resolution() -> None:
    view = FSCView([curve(), curve("<b>", last=0.4)])
    assert len(shown(view)) == 2
    # From 1 at 0 to 0 at 1/4 Å: 0.143 at 0.857 of it, 0.5 at a half.
    assert "half maps: 4.7 Å at 0.143, 8.0 Å at 0.5" in view.legend.value
    # To 0.4: never below 0.143; 0.5 at 0.5/0.6 of it.
    assert "&lt;b&gt;: better than 4.0 Å at 0.143, 4.8 Å at 0.5" in view.legend.value
    assert [float(mark.y[0]) for mark in view.figure.marks[:2]] == [0.143, 0.5]
    assert (view.figure.axes[1].tick_values == [0, 0.143, 0.5, 1]).all()


def test_other_curves_take_the_places_of_those_before() -> None:
    view = FSCView([curve(), curve("second")])
    marks = view.figure.marks
    first = marks[3]
    view.show([curve(last=0.2)], baseline=curve("as they were", last=-0.3))
    assert view.figure.marks is marks
    grey, coloured = shown(view)
    assert coloured is first
    assert coloured.y[-1] == pytest.approx(0.2)
    assert grey.y[-1] == pytest.approx(-0.3)
    assert grey.scales["y"].min == pytest.approx(-0.3)
    assert view.legend.value.index("as they were") < view.legend.value.index("half maps")
    view.show([])
    assert shown(view) == []
    assert "two maps" in view.legend.value


def test_another_pixel_size_moves_the_axis() -> None:
    view = FSCView([curve()])
    view.show([curve(nyquist_per_A=0.5)])
    assert shown(view)[0].scales["x"].max == 0.5
    assert view.pointer.x_range == (0.0, 0.5)
    assert view.figure.axes[0].tick_values[-1] == pytest.approx(0.5)


def test_ticks_are_in_angstrom_and_apart() -> None:
    axis = FSCView([curve()]).figure.axes[0]
    gaps = np.diff(axis.tick_values)
    assert (gaps >= 0.25 / 12 - 1e-9).all()
    for at, text in axis.tick_labels.items():
        assert float(text) == pytest.approx(1 / float(at), rel=1e-3)


def test_curves_are_read_where_the_pointer_is() -> None:
    view = FSCView([curve(), curve("coarse", nyquist_per_A=0.1)])
    view.pointer.hovered = [0.125, 0.9]
    assert view.freq_per_A == 0.125
    assert view.readout.value == "8.0 Å: half maps 0.500"  # the coarse one ends before
    view.pointer.hovered = []
    assert view.freq_per_A is None
    assert "Point at" in view.readout.value


def test_curves_are_read_with_the_keyboard_shell_by_shell() -> None:
    view = FSCView([curve()])
    for _ in range(3):
        view.pointer._receive(view.pointer, {"intent": "key", "key": "ArrowRight"}, [])
    assert view.freq_per_A == pytest.approx(0.03)
    assert view.pointer.hovered[0] == pytest.approx(0.03)
    view.pointer._receive(view.pointer, {"intent": "key", "key": "Escape"}, [])
    assert view.freq_per_A is None


def test_names_and_notes_are_shown_as_written() -> None:
    view = FSCView([curve()], labels=["with <i>"], note="a < b")
    assert "with &lt;i&gt;" in view.legend.value
    assert view.remark.value == "a &lt; b"


@pytest.mark.parametrize(("count", "labels"), [(7, None), (2, ["one"])])
def test_too_many_curves_or_too_few_labels_are_refused(count: int, labels: list[str] | None) -> None:
    with pytest.raises(HelixLabError, match="found"):
        FSCView([curve()] * count, labels=labels)


def test_the_figure_for_print_says_the_same() -> None:
    text = FSCView([curve("right symmetry")]).to_svg()
    for words in ("right symmetry: 4.7 Å at 0.143", "Resolution (Å)", "Fourier shell correlation"):
        assert words in text
