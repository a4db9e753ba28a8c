"""RELION's tables (STAR, 3.0 and since 3.1) to and from :class:`ParticleStack`, following :mod:`column_map`."""

import dataclasses
from pathlib import Path

import numpy as np

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.io.column_map import GROUP_COLUMNS, PARTICLE_COLUMNS, Column
from helixlab.io.particles import OpticsGroups, ParticleStack, Source
from helixlab.io.star import StarBlock, StarFile, quoted, unquoted

_Texts = dict[str, np.ndarray]


def stack_from_star(path: Path | None, star: StarFile, images_root: Path | None) -> ParticleStack:
    """The particles of a STAR file; 3.0 is told by the absence of an optics table.

    Raises
    ------
    FileFormatError
        If a needed column is missing, a value is no number, or rows and optics groups do not fit together.
    """
    block = _particles_block(path, star)
    texts = block.columns
    if block.n_rows == 0:
        raise FileFormatError(f"{path}: found an empty table data_{block.name} (0 rows); needed at least one particle.")
    optics_block = star.block("optics")
    is_legacy = optics_block is None
    files, file_of, index = _images(path, texts)
    if optics_block is None:
        optics, group = _optics_of_rows(path, texts)
    else:
        optics = _optics_of_block(path, optics_block.columns)
        group = _group_of_rows(path, texts, optics)
    fields: dict[str, np.ndarray | None] = {}
    for column in PARTICLE_COLUMNS:
        fields[column.name] = _column(path, texts, column, is_legacy)
    if is_legacy and "_rlnOriginXAngst" not in texts:
        for name in ("shift_x_A", "shift_y_A"):
            values = fields[name]
            fields[name] = None if values is None else values * optics.pixel_size_A[group]
    names, micrograph = (), None
    if "_rlnMicrographName" in texts:
        unique, micrograph = np.unique(unquoted(texts["_rlnMicrographName"]), return_inverse=True)
        names = tuple(name.decode() for name in unique.tolist())
    if "_rlnHelicalTubeID" in texts:
        tube = _integers(path, "_rlnHelicalTubeID", texts["_rlnHelicalTubeID"])
        # A tube's number is unique in its micrograph only; extraction makes one image file per micrograph.
        fields["filament_id"] = number_by_appearance(file_of if micrograph is None else micrograph, tube)
    return ParticleStack(
        files,
        file_of,
        index,
        optics,
        group,
        names,
        micrograph,
        **fields,  # type: ignore[arg-type]
        source=Source(path, images_root, star, block.name, None),
    )


def star_from_stack(stack: ParticleStack) -> StarFile:
    """The stack as a STAR file: the file it came from with what changed, or RELION 3.1's form for a new one.

    A value's text is kept wherever the stack's number, written with six decimals, is still that of the file.
    """
    star, name = stack.source.star, stack.source.star_block
    before = None if star is None else stack_from_star(stack.source.path, star, None)
    is_legacy = star is not None and star.block("optics") is None
    rows_now, groups_now = render_star(stack, is_legacy)
    if star is None or before is None:
        blocks = (StarBlock("optics", groups_now), StarBlock("particles", rows_now))
        return StarFile(blocks, "30001")
    rows_then, groups_then = render_star(before, is_legacy)
    blocks = []
    for block in star.blocks:
        if block.name == name:
            block = dataclasses.replace(block, columns=_keep_text(block.columns, rows_now, rows_then))
        elif block.name == "optics":
            same_groups = np.array_equal(stack.optics.number, before.optics.number)
            columns = _keep_text(block.columns, groups_now, groups_then) if same_groups else groups_now
            block = StarBlock("optics", columns)
        blocks.append(block)
    return dataclasses.replace(star, blocks=tuple(blocks))


def render_star(stack: ParticleStack, is_legacy: bool) -> tuple[_Texts, _Texts]:
    """The known columns of the particles and of the optics groups as text, in RELION's units and labels."""
    rows: _Texts = {"_rlnImageName": _image_names(stack)}
    if stack.micrograph is not None:
        rows["_rlnMicrographName"] = quoted(n.encode() for n in stack.micrograph_names)[stack.micrograph]
    if stack.filament_id is not None:
        rows["_rlnHelicalTubeID"] = _decimal(tube_numbers(stack))
    for column in PARTICLE_COLUMNS:
        values, label = getattr(stack, column.name), column.label(is_legacy)
        if values is None or label is None:
            continue
        if is_legacy and column.rule == "shift":
            values = values / stack.pixel_size_A
        rows[label] = _decimal(values)
    groups = _render_groups(stack.optics)
    if is_legacy:
        group = stack.optics_group
        for label in [c.star for c in GROUP_COLUMNS if c.star in groups]:
            rows[str(label)] = groups[str(label)][group]
        detector_um = 5.0  # the magnification that RELION 3.0 computes a pixel size with is this over the pixel
        rows["_rlnMagnification"] = _decimal(detector_um * 1e4 / stack.pixel_size_A)
        rows["_rlnDetectorPixelSize"] = _decimal(np.full(len(stack), detector_um))
    else:
        rows["_rlnOpticsGroup"] = _decimal(stack.optics.number[stack.optics_group])
    return rows, groups


def tube_numbers(stack: ParticleStack) -> np.ndarray:
    """Each filament's number within its micrograph (or image file), from 1 in the order of appearance."""
    ids = stack.filament_id
    if ids is None:
        raise HelixLabError("tube_numbers: the stack has no filaments.")
    place = stack.image_file if stack.micrograph is None else stack.micrograph
    _, first, inverse = np.unique(np.stack([place, ids], 1), axis=0, return_index=True, return_inverse=True)
    numbers, counts = np.zeros(len(first), np.int64), {}
    for pair in np.argsort(first):
        here = int(place[first[pair]])
        counts[here] = numbers[pair] = counts.get(here, 0) + 1
    return numbers[inverse.reshape(-1)]


def number_by_appearance(*keys: np.ndarray) -> np.ndarray:
    """0, 1, … for the distinct combinations of keys, in the order in which they appear."""
    _, first, inverse = np.unique(np.stack(keys, 1), axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.reshape(-1)]


# --- reading ------------------------------------------------------------------------------------


def _particles_block(path: Path | None, star: StarFile) -> StarBlock:
    with_images = [b for b in star.blocks if b.is_loop and "_rlnImageName" in b.columns and b.name != "optics"]
    named = star.block("particles")
    if named is not None and named not in with_images:
        raise _missing(path, "_rlnImageName", "1.0", "which image each row is")
    if not with_images:
        found = ", ".join(f"data_{b.name}" for b in star.blocks) or "none"
        raise FileFormatError(
            f"{path}: no table has the column _rlnImageName (every RELION version writes it); found the blocks "
            f"{found}. Needed a particle table, e.g. run_data.star (in Python read_star_table reads others)."
        )
    return named if named is not None else with_images[0]


def _images(path: Path | None, texts: _Texts) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Split "000001@file": the files, and each row's file and 0-based index."""
    names = unquoted(texts["_rlnImageName"])
    before, at, after = np.strings.partition(names, np.bytes_(b"@"))
    number = np.where(at == b"@", before, b"1")  # RELION's name for the only image of a file has no number
    index = _integers(path, "_rlnImageName", number)
    if index.min() < 1:
        row = int(np.flatnonzero(index < 1)[0])
        raise FileFormatError(
            f"{path}: row {row + 1}: found image number {index[row]} in _rlnImageName; they start at 1."
        )
    unique, file_of = np.unique(np.where(at == b"@", after, before), return_inverse=True)
    files = tuple(name.decode().removesuffix(":mrcs").removesuffix(":mrc") for name in unique.tolist())
    return files, file_of.astype(np.int64), index - 1


def _column(path: Path | None, texts: _Texts, column: Column, is_legacy: bool) -> np.ndarray | None:
    label = column.star if column.star in texts else column.label(is_legacy)
    if label is None or label not in texts:
        return None
    return (_integers if column.is_integer else _numbers)(path, label, texts[label])


def _numbers(path: Path | None, label: str, values: np.ndarray) -> np.ndarray:
    try:
        numbers = values.astype(np.float64)
    except ValueError:
        numbers = np.array([_float_or_nan(v) for v in values.tolist()])
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        row = int(bad[0])
        raise FileFormatError(
            f"{path}: row {row + 1}, column {label}: found {values[row].decode()!r}; needed a finite number. "
            f"Repair or remove the row ({bad.size} such rows)."
        )
    return numbers


def _float_or_nan(value: bytes) -> float:
    try:
        return float(value)
    except ValueError:
        return float("nan")


def _integers(path: Path | None, label: str, values: np.ndarray) -> np.ndarray:
    numbers = _numbers(path, label, values)
    bad = np.flatnonzero((numbers != np.rint(numbers)) | (np.abs(numbers) > 2**53))
    if bad.size:
        row = int(bad[0])
        raise FileFormatError(
            f"{path}: row {row + 1}, column {label}: found {values[row].decode()!r}; needed a whole number."
        )
    return numbers.astype(np.int64)


def _missing(path: Path | None, label: str, since: str, meaning: str) -> FileFormatError:
    return FileFormatError(
        f"{path}: the column {label} (RELION {since} and later) is missing, which says {meaning}. "
        "Export the table again with the program that made it, or add the column."
    )


def _optics_of_block(path: Path | None, texts: _Texts) -> OpticsGroups:
    if "_rlnOpticsGroup" not in texts:
        raise _missing(path, "_rlnOpticsGroup", "3.1", "the number of each optics group, in data_optics")
    number = _integers(path, "_rlnOpticsGroup", texts["_rlnOpticsGroup"])
    if len(number) == 0:
        raise FileFormatError(f"{path}: found an empty table data_optics; needed one row per optics group.")
    if len(np.unique(number)) < len(number):
        raise FileFormatError(f"{path}: found one _rlnOpticsGroup twice in data_optics; each number may occur once.")
    pixel_A = _pixel_sizes(path, texts, "data_optics")
    names = texts.get("_rlnOpticsGroupName")
    given = None if names is None else tuple(n.decode() for n in unquoted(names).tolist())
    box = texts.get("_rlnImageSize")
    return OpticsGroups(
        number,
        given or tuple(f"opticsGroup{n}" for n in number),
        pixel_A,
        np.zeros_like(number) if box is None else _integers(path, "_rlnImageSize", box),
        **{c.name: _column(path, texts, c, False) for c in GROUP_COLUMNS},  # type: ignore[arg-type]
    )


def _optics_of_rows(path: Path | None, texts: _Texts) -> tuple[OpticsGroups, np.ndarray]:
    """RELION 3.0 repeats the optics in every row: the groups are the distinct rows."""
    pixel_A = _pixel_sizes(path, texts, "the particle table; there is no table data_optics")
    known = {c.name: v for c in GROUP_COLUMNS if (v := _column(path, texts, c, True)) is not None}
    distinct, group = np.unique(np.stack([pixel_A, *known.values()], 1), axis=0, return_inverse=True)
    number = np.arange(1, len(distinct) + 1)
    values = dict(zip(known, distinct.T[1:].copy(), strict=True))
    names = tuple(f"opticsGroup{n}" for n in number)
    optics = OpticsGroups(number, names, distinct[:, 0].copy(), np.zeros_like(number), **values)  # type: ignore[arg-type]
    return optics, group.reshape(-1)


def _pixel_sizes(path: Path | None, texts: _Texts, where: str) -> np.ndarray:
    if "_rlnImagePixelSize" in texts:
        pixel_A = _numbers(path, "_rlnImagePixelSize", texts["_rlnImagePixelSize"])
    elif "_rlnDetectorPixelSize" in texts and "_rlnMagnification" in texts:
        detector_um = _numbers(path, "_rlnDetectorPixelSize", texts["_rlnDetectorPixelSize"])
        magnification = _numbers(path, "_rlnMagnification", texts["_rlnMagnification"])
        with np.errstate(divide="ignore", invalid="ignore"):
            pixel_A = detector_um * 1e4 / magnification
    else:
        raise FileFormatError(
            f"{path}: the pixel size is missing: no column _rlnImagePixelSize (RELION 3.1 and later) nor "
            f"_rlnDetectorPixelSize with _rlnMagnification (RELION up to 3.0) in {where}. Add the column."
        )
    if not (np.isfinite(pixel_A) & (pixel_A > 0)).all():
        row = int(np.flatnonzero(~(np.isfinite(pixel_A) & (pixel_A > 0)))[0])
        raise FileFormatError(
            f"{path}: row {row + 1}: found a pixel size of {pixel_A[row]} Å in {where}; it must be > 0."
        )
    return pixel_A


def _group_of_rows(path: Path | None, texts: _Texts, optics: OpticsGroups) -> np.ndarray:
    if "_rlnOpticsGroup" not in texts:
        raise _missing(path, "_rlnOpticsGroup", "3.1", "the optics group of each particle")
    number = _integers(path, "_rlnOpticsGroup", texts["_rlnOpticsGroup"])
    order = np.argsort(optics.number)
    place = order[np.minimum(np.searchsorted(optics.number, number, sorter=order), len(order) - 1)]
    bad = np.flatnonzero(optics.number[place] != number)
    if bad.size:
        raise FileFormatError(
            f"{path}: row {int(bad[0]) + 1} belongs to optics group {number[bad[0]]}, which data_optics does not list "
            f"(it has {', '.join(map(str, optics.number))}). Add the group or correct the row."
        )
    return place


# --- writing ------------------------------------------------------------------------------------


def _render_groups(optics: OpticsGroups) -> _Texts:
    groups = {
        "_rlnOpticsGroupName": quoted(n.encode() for n in optics.name),
        "_rlnOpticsGroup": _decimal(optics.number),
        "_rlnImagePixelSize": _decimal(optics.pixel_size_A),
    }
    if optics.box_size_px.all():
        groups["_rlnImageSize"] = _decimal(optics.box_size_px)
        groups["_rlnImageDimensionality"] = _decimal(np.full_like(optics.box_size_px, 2))
    for column in GROUP_COLUMNS:
        values = getattr(optics, column.name)
        if values is not None and column.star:
            groups[column.star] = _decimal(values)
    return groups


def _image_names(stack: ParticleStack) -> np.ndarray:
    # RELION reads a stack whose name does not end in .mrcs only with the format appended.
    files = [
        f if f.lower().endswith(".mrcs") else f + ":mrcs" for f in (n.removeprefix(">") for n in stack.image_files)
    ]
    index = np.strings.mod(np.array(b"%06d@"), stack.image_index + 1)
    names = np.strings.add(index, np.array([f.encode() for f in files])[stack.image_file])
    return quoted(names.tolist())


def _decimal(values: np.ndarray) -> np.ndarray:
    if np.issubdtype(values.dtype, np.integer):
        return np.strings.mod(np.array(b"%d"), values)
    small = (values != 0) & (np.abs(values) < 1e-3)
    return np.where(small, np.strings.mod(np.array(b"%.6e"), values), np.strings.mod(np.array(b"%.6f"), values))


_WHOLE = ("_rlnHelicalTubeID",)
"""Columns of numbers that mean something only together: kept or replaced as a whole."""

_TOGETHER = ("_rlnMagnification", "_rlnDetectorPixelSize")


def _keep_text(raw: _Texts, now: _Texts, then: _Texts) -> _Texts:
    """The file's columns, with new text where what is known changed; dropped where it was taken away."""
    changed = {label for label, text in now.items() if label not in then or not np.array_equal(text, then[label])}
    if changed & set(_TOGETHER):
        changed |= set(_TOGETHER)
    merged: _Texts = {}
    for label, text in raw.items():
        if label in then and label not in now:
            continue
        if label not in changed:
            merged[label] = text
        elif label in _WHOLE + _TOGETHER or label not in then:
            merged[label] = now[label]
        else:
            merged[label] = np.where(now[label] == then[label], text, now[label])
    added = {label: now[label] for label in now if label in changed and label not in merged}
    return {**merged, **added}
