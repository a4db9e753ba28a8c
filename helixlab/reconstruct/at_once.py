"""Work on both half-sets at once: while one of them is where only one core has something to do, the other has the rest.

Half-sets share nothing that their work writes to, and what each comes to does not depend on when the other is done.
Where several devices work together the calls follow each other: programs that wait for one another on all devices would
wait for ever if they began on one in another order.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import jax

Result = TypeVar("Result")

_here = threading.local()
"""``ends``: of the work that this thread is part of; set when nobody waits for it any more."""


class Abandoned(BaseException):
    """Ends work for which nobody waits, because other work beside it failed or was interrupted."""


def at_once(function: Callable[..., Result], *columns: Sequence[Any]) -> list[Result]:
    """What ``function`` makes of each row of the columns; on a single device every call has a thread of its own.

    Parameters
    ----------
    function : callable
        What it asks of contexts (``jax.default_matmul_precision``, ``np.errstate``) it has to enter itself: threads do
        not share them.
    *columns : sequences
        Of one length, at least 1: its arguments.

    Raises
    ------
    BaseException
        Of the first call that failed; the others end when they next ask :func:`check_abandoned`.

    Examples
    --------
    >>> at_once(lambda number, name: f"{number}{name}", (1, 2), "ab")
    ['1a', '2b']
    """
    rows = list(zip(*columns, strict=True))
    if len(jax.local_devices()) > 1:
        return [function(*row) for row in rows]
    end = threading.Event()
    ends = (*getattr(_here, "ends", ()), end)

    def call(*arguments: Any) -> Result:
        _here.ends = ends
        try:
            return function(*arguments)
        except BaseException:
            end.set()
            raise

    with ThreadPoolExecutor(max_workers=len(rows)) as pool:
        try:
            calls = [pool.submit(call, *row) for row in rows]
            wait(calls)
        except BaseException:  # Ctrl-C
            end.set()
            raise
    failed = [error for error in (call.exception() for call in calls) if error is not None]
    try:
        if failed:
            raise next((error for error in failed if not isinstance(error, Abandoned)), failed[0])
        return [call.result() for call in calls]
    finally:
        del failed, calls  # or the error, which holds this frame, would hold itself, and all arrays of its frames


def check_abandoned() -> None:
    """Ends a thread whose work nobody waits for; asked before each batch of images."""
    if any(end.is_set() for end in getattr(_here, "ends", ())):
        raise Abandoned
