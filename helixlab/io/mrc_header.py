"""What an MRC header says, read once for maps and image stacks, and checked against the size of the file.

Format: Cheng et al. (2015) J. Struct. Biol. 192, 146, doi:10.1016/j.jsb.2015.04.002. Headers found in practice are
imperfect (no machine stamp, no ``MAP``, version 0), so only what would make the densities wrong is refused.
"""

import io
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import mrcfile.utils
import numpy as np
from mrcfile.mrcinterpreter import MrcInterpreter

from helixlab.errors import FileFormatError
from helixlab.io._files import (
    check_readable,
    compression_of,
    implied_size_is_possible,
    open_stream,
    read_at_most,
    translated,
)

_HEADER_BYTES = 1024
_IMOD_STAMP = 1146047817
"""IMOD marks its headers with this number; without bit 0 in the next word its mode 0 is unsigned."""

_ISOTROPY_TOLERANCE = 1e-3
"""Relative difference of voxel edges that counts as rounding of the cell: 0.2 voxel over a box of 200."""

_COMPLEX_MODES = (3, 4)


@dataclass(frozen=True)
class MrcHeader:
    """The parts of an MRC header that say what the densities are.

    Parameters
    ----------
    path : Path
    compression : str or None
        "gzip", "bzip2" or None.
    mode : int
        The MRC mode: 0, 1, 2, 6 or 12.
    dtype : numpy dtype
        Of one voxel in the file, with its byte order.
    file_shape : tuple of int
        Sections, rows, columns: the order in the file.
    axes : tuple of int
        The axes (1 x, 2 y, 3 z) of sections, rows, columns; (3, 2, 1) in almost every file.
    voxel_size_A : tuple of float
        Along x, y, z; zero where the header gives none.
    cell_angles_deg : tuple of float
        Of the unit cell; 90° each for anything but a crystal.
    origin_A : tuple of float
        Position (x, y, z) of the first voxel by the header's ORIGIN words.
    start : tuple of int
        Index (x, y, z) of the first voxel by NXSTART, NYSTART, NZSTART.
    space_group : int
        0 for stacks of images, 1 for maps (and 401 for stacks of maps), by the standard.
    n_intervals_z : int
        MZ: by the standard 1 in a stack of images.
    data_offset : int
        Where the densities start, bytes.
    notes : tuple of str
        What is imperfect about the header but can be lived with.
    """

    path: Path
    compression: str | None
    mode: int
    dtype: np.dtype
    file_shape: tuple[int, int, int]
    axes: tuple[int, int, int]
    voxel_size_A: tuple[float, float, float]
    cell_angles_deg: tuple[float, float, float]
    origin_A: tuple[float, float, float]
    start: tuple[int, int, int]
    space_group: int
    n_intervals_z: int
    data_offset: int
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along z, y, x."""
        nz, ny, nx = (self.file_shape[self.axes.index(axis)] for axis in (3, 2, 1))
        return nz, ny, nx

    @property
    def data_bytes(self) -> int:
        """Size of the densities in the file."""
        return math.prod(self.file_shape) * self.dtype.itemsize

    @property
    def is_isotropic(self) -> bool:
        """Whether the voxel is a cube, up to rounding of the cell's edges."""
        sizes, right = self.voxel_size_A, (90.0, 90.0, 90.0)
        square = all(abs(a - b) < 0.05 for a, b in zip(self.cell_angles_deg, right, strict=True))
        return square and max(sizes) - min(sizes) <= _ISOTROPY_TOLERANCE * max(sizes)

    @property
    def is_image_stack(self) -> bool:
        """Whether the file says that its sections are separate images, by its name or its header."""
        stem = self.path.name.lower().removesuffix(".gz").removesuffix(".bz2")
        n_sections = self.file_shape[0]
        return stem.endswith(".mrcs") or (self.space_group == 0 and self.n_intervals_z == 1 and n_sections > 1)


def read_mrc_header(path: str | os.PathLike[str], kind: str = "a map (MRC, MAP or CCP4)") -> MrcHeader:
    """Read and check a header without reading, or allocating, the densities.

    Parameters
    ----------
    path : path
        MRC file, plain or compressed by gzip or bzip2.
    kind : str
        What the caller expects, for messages.

    Returns
    -------
    MrcHeader

    Raises
    ------
    FileFormatError
        If there is no such file, it is no MRC file, it is shorter or longer than its header says, its sizes are
        impossible, or its mode is complex or unknown.
    """
    path = check_readable(path, kind)
    with translated(path, f"The file is damaged or is not {kind}; copy or export it again."):
        compression = compression_of(path)
        with open_stream(path, compression) as stream:
            raw = bytes(read_at_most(stream, _HEADER_BYTES))
        if len(raw) < _HEADER_BYTES:
            raise FileFormatError(
                f"{path}: found {len(raw)} bytes; needed {kind}, whose header alone has {_HEADER_BYTES}. "
                "The file is truncated or is something else; copy or export it again."
            )
        header, notes = _interpret(raw)
        return _checked(path, compression, header, notes, kind)


def _interpret(raw: bytes) -> tuple[np.recarray, tuple[str, ...]]:
    """The header as mrcfile understands it, with the byte order found, and mrcfile's remarks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Zeroed NSYMBT: mrcfile would otherwise ask for an extended header, which the caller skips by itself.
        interpreter = MrcInterpreter(
            iostream=io.BytesIO(_without_extended_header(raw)), permissive=True, header_only=True
        )
        byte_order = interpreter.header.dtype  # type: ignore[union-attr]
    notes = tuple(str(w.message) for w in caught)
    fields = np.frombuffer(raw, dtype=byte_order).reshape(()).view(np.recarray)
    return fields, notes


def _without_extended_header(raw: bytes) -> bytes:
    return raw[:92] + b"\0\0\0\0" + raw[96:]


def _checked(path: Path, compression: str | None, header: np.recarray, notes: tuple[str, ...], kind: str) -> MrcHeader:
    mode = int(header.mode)
    has_map_id = bytes(header["map"])[:3] == b"MAP"
    if mode in _COMPLEX_MODES:
        raise FileFormatError(
            f"{path}: found mode {mode}, a complex transform; needed densities in real space. "
            "Transform it back with the program that wrote it."
        )
    file_shape = (int(header.nz), int(header.ny), int(header.nx))
    try:
        dtype = _voxel_dtype(mode, header)
    except ValueError:
        dtype = None
    if dtype is None or min(file_shape) <= 0:
        what = f"mode {mode} and size {file_shape[2]} × {file_shape[1]} × {file_shape[0]}"
        raise FileFormatError(
            f"{path}: found a header with {what}{'' if has_map_id else ' and without the word MAP'}; needed {kind} of "
            "mode 0, 1, 2, 6 or 12 with positive sizes. The header is damaged or this is another format."
        )
    axes, axis_note = _axes(path, header)
    offset = _HEADER_BYTES + int(header.nsymbt)
    found = MrcHeader(
        path=path,
        compression=compression,
        mode=mode,
        dtype=dtype,
        file_shape=file_shape,
        axes=axes,
        voxel_size_A=_voxel_size(header),
        cell_angles_deg=_cell_angles(header),
        origin_A=_finite3(header.origin),
        start=_start(header, axes),
        space_group=int(header.ispg),
        n_intervals_z=int(header.mz),
        data_offset=offset,
        notes=notes + axis_note,
    )
    if offset < _HEADER_BYTES:
        raise FileFormatError(f"{path}: found an extended header of {int(header.nsymbt)} bytes; the header is damaged.")
    _check_size(found, kind)
    return found


def _voxel_dtype(mode: int, header: np.recarray) -> np.dtype:
    words = np.frombuffer(header.tobytes(), dtype=header.mode.dtype)
    if mode == 0 and words[38] == _IMOD_STAMP and not words[39] & 1:
        return np.dtype(np.uint8)
    return np.dtype(mrcfile.utils.dtype_from_mode(mode)).newbyteorder(header.mode.dtype.byteorder)


def _axes(path: Path, header: np.recarray) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    axes = (int(header.maps), int(header.mapr), int(header.mapc))
    if axes == (0, 0, 0):
        return (3, 2, 1), ("MAPC, MAPR and MAPS are 0: taken as x, y, z",)
    if sorted(axes) != [1, 2, 3]:
        raise FileFormatError(
            f"{path}: found axis order MAPC, MAPR, MAPS = {axes[2]}, {axes[1]}, {axes[0]}; needed 1, 2, 3 in some "
            "order. The header is damaged; export the map again."
        )
    return axes, ()


def _voxel_size(header: np.recarray) -> tuple[float, float, float]:
    """Å along x, y, z: cell edge over number of intervals; 0 where either says nothing."""
    sizes = []
    for edge, intervals in zip(header.cella.item(), (header.mx, header.my, header.mz), strict=True):
        edge, intervals = float(edge), int(intervals)
        size = edge / intervals if intervals > 0 and math.isfinite(edge) and edge > 0 else 0.0
        # The edge is a float32: digits past the seventh are its rounding.
        sizes.append(float(f"{size:.7g}"))
    return sizes[0], sizes[1], sizes[2]


def _cell_angles(header: np.recarray) -> tuple[float, float, float]:
    angles = [float(angle) for angle in header.cellb.item()]
    # Old programs leave the angles empty: that is no crystal.
    a, b, c = angles if all(math.isfinite(x) and x > 0 for x in angles) else (90.0, 90.0, 90.0)
    return a, b, c


def _finite3(record: np.recarray) -> tuple[float, float, float]:
    x, y, z = (float(v) if math.isfinite(float(v)) else 0.0 for v in record.item())
    return x, y, z


def _start(header: np.recarray, axes: tuple[int, int, int]) -> tuple[int, int, int]:
    """NXSTART, NYSTART, NZSTART count columns, rows, sections: put into the order x, y, z."""
    in_file = (int(header.nzstart), int(header.nystart), int(header.nxstart))
    x, y, z = (in_file[axes.index(axis)] for axis in (1, 2, 3))
    return x, y, z


def _check_size(header: MrcHeader, kind: str) -> None:
    """The file must hold exactly what its header says; told from its size, or for compressed files from a bound."""
    needed = header.data_offset + header.data_bytes
    size = header.path.stat().st_size
    described = f"{' × '.join(str(n) for n in header.file_shape[::-1])} voxels of {header.dtype.itemsize} bytes"
    if header.compression is None and size > needed:
        raise FileFormatError(
            f"{header.path}: found {size} bytes; the header describes {described}, {needed} bytes in all. The "
            f"{size - needed} bytes too many mean a wrong header or something appended; export it again as {kind}."
        )
    if not implied_size_is_possible(header.path, header.compression, needed):
        raise FileFormatError(
            f"{header.path}: found {size} bytes; the header describes {described}, {needed} bytes in all. "
            "The file is truncated or its header is damaged; copy or export it again."
        )
