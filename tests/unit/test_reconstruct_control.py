"""A run that is paused, edited, resumed and stopped from another thread."""

import threading
from collections.abc import Iterator

import pytest

from helixlab.errors import HelixLabError
from helixlab.reconstruct import RefinementSettings
from helixlab.reconstruct.control import Control, StopRequested

WAIT_S = 30
"""Never reached but on a machine that has stopped."""


class Run:
    """A thread that iterates as a refinement does, one iteration for each ``step`` of the test."""

    def __init__(self) -> None:
        self.settings = RefinementSettings()
        self.control = Control(self.settings)
        self.seen: list[RefinementSettings] = []
        self._may_step, self._stepped = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._iterate)
        self.thread.start()

    def _iterate(self) -> None:
        settings = self.settings
        try:
            while True:
                self._may_step.acquire()
                settings = self.control.between_iterations(settings)
                self.seen.append(settings)
                self._stepped.release()
        except StopRequested:
            self._stepped.release()

    def step(self, wait_s: float = WAIT_S) -> bool:
        self._may_step.release()
        return self.stepped(wait_s)

    def stepped(self, wait_s: float = WAIT_S) -> bool:
        return self._stepped.acquire(timeout=wait_s)


@pytest.fixture
def run() -> Iterator[Run]:
    running = Run()
    yield running
    running.control.stop()
    running._may_step.release()
    running.thread.join(WAIT_S)
    assert not running.thread.is_alive()


def test_pause_edit_resume(run: Run) -> None:
    assert run.step()
    assert run.seen[0] is run.settings
    run.control.pause()
    assert not run.step(0.05)
    run.control.edit(gsfsc_split_res_A=15, mask="static")
    run.control.edit(gsfsc_split_res_A=14)
    assert not run.stepped(0.05)
    assert len(run.seen) == 1
    run.control.resume()
    assert run.stepped()
    assert (run.seen[1].gsfsc_split_res_A, run.seen[1].mask) == (14.0, "static")
    assert run.step()
    assert run.seen[2] is run.seen[1]
    assert run.control.settings is run.seen[1]


def test_a_paused_run_can_be_stopped(run: Run) -> None:
    run.control.pause()
    assert not run.step(0.05)
    run.control.stop()
    assert run.stepped()
    assert run.seen == []
    assert run.control.is_stopping
    with pytest.raises(StopRequested):
        run.control.check_stop()


def test_bad_edits_change_nothing() -> None:
    control = Control(RefinementSettings())
    for changes, message in (
        ({"mask_threshold": 2}, "mask_threshold: found 2"),
        ({"twist_deg": 30}, "rise_A: missing"),
        ({"seed": 1, "mask": "static"}, "seed: decided when the run starts"),
        ({"masks": "static"}, "did you mean mask"),
    ):
        with pytest.raises(HelixLabError, match=message):
            control.edit(**changes)
    settings = RefinementSettings()
    assert control.between_iterations(settings) is settings
