"""What readers and writers need: paths checked, foreign exceptions translated, files written whole or not at all."""

import bz2
import contextlib
import gzip
import io
import os
import secrets
import tokenize
import zlib
from collections.abc import Iterator
from pathlib import Path

from helixlab.errors import FileFormatError, HelixLabError

_CHUNK_BYTES = 1 << 24
"""Compressed streams are read in steps of 16 MiB, so that a false size in a header never allocates more."""

_MAX_DEFLATE_RATIO = 1032
"""No deflate stream expands more than this (RFC 1951: 258 bytes for two bits)."""

FOREIGN_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    KeyError,
    IndexError,
    ArithmeticError,
    MemoryError,
    zlib.error,
    UnicodeError,
    SyntaxError,
    tokenize.TokenError,
)
"""What the libraries under the readers raise for a damaged file. A TypeError is our own mistake, and stays one."""


def check_readable(path: str | os.PathLike[str], kind: str) -> Path:
    """The path, if a non-empty regular file is there; ``kind`` is the word for what was expected ("a map")."""
    try:
        given = Path(path)
        if given.is_dir():
            raise FileFormatError(f"{given}: this is a folder; {kind} was expected. Give the path of the file itself.")
        if not given.exists():
            raise FileFormatError(
                f"{given}: there is no such file; {kind} was expected. Check the name and the folder."
            )
        if not given.is_file():
            raise FileFormatError(f"{given}: this is no regular file; {kind} was expected.")
        size = given.stat().st_size
    except (OSError, ValueError, TypeError) as err:
        if isinstance(err, HelixLabError):
            raise
        raise FileFormatError(f"{path}: the path cannot be used ({err}); give the path of {kind}.") from err
    if size == 0:
        raise FileFormatError(f"{given}: the file is empty (0 bytes); {kind} was expected. Copy or export it again.")
    return given


@contextlib.contextmanager
def translated(path: str | os.PathLike[str], advice: str) -> Iterator[None]:
    """Turn whatever a library raises inside the block into a FileFormatError that names the file."""
    try:
        yield
    except HelixLabError:
        raise
    except FOREIGN_ERRORS as err:
        reason = str(err).strip().splitlines()[0][:300] if str(err).strip() else type(err).__name__
        raise FileFormatError(f"{path}: cannot be read: {reason}. {advice}") from err


def compression_of(path: Path) -> str | None:
    """How a file is compressed ("gzip", "bzip2" or None), told by its first bytes and not by its name."""
    with path.open("rb") as file:
        start = file.read(3)
    if start[:2] == b"\x1f\x8b":
        return "gzip"
    return "bzip2" if start == b"BZh" else None


def open_stream(path: Path, compression: str | None) -> io.BufferedIOBase:
    """The decompressed bytes of a file, as a stream."""
    if compression == "gzip":
        return gzip.open(path, "rb")
    if compression == "bzip2":
        return bz2.open(path, "rb")
    return path.open("rb")


def read_at_most(stream: io.BufferedIOBase, n_bytes: int) -> bytearray:
    """Up to ``n_bytes`` from a stream; what is allocated follows what the stream holds."""
    content = bytearray()
    while len(content) < n_bytes:
        piece = stream.read(min(_CHUNK_BYTES, n_bytes - len(content)))
        if not piece:
            break
        content += piece
    return content


def read_text(path: Path, kind: str) -> str:
    """The text of a UTF-8 file, plain or compressed by gzip or bzip2."""
    with translated(path, f"The file is damaged or is no {kind}; copy or export it again."):
        compression = compression_of(path)
        with open_stream(path, compression) as stream:
            limit = path.stat().st_size * (_MAX_DEFLATE_RATIO if compression else 1) + 1
            raw = bytes(read_at_most(stream, limit))
    if b"\x00" in raw:
        raise FileFormatError(f"{path}: found binary data (a zero byte at {raw.index(0)}); needed {kind}, a text file.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = raw.count(b"\n", 0, err.start) + 1
        raise FileFormatError(
            f"{path}: found a byte that is not UTF-8 text (0x{raw[err.start]:02x}, line {line}); needed {kind} in "
            "UTF-8. Convert it, e.g. with iconv -f latin1 -t utf8."
        ) from err


def implied_size_is_possible(path: Path, compression: str | None, n_bytes: int) -> bool:
    """Whether a file of this size can hold ``n_bytes`` once decompressed."""
    if compression == "gzip":
        return n_bytes <= path.stat().st_size * _MAX_DEFLATE_RATIO
    return compression == "bzip2" or n_bytes <= path.stat().st_size


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """A temporary name in the target's folder, renamed to the target when the block ends well.

    The target therefore holds either its old content or all of the new one, even after a crash.
    """
    target = Path(path)
    if target.is_dir():
        raise HelixLabError(f"{target}: this is a folder; give the name of the file to write.")
    if not target.parent.is_dir():
        raise HelixLabError(f"{target}: the folder {target.parent} does not exist; create it first.")
    if target.exists() and not overwrite:
        raise HelixLabError(f"{target}: the file exists already; choose another name or pass overwrite=True.")
    temporary = target.with_name(f".{secrets.token_hex(6)}-{target.name}")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as err:
        raise HelixLabError(
            f"{target}: cannot be written: {err.strerror or err}. Check the disk and permissions."
        ) from err
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
