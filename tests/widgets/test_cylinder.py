"""The unrolled cylinder without a browser: a moved point of its lattice sets the symmetry."""

import threading

import numpy as np
import pytest

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.search import UnrolledMap
from helixlab_widgets.views.cylinder import CylinderView

START = HelicalSymmetry(66.0, 4.0, "C2")


def flat(seed: int = 0) -> UnrolledMap:
    """Rows 2 Å apart from −20 Å, columns 10° apart."""
    density = np.random.default_rng(seed).normal(size=(20, 36)).astype(np.float32)
    return UnrolledMap(density, np.arange(-20.0, 20.0, 2.0), np.arange(-180.0, 180.0, 10.0), 40.0, 6.0)


def drag(view: CylinderView, k: int, phi_deg: float, z_A: float, *, turn: int = 0, number: int = 1) -> None:
    view.canvas.drag = {"id": number, "k": k, "turn": turn, "phi_deg": phi_deg, "z_A": z_A}


def test_picture_and_lattice_share_their_edges() -> None:
    view = CylinderView(flat(), symmetry=START)
    assert view.canvas.x_edges == [-185.0, 175.0]
    assert view.canvas.y_edges == [-21.0, 19.0]
    k, turn, _, z_A = view.canvas.marks.T
    assert len(k) == 2 * 10  # two strands; heights −20 to 16 Å
    assert set(turn) == {0, 1}
    np.testing.assert_allclose(z_A, 4.0 * k)
    assert view.canvas.caption == "Mean over radii 37.0 to 43.0 Å"


def test_a_moved_point_sets_twist_and_rise() -> None:
    view = CylinderView(flat(), symmetry=START)
    drag(view, 3, 3 * 66.0 + 180 + 1.5, 12.6, turn=1)
    assert (view.twist_deg, view.rise_A, view.point_group) == (pytest.approx(66.5), pytest.approx(4.2), "C2")
    assert view.canvas.step == [view.twist_deg, view.rise_A]
    view.origin = [10.0, -2.0]
    drag(view, 3, 3 * 66.0 + 10.0, 10.0, number=2)
    assert (view.twist_deg, view.rise_A) == (pytest.approx(66.0), pytest.approx(4.0))


def test_a_drag_goes_on_though_the_symmetry_is_written_another_way() -> None:
    view = CylinderView(flat(), symmetry=START)
    drag(view, 3, 200.0, 12.0)
    view.twist_deg -= 180.0  # of C2 the same; point (3, 0) is now called (3, 1)
    drag(view, 3, 204.0, 12.0)
    assert view.twist_deg == pytest.approx(68.0)
    view.twist_deg -= 180.0
    drag(view, 3, -336.0 + 3.0, 12.0, number=2)  # a new drag, by the new name
    assert view.twist_deg == pytest.approx(68.0 - 180.0 + 1.0)


def test_a_point_below_the_origin_is_refused_until_it_comes_back() -> None:
    view = CylinderView(flat(), symmetry=START)
    drag(view, 3, 200.0, -1.0)
    assert "above the lattice's origin" in view.heading.error
    assert view.symmetry == START
    drag(view, 3, 198.0, 12.3)
    assert view.heading.error == ""
    assert view.rise_A == pytest.approx(4.1)


def test_the_symmetry_changes_at_once() -> None:
    view = CylinderView(flat(), symmetry=START)
    seen = []
    view.observe(lambda _change: seen.append((view.twist_deg, view.rise_A)), ["twist_deg", "rise_A"])
    drag(view, 1, 70.0, 5.0)
    assert set(seen) == {(70.0, 5.0)}


def test_the_contrast_stays_when_the_symmetrised_map_changes() -> None:
    first = flat()
    view = CylinderView(first)
    shown, low, high = view.canvas.before, view.canvas.low, view.canvas.high
    view.show_picture(first, flat(1))
    assert view.canvas.before is shown  # not sent again
    assert (view.canvas.low, view.canvas.high) == (low, high)
    np.testing.assert_array_equal(view.canvas.after, flat(1).density)
    view.comparison = "after"
    assert view.canvas.comparison == "after"
    assert view.canvas.marks is None  # no symmetry, no lattice


def test_a_change_waits_while_another_thread_is_sending() -> None:
    # ipywidgets collects what is to be sent in a plain set: a change from elsewhere would grow it under the sender.
    view = CylinderView(flat(), symmetry=START)
    browser = threading.Thread(target=view.canvas.set_state, args=({"origin": [5.0, 0.0]},))
    with view.canvas.hold_sync():  # a worker with a new picture
        view.canvas.caption = "new"
        browser.start()
        browser.join(0.1)
        assert browser.is_alive()
    browser.join()
    assert view.origin == [5.0, 0.0]
    assert view.canvas.marks[0, 2] == pytest.approx(view.marks_of(START)[0, 2], abs=1e-4)  # float32


def test_a_map_is_cut_where_it_is_asked_to() -> None:
    volume = Volume(np.random.default_rng(0).normal(size=(16, 32, 32)), 2.0)
    view = CylinderView(volume, radius_A=31.0)
    assert view._worker.wait()
    assert view.max_radius_A == 30.0
    assert "radius_A: found 31.0" in view.heading.error
    view.canvas.radius_A = 10.0  # the slider
    assert view._worker.wait()
    assert view.heading.error == ""
    assert view.radius_A == view.canvas.shown_radius_A == 10.0
    assert view.canvas.before.shape[0] == 16
    view.close()


def test_saved_with_axes_and_units() -> None:
    view = CylinderView(flat(), symmetry=START)
    svg = view.to_svg()
    assert all(text in svg for text in ("φ (°)", "z (Å)", "arc at 40.0 Å", "twist 66.000°"))
