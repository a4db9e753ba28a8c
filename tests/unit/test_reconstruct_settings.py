"""Settings of a refinement, and what every class of settings does: refusals in words, files, --set, forms."""

import json
from pathlib import Path

import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab.io import new_particle_stack
from helixlab.reconstruct import RefinementSettings, inter_box_distance_A, max_symmetry_order
from helixlab.search import SearchSettings
from helixlab.settings import Settings
from helixlab.simulate import OpticsSettings, ParticleSettings

HELIX = RefinementSettings(twist_deg=-101.1, rise_A=5.13)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optics": [{"voltage_kV": -1}]}, r"^optics\.0\.voltage_kV: found -1; it must be greater than 0\.$"),
        ({"defocus_range_A": (3, 1)}, r"^defocus_range_A: found 3\.0 to 1\.0; give the smaller value first\.$"),
        ({"optic": 1}, r"^optic: there is no such setting; did you mean optics\?$"),
        ({"box_px": "a"}, "^box_px: found 'a'; it must be a valid integer"),
        ({"pixel_size_A": float("nan")}, "^pixel_size_A: found nan; it must be a finite number"),
    ],
)
def test_whatever_way_they_come_bad_values_are_named(given: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(given))
    with pytest.raises(HelixLabError, match=message):
        ParticleSettings(**given)
    with pytest.raises(HelixLabError, match=message):
        ParticleSettings().replaced(**given)
    with pytest.raises(HelixLabError, match=message):
        ParticleSettings.model_validate(given)
    with pytest.raises(HelixLabError, match=r"a\.json: " + message[1:]):
        ParticleSettings.from_json_file(tmp_path / "a.json")


def test_sources_are_merged_before_they_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"twist_deg": 30, "seed": 1, "twist_grid": 64}')
    found = RefinementSettings.from_sources(
        file, ["rise_A=10", "seed = 2", "mask=static"], {"seed": 3, "twist_grid": None}
    )
    assert (found.symmetry, found.seed, found.mask) == (HelicalSymmetry(30, 10), 3, "static")
    assert found.twist_grid == 64
    # What fits together only with the settings that a run has.
    assert RefinementSettings.from_sources(values=["max_symmetry_order=3"], base=HELIX).symmetry == HELIX.symmetry
    with pytest.raises(HelixLabError, match="rise_A: missing"):
        RefinementSettings.from_json_file(file)
    with pytest.raises(HelixLabError, match="--set: found 'seed'; write NAME=VALUE"):
        HELIX.with_values(["seed"])
    for content, message in (("[1]", "found no JSON object"), ("{", "cannot be read as JSON")):
        file.write_text(content)
        with pytest.raises(HelixLabError, match=message):
            RefinementSettings.from_json_file(file)
    with pytest.raises(HelixLabError, match="cannot be read"):
        RefinementSettings.from_json_file(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"twist_deg": 30}, "rise_A: missing, with twist_deg 30.0"),
        ({"rise_A": 30}, "twist_deg: missing, with rise_A 30.0"),
        ({"twist_deg": 30, "rise_A": -1}, "rise_A: found -1; .* make the twist negative"),
        ({"max_symmetry_order": 3}, "max_symmetry_order: found 3 without twist_deg"),
        ({"twist_deg": 30, "rise_A": 9, "rise_search_range_A": (9, 8)}, "give the smaller value first"),
        ({"twist_deg": 30, "rise_A": 9, "rise_search_range_A": (-1, 10)}, "above 0"),
        ({"twist_deg": 30, "rise_A": 9, "twist_search_range_deg": (31, 33)}, "without twist_deg 30.0; widen"),
        ({"mask_z_clip_fraction": 0}, "mask_z_clip_fraction: found 0; it must be greater than 0"),
        ({"mask_z_clip_fraction": 1.1}, "it must be less than or equal to 1"),
        ({"inner_diameter_A": 90, "outer_diameter_A": 80}, "inner_diameter_A: found 90.0; it must be below"),
        ({"use_cylindrical_model": True}, "cylinder_outer_diameter_A: missing"),
        ({"point_group": "T"}, "point group: found 'T'"),
        ({"mask": "none"}, "mask: found 'none'; it must be 'dynamic' or 'static'"),
    ],
)
def test_refinement_settings_fit_together(given: dict, message: str) -> None:
    with pytest.raises(HelixLabError, match=message):
        RefinementSettings(**given)


@pytest.mark.parametrize("kind", [RefinementSettings, SearchSettings, ParticleSettings, OpticsSettings])
def test_forms_have_all_they_need(kind: type[Settings]) -> None:
    entries = kind().described()
    assert [entry["name"] for entry in entries] == list(kind.model_fields)
    units = {"A": "Å", "deg": "deg", "px": "px", "kV": "kV", "mm": "mm", "A2": "Å²", "um": "deg/µm"}
    for entry in entries:
        assert entry["label"], entry
        assert entry["help"].endswith((".", ":")), entry
        # "…_below_6A" says a number of iterations; a unit is a word of its own.
        assert entry["unit"] == units.get(entry["name"].rsplit("_", 1)[-1]), entry
    assert json.loads(json.dumps(entries)) == entries
    if kind is RefinementSettings:
        assert len({entry["group"] for entry in entries}) == 9
        clip = next(entry for entry in entries if entry["name"] == "mask_z_clip_fraction")
        assert clip["limits"] == {"exclusiveMinimum": 0, "maximum": 1}
        assert next(entry for entry in entries if entry["name"] == "mask")["choices"] == ["dynamic", "static"]


def test_round_trip_and_derived_values() -> None:
    assert RefinementSettings.model_validate_json(HELIX.model_dump_json()) == HELIX
    twists, rises = HELIX.search_ranges()
    assert twists == pytest.approx((-104.1, -98.1))
    assert rises == pytest.approx((4.617, 5.643))
    assert HELIX.replaced(mask="static", seed=0).changes_from(HELIX) == {"mask": "static"}
    latest = HelicalSymmetry(-100.0, 5.2)
    assert HELIX.search_ranges(latest) == (twists, rises)
    moved = HELIX.replaced(fix_search_grid=False).search_ranges(latest)
    assert moved[0] == pytest.approx((-103.0, -97.0))
    assert moved[1] == pytest.approx((5.2 - 0.513, 5.2 + 0.513))
    with pytest.raises(HelixLabError, match="starts from both"):
        RefinementSettings().search_ranges()
    HELIX.check_editable({"twist_deg": 3})
    with pytest.raises(HelixLabError, match="seed: decided when the run starts"):
        HELIX.check_editable({"seed": 3, "twist_deg": 3})


@pytest.mark.parametrize(
    ("distance", "rise", "order"),
    [(25.0, 5.13, 4), (5.13 * 7, 5.13, 7), (4.0, 5.0, 1), (None, 5.0, 1), (1.4, 1.408, 1)],
)
def test_symmetry_order_counts_every_unit_once(distance: float | None, rise: float, order: int) -> None:
    assert max_symmetry_order(distance, rise) == order


def test_a_distance_of_zero_is_none() -> None:
    stack = new_particle_stack(["a.mrcs"], [0, 0, 0], [0, 1, 2], 1.5, 64)
    assert inter_box_distance_A(stack.replace(inter_box_distance_A=np.zeros(3))) is None
    assert inter_box_distance_A(stack.replace(inter_box_distance_A=np.array([0.0, 30.0, 30.0]))) == 30.0
