"""Runs that are killed, stopped or fail, and go on to the end they would have had."""

import dataclasses
import itertools
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import ParticleStack, new_image_stack, read_particles, read_volume, write_particles
from helixlab.reconstruct import (
    Control,
    Event,
    IterationEvent,
    Message,
    RefinementSettings,
    RunEnded,
    RunStarted,
    SettingsEdited,
    latest_settings,
    read_events,
    refine,
)
from helixlab.simulate import OpticsSettings, ParticleSettings, simulate_particles

TRUTH = HelicalSymmetry(-101.1, 5.13)
SETTINGS = RefinementSettings(
    twist_deg=-101.0,
    rise_A=5.14,
    realspace_symmetrize_res_A=30,
    symmetry_search_start_res_A=30,
    max_iterations=2,
)
_FILES = ("map.mrc", "half1.mrc", "half2.mrc", "mask.mrc", "particles.cs", "fsc.csv")


def simulate_few(folder: Path) -> Path:
    """The table of 48 segments of 8 filaments, box 32."""
    few = ParticleSettings(
        n_filaments=8,
        segments_per_filament=6,
        box_px=32,
        pixel_size_A=5.0,
        inter_box_distance_A=30.0,
        optics=(OpticsSettings(snr=0.2),),
        seed=3,
    )
    return simulate_particles("builtin", TRUTH, folder, few).files["star"]


@pytest.fixture(scope="module")
def particles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_few(tmp_path_factory.mktemp("segments"))


@pytest.fixture(scope="module")
def unbroken(particles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert _ended(refine(particles, SETTINGS, folder)).iterations == 2
    return folder


class Within(Control):
    """Acts at a batch of an iteration, both counted from 1; batch 0 is before the iteration begins."""

    def __init__(self, iteration: int, batch: int, act: Callable[[Control], None]) -> None:
        super().__init__(SETTINGS)
        self.at, self.now, self.act = [iteration, batch], [0, 0], act

    def between_iterations(self, settings: RefinementSettings) -> RefinementSettings:
        self.now = [self.now[0] + 1, -1]
        return super().between_iterations(settings)

    def check_stop(self) -> None:
        self.now[1] += 1
        if self.now == self.at:
            self.act(self)
        super().check_stop()


def test_killed_in_an_iteration_and_resumed(particles: Path, unbroken: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from physics.test_resume import SETTINGS, Within, refine\n"
        "control = Within(2, 3, lambda _: os.kill(os.getpid(), signal.SIGKILL))\n"
        "list(refine(sys.argv[1], SETTINGS, sys.argv[2], control))\n"
    )
    command = [sys.executable, "-c", script, str(particles), str(tmp_path / "run")]
    killed = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [e.kind for e in read_events(tmp_path / "run")] == ["run_started", "iteration"]
    started, *rest = refine(particles, latest_settings(tmp_path / "run"), tmp_path / "run", resume=True)
    assert isinstance(started, RunStarted)
    assert started.first_iteration == 2
    assert [e.kind for e in rest] == ["iteration", "run_ended"]
    _check_same_end(tmp_path / "run", unbroken)


def test_stopped_before_the_first_iteration_ends(particles: Path, unbroken: Path, tmp_path: Path) -> None:
    ended = _ended(refine(particles, SETTINGS, tmp_path / "run", Within(1, 0, Control.stop)))
    for _ in range(2):
        assert (ended.reason, ended.iterations, ended.files) == ("stopped", 0, {})
        assert "before its first iteration ended: there are no maps" in ended.advice
        assert not (tmp_path / "run" / "map.mrc").exists()
        ended = _ended(refine(particles, SETTINGS, tmp_path / "run", Within(1, 2, Control.stop), resume=True))
    list(refine(particles, SETTINGS, tmp_path / "run", resume=True))
    _check_same_end(tmp_path / "run", unbroken)


def test_maps_that_were_given_are_in_the_folder(particles: Path, unbroken: Path, tmp_path: Path) -> None:
    volume, mask = (read_volume(unbroken / f"{name}.mrc") for name in ("map", "mask"))
    static = SETTINGS.replaced(mask="static", max_iterations=1)
    list(refine(particles, static, tmp_path / "whole", volume=volume, mask=mask))
    np.testing.assert_array_equal(read_volume(tmp_path / "whole" / "mask.mrc").data, mask.data)
    list(refine(particles, static, tmp_path / "run", Within(1, 0, Control.stop), volume=volume, mask=mask))
    with pytest.raises(HelixLabError, match="mask: found another"):
        next(refine(particles, static, tmp_path / "run", mask=volume, resume=True))
    list(refine(particles, static, tmp_path / "run", resume=True))
    _check_same_end(tmp_path / "run", tmp_path / "whole")


def test_what_fails_is_in_the_log(particles: Path, unbroken: Path, tmp_path: Path) -> None:
    def fail(_: Control) -> None:
        raise HelixLabError("disk: full; make room.")

    with pytest.raises(HelixLabError, match="disk: full"):
        list(refine(particles, SETTINGS, tmp_path / "run", Within(2, 1, fail)))
    last = read_events(tmp_path / "run")[-1]
    assert isinstance(last, RunEnded)
    assert (last.reason, last.advice, last.iterations) == ("failed", "disk: full; make room.", 1)
    list(refine(particles, SETTINGS, tmp_path / "run", resume=True))
    _check_same_end(tmp_path / "run", unbroken)


def test_a_run_that_has_ended_goes_on(particles: Path, unbroken: Path, tmp_path: Path) -> None:
    """Stopped within its second iteration; with its results lost; with another setting."""
    folder = tmp_path / "run"
    ended = _ended(refine(particles, SETTINGS, folder, Within(2, 2, Control.stop)))
    assert (ended.reason, ended.iterations) == ("stopped", 1)
    assert "--resume" in ended.advice
    assert (folder / ended.files["map"]).is_file()
    assert _ended(refine(particles, SETTINGS, folder, resume=True)).reason == "max_iterations"
    _check_same_end(folder, unbroken)
    for name in _FILES:
        (folder / name).unlink()
    started, ended = refine(particles, SETTINGS, folder, resume=True)
    assert isinstance(started, RunStarted)
    assert started.first_iteration == 3
    _check_same_end(folder, unbroken)
    more = SETTINGS.replaced(max_iterations=3, twist_deg=-99.0, rise_A=5.0, symmetry_search_start_res_A=0.1)
    edited = list(refine(particles, more, folder, resume=True))
    assert [e.kind for e in edited] == ["run_started", "message", "settings_edited", "iteration", "run_ended"]
    _, doubt, changed, iteration, _ = edited
    assert isinstance(doubt, Message)
    assert "It never begins" in doubt.text
    assert isinstance(changed, SettingsEdited)
    assert (changed.iteration, changed.changes) == (3, more.changes_from(SETTINGS))
    # From here on it is the new symmetry that is imposed.
    assert isinstance(iteration, IterationEvent)
    assert (iteration.twist_deg, iteration.rise_A, iteration.twist_se_deg) == (-99.0, 5.0, None)
    assert [e.iteration for e in read_events(folder) if isinstance(e, IterationEvent)] == [1, 2, 3]
    assert latest_settings(folder).max_iterations == 3


def test_edits_between_iterations_are_said(particles: Path) -> None:
    # More real-space symmetrisation than there is resolution is doubted, until the edit.
    doubted = SETTINGS.replaced(realspace_symmetrize_res_A=9)
    control = Within(1, 1, lambda control: control.edit(max_iterations=3, realspace_symmetrize_res_A=30))
    events = list(refine(particles, doubted, None, control))
    kinds = ["run_started", "message", "iteration", "settings_edited", "iteration", "iteration", "run_ended"]
    assert [event.kind for event in events] == kinds
    doubt, ended = events[1], events[-1]
    assert isinstance(doubt, Message)
    assert isinstance(ended, RunEnded)
    assert doubt.text.startswith("found realspace_symmetrize_res_A 9 Å")
    assert doubt.text not in ended.warnings


def test_a_table_without_filaments_is_used_and_told_of(particles: Path) -> None:
    stack = read_particles(particles).replace(filament_id=None)
    started, distance, message = itertools.islice(refine(stack, SETTINGS), 3)
    assert isinstance(started, RunStarted)
    assert started.n_filaments == 0
    assert isinstance(distance, Message)
    assert "no distance between boxes" in distance.text
    assert isinstance(message, Message)
    assert "each segment decides its polarity by itself" in message.text


def test_what_is_refused(particles: Path, unbroken: Path, tmp_path: Path) -> None:
    box = Volume(np.ones((32, 32, 32)), 5.0)
    other = read_particles(particles).select(np.arange(40))
    for arguments, options, message in (
        ((particles, SETTINGS, tmp_path / "run"), {"mask": box}, "mask: found one with mask=dynamic"),
        ((particles, SETTINGS.replaced(mask="static"), tmp_path / "run"), {}, "ask for a static mask"),
        ((particles, SETTINGS, tmp_path / "run"), {"volume": Volume(np.ones((8, 8, 8)), 5.0)}, "volume: found"),
        (
            (particles, SETTINGS.replaced(mask="static"), tmp_path / "run"),
            {"mask": box.with_data(0 * box.data)},
            "mask: found no voxel above 0",
        ),
        ((particles, SETTINGS.replaced(rise_A=161), tmp_path / "run"), {}, "rise_A: found 161 Å in a box of 160 Å"),
        ((particles, SETTINGS), {"resume": True}, "out_dir: missing"),
        ((particles, SETTINGS, tmp_path / "none"), {"resume": True}, "found no run"),
        ((other, SETTINGS, unbroken), {"resume": True}, "these are not the ones"),
        ((particles, SETTINGS.replaced(seed=2), unbroken), {"resume": True}, "seed: decided when the run starts"),
        ((particles, SETTINGS, unbroken), {"resume": True, "volume": box}, "initial_model: found one"),
    ):
        with pytest.raises(HelixLabError, match=message):
            next(refine(*arguments, **options))
    assert not (tmp_path / "run").exists()


# --- particles that cannot be used --------------------------------------------------------------


@pytest.fixture
def spoiled(particles: Path, tmp_path: Path) -> ParticleStack:
    """Rows 3 and 4 without content, row 6 without CTF, row 8 of another box, row 9 without background.

    Rows 8 and 21 have odd tilt priors, which no refinement uses.
    """
    stack = read_particles(particles)
    with mrcfile.open(particles.parent / stack.image_files[0]) as mrc:
        images = np.array(mrc.data)
    for name, values in (("a.mrcs", images), ("b.mrcs", images[:1, :24, :24])):
        with new_image_stack(tmp_path / name, len(values), values.shape[1], 5.0) as copy:
            copy[:] = values
    with mrcfile.open(tmp_path / "a.mrcs", "r+") as mrc:
        mrc.data[2, 1, 1] = np.nan
        mrc.data[3] = 7.0
        y = np.arange(images.shape[1]) - images.shape[1] // 2
        mrc.data[8, np.hypot(y[:, None], y) > 0.45 * len(y)] = 0.1
    file, index, defocus_A = np.array(stack.image_file), np.array(stack.image_index), np.array(stack.defocus_u_A)
    file[7], index[7], defocus_A[5] = 1, 0, np.nan
    tilt_deg = np.full(len(stack), 90.0)
    tilt_deg[[7, 20]] = 150.0
    optics = dataclasses.replace(stack.optics, box_size_px=np.zeros_like(stack.optics.box_size_px))
    stack = stack.replace(
        image_files=("a.mrcs", "b.mrcs"), image_file=file, image_index=index, optics=optics, tilt_prior_deg=tilt_deg
    )
    write_particles(tmp_path / "spoiled.star", stack)
    # The readers take no table with NaN in it; a stack made in memory may have it.
    return read_particles(tmp_path / "spoiled.star").replace(defocus_u_A=defocus_A)


def test_bad_particles_are_refused_or_left_out(particles: Path, spoiled: ParticleStack, tmp_path: Path) -> None:
    with pytest.raises(
        HelixLabError,
        match=r"5 bad .* row 3 .*NaN.*row 4 .*7; row 6 .*_rlnDefocusU .*; row 8 .*24.*row 9 .*around .* is 0.1",
    ):
        next(refine(spoiled, SETTINGS, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    dropping = SETTINGS.replaced(drop_bad_images=True, max_iterations=1)
    started, message, doubt, iteration, ended = refine(spoiled, dropping, tmp_path / "run")
    assert isinstance(started, RunStarted)
    assert started.n_segments == 43
    assert isinstance(message, Message)
    assert message.level == "warning"
    assert "left out 5 bad particles: row 3" in message.text
    assert message in read_events(tmp_path / "run")
    assert isinstance(doubt, Message)
    assert "tilt priors up to 60° from 90° in row 21; needed" in doubt.text
    assert isinstance(ended, RunEnded)
    assert ended.warnings[:2] == (message.text, doubt.text)
    table = read_particles(tmp_path / "run" / "particles.star")
    good = np.setdiff1d(np.arange(48), [2, 3, 5, 7, 8])
    np.testing.assert_array_equal(table.image_index, good)
    # As if they had never been there.
    same = read_particles(particles).select(good)
    *_, alone, _ended = refine(same, dropping)
    assert isinstance(alone, IterationEvent)
    assert isinstance(iteration, IterationEvent)
    assert alone.fsc == iteration.fsc


def test_images_found_bad_while_they_are_read_are_all_named(
    spoiled: ParticleStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = spoiled.select(np.array([0, 1, 2, 3, 4, 20, 30, 40]))
    monkeypatch.setattr("helixlab.reconstruct.bad_particles.NAMED_AT_MOST", 1)
    with pytest.raises(HelixLabError, match=r"found 1 bad particle: row 2 .*every pixel around the particle is 0.1"):
        next(refine(spoiled.select(np.array([0, 8, 20, 30])), SETTINGS))
    with pytest.raises(HelixLabError, match=r"2 bad particles: row 3 .*infinite and 1 more; .*drop_bad_images=true"):
        next(refine(stack, SETTINGS))
    with pytest.raises(HelixLabError, match="found no particle that can be used: 2 bad particles"):
        next(refine(stack.select(np.array([2, 3])), SETTINGS.replaced(drop_bad_images=True)))


# --- private helpers ----------------------------------------------------------------------------


def _ended(events: Iterator[Event]) -> RunEnded:
    *_, ended = events
    assert isinstance(ended, RunEnded)
    return ended


def _check_same_end(folder: Path, other: Path) -> None:
    """To the last bit."""
    for name in _FILES:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    assert read_volume(folder / "map.mrc").data.std() > 0
