"""Each way in which a set-up is unfit is found, with its rows; a sound one passes."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner

from helixlab import cli
from helixlab.io import (
    OpticsGroups,
    ParticleStack,
    new_image_stack,
    new_particle_stack,
    read_particles,
    write_particles,
)
from helixlab.reconstruct import RefinementSettings, check_set_up

N, BOX, PIXEL_A = 8, 64, 1.5
SETTINGS = RefinementSettings(twist_deg=30.0, rise_A=4.0, outer_diameter_A=40.0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> ParticleStack:
    """Two filaments of four segments, 8 Å apart, on one micrograph; box of 96 Å."""
    folder = tmp_path_factory.mktemp("sound")
    with new_image_stack(folder / "a.mrcs", N, BOX, PIXEL_A) as images:
        images[:] = np.random.default_rng(0).normal(size=images.shape)
    stack = new_particle_stack(["a.mrcs"], [0] * N, list(range(N)), PIXEL_A, BOX)
    optics = dataclasses.replace(
        stack.optics, voltage_kV=np.array([300.0]), cs_mm=np.array([2.7]), amplitude_contrast=np.array([0.1])
    )
    track_A = np.tile(8.0 * np.arange(4), 2)
    stack = stack.replace(
        optics=optics,
        filament_id=np.repeat([0, 1], 4),
        half_set=np.repeat([1, 2], 4),
        micrograph=np.zeros(N, int),
        micrograph_names=("m.mrc",),
        coordinate_x_px=track_A / PIXEL_A,
        coordinate_y_px=np.repeat([50.0, 500.0], 4),
        track_length_A=track_A,
        psi_prior_deg=np.repeat([0.0, 180.0], 4),
        tilt_prior_deg=np.full(N, 90.0),
        defocus_u_A=np.full(N, 15_500.0),
        defocus_v_A=np.full(N, 15_000.0),
        defocus_angle_deg=np.zeros(N),
    )
    write_particles(folder / "a.star", stack)
    return read_particles(folder / "a.star")


def changed(values: np.ndarray | None, **rows: float) -> np.ndarray:
    out = np.array(values)
    for row, value in rows.items():
        out[int(row[1:])] = value
    return out


def with_optics(stack: ParticleStack, **columns: object) -> ParticleStack:
    return stack.replace(optics=dataclasses.replace(stack.optics, **columns))


def two_groups(stack: ParticleStack) -> ParticleStack:
    double = {f.name: getattr(stack.optics, f.name) for f in dataclasses.fields(OpticsGroups)}
    arrays = {name: np.concatenate([v, v]) for name, v in double.items() if isinstance(v, np.ndarray)}
    arrays |= {"number": np.array([1, 2]), "pixel_size_A": np.array([PIXEL_A, 1.6])}
    return with_optics(stack, **arrays, name=("a", "b")).replace(optics_group=np.repeat([0, 1], 4))


def test_a_sound_set_up_passes(sound: ParticleStack) -> None:
    findings = check_set_up(sound, SETTINGS)
    assert [(f.severity, f.code) for f in findings] == [("note", "symmetry_order")]
    assert findings[0].advice == "Each segment contributes 2 asymmetric units."


Change = Callable[[ParticleStack], ParticleStack]


@pytest.mark.parametrize(
    ("change", "severity", "code", "text", "rows"),
    [
        (lambda s: s.replace(filament_id=None), "warning", "filaments", "no filament numbers", ()),
        (lambda s: s.replace(filament_id=None, micrograph=None), "error", "filaments", "no filament numbers", ()),
        (lambda s: s.replace(micrograph=None), "warning", "filaments", "no micrograph names .* makes 2 filaments", ()),
        (lambda s: s.replace(filament_id=np.zeros(N, int)), "error", "filaments", "one filament", ()),
        (lambda s: s.replace(half_set=np.repeat([1, 2], [3, 5])), "error", "half_sets", "both", (0, 1, 2, 3)),
        (lambda s: s.replace(half_set=np.repeat([1, 3], 4)), "error", "half_sets", "row 5 .4 in all. is in", ()),
        (lambda s: s.select(np.arange(5)), "warning", "half_sets", "80% of the segments in half-set 1", ()),
        (lambda s: s.replace(psi_prior_deg=None), "error", "psi_prior", "no psi priors", ()),
        (lambda s: s.replace(psi_prior_deg=None, psi_deg=np.zeros(N)), "warning", "psi_prior", "no psi priors", ()),
        (lambda s: s.replace(psi_prior_deg=np.full(N, 90.0)), "warning", "psi_prior", "90° off the line", ()),
        (lambda s: s.replace(tilt_prior_deg=changed(s.tilt_prior_deg, _1=75.0, _4=106.0)),
         "warning", "tilt_prior", "up to 16° from 90° in row 5; needed at most 15°", (4,)),
        (lambda s: s.replace(track_length_A=None), "warning", "symmetry_order", "no distance between boxes", ()),
        (lambda s: s.replace(coordinate_x_px=None), "note", "filament_coherence", "needed _rlnCoordinateX", ()),
        (lambda s: s.replace(track_length_A=changed(s.track_length_A, _2=np.nan)),
         "note", "filament_coherence", "without places along their filaments", ()),
        (lambda s: s.replace(image_index=changed(s.image_index, _6=2)), "warning", "duplicates", "in row 7;", (6,)),
        (
            lambda s: s.replace(coordinate_x_px=changed(s.coordinate_x_px, _1=0.0)),
            "warning", "duplicates", "place of an earlier segment again in row 2;", (1,),
        ),
        (lambda s: s.replace(defocus_u_A=None), "error", "ctf", r"no _rlnDefocusU \(ctf/df1_A\)", ()),
        (lambda s: with_optics(s, cs_mm=None), "error", "ctf", r"no _rlnSphericalAberration \(", ()),
        (lambda s: s.replace(defocus_v_A=changed(s.defocus_v_A, _3=np.nan)),
         "error", "ctf", "row 4 .*: no _rlnDefocusV .*or set drop_bad_images=true to leave", (3,)),
        (lambda s: s.replace(defocus_u_A=s.defocus_u_A / 1e4, defocus_v_A=s.defocus_v_A / 1e4),
         "warning", "defocus", "defocus 1.525 in rows 1, .* and 3 more; needed 500 to 60000 Å", tuple(range(N))),
        (lambda s: s.replace(defocus_u_A=changed(s.defocus_u_A, _2=3e4)), "warning", "astigmatism", "row 3;", (2,)),
        (lambda s: with_optics(s, voltage_kV=np.array([3e5])),
         "warning", "voltage_kV", "_rlnVoltage .* 300000 in .* 400 kV", tuple(range(N))),
        (two_groups, "error", "pixel_size", "pixel sizes of 1.5, 1.6 Å", ()),
        (lambda s: with_optics(s, pixel_size_A=np.array([1.6])), "warning", "pixel_size", "1.5 Å in the header", ()),
        (lambda s: s.replace(image_index=s.image_index + 1), "error", "images", "asks for image 9", ()),
    ],
)  # fmt: skip
def test_tables(
    sound: ParticleStack, change: Change, severity: str, code: str, text: str, rows: tuple[int, ...]
) -> None:
    findings = check_set_up(change(sound), SETTINGS)
    found = [f for f in findings if (f.severity, f.code) == (severity, code)]
    assert len(found) == 1, findings
    assert found[0].rows == rows
    assert re.search(text, str(found[0])), found[0]
    assert max(str(found[0]).count(word) for word in ("found ", "needed ")) <= 1


@pytest.mark.parametrize(
    ("change", "severity", "code", "text"),
    [
        ({"outer_diameter_A": 50.0}, "warning", "box_diameter", "1.92 filament diameters of 50 Å"),
        ({"outer_diameter_A": 70.0}, "error", "box_diameter", "1.37 filament diameters of 70 Å; needed at least 1.5"),
        ({"outer_diameter_A": None}, "note", "box_diameter", "Set outer_diameter_A"),
        ({"rise_A": 20.0}, "error", "box_rises", "4.8 rises of 20 Å; needed at least 5 rises with"),
        ({"max_symmetry_order": 3}, "warning", "symmetry_order", "needed at most 2 for a rise of 4 Å"),
        ({"rise_A": 10.0}, "note", "symmetry_order", "contributes 1 asymmetric unit."),
        ({"point_group": "C2", "twist_deg": -1.2, "rise_A": 4.8}, "note", "pseudo_screw", "C1 with 179.4° and 2.4 Å"),
        ({"twist_deg": 179.4, "rise_A": 2.4}, "note", "pseudo_screw", "C2 with -1.2° and 4.8 Å"),
        ({"symmetry_search_start_res_A": 2.9}, "warning", "symmetry_search_start_res_A", "needed 3 Å or more"),
        ({"twist_deg": 100.0}, "note", "split", "a pitch of 14.4 Å"),
    ],
)
def test_settings(sound: ParticleStack, change: dict, severity: str, code: str, text: str) -> None:
    findings = check_set_up(sound, SETTINGS.replaced(**change), read_images=False)
    found = [f for f in findings if (f.severity, f.code) == (severity, code)]
    assert len(found) == 1, findings
    assert text in str(found[0])


def test_a_default_out_of_reach_is_no_mistake(sound: ParticleStack) -> None:
    """Nobody set it: a refinement says nothing, a check what happens. What a user set or asked for is doubted."""
    coarse = with_optics(sound, pixel_size_A=np.array([4.1]))
    name = "realspace_symmetrize_res_A"

    def severities(**values: object) -> dict[str, str]:
        findings = check_set_up(coarse, SETTINGS.replaced(**values), read_images=False)
        return {f.code: f.severity for f in findings if f.code.endswith("_res_A")}

    assert severities() == {name: "note"}
    assert severities(**{name: 8.2}) == {}
    assert severities(**{name: 8.1}) == {name: "warning"}
    assert severities(use_nonuniform=True) == {name: "note", "nonuniform_start_res_A": "warning"}
    assert severities(twist_deg=None, rise_A=None) == {}


def test_without_symmetry_the_tables_is_mentioned(sound: ParticleStack) -> None:
    stack = with_optics(sound, helical_twist_deg=np.array([30.0]), helical_rise_A=np.array([40.0]))
    found = {f.code: f for f in check_set_up(stack)}
    assert "in the table 30° and 40 Å" in str(found["symmetry"])
    assert "2.4 rises of 40 Å; needed at least 3 rises without" in str(found["box_rises"])


def test_images_of_another_box(sound: ParticleStack, tmp_path: Path) -> None:
    assert sound.source.path is not None
    with new_image_stack(tmp_path / "b.mrcs", 2, 48, PIXEL_A) as images:
        images[:] = np.random.default_rng(0).normal(size=images.shape)
    file, index = np.repeat([0, 1], [N - 2, 2]), np.array([*range(N - 2), 0, 1])
    names = str(sound.source.path.with_name("a.mrcs")), str(tmp_path / "b.mrcs")
    tilt_deg = changed(sound.tilt_prior_deg, r0=150.0, **{f"r{N - 1}": 150.0})
    mixed = sound.replace(image_files=names, image_file=file, image_index=index, tilt_prior_deg=tilt_deg)
    first, *others = check_set_up(mixed, SETTINGS)
    assert (first.severity, first.code, first.rows) == ("error", "box", (N - 2, N - 1))
    assert "2 bad particles: row 7 (000001@" in str(first)
    assert "48 × 48 pixels, where most have 64 × 64; row 8" in str(first)
    assert next(f for f in others if f.code == "tilt_prior").rows == (0, N - 1)
    # Of rows that are left out nothing else is said.
    dropping = SETTINGS.replaced(drop_bad_images=True)
    found = {f.code: f for f in check_set_up(mixed, dropping)}
    assert found["box"].severity == "warning"
    assert found["tilt_prior"].rows == (0,)
    nothing_left = check_set_up(sound.replace(defocus_u_A=np.full(N, np.nan)), dropping)
    assert [(f.severity, f.code) for f in nothing_left] == [("error", "bad_images"), ("warning", "ctf")]


def test_bad_images_and_the_command(sound: ParticleStack, tmp_path: Path) -> None:
    with new_image_stack(tmp_path / "a.mrcs", N, 63, PIXEL_A) as images:
        images[:] = np.random.default_rng(0).normal(size=images.shape)
    with mrcfile.open(tmp_path / "a.mrcs", "r+") as mrc:
        mrc.data[2, 1, 1] = np.nan
        mrc.data[5] = 3.0
    write_particles(tmp_path / "a.star", with_optics(sound, box_size_px=np.array([63])))
    words = ["check", str(tmp_path / "a.star"), "--twist", "30", "--rise", "4", "--set", "outer_diameter_A=40"]
    failed = CliRunner().invoke(cli.app, [*words, "--json"])
    assert failed.exit_code == 1, failed.output
    said = json.loads(failed.stdout)
    assert (said["n_segments"], said["n_filaments"], said["n_errors"], said["n_warnings"]) == (N, 2, 1, 1)
    assert [(f["code"], f["rows"]) for f in said["findings"]] == [
        ("bad_images", [3, 6]), ("box_odd", []), ("symmetry_order", [])
    ]  # fmt: skip
    assert "row 3 (000003@a.mrcs): holds values that are NaN" in said["findings"][0]["found"]
    dropped = CliRunner().invoke(cli.app, [*words, "--set", "drop_bad_images=true"])
    assert dropped.exit_code == 0, dropped.output
    assert dropped.stdout.endswith("8 segments of 2 filaments: 0 errors, 2 warnings, 1 note\n")
    unread = CliRunner().invoke(cli.app, [*words, "--no-images"])
    assert unread.exit_code == 0
    assert "[bad_images]" not in unread.stdout
    wrong = CliRunner().invoke(cli.app, [*words, "--rise", "-4"])
    assert wrong.exit_code == 2
    assert wrong.stderr == (
        "helixlab: --rise: found -4.0; the rise is a positive length in Å. For a left-handed helix make the twist "
        "negative, not the rise.\n"
    )
