"""The numbers of a helical symmetry under the user's hands."""

from collections.abc import Callable

import traitlets

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab_widgets.arrays import Exact
from helixlab_widgets.base import Canvas, View

ACTIONS = ("search", "refine", "flip", "undo", "redo")

_HELP = """Twist and rise, or pitch and subunits per turn, describe the same helix: change any of them and the others \
follow. The slider spans the whole range or a window around the value; the arrow keys in a field move it by one step, \
with Shift by ten. Positive twist is right-handed. The point group is Cn for n identical strands around the axis, Dn \
if there is also a dyad across it.
Start with "Search symmetry"; then choose a candidate, or move by hand and watch the views follow."""


class SymmetryCanvas(Canvas, script="controls.js"):
    """Fields for a symmetry and its equivalent descriptions, and the explorer's actions."""

    twist_deg = traitlets.Float(22.0, help="Rotation per subunit, degrees, right-handed positive.").tag(sync=True)
    rise_A = traitlets.Float(1.4, help="Shift per subunit, Å.").tag(sync=True)
    pitch_A = traitlets.Float(0.0, help="360°·rise/|twist|, Å; 0 stands for no pitch (twist 0).").tag(sync=True)
    subunits_per_turn = traitlets.Float(0.0, help="360°/|twist|; 0 for twist 0.").tag(sync=True)
    hand = traitlets.Int(1, help="1 right-handed, −1 left-handed, 0 for twist 0.").tag(sync=True)
    point_group = traitlets.Unicode("C1", help="Cn or Dn.").tag(sync=True)
    max_rise_A = traitlets.Float(60.0, help="Where the rise's slider ends, Å.").tag(sync=True)
    can_undo = traitlets.Bool(help="Whether there is a change to take back.").tag(sync=True)
    can_redo = traitlets.Bool(help="Whether there is a change to make again.").tag(sync=True)
    readout = traitlets.Unicode(help="The score of the symmetry, in words.").tag(sync=True)


class SymmetryControls(View):
    """Twist, rise, pitch, subunits per turn, hand and point group, kept consistent.

    Parameters
    ----------
    symmetry : HelicalSymmetry, optional
    max_rise_A : float
        Where the rise's slider ends.

    Examples
    --------
    >>> controls = SymmetryControls(HelicalSymmetry(22.5, 1.4))
    >>> controls.canvas.pitch_A = 44.8
    >>> controls.symmetry
    HelicalSymmetry(twist_deg=22.5, rise_A=2.8, point_group='C1')
    """

    symmetry = Exact(HelicalSymmetry, help="What the fields say.")

    def __init__(self, symmetry: HelicalSymmetry | None = None, *, max_rise_A: float = 60.0) -> None:
        self.canvas = SymmetryCanvas(max_rise_A=max_rise_A)
        super().__init__([self.canvas], title="Symmetry", help_text=_HELP, name="controls")
        self._is_following = False
        self.watch(self, self._follow, "symmetry")
        self.watch(self.canvas, self._on_screw, "twist_deg", "rise_A", "point_group")
        self.watch(self.canvas, self._on_pitch, "pitch_A", "subunits_per_turn", "hand")
        self.listen(self.canvas, "typed", self._on_typed)
        self.symmetry = symmetry or HelicalSymmetry(22.0, 1.4)

    def on_action(self, name: str, callback: Callable[[], None]) -> None:
        """Call back when the user asks for one of :data:`ACTIONS`."""
        self.listen(self.canvas, name, callback)

    def _follow(self, _change: object = None) -> None:
        """Let the fields say what the symmetry is."""
        symmetry, canvas = self.symmetry, self.canvas
        self._is_following = True
        try:
            with canvas.hold_sync():
                canvas.twist_deg, canvas.rise_A = symmetry.twist_deg, symmetry.rise_A
                is_turning = symmetry.hand != 0
                canvas.pitch_A = symmetry.pitch_A if is_turning else 0.0
                canvas.subunits_per_turn = symmetry.subunits_per_turn if is_turning else 0.0
                canvas.hand, canvas.point_group = symmetry.hand, symmetry.point_group
        finally:
            self._is_following = False

    def _on_typed(self, name: str, label: str, text: str) -> None:
        """Take what was typed into a field, with whatever comma and minus sign the keyboard has."""
        try:
            value = float(text.replace(",", ".").replace("−", "-"))
        except ValueError:
            raise HelixLabError(f"{label}: found {text!r}; type a number, such as 12.5.") from None
        setattr(self.canvas, name, value)

    def _on_screw(self, _change: object) -> None:
        canvas = self.canvas
        self._take(lambda: HelicalSymmetry(canvas.twist_deg, canvas.rise_A, canvas.point_group))

    def _on_pitch(self, _change: object) -> None:
        canvas = self.canvas
        self._take(
            lambda: HelicalSymmetry.from_pitch(
                canvas.pitch_A, canvas.subunits_per_turn, canvas.hand, canvas.point_group
            )
        )

    def _take(self, read: Callable[[], HelicalSymmetry]) -> None:
        """Read the fields; if they make no symmetry, they go back to what they were."""
        if self._is_following:
            return
        try:
            self.symmetry = read()
        except Exception:
            self._follow()
            raise
