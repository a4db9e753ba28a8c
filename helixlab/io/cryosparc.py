"""CryoSPARC's tables (``.cs``) to and from :class:`ParticleStack`, following :mod:`column_map`.

A ``.cs`` file is a numpy file of one structured array. It is read as such and in no other way: never unpickled.
"""

import hashlib
import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format
from numpy.lib import recfunctions

from helixlab.errors import FileFormatError
from helixlab.geometry.pose import cryosparc_to_relion_pose, relion_to_cryosparc_pose
from helixlab.io._files import check_readable, translated
from helixlab.io.column_map import GROUP_COLUMNS, PARTICLE_COLUMNS
from helixlab.io.particles import OpticsGroups, ParticleStack, Source
from helixlab.io.relion import number_by_appearance, tube_numbers

_KIND = "a CryoSPARC table (.cs)"
_MAX_HEADER_BYTES = 1 << 20
_F4 = np.dtype("<f4")


def read_cs(path: Path) -> np.ndarray:
    """The structured array of a ``.cs`` file, checked before anything is allocated.

    Raises
    ------
    FileFormatError
        If the file is missing, truncated, longer than its header says, pickled, holds Python objects, is no table, or
        holds text that is not UTF-8.
    """
    path = check_readable(path, _KIND)
    advice = "The file is damaged; export it again from CryoSPARC."
    with translated(path, advice), path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        magic = file.read(6)
        if magic != npy_format.MAGIC_PREFIX:
            raise FileFormatError(
                f"{path}: found a file that starts with {magic!r}; needed {_KIND}, a numpy file. Pickled files are "
                "never opened, since they can run code; export the particles again from CryoSPARC."
            )
        file.seek(0)
        version = npy_format.read_magic(file)
        readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
        # Version 3 differs from 2 in the encoding of the field names only.
        reader = readers.get(version, npy_format.read_array_header_2_0)
        shape, _, dtype = reader(file, max_header_size=_MAX_HEADER_BYTES)
        _check_dtype(path, dtype, shape)
        start, size = file.tell(), path.stat().st_size
        needed = start + shape[0] * dtype.itemsize
        if size != needed:
            raise FileFormatError(
                f"{path}: found {size} bytes; the header describes {shape[0]} rows of {dtype.itemsize} bytes, "
                f"{needed} bytes in all. The file is {'truncated' if size < needed else 'damaged'}; copy or export it "
                "again."
            )
        rows = np.fromfile(file, dtype, shape[0])
    _check_text(path, rows)
    return rows


def _check_dtype(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    if dtype.hasobject:
        raise FileFormatError(
            f"{path}: found columns of Python objects (pickled); these are never opened, since they can run code. "
            "Export the table again from CryoSPARC."
        )
    if dtype.names is None or len(shape) != 1 or shape[0] < 0:
        raise FileFormatError(
            f"{path}: found an array of {dtype} with shape {shape}; needed {_KIND}: rows with named fields."
        )
    for name in dtype.names:
        if dtype[name].base.kind not in "buifcSU":
            raise FileFormatError(f"{path}: column {name} is of type {dtype[name]}; needed numbers or text.")


def _check_text(path: Path, rows: np.ndarray) -> None:
    for name in rows.dtype.names or ():
        if rows.dtype[name].base.kind != "S":
            continue
        with translated(path, f"The text in column {name} is not UTF-8; the file is damaged, export it again."):
            for value in np.unique(rows[name]).tolist():
                value.decode("utf-8")


def join_passthrough(path: Path, rows: np.ndarray, others: Iterable[Path]) -> np.ndarray:
    """The table with the further columns of passthrough files, joined on ``uid``.

    Raises
    ------
    FileFormatError
        If a passthrough file has no ``uid``, or lacks some of the particles.
    """
    for other in others:
        extra = read_cs(other)
        _check_uid(other, extra)
        order = np.argsort(extra["uid"])
        place = order[np.minimum(np.searchsorted(extra["uid"], rows["uid"], sorter=order), max(len(order) - 1, 0))]
        missing = int(np.count_nonzero(extra["uid"][place] != rows["uid"]))
        if missing:
            raise FileFormatError(
                f"{other}: {missing} of the {len(rows)} particles of {path} are not in it (by uid); "
                "give the passthrough file of the same job."
            )
        names = [n for n in extra.dtype.names or () if n not in (rows.dtype.names or ())]
        rows = with_columns(rows, {name: extra[name][place] for name in names})
    return rows


def with_columns(rows: np.ndarray, columns: dict[str, np.ndarray]) -> np.ndarray:
    """The table with columns replaced in place or appended."""
    parts = {name: rows[name] for name in rows.dtype.names or ()} | columns
    return table(parts)


def table(columns: dict[str, np.ndarray]) -> np.ndarray:
    """A structured array of these columns, packed."""
    dtype = np.dtype([(name, values.dtype, values.shape[1:]) for name, values in columns.items()])
    rows = np.zeros(len(next(iter(columns.values()))), dtype)
    for name, values in columns.items():
        rows[name] = values
    return rows


def stack_from_cs(path: Path | None, rows: np.ndarray, images_root: Path | None) -> ParticleStack:
    """The particles of a CryoSPARC table.

    Raises
    ------
    FileFormatError
        If there are no rows, or ``uid``, the image or the pixel size is missing.
    """
    names = rows.dtype.names or ()
    _check_uid(path, rows)
    if len(rows) == 0:
        raise FileFormatError(
            f"{path}: found an empty table (0 rows, {len(names)} columns); needed at least one particle."
        )
    for needed in ("blob/path", "blob/idx", "blob/psize_A"):
        if needed not in names:
            raise FileFormatError(
                f"{path}: the column {needed} is missing. If this is a passthrough file, give the job's own table, and "
                "this one with --passthrough (in Python passthrough=[...])."
            )
    unique, file_of = np.unique(_bytes(rows["blob/path"]), return_inverse=True)
    optics, group = _optics(path, rows)
    fields = _fields(path, rows, optics.pixel_size_A[group])
    micrographs, micrograph = (), None
    for name in ("location/micrograph_path", "micrograph_blob/path"):
        if name in names and micrograph is None:
            found, micrograph = np.unique(_bytes(rows[name]), return_inverse=True)
            micrographs = tuple(m.decode() for m in found.tolist())
    if "filament/filament_uid" in names:
        fields["filament_id"] = number_by_appearance(rows["filament/filament_uid"])
    return ParticleStack(
        tuple(name.decode() for name in unique.tolist()),
        file_of.astype(np.int64),
        rows["blob/idx"].astype(np.int64),
        optics,
        group,
        micrographs,
        micrograph,
        **fields,  # type: ignore[arg-type]
        source=Source(path, images_root, None, "particles", rows),
    )


def cs_from_stack(stack: ParticleStack) -> np.ndarray:
    """The stack as a CryoSPARC table: the one it came from with what changed, or a new one."""
    raw = stack.source.cs
    now = render_cs(stack)
    if raw is None:
        return table(now)
    then = render_cs(stack_from_cs(stack.source.path, raw, None))
    columns: dict[str, np.ndarray] = {}
    for name in raw.dtype.names or ():
        if name in then and name not in now:
            continue
        columns[name] = raw[name]
        if name in now and name != "uid" and not (name in then and np.array_equal(now[name], then[name])):
            columns[name] = _replace(raw[name], now[name], then.get(name))
    added = {n: v for n, v in now.items() if n not in columns and not (n in then and np.array_equal(v, then[n]))}
    return table(columns | added)


def _replace(raw: np.ndarray, now: np.ndarray, then: np.ndarray | None) -> np.ndarray:
    """Rows whose known value changed get the new one. Numbers of filaments change together."""
    if then is None or now.dtype == np.uint64:
        return now
    if now.dtype.kind == "S":
        return np.where(now == then, raw, now)
    same = now == then
    return np.where(same.all(axis=-1, keepdims=True) if same.ndim > 1 else same, raw, now.astype(raw.dtype))


def render_cs(stack: ParticleStack) -> dict[str, np.ndarray]:
    """The known columns in CryoSPARC's fields, units and types."""
    pixel_A = stack.pixel_size_A
    n = len(stack)
    files = np.array([f.encode() for f in stack.image_files])
    out: dict[str, np.ndarray] = {
        "uid": _identifiers(stack),
        "blob/path": files[stack.image_file],
        "blob/idx": stack.image_index.astype("<u4"),
    }
    if stack.optics.box_size_px.all():
        out["blob/shape"] = np.repeat(stack.optics.box_size_px[stack.optics_group][:, None], 2, axis=1).astype("<u4")
    out["blob/psize_A"] = pixel_A.astype(_F4)
    for column in GROUP_COLUMNS:
        values = getattr(stack.optics, column.name)
        if values is not None and column.cs:
            out[column.cs] = values[stack.optics_group].astype(_F4)
    if any(name.startswith("ctf/") for name in out):
        out["ctf/exp_group_id"] = stack.optics.number[stack.optics_group].astype("<u4")
    if stack.micrograph is not None:
        names = np.array([m.encode() for m in stack.micrograph_names])
        out["location/micrograph_path"] = names[stack.micrograph]
    if stack.filament_id is not None:
        out["filament/filament_uid"] = _filament_identifiers(stack)
    out |= _render_alignment(stack, pixel_A)
    shape = (
        None
        if stack.source.cs is None or not _has_shape(stack.source.cs)
        else stack.source.cs["location/micrograph_shape"]
    )
    for column in PARTICLE_COLUMNS:
        values = getattr(stack, column.name)
        if values is None or column.cs is None or column.rule in ("pose", "shift") or "{a}" in column.cs:
            continue
        if column.rule == "coordinate":
            if shape is not None and len(shape) == n:
                out[column.cs] = (values / shape[:, 1 if column.name == "coordinate_x_px" else 0]).astype(_F4)
            continue
        out[column.cs] = ((values - column.offset) / column.scale).astype(_F4)
    return out


# --- reading ------------------------------------------------------------------------------------


def _check_uid(path: Path | None, rows: np.ndarray) -> None:
    if "uid" not in (rows.dtype.names or ()):
        found = ", ".join((rows.dtype.names or ())[:6])
        raise FileFormatError(f"{path}: the column uid is missing, by which CryoSPARC names its rows; found {found}, …")
    if rows.dtype["uid"].kind not in "ui" or rows["uid"].ndim != 1:
        raise FileFormatError(f"{path}: the column uid is of type {rows.dtype['uid']}; needed whole numbers.")
    if len(np.unique(rows["uid"])) < len(rows):
        raise FileFormatError(f"{path}: found one uid twice; each particle needs its own. Remove the duplicate rows.")


def _bytes(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind == "S" else np.strings.encode(values.astype("U"), "utf-8")


def _number(path: Path | None, rows: np.ndarray, name: str, width: int = 1) -> np.ndarray:
    """A column as float64, finite, of the expected width."""
    values = rows[name]
    if values.dtype.kind not in "uif" or values.shape[1:] != (() if width == 1 else (width,)):
        raise FileFormatError(
            f"{path}: column {name} is of type {rows.dtype[name]}; needed one number per row"
            f"{'' if width == 1 else f' and {width} components'}."
        )
    values = values.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if bad.size:
        raise FileFormatError(f"{path}: row {int(bad[0]) + 1}, column {name}: found a value that is NaN or infinite.")
    return values


def _optics(path: Path | None, rows: np.ndarray) -> tuple[OpticsGroups, np.ndarray]:
    """CryoSPARC repeats the optics in every row: the groups are the distinct rows."""
    names = rows.dtype.names or ()
    pixel_A = _number(path, rows, "blob/psize_A")
    if not (pixel_A > 0).all():
        raise FileFormatError(f"{path}: found a pixel size of {pixel_A.min()} Å in blob/psize_A; it must be > 0.")
    zero = np.zeros(len(rows))
    experiment = _number(path, rows, "ctf/exp_group_id") if "ctf/exp_group_id" in names else zero
    box = _number(path, rows, "blob/shape", 2)[:, 0] if "blob/shape" in names else zero
    known = {c.name: _number(path, rows, c.cs) for c in GROUP_COLUMNS if c.cs in names and c.cs}
    distinct, group = np.unique(np.stack([experiment, box, pixel_A, *known.values()], 1), axis=0, return_inverse=True)
    numbers = distinct[:, 0].astype(np.int64)
    if len(np.unique(numbers)) < len(numbers) or numbers.min() < 1:
        numbers = np.arange(1, len(distinct) + 1)  # RELION's groups count from 1, one set of optics each
    values = dict(zip(known, distinct.T[3:].copy(), strict=True))
    optics = OpticsGroups(
        numbers,
        tuple(f"opticsGroup{n}" for n in numbers),
        distinct[:, 2].copy(),
        distinct[:, 1].astype(np.int64),
        **values,  # type: ignore[arg-type]
    )
    return optics, group.reshape(-1)


def alignment_of(names: Iterable[str]) -> str:
    """Which alignment counts: the 3D one where there is one."""
    return "alignments2D" if "alignments3D/pose" not in names and "alignments2D/pose" in names else "alignments3D"


def _has_shape(rows: np.ndarray) -> bool:
    names = rows.dtype.names or ()
    return "location/micrograph_shape" in names and rows["location/micrograph_shape"].shape[1:] == (2,)


def _fields(path: Path | None, rows: np.ndarray, pixel_A: np.ndarray) -> dict[str, np.ndarray]:
    names = rows.dtype.names or ()
    alignment = alignment_of(names)
    fields: dict[str, np.ndarray] = {}
    for column in PARTICLE_COLUMNS:
        name = column.cs.format(a=alignment) if column.cs else None
        if name is None or name not in names or column.rule in ("pose", "shift"):
            continue
        if column.rule == "coordinate":
            if _has_shape(rows):
                side = 1 if column.name == "coordinate_x_px" else 0
                shape = _number(path, rows, "location/micrograph_shape", 2)
                fields[column.name] = _number(path, rows, name) * shape[:, side]
            continue
        values = column.scale * _number(path, rows, name) + column.offset
        fields[column.name] = values.astype(np.int64) if column.is_integer else values
    if "half_set" in fields and len(np.unique(fields["half_set"])) == 1:
        del fields["half_set"]  # CryoSPARC writes split 0 everywhere where it has not split
    if f"{alignment}/shift" in names:
        psize = f"{alignment}/psize_A"
        shift_A = _number(path, rows, f"{alignment}/shift", 2)
        shift_A = shift_A * (_number(path, rows, psize) if psize in names else pixel_A)[:, None]
        fields["shift_x_A"], fields["shift_y_A"] = shift_A.T.copy()
    if alignment == "alignments3D" and "alignments3D/pose" in names:
        angles = cryosparc_to_relion_pose(_number(path, rows, "alignments3D/pose", 3))
        fields["rot_deg"], fields["tilt_deg"], fields["psi_deg"] = angles
    elif f"{alignment}/pose" in names:
        fields["psi_deg"] = np.rad2deg(_number(path, rows, "alignments2D/pose"))
    return fields


# --- writing ------------------------------------------------------------------------------------


def _render_alignment(stack: ParticleStack, pixel_A: np.ndarray) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    rot, tilt, psi = stack.rot_deg, stack.tilt_deg, stack.psi_deg
    only_2d = psi is not None and (rot is None or tilt is None)
    a = "alignments2D" if only_2d else "alignments3D"
    if psi is not None:
        if rot is None or tilt is None:
            out[f"{a}/pose"] = np.deg2rad(psi).astype(_F4)
        else:
            out[f"{a}/pose"] = relion_to_cryosparc_pose(rot, tilt, psi).astype(_F4)
    if stack.shift_x_A is not None and stack.shift_y_A is not None:
        unit_A = _shift_unit(stack, a, pixel_A)
        shift_px = np.stack([stack.shift_x_A, stack.shift_y_A], 1) / unit_A[:, None]
        out[f"{a}/shift"], out[f"{a}/psize_A"] = shift_px.astype(_F4), unit_A.astype(_F4)
    for name, values in (("split", stack.half_set), ("class", stack.class_number)):
        # Numbers below 1 have no counterpart in CryoSPARC's unsigned columns; their text is carried.
        if values is not None and values.min() >= 1:
            out[f"{a}/{name}"] = (values - 1).astype("<u4")
    return out


def _shift_unit(stack: ParticleStack, alignment: str, pixel_A: np.ndarray) -> np.ndarray:
    """The pixel size that shifts are counted in: the table's own where there is one, else the images'."""
    raw, name = stack.source.cs, f"{alignment}/psize_A"
    if (
        raw is not None
        and name in (raw.dtype.names or ())
        and raw[name].shape == (len(stack),)
        and (raw[name] > 0).all()
    ):
        return raw[name].astype(np.float64)
    return pixel_A.astype(_F4).astype(np.float64)  # as it will be read back


def _mixed(values: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit numbers that scatters them (the finaliser of SplitMix64, doi:10.1145/2660193.2660195)."""
    x = values.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def _name_codes(names: Iterable[str]) -> np.ndarray:
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)


def _identifiers(stack: ParticleStack) -> np.ndarray:
    """A uid for every row, the same in every run: from the image's name, and its repeat where it is listed again."""
    key = _mixed(_name_codes(stack.image_files)[stack.image_file] + stack.image_index.astype(np.uint64))
    order = np.argsort(key, kind="stable")
    first = np.concatenate([[True], key[order][1:] != key[order][:-1]])
    start = np.maximum.accumulate(np.where(first, np.arange(len(key)), 0))
    repeat = np.empty(len(key), np.uint64)
    repeat[order] = (np.arange(len(key)) - start).astype(np.uint64)
    return np.where(repeat == 0, key, _mixed(key + repeat))


def _filament_identifiers(stack: ParticleStack) -> np.ndarray:
    """A uid for every filament, from its micrograph's (or image file's) name and its number there."""
    names, place = stack.micrograph_names, stack.micrograph
    if place is None:
        names, place = stack.image_files, stack.image_file
    return _mixed(_name_codes(names)[place] + tube_numbers(stack).astype(np.uint64))


def cs_bytes(rows: np.ndarray) -> bytes:
    """The bytes of a ``.cs`` file."""
    with io.BytesIO() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy remarks on format 2.0, which long headers need
        np.lib.format.write_array(file, recfunctions.repack_fields(rows), allow_pickle=False)
        return file.getvalue()
