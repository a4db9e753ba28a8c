"""Losing nothing between RELION and CryoSPARC: each table carries the other's columns word for word.

A STAR file written from a ``.cs`` table has a column ``_cs/<field>`` for each of its fields (``_cs/<field>[i]`` for
each component) and their types in a block ``data_cs_fields``. A ``.cs`` file written from a STAR file has a text column
``star/<label>`` for each label, ``star_optics/<label>`` for those of the optics table, and ``star_layout/text`` with
the file's other blocks.

Read back, a carried value is believed where it still agrees, to the coarser format's precision, with the file's own
column; where another program has changed the file's own column, that column is right.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.io._files import translated
from helixlab.io.column_map import PARTICLE_COLUMNS
from helixlab.io.cryosparc import table
from helixlab.io.particles import ParticleStack
from helixlab.io.relion import number_by_appearance
from helixlab.io.star import StarBlock, StarFile, format_star, parse_blocks, quoted, unquoted

_CS_PREFIX = "_cs/"
_CS_TYPES = "cs_fields"
_STAR_PREFIX, _OPTICS_PREFIX, _LAYOUT = "star/", "star_optics/", "star_layout/text"
_MAX_LAYOUT_BYTES = 1 << 29


# --- a .cs table inside a STAR file -------------------------------------------------------------


def put_cs_into_star(star: StarFile, block_name: str, rows: np.ndarray) -> StarFile:
    """The STAR file with the fields of a ``.cs`` table as further columns of its particles."""
    columns: dict[str, np.ndarray] = {}
    kinds: list[tuple[bytes, bytes, bytes]] = []
    for name in rows.dtype.names or ():
        values = rows[name]
        shape = values.shape[1:]
        kinds.append((name.encode(), values.dtype.str.encode(), ",".join(map(str, shape)).encode() or b"-"))
        flat = values.reshape(len(rows), -1)
        for i in range(flat.shape[1]):
            columns[f"{_CS_PREFIX}{name}" + (f"[{i}]" if shape else "")] = _as_text(flat[:, i])
    types = {
        f"_cs{word}": quoted(column)
        for word, column in zip(("Field", "Type", "Shape"), zip(*kinds, strict=True), strict=True)
    }
    blocks = [dataclasses.replace(b, columns=b.columns | columns) if b.name == block_name else b for b in star.blocks]
    return dataclasses.replace(star, blocks=(*blocks, StarBlock(_CS_TYPES, types)))


def take_cs_from_star(path: Path, star: StarFile) -> tuple[StarFile, np.ndarray | None]:
    """The STAR file without carried columns, and the table that they make."""
    types = star.block(_CS_TYPES)
    holder = next((b for b in star.blocks if any(label.startswith(_CS_PREFIX) for label in b.columns)), None)
    blocks = tuple(
        dataclasses.replace(b, columns={k: v for k, v in b.columns.items() if not k.startswith(_CS_PREFIX)})
        for b in star.blocks
        if b.name != _CS_TYPES
    )
    rest = dataclasses.replace(star, blocks=blocks)
    if holder is None:
        return rest, None
    columns: dict[str, np.ndarray] = {}
    advice = (
        f"The carried CryoSPARC columns ({_CS_PREFIX}… and data_{_CS_TYPES}) are damaged; remove them to read the rest."
    )
    with translated(path, advice):
        for name, dtype, shape in _listed_types(types) if types is not None else _guessed_types(holder):
            labels = [f"{_CS_PREFIX}{name}[{i}]" for i in range(math.prod(shape))] if shape else [_CS_PREFIX + name]
            values = np.stack([_from_text(holder.columns[label], dtype) for label in labels], axis=1)
            columns[name] = values.reshape(holder.n_rows, *shape).astype(dtype)
        return rest, table(columns)


def _listed_types(types: StarBlock) -> list[tuple[str, np.dtype, tuple[int, ...]]]:
    lists = [unquoted(types.columns[f"_cs{word}"]).tolist() for word in ("Field", "Type", "Shape")]
    return [
        (name.decode(), _plain_dtype(kind.decode()), () if shape == b"-" else tuple(int(n) for n in shape.split(b",")))
        for name, kind, shape in zip(*lists, strict=True)
    ]


def _guessed_types(holder: StarBlock) -> list[tuple[str, np.dtype, tuple[int, ...]]]:
    """The types where RELION, which keeps columns but no blocks, has rewritten the file: those CryoSPARC uses."""
    found: dict[str, tuple[np.dtype, int]] = {}
    for label, values in holder.columns.items():
        if not label.startswith(_CS_PREFIX):
            continue
        name, bracket, _ = label.removeprefix(_CS_PREFIX).partition("[")
        kind = np.dtype("u8" if name.endswith("uid") else _guessed_type(values))
        before, width = found.get(name, (kind, 0))
        found[name] = (max(kind, before), width + 1 if bracket else 0)
    return [(name, dtype, (width,) if width else ()) for name, (dtype, width) in found.items()]


def _guessed_type(values: np.ndarray) -> str:
    for kind in ("u4", "u8", "f4"):
        try:
            wide = values.astype("u8" if kind != "f4" else "f8")
        except (ValueError, OverflowError):
            continue
        if kind != "u4" or not len(wide) or wide.max() < 2**32:
            return kind
    return f"S{max(1, values.dtype.itemsize)}"


def _plain_dtype(text: str) -> np.dtype:
    try:
        dtype = np.dtype(text)
    except TypeError as err:
        raise ValueError(f"type {text!r} is none of numpy's") from err
    if dtype.kind not in "buifcSU":
        raise ValueError(f"type {text!r} is neither number nor text")
    return dtype


def _as_text(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "U":
        values = np.strings.encode(values, "utf-8")
    if values.dtype.kind == "S":
        return quoted(values.tolist())
    # numpy writes the shortest digits that give back the same float.
    return np.array([str(v).encode() for v in values] if values.dtype.kind in "c" else values.astype("S"), "S")


def _from_text(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "b":
        return values == b"True"
    if dtype.kind == "c":
        return np.array([complex(v.decode()) for v in values.tolist()], dtype)
    if dtype.kind in "SU":
        text = unquoted(values)
        text = np.strings.decode(text, "utf-8") if dtype.kind == "U" else text
        return text.astype(dtype)
    return values.astype(dtype)


# --- a STAR file inside a .cs table -------------------------------------------------------------


def put_star_into_cs(columns: Mapping[str, np.ndarray], star: StarFile, block_name: str) -> np.ndarray:
    """The ``.cs`` table with the STAR file's columns as text."""
    particles = next(b for b in star.blocks if b.name == block_name)
    n = particles.n_rows
    out = dict(columns)
    for label, text in particles.columns.items():
        out[_STAR_PREFIX + label.removeprefix("_")] = text
    optics = star.block("optics")
    blocks = [StarBlock(b.name, {}, is_loop=False) if b.name == block_name else b for b in star.blocks]
    if optics is not None:
        group = particles.columns["_rlnOpticsGroup"].astype(np.float64).astype(np.int64)
        listed = optics.columns["_rlnOpticsGroup"].astype(np.float64).astype(np.int64)
        place = np.argmax(group[:, None] == listed[None, :], axis=1)
        for label, text in optics.columns.items():
            out[_OPTICS_PREFIX + label.removeprefix("_")] = text[place]
        # The particles tell the optics table, unless it has groups without particles or another order.
        if np.array_equal(listed, group[np.sort(np.unique(group, return_index=True)[1])]):
            blocks = [StarBlock(b.name, {}, is_loop=False) if b.name == "optics" else b for b in blocks]
    layout = format_star(dataclasses.replace(star, blocks=tuple(blocks)))
    if len(layout) * n > _MAX_LAYOUT_BYTES:
        raise HelixLabError(
            f"write_particles: the STAR file's other blocks ({len(layout)} bytes) would be repeated in {n} rows; "
            "pass carry_foreign=False to leave them and RELION's other columns out."
        )
    out[_LAYOUT] = np.full(n, layout)
    return table(out)


def take_star_from_cs(path: Path, rows: np.ndarray) -> tuple[np.ndarray, StarFile | None, str]:
    """The ``.cs`` table without carried columns, the STAR file that they make, and its particles' block."""
    names = rows.dtype.names or ()
    carried = [n for n in names if n.startswith((_STAR_PREFIX, _OPTICS_PREFIX)) or n == _LAYOUT]
    if not carried or len(rows) == 0:
        return rows, None, "particles"
    rest = table({n: rows[n] for n in names if n not in carried})
    advice = "The carried RELION columns (star/…) are damaged; remove them to read the rest."
    with translated(path, advice):
        for name in carried:
            if rows.dtype[name].kind != "S":
                raise FileFormatError(f"{path}: column {name} is of type {rows.dtype[name]}; needed text. {advice}")
        particles = {"_" + n.removeprefix(_STAR_PREFIX): rows[n] for n in carried if n.startswith(_STAR_PREFIX)}
        per_row = {"_" + n.removeprefix(_OPTICS_PREFIX): rows[n] for n in carried if n.startswith(_OPTICS_PREFIX)}
        first = np.zeros(0, np.int64)
        if per_row:
            first = np.sort(np.unique(per_row["_rlnOpticsGroup"], return_index=True)[1])
        optics = StarBlock("optics", {label: text[first] for label, text in per_row.items()})
        layout = rows[_LAYOUT][0].decode() if _LAYOUT in names else "data_optics\n\ndata_particles\n"
        star, block_name = _with_layout(path, layout, StarBlock("particles", particles), optics)
    return rest, star, block_name


def _with_layout(path: Path, layout: str, particles: StarBlock, optics: StarBlock) -> tuple[StarFile, str]:
    blocks: list[StarBlock] = []
    name = "particles"
    for block in parse_blocks(path, layout):
        if block.columns:
            blocks.append(block)
        elif block.name == "optics":
            blocks.append(optics)
        else:
            name = block.name
            blocks.append(dataclasses.replace(particles, name=name))
    version = layout.split("# version ", 1)[1].split("\n", 1)[0].strip() if "# version " in layout else None
    return StarFile(tuple(blocks), version), name


# --- which of the two is right ------------------------------------------------------------------


def reconcile(
    own: ParticleStack,
    carried: ParticleStack,
    own_text: Mapping[str, np.ndarray],
    carried_text: Mapping[str, np.ndarray],
    keys: Mapping[str, str | None],
) -> ParticleStack:
    """The carried stack's finer numbers where they agree with the file's own columns, row by row.

    Parameters
    ----------
    own, carried : ParticleStack
        By the file's own columns, and by those it carries of the other format.
    own_text, carried_text : mapping
        Both rendered in the file's own format.
    keys : mapping
        For each field, its column in that format, or None.
    """
    agrees = {key: _agree(own_text[key], carried_text[key]) for key in carried_text if key in own_text}
    chosen: dict[str, object] = {}
    poses = [keys[n] for n in ("rot_deg", "tilt_deg", "psi_deg") if getattr(carried, n) is not None]
    pose_agrees = np.logical_and.reduce([agrees[k] for k in poses if k in agrees]) if poses else None
    for column in PARTICLE_COLUMNS:
        name, key = column.name, keys.get(column.name)
        mine, theirs = getattr(own, name), getattr(carried, name)
        if theirs is None:
            continue
        if key is None or key not in carried_text:
            chosen[name] = theirs if mine is None else mine
        elif key in agrees:
            same = pose_agrees if pose_agrees is not None and column.rule == "pose" else agrees[key]
            if mine is not None:
                chosen[name] = np.where(same, theirs, mine)
            elif same.all():
                chosen[name] = theirs
    if _whole(agrees, keys["optics"]):
        chosen |= {"optics": carried.optics, "optics_group": carried.optics_group}
    if _whole(agrees, keys["image"]):
        chosen |= {n: getattr(carried, n) for n in ("image_files", "image_file", "image_index")}
    if own.micrograph is None and keys["micrograph"] not in carried_text:
        chosen |= {"micrograph_names": carried.micrograph_names, "micrograph": carried.micrograph}
    mine, theirs = own.filament_id, carried.filament_id
    if theirs is not None and (
        mine is None or np.array_equal(number_by_appearance(mine), number_by_appearance(theirs))
    ):
        chosen["filament_id"] = theirs if mine is not None or keys["filament_id"] not in carried_text else None
    return own.replace(**chosen)


def _whole(agrees: Mapping[str, np.ndarray], keys: str | None) -> bool:
    return keys is not None and all(bool(agrees[k].all()) for k in keys.split() if k in agrees)


def _agree(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Equal text, or numbers equal to a few roundings of float32."""
    if a.dtype.kind in "SU":
        return np.asarray(a == b)
    close = np.isclose(a.astype(np.float64), b.astype(np.float64), rtol=1e-6, atol=1e-6)
    return np.logical_and.reduce(np.asarray(close).reshape(len(a), -1), axis=1)
