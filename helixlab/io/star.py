"""STAR files as they stand: blocks of named columns whose values are kept word for word.

Parsed by gemmi's CIF reader (a STAR file as RELION writes it is a subset of CIF), several times faster than by way
of pandas, and without touching the text of a value. RELION reads loops line by line, which CIF does not: a row with
too few or too many values is therefore refused here even where the loop's total happens to fit.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from gemmi import cif

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.io._files import check_readable, read_text, translated

_KIND = "a STAR file"
_BARE_WORD = re.compile(rb"[^\s\"'#;_$\[\]][^\s]*|\[[^\s]*")
_BEYOND_ASCII = re.compile(rb"%|[\x80-\xff]")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")
_RESERVED = re.compile(rb"(?i)(data_.*|save_.*|loop_|stop_|global_)")


@dataclass(frozen=True, eq=False)
class StarBlock:
    """One data block: a loop (table), or single values, or (rarely) both.

    Parameters
    ----------
    name : str
        The word after ``data_``; may be empty.
    columns : dict of str to bytes array
        For each label, with its underscore, the values as written, quotes included, UTF-8; shape (n,).
    is_loop : bool
        Whether it is a table; otherwise every column holds one value.
    """

    name: str
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    is_loop: bool = True

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0


@dataclass(frozen=True, eq=False)
class StarFile:
    """A STAR file: its blocks in their order, and RELION's version number of the format, where there is one."""

    blocks: tuple[StarBlock, ...]
    version: str | None = None

    def block(self, name: str) -> StarBlock | None:
        """The block of this name, or None."""
        return next((b for b in self.blocks if b.name == name), None)


def read_star(path: str | os.PathLike[str]) -> StarFile:
    r"""Read a STAR file, plain or compressed, without interpreting it.

    Parameters
    ----------
    path : path

    Returns
    -------
    StarFile

    Raises
    ------
    FileFormatError
        If the file is missing, empty, no STAR file, not UTF-8, or damaged: duplicate labels or blocks, a loop whose
        rows do not have one value per label.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "fsc.star")
    >>> _ = path.write_text("data_fsc\nloop_\n_rlnResolution\n_rlnFourierShellCorrelation\n0.1 1.00\n0.2 0.5\n")
    >>> read_star(path).blocks[0].columns["_rlnFourierShellCorrelation"].tolist()
    [b'1.00', b'0.5']
    >>> folder.cleanup()
    """
    path = check_readable(path, _KIND)
    text = read_text(path, _KIND)
    if not re.search(r"(?im)^\s*data_", text):
        raise FileFormatError(
            f"{path}: found no data block; needed a STAR file, where a line like data_particles starts one."
        )
    with translated(
        path, "The file is damaged or is no STAR file; each label may occur once and each row needs all values"
    ):
        blocks = parse_blocks(path, text)
    version = re.search(r"(?m)^# version (\d+)\s*$", text)
    return StarFile(blocks, version[1] if version else None)


def read_star_table(path: str | os.PathLike[str], block: str | None = None) -> dict[str, np.ndarray]:
    r"""One table of any STAR file, with numbers as numbers.

    Parameters
    ----------
    path : path
    block : str, optional
        The name after ``data_``; may be left out where the file has one block.

    Returns
    -------
    dict of str to array
        For each label, without its underscore, an array of shape (n,): int64 or float64 where all values are
        numbers, text otherwise. Single values are tables of one row.

    Raises
    ------
    FileFormatError
        If the file cannot be read or has no such block.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "fsc.star")
    >>> _ = path.write_text("data_fsc\nloop_\n_rlnResolution\n_rlnMaskName\n0.1 a.mrc\n0.2 b.mrc\n")
    >>> read_star_table(path, "fsc")["rlnResolution"].tolist()
    [0.1, 0.2]
    >>> folder.cleanup()
    """
    star = read_star(path)
    names = [b.name for b in star.blocks]
    if block is None and len(names) == 1:
        block = names[0]
    found = star.block(block) if block is not None else None
    if found is None:
        asked = "no block was named" if block is None else f"there is no block data_{block}"
        raise FileFormatError(
            f"{path}: {asked}; the file has {', '.join('data_' + n for n in names)}. Name one of these."
        )
    return {label.removeprefix("_"): _typed(values) for label, values in found.columns.items()}


def format_star(star: StarFile) -> bytes:
    """The bytes of a STAR file, laid out like RELION's."""
    parts = []
    for block in star.blocks:
        version = f"# version {star.version}\n\n" if star.version else ""
        parts.append(f"\n{version}data_{block.name}\n\n".encode())
        if not block.is_loop:
            width = max((len(label) for label in block.columns), default=0)
            lines = [label.encode().ljust(width) + b" " + values[0] for label, values in block.columns.items()]
            parts.append(b"\n".join(lines) + b"\n\n")
            continue
        labels = [f"{label} #{i}".encode() for i, label in enumerate(block.columns, 1)]
        rows = [b" ".join(row) for row in zip(*(v.tolist() for v in block.columns.values()), strict=True)]
        parts.append(b"loop_\n" + b"\n".join(labels + rows) + b"\n\n")
    return b"".join(parts)


def quoted(values: Iterable[bytes]) -> np.ndarray:
    """Text as STAR values: quotes only around what would otherwise not be read back as one word."""
    return np.array([_quote(v) for v in values], dtype="S")


def unquoted(values: np.ndarray) -> np.ndarray:
    """The text meant by STAR values; quotes are looked for only where there are any."""
    if not (np.strings.startswith(values, b"'") | np.strings.startswith(values, b'"')).any():
        return values
    return np.array([cif.as_string(v.decode()).encode() for v in values.tolist()], dtype="S")


def _quote(value: bytes) -> bytes:
    if _BARE_WORD.fullmatch(value) and not _RESERVED.fullmatch(value) and value not in (b"?", b"."):
        return value
    for mark in (b'"', b"'"):
        # In CIF a quotation mark ends the value only where white space follows it.
        if not re.search(re.escape(mark) + rb"\s", value) and not re.search(rb"[\r\n]", value):
            return mark + value + mark
    raise HelixLabError(
        f"STAR: the text {value.decode(errors='replace')!r} cannot be written as one value; shorten it."
    )


def parse_blocks(path: Path, text: str) -> tuple[StarBlock, ...]:
    """The blocks of a STAR file's text; one without any column is no loop. ``path`` is for messages."""
    # CIF knows ASCII only, file names do not: other bytes go through the parser as %XX.
    raw = text.encode()
    document = cif.read_string(text if text.isascii() else _BEYOND_ASCII.sub(_escape, raw).decode())
    _check_rows(path, raw, document)
    blocks = tuple(_blocks(path, document))
    return blocks if text.isascii() else tuple(_unescaped(block) for block in blocks)


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def _unescaped(block: StarBlock) -> StarBlock:
    def back(value: bytes) -> bytes:
        return _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), value)

    columns = {
        back(label.encode()).decode(): np.array([back(v) for v in values.tolist()], "S")
        for label, values in block.columns.items()
    }
    return StarBlock(back(block.name.encode()).decode(), columns, block.is_loop)


def _blocks(path: Path, document: cif.Document) -> Iterable[StarBlock]:
    for block in document:
        loops = [item.loop for item in block if item.loop is not None]
        pairs = [cast("tuple[str, str]", item.pair) for item in block if item.pair is not None]
        if len(loops) > 1 or (loops and pairs):
            raise FileFormatError(
                f"{path}: block data_{block.name.strip()} holds more than one table; needed one table or single values "
                "per block, as RELION writes them."
            )
        if loops:
            loop = loops[0]
            columns = {tag: _as_bytes(path, list(block.find_loop(tag))) for tag in loop.tags}
            yield StarBlock(block.name.strip(), columns, is_loop=True)
        else:
            yield StarBlock(block.name.strip(), {t: _as_bytes(path, [v]) for t, v in pairs}, is_loop=False)


def _as_bytes(path: Path, values: list[str]) -> np.ndarray:
    encoded = [value.encode() for value in values]
    if any(b"\n" in value for value in encoded):
        raise FileFormatError(f"{path}: found a text over several lines; RELION's STAR files have none. Remove it.")
    return np.array(encoded, dtype="S") if encoded else np.zeros(0, "S1")


def _check_rows(path: Path, content: bytes, document: cif.Document) -> None:
    """Each line of a loop must hold one value per label."""
    raw = np.frombuffer(content, np.uint8)
    starts_word = np.empty(len(raw), bool)
    is_space = raw <= 32
    starts_word[0] = not is_space[0]
    np.logical_and(~is_space[1:], is_space[:-1], out=starts_word[1:])
    line_ends = np.append(np.flatnonzero(raw == 10), len(raw))
    words = np.diff(np.searchsorted(np.flatnonzero(starts_word), line_ends, side="left"), prepend=0)
    line_starts = np.concatenate([[0], line_ends[:-1] + 1])
    special = np.flatnonzero((raw == ord('"')) | (raw == ord("'")) | (raw == ord("#")) | (raw == ord(";")))
    is_special = np.zeros(len(words), bool)
    is_special[np.searchsorted(line_ends, special)] = True
    is_comment = raw[np.minimum(line_starts, len(raw) - 1)] == ord("#")
    for item in (item for block in document for item in block if item.loop is not None):
        loop = item.loop
        filled = np.flatnonzero((words[item.line_number :] > 0) & ~is_comment[item.line_number :]) + item.line_number
        labels, rows = filled[: loop.width()], filled[loop.width() : loop.width() + loop.length()]
        if any(raw[line_starts[i] : line_starts[i] + 200].tobytes().lstrip()[:1] != b"_" for i in labels):
            continue  # several labels on one line: no program for cryo-EM writes that, and CIF's rule has held
        wrong = rows[(words[rows] != loop.width()) & ~is_special[rows]]
        if wrong.size:
            raise FileFormatError(
                f"{path}: line {int(wrong[0]) + 1} holds {int(words[wrong[0]])} values; the loop has {loop.width()} "
                "labels. The row is damaged: repair or remove it."
            )


def _typed(values: np.ndarray) -> np.ndarray:
    for dtype in (np.int64, np.float64):
        try:
            return values.astype(dtype)
        except (ValueError, OverflowError):
            continue
    return np.strings.decode(unquoted(values), "utf-8")
