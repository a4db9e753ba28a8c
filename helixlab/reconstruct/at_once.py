"""Work on both half-sets at once: while one of them is where only one core has something to do, the other has the rest.

Half-sets share nothing that is written to, and what each comes to does not depend on when the other is done. Where
several devices work together the calls follow each other: programs that wait for one another on all devices would wait
for ever if they began on one in another order.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax

Result = TypeVar("Result")


def at_once(function: Callable[..., Result], *columns: Sequence[Any]) -> list[Result]:
    """``list(map(function, *columns))``, on a single device every call in a thread of its own.

    Raises
    ------
    Exception
        That of the first call that failed, when all have ended.

    Examples
    --------
    >>> at_once(lambda number, name: f"{number}{name}", (1, 2), "ab")
    ['1a', '2b']
    """
    if len(jax.local_devices()) > 1:
        return list(map(function, *columns))
    with ThreadPoolExecutor(max_workers=len(columns[0])) as pool:
        return list(pool.map(function, *columns))
