"""Particle images in batches, from stacks larger than memory, and stacks written image by image.

Batches are read, not mapped: what a read takes is the batch and one piece of a file, also where the address space is
limited. A bad image (not finite, or of one value throughout) is named by its row in the table.
"""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import mrcfile
import numpy as np
from jaxtyping import Float, Int

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.io._files import translated, written_whole
from helixlab.io.image_stacks import locate_image_file, read_stack_header
from helixlab.io.mrc_header import MrcHeader
from helixlab.io.particles import ParticleStack

_PIECE_BYTES = 1 << 22
"""A file is read in pieces of at most 4 MiB (or one image), which are converted before the next one comes."""

_NAMED_AT_MOST = 5
"""Bad images that an error names; their number is given too."""


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be used.

    Parameters
    ----------
    row : int
        Its 0-based row in the table.
    name : str
        RELION's name, "000001@file".
    reason : str
        What is wrong with it.
    """

    row: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row + 1} ({self.name}): {self.reason}"


class BadImagesError(FileFormatError):
    """Images that cannot be used; ``bad`` lists them."""

    def __init__(self, table: str, bad: tuple[BadImage, ...]) -> None:
        named = "; ".join(map(str, bad[:_NAMED_AT_MOST]))
        more = f" and {len(bad) - _NAMED_AT_MOST} more" if len(bad) > _NAMED_AT_MOST else ""
        super().__init__(
            f"{table}: found images that cannot be used: {named}{more}. Leave these rows out or extract the images "
            "again."
        )
        self.bad = bad


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Some images of a stack.

    Parameters
    ----------
    rows : int array, shape (b,)
        Their rows in the table.
    images : float32 array, shape (b, y, x)
        Bad images are all zeros.
    bad : tuple of BadImage
        Those that cannot be used.
    """

    rows: Int[np.ndarray, "b"]
    images: Float[np.ndarray, "b y x"]
    bad: tuple[BadImage, ...] = ()


class ImageSource:
    """The images of a particle table, read in batches by row.

    All files are checked once, here, before any work: each is there, whole, uncompressed, has as many images as the
    table asks for, and all are squares of one size, the table's where it says one.

    Parameters
    ----------
    stack : ParticleStack
        Tells which image of which file belongs to each row.

    Raises
    ------
    FileFormatError
        If a check fails; it names the file.

    Examples
    --------
    >>> import tempfile
    >>> from helixlab.io import new_particle_stack
    >>> folder = tempfile.TemporaryDirectory()
    >>> with new_image_stack(f"{folder.name}/a.mrcs", 3, 8, 1.5) as images:
    ...     images[:] = np.random.default_rng(0).normal(size=(3, 8, 8))
    >>> source = ImageSource(new_particle_stack([f"{folder.name}/a.mrcs"], [0, 0, 0], [0, 1, 2], 1.5, 8))
    >>> source.box_px, source.read_batch(np.array([2, 0])).shape
    (8, (2, 8, 8))
    >>> folder.cleanup()
    """

    def __init__(self, stack: ParticleStack) -> None:
        height, width = stack.check_images()
        self._stack = stack
        self._name = str(stack.source.path or "particles")
        paths = [locate_image_file(n, stack.source.path, stack.source.images_root) for n in stack.image_files]
        self._headers = [read_stack_header(path) for path in paths]
        if height != width:
            raise FileFormatError(
                f"{paths[0]}: found images of {width} × {height} pixels; needed squares. Extract them again."
            )
        for header in self._headers:
            if header.compression:
                raise FileFormatError(
                    f"{header.path}: found a stack compressed by {header.compression}, which cannot be read in "
                    "batches; decompress it first."
                )
        self.box_px = height

    def __len__(self) -> int:
        return len(self._stack)

    def read_batch(self, rows: Int[np.ndarray, "b"]) -> Float[np.ndarray, "b n n"]:
        """The images of these rows, float32, in this order.

        Parameters
        ----------
        rows : int array, shape (b,)
            0-based rows of the table, in any order.

        Returns
        -------
        float32 array, shape (b, box_px, box_px)

        Raises
        ------
        BadImagesError
            If one of them cannot be used.
        FileFormatError
            If a file cannot be read any more.
        HelixLabError
            If there is no such row.
        """
        batch = self.read_marked(rows)
        if batch.bad:
            raise BadImagesError(self._name, batch.bad)
        return batch.images

    def read_marked(self, rows: Int[np.ndarray, "b"]) -> ImageBatch:
        """As :meth:`read_batch`, with bad images marked instead of refused."""
        rows = np.asarray(rows)
        outside = rows[(rows < 0) | (rows >= len(self))]
        if outside.size:
            raise HelixLabError(f"rows: found {outside[0]}; {self._name} has the rows 0 to {len(self) - 1}.")
        images = np.empty((len(rows), self.box_px, self.box_px), np.float32)
        files = self._stack.image_file[rows]
        for number in np.unique(files):
            places = np.flatnonzero(files == number)
            _read_into(images, places, self._headers[number], self._stack.image_index[rows[places]])
        return ImageBatch(rows, images, self._mark_bad(rows, images))

    def batches(self, batch_size: int, rows: Int[np.ndarray, "k"] | None = None) -> Iterator[ImageBatch]:
        """One batch after the other; the next is read while the caller works on this one, so that two are in memory.

        Parameters
        ----------
        batch_size : int
            Images in each batch but the last, ≥ 1.
        rows : int array, shape (k,), optional
            Default: all rows in order.

        Yields
        ------
        ImageBatch
            Bad images are marked, not refused.
        """
        if batch_size < 1:
            raise HelixLabError(f"batch_size: found {batch_size}; needed at least 1 image.")
        rows = np.arange(len(self)) if rows is None else np.asarray(rows)
        parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        with ThreadPoolExecutor(1, thread_name_prefix="images") as reader:
            ahead = [reader.submit(self.read_marked, part) for part in parts[:1]]
            for part in parts[1:]:
                batch = ahead.pop().result()
                ahead.append(reader.submit(self.read_marked, part))
                yield batch
            if ahead:
                yield ahead.pop().result()

    def find_bad(self, batch_size: int = 64) -> tuple[BadImage, ...]:
        """Every image that cannot be used, by reading all of them once."""
        return tuple(bad for batch in self.batches(batch_size) for bad in batch.bad)

    def _mark_bad(self, rows: np.ndarray, images: np.ndarray) -> tuple[BadImage, ...]:
        flat = images.reshape(len(images), -1)
        low, high = flat.min(axis=1), flat.max(axis=1)  # NaN, if there is one, is both
        is_finite = np.isfinite(low) & np.isfinite(high)
        bad = []
        for place in np.flatnonzero(~is_finite | (low == high)):
            reason = f"every pixel is {low[place]:g}" if is_finite[place] else "holds values that are NaN or infinite"
            bad.append(BadImage(int(rows[place]), self._stack.image_name(int(rows[place])), reason))
            images[place] = 0.0
        return tuple(bad)


@contextlib.contextmanager
def new_image_stack(
    path: str | os.PathLike[str], n_images: int, box_px: int, pixel_size_A: float, *, overwrite: bool = False
) -> Iterator[Float[np.ndarray, "n y x"]]:
    """A stack of images to be filled piece by piece, on disk and not in memory; it appears whole or not at all.

    Parameters
    ----------
    path : path
        Its ending is ``.mrcs``.
    n_images, box_px : int
        Number of images and their edge.
    pixel_size_A : float
        Å, > 0.
    overwrite : bool
        Whether an existing file may be replaced.

    Yields
    ------
    float32 array, shape (n_images, box_px, box_px)
        Mapped to the file, zeros at first.

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false, or its folder is missing.
    """
    shape = (n_images, box_px, box_px)
    with written_whole(path, overwrite=overwrite) as temporary, mrcfile.new_mmap(temporary, shape, mrc_mode=2) as mrc:
        # The header's minimum, maximum and mean stay "not known", for which the standard has values.
        mrc.set_image_stack()
        # In the place of mrcfile's own label, which holds the time: the same images are the same file.
        mrc.header.label[0] = "HelixLab"  # type: ignore[union-attr]
        mrc.voxel_size = pixel_size_A
        yield mrc.data  # type: ignore[misc]


def _read_into(images: np.ndarray, places: np.ndarray, header: MrcHeader, indices: np.ndarray) -> None:
    """Read these images of one file into their places, runs of neighbours at a time."""
    order = np.argsort(indices, kind="stable")
    places, indices = places[order], indices[order]
    height, width = header.file_shape[1:]
    image_bytes = height * width * header.dtype.itemsize
    longest = max(1, _PIECE_BYTES // image_bytes)
    advice = "The file has changed or is damaged; copy or export it again."
    with translated(header.path, advice), header.path.open("rb", buffering=0) as file:
        start = 0
        while start < len(indices):
            stop = start + 1
            while stop < len(indices) and stop - start < longest and indices[stop] == indices[stop - 1] + 1:
                stop += 1
            file.seek(header.data_offset + int(indices[start]) * image_bytes)
            values = np.fromfile(file, header.dtype, (stop - start) * height * width)
            images[places[start:stop]] = values.reshape(stop - start, height, width)
            start = stop
