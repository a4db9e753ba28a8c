"""The command ``helixlab compare``: what is asked, the table, and its JSON."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from helixlab import cli, reconstruct
from helixlab.explore import Hypothesis
from helixlab.geometry import HelicalSymmetry
from helixlab.io import new_particle_stack, write_particles
from helixlab.reconstruct import HypothesisComparison
from helixlab.reconstruct.held_out import HeldOutScores
from helixlab.reconstruct.verdicts import ScoredMaps, compare_scores, name_of

FILAMENT = np.repeat(np.arange(6), 2)
STOPS_AT = 13.0, 21.8
"""Ctrl-C comes at a hypothesis with this twist and rise."""

Command = Callable[..., Result]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command passes on; scores fall in the order in which hypotheses are given."""
    found: dict[str, Any] = {}

    def compare_hypotheses(
        particles: object, hypotheses: list[HelicalSymmetry], **options: Any
    ) -> HypothesisComparison:
        found.update(hypotheses=hypotheses, **options)
        for symmetry in (None, *hypotheses):
            options["progress"](name_of(symmetry), 0.0)
            options["progress"](name_of(symmetry), 0.1)
            if symmetry == HelicalSymmetry(*STOPS_AT):
                signal.raise_signal(signal.SIGINT)
        noise = np.random.default_rng(0).normal(scale=0.1, size=(len(hypotheses) + 1, 12))
        maps = [
            ScoredMaps("helical", s, HeldOutScores(20.0 - 5 * n + noise[n], FILAMENT), 4, 2.5)
            for n, s in enumerate(hypotheses)
        ]
        return compare_scores([*maps, ScoredMaps("asymmetric", None, HeldOutScores(noise[-1], FILAMENT), 4, 2.5)])

    monkeypatch.setattr(reconstruct, "compare_hypotheses", compare_hypotheses)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Command:
    """``helixlab compare`` of a table of 12 segments."""
    stack = new_particle_stack(["a.mrcs"], [0] * 12, list(range(12)), 2.0, 64)
    path = tmp_path / "particles.star"
    zero = np.zeros(12)
    known = {"filament_id": FILAMENT, "micrograph": zero.astype(int), "micrograph_names": ("m.mrc",)}
    write_particles(path, stack.replace(**known, psi_prior_deg=zero))

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(cli.app, ["compare", str(path), *map(str, words)])

    return invoke


def test_json_holds_all_numbers(run: Command, asked: dict[str, Any]) -> None:
    done = run("--hypotheses", "-101.1/5.13,29.4/21.8/C6", "--resolution", "15", "--set", "seed=3", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert asked["hypotheses"] == [HelicalSymmetry(-101.1, 5.13), HelicalSymmetry(29.4, 21.8, "C6")]
    assert (asked["resolution_A"], asked["settings"].seed) == (15.0, 3)
    assert (told["n_segments"], told["n_filaments"], told["is_decided"]) == (12, 6, True)
    assert told["best"] == {"twist_deg": -101.1, "rise_A": 5.13, "point_group": "C1"}
    first, second, control = told["hypotheses"]
    assert (first["name"], first["verdict"], first["difference"]) == ("-101.1/5.13", "best", 0)
    assert second["verdict"] == "worse"
    assert second["difference"] == pytest.approx(-5, abs=0.3)  # ten standard errors of the mean of 12 segments
    assert second["difference_se"] > 0
    assert (control["kind"], control["twist_deg"], control["seconds"]) == ("asymmetric", None, 2.5)


def test_what_is_done_is_said_as_it_goes(run: Command, asked: dict[str, Any]) -> None:
    done = run("--hypotheses", "-101.1/5.13,29.4/21.8/C6", "--json")
    control = next(row["name"] for row in json.loads(done.stdout)["hypotheses"] if row["kind"] == "asymmetric")
    said = re.sub(r"\d+\.\d s", "1.0 s", done.stderr)
    assert said == f"{control}: 1.0 s\n-101.1/5.13: 1.0 s\n29.4/21.8/C6: 1.0 s\n"
    stopped = run("--hypotheses", "-101.1/5.13,{}/{}".format(*STOPS_AT), "--json")
    assert stopped.exit_code == 130
    message = "stopped by Ctrl-C before the end; there is no result."
    assert json.loads(stopped.stdout) == {"error": message}
    assert re.sub(r"\d+\.\d s", "1.0 s", stopped.stderr) == (
        f"{control}: 1.0 s\n-101.1/5.13: 1.0 s\nhelixlab: {message}\n"
    )


def test_settings_that_are_not_used_are_named(run: Command, asked: dict[str, Any]) -> None:
    words = "--hypotheses", "-101.1/5.13", "--set", "seed=3", "--json"
    quiet = run(*words)
    told = run(*words, *("--set", "twist_deg=30", "--set", "rise_A=5", "--set", "max_iterations=9"))
    expected = "twist_deg, rise_A, max_iterations: not used here. A comparison takes symmetries as they are given,"
    assert [line.startswith(f"note: {expected}") for line in told.stderr.splitlines()].count(True) == 1
    assert "not used" not in quiet.stderr
    before, after = (json.loads(done.stdout)["warnings"] for done in (quiet, told))
    assert after[:-1] == before  # no check doubts what is not used
    assert after[-1].startswith(expected)


def test_the_table_says_why(run: Command, asked: dict[str, Any]) -> None:
    done = run("--hypotheses", "-101.1/5.13, 101.1/5.13")
    assert done.exit_code == 0, done.output
    assert "mirror image" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("twist -101.100°")


def test_files_of_lines_and_of_the_explorer(run: Command, asked: dict[str, Any], tmp_path: Path) -> None:
    lines = tmp_path / "list.txt"
    lines.write_text("# two\n-101.1/5.13\n29.4/21.8/C6  # a ring\n")
    assert run("--hypotheses", lines).exit_code == 0
    assert len(asked["hypotheses"]) == 2
    saved = tmp_path / "hypotheses.json"
    named = [Hypothesis(name="one", twist_deg=22.03, rise_A=1.408), Hypothesis(name="none", kind="asymmetric")]
    identity = {"name": "a.mrc", "box": [8, 8, 8], "pixel_size_A": 1.0, "sha256": "0"}
    rows = [h.model_dump(mode="json") for h in named]
    saved.write_text(json.dumps({"schema_version": 1, "map": identity, "hypotheses": rows}))
    done = run("--hypotheses", saved, "--json")
    assert done.exit_code == 0, done.output
    assert asked["hypotheses"] == [HelicalSymmetry(22.03, 1.408)]
    assert json.loads(done.stdout)["hypotheses"][0]["name"] == "one"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"-101.1/5.13\n29.4 21.8\n", "found '29.4 21.8', which is no symmetry; write TWIST/RISE or "),
        (b"\x93NUMPY\x00", "found no text; needed a hypothesis in each line: write TWIST/RISE or "),
    ],
)
def test_a_file_without_hypotheses_is_refused(run: Command, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    done = run("--hypotheses", tmp_path / "list.txt")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"helixlab: {tmp_path / 'list.txt'}: {message}")


@pytest.mark.parametrize("bad", ["missing.txt", "12", "a/b", "1/2/C1/4", "60/-12", "60/12/T"])
def test_what_is_no_hypothesis_is_refused(run: Command, bad: str) -> None:
    done = run("--hypotheses", bad, "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"].startswith(f"--hypotheses: found '{bad}'")
