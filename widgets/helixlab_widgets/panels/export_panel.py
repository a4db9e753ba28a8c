"""The way out: maps, numbers and figures as files, and the code that makes the state again."""

from typing import Any

import traitlets

from helixlab_widgets.base import Canvas, View

_HELP = """Files are written beside the notebook unless the name holds a folder; nothing is overwritten unless \
"replace" is ticked. "Map" is the whole map with the symmetry imposed. "STAR" and ".cs" hold twist, rise and point \
group for RELION and CryoSPARC, JSON everything shown here, which "Load" above reads. "Figures" are the views at print \
quality; the isosurface has a button of its own. "Code" is a \
cell that makes this state again."""

KINDS = {
    "map": ("Map (.mrc)", "The map with the symmetry imposed"),
    "cs": (".cs", "Twist and rise for CryoSPARC"),
    "star": ("STAR", "Optics table with twist and rise for RELION"),
    "json": ("JSON", "Symmetry, hypotheses and view: what “Load” reads"),
    "png": ("Figures (PNG)", "Each view as a picture"),
    "svg": ("Figures (SVG)", "Each view as a drawing"),
    "code": ("Code", "A cell that makes this state again"),
}
"""What can be exported: the button's text and its explanation."""


class ExportCanvas(Canvas, script="export_panel.js"):
    """Buttons, the files' name, and what was written."""

    kinds = traitlets.Dict(KINDS, help="Button texts and explanations by kind.").tag(sync=True)
    stem = traitlets.Unicode("explored", help="The files' common beginning, with folder if wanted.").tag(sync=True)
    written = traitlets.List(traitlets.Unicode(), help="Files written last.").tag(sync=True)
    code = traitlets.Unicode(help="The code cell, once asked for.").tag(sync=True)


class ExportPanel(View):
    """Buttons that ask for files; :meth:`on_export` says who writes them.

    Examples
    --------
    >>> panel = ExportPanel(stem="tmv")
    >>> panel.on_export(lambda kind, stem, overwrite: [f"{stem}.{kind}"])
    >>> panel.export("json")
    >>> panel.canvas.written
    ['tmv.json']
    """

    def __init__(self, *, stem: str = "explored") -> None:
        self.canvas = ExportCanvas(stem=stem)
        super().__init__([self.canvas], title="Export", help_text=_HELP, name="export")
        self._write: Any = None
        self.listen(self.canvas, "export", self.export)

    def on_export(self, write: Any) -> None:
        """Give what writes: called with kind, stem and overwrite, it returns the names of the files written."""
        self._write = write

    def export(self, kind: str, overwrite: bool = False) -> None:
        """What a button does."""
        self.canvas.written = [str(path) for path in self._write(kind, self.canvas.stem, overwrite)]
