"""What a :class:`~helixlab.explore.FilamentMap` answers: plain values for tables and plots."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from helixlab.search import Candidate


@dataclass(frozen=True)
class SymmetryScore(Candidate):
    """How well a map fits itself under one symmetry, at exactly its values.

    Parameters
    ----------
    explained : float
        Correlation of the map's central part with itself symmetrised. Noise lowers it, unlike the score of half maps.
    """

    explained: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON and tables."""
        return super().to_dict() | {"explained": self.explained}


@dataclass(frozen=True, eq=False)
class Cuts:
    """Scores along the two lines through a symmetry.

    Parameters
    ----------
    twist_deg, twist_score : arrays, shape (n,)
        At the symmetry's rise.
    rise_A, rise_score : arrays, shape (n,)
        At the symmetry's twist.
    """

    twist_deg: Float[np.ndarray, "n"]
    twist_score: Float[np.ndarray, "n"]
    rise_A: Float[np.ndarray, "n"]
    rise_score: Float[np.ndarray, "n"]


@dataclass(frozen=True, eq=False)
class PitchLandscape:
    """Scores over pitch and subunits per turn.

    Parameters
    ----------
    pitch_A : array, shape (p,)
    subunits_per_turn : array, shape (n,)
    score : array, shape (p, n)
        Correlation of the map with its copies; −1 where the first copy lies outside the overlap.
    hand : int
        1 for right-handed, −1 for left-handed helices.
    """

    pitch_A: Float[np.ndarray, "p"]
    subunits_per_turn: Float[np.ndarray, "n"]
    score: Float[np.ndarray, "p n"]
    hand: int = 1
