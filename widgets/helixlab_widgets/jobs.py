"""Work in the background: the newest request wins."""

import threading
from collections.abc import Callable
from typing import Any

HAND_FIRST_S = 0.07
"""How long all else waits for what follows the user's hand: as long as that takes, both together take longer."""

Work = Callable[["Ticket"], Any]
Progress = Callable[[str, float], None]


class OutdatedError(Exception):
    """Raised inside a job that nobody waits for any more."""


class Ticket:
    """A job's view of its own standing; given to the job as its only argument."""

    def __init__(self, on_progress: Progress) -> None:
        self._on_progress = on_progress
        self._outdated = threading.Event()
        self.is_cancelled = False

    @property
    def is_outdated(self) -> bool:
        """Whether something newer was asked for, or the job was cancelled."""
        return self._outdated.is_set()

    def check(self) -> None:
        """Raise :class:`OutdatedError` if the job is outdated: for long jobs, between their parts.

        A job that does not check is finished and delivered while a newer request waits: so a view keeps moving
        under a slider that never rests.
        """
        if self.is_outdated:
            raise OutdatedError

    def yield_to_others(self) -> None:
        """Leave the cores, and the browser, to what follows the user's hand."""
        self._outdated.wait(HAND_FIRST_S)

    def settle(self, quiet_s: float) -> None:
        """Wait until nothing newer was asked for during this time."""
        self._outdated.wait(quiet_s)
        self.check()

    def progress(self, text: str, part: float) -> None:
        """Tell what is being done and the part done, 0 to 1; also a :meth:`check`."""
        self.check()
        self._on_progress(text, part)

    def outdate(self, *, is_cancelled: bool = False) -> None:
        """Mark the job as outdated; a cancelled one is not delivered either."""
        self.is_cancelled = self.is_cancelled or is_cancelled
        self._outdated.set()


class Worker:
    """One thread that does the newest request, and skips those it had no time for.

    Parameters
    ----------
    name : str
        The thread's name, for debuggers.
    on_error : callable
        Gets the exception of a job that failed.
    on_done : callable, optional
        Called after a job whose result was delivered.
    on_progress : callable, optional
        Gets each job's (text, part done), and ("", 1.0) when the worker rests.

    Notes
    -----
    ``deliver`` gets a job's result in the worker's thread, unless the job was cancelled. The thread lives only while
    there is work.

    Examples
    --------
    >>> results = []
    >>> worker = Worker("example", on_error=print)
    >>> for n in range(3):
    ...     worker.submit(lambda ticket, n=n: n, results.append)
    >>> worker.wait()
    True
    >>> results[-1]
    2
    """

    def __init__(
        self,
        name: str,
        *,
        on_error: Callable[[Exception], None],
        on_done: Callable[[], None] | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self._name, self._on_error = name, on_error
        self._on_done = on_done or (lambda: None)
        self._on_progress = on_progress or (lambda _text, _part: None)
        self._condition = threading.Condition()
        self._waiting: tuple[Ticket, Work, Callable[[Any], None]] | None = None
        self._running: Ticket | None = None
        self._is_alive = False
        self._is_closed = False

    def submit(self, work: Work, deliver: Callable[[Any], None] = lambda _result: None) -> None:
        """Ask for work; what was asked before and has not begun is skipped, what has begun is outdated."""
        with self._condition:
            if self._is_closed:
                return
            if self._running is not None:
                self._running.outdate()
            self._waiting = (Ticket(self._on_progress), work, deliver)
            if not self._is_alive:
                self._is_alive = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def cancel(self) -> None:
        """Take back all that was asked for; a running job stops at its next check."""
        with self._condition:
            self._take_back()

    def close(self) -> None:
        """Cancel, and take no more work."""
        with self._condition:
            self._is_closed = True
            self._take_back()

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Until nothing is left to do; False if that took longer than the limit."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._is_alive, timeout_s)

    def _take_back(self) -> None:
        self._waiting = None
        if self._running is not None:
            self._running.outdate(is_cancelled=True)

    def _next(self) -> tuple[Ticket, Work, Callable[[Any], None]] | None:
        with self._condition:
            job, self._waiting = self._waiting, None
            self._running = job[0] if job else None
            return job

    def _run(self) -> None:
        while True:
            while (job := self._next()) is not None:
                self._do(*job)
            self._on_progress("", 1.0)
            with self._condition:
                if self._waiting is None:
                    self._is_alive = False
                    self._condition.notify_all()
                    return

    def _do(self, ticket: Ticket, work: Work, deliver: Callable[[Any], None]) -> None:
        try:
            result = work(ticket)
            if not ticket.is_cancelled:
                deliver(result)
                self._on_done()
        except OutdatedError:
            pass
        except Exception as error:
            # Also an outdated job's failure: it may be why nothing newer will work either.
            self._on_error(error)
