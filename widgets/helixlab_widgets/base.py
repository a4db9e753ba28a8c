"""What all views have in common: a title with help, errors shown in place, and a clean end.

A view displays values and reports what the user wants; it computes nothing but display scaling, and never writes
to another view. :class:`View` is the card; :class:`Canvas` a part of it that draws itself in the browser.
"""

import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from importlib.resources import files
from typing import Any

import anywidget
import ipywidgets
import traitlets

from helixlab.errors import HelixLabError
from helixlab_widgets.jobs import Worker

Callback = Callable[..., Any]


@cache
def static_text(name: str) -> str:
    """A file of ``static/``."""
    return files("helixlab_widgets").joinpath("static", name).read_text(encoding="utf-8")


class Canvas(anywidget.AnyWidget):
    """A widget drawn by an ES module of ``static/``, after the helpers of ``static/core.js``.

    ``class Slices(Canvas, script="slices.js")`` names the module. Keywords are traits, and an unknown one is a
    TypeError. The module reports what the user wants with ``model.send({intent: "...", ...})``; a listener gets the
    other entries of the message as keywords.
    """

    def __init_subclass__(cls, *, script: str | tuple[str, ...] = (), **options: Any) -> None:
        scripts = (script,) if isinstance(script, str) else script
        if scripts:
            cls._esm = "\n".join(static_text(name) for name in ("core.js", *scripts))
            cls._css = static_text("helixlab.css")
        super().__init_subclass__(**options)

    def __init__(self, **traits: Any) -> None:
        unknown = sorted(set(traits) - set(self.trait_names()))
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(unknown)}.")
        self._listeners: dict[str, Callback] = {}
        # Pictures come from a worker's thread, what the browser sends comes in the main one, and ipywidgets collects
        # what is to be sent in a plain set: one thread would change it while the other goes through it.
        self._sending = threading.RLock()
        super().__init__(**traits)
        self.on_msg(self._receive)

    @contextmanager
    def hold_sync(self) -> Iterator[None]:
        """As ipywidgets', for one thread at a time."""
        with self._sending, super().hold_sync():
            yield

    def _should_send_property(self, key: str, value: Any) -> bool:
        # Only this, and no observer, runs under the lock: an observer may go on to another view's canvas.
        with self._sending:
            return super()._should_send_property(key, value)

    def listen(self, intent: str, callback: Callback) -> None:
        """Call back with a message's entries when the browser sends this intent."""
        self._listeners[intent] = callback

    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: list[Any]) -> None:
        details = dict(content)
        callback = self._listeners.get(details.pop("intent", ""))
        if callback is not None:
            callback(**details)


class Heading(Canvas, script="heading.js"):
    """A card's title with its help, how far its work is, and what went wrong."""

    title = traitlets.Unicode(help="The card's name.").tag(sync=True)
    help_text = traitlets.Unicode(help="What the card shows and what can be done with it; shown on request.").tag(
        sync=True
    )
    error = traitlets.Unicode(help="What went wrong and what to do; empty if nothing did.").tag(sync=True)
    activity = traitlets.Unicode(help="What is being done in the background; empty if nothing is.").tag(sync=True)
    part_done = traitlets.Float(help="Of the activity, 0 to 1.").tag(sync=True)
    can_cancel = traitlets.Bool(help="Whether a button to cancel the activity is shown.").tag(sync=True)


class View(ipywidgets.VBox):
    """A card: title, content, and in its place whatever went wrong.

    Parameters
    ----------
    content : sequence of widgets
        From top to bottom. What goes wrong in the browser's part of a :class:`Canvas` among them is shown, too.
    title, help_text : str
        The heading; the help opens with its button.
    name : str
        The DOM class is ``helixlab-`` and this.

    Attributes
    ----------
    last_error : Exception or None
        The exception whose message is shown.
    workers : list of Worker
        The background threads that end with the view.
    """

    workers: list[Worker]
    _links: list[tuple[traitlets.HasTraits, Callback, list[str]]]

    def __new__(cls, *_args: Any, **_options: Any) -> "View":
        """A view that can be closed, even if its arguments are refused."""
        view = super().__new__(cls)
        view.workers = []
        view._links = []
        return view

    def __init__(self, content: Sequence[ipywidgets.Widget], *, title: str, help_text: str, name: str) -> None:
        self.heading = Heading(title=title, help_text=help_text)
        self.last_error: Exception | None = None
        self._failed: object = None
        super().__init__(
            [self.heading, *content],
            layout=ipywidgets.Layout(width="100%", min_width="0px", overflow="hidden"),
        )
        self.add_class("helixlab-view")
        self.add_class(f"helixlab-{name}")
        for canvas in content:
            if isinstance(canvas, Canvas):
                canvas.listen("error", self._show_browser_error)

    # --- errors -----------------------------------------------------------------------------------

    def guarded(self, callback: Callback) -> Callback:
        """The callback with its exceptions shown in this view; its next success takes the message away."""

        @wraps(callback)
        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                result = callback(*args, **kwargs)
            except Exception as error:
                self.show_error(error, callback)
                return None
            self.clear_error(callback)
            return result

        return run

    def show_error(self, error: Exception, source: object = None) -> None:
        """Show what went wrong. The view goes on; what the same source does next may take the message away."""
        self.last_error, self._failed = error, source
        self.heading.error = error_text(error)

    def clear_error(self, source: object) -> None:
        """Take the message away if this source put it there."""
        if self.last_error is not None and self._failed is source:
            self.last_error = None
            self.heading.error = ""

    def _show_browser_error(self, message: str) -> None:
        self.show_error(RuntimeError(f"In the browser: {message}"))

    # --- links and work that end with the view -----------------------------------------------------

    def watch(self, source: traitlets.HasTraits, callback: Callback, *names: str) -> None:
        """Observe traits until :meth:`close`; the callback gets the change, its exceptions are shown here."""
        guarded = self.guarded(callback)
        source.observe(guarded, list(names))
        self._links.append((source, guarded, list(names)))

    def share(self, canvas: Canvas, *names: str) -> None:
        """Keep these traits of the view and their namesakes of the canvas the same, from the view's values on."""
        for name in names:
            setattr(canvas, name, getattr(self, name))
        self.watch(self, lambda change: setattr(canvas, change["name"], change["new"]), *names)
        self.watch(canvas, lambda change: setattr(self, change["name"], change["new"]), *names)

    def listen(self, canvas: Canvas, intent: str, callback: Callback) -> None:
        """What :meth:`Canvas.listen` does, with exceptions shown here."""
        canvas.listen(intent, self.guarded(callback))

    def add_worker(self, name: str, *, shows_progress: bool = False) -> Worker:
        """A background thread whose errors, and progress if wanted, are shown here."""
        source = object()
        worker = Worker(
            f"helixlab-{name}",
            on_error=lambda error: self.show_error(error, source),
            on_done=lambda: self.clear_error(source),
            on_progress=self.show_progress if shows_progress else None,
        )
        if shows_progress:
            self.heading.listen("cancel", worker.cancel)
            self.heading.can_cancel = True
        self.workers.append(worker)
        return worker

    def show_progress(self, text: str, part: float) -> None:
        """What is being done and how far; an empty text when nothing is."""
        with self.heading.hold_sync():
            self.heading.activity, self.heading.part_done = text, part

    def close(self) -> None:
        """End the background work, the links and every widget inside."""
        for worker in self.workers:
            worker.close()
        for source, callback, names in self._links:
            source.unobserve(callback, names)
        self._links.clear()
        self.workers.clear()
        held = (*self.children, self.layout)
        super().close()
        close_all(held)


def retire(owner: ipywidgets.Widget, old: ipywidgets.Widget) -> None:
    """Close what this owner retired before, and keep ``old`` until the next: a page that loads may still ask for it."""
    last = getattr(owner, "_retired", None)
    owner._retired = old
    if last is not None:
        last.close()


def close_all(widgets: Iterable[ipywidgets.Widget]) -> None:
    """Close widgets and all they hold: children, layouts, a figure's marks with their scales."""
    for widget in widgets:
        if widget.comm is None:
            continue
        held = [part for name in widget.keys for part in _widgets_in(getattr(widget, name, None))]
        held += _widgets_in(getattr(widget, "_retired", None))
        widget.close()
        close_all(held)


def _widgets_in(value: Any) -> Iterator[ipywidgets.Widget]:
    if isinstance(value, ipywidgets.Widget):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _widgets_in(part)


def error_text(error: Exception) -> str:
    """What a user reads of an exception: HelixLab's own errors say what to do, the others where they come from."""
    if isinstance(error, HelixLabError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}\nThis view goes on; its `last_error` holds the exception."
