"""What a :class:`~helixlab.explore.FilamentMap` answers: plain values for tables and plots."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from helixlab.search import Candidate
from helixlab.search.imposed import Imposed


@dataclass(frozen=True)
class SymmetryScore(Candidate):
    """How well a map fits itself under one symmetry, at exactly its values.

    Parameters
    ----------
    explained : float
        Correlation of the map's central part with itself symmetrised. Noise lowers it, unlike the score of half maps.
    imposed : Imposed
        Whether the map had the symmetry before, so that it scores high, true or not.
    """

    explained: float = 0.0
    imposed: Imposed = field(default=Imposed(screw=False, point_group=False))

    @property
    def has_errors(self) -> bool:
        """Whether the map has noise to take standard errors from, on which the screw was not imposed."""
        return self.imposed.screw is False

    @property
    def score_text(self) -> str:
        """The score, with its standard error if there is one."""
        return f"{self.score:.4f} ± {self.score_se:.4f}" if self.has_errors else f"{self.score:.4f}"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON and tables."""
        return super().to_dict() | {"explained": self.explained, "imposed": asdict(self.imposed)}


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
