"""The command ``helixlab refine``: its JSON, its table, Ctrl-C and what resumes."""

import dataclasses
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from physics.test_resume import simulate_few
from typer.testing import CliRunner

from helixlab import cli
from helixlab.cli import _refine
from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.io import ParticleStack, read_particles, read_volume, write_particles, write_volume
from helixlab.io.cryosparc import read_cs
from helixlab.reconstruct import (
    IterationEvent,
    Message,
    RefinementSettings,
    RunEnded,
    latest_settings,
    read_events,
    refine,
)

_SYMMETRY = ["--twist", "-101", "--rise", "5.14"]
_SET = [
    *("--set", "realspace_symmetrize_res_A=30"),
    *("--set", "symmetry_search_start_res_A=30"),
    *("--set", "max_iterations=2"),
]
_PROMISED = {
    "resolution_A", "twist_deg", "rise_A", "twist_se_deg", "rise_se_A", "iterations", "seconds", "map", "half_maps",
    "mask", "particles", "converged", "warnings",
}  # fmt: skip

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def particles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_few(tmp_path_factory.mktemp("segments"))


@pytest.fixture
def run(particles: Path, tmp_path: Path) -> Command:
    """``helixlab refine`` of the particles into one folder, with further words."""

    def invoke(*words: object) -> Result:
        line = ["refine", particles, "--out", tmp_path / "run", *words]
        return CliRunner().invoke(cli.app, [str(word) for word in line])

    return invoke


@pytest.fixture
def interrupts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ctrl-C as often as the list's last number says, when the next row of the table is written."""
    times: list[int] = []
    row = _refine._row

    def interrupted(event: IterationEvent) -> tuple[str, ...]:
        for _ in range(times.pop() if times else 0):
            signal.raise_signal(signal.SIGINT)
        return row(event)

    monkeypatch.setattr(_refine, "_row", interrupted)
    return times


def test_stopped_resumed_and_done(run: Command, interrupts: list[int], tmp_path: Path) -> None:
    interrupts.append(1)
    stopped = run(*_SYMMETRY, *_SET, "--json")
    assert stopped.exit_code == 130, stopped.output
    said = json.loads(stopped.stdout)
    assert set(said) == _PROMISED
    assert (said["iterations"], said["converged"]) == (1, False)
    assert "--resume" in said["warnings"][-1]
    assert "Ctrl-C again ends what comes between batches" in stopped.stderr
    assert "48 segments of 8 filaments, box 32 × 5 Å, 5 asymmetric units each; making" in stopped.stderr
    lines = stopped.stderr.splitlines()
    header = next(line for line in lines if "GSFSC Å" in line)
    row = next(line for line in lines if line.split()[:1] == ["1"])
    assert len(row) == len(header)
    assert row.split()[row.split().index("-101.000") + 1] == "5.1400"

    done = run("--resume", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert set(said) == _PROMISED
    assert (said["iterations"], said["converged"]) == (2, False)
    assert abs(said["twist_deg"] + 101) < 3
    assert said["resolution_A"] >= 10.0
    halves = [read_volume(path).data for path in said["half_maps"]]
    np.testing.assert_allclose(read_volume(said["map"]).data, (halves[0] + halves[1]) / 2, rtol=1e-6)
    assert read_volume(said["mask"]).data.max() == 1.0
    assert len(read_particles(said["particles"])) == 48
    assert "from iteration 2 on" in done.stderr

    doubted = "--set", "realspace_symmetrize_res_A=9", "--set", "outer_diameter_A=120"
    again = run("--resume", "--set", "max_iterations=3", *doubted)
    assert again.exit_code == 0, again.output
    assert "\nerror: found a box of 160 Å, 1.33 filament diameters of 120 Å; needed" in again.stderr
    doubt = "found realspace_symmetrize_res_A 9 Å for a pixel of 5 Å; needed 10 Å or more"  # as check says
    assert again.stderr.count(doubt) == again.stderr.count(f"warning: {doubt}") == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["warnings"][1].startswith(doubt)
    assert again.stdout.startswith("not converged after 3 iterations: ")
    assert "note: The run ended before it converged" in again.stderr
    assert f"wrote {tmp_path / 'run' / 'map.mrc'}, " in again.stdout
    assert [event.kind for event in read_events(tmp_path / "run")] == [
        "run_started", "iteration", "run_started", "iteration", "run_started", "message", "message",
        "settings_edited", "iteration", "run_ended",
    ]  # fmt: skip


def test_in_a_terminal_what_is_said_stands_apart_from_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    message = Message(level="warning", text="doubtful")
    ended = RunEnded(reason="converged", iterations=1, seconds=1.0)
    _refine._follow(iter([IterationEvent(iteration=1, resolution_A=9.75), message, ended]))
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err).splitlines()
    assert "warning: doubtful" in [line.rstrip() for line in lines]
    # Drawn once for each thing that is said, and at the end.
    assert sum("9.75" in line for line in lines) == 3


def test_interrupted_twice(run: Command, interrupts: list[int], tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupts.append(2)
    ended = run(*_SYMMETRY, *_SET, "--json")
    assert ended.exit_code == 130, ended.output
    assert ended.stdout == ""
    assert "--resume goes on from there" in ended.stderr
    assert signal.getsignal(signal.SIGINT) is before
    assert [event.kind for event in read_events(tmp_path / "run")] == ["run_started", "iteration"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.replace(psi_prior_deg=None),
            "the column _rlnAnglePsiPrior (RELION 2.0 and later) or filament/filament_pose (CryoSPARC) is missing. Use "
            "a table that has it.",
        ),
        (
            lambda s: s.replace(defocus_v_A=None),
            "the column _rlnDefocusV (RELION 1.0 and later) or ctf/df2_A (CryoSPARC) is missing. Use a table that has "
            "it.",
        ),
        (
            lambda s: s.replace(optics=dataclasses.replace(s.optics, cs_mm=None)),
            "the column _rlnSphericalAberration (ctf/cs_mm) of the optics groups is missing. Use a table that has it.",
        ),
        (
            lambda s: s.replace(image_files=("none.mrcs",)),
            "the image file none.mrcs is not there; looked under {}. Name the folder that it is relative to with "
            "--images-root.",
        ),
    ],
)
def test_what_a_table_lacks_is_named_as_files_and_options_do(
    particles: Path, tmp_path: Path, change: Callable[[ParticleStack], ParticleStack], message: str
) -> None:
    stack = read_particles(particles)
    images = tuple(str(particles.parent / name) for name in stack.image_files)
    write_particles(tmp_path / "a.star", change(stack.replace(image_files=images)))
    words = ["refine", tmp_path / "a.star", "--out", tmp_path / "run" / "one", "--images-root", tmp_path, *_SYMMETRY]
    failed = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert failed.exit_code == 2, failed.output
    assert failed.stderr == f"helixlab: {tmp_path / 'a.star'}: {message.format(tmp_path)}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.star"]


def test_columns_of_a_passthrough_file(particles: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    write_particles(tmp_path / "all.cs", read_particles(particles), carry_foreign=False)
    rows = read_cs(tmp_path / "all.cs")
    table, further = tmp_path / "far" / "p.cs", tmp_path / "far" / "p_passthrough.cs"
    for path, is_here in ((table, lambda name: "filament" not in name), (further, lambda name: "filament" in name)):
        with path.open("wb") as file:
            np.save(file, rows[[name for name in rows.dtype.names or () if name == "uid" or is_here(name)]])

    def run(command: str, *words: object) -> Result:
        return CliRunner().invoke(cli.app, [command, str(table), *map(str, words)])

    there = "--images-root", particles.parent
    both, once = (*there, "--passthrough", further), (*_SYMMETRY, *_SET[:4], "--set", "max_iterations=1")
    found = [json.loads(run("check", *words, "--json").stdout) for words in (there, both)]
    assert [told["n_filaments"] for told in found] == [0, 8]
    assert "add the job's passthrough file with --passthrough" in str(found[0]["findings"])
    assert "\n48 segments of unknown filaments: 1 error," in run("check", *there).stdout
    assert "--passthrough" not in str(found[1]["findings"])
    none = run("compare", "--hypotheses", "-101/5.14", *there)
    assert none.stderr.startswith("warning: found no filament numbers,")
    assert "or add the job's passthrough file with --passthrough.\n" in none.stderr
    little = run("compare", "--hypotheses", "-101/5.14", *both, "--resolution", "60")  # the images are prepared by then
    assert "in a box of 160 Å it must be at most 40" in little.stderr
    out = "--out", tmp_path / "run"
    done = run("refine", *out, *both, *once)
    assert done.exit_code == 0, done.output
    assert "48 segments of 8 filaments" in done.stderr
    again = run("refine", *out, "--resume")  # from what the folder says
    assert again.exit_code == 0, again.output
    assert [event.kind for event in refine(table, latest_settings(out[1]), out[1], resume=True)][-1] == "run_ended"
    with pytest.raises(HelixLabError, match=r"none: found no run \(settings.json is missing\)"):
        next(refine(table, RefinementSettings(), tmp_path / "none", resume=True))
    further.write_bytes(further.read_bytes().replace(b"filament/", b"filemant/"))
    assert "p_passthrough.cs: the file has changed since the run began" in run("refine", *out, "--resume").stderr


def test_settings_are_listed_without_particles() -> None:
    for command in ("refine", "compare", "check"):
        listed = CliRunner().invoke(cli.app, [command, "--list-settings"])
        assert listed.exit_code == 0, listed.output
        assert "\nmask_threshold = 0.3  Fraction of" in listed.stdout
    changed = CliRunner().invoke(cli.app, ["refine", "--list-settings", "--set", "mask_threshold=0.2"])
    assert "\nmask_threshold = 0.2 (default 0.3)  Fraction of" in changed.stdout
    told = json.loads(CliRunner().invoke(cli.app, ["simulate-particles", "--list-settings", "--json"]).stdout)
    assert next(s for s in told["settings"] if s["name"] == "box_px")["limits"]
    wrong = CliRunner().invoke(cli.app, ["refine", "--list-settings", "--set", "mask_treshold=1", "--json"])
    assert wrong.exit_code == 2
    message = "--set mask_treshold: there is no such setting; did you mean mask_threshold?"
    assert json.loads(wrong.stdout)["error"] == message


def test_what_is_refused(run: Command, particles: Path, tmp_path: Path) -> None:
    write_volume(tmp_path / "mask.mrc", Volume(np.ones((16, 16, 16)), 5.0))
    for words, message in (
        (["--twist", "-101"], "--rise: missing, with --twist -101.0"),
        ([*_SYMMETRY, "--set", "maximum=3"], "--set maximum: there is no such setting. --list-settings shows all."),
        ([*_SYMMETRY, "--set", "mask=tight"], "--set mask: found 'tight'; it must be 'dynamic' or 'static'"),
        (
            [*_SYMMETRY, "--set", "mask=static"],
            "--mask: the settings ask for a static mask; give one, or --set mask=",
        ),
        ([*_SYMMETRY, "--resume"], "run: found no run (settings.json is missing)"),
        ([*_SYMMETRY, "--mask", tmp_path / "mask.mrc"], "--mask: found (16, 16, 16) voxels for images of 32 pixels"),
        ([*_SYMMETRY, "--mask", tmp_path / "mask.mrc", "--set", "max_iterations=0"], "max_iterations: found 0"),
    ):
        failed = run(*words, "--json")
        assert failed.exit_code == 2, failed.output
        assert message in json.loads(failed.stdout)["error"]
        assert failed.stderr.splitlines()[-1] == f"helixlab: {json.loads(failed.stdout)['error']}"
        assert not (tmp_path / "run").exists()
    assert run(*_SYMMETRY, "--set", "max_iterations=1").exit_code == 0  # nothing is in the way of another attempt
    assert "is not empty; choose another one, or let the run in it go on with --resume.\n" in run(*_SYMMETRY).stderr
    assert "helixlab: seed: decided when the run starts" in run("--resume", "--set", "seed=3").stderr
