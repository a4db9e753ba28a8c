"""The command line: what is on stdout, what on stderr, exit codes, and that nothing is overwritten unasked."""

import csv
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

from helixlab import cli
from helixlab.cli import _lab
from helixlab.cli._console import reports_errors
from helixlab.cli._options import FIELD_OPTIONS, in_option_words
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import read_volume, write_volume
from helixlab.search import AxisReport

TWIST, RISE = -101.1, 5.13


@pytest.fixture
def run():
    def invoke(*arguments):
        return CliRunner().invoke(cli.app, [str(a) for a in arguments])

    return invoke


@pytest.fixture
def ok(run):
    """Run, expect success, return what a user's script would read."""

    def invoke(*arguments):
        found = run(*arguments)
        assert found.exit_code == 0, found.output
        return json.loads(found.stdout) if "--json" in arguments else found.stdout

    return invoke


@pytest.fixture
def fails(run):
    """Run, expect exit code 2 and a one-line message with no traceback; return the message."""

    def invoke(*arguments):
        found = run(*arguments)
        assert found.exit_code == 2, found.output
        assert isinstance(found.exception, SystemExit)
        assert "Traceback" not in found.output
        errors = [line for line in found.stderr.splitlines() if line.startswith("helixlab: ")]
        assert len(errors) == 1
        if "--json" in arguments:
            assert json.loads(found.stdout) == {"error": errors[0].removeprefix("helixlab: ")}
        else:
            assert found.stdout == ""
        return errors[0]

    return invoke


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """Half maps of a filament of known symmetry, made by the command itself."""
    folder = tmp_path_factory.mktemp("simulated")
    options = f"--twist {TWIST} --rise {RISE} --box 64 --pixel-size 2.5 --resolution 8 --noise 0.5 --seed 3"
    found = CliRunner().invoke(cli.app, ["simulate", "builtin", *options.split(), "--out", str(folder), "--json"])
    assert found.exit_code == 0, found.output
    return folder


def write_noise(path, seed=0, shape=(16, 16, 16), pixel_size_A=2.0):
    write_volume(path, Volume(np.random.default_rng(seed).normal(size=shape), pixel_size_A))
    return path


# --- the program ------------------------------------------------------------------------------------


def test_real_process_starts_fast_and_prints_one_json_object():
    command = [sys.executable, "-m", "helixlab.cli", "convert", "--twist", "-101.1", "--rise", "5.13", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(found.stdout)["canonical"]["twist_deg"] == -101.1
    assert found.stderr == ""


def test_real_process_reports_bad_input_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "helixlab.cli", "fsc", "missing.mrc", "missing.mrc"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.splitlines() == [found.stderr.strip()]
    assert found.stderr.startswith("helixlab: missing.mrc: ")


def test_import_loads_nothing_heavy():
    code = (
        "import sys, helixlab.cli\n"
        "heavy = {'jax', 'numpy', 'matplotlib', 'pydantic', 'mrcfile', 'gemmi', 'IPython', 'ipywidgets', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"


def test_output_survives_a_terminal_that_knows_ascii_only():
    command = [sys.executable, "-m", "helixlab.cli", "convert", "--twist", "22.03", "--rise", "1.408"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    found = subprocess.run(command, capture_output=True, timeout=60, check=True, env=environment)
    assert b"22.0300" in found.stdout


def test_kernels_that_cannot_be_kept_are_not_worth_a_line_each(capsys):
    @reports_errors
    def command() -> None:
        # An error, as every warning in tests, unless it is filtered.
        warnings.warn("Error writing persistent compilation cache entry for 'jit_f': no space left", stacklevel=1)

    command()
    assert capsys.readouterr().err == ""


def test_help_names_every_command(ok):
    listed = ok("--help")
    several = "info search audit convert align impose fsc simulate simulate-particles check refine lab"
    for name in several.split():
        assert f"  {name} " in listed
        assert ok(name, "--help").startswith("Usage")


def test_version(ok):
    assert ok("--version").startswith("helixlab ")


@pytest.mark.parametrize("arguments", [["fsc", "one.mrc"], ["convert", "--twist", "abc"], ["nonsense"], ["info"]])
def test_wrong_usage_ends_with_code_2(run, arguments):
    found = run(*arguments)
    assert found.exit_code == 2
    assert found.stdout == ""
    assert "Error" in found.stderr


# --- messages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("twist_range_deg: found 5 to 1;\nneeded", "--twist-range: found 5 to 1; needed"),
        ("a.mrc: it exists; pass overwrite=True.", "a.mrc: it exists; pass --overwrite."),
        ("my_rise_A.mrc: there is no such file", "my_rise_A.mrc: there is no such file"),
        ("box: found 3; a box is larger", "--box: found 3; a box is larger"),
        ("mask: or set seed=1, e.g. --set seed=1", "--mask: or --set seed=1, e.g. --set seed=1"),
        ("inner_radius_A: found 9; below outer_radius_A 5", "--inner-radius: found 9; below --outer-radius 5"),
    ],
)
def test_messages_speak_of_options(message, expected):
    assert in_option_words(message) == expected


# --- convert ----------------------------------------------------------------------------------------


def test_convert_lists_equivalents_canonical_first(ok):
    found = ok("convert", "--twist", "29.4", "--rise", "21.8", "--point-group", "C6", "--json")
    assert found["canonical"]["twist_deg"] == pytest.approx(29.4)
    assert found["equivalents"][0] == found["canonical"]
    assert any(e["twist_deg"] == pytest.approx(-30.6) for e in found["equivalents"])
    assert found["mirror"]["twist_deg"] == pytest.approx(-29.4)
    given = HelicalSymmetry(29.4, 21.8, "C6")
    for e in found["equivalents"]:
        assert given.is_equivalent(HelicalSymmetry(e["twist_deg"], e["rise_A"], e["point_group"]))


def test_convert_from_pitch_is_convert_from_twist(ok):
    turn = ok("convert", "--pitch", "23", "--subunits-per-turn", "16", "--hand", "left", "--json")
    screw = ok("convert", "--twist", "-22.5", "--rise", "1.4375", "--json")
    assert turn == screw
    assert turn["canonical"]["hand"] == -1


def test_convert_n_start_readings(ok):
    found = ok("convert", "--twist", "-1.2", "--rise", "4.8", "--max-start", "2", "--json")
    readings = found["n_start"][0]["readings"]
    expected = HelicalSymmetry(-1.2, 4.8).one_start_reductions(2)
    assert [r["twist_deg"] for r in readings] == pytest.approx([s.twist_deg for s in expected], abs=1e-8)
    assert [s["k"] for s in found["strands"]] == [1, 2]


def test_convert_without_twist_has_no_pitch(ok):
    found = ok("convert", "--twist", "0", "--rise", "4.8", "--json")["canonical"]
    assert found["pitch_A"] is None
    assert found["hand"] == 0
    assert "infinite" in ok("convert", "--twist", "0", "--rise", "4.8")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "found none of them"),
        (["--twist", "5"], "found --twist; give either"),
        (["--twist", "5", "--rise", "1", "--pitch", "3", "--subunits-per-turn", "2"], "give either"),
        (["--twist", "5", "--rise", "-1"], "--rise: found -1.0"),
        (["--twist", "nan", "--rise", "1"], "--twist: found nan"),
        (["--twist", "5", "--rise", "1", "--point-group", "T"], "--point-group: found 'T'"),
        (["--twist", "5", "--rise", "1", "--hand", "left"], "--hand: found it beside --twist"),
        (["--pitch", "5", "--subunits-per-turn", "0"], "--subunits-per-turn: found 0"),
        (["--pitch", "5", "--subunits-per-turn", "2", "--hand", "up"], "--hand: found 'up'"),
    ],
)
def test_convert_refuses_bad_values(fails, arguments, expected):
    assert expected in fails("convert", *arguments)
    assert expected in fails("convert", *arguments, "--json")


# --- fsc --------------------------------------------------------------------------------------------


def test_fsc_json_and_files(ok, simulated, tmp_path):
    halves = simulated / "half1.mrc", simulated / "half2.mrc"
    found = ok("fsc", *halves, "--out", tmp_path / "new" / "folder", "--json")
    assert [c["label"] for c in found["curves"]] == ["unmasked", "spherical"]
    # Where the simulation expects it within its cylinder; the sphere holds the same noise. One shell is 5 % here.
    expected = json.loads((simulated / "truth.json").read_text())["half_map_fsc_0143_A"]
    spherical = found["curves"][1]["crossings"][0]["resolution_A"]
    assert spherical == pytest.approx(expected, rel=0.05)
    names = {p.name for p in (tmp_path / "new" / "folder").iterdir()}
    assert names == {"fsc.json", "fsc.csv", "fsc.png"}
    assert json.loads((tmp_path / "new" / "folder" / "fsc.json").read_text()) == found


def test_fsc_table_for_people(run, tmp_path):
    first = write_noise(tmp_path / "a.mrc")
    found = run("fsc", first, first)
    assert found.exit_code == 0
    assert "unmasked" in found.stdout
    assert "same up to scale" in found.stderr
    assert "same up to scale" not in found.stdout


def test_fsc_with_mask_and_pixel_size(ok, simulated, tmp_path):
    mask = tmp_path / "mask.mrc"
    write_volume(mask, Volume(np.ones((64, 64, 64)), 1.25))
    halves = simulated / "half1.mrc", simulated / "half2.mrc"
    found = ok("fsc", *halves, "--mask", mask, "--pixel-size", "1.25", "--json")
    unmasked, _, masked = found["curves"]
    assert masked["fsc"] == pytest.approx(unmasked["fsc"], abs=1e-6)
    assert max(masked["freq_per_A"]) == pytest.approx(0.4)


def test_fsc_bad_input(fails, tmp_path):
    first = write_noise(tmp_path / "a.mrc")
    other = write_noise(tmp_path / "b.mrc", shape=(16, 16, 18))
    assert "half2: found shape" in fails("fsc", first, other)
    assert "there is no such file" in fails("fsc", first, tmp_path / "c.mrc", "--json")
    assert "this is a folder" in fails("fsc", first, tmp_path)


def test_results_are_not_overwritten_unasked(ok, fails, tmp_path):
    first, second = write_noise(tmp_path / "a.mrc", 0), write_noise(tmp_path / "b.mrc", 1)
    mine = tmp_path / "fsc.csv"
    mine.write_text("mine")
    message = fails("fsc", first, second, "--out", tmp_path)
    assert "fsc.csv" in message
    assert "--overwrite" in message
    assert mine.read_text() == "mine"
    assert not (tmp_path / "fsc.json").exists()
    ok("fsc", first, second, "--out", tmp_path, "--overwrite")
    assert mine.read_text() != "mine"


def test_a_file_where_a_folder_is_needed(fails, tmp_path):
    first, second = write_noise(tmp_path / "a.mrc", 0), write_noise(tmp_path / "b.mrc", 1)
    (tmp_path / "out").write_text("")
    assert "this is a file" in fails("fsc", first, second, "--out", tmp_path / "out")


# --- simulate ---------------------------------------------------------------------------------------


def test_simulate_writes_maps_and_truth(simulated):
    assert {p.name for p in simulated.iterdir()} == {"map.mrc", "half1.mrc", "half2.mrc", "truth.json"}
    volume = read_volume(simulated / "map.mrc")
    assert volume.shape == (64, 64, 64)
    assert volume.pixel_size_A == pytest.approx(2.5)
    truth = json.loads((simulated / "truth.json").read_text())
    assert (truth["twist_deg"], truth["rise_A"]) == (TWIST, RISE)


def test_simulate_refuses_bad_values_and_existing_files(fails, simulated, tmp_path):
    options = ["--twist", "30", "--rise", "10", "--box", "32", "--pixel-size", "3", "--resolution", "9"]
    assert "map.mrc: the file exists" in fails("simulate", "builtin", *options, "--out", simulated)
    assert "missing.pdb" in fails("simulate", tmp_path / "missing.pdb", *options, "--out", tmp_path)
    bad = [*options[:-4], "--pixel-size", "-3", "--resolution", "9"]
    assert "--pixel-size: found -3" in fails("simulate", "builtin", *bad, "--out", tmp_path, "--json")


# --- lab --------------------------------------------------------------------------------------------


@pytest.fixture
def tutorials(tmp_path):
    source = tmp_path / "installed"
    (source / "figures").mkdir(parents=True)
    (source / ".ipynb_checkpoints").mkdir()
    (source / ".ipynb_checkpoints" / "01-checkpoint.ipynb").write_text("{}")
    (source / "01_find.ipynb").write_text('{"cells": []}')
    (source / "figures" / "helix.png").write_bytes(b"png")
    return source


@pytest.fixture
def started(monkeypatch, tutorials):
    """What would have been executed."""
    calls = []
    monkeypatch.setattr(_lab, "find_tutorials", lambda: tutorials)
    monkeypatch.setattr(os, "execv", lambda program, command: calls.append((program, command)))
    return calls


def test_lab_copies_the_tutorials_and_starts_jupyter_there(ok, started, tmp_path):
    target = tmp_path / "new folder"
    ok("lab", target, "--no-browser", "--port", "8899")
    files = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    assert files == {"01_find.ipynb", "figures/helix.png"}
    program, command = started[0]
    assert program == sys.executable
    assert command[1:3] == ["-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={target}" in command
    assert "--no-browser" in command
    assert "--port=8899" in command


def test_lab_keeps_what_the_user_edited(run, started, tutorials, tmp_path):
    target = tmp_path / "mine"
    assert "differs" not in run("lab", target).stderr
    assert "differs" not in run("lab", target).stderr  # nothing was edited
    (target / "01_find.ipynb").write_text("my work")
    found = run("lab", target)
    assert found.exit_code == 0
    assert "01_find.ipynb differs" in found.stderr
    assert (target / "01_find.ipynb").read_text() == "my work"
    run("lab", target, "--overwrite")
    assert (target / "01_find.ipynb").read_text() == '{"cells": []}'
    assert len(started) == 4


def test_lab_default_folder_and_errors(ok, fails, started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ok("lab")
    assert (tmp_path / "helixlab-tutorials" / "01_find.ipynb").exists()
    (tmp_path / "file").write_text("")
    assert "this is a file" in fails("lab", tmp_path / "file")


def test_tutorials_are_found_in_a_wheel_and_in_a_checkout(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path / "widgets" / "helixlab_widgets"),)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec())
    package = tmp_path / "widgets" / "helixlab_widgets"
    with pytest.raises(ValueError, match="found no tutorial"):
        _lab.find_tutorials()
    checkout, wheel = tmp_path / "notebooks", package / "notebooks"
    for folder in (checkout, wheel):
        folder.mkdir(parents=True)
        (folder / "01.ipynb").write_text("{}")
        assert _lab.find_tutorials() == folder


# --- search and audit -------------------------------------------------------------------------------


def test_every_search_setting_has_an_option(ok):
    from helixlab.search.settings import SearchSettings

    listed = ok("search", "--help")
    for field in SearchSettings.model_fields:
        assert FIELD_OPTIONS[field] in listed


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("--rise-range", ("5", "1"), "--rise-range: found 5.0 to 1.0"),
        ("--rise-range", ("0", "5"), "--rise-range: found 0.0 to 5.0"),
        ("--twist-range", ("10", "-10"), "--twist-range: found 10.0 to -10.0"),
        ("--point-group", ("T",), "--point-group: found 'T'"),
        ("--inner-radius", ("-3",), "--inner-radius: found -3.0"),
        ("--max-candidates", ("0",), "--max-candidates: found 0"),
    ],
)
def test_search_names_the_option_that_is_wrong(fails, simulated, option, values, expected):
    assert expected in fails("search", simulated / "map.mrc", option, *values)


@pytest.fixture(scope="session")
def searched(simulated, tmp_path_factory):
    """One search of the half maps: what it printed as JSON, and the folder that it wrote."""
    folder = tmp_path_factory.mktemp("searched")
    halves = [str(simulated / "half1.mrc"), "--half2", str(simulated / "half2.mrc")]
    options = ["--twist-range", "-180", "180", "--rise-range", "3", "12", "--max-candidates", "4", "--no-align"]
    found = CliRunner().invoke(cli.app, ["search", *halves, *options, "--out", str(folder), "--json"])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout), folder


def test_search_json_holds_what_scripts_rely_on(searched):
    found, _ = searched
    assert {"candidates", "pairs_evaluated", "seconds", "warnings"} <= set(found)
    best = found["candidates"][0]
    promised = {
        "twist_deg", "rise_A", "point_group", "score", "mse", "twist_se_deg", "rise_se_A", "pitch_A",
        "subunits_per_turn", "hand", "equivalents",
    }  # fmt: skip
    assert promised <= set(best)
    # Within five of the standard errors that it states itself.
    assert best["twist_deg"] == pytest.approx(TWIST, abs=5 * best["twist_se_deg"])
    assert best["rise_A"] == pytest.approx(RISE, abs=5 * best["rise_se_A"])
    assert best["point_group"] == "C1"
    assert best["hand"] == -1
    assert len(found["candidates"]) <= 4


def test_search_writes_tables_and_landscape(searched):
    found, folder = searched
    assert {p.name for p in folder.iterdir()} == {"search.json", "candidates.csv", "candidates.cs", "landscape.png"}
    assert json.loads((folder / "search.json").read_text()) == found
    with (folder / "candidates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "candidates.cs").open("rb") as file:
        table = np.load(file, allow_pickle=False)
    twists = [c["twist_deg"] for c in found["candidates"]]
    assert [float(row["twist_deg"]) for row in rows] == twists
    assert table["twist_deg"].tolist() == twists
    assert (folder / "landscape.png").read_bytes().startswith(b"\x89PNG")


def test_search_does_not_start_when_its_files_exist(fails, searched, simulated):
    _, folder = searched
    assert "search.json: the file exists" in fails("search", simulated / "map.mrc", "--out", folder)


def test_search_table_for_people(ok, simulated):
    halves = simulated / "half1.mrc", "--half2", simulated / "half2.mrc"
    listed = ok("search", *halves, "--rise-range", "3", "12", "--max-candidates", "4", "--no-align")
    assert "rank" in listed
    assert "left" in listed
    assert "1 is the same as: twist 258." in listed


# --- audit ------------------------------------------------------------------------------


def test_audit_agrees_with_the_truth_and_catches_a_wrong_sign(ok, simulated):
    right = ok("audit", simulated / "map.mrc", "--twist", TWIST, "--rise", RISE, "--json")
    wrong = ok("audit", simulated / "map.mrc", "--twist", -TWIST, "--rise", RISE, "--json")
    assert right["verdict"] != wrong["verdict"]
    assert wrong["suggested"]["twist_deg"] == pytest.approx(TWIST, abs=0.1)
    told = ok("audit", simulated / "map.mrc", "--twist", -TWIST, "--rise", RISE)
    assert wrong["verdict"] in told
    assert "suggested: twist -101.1" in told


def test_audit_and_search_tell_of_a_symmetry_that_was_imposed(ok, run, simulated, tmp_path):
    symmetry = ["--twist", TWIST, "--rise", RISE]
    ok("impose", simulated / "map.mrc", *symmetry, "-o", tmp_path / "imposed.mrc")
    searched = run("search", tmp_path / "imposed.mrc", "--rise-range", 3, 12)
    assert "note: The map obeys this symmetry" in searched.stderr
    assert "±" not in searched.stdout
    audited = run("audit", tmp_path / "imposed.mrc", *symmetry)
    assert "verdict:   undecided" in audited.stdout
    assert "[imposed]" in audited.stdout
    # Once is enough.
    assert "was imposed" not in audited.stderr


# --- impose -------------------------------------------------------------------------------


def test_impose_raises_the_agreement_of_half_maps(ok, fails, simulated, tmp_path):
    imposed = []
    for name in ("half1", "half2"):
        out = tmp_path / f"{name}.mrc"
        found = ok("impose", simulated / f"{name}.mrc", "--twist", TWIST, "--rise", RISE, "-o", out, "--json")
        assert found["output"] == str(out)
        imposed.append(out)
    before = ok("fsc", simulated / "half1.mrc", simulated / "half2.mrc", "--json")["curves"][1]["crossings"][1]
    after = ok("fsc", *imposed, "--json")["curves"][1]["crossings"][1]
    assert after["resolution_A"] < before["resolution_A"]
    assert "exists already" in fails(
        "impose", simulated / "map.mrc", "--twist", TWIST, "--rise", RISE, "-o", imposed[0]
    )


def test_impose_finds_the_dyad_of_dn(ok, tmp_path):
    made = ok(
        "simulate", "builtin", "--twist", 40, "--rise", 12, "--point-group", "D1", "--box", 48, "--pixel-size", 3,
        "--resolution", 9, "--out", tmp_path / "made", "--json",
    )  # fmt: skip
    assert made
    found = ok(
        "impose", tmp_path / "made" / "map.mrc", "--twist", 40, "--rise", 12, "--point-group", "D1",
        "--z-fraction", 0.6, "-o", tmp_path / "out.mrc", "--json",
    )  # fmt: skip
    k = round(2 * found["dyad_z_A"] / 12)  # the simulated dyad, along x, comes again at half the screw
    assert found["dyad_z_A"] == pytest.approx(6 * k, abs=0.1)
    assert (found["dyad_deg"] - 20 * k + 90) % 180 - 90 == pytest.approx(0, abs=0.5)


def test_impose_refuses_bad_values(fails, simulated, tmp_path):
    out = tmp_path / "out.mrc"
    assert "--rise: found 0" in fails("impose", simulated / "map.mrc", "--twist", "5", "--rise", "0", "-o", out)
    missing = tmp_path / "no" / "out.mrc"
    assert "does not exist" in fails("impose", simulated / "map.mrc", "--twist", "5", "--rise", "5", "-o", missing)
    assert not out.exists()


# --- align --------------------------------------------------------------------------------------------


def test_align_writes_the_map_and_tells_what_it_did(ok, fails, simulated, tmp_path, monkeypatch):
    # The alignment itself takes seconds and has its own tests; here a known one is passed on.
    report = AxisReport((6.0, -3.0), 1.5, 90.0, was_moved=True)
    monkeypatch.setattr("helixlab.search.align_axis", lambda volume: (volume.with_data(2 * volume.data), report))
    out = tmp_path / "aligned.mrc"
    found = ok("align", simulated / "map.mrc", "-o", out, "--json")
    assert found["output"] == str(out)
    assert found["offset_A"] == [6.0, -3.0]
    np.testing.assert_array_equal(read_volume(out).data, 2 * read_volume(simulated / "map.mrc").data)
    assert "exists already" in fails("align", simulated / "map.mrc", "-o", out)
    told = ok("align", simulated / "map.mrc", "-o", out, "--overwrite")
    assert "axis was off by x 6.00 Å, y -3.00 Å and tilted by 1.50°" in told


# --- info -------------------------------------------------------------------------------------------


def test_info_of_a_map(ok, fails, simulated, tmp_path):
    found = ok("info", simulated / "map.mrc", "--json")
    assert found["kind"] == "map"
    assert found["size_zyx"] == [64, 64, 64]
    told = {line.split()[0]: line.split(maxsplit=1)[1] for line in ok("info", simulated / "map.mrc").splitlines()}
    assert told["size_zyx"] == "64, 64, 64"
    assert "there is no such file" in fails("info", tmp_path / "none.mrc", "--json")


def test_info_of_a_particle_table(ok, data_dir):
    file = data_dir / "star" / "SL251-2_58particles.star"
    found = ok("info", file, "--json")
    assert found["particles"]["n_particles"] == 58
    lines = ok("info", file).splitlines()
    assert any(line.split() == ["n_filaments", "11"] for line in lines)
