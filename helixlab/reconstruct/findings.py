"""What a check of a set-up finds, and the set-up it looks at."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from helixlab.io import ParticleStack
from helixlab.reconstruct.settings import RefinementSettings

Severity = Literal["error", "warning", "note"]

NAMED_AT_MOST = 5
"""Rows that a message names; their number is given too."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, doubtful or worth knowing.

    Parameters
    ----------
    severity : str
        "error": a refinement refuses it or its result would be wrong; "warning": it may suffer; "note".
    code : str
        What it is about, a name for scripts.
    found, needed, advice : str
        Parts of its message; the last two may be empty, and ``found`` is the whole message where both are.
    rows : tuple of int
        The 0-based rows of the table that it is about; empty for all.
    """

    severity: Severity
    code: str
    found: str
    needed: str
    advice: str
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        if not (self.needed or self.advice):
            return self.found
        needed = f"; needed {self.needed}" if self.needed else ""
        return f"found {self.found.removesuffix('.')}{needed}. {self.advice}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; rows are counted from 1, as in messages."""
        return {
            "severity": self.severity,
            "code": self.code,
            "found": self.found,
            "needed": self.needed,
            "advice": self.advice,
            "rows": [row + 1 for row in self.rows],
        }


@dataclass(frozen=True)
class SetUp:
    """What is checked.

    Parameters
    ----------
    stack : ParticleStack
        The particles that are used.
    settings : RefinementSettings
    box_px : int
        0 where neither images nor table say it.
    table_row : int array
        Of each particle, its 0-based row in the user's table, in which others may have been left out.
    header_pixel_A : float array
        What the header of each image file says; 0 where it is not known.
    """

    stack: ParticleStack
    settings: RefinementSettings
    box_px: int
    table_row: Int[np.ndarray, "n"]
    header_pixel_A: Float[np.ndarray, "f"]

    @property
    def pixel_A(self) -> float:
        """Pixel size of the first image."""
        return float(self.stack.pixel_size_A[0])

    @property
    def box_A(self) -> float:
        """Edge of the box."""
        return self.box_px * self.pixel_A


def row_numbers(rows: Int[np.ndarray, "k"]) -> tuple[int, ...]:
    """Rows as plain numbers."""
    return tuple(rows.tolist())


def named_rows(rows: Int[np.ndarray, "k"]) -> str:
    """The first of some rows as a message names them, counted from 1.

    Examples
    --------
    >>> named_rows(np.arange(7))
    'rows 1, 2, 3, 4, 5 and 2 more'
    """
    numbers = ", ".join(str(row + 1) for row in rows[:NAMED_AT_MOST])
    return f"row{'s' if len(rows) > 1 else ''} {numbers}{count_beyond(len(rows))}"


def count_beyond(count: int) -> str:
    """How many are not named: " and 2 more", or nothing."""
    return f" and {count - NAMED_AT_MOST} more" if count > NAMED_AT_MOST else ""
