"""Colours that read on JupyterLab's light and dark background, and numbers turned into pictures."""

import io
from typing import Any

import numpy as np

from helixlab.errors import HelixLabError

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Line colours told apart by colour-blind readers (Okabe & Ito 2008, https://jfly.uni-koeln.de/color/); those too
pale or too dark for one of the two backgrounds are left out."""

GUIDE = "#888888"
"""Lines that help the eye: contrast of at least 3.5 to white and to JupyterLab's dark background, #111."""

MARKER = "#FF4FA3"
"""Marks on pictures: a hue that neither viridis nor grey holds."""

COLOUR_MAPS = ("viridis", "cividis", "inferno", "magma", "plasma", "gray")
"""Perceptual maps: equal steps of the number look like equal steps of lightness."""


def colour_table(name: str) -> Any:
    """The named perceptual colour map, as matplotlib has it.

    Raises
    ------
    HelixLabError
        If it is not one of :data:`COLOUR_MAPS`.
    """
    if name not in COLOUR_MAPS:
        raise HelixLabError(f"colour_map: found {name!r}; perceptual maps are {', '.join(COLOUR_MAPS)}.")
    from matplotlib import colormaps

    return colormaps[name]


def colour_steps(name: str, count: int = 9) -> list[str]:
    """Evenly spaced colours of a map as #rrggbb, for a colour bar."""
    from matplotlib.colors import to_hex

    return [to_hex(c) for c in colour_table(name)(np.linspace(0.0, 1.0, count))]


def png_bytes(values: np.ndarray, colour_map: str, low: float, high: float) -> bytes:
    """A picture of an array: its first row at the bottom, NaN transparent.

    Parameters
    ----------
    values : array, shape (rows, columns)
    colour_map : str
        One of :data:`COLOUR_MAPS`.
    low, high : float
        The values at the map's two ends; values beyond get the end's colour.
    """
    from matplotlib.image import imsave

    scaled = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0.0, 1.0)
    pixels = colour_table(colour_map)(np.ma.masked_invalid(scaled), bytes=True)
    pixels[~np.isfinite(scaled)] = 0
    picture = io.BytesIO()
    imsave(picture, pixels[::-1], format="png")
    return picture.getvalue()
