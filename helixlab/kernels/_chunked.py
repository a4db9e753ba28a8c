"""Long loops in blocks of one shape: one compilation, and memory bounded by the block.

The last block is filled up by repeating its last row. What a row is repeated for is cut from the results again
(:func:`map_rows`) or carries the weight zero (:func:`blocks`, for sums), so that padding enters no result.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int

from helixlab.errors import HelixLabError


def blocks(count: int, size: int) -> Iterator[tuple[Int[np.ndarray, "size"], Bool[np.ndarray, "size"]]]:
    """Row numbers of each block of ``size`` rows, and which of them are no padding.

    Examples
    --------
    >>> [(rows.tolist(), valid.tolist()) for rows, valid in blocks(3, 2)]
    [([0, 1], [True, True]), ([2, 2], [True, False])]
    """
    for first in range(0, count, size):
        rows = np.arange(first, first + size, dtype=np.int32)
        yield np.minimum(rows, count - 1), rows < count


def map_rows(function: Callable[[Int[np.ndarray, "size"]], Any], count: int, size: int, *, shards: int = 1) -> Any:
    """What ``function`` makes of the rows 0 to count − 1, ``size`` of them at a time.

    Parameters
    ----------
    function : callable
        From row numbers to an array, or a tree of arrays, with as many rows. Indexing inside a jitted function, not
        before it, saves a compilation.
    count, size : int
        Rows altogether, at least one, and at a time.
    shards : int
        Devices that the rows are spread over (:mod:`helixlab.kernels._sharded`), which must divide ``count``: row
        numbers are then those on each device, ``size`` of them at a time, and the results lie as the rows do.

    Returns
    -------
    As ``function``, for all rows
        NumPy arrays.

    Raises
    ------
    HelixLabError
        If there are no rows, or not as many on each device.

    Examples
    --------
    >>> map_rows(lambda rows: 2 * rows, 5, 2).tolist()
    [0, 2, 4, 6, 8]
    """
    if count < 1:
        raise HelixLabError(f"count: found {count} rows; at least one is needed.")
    if count % shards:
        raise HelixLabError(f"count: found {count} rows on {shards} devices; each needs as many. Fill up the last.")
    each = count // shards
    # Fetched when all is under way, so that no block waits for another's results.
    parts = jax.device_get([function(rows) for rows, _ in blocks(each, size)])

    def join(*pieces: np.ndarray) -> np.ndarray:
        if shards == 1:
            return np.concatenate(pieces)[:count]
        by_device = np.concatenate([p.reshape(shards, -1, *p.shape[1:]) for p in pieces], axis=1)[:, :each]
        return by_device.reshape(count, *by_device.shape[2:])

    return jax.tree.map(join, *parts)
