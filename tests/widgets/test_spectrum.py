"""The power spectrum without a browser: a moved layer line sets the symmetry."""

import numpy as np
import pytest

from helixlab.explore import PowerSpectrum
from helixlab.geometry import HelicalSymmetry, first_maximum_per_A
from helixlab_widgets.views.spectrum import SpectrumView

START = HelicalSymmetry.from_pitch(40.0, 8.0)


def spectrum(seed: int = 0) -> PowerSpectrum:
    """To 0.25 1/Å both ways, in steps of 0.01 1/Å along Z and half of that along R."""
    power = np.random.default_rng(seed).exponential(size=(51, 101)).astype(np.float32)
    return PowerSpectrum(np.linspace(-0.25, 0.25, 51), np.linspace(-0.25, 0.25, 101), power)


def drag(view: SpectrumView, order: int, branch: int, freq_per_A: float, *, keeps_twist: bool = False) -> None:
    sent = {"id": 1, "order": order, "branch": branch, "freq_per_A": freq_per_A, "keeps_twist": keeps_twist}
    view.canvas.drag = sent


def test_lines_with_their_orders_and_first_maxima() -> None:
    view = SpectrumView(spectrum(), symmetry=START, radius_A=50.0, max_order=2)
    assert view.canvas.y_edges == pytest.approx([-0.255, 0.255])
    assert view.canvas.x_edges == pytest.approx([-0.2525, 0.2525])
    order, branch, freq_per_A, maximum_per_A = view.canvas.marks.T
    assert order.min() == -2
    assert order.max() == 2
    np.testing.assert_allclose(freq_per_A, order / 40 + branch / 5, atol=1e-7)  # float32
    expected = [first_maximum_per_A(int(n), 50.0) for n in order]
    np.testing.assert_allclose(maximum_per_A, expected, rtol=1e-6)
    view.canvas.max_order = 0  # the field
    assert view.max_order == 0
    assert view.canvas.marks[:, 1].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("line", "keeps_twist", "expected"),
    [
        ((1, 0, 1 / 50), False, (36.0, 5.0)),  # the pitch becomes 50 Å
        ((0, 1, 1 / 4), False, (36.0, 4.0)),  # the rise becomes 4 Å, the pitch stays 40 Å
        ((1, 0, 1 / 50), True, (45.0, 6.25)),  # all stretches by 5/4
    ],
)
def test_a_moved_line_sets_twist_and_rise(
    line: tuple[int, int, float], keeps_twist: bool, expected: tuple[float, float]
) -> None:
    view = SpectrumView(spectrum(), symmetry=START)
    drag(view, *line, keeps_twist=keeps_twist)
    assert (view.twist_deg, view.rise_A) == pytest.approx(expected)
    moved = [mark[2] for mark in view.canvas.marks if tuple(mark[:2]) == line[:2]]
    assert moved == pytest.approx([line[2]], rel=1e-6)  # float32


def test_the_equator_stays() -> None:
    view = SpectrumView(spectrum(), symmetry=START)
    drag(view, 0, 0, 0.1)
    assert "lies on the equator" in view.heading.error
    assert view.symmetry == START


def test_power_is_shown_as_its_logarithm() -> None:
    given = spectrum()
    given.power[3, 4] = 0.0
    view = SpectrumView(given)
    assert np.isnan(view.canvas.before[3, 4])
    np.testing.assert_allclose(view.canvas.before[10], np.log10(given.power[10]), rtol=1e-6)
    assert view.canvas.low < view.canvas.high


def test_with_a_symmetrised_map_half_of_each_is_shown() -> None:
    view = SpectrumView(spectrum(), spectrum(1), symmetry=START)
    assert view.comparison == view.canvas.comparison == "halves"
    shown = view._shown()
    np.testing.assert_array_equal(shown[:, :50], view.canvas.before[:, :50])
    np.testing.assert_array_equal(shown[:, 50:], view.canvas.after[:, 50:])
    view.comparison = "before"
    view.show(spectrum(), spectrum(2))
    assert view.comparison == "before"  # what the user chose


def test_saved_with_axes_and_orders() -> None:
    svg = SpectrumView(spectrum(), symmetry=START).to_svg()
    assert all(text in svg for text in ("Z (1/Å)", "R (1/Å)", "Bessel order n", "−1"))
