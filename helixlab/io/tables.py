"""Reading and writing particle tables of either program."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.io._files import check_readable, written_whole
from helixlab.io.carry import (
    put_cs_into_star,
    put_star_into_cs,
    reconcile,
    take_cs_from_star,
    take_star_from_cs,
)
from helixlab.io.column_map import PARTICLE_COLUMNS
from helixlab.io.cryosparc import (
    alignment_of,
    cs_bytes,
    cs_from_stack,
    join_passthrough,
    read_cs,
    render_cs,
    stack_from_cs,
)
from helixlab.io.particles import ParticleStack, Source
from helixlab.io.relion import render_star, stack_from_star, star_from_stack
from helixlab.io.star import format_star, read_star

_KIND = "a particle table (STAR or .cs)"
_CS_OPTICS = "blob/psize_A blob/shape ctf/accel_kv ctf/cs_mm ctf/amp_contrast ctf/exp_group_id"
_STAR_OPTICS = (
    "_rlnOpticsGroup _rlnImagePixelSize _rlnImageSize _rlnVoltage _rlnSphericalAberration _rlnAmplitudeContrast"
)


def read_particles(
    path: str | os.PathLike[str],
    *,
    images_root: str | os.PathLike[str] | None = None,
    passthrough: Sequence[str | os.PathLike[str]] = (),
) -> ParticleStack:
    """Read particles or filament segments from RELION (STAR) or CryoSPARC (``.cs``).

    Parameters
    ----------
    path : path
        STAR file of RELION 3.0 or since 3.1 (plain, or compressed by gzip or bzip2), or ``.cs``.
    images_root : path, optional
        The folder that image names are relative to: RELION's or CryoSPARC's project. By default the table's folder
        and those above it.
    passthrough : paths
        CryoSPARC's passthrough files of the same job, joined by ``uid``.

    Returns
    -------
    ParticleStack
        No image is read; :meth:`ParticleStack.check_images` checks them all before long work.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, empty, pickled, or lacks a needed column; the message names it.

    Notes
    -----
    Which column becomes what is stated in :mod:`helixlab.io.column_map`. Columns unknown to HelixLab are kept word
    for word, and written again by :func:`write_particles`.

    Examples
    --------
    >>> import tempfile
    >>> from helixlab.io import new_particle_stack
    >>> folder = tempfile.TemporaryDirectory()
    >>> write_particles(f"{folder.name}/a.star", new_particle_stack(["a.mrcs"], [0, 0], [0, 1], 1.5, 64))
    >>> stack = read_particles(f"{folder.name}/a.star")
    >>> len(stack), float(stack.pixel_size_A[0]), stack.image_name(0)
    (2, 1.5, '000001@a.mrcs')
    >>> folder.cleanup()
    """
    table_path = check_readable(path, _KIND)
    root = None if images_root is None else Path(images_root)
    if root is not None and not root.is_dir():
        raise HelixLabError(f"images_root: {root} is no folder; give the folder that image names are relative to.")
    try:
        if table_path.suffix.lower() == ".cs" or _is_numpy(table_path):
            files = tuple(Path(p) for p in passthrough)
            stack = _read_cs(table_path, root, files)
            return stack.replace(source=dataclasses.replace(stack.source, passthrough=files))
        if passthrough:
            raise FileFormatError(
                f"{table_path}: passthrough files belong to .cs tables; this is a STAR file. Leave them out."
            )
        return _read_star(table_path, root)
    except FileFormatError:
        raise
    except HelixLabError as err:
        raise FileFormatError(f"{table_path}: {err}") from err


def write_particles(
    path: str | os.PathLike[str], stack: ParticleStack, *, overwrite: bool = False, carry_foreign: bool = True
) -> None:
    """Write particles as STAR or ``.cs``, by the ending of the name, whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.star`` or ``.cs``.
    stack : ParticleStack
    overwrite : bool
        Whether an existing file may be replaced.
    carry_foreign : bool
        Whether columns of the other program, which this format has no place for, go along as text, so that nothing
        is lost on the way back. Off, the file has only what its program knows.

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false, the folder is missing, or the ending is unknown.

    Notes
    -----
    A table goes back into its own format word for word, save for what was changed. RELION 3.0 files stay so.

    Examples
    --------
    >>> from helixlab.io import new_particle_stack
    >>> write_particles("particles.csv", new_particle_stack(["a.mrcs"], [0], [0], 1.5, 64))
    Traceback (most recent call last):
        ...
    helixlab.errors.HelixLabError: particles.csv: ...
    """
    target = Path(path)
    if target.suffix.lower() not in (".star", ".cs"):
        raise HelixLabError(f"{target}: the ending says no format; particles are written as .star or .cs.")
    content = _star_bytes(stack, carry_foreign) if target.suffix.lower() == ".star" else _cs_bytes(stack, carry_foreign)
    with written_whole(target, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


def _star_bytes(stack: ParticleStack, carry_foreign: bool) -> bytes:
    star = star_from_stack(stack)
    if carry_foreign and stack.source.cs is not None:
        star = put_cs_into_star(star, _block_name(stack), cs_from_stack(stack))
    return format_star(star)


def _cs_bytes(stack: ParticleStack, carry_foreign: bool) -> bytes:
    rows = cs_from_stack(stack)
    if carry_foreign and stack.source.star is not None:
        columns = {name: rows[name] for name in rows.dtype.names or ()}
        rows = put_star_into_cs(columns, star_from_stack(stack), _block_name(stack))
    return cs_bytes(rows)


def _block_name(stack: ParticleStack) -> str:
    return stack.source.star_block if stack.source.star is not None else "particles"


def _is_numpy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == b"\x93NUMPY"


def _read_star(path: Path, root: Path | None) -> ParticleStack:
    star, rows = take_cs_from_star(path, read_star(path))
    own = stack_from_star(path, star, root)
    if rows is None:
        return own
    carried = stack_from_cs(path, rows, root)
    is_legacy = star.block("optics") is None
    keys: dict[str, str | None] = {c.name: c.label(is_legacy) for c in PARTICLE_COLUMNS}
    keys |= {
        "image": "_rlnImageName",
        "optics": _STAR_OPTICS,
        "micrograph": "_rlnMicrographName",
        "filament_id": "_rlnHelicalTubeID",
    }
    texts = [
        rows | _per_row(stack, groups) for stack in (own, carried) for rows, groups in [render_star(stack, is_legacy)]
    ]
    merged = reconcile(own, carried, texts[0], texts[1], keys)
    return merged.replace(source=Source(path, root, star, own.source.star_block, rows))


def _per_row(stack: ParticleStack, groups: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {label: text[stack.optics_group] for label, text in groups.items()}


def _read_cs(path: Path, root: Path | None, passthrough: Sequence[Path]) -> ParticleStack:
    rows = read_cs(path)
    if passthrough and len(rows):
        rows = join_passthrough(path, rows, passthrough)
    rows, star, block_name = take_star_from_cs(path, rows)
    own = stack_from_cs(path, rows, root)
    if star is None:
        return own
    carried = stack_from_star(path, star, root)
    alignment = alignment_of(rows.dtype.names or ())
    keys = {c.name: None if c.cs is None else c.cs.format(a=alignment) for c in PARTICLE_COLUMNS}
    keys |= {
        "image": "blob/path blob/idx",
        "optics": _CS_OPTICS,
        "micrograph": "location/micrograph_path",
        "filament_id": "filament/filament_uid",
    }
    own_columns = {name: rows[name] for name in rows.dtype.names or ()}
    merged = reconcile(own, carried, own_columns, render_cs(carried), keys)
    return merged.replace(source=Source(path, root, star, block_name, rows))
