"""Where the images' transforms lie during a run: in memory, or in a scratch file where they would fill it.

A refinement looks at low frequencies most of the time. The file therefore holds one part of the band after the other,
each for all images: the first frequencies of neighbouring images are a few reads of whole pieces. It is read, not
mapped, so that it takes no address space, and has no name: when the run ends, however it ends, it is gone.
"""

import tempfile
import threading
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from helixlab.errors import HelixLabError
from helixlab.reconstruct.memory import free_memory_bytes

_PARTS = 16
"""Parts of a band in a file, of as many frequencies each: a read takes at most this part too much."""

_SHARE_IN_MEMORY = 0.25
"""Transforms stay in memory if they take no more than this of what is free."""


@runtime_checkable
class BandStore(Protocol):
    """Transforms of n images at f frequencies, ordered by shell (:mod:`helixlab.kernels.bands`)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, 2, f)."""
        ...

    def write(self, first: int, x: Float[np.ndarray, "m 2 f"]) -> None:
        """Keep the transforms of the images from row ``first`` on."""
        ...

    def read(self, rows: Int[np.ndarray, "m"], count: int) -> Float[np.ndarray, "m 2 k"]:
        """The first ``count`` frequencies of some images, in this order; a row may come more than once."""
        ...


class MemoryBands:
    """Transforms in memory.

    Parameters
    ----------
    x : float32 array, shape (n, 2, f)

    Examples
    --------
    >>> store = MemoryBands(np.arange(12, dtype=np.float32).reshape(2, 2, 3))
    >>> store.read(np.array([1, 1]), 1).tolist()
    [[[6.0], [9.0]], [[6.0], [9.0]]]
    """

    def __init__(self, x: Float[np.ndarray, "n 2 f"]) -> None:
        self._x = x

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, 2, f)."""
        n, two, f = self._x.shape
        return n, two, f

    def write(self, first: int, x: Float[np.ndarray, "m 2 f"]) -> None:
        """Keep the transforms of the images from row ``first`` on."""
        self._x[first : first + len(x)] = x

    def read(self, rows: Int[np.ndarray, "m"], count: int) -> Float[np.ndarray, "m 2 k"]:
        """The first ``count`` frequencies of some images, in this order; a row may come more than once."""
        return self._x[rows, :, :count]


class FileBands:
    """Transforms in a scratch file without a name; several threads may read it.

    Parameters
    ----------
    n_images, n_frequencies : int
    folder : path, optional
        Where the file is made; default: the system's folder for temporary files.

    Raises
    ------
    HelixLabError
        If the file cannot be made, or the disk is full.

    Examples
    --------
    >>> store = FileBands(2, 3)
    >>> store.write(0, np.arange(12, dtype=np.float32).reshape(2, 2, 3))
    >>> store.read(np.array([1, 1]), 1).tolist()
    [[[6.0], [9.0]], [[6.0], [9.0]]]
    """

    def __init__(self, n_images: int, n_frequencies: int, folder: Path | None = None) -> None:
        self._folder = Path(tempfile.gettempdir() if folder is None else folder)
        self._n_images = n_images
        self._edges = np.unique(np.linspace(0, n_frequencies, _PARTS + 1).astype(int)).tolist()
        try:
            # Open as long as the run lasts.
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115
        except OSError as error:
            raise self._failed(error) from error
        self._in_place = threading.Lock()
        weakref.finalize(self, self._file.close)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, 2, f)."""
        return self._n_images, 2, self._edges[-1]

    def write(self, first: int, x: Float[np.ndarray, "m 2 f"]) -> None:
        """Keep the transforms of the images from row ``first`` on."""
        for low, high in pairwise(self._edges):
            left = np.ascontiguousarray(x[:, :, low:high], np.float32).data.cast("B")
            try:
                with self._in_place:
                    self._file.seek(self._place(low, high, first))
                    while left:
                        left = left[self._file.write(left) :]
            except OSError as error:
                raise self._failed(error) from error

    def read(self, rows: Int[np.ndarray, "m"], count: int) -> Float[np.ndarray, "m 2 k"]:
        """The first ``count`` frequencies of some images, in this order; a row may come more than once."""
        wanted, place = np.unique(rows, return_inverse=True)
        found = np.empty((len(wanted), 2, count), np.float32)
        # Runs of neighbouring rows are read in one go.
        starts = np.flatnonzero(np.diff(wanted, prepend=-2) != 1).tolist()
        runs = list(pairwise([*starts, len(wanted)]))
        for low, high in pairwise(self._edges):
            stop = min(high, count)
            if stop <= low:
                break
            for start, end in runs:
                piece = self._read_piece(low, high, int(wanted[start]), end - start)
                found[start:end, :, low:stop] = piece[:, :, : stop - low]
        return found if len(wanted) == len(rows) and np.all(np.diff(rows) > 0) else found[place.reshape(-1)]

    def _place(self, low: int, high: int, row: int) -> int:
        """Bytes before a row's values in the part of the band from ``low`` to ``high``."""
        return 8 * (self._n_images * low + row * (high - low))

    def _read_piece(self, low: int, high: int, row: int, n_rows: int) -> Float[np.ndarray, "m 2 w"]:
        piece = np.empty((n_rows, 2, high - low), np.float32)
        left = piece.data.cast("B")
        try:
            with self._in_place:
                self._file.seek(self._place(low, high, row))
                while left:
                    read = self._file.readinto(left)
                    if not read:
                        raise OSError("the file ends too soon")
                    left = left[read:]
        except OSError as error:
            raise self._failed(error) from error
        return piece

    def _failed(self, error: OSError) -> HelixLabError:
        gigabytes = 8e-9 * self._n_images * self._edges[-1]
        return HelixLabError(
            f"{self._folder}: a scratch file of {gigabytes:.1f} GB for the images' transforms failed: "
            f"{error.strerror or error}. Make room there, or set TMPDIR to a folder of a larger disk."
        )


def new_band_store(n_images: int, n_frequencies: int, folder: Path | None = None) -> BandStore:
    """A store in memory if that leaves most of the free memory free, otherwise in a file.

    Parameters
    ----------
    n_images, n_frequencies : int
    folder : path, optional
        Of the file.

    Returns
    -------
    BandStore
    """
    if 8 * n_images * n_frequencies <= _SHARE_IN_MEMORY * free_memory_bytes():
        return MemoryBands(np.empty((n_images, 2, n_frequencies), np.float32))
    return FileBands(n_images, n_frequencies, folder)
