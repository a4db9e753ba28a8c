"""Work on both half-sets at once: while one of them is where only one core has something to do, the other has the rest.

Half-sets share nothing that is written to, and what each comes to does not depend on when the other is done. Where
several devices work together the calls follow each other: programs that wait for one another on all devices would wait
for ever if they began on one in another order.
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
    """``list(map(function, *columns))``, on a single device every call in a thread of its own.

    Raises
    ------
    BaseException
        Of the first call that failed; the others end when they next ask :func:`check_abandoned`.

    Examples
    --------
    >>> at_once(lambda number, name: f"{number}{name}", (1, 2), "ab")
    ['1a', '2b']
    """
    if len(jax.local_devices()) > 1:
        return list(map(function, *columns))
    end = threading.Event()
    ends = (*getattr(_here, "ends", ()), end)

    def call(*arguments: Any) -> Result:
        _here.ends = ends
        try:
            return function(*arguments)
        except BaseException:
            end.set()
            raise

    with ThreadPoolExecutor(max_workers=len(columns[0])) as pool:
        calls = [pool.submit(call, *arguments) for arguments in zip(*columns, strict=True)]
        try:
            wait(calls)
        except BaseException:  # Ctrl-C
            end.set()
            raise
    failed = [error for error in (call.exception() for call in calls) if error is not None]
    if failed:
        raise next((error for error in failed if not isinstance(error, Abandoned)), failed[0])
    return [call.result() for call in calls]


def check_abandoned() -> None:
    """Ends a thread whose work nobody waits for; asked before each batch of images."""
    if any(end.is_set() for end in getattr(_here, "ends", ())):
        raise Abandoned
