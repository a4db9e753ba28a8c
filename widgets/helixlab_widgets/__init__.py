"""The interactive layer of HelixLab: views for JupyterLab. No science in here.

A figure is given arrays and numbers and shows them; what it computes is display scaling alone. All figures follow
JupyterLab's light or dark theme and its width. The names below load when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helixlab_widgets.curves import curve_figure
    from helixlab_widgets.images import image_figure
    from helixlab_widgets.landscape import LandscapeFigure, landscape_figure
    from helixlab_widgets.sections import section_figure

_HOME = {
    "LandscapeFigure": "helixlab_widgets.landscape",
    "curve_figure": "helixlab_widgets.curves",
    "image_figure": "helixlab_widgets.images",
    "landscape_figure": "helixlab_widgets.landscape",
    "section_figure": "helixlab_widgets.sections",
}

__all__ = ["LandscapeFigure", "curve_figure", "image_figure", "landscape_figure", "section_figure"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'helixlab_widgets' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
