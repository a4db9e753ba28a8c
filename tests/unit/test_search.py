"""Settings, input checks, result objects and small pieces of the search."""

import json

import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.kernels.interpolate import mirrored_spline_matrix, sample_cylinders, spline_matrix
from helixlab.search import (
    SearchSettings,
    compute_landscape,
    prepare_filament,
    score_pitch_plane,
    search_axes,
    search_symmetry,
)
from helixlab.search.axis import Axis, axis_from_mass, straighten_volume
from helixlab.search.judge import Judge
from helixlab.simulate import builtin_unit, simulate_helix

TRUTH = HelicalSymmetry(-101.1, 5.13)


@pytest.fixture(scope="module")
def volume():
    return simulate_helix(builtin_unit(), TRUTH, box=64, pixel_size_A=2.5, resolution_A=8.0).volume


@pytest.fixture(scope="module")
def filament(volume):
    return prepare_filament(volume)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rise_range_A": (0, 5)}, "rise_range_A: found 0.0 to 5.0"),
        ({"rise_range_A": (9, 5)}, "smaller value first"),
        ({"rise_range_A": (0.1, 5)}, "no protein repeats below 0.3"),
        ({"twist_range_deg": (10, -10)}, "twist_range_deg: found 10.0 to -10.0"),
        ({"twist_range_deg": (-300, 300)}, "at most one turn"),
        ({"point_group": "T"}, "point group: found 'T'"),
        ({"inner_radius_A": 50, "outer_radius_A": 40}, "inner_radius_A: found 50"),
        ({"twists": (1, 2)}, "there is no such setting"),
    ],
)
def test_settings_say_what_is_wrong(given, message):
    with pytest.raises(HelixLabError, match=message):
        SearchSettings(**given)


def test_settings_round_trip_and_carry_labels_and_units():
    settings = SearchSettings(twist_range_deg=(-110, -90), point_group="d2")
    assert SearchSettings.model_validate_json(settings.model_dump_json()) == settings
    assert settings.point_group == "D2"
    for field in SearchSettings.model_fields.values():
        assert field.title
        assert field.description
        assert isinstance(field.json_schema_extra, dict)
        assert "unit" in field.json_schema_extra


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outer_radius_A": 90.0}, "outer_radius_A: found 90.0 Å; the box holds"),
        ({"inner_radius_A": 70.0, "outer_radius_A": 72.0}, "at least 3 voxels"),
    ],
)
def test_radii_must_fit(volume, change, message):
    with pytest.raises(HelixLabError, match=message):
        prepare_filament(volume, **change)


def test_maps_that_cannot_be_searched_are_refused(volume):
    with pytest.raises(HelixLabError, match="at least 16"):
        search_symmetry(Volume(np.ones((8, 8, 8), np.float32), 1.0))
    with pytest.raises(HelixLabError, match=r"same density everywhere|no density"):
        search_symmetry(Volume(np.ones((32, 32, 32), np.float32), 1.0))
    other = Volume(volume.data[:60], volume.pixel_size_A)
    with pytest.raises(HelixLabError, match="two half maps on one grid"):
        search_symmetry(volume, other)
    with pytest.raises(HelixLabError, match="the same map as half map 1"):
        search_symmetry(volume, volume)
    rng = np.random.default_rng(0)
    noise = [Volume(rng.normal(size=(32, 32, 32)).astype(np.float32), 2.0) for _ in range(2)]
    with pytest.raises(HelixLabError, match=r"no shell in which the half maps agree|no density that"):
        search_symmetry(*noise)
    with pytest.raises(HelixLabError, match="only rises up to"):
        search_symmetry(volume, settings=SearchSettings(rise_range_A=(150, 200)))


def test_result_is_one_json_object(volume):
    steps = []
    result = search_symmetry(volume, progress=lambda text, part: steps.append((text, part)))
    found = json.loads(json.dumps(result.to_dict()))
    assert {"candidates", "pairs_evaluated", "seconds", "warnings"} <= set(found)
    keys = {
        "twist_deg", "rise_A", "point_group", "score", "mse", "twist_se_deg", "rise_se_A", "pitch_A",
        "subunits_per_turn", "hand", "equivalents",
    }  # fmt: skip
    assert keys <= set(found["candidates"][0])
    # Computed without noise: nothing tells whether the screw was imposed, and there is nothing to take an error from.
    assert found["imposed"] == {"screw": None, "point_group": False}
    assert {c["twist_se_deg"] for c in found["candidates"]} == {c["rise_se_A"] for c in found["candidates"]} == {None}
    assert found["candidates"][0]["hand"] == -1
    assert result.margin is None or result.margin > 0.3
    parts = [part for _, part in steps]
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def test_a_range_that_ends_at_the_answer_is_reported(volume):
    result = search_symmetry(volume, settings=SearchSettings(rise_range_A=(5.1, 20)))
    assert any("edge of the searched range" in warning for warning in result.warnings)
    result = search_symmetry(volume, settings=SearchSettings(twist_range_deg=(-101.2, -60)))
    assert any("edge of the searched range" in warning for warning in result.warnings)


def test_both_bases_score_alike(filament):
    twist, rise = np.array([-101.1, -100.0]), np.array([5.13, 5.3])
    plane = compute_landscape(filament, twist, rise)
    n = 360.0 / np.abs(twist)
    score, mse = score_pitch_plane(filament, np.array([5.13, 5.3]) * n[0], n, hand=-1)
    assert score[0, 0] == pytest.approx(plane.score[0, 0], abs=1e-5)
    assert mse[0, 0] == pytest.approx(plane.mse[0, 0], abs=1e-5)
    assert plane.score[0, 0] == plane.score.max()
    assert plane.mse[0, 0] == plane.mse.min()
    with pytest.raises(HelixLabError, match="pitch_A"):
        score_pitch_plane(filament, np.array([0.0, 5.0]), n)


def test_grid_axes_cover_the_range_without_a_double_seam(filament):
    twist, rise = search_axes(filament, (-180, 180), (2, 40))
    assert twist[0] == -180
    assert twist[-1] < 180
    assert rise[0] == 2
    assert rise[-1] == 40
    assert len(twist) * len(rise) >= 800_000


def test_a_finer_symmetry_is_told_from_a_coarser_one(filament):
    judge = Judge(filament)
    true_root = judge.compare(TRUTH, TRUTH.multiple(3))
    assert true_root.holds
    false_root = judge.compare(HelicalSymmetry(TRUTH.twist_deg / 2, TRUTH.rise_A / 2), TRUTH)
    assert not false_root.holds
    assert not judge.compare(HelicalSymmetry(TRUTH.twist_deg, TRUTH.rise_A, "C2"), TRUTH).holds
    finest, _, undecided = judge.finest(judge.refine(TRUTH.multiple(4)))
    assert finest.is_equivalent(TRUTH, twist_tol_deg=0.01, rise_tol_A=0.01)
    assert undecided == []
    assert judge.continuous_slope(TRUTH) is None


def test_the_axis_from_mass_of_an_off_centre_rod():
    z, y, x = np.meshgrid(*[np.arange(48) - 24.0] * 3, indexing="ij")
    rod = np.exp(-((x - 3 - 0.05 * z) ** 2 + (y + 2) ** 2) / 18).astype(np.float32)
    axis = axis_from_mass(Volume(rod, 2.0))
    assert (axis.x_A, axis.y_A) == pytest.approx((6.0, -4.0), abs=0.1)
    assert (axis.lean_x, axis.lean_y) == pytest.approx((0.05, 0.0), abs=2e-3)


@pytest.mark.parametrize("shape", [(40, 48, 44), (41, 45, 47)])
def test_straightening_moves_the_map_rigidly(shape):
    axis = Axis(x_A=3.0, y_A=-2.0, lean_x=0.04, lean_y=-0.03)
    grid = np.meshgrid(*[(np.arange(n) - n // 2) * 1.5 for n in shape], indexing="ij")

    def blob(centre, points):
        return np.exp(-sum((p - c) ** 2 for p, c in zip(points, centre, strict=True)) / (2 * 3.5**2))

    # A blob on the axis, 9 Å above the centre: it belongs on z at height 9.
    u = np.array([1.0, axis.lean_y, axis.lean_x])
    u /= np.linalg.norm(u)
    at = np.array([0.0, axis.y_A, axis.x_A]) + 9.0 * u
    moved = straighten_volume(Volume(blob(at, grid).astype(np.float32), 1.5), axis)
    np.testing.assert_allclose(moved.data, blob((9.0, 0.0, 0.0), grid), atol=2e-3)  # a Gaussian's tail beyond Nyquist


def test_spline_matrices_reproduce_samples():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=21)
    for matrix, offset in ((spline_matrix(21), 0), (mirrored_spline_matrix(21, 3), 6)):
        coefficients = np.pad(matrix @ signal, 1, mode="wrap")
        values = (coefficients[:-2] + 4 * coefficients[1:-1] + coefficients[2:]) / 6
        np.testing.assert_allclose(values[offset : offset + 42 : 2], signal, atol=1e-5)


def test_cylinders_follow_the_axis_convention():
    # A blob at +y (φ = 90°), two sections above the middle.
    z, y, x = np.meshgrid(np.arange(9) - 4.0, np.arange(32) - 16.0, np.arange(32) - 16.0, indexing="ij")
    blob = np.exp(-(x**2 + (y - 6) ** 2 + (z - 2) ** 2) / 4).astype(np.float32)
    values = np.asarray(sample_cylinders(blob, np.array([5.0, 6.0, 7.0]), 36))
    assert np.unravel_index(values.argmax(), values.shape) == (1, 9, 6)
