"""A symmetry imposed on a map before it is searched: recognised in the noise, said, and not taken for a finding."""

import numpy as np
import pytest

from helixlab.geometry import HelicalSymmetry, Volume, wrap_deg
from helixlab.kernels.fourier import low_pass
from helixlab.kernels.symmetrize import impose_symmetry
from helixlab.search import SearchSettings, audit_symmetry, prepare_filament, search_symmetry
from helixlab.search.imposed import Imposed, prepare_noise
from helixlab.simulate import SimulatedMap, builtin_unit, simulate_helix

NOTHING, SCREW, TURNS = Imposed(False, False), Imposed(True, False), Imposed(False, True)
WRONG = HelicalSymmetry(-78.9, 4.0)
SETTINGS = SearchSettings(rise_range_A=(2.0, 30.0))

Maps = tuple[Volume, ...]


@pytest.fixture(scope="module")
def tube() -> SimulatedMap:
    truth = HelicalSymmetry(-101.1, 5.13)
    return simulate_helix("builtin", truth, box=64, pixel_size_A=2.5, resolution_A=6.0, fsc_resolution_A=7.0)


@pytest.fixture(scope="module")
def rings() -> SimulatedMap:
    truth = HelicalSymmetry(35.0, 18.0, "C4")
    # An odd box: quarter turns about its middle voxel keep the grid.
    return simulate_helix(builtin_unit(truth), truth, box=65, pixel_size_A=2.5, resolution_A=6.0, fsc_resolution_A=8.0)


def with_screw(maps: Maps, screw: HelicalSymmetry, radius_A: float) -> Maps:
    return tuple(impose_symmetry(one, screw, outer_radius_A=radius_A) for one in maps)


def turned(maps: Maps, *quarters: int) -> Maps:
    return tuple(one.with_data(np.mean([np.rot90(one.data, q, axes=(1, 2)) for q in quarters], axis=0)) for one in maps)


def mean(maps: Maps) -> Maps:
    return (maps[0].with_data((maps[0].data + maps[1].data) / 2),)


def found_on(maps: Maps, symmetry: HelicalSymmetry) -> Imposed:
    return prepare_noise(prepare_filament(*maps), *maps).find_imposed(symmetry)


@pytest.mark.parametrize("imposed", [HelicalSymmetry(-101.1, 5.13), WRONG], ids=["true", "wrong"])
def test_noise_that_obeys_a_symmetry_was_given_it(tube, imposed):
    natural = tube.half1, tube.half2
    halves = with_screw(natural, imposed, tube.outer_radius_A)
    # A filter leaves rounding in the shells that it empties: they are not the noise.
    filtered = tuple(half.with_data(np.asarray(low_pass(half.data, 1 / 3))) for half in halves)
    # A mask's ends hold higher frequencies than what it leaves of the filament.
    inside = np.clip((32 - np.abs(np.arange(64) - 32)) / 3, 0.0, 1.0).astype(np.float32)
    masked = tuple(half.with_data(half.data * inside[:, None, None]) for half in filtered)
    # Half maps that agree up to the Nyquist frequency differ by noise all the same.
    clear = tuple(tube.truth.with_data(tube.truth.data + 0.1 * (h.data - tube.truth.data)) for h in natural)
    # Grey levels may count from anywhere.
    lifted = tube.volume.with_data(tube.volume.data + 10 * np.std(tube.volume.data))
    for maps in (natural, (tube.volume,), (lifted,), clear):
        assert found_on(maps, imposed) == NOTHING
    for maps in (halves, filtered, masked, mean(halves), with_screw(clear, imposed, tube.outer_radius_A)):
        assert found_on(maps, imposed) == SCREW


def test_screw_and_point_group_are_told_apart(rings):
    truth, natural = rings.symmetry, (rings.half1, rings.half2)
    # Which of the four screws that C4 makes alike was imposed, the symmetry found does not say.
    screws = [with_screw(natural, HelicalSymmetry(t, 18.0), rings.outer_radius_A) for t in (35.0, 125.0)]
    whole = with_screw(natural, truth, rings.outer_radius_A)
    for halves, expected in (
        (natural, NOTHING),
        (screws[0], SCREW),
        (screws[1], SCREW),
        (turned(natural, 0, 1, 2, 3), TURNS),
        (turned(natural, 0, 2), TURNS),
        (whole, Imposed(True, True)),
    ):
        assert found_on(halves, truth) == expected
        assert found_on(mean(halves), truth) == expected
    assert found_on((rings.truth,), truth) == Imposed(None, None)


def test_a_search_says_that_it_repeats_what_was_imposed(tube):
    halves = with_screw((tube.half1, tube.half2), WRONG, tube.outer_radius_A)
    natural, repeated = (search_symmetry(*m, settings=SETTINGS) for m in ((tube.half1, tube.half2), halves))
    assert natural.imposed == NOTHING
    assert natural.warnings == ()
    assert natural.best.twist_se_deg is not None
    # What little density is left lets the search choose a finer screw, of which the imposed one shares every seventh.
    assert not repeated.best.symmetry.is_subgroup_of(tube.symmetry, twist_tol_deg=0.5, rise_tol_A=0.3)
    assert repeated.best.score > 0.9
    assert repeated.imposed == SCREW
    assert any("was imposed" in warning for warning in repeated.warnings)
    assert {c.twist_se_deg for c in repeated.candidates} == {c.rise_se_A for c in repeated.candidates} == {None}


@pytest.mark.parametrize("given", [WRONG, HelicalSymmetry(-101.1, 5.13), HelicalSymmetry(101.1, 5.13)])
def test_an_audit_does_not_judge_by_what_was_imposed(tube, given):
    """Neither what was imposed is right for that, nor the truth wrong that it has washed away."""
    halves = with_screw((tube.half1, tube.half2), WRONG, tube.outer_radius_A)
    report = audit_symmetry(halves[0], given, halves[1])
    assert report.verdict == "undecided"
    assert report.suggested is None
    *others, last = report.findings
    assert last.code == "imposed"
    assert all(finding.message.startswith("Held against what was imposed: ") for finding in others)


def test_an_imposed_point_group_leaves_the_screw_to_the_map(rings):
    truth, halves = rings.symmetry, turned((rings.half1, rings.half2), 0, 1, 2, 3)
    result = search_symmetry(*halves, settings=SETTINGS)
    best = result.best
    assert best.symmetry.point_group == "C4"
    assert any("obeys C4, or a part of it" in warning for warning in result.warnings)
    assert best.twist_se_deg is not None
    assert best.rise_se_A is not None
    # Four standard errors: one run in ten thousand falls outside.
    assert abs(wrap_deg(best.symmetry.twist_deg - truth.twist_deg, 90.0)) < 4 * best.twist_se_deg
    assert abs(best.symmetry.rise_A - truth.rise_A) < 4 * best.rise_se_A
    for given, verdict in (
        (truth, "undecided"),
        (HelicalSymmetry(35.0, 18.0), "undecided"),
        (truth.mirrored(), "wrong"),
    ):
        report = audit_symmetry(halves[0], given, halves[1])
        assert report.verdict == verdict
        assert report.findings[-1].code == "imposed"


def test_a_map_without_noise_leaves_open_whether_its_symmetry_was_imposed(tube):
    truth = tube.symmetry
    (imposed,) = with_screw((tube.volume,), truth, tube.outer_radius_A)
    # Nothing is left beyond two thirds of the Nyquist frequency.
    filtered = imposed.with_data(np.asarray(low_pass(imposed.data, 1 / 3)))
    for one in (filtered, tube.truth):
        result = search_symmetry(one, settings=SETTINGS)
        assert result.imposed == Imposed(None, False)
        assert any("no noise to judge" in note for note in result.best.notes)
        assert {c.twist_se_deg for c in result.candidates} == {c.rise_se_A for c in result.candidates} == {None}
        for given, verdict in ((truth, "right"), (truth.mirrored(), "wrong")):
            report = audit_symmetry(one, given)
            assert report.verdict == verdict
            assert "±" not in report.findings[0].message
            assert report.findings[-1].code == "no_noise"
