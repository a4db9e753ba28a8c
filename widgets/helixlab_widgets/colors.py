"""Colours that read on JupyterLab's light and dark background, and numbers turned into pictures."""

import io
from typing import Any

import numpy as np

from helixlab.errors import HelixLabError

PALETTE = ("#1F83C4", "#D55E00", "#00976E", "#C4609A", "#A07A00", "#8370D8")
"""Line colours that colour-blind readers can tell apart: the hues of Okabe & Ito (2008,
https://jfly.uni-koeln.de/color/), as light or dark as it takes for a contrast of 3 both to white and to JupyterLab's
dark background, #111."""

GUIDE = "#777777"
"""Labels and lines that help the eye: a contrast of 4 to both backgrounds. bqplot's own labels follow the theme, but
in the dark one they are orange."""

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
