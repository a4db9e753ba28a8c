"""The interactive layer of HelixLab: views for JupyterLab. No science in here.

A view is given arrays and numbers, shows them and reports what the user wants; what it computes is display scaling
alone. Each view works alone in a notebook cell, and all of them together in :class:`SymmetryExplorer`. They follow
JupyterLab's light or dark theme and its width. The names below load when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helixlab_widgets.apps.explorer_state import ExplorerState
    from helixlab_widgets.apps.symmetry_explorer import SymmetryExplorer
    from helixlab_widgets.panels.controls import SymmetryControls
    from helixlab_widgets.views.candidates import CandidatesTable
    from helixlab_widgets.views.cylinder import CylinderView
    from helixlab_widgets.views.fsc import FSCView
    from helixlab_widgets.views.images import image_figure
    from helixlab_widgets.views.isosurface import IsosurfaceView
    from helixlab_widgets.views.landscape import LandscapeView
    from helixlab_widgets.views.slices import SliceView
    from helixlab_widgets.views.spectrum import SpectrumView

_HOME = {
    "CandidatesTable": "helixlab_widgets.views.candidates",
    "CylinderView": "helixlab_widgets.views.cylinder",
    "ExplorerState": "helixlab_widgets.apps.explorer_state",
    "FSCView": "helixlab_widgets.views.fsc",
    "IsosurfaceView": "helixlab_widgets.views.isosurface",
    "LandscapeView": "helixlab_widgets.views.landscape",
    "SliceView": "helixlab_widgets.views.slices",
    "SpectrumView": "helixlab_widgets.views.spectrum",
    "SymmetryControls": "helixlab_widgets.panels.controls",
    "SymmetryExplorer": "helixlab_widgets.apps.symmetry_explorer",
    "image_figure": "helixlab_widgets.views.images",
}

__all__ = [
    "CandidatesTable",
    "CylinderView",
    "ExplorerState",
    "FSCView",
    "IsosurfaceView",
    "LandscapeView",
    "SliceView",
    "SpectrumView",
    "SymmetryControls",
    "SymmetryExplorer",
    "image_figure",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'helixlab_widgets' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
