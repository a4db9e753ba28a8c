"""Pause, stop and edit a run from another thread; the run asks between its iterations."""

import threading
from typing import Any

from helixlab.reconstruct.settings import RefinementSettings


class StopRequested(Exception):  # noqa: N818 (a wish, no error)
    """The user asked the run to stop; what it has so far is kept."""


class Control:
    """What a user asks of a running refinement. All methods may be called from any thread.

    Parameters
    ----------
    settings : RefinementSettings
        Those the run starts, or goes on, with: edits are checked against them at once.

    Examples
    --------
    >>> control = Control(RefinementSettings())
    >>> control.edit(gsfsc_split_res_A=15.0)
    >>> control.between_iterations(RefinementSettings()).gsfsc_split_res_A
    15.0
    """

    def __init__(self, settings: RefinementSettings) -> None:
        self._changed = threading.Condition()
        self._is_paused = False
        self._is_stopping = False
        self._edits: dict[str, Any] = {}
        self._settings = settings

    @property
    def is_paused(self) -> bool:
        """Whether the run waits, or will wait after this iteration."""
        return self._is_paused

    @property
    def is_stopping(self) -> bool:
        """Whether the run has been asked to stop."""
        return self._is_stopping

    @property
    def settings(self) -> RefinementSettings:
        """The run's settings with the edits that wait for the next iteration."""
        return self._settings

    def pause(self) -> None:
        """Let the run wait after the iteration it is in."""
        self._set(is_paused=True)

    def resume(self) -> None:
        """Let a paused run go on."""
        self._set(is_paused=False)

    def stop(self) -> None:
        """End the run at the next opportunity, also a paused one."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def edit(self, **changes: Any) -> None:
        """Change settings from the next iteration on.

        Raises
        ------
        HelixLabError
            If a value is bad, or the setting is one that a running refinement cannot change; nothing changes then.
        """
        with self._changed:
            self._settings.check_editable(changes)
            self._settings = self._settings.replaced(**changes)
            self._edits |= changes

    def check_stop(self) -> None:
        """For the run, within an iteration: raise StopRequested if the user asked to stop."""
        if self._is_stopping:
            raise StopRequested

    def between_iterations(self, settings: RefinementSettings) -> RefinementSettings:
        """For the run, between iterations: wait while paused, then give the settings to go on with.

        Parameters
        ----------
        settings : RefinementSettings
            Those of the last iteration.

        Returns
        -------
        RefinementSettings
            The same object if nothing was edited.

        Raises
        ------
        StopRequested
            If the user asked to stop.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or not self._is_paused)
            self.check_stop()
            if self._edits:
                settings = settings.replaced(**self._edits)
                self._edits = {}
            self._settings = settings
            return settings

    def _set(self, *, is_paused: bool) -> None:
        with self._changed:
            self._is_paused = is_paused
            self._changed.notify_all()
