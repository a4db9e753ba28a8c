"""Symmetries kept side by side, with what speaks for each."""

from collections.abc import Sequence
from typing import Any

import traitlets

from helixlab_widgets.base import Canvas, View

_HELP = """Keep the symmetry in hand under a name, change it, keep the next: the table compares them. The score is the \
mean correlation of the map with its copies under all operators (1 is perfect); the resolution is where the half \
maps' FSC, both given that symmetry, falls to 0.143. The asymmetric control is the half maps as they are: a \
symmetry that is right does not end below it. An FSC alone cannot choose between two symmetries that both fit, so \
the remarks say which rows are one symmetry, which contain another, which the map cannot tell apart, and which seem to \
have been imposed on it before.
Click a name to look at it again. The file (JSON) holds everything and opens anywhere."""


class HypothesesCanvas(Canvas, script="hypotheses.js"):
    """The table, the buttons and the file's name."""

    rows = traitlets.List(
        traitlets.Dict(),
        help="One per hypothesis: name, twist_deg, rise_A, point_group (texts), hand, score, resolution, remark, "
        "is_current.",
    ).tag(sync=True)
    file_name = traitlets.Unicode("symmetry.hypotheses.json", help="Where hypotheses are saved and loaded.").tag(
        sync=True
    )
    saved = traitlets.Unicode(help="What was saved or loaded last.").tag(sync=True)


class HypothesesView(View):
    """A table of named hypotheses, and their file.

    What the user wants is told to the callbacks given to :meth:`on`: ``keep(name)``, ``keep_control()``,
    ``show(index)``, ``rename(index, name)``, ``remove(index)``, ``compare()``, ``save(path, overwrite)``,
    ``load(path)``, ``download()``, ``upload(name, text)``.

    Examples
    --------
    >>> view = HypothesesView()
    >>> view.show_rows([{"name": "one-start", "twist_deg": "22.030", "rise_A": "1.408", "point_group": "C1"}])
    >>> view.canvas.rows[0]["name"]
    'one-start'
    """

    def __init__(self, rows: Sequence[dict[str, Any]] = ()) -> None:
        self.canvas = HypothesesCanvas(rows=list(rows))
        super().__init__([self.canvas], title="Hypotheses", help_text=_HELP, name="hypotheses")

    def on(self, **callbacks: Any) -> None:
        """Call back when the user asks, by the names above."""
        for intent, callback in callbacks.items():
            self.listen(self.canvas, intent, callback)

    def show_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Show these hypotheses instead."""
        self.canvas.rows = list(rows)

    def hand_over(self, name: str, text: str) -> None:
        """Let the browser save a text as a file of the user's own machine."""
        self.canvas.send({"download": {"name": name, "text": text}})
