"""Which files a run was given, so that a run that goes on can tell that they are still the same."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.io import ParticleStack

_PIECE_BYTES = 1 << 20
_SAMPLES = 8
_SAMPLE_BYTES = 1 << 14
"""A stack is told by eight pieces of 16 KiB: ten thousand stacks are read in seconds, whatever their size."""


@dataclass(frozen=True)
class Fingerprint:
    """What a file was when the run began.

    Parameters
    ----------
    path : str
        Absolute.
    n_bytes : int
    modified_s : float
        Time of the last change, seconds since 1970; for people, a copy of a file has another.
    sha256 : str
        Of the whole file, or of its size and samples of it.
    is_sampled : bool
    """

    path: str
    n_bytes: int
    modified_s: float
    sha256: str
    is_sampled: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def take_fingerprint(path: str | os.PathLike[str], *, is_sampled: bool = False) -> Fingerprint:
    """The fingerprint of a file.

    Parameters
    ----------
    path : path
    is_sampled : bool
        Read its size and evenly spaced pieces only, for stacks of images.

    Raises
    ------
    FileFormatError
        If it cannot be read.
    """
    place = Path(path).absolute()
    try:
        about = place.stat()
        digest = hashlib.sha256()
        with place.open("rb") as file:
            if is_sampled:
                digest.update(str(about.st_size).encode())
                last = max(0, about.st_size - _SAMPLE_BYTES)
                for sample in range(_SAMPLES):
                    file.seek(last * sample // (_SAMPLES - 1))
                    digest.update(file.read(_SAMPLE_BYTES))
            else:
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
    except OSError as error:
        raise FileFormatError(f"{place}: cannot be read ({error.strerror}); put the file back.") from error
    return Fingerprint(str(place), about.st_size, about.st_mtime, digest.hexdigest(), is_sampled)


def digest_of_table(stack: ParticleStack) -> str:
    """SHA-256 of a particle table's values, whichever file they came from."""
    digest = hashlib.sha256()
    for table in (stack, stack.optics):
        for field in fields(table):
            value = getattr(table, field.name)
            is_array = isinstance(value, np.ndarray)
            if is_array or isinstance(value, tuple):
                digest.update(field.name.encode())
                digest.update(value.tobytes() if is_array else repr(value).encode())
    return digest.hexdigest()


def check_unchanged(recorded: Iterable[Mapping[str, Any]]) -> None:
    """Raise a HelixLabError that names the first file which is no longer what it was."""
    for values in recorded:
        before = Fingerprint(**values)
        now = take_fingerprint(before.path, is_sampled=before.is_sampled)
        if (now.n_bytes, now.sha256) != (before.n_bytes, before.sha256):
            raise HelixLabError(
                f"{before.path}: the file has changed since the run began ({before.n_bytes} bytes then, {now.n_bytes} "
                "now); put the old one back, or begin a new run."
            )
