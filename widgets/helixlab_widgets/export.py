"""What a view shows, as a file for a paper: drawn again by matplotlib, with axes and units."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from helixlab.errors import HelixLabError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 300
"""Of PNG: what journals ask for halftones."""

_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",  # text stays text, for those who edit the figure
    "svg.hashsalt": "helixlab",  # the same figure is the same file
}


def figure_bytes(
    draw: Callable[["Figure"], None], *, file_format: Literal["png", "svg"], size_in: tuple[float, float] = (6.0, 4.0)
) -> bytes:
    """Draw on an empty figure, and save it.

    Parameters
    ----------
    draw : callable
        Gets the figure, white, in a style fit for print; it adds axes and whatever they hold. The layout is made
        afterwards, so that no label is cut off.
    file_format : "png" or "svg"
    size_in : (width, height)
        Inches.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    HelixLabError
        If the format is another one.

    Examples
    --------
    >>> figure_bytes(lambda figure: None, file_format="png", size_in=(1, 1))[1:4]
    b'PNG'
    """
    if file_format not in ("png", "svg"):
        raise HelixLabError(f'file_format: found {file_format!r}; it is "png" or "svg".')
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    saved = io.BytesIO()
    with rc_context(_STYLE):
        figure = Figure(figsize=size_in, layout="constrained", facecolor="white")
        draw(figure)
        # Without the date, for the same reason as the salt.
        metadata = {"Date": None} if file_format == "svg" else None
        figure.savefig(saved, format=file_format, dpi=DPI, metadata=metadata)
    return saved.getvalue()
