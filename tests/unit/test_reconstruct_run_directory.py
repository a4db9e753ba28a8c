"""A run's folder after a kill at any moment, and what a run leaves behind."""

import hashlib
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from unit.test_reconstruct_events import iteration_event

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.geometry import Volume
from helixlab.io import ParticleStack, new_image_stack, new_particle_stack, read_particles, read_volume, write_particles
from helixlab.reconstruct import Message, RefinementSettings
from helixlab.reconstruct.results import write_results
from helixlab.reconstruct.run_directory import RunDirectory, latest_settings, read_events
from helixlab.validate import FSCCurve, FSCResult

SETTINGS = RefinementSettings(twist_deg=-101.1, rise_A=5.13)
N_ITERATIONS = 2


def state(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {"rot_deg": rng.normal(size=7), "half_set": rng.integers(1, 3, 7), "map": rng.random((3, 4)).astype("f4")}


def volume(number: int) -> Volume:
    return Volume(np.random.default_rng(number).normal(size=(4, 4, 4)), 1.3)


def write(run: RunDirectory, number: int) -> None:
    run.append(Message(level="note", text=f"iteration {number}"))
    edited = SETTINGS.replaced(mask_threshold=0.1 * number)
    run.write_iteration(iteration_event(number, number), state(number), {"map": volume(number)}, edited)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "deep" / "run"
    with RunDirectory.create(folder, SETTINGS) as run:
        for number in range(1, N_ITERATIONS + 1):
            write(run, number)
    return folder


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def check_goes_on(folder: Path, last: int) -> None:
    """Resume after iteration ``last``, make those that are missing, and find what an unbroken run leaves."""
    with RunDirectory.resume(folder) as run:
        latest = run.latest()
        assert (latest.number if latest else 0) == last
        if latest:
            for name, values in latest.arrays().items():
                np.testing.assert_array_equal(values, state(last)[name], strict=True)
            assert latest.settings.mask_threshold == 0.1 * last
            np.testing.assert_array_equal(latest.volume("map").data, volume(last).data)
        kinds = [(e.kind, getattr(e, "iteration", 0)) for e in run.events()]
        assert kinds == [pair for n in range(1, last + 1) for pair in (("message", 0), ("iteration", n))]
        for number in range(last + 1, N_ITERATIONS + 1):
            write(run, number)
        assert [e.iteration for e in run.events() if e.kind == "iteration"] == list(range(1, N_ITERATIONS + 1))
    assert sorted(p.name for p in (folder / "iterations").iterdir()) == ["001", "002"]


def test_an_unbroken_run(run_folder: Path) -> None:
    check_goes_on(run_folder, 2)
    event = read_events(run_folder)[1]
    assert event.files == {"map": "iterations/001/map.mrc"}
    assert event == iteration_event(1, 1).model_copy(update={"files": event.files})
    np.testing.assert_array_equal(read_volume(run_folder / event.files["map"]).data, volume(1).data)


@pytest.mark.parametrize("name", ["state.npz", "map.mrc", "event.json", "settings.json", "manifest.json"])
@pytest.mark.parametrize("kept", [None, 0.0, 0.5, 0.99])
def test_a_file_cut_short(run_folder: Path, name: str, kept: float | None) -> None:
    path = run_folder / "iterations" / "002" / name
    content = path.read_bytes()
    path.unlink() if kept is None else path.write_bytes(content[: int(kept * len(content))])
    check_goes_on(run_folder, 1)


@pytest.mark.parametrize("n_files", range(6))
def test_killed_while_an_iteration_was_written(run_folder: Path, n_files: int) -> None:
    unfinished = run_folder / "iterations" / ".0123"
    (run_folder / "iterations" / "002").rename(unfinished)
    for path in sorted(unfinished.iterdir())[n_files:]:
        path.unlink()
    cut_log(run_folder, 3)
    check_goes_on(run_folder, 1)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.999])
@pytest.mark.parametrize(("n_lines", "complete"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_killed_while_the_log_was_written(run_folder: Path, n_lines: int, complete: int, part: float) -> None:
    cut_log(run_folder, n_lines, part)
    for later in range(complete + 1, N_ITERATIONS + 1):
        shutil.rmtree(run_folder / "iterations" / f"{later:03d}")
    check_goes_on(run_folder, complete)


def cut_log(folder: Path, n_lines: int, part: float = 0.0) -> None:
    """Keep whole lines and part of the next."""
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    rest = lines[n_lines][: int(part * len(lines[n_lines]))]
    (folder / "events.jsonl").write_bytes(b"".join(lines[:n_lines]) + rest)


def test_a_damaged_log_is_not_read_over(run_folder: Path) -> None:
    with (run_folder / "events.jsonl").open("ab") as log:
        log.write(b'{"kind": "mess\n')
    with pytest.raises(FileFormatError, match=r"run/events\.jsonl, line 5: found no event .*; the line is damaged"):
        read_events(run_folder)


@pytest.mark.parametrize("name", ["settings.json", "inputs.json"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_what_the_run_began_with_cut_short_is_called_damaged(run_folder: Path, name: str, kept: float) -> None:
    content = (run_folder / name).read_bytes()
    (run_folder / name).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(FileFormatError, match=rf"run/{name}: the file is damaged \(.*\)\. Put"):
        RunDirectory.resume(run_folder)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("event.json", r"002/event\.json: found no event \(iteration\.later: Extra inputs .*\); "),
        ("settings.json", r"002/settings\.json: later: there is no such setting\. If nobody has edited it, "),
    ],
)
def test_a_run_of_another_version_is_not_called_damaged(run_folder: Path, name: str, found: str) -> None:
    iteration = run_folder / "iterations" / "002"
    (iteration / name).write_text(json.dumps({**json.loads((iteration / name).read_text()), "later": 1}))
    manifest = json.loads((iteration / "manifest.json").read_text())
    manifest[name] = hashlib.sha256((iteration / name).read_bytes()).hexdigest()
    (iteration / "manifest.json").write_text(json.dumps(manifest))
    for goes_on in (latest_settings, RunDirectory.resume):
        with pytest.raises(HelixLabError, match=found + "the run was saved by another version of HelixLab"):
            goes_on(run_folder)


def test_folders_that_are_refused(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HelixLabError, match="the folder is not empty"):
        RunDirectory.create(run_folder, SETTINGS)
    with pytest.raises(HelixLabError, match=r"found no run \(settings.json is missing\)"):
        RunDirectory.resume(tmp_path)
    with RunDirectory.resume(run_folder), pytest.raises(HelixLabError, match="another process is running here"):
        RunDirectory.resume(run_folder)
    (tmp_path / "file").touch()
    with pytest.raises(HelixLabError, match="cannot be made"):
        RunDirectory.create(tmp_path / "file", SETTINGS)
    with RunDirectory.resume(run_folder) as run, pytest.raises(HelixLabError, match="found Python objects in odd"):
        run.write_iteration(iteration_event(3), {"odd": np.array([None])}, {})


# --- inputs and results -----------------------------------------------------------------------------


@pytest.fixture
def particles(tmp_path: Path) -> ParticleStack:
    (tmp_path / "project").mkdir()
    with new_image_stack(tmp_path / "project" / "a.mrcs", 4, 64, 1.5) as images:
        images[:] = np.random.default_rng(0).normal(size=images.shape)
    stack = new_particle_stack(["a.mrcs"], [0] * 4, [0, 1, 2, 3], 1.5, 64).replace(psi_prior_deg=np.arange(4.0))
    write_particles(tmp_path / "project" / "particles.star", stack)
    return read_particles(tmp_path / "project" / "particles.star")


def test_a_run_goes_on_with_the_same_files_only(particles: ParticleStack, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    RunDirectory.create(folder, SETTINGS, particles, {"mask": volume(1)}).close()
    recorded = json.loads((folder / "inputs.json").read_text())
    assert set(recorded["files"]) == {"particles", "images_0"}
    assert recorded["files"]["images_0"]["is_sampled"]
    assert recorded["versions"]["numpy"] == np.__version__
    with RunDirectory.resume(folder, read_particles(tmp_path / "project" / "particles.star")) as run:
        mask = run.given("mask")
        assert mask is not None
        np.testing.assert_array_equal(mask.data, volume(1).data)
        assert run.given("initial_model") is None
    RunDirectory.resume(folder, particles, {"mask": volume(1)}).close()
    others = particles.select(np.array([1, 0, 2, 3])), particles.replace(psi_prior_deg=np.arange(4.0) + 1)
    for other in others:
        with pytest.raises(HelixLabError, match="particles: these are not the ones that the run in"):
            RunDirectory.resume(folder, other)
    with pytest.raises(HelixLabError, match=r"mask: found another, and the run in .* began with its own"):
        RunDirectory.resume(folder, maps={"mask": volume(2)})
    with pytest.raises(HelixLabError, match=r"initial_model: found one, and the run in .* began with none"):
        RunDirectory.resume(folder, maps={"initial_model": volume(1)})
    images = tmp_path / "project" / "a.mrcs"
    content = images.read_bytes()
    for changed in (content[:-4], content[:-4] + b"1234"):
        images.write_bytes(changed)
        with pytest.raises(HelixLabError, match=r"a\.mrcs: the file has changed since the run began"):
            RunDirectory.resume(folder)
    images.unlink()
    with pytest.raises(FileFormatError, match=r"a\.mrcs: cannot be read"):
        RunDirectory.resume(folder)


def test_a_run_that_could_not_begin_leaves_its_folder_empty(particles: ParticleStack, tmp_path: Path) -> None:
    images = tmp_path / "project" / "a.mrcs"
    (tmp_path / "run").mkdir()
    with pytest.raises(FileFormatError, match=r"b\.mrcs"):
        RunDirectory.create(tmp_path / "run", SETTINGS, particles.replace(image_files=("b.mrcs",)))
    assert not any((tmp_path / "run").iterdir())
    run = RunDirectory.create(tmp_path / "run", SETTINGS, particles, {"mask": volume(1)})
    run.discard()
    assert not any((tmp_path / "run").iterdir())
    assert images.is_file()
    RunDirectory.create(tmp_path / "run", SETTINGS, particles, {"mask": volume(1)}).close()
    (tmp_path / "run" / "settings.json").unlink()  # as if it had been killed before
    run = RunDirectory.create(tmp_path / "run", SETTINGS, particles, {"mask": volume(2)})
    run.write_iteration(iteration_event(1), {}, {})
    run.close()
    (tmp_path / "run" / "settings.json").unlink()
    with pytest.raises(HelixLabError, match="the folder is not empty"):
        RunDirectory.create(tmp_path / "run", SETTINGS)


def test_the_latest_two_iterations_keep_their_state(run_folder: Path) -> None:
    with RunDirectory.resume(run_folder) as run:
        write(run, 3)
        kept = {f.parent.name for f in run_folder.glob("iterations/*/state.npz")}
        assert kept == {"002", "003"}
        assert {f.parent.name for f in run_folder.glob("iterations/*/map.mrc")} == {"001", "002", "003"}
        assert [e.iteration for e in run.events() if e.kind == "iteration"] == [1, 2, 3]
    assert latest_settings(run_folder).mask_threshold == 0.1 * 3
    (run_folder / "iterations" / "003" / "state.npz").write_bytes(b"")
    assert latest_settings(run_folder).mask_threshold == 0.1 * 2
    with RunDirectory.resume(run_folder) as run:
        latest = run.latest()
        assert latest is not None
        assert latest.number == 2


def test_results_are_read_by_others(particles: ParticleStack, tmp_path: Path) -> None:
    freqs = np.array([0.0, 0.1, 0.2])
    curves = tuple(FSCCurve(freqs, np.array([1.0, 0.8, v]), label) for label, v in (("tight", 0.3), ("corrected", 0.1)))
    refined = particles.replace(rot_deg=np.arange(4.0), tilt_deg=np.full(4, 90.0), psi_deg=np.arange(4.0))
    (tmp_path / "far").mkdir()
    for _ in range(2):  # a run that goes on ends again
        files = write_results(
            tmp_path / "far", {"map": volume(1)}, refined, {"resolution_A": 4.2}, FSCResult(curves), "corrected"
        )
    folder = tmp_path / "far"
    assert all((folder / name).is_file() for name in files.values())
    result = json.loads((folder / "result.json").read_text())
    assert (result["resolution_A"], result["files"]) == (4.2, files)
    root = ElementTree.parse(folder / "fsc.xml").getroot()
    assert (root.tag, root.attrib["xaxis"]) == ("fsc", "Resolution (A-1)")
    points = [(float(c.findtext("x", "")), float(c.findtext("y", ""))) for c in root.findall("coordinate")]
    assert points == [(0.0, 1.0), (0.1, 0.8), (0.2, 0.1)]
    for name in ("particles", "particles_cs"):
        found = read_particles(folder / files[name])
        assert found.check_images() == (64, 64)  # although the folder is not in the project
        np.testing.assert_allclose(found.rot_deg, [0, 1, 2, 3], atol=1e-4)
    inside = tmp_path / "project" / "run"
    inside.mkdir()
    write_results(inside, {}, refined, {}, FSCResult(curves), "tight")
    assert read_particles(inside / "particles.star").image_files == ("a.mrcs",)
