"""Work in threads: results in order, the first real error, and an end for what nobody waits for."""

import threading
from pathlib import Path

import numpy as np
import pytest

from helixlab.kernels.bands import frequency_band
from helixlab.kernels.ctf import CtfParameters, ctf_coefficients
from helixlab.reconstruct.at_once import Abandoned, at_once, check_abandoned
from helixlab.reconstruct.band_store import FileBands, MemoryBands
from helixlab.reconstruct.prepare import PreparedParticles


@pytest.fixture(autouse=True)
def on_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has."""
    monkeypatch.setattr("jax.local_devices", lambda: [0])


@pytest.fixture
def particles() -> PreparedParticles:
    band, one = frequency_band(16, 5), np.ones(1)
    ctf = ctf_coefficients(
        CtfParameters.of(
            defocus_u_A=12000 * one,
            defocus_v_A=12000 * one,
            defocus_angle_deg=0 * one,
            voltage_kV=300.0,
            cs_mm=2.7,
            amplitude_contrast=0.1,
        ),
        step_per_A=1.0 / 64.0,
    )
    x, number = np.ones((1, 2, len(band.k)), np.float32), np.zeros(1, np.int64)
    return PreparedParticles(MemoryBands(x), ctf, band, number + 1, number, number, 0 * one, 4.0, None)


def test_calls_run_side_by_side_and_answer_in_order() -> None:
    # Each waits for the other: one after the other they would never end.
    meeting = threading.Barrier(2, timeout=60)
    assert at_once(lambda name: (meeting.wait() >= 0, name), ("first", "second")) == [(True, "first"), (True, "second")]


def test_work_beside_a_failure_ends_and_the_failure_is_told() -> None:
    seen = []

    def work(name: str) -> None:
        if name == "fails":
            raise ValueError("broken")
        try:
            # Deeper, too: what this one began is abandoned with it.
            at_once(_until_abandoned, (0, 1))
        except Abandoned:
            seen.append(name)
            raise

    for order in (("goes on", "fails"), ("fails", "goes on")):
        with pytest.raises(ValueError, match="broken"):
            at_once(work, order)
    assert seen == ["goes on", "goes on"]
    check_abandoned()  # this thread has nothing to do with it


def test_arguments_come_in_columns_of_one_length() -> None:
    with pytest.raises(ValueError, match="shorter"):
        at_once(lambda a, b: (a, b), (1, 2), (1,))


def test_calls_follow_each_other_where_several_devices_work_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jax.local_devices", lambda: [0, 1])
    here = threading.current_thread()
    assert at_once(lambda number: (threading.current_thread() is here, number), (1, 2)) == [(True, 1), (True, 2)]


def test_images_are_not_looked_at_for_nobody(particles: PreparedParticles) -> None:
    noise_power, ends = np.ones((1, particles.last_shell + 1)), []

    def work(name: str) -> None:
        if name == "fails":
            raise ValueError("broken")
        for _ in range(10**5):
            particles.whitened(np.array([0]), noise_power, particles.last_shell)
        ends.append(name)

    with pytest.raises(ValueError, match="broken"):
        at_once(work, ("goes on", "fails"))
    assert not ends


def test_several_threads_read_one_scratch_file(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(200, 2, 64)).astype(np.float32)
    store = FileBands(200, 64, tmp_path)
    store.write(0, x)

    def read(seed: int) -> int:
        rng, wrong = np.random.default_rng(seed), 0
        for _ in range(300):
            rows = np.sort(rng.choice(200, 20, replace=False))
            wrong += not np.array_equal(store.read(rows, 64), x[rows])
        return wrong

    # Without a lock about one read in forty has the other's rows.
    assert at_once(read, (1, 2)) == [0, 0]


def test_an_interrupt_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(calls: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("helixlab.reconstruct.at_once.wait", interrupted)
    # Without an end the threads would go on, and this test with them.
    with pytest.raises(KeyboardInterrupt):
        at_once(_until_abandoned, (0, 1))


def _until_abandoned(number: int) -> None:
    pause = threading.Event()
    for _ in range(6000):
        check_abandoned()
        pause.wait(0.01)
    raise AssertionError("nobody ended this thread")
