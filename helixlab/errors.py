"""The one family of errors that HelixLab raises for bad input.

Every message names the file or field, what was found, what is needed and what to do.
"""


class HelixLabError(ValueError):
    """Bad input or an impossible request; the message says what to do about it."""


class FileFormatError(HelixLabError):
    """A file that cannot be read as what it claims to be.

    The message starts with the file's path: ``map.mrc: found ...; needed ...; do ...``.
    """
