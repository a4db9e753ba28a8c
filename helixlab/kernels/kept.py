"""Results kept for the next call, by several threads."""

import threading
from collections.abc import Callable, Hashable
from typing import Any


class Kept:
    """What was made before, of each kind the last few.

    Parameters
    ----------
    most : int
        How many of each kind are kept.

    Examples
    --------
    >>> kept = Kept(most=1)
    >>> [kept.get("square", n, lambda n=n: print("made") or n * n) for n in (3, 3, 2)]
    made
    made
    [9, 9, 4]
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._shelves: dict[str, tuple[threading.RLock, dict[Hashable, Any]]] = {}

    def get(self, kind: str, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of that key; threads that want the same kind wait for the one that makes it."""
        with self._lock:
            lock, shelf = self._shelves.setdefault(kind, (threading.RLock(), {}))
        with lock:
            if key not in shelf:
                shelf[key] = make()
                while len(shelf) > self._most:
                    del shelf[next(iter(shelf))]
            return shelf[key]
