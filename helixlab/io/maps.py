"""Maps: MRC, MAP and CCP4 files, plain or compressed, as :class:`helixlab.geometry.Volume`."""

import math
import os
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import mrcfile
import numpy as np

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.geometry import Volume
from helixlab.io._files import open_stream, read_at_most, translated, written_whole
from helixlab.io.mrc_header import MrcHeader, read_mrc_header

VolumeDtype = Literal["float32", "float16", "int8", "int16", "uint16"]

_ADVICE = "The file is damaged; copy or export it again."
_SUFFIXES = (".mrc", ".map", ".ccp4")
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2"}


def read_volume(path: str | os.PathLike[str], *, pixel_size_A: float | None = None) -> Volume:
    """Read a map, with its axes in the order z, y, x.

    Parameters
    ----------
    path : path
        MRC, MAP or CCP4 file of mode 0, 1, 2, 6 or 12, plain or compressed by gzip or bzip2.
    pixel_size_A : float, optional
        Edge of the voxel in Å, > 0, in place of the header's. Needed where the header gives none, or gives a voxel
        that is no cube.

    Returns
    -------
    Volume
        Float32 densities; ``origin_A`` from the header's ORIGIN words or, where these are zero, from
        NXSTART, NYSTART, NZSTART.

    Raises
    ------
    FileFormatError
        If the file is missing, truncated, longer than its header says, a stack of images, no MRC file, holds NaN or
        complex values, or if its voxel size is zero or differs between the axes and ``pixel_size_A`` is not given.

    Notes
    -----
    The axis order of the header (MAPC, MAPR, MAPS) is undone for the densities, the voxel size and the origin.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> write_volume(f"{folder.name}/map.mrc", Volume(np.zeros((4, 6, 6), np.float32), 1.06))
    >>> volume = read_volume(f"{folder.name}/map.mrc")
    >>> volume.shape, volume.pixel_size_A
    ((4, 6, 6), 1.06)
    >>> folder.cleanup()
    """
    if pixel_size_A is not None and not (math.isfinite(pixel_size_A) and pixel_size_A > 0):
        raise HelixLabError(f"pixel_size_A: found {pixel_size_A}; it must be a positive number of Å per voxel.")
    header = read_mrc_header(path)
    _check_is_volume(header)
    pixel_A = _pixel_size(header) if pixel_size_A is None else float(pixel_size_A)
    data = read_sections(header)
    order = [header.axes.index(axis) for axis in (3, 2, 1)]
    data = np.ascontiguousarray(data.transpose(order), np.float32)
    try:
        return Volume(data, pixel_A, _origin(header, pixel_A))
    except HelixLabError as err:
        raise FileFormatError(f"{header.path}: {err}") from err


def write_volume(
    path: str | os.PathLike[str], volume: Volume, *, overwrite: bool = False, dtype: VolumeDtype = "float32"
) -> None:
    """Write a map as an MRC file, whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.mrc``, ``.map`` or ``.ccp4``, and in ``.gz`` or ``.bz2`` after that to compress.
    volume : Volume
    overwrite : bool
        Whether an existing file may be replaced.
    dtype : str
        "float32" (mode 2), "float16" (12), "int8" (0), "int16" (1) or "uint16" (6). The integers round the
        densities and scale nothing.

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false, the name or the type is unknown, the folder is missing,
        or a density does not fit into the type.

    Examples
    --------
    >>> write_volume("map.tif", Volume(np.zeros((4, 4, 4), np.float32), 1.0))
    Traceback (most recent call last):
        ...
    helixlab.errors.HelixLabError: map.tif: ...
    """
    target = Path(path)
    compression = _COMPRESSIONS.get(target.suffix.lower())
    stem = target.with_suffix("") if compression else target
    if stem.suffix.lower() not in _SUFFIXES:
        raise HelixLabError(f"{target}: a map's name ends in .mrc, .map or .ccp4, with .gz or .bz2 to compress it.")
    data = _converted(volume.data, dtype)
    with written_whole(target, overwrite=overwrite) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mrcfile's remarks on what is being written
        with mrcfile.new(temporary, compression=compression) as mrc:
            mrc.set_data(data)
            mrc.voxel_size = volume.pixel_size_A
            mrc.set_volume()
            header: Any = mrc.header
            header.origin = volume.origin_A
            header.label[0] = f"HelixLab {_version()}".encode().ljust(80)[:80]
            header.nlabl = 1


def read_sections(header: MrcHeader) -> np.ndarray:
    """All densities of a checked file as it stores them: sections, rows, columns, in the file's own type."""
    if header.compression is None:
        with translated(header.path, _ADVICE):
            return np.fromfile(
                header.path, header.dtype, math.prod(header.file_shape), offset=header.data_offset
            ).reshape(header.file_shape)
    with translated(header.path, _ADVICE), open_stream(header.path, header.compression) as stream:
        read_at_most(stream, header.data_offset)
        raw = read_at_most(stream, header.data_bytes)
        rest = stream.read(1)
    if len(raw) < header.data_bytes or rest:
        found = f"{len(raw)} bytes" if len(raw) < header.data_bytes else "more bytes than that"
        raise FileFormatError(
            f"{header.path}: found {found} of densities after decompression; the header describes "
            f"{header.data_bytes}. The file is truncated or its header is damaged; copy or export it again."
        )
    return np.frombuffer(raw, header.dtype).reshape(header.file_shape)


def _check_is_volume(header: MrcHeader) -> None:
    n_sections, ny, nx = header.file_shape
    if header.is_image_stack:
        raise FileFormatError(
            f"{header.path}: found a stack of {n_sections} images of {nx} × {ny} pixels; needed a map. "
            "Segments are read by their STAR or .cs file (in Python read_image_stack reads images)."
        )
    if header.space_group >= 401:
        raise FileFormatError(
            f"{header.path}: found a stack of maps (space group {header.space_group}); needed one map. "
            "Write the map you need to a file of its own."
        )
    if n_sections == 1:
        raise FileFormatError(f"{header.path}: found one image of {nx} × {ny} pixels; needed a map with three axes.")


def _pixel_size(header: MrcHeader) -> float:
    sizes = header.voxel_size_A
    if min(sizes) <= 0:
        raise FileFormatError(
            f"{header.path}: the header's voxel size is {_times(sizes) if max(sizes) > 0 else 0}; "
            "correct it or pass it, e.g. read_volume(path, pixel_size_A=1.06)."
        )
    if not header.is_isotropic:
        angles = header.cell_angles_deg
        cell = "" if angles == (90.0, 90.0, 90.0) else f" in a cell with angles {_times(angles)}°"
        raise FileFormatError(
            f"{header.path}: found a voxel of {_times(sizes)} Å{cell}; a helical map needs cubic voxels. Resample the "
            "map, or if the header is wrong correct it or pass the size, e.g. read_volume(path, pixel_size_A=1.06)."
        )
    return float(f"{sum(sizes) / 3:.7g}")


def _origin(header: MrcHeader, pixel_A: float) -> tuple[float, float, float]:
    if any(header.origin_A):
        return header.origin_A
    x, y, z = (n * pixel_A for n in header.start)
    return x, y, z


def _times(values: tuple[float, ...]) -> str:
    return " × ".join(f"{value:.5g}" for value in values)


def _converted(data: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "float32":
        return np.array(data, np.float32)
    if dtype not in ("float16", "int8", "int16", "uint16"):
        raise HelixLabError(f"dtype: found {dtype!r}; a map is written as float32, float16, int8, int16 or uint16.")
    limits = np.finfo(dtype) if dtype == "float16" else np.iinfo(dtype)
    rounded = data if dtype == "float16" else np.rint(data)
    low, high = float(rounded.min()), float(rounded.max())
    if low < limits.min or high > limits.max:
        raise HelixLabError(
            f"dtype: densities from {low:.6g} to {high:.6g} do not fit into {dtype} ({limits.min} to {limits.max}); "
            "scale the map first or write float32."
        )
    return rounded.astype(dtype)


def _version() -> str:
    try:
        return version("helixlab")
    except PackageNotFoundError:
        return "(not installed)"
