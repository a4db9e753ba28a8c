"""Work in threads: results in order, the first real error, and an end for what nobody waits for."""

import threading

import pytest

from helixlab.reconstruct.at_once import Abandoned, at_once, check_abandoned


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
