"""The explorer without a browser: every gesture ends in the state, and the state in every view."""

import json

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab.io import read_star_table, read_volume, write_volume
from helixlab.simulate import simulate_helix
from helixlab_widgets import SymmetryExplorer
from helixlab_widgets.apps.explorer_state import ExplorerState, History

TRUTH = HelicalSymmetry(60.0, 12.0)


@pytest.fixture(scope="module")
def simulated():
    return simulate_helix("builtin", TRUTH, box=48, pixel_size_A=2.5, resolution_A=8.0, fsc_resolution_A=9.0)


@pytest.fixture(scope="module")
def opened(simulated):
    explorer = SymmetryExplorer((simulated.half1, simulated.half2), symmetry=HelicalSymmetry(61.0, 12.1))
    assert explorer.wait()
    yield explorer
    assert [view.heading.error for view in (explorer, *explorer.views)] == [""] * 11
    explorer.close()


@pytest.fixture
def explorer(opened):
    """The one explorer of this module, as it was opened."""
    opened.state = ExplorerState(twist_deg=61.0, rise_A=12.1)
    assert opened.wait()
    return opened


def test_every_view_follows_the_controls(explorer):
    before = explorer.slices.canvas.after_yx
    fsc = explorer.fsc.curves[0]
    explorer.controls.canvas.twist_deg = 60.0
    assert explorer.wait()
    for view in (explorer.cylinder, explorer.spectrum, explorer.landscape):
        assert (view.twist_deg, view.rise_A) == (60.0, 12.1)
    assert not np.array_equal(explorer.slices.canvas.after_yx, before)
    assert explorer.fsc.curves[0] is not fsc
    score = explorer.map.score(explorer.symmetry)
    assert explorer.controls.canvas.readout.startswith(f"Score {score.score_text}: how well the map correlates")
    assert explorer.controls.canvas.readout.endswith("a little above.")  # of what was imposed it says more


def test_a_dragged_lattice_point_sets_the_symmetry(explorer):
    explorer.cylinder.canvas.drag = {"id": 1, "k": 2, "turn": 0, "phi_deg": 120.0, "z_A": 24.0}
    assert (explorer.state.twist_deg, explorer.state.rise_A) == pytest.approx((60.0, 12.0))
    assert explorer.controls.canvas.pitch_A == pytest.approx(72.0)


def test_the_search_ends_with_its_best_candidate_in_hand(explorer):
    explorer.search()
    assert explorer.wait()
    assert explorer.symmetry.is_equivalent(TRUTH, twist_tol_deg=0.1, rise_tol_A=0.1)
    assert explorer.candidates.chosen == 0
    explorer.landscape.pick(30.0, 7.0)
    assert (explorer.state.twist_deg, explorer.state.rise_A) == (30.0, 7.0)
    explorer.candidates.chosen = None
    explorer.candidates.chosen = 0
    assert explorer.symmetry.is_equivalent(TRUTH, twist_tol_deg=0.1, rise_tol_A=0.1)


def test_refinement_goes_to_the_nearest_maximum(explorer):
    explorer.refine()
    assert explorer.wait()
    assert explorer.symmetry.is_equivalent(TRUTH, twist_tol_deg=0.1, rise_tol_A=0.1)


def test_a_flip_mirrors_map_and_twist_and_is_undone(explorer):
    before = explorer.slices.canvas.before_zy
    explorer.flip()
    assert explorer.wait()
    assert (explorer.state.twist_deg, explorer.state.is_flipped) == (-61.0, True)
    # The mirror turns z about voxel n // 2: all rows but the first change places.
    assert np.allclose(explorer.slices.canvas.before_zy[1:], before[1:][::-1])
    explorer.undo()
    assert (explorer.state.twist_deg, explorer.state.is_flipped) == (61.0, False)
    explorer.redo()
    assert explorer.state.is_flipped


def test_hypotheses_are_compared_saved_and_loaded(explorer, tmp_path):
    explorer.set_symmetry(TRUTH)
    explorer.keep("true")
    explorer.set_symmetry(TRUTH.multiple(2))
    explorer.keep("second")
    explorer.keep_control()
    assert explorer.wait()
    reports = {report.hypothesis.name: report for report in explorer.reports}
    assert reports["true"].score.score > 0.95
    assert "true" in reports["second"].remark
    assert len(explorer.hypotheses.canvas.rows) == 3
    path = tmp_path / "a.json"
    explorer.save(path)
    kept = explorer.state
    explorer.state = ExplorerState(twist_deg=10.0, rise_A=5.0)
    explorer.load(path)
    assert explorer.state == kept
    with pytest.raises(HelixLabError, match=r"a\.json"):
        explorer.save(path)
    explorer.hypotheses.canvas._receive(None, {"intent": "remove", "index": 1}, [])
    assert [h.name for h in explorer.state.hypotheses] == ["true", "asymmetric"]


def test_a_damaged_file_is_named_in_the_view_and_nothing_is_lost(explorer, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text("{}")
    explorer.keep("mine")
    explorer.hypotheses.canvas._receive(None, {"intent": "load", "path": str(path)}, [])
    assert "bad.json" in explorer.hypotheses.heading.error
    assert [h.name for h in explorer.state.hypotheses] == ["mine"]
    explorer.save(path, overwrite=True)
    explorer.hypotheses.canvas._receive(None, {"intent": "load", "path": str(path)}, [])
    assert explorer.hypotheses.heading.error == ""


def test_exports_read_back(explorer, tmp_path):
    explorer.set_symmetry(TRUTH)
    explorer.exports.canvas.stem = str(tmp_path / "out")
    for kind in ("map", "cs", "star", "json", "png", "svg"):
        explorer.exports.export(kind)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"out_symmetrised.mrc", "out_symmetry.cs", "out_symmetry.star", "out_hypotheses.json"} <= written
    assert read_volume(tmp_path / "out_symmetrised.mrc").shape == (48, 48, 48)
    assert read_star_table(tmp_path / "out_symmetry.star", "model_classes")["rlnHelicalRise"][0] == 12.0
    assert np.load(tmp_path / "out_symmetry.cs")["twist_deg"][0] == 60.0
    kept = explorer.state
    explorer.state = ExplorerState(twist_deg=10.0, rise_A=5.0)
    explorer.load(tmp_path / "out_hypotheses.json")
    assert explorer.state == kept
    assert (tmp_path / "out_slices.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "out_fsc.svg").read_text()
    explorer.exports.canvas._receive(None, {"intent": "export", "kind": "map"}, [])
    assert "out_symmetrised.mrc" in explorer.exports.heading.error
    assert "replace" in explorer.exports.heading.error
    explorer.exports.canvas._receive(None, {"intent": "export", "kind": "map", "overwrite": True}, [])
    assert explorer.exports.heading.error == ""


def test_the_exported_code_makes_the_same_state(simulated, tmp_path):
    path = tmp_path / "map.mrc"
    write_volume(path, simulated.volume)
    first = SymmetryExplorer(path, symmetry=TRUTH)
    first.keep("true")
    first.exports.export("code")
    scope: dict = {}
    exec(first.exports.canvas.code.replace("\nSymmetryExplorer(", "\nmade = SymmetryExplorer("), scope)
    assert scope["made"].state == first.state
    assert scope["made"].wait()
    assert "two half maps" in scope["made"].fsc.note
    for made in (first, scope["made"]):
        made.close()


def test_closing_frees_every_widget(simulated):
    before = set(_instances)
    explorer = SymmetryExplorer(simulated.volume, symmetry=TRUTH)
    explorer.close()
    # bqplot shares one layout among its toolbars.
    assert len(set(_instances) - before) <= 1


def test_a_flip_takes_the_old_hands_candidates_and_answers_away(explorer):
    explorer.search()
    assert explorer.wait()
    explorer.refine()
    explorer.flip()
    assert explorer.wait()
    assert explorer.candidates.candidates == ()
    assert explorer.state.is_flipped
    assert explorer.symmetry.is_equivalent(TRUTH.mirrored(), twist_tol_deg=0.1, rise_tol_A=0.1)


def test_a_rise_too_long_for_the_box_is_refused_where_it_was_typed(explorer):
    explorer.controls.canvas.rise_A = 70.0
    assert "rise_A: found 70" in explorer.controls.heading.error
    assert (explorer.controls.canvas.rise_A, explorer.state.rise_A) == (12.1, 12.1)
    explorer.controls.canvas.rise_A = 12.2
    assert explorer.controls.heading.error == ""


def test_a_file_of_a_larger_map_loads_without_its_place(explorer, tmp_path):
    path = tmp_path / "view.json"
    explorer.save(path)
    file = json.loads(path.read_text())
    file["view"]["display"]["at_px"] = [100, 1, 1]
    path.write_text(json.dumps(file))
    explorer.load(path)
    assert explorer.state.display.at_px is None
    file["view"]["rise_A"] = -1
    path.write_text(json.dumps(file))
    with pytest.raises(HelixLabError, match=r"view\.rise_A"):
        explorer.load(path)


def test_undo_brings_a_removed_hypothesis_back_with_its_numbers(explorer):
    explorer.keep("a")
    explorer.keep("b")
    assert explorer.wait()
    explorer.files.remove(0)
    explorer.undo()
    assert explorer.wait()
    assert [h.name for h in explorer.state.hypotheses] == ["a", "b"]
    assert len(explorer.reports) == 2
    explorer.undo()
    assert [h.name for h in explorer.state.hypotheses] == ["a"]


def test_moving_the_cross_hair_computes_slices_alone(explorer, monkeypatch):
    asked = []
    monkeypatch.setattr(explorer.map, "power_spectrum", lambda *_: asked.append("spectrum"))
    monkeypatch.setattr(explorer.map, "fsc", lambda *_: asked.append("fsc"))
    explorer.slices.at_px = (20, 21, 22)
    assert explorer.wait()
    assert explorer.state.display.at_px == (20, 21, 22)
    assert asked == []


def test_arguments_that_say_the_same_thing_are_refused(simulated):
    with pytest.raises(HelixLabError, match="symmetry: found one beside a state"):
        SymmetryExplorer(simulated.volume, symmetry=TRUTH, state=ExplorerState(twist_deg=1, rise_A=1))


def test_history_joins_a_drag_and_forgets_the_future():
    now = iter([0.0, 0.1, 0.2, 9.0])
    history = History(ExplorerState(twist_deg=1, rise_A=1))
    for twist_deg in (2.0, 3.0, 4.0):
        state = history.present.model_copy(update={"twist_deg": twist_deg})
        history = history.to(state, clock=lambda: next(now))
    assert len(history.past) == 1
    history = history.undone()
    assert history.present.twist_deg == 1
    history = history.to(history.present.with_display(kind="projection"))
    assert history.redone().present.twist_deg == 4.0
    assert history.redone().present.display.kind == "projection"
    history = history.to(history.present.model_copy(update={"rise_A": 2.0}), clock=lambda: next(now))
    assert history.future == ()


def test_a_search_asked_for_at_once_has_the_last_word(simulated):
    explorer = SymmetryExplorer((simulated.half1, simulated.half2))
    explorer.search()
    assert explorer.wait()
    assert explorer.candidates.chosen == 0
    assert explorer.symmetry == explorer.candidates.candidates[0].symmetry
    explorer.close()


def test_an_unknown_keyword_is_a_type_error(simulated):
    with pytest.raises(TypeError, match="twist"):
        SymmetryExplorer(simulated.volume, twist=3)
