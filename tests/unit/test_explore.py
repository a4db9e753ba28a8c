"""FilamentMap's answers against the plain functions they stand for, hypotheses' file, and how they are compared."""

import json
from concurrent.futures import ThreadPoolExecutor

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from helixlab.errors import HelixLabError
from helixlab.explore import (
    FilamentMap,
    Hypothesis,
    HypothesisFile,
    compare_hypotheses,
    compute_power_spectrum,
    downsize_volume,
    mirror_volume,
    parse_hypotheses,
    read_hypotheses,
    write_hypotheses,
)
from helixlab.geometry import HelicalSymmetry, Volume, layer_lines
from helixlab.io import write_volume
from helixlab.kernels.symmetrize import impose_symmetry
from helixlab.search import SearchSettings
from helixlab.simulate import simulate_helix

TRUTH = HelicalSymmetry(-101.1, 5.13)
SHAPE = (56, 48, 50)


@pytest.fixture(scope="module")
def clean():
    return simulate_helix("builtin", TRUTH, box=SHAPE, pixel_size_A=2.2, resolution_A=6.0).volume


@pytest.fixture(scope="module")
def halves(clean):
    rng = np.random.default_rng(0)
    return [clean.with_data(clean.data + rng.normal(size=SHAPE).astype(np.float32)) for _ in range(2)]


@pytest.fixture(scope="module")
def half_maps(halves):
    return FilamentMap(*halves, name="tube")


@pytest.fixture(scope="module")
def single(clean):
    return FilamentMap(clean)


# --- opening -------------------------------------------------------------------------------------------


def test_opens_files_maps_and_pairs(tmp_path, halves):
    paths = [tmp_path / f"half{i}.mrc" for i in (1, 2)]
    for path, half in zip(paths, halves, strict=True):
        write_volume(path, half)
    opened = FilamentMap.open(paths)
    assert opened.name == "half1"
    assert opened.has_halves
    assert FilamentMap.open(opened) is opened
    np.testing.assert_array_equal(opened.volume.data, (halves[0].data + halves[1].data) / 2)
    assert FilamentMap.open(str(paths[0]), pixel_size_A=3.0).volume.pixel_size_A == 3.0
    assert not FilamentMap.open(halves[0], name="one").has_halves


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.mrc", "missing.mrc"),
        ((), "found 0 maps"),
        ([Volume(np.eye(16)[None] * np.ones((16, 1, 1)), n) for n in (1.0, 2.0)], "^half2: found"),
    ],
)
def test_what_cannot_be_opened_is_named(source, message):
    with pytest.raises(HelixLabError, match=message):
        FilamentMap.open(source)


# --- pictures --------------------------------------------------------------------------------------------


def test_planes_are_those_of_the_imposed_map(half_maps):
    symmetry, at_px = HelicalSymmetry(60.0, 12.0), (20, 30, 17)
    whole = half_maps.symmetrised(symmetry).data
    for volume, planes, kind in (
        (half_maps.volume.data, half_maps.planes, "section"),
        (whole, lambda *a: half_maps.symmetrised_planes(symmetry, *a), "section"),
        (half_maps.volume.data, half_maps.planes, "projection"),
        (whole, lambda *a: half_maps.symmetrised_planes(symmetry, *a), "projection"),
    ):
        z, y, x = at_px
        wanted = (
            (volume[:, :, x], volume[:, y], volume[z])
            if kind == "section"
            else (volume.sum(2), volume.sum(1), volume.sum(0))
        )
        for found, expected in zip(planes(at_px, kind), wanted, strict=True):
            # Slices sum the waves at the voxels themselves; the whole map comes from splines over the angle, which keep
            # 99.8% of the amplitude at Nyquist.
            np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    with pytest.raises(HelixLabError, match=r"^at_px: found the voxel \(56, 0, 0\)"):
        half_maps.planes((56, 0, 0))


def test_dyad_of_dn_is_found_in_the_map():
    symmetry = HelicalSymmetry(62.5, 8.7, "D1")
    made = simulate_helix("builtin", symmetry, box=SHAPE, pixel_size_A=2.2, resolution_A=6.0).volume
    # Dyads lie half a rise apart, two voxels: moved by one, the middle has none.
    moved = FilamentMap(made.with_data(np.roll(made.data, 1, axis=0)))
    assert moved.score(symmetry).explained > 0.99


def test_mirror_image_has_the_mirrored_symmetry(single):
    flipped = single.flipped()
    assert flipped.flipped().volume.data[1:].tolist() == single.volume.data[1:].tolist()
    assert flipped.is_flipped
    assert not single.is_flipped
    assert flipped.score(TRUTH.mirrored()).score == pytest.approx(
        single.score(TRUTH).score, abs=5e-3
    )  # section 0 stays
    assert flipped.score(TRUTH).score < 0.5


def test_smaller_map_is_the_low_pass_filtered_one():
    """A Gaussian whose transform ends below the coarser Nyquist frequency is the same function on both grids."""
    for shape, box in (((60, 60, 60), 41), ((48, 40, 37), 36), ((45, 45, 45), 30)):
        width_A = 6.0
        z, y, x = np.meshgrid(*(2.0 * (np.arange(n) - n // 2) for n in shape), indexing="ij")
        fine = Volume(np.exp(-((z - 5) ** 2 + y**2 + (x + 3) ** 2) / (2 * width_A**2)), 2.0, (7.0, 1.0, -2.0))
        coarse = downsize_volume(fine, box)
        pixel = coarse.pixel_size_A
        z, y, x = np.meshgrid(*(pixel * (np.arange(n) - n // 2) for n in coarse.shape), indexing="ij")
        expected = np.exp(-((z - 5) ** 2 + y**2 + (x + 3) ** 2) / (2 * width_A**2))
        assert max(coarse.shape) <= box
        # Its transform at the coarser Nyquist frequency, 1/6 Å or above: exp(−2π²·6²/6²) < 3e-9; cut off at the box's
        # end, 33 Å away: exp(−33²/2·6²) = 3e-7; float32 sums of 10⁵ terms.
        np.testing.assert_allclose(coarse.data, expected, atol=1e-5)
        for n, m, origin, new in zip(shape[::-1], coarse.shape[::-1], fine.origin_A, coarse.origin_A, strict=True):
            assert origin + n // 2 * 2.0 == pytest.approx(new + m // 2 * pixel)


def test_mirroring_twice_is_once():
    rng = np.random.default_rng(1)
    for nz in (8, 9):
        volume = Volume(rng.normal(size=(nz, 4, 5)), 1.0)
        mirrored = mirror_volume(volume)
        np.testing.assert_array_equal(mirrored.data[nz // 2], volume.data[nz // 2])
        np.testing.assert_array_equal(mirrored.data[nz // 2 + 1], volume.data[nz // 2 - 1])
        np.testing.assert_array_equal(mirror_volume(mirrored).data, volume.data)


def test_power_lies_on_the_layer_lines():
    symmetry = HelicalSymmetry.from_pitch(30.0, 4.0)
    made = simulate_helix("builtin", symmetry, box=96, pixel_size_A=2.5, resolution_A=8.0).volume
    spectrum = compute_power_spectrum(made, 45.0, 1 / 10.0)
    np.testing.assert_allclose(spectrum.power, spectrum.power[:, ::-1])
    assert spectrum.freq_z_per_A[0] == -spectrum.freq_z_per_A[-1]
    heights = {line.freq_per_A for line in layer_lines(symmetry, 0.1, 12)}
    distance = np.min([np.abs(np.abs(spectrum.freq_z_per_A) - h) for h in heights], axis=0)
    # The window of 240 Å spreads a line over some 2/240 Å at either side; lines lie 1/30 Å apart.
    off = spectrum.power[distance > 3 / 240.0]
    on = spectrum.power[distance < 0.5 / 240.0]
    assert off.mean() < 0.01 * on.mean()


# --- judgements ---------------------------------------------------------------------------------------------


def test_true_symmetry_scores_and_raises_the_resolution(half_maps):
    right, wrong = (half_maps.score(s) for s in (TRUTH, HelicalSymmetry(-95.0, 5.13)))
    assert right.score > 0.9 > 0.5 > wrong.score
    assert right.explained > wrong.explained
    assert right.to_dict()["explained"] == right.explained
    (before,), (after,) = half_maps.fsc(None), half_maps.fsc(TRUTH)
    assert (before.label, after.label) == ("half maps", "half maps, symmetrised")
    np.testing.assert_array_equal(before.freq_per_A, after.freq_per_A)
    assert after.resolution_A() < before.resolution_A()
    refined = half_maps.refine(HelicalSymmetry(-101.0, 5.15))
    assert abs(refined.symmetry.twist_deg - TRUTH.twist_deg) < 5 * refined.twist_se_deg
    assert abs(refined.symmetry.rise_A - TRUTH.rise_A) < 5 * refined.rise_se_A


def test_what_was_imposed_speaks_for_nothing(halves, half_maps, single):
    """No errors of what the map was given; the same of a map that has no noise. Natural half maps have both."""
    wrong = HelicalSymmetry(-78.9, 4.0)
    given = FilamentMap(*(impose_symmetry(half, wrong, outer_radius_A=half_maps.outer_radius_A) for half in halves))
    repeated, natural, clean = given.score(wrong), half_maps.score(TRUTH), single.score(TRUTH)
    assert [score.imposed.screw for score in (repeated, natural, clean)] == [True, False, None]
    assert repeated.to_dict()["imposed"] == {"screw": True, "point_group": False}
    assert natural.notes == ()
    assert natural.rise_se_A > 0
    assert natural.score_text == f"{natural.score:.4f} ± {natural.score_se:.4f}"
    for score, begins in ((repeated, "This symmetry, or a part of it, seems to have been"), (clean, "The map has no")):
        assert score.notes[0].startswith(begins)
        assert (score.twist_se_deg, score.rise_se_A) == (None, None)
        assert score.score_text == f"{score.score:.4f}"
    refined = given.refine(HelicalSymmetry(-78.8, 4.01))
    assert (refined.twist_se_deg, refined.notes) == (None, repeated.notes)
    (report,) = compare_hypotheses(given, [Hypothesis(name="a", twist_deg=wrong.twist_deg, rise_A=wrong.rise_A)])
    assert report.remark == "this symmetry, or a part of it, " + repeated.notes[0].split(", ", 2)[2].rstrip(".")
    assert report.filled().score_se is None


def test_explained_is_the_correlation_with_the_imposed_map(half_maps):
    symmetry = HelicalSymmetry(-95.0, 5.13)
    own, imposed = half_maps.volume.data, half_maps.symmetrised(symmetry).data
    z, y, x = np.indices(SHAPE) - np.reshape([n // 2 for n in SHAPE], (3, 1, 1, 1))
    weight = 0.5 + 0.5 * np.cos(np.pi * np.clip((np.abs(z) - 0.25 * SHAPE[0]) / 5, 0, 1))
    weight = weight * (np.hypot(y, x) <= half_maps.outer_radius_A / 2.2)
    own, imposed = (a - (a * weight).sum() / weight.sum() for a in (own, imposed))
    expected = (own * imposed * weight).sum() / np.sqrt((own**2 * weight).sum() * (imposed**2 * weight).sum())
    # Voxels and cylinders sample the rim differently: a voxel of 17.
    assert half_maps.score(symmetry).explained == pytest.approx(expected, abs=0.03)


def test_single_map_has_no_resolution(single):
    assert single.fsc(None) == ()
    (curve,) = single.fsc(TRUTH)
    assert "not a resolution" in curve.label


def test_landscapes_and_cuts_peak_at_the_truth(single):
    plane = single.landscape((-110.0, -90.0), (4.0, 6.0), shape=(81, 41))
    twist_deg, rise_A = plane.peaks(1)
    assert abs(twist_deg[0] - TRUTH.twist_deg) <= 0.25
    assert abs(rise_A[0] - TRUTH.rise_A) <= 0.05
    by_pitch = single.pitch_landscape((12.0, 24.0), (3.0, 4.0), hand=-1, shape=(61, 51))
    p, n = np.unravel_index(np.argmax(by_pitch.score), by_pitch.score.shape)
    assert abs(by_pitch.pitch_A[p] - TRUTH.pitch_A) <= 0.2
    assert abs(by_pitch.subunits_per_turn[n] - TRUTH.subunits_per_turn) <= 0.02
    cuts = single.cuts(TRUTH, n=41)
    assert cuts.twist_deg[np.argmax(cuts.twist_score)] == pytest.approx(TRUTH.twist_deg)
    assert cuts.rise_A[np.argmax(cuts.rise_score)] == pytest.approx(TRUTH.rise_A)
    assert cuts.twist_score[20] == pytest.approx(single.score(TRUTH).score, abs=1e-4)


def test_wall_is_unrolled_and_symmetrised_map_is_imposed(single):
    wall = single.unrolled()
    assert wall.radius_A + wall.thickness_A / 2 == pytest.approx(single.outer_radius_A)
    imposed = impose_symmetry(single.volume, TRUTH, z_fraction=0.5, outer_radius_A=single.outer_radius_A)
    np.testing.assert_allclose(single.symmetrised(TRUTH).data, imposed.data)
    assert max(single.symmetrised(TRUTH, box_px=32).shape) <= 32
    assert single.power_spectrum() is single.power_spectrum()


def test_search_notes_what_was_not_searched(clean):
    """Only twice the rise was looked for, and the range ends just there."""
    low_A, high_A = 8.0, 2 * TRUTH.rise_A + 0.05
    settings = SearchSettings(rise_range_A=(low_A, high_A), align_axis=False)
    found = FilamentMap(clean, search=settings).search()
    assert found.best.symmetry.is_equivalent(TRUTH.multiple(2), twist_tol_deg=0.02, rise_tol_A=0.02)
    assert found.landscape.rise_A[0] == low_A
    assert any("edge of the searched range" in w for w in found.warnings)
    (note,) = (n for n in found.best.notes if n.startswith("Not the whole symmetry"))
    assert "twist -101.1" in note
    assert "rise 5.13" in note


def test_threads_ask_at_once(halves):
    """Whoever comes first makes what is kept; all get the same answers."""
    fresh = FilamentMap(*halves)
    asked = [HelicalSymmetry(-101.1, rise_A) for rise_A in (2.0, 5.13, 9.0)] * 2
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda s: (fresh.symmetrised_planes(s).zy, fresh.fsc(s)[0].fsc), asked))
    for (planes, fsc), symmetry in zip(found, asked, strict=True):
        np.testing.assert_array_equal(planes, fresh.symmetrised_planes(symmetry).zy)
        np.testing.assert_array_equal(fsc, fresh.fsc(symmetry)[0].fsc)


def test_warm_map_compiles_nothing_more(half_maps):
    compiled = []  # counted before the cache on disk is looked at
    half_maps.warm_up()
    half_maps.cuts(TRUTH)
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _s, **_k: compiled.append(event) if event.endswith("jaxpr_to_mlir_module_duration") else None
    )
    for rise_A in (1.0, 2.2, 5.13, 9.0, 20.0, 50.0):
        symmetry = HelicalSymmetry(31.0, rise_A)
        half_maps.symmetrised_planes(symmetry, (20, 30, 17))
        half_maps.fsc(symmetry)
        half_maps.score(symmetry)
        half_maps.cuts(symmetry)
    assert compiled == []


# --- hypotheses -------------------------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
helical = st.builds(
    Hypothesis,
    name=st.text(min_size=1),
    twist_deg=finite,
    rise_A=st.floats(1e-6, 1e6),
    point_group=st.sampled_from(["C1", "c6", "D2"]),
    is_flipped=st.booleans(),
    note=st.text(),
    score=st.none() | finite,
)
controls = st.builds(Hypothesis, name=st.text(min_size=1), kind=st.just("asymmetric"), resolution_A=finite)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=30)
@hypothesis.given(
    hypotheses=st.lists(helical | controls, unique_by=lambda h: h.name, max_size=4),
    view=st.dictionaries(st.text(), st.none() | st.booleans() | st.text() | finite | st.lists(st.integers(0, 9))),
)
def test_file_comes_back_as_it_was(tmp_path, half_maps, hypotheses, view):
    current = hypotheses[-1].name if hypotheses else None
    file = HypothesisFile.of(half_maps, tuple(hypotheses), current=current, view=view)
    write_hypotheses(tmp_path / "a.json", file, overwrite=True)
    assert read_hypotheses(tmp_path / "a.json") == file
    assert read_hypotheses(tmp_path / "a.json").to_json() == file.to_json()


def _file_text(half_maps, **changes):
    row = Hypothesis(name="a", twist_deg=20.0, rise_A=1.4)
    return json.dumps(json.loads(HypothesisFile.of(half_maps, (row,)).to_json()) | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"schema_version": 2, "created_with": "9.1"},
            r"^x.json: schema_version: found 2, made by HelixLab 9.1.*newer",
        ),
        ({"schema_version": "one"}, r"^x.json: schema_version: found 'one'"),
        ({"colour": 1}, r"^x.json: colour: there is no such"),
        ({"current": "b"}, r"^x.json: current: found 'b'"),
        ({"hypotheses": [{"name": "a", "twist_deg": 1, "rise_A": -2}]}, r"hypotheses.0.rise_A: found -2"),
        ({"hypotheses": [{"name": "a", "twist_deg": 1}]}, r"hypotheses.0.twist_deg, rise_A: found none"),
        ({"hypotheses": [{"name": "a", "kind": "asymmetric", "rise_A": 1}]}, r"found asymmetric with a twist"),
        ({"hypotheses": [{"name": "a", "kind": "asymmetric"}] * 2}, r"found the name 'a' twice"),
        ({"hypotheses": [{"name": "a", "twist_deg": 1, "rise_A": 2, "point_group": "T"}]}, "point group: found 'T'"),
    ],
)
def test_wrong_field_is_named(half_maps, changes, message):
    with pytest.raises(HelixLabError, match=message):
        parse_hypotheses(_file_text(half_maps, **changes), "x.json")


def test_wrong_hypothesis_is_named():
    with pytest.raises(HelixLabError, match=r"^rise_A: found -1"):
        Hypothesis(name="a", twist_deg=20, rise_A=-1)


@pytest.mark.parametrize("text", ["{", "[1]", "{}", "\ufeff{}"])
def test_what_is_no_file_of_hypotheses(tmp_path, text):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(HelixLabError, match=r"x.json: found .*Give a file"):
        read_hypotheses(tmp_path / "x.json")


def test_same_densities_are_the_same_map_under_any_name(half_maps, halves):
    mine = HypothesisFile.of(half_maps, ()).map
    assert mine == HypothesisFile.of(FilamentMap(*halves, name="other"), ()).map
    assert mine != HypothesisFile.of(FilamentMap(*halves[::-1]), ()).map


def test_hypotheses_are_told_apart(half_maps):
    rows = [
        Hypothesis(name="true", twist_deg=TRUTH.twist_deg, rise_A=TRUTH.rise_A),
        Hypothesis(name="again", twist_deg=TRUTH.twist_deg + 360.0, rise_A=TRUTH.rise_A),
        Hypothesis(name="mirrored", twist_deg=-TRUTH.twist_deg, rise_A=TRUTH.rise_A, is_flipped=True),
        Hypothesis(name="double", twist_deg=2 * TRUTH.twist_deg, rise_A=2 * TRUTH.rise_A),
        Hypothesis(name="too fine", twist_deg=TRUTH.twist_deg / 2, rise_A=TRUTH.rise_A / 2),
        Hypothesis(name="control", kind="asymmetric"),
    ]
    reports = {r.hypothesis.name: r for r in compare_hypotheses(half_maps, rows)}
    assert "same operators as “again”" in reports["true"].remarks
    assert "mirror image of “mirrored”: neither score nor FSC can tell the hand" in reports["true"].remarks
    assert "contains “double”, and what it adds holds as well" in reports["true"].remarks
    assert "every 2nd subunit of “true”, whose further operators hold as well" in reports["double"].remarks
    assert "contains “true”, and what it adds does not hold" in reports["too fine"].remarks
    assert reports["mirrored"].score.score == pytest.approx(reports["true"].score.score, abs=1e-6)
    assert reports["control"].score is None
    assert reports["control"].score_text == "–"
    assert reports["control"].crossing.resolution_A > reports["true"].crossing.resolution_A
    assert reports["true"].filled().resolution_A == reports["true"].crossing.resolution_A
    assert reports["true"].score_text.startswith("0.9")
    assert reports["true"].resolution_text.endswith("Å")
    with pytest.raises(HelixLabError, match=r"found the name 'true' twice"):
        compare_hypotheses(half_maps, rows[:1] * 2)
