"""Stacks of particle images: MRC files whose sections are images, read in batches through memory maps."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from helixlab.errors import FileFormatError
from helixlab.io._files import translated
from helixlab.io.maps import read_sections
from helixlab.io.mrc_header import MrcHeader, read_mrc_header

_KIND = "a stack of images (MRC, usually named .mrcs)"
_MAX_PARENTS = 6
"""How far above a table its project folder is looked for: RELION nests Type/job000/…/run_data.star."""


def read_image_stack(
    path: str | os.PathLike[str], indices: Int[np.ndarray, "k"] | None = None
) -> tuple[Float[np.ndarray, "k y x"], float]:
    """Read images of one stack.

    Parameters
    ----------
    path : path
        MRC file, plain or compressed by gzip or bzip2 (a compressed one is read whole).
    indices : integer array, shape (k,), optional
        0-based positions in the stack; all images by default.

    Returns
    -------
    images : float32 array, shape (k, y, x)
    pixel_size_A : float
        By the header, 0 where it says nothing.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged or no MRC file, an index lies outside it, or an image holds NaN.

    Examples
    --------
    >>> read_image_stack("missing.mrcs")
    Traceback (most recent call last):
        ...
    helixlab.errors.FileFormatError: missing.mrcs: there is no such file; ...
    """
    header = read_stack_header(path)
    wanted = np.arange(header.file_shape[0]) if indices is None else np.asarray(indices)
    check_indices(header, wanted)
    return read_images(header, wanted), header.voxel_size_A[0]


def read_stack_header(path: str | os.PathLike[str]) -> MrcHeader:
    """The header of a stack of images, refused where its axes are not x, y and the image number."""
    header = read_mrc_header(path, _KIND)
    if header.axes != (3, 2, 1):
        raise FileFormatError(
            f"{header.path}: found axis order {header.axes[::-1]}; a stack of images has columns x, rows y (1, 2, 3)."
        )
    return header


def check_indices(header: MrcHeader, indices: np.ndarray) -> None:
    """Every index must name an image of the stack."""
    n_images = header.file_shape[0]
    outside = indices[(indices < 0) | (indices >= n_images)]
    if outside.size:
        raise FileFormatError(
            f"{header.path}: the table asks for image {int(outside.max()) + 1} (counted from 1), the stack has "
            f"{n_images}. Stack and table do not belong together, or the stack is incomplete; extract the images again."
        )


def read_images(header: MrcHeader, indices: np.ndarray) -> Float[np.ndarray, "k y x"]:
    """Images of a checked stack as float32, touching no other part of a plain file."""
    with translated(header.path, "The file is damaged; copy or export it again."):
        if header.compression is None:
            stack = np.memmap(header.path, header.dtype, "r", header.data_offset, header.file_shape)
        else:
            stack = read_sections(header)
        images = np.array(stack[indices], np.float32)
    finite = np.isfinite(images).all(axis=(1, 2)) if len(images) else np.ones(0, bool)
    if not finite.all():
        first = int(indices[np.flatnonzero(~finite)[0]])
        raise FileFormatError(
            f"{header.path}: image {first + 1} (counted from 1) holds values that are NaN or infinite; "
            "leave it out of the table or extract it again."
        )
    return images


def locate_image_file(name: str, table: Path | None, images_root: Path | None) -> Path:
    """Where an image file named in a table lies.

    An absolute name is taken as it is. A relative one is looked for under ``images_root`` if given, otherwise
    under the table's folder and the folders above it (RELION and CryoSPARC write names relative to the project).

    Raises
    ------
    FileFormatError
        If it is in none of them.
    """
    relative = Path(name.removeprefix(">"))  # CryoSPARC marks imported files with ">"
    if relative.is_absolute():
        roots = [Path("/")]
    elif images_root is not None:
        roots = [images_root]
    else:
        folder = (table.parent if table else Path()).absolute()
        # Without "..": the folders above "here/../there" are not those above "here".
        roots = [folder, *Path(os.path.abspath(folder)).parents][: _MAX_PARENTS + 1]
    for root in roots:
        if (root / relative).is_file():
            return root / relative
    where = f"{table}: " if table else ""
    raise FileFormatError(
        f"{where}the image file {relative} is not there; looked under {', '.join(str(r) for r in roots)}. "
        "Name the folder that it is relative to with images_root."
    )
