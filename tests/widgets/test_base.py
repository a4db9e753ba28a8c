"""Cards, canvases, array traits and background workers, without a browser."""

import threading

import ipywidgets
import numpy as np
import pytest
import traitlets

from helixlab.errors import HelixLabError
from helixlab_widgets.arrays import Array
from helixlab_widgets.base import Heading, View
from helixlab_widgets.jobs import Worker


class Holder(traitlets.HasTraits):
    image = Array(ndim=2)


def view() -> View:
    return View([ipywidgets.HTML("content")], title="Title", help_text="Help", name="test")


# --- array traits -----------------------------------------------------------------------------------


def test_array_traits_are_read_only_and_new_objects_are_changes():
    seen = []
    holder = Holder()
    holder.observe(lambda change: seen.append(change["new"]), "image")
    values = np.ones((2, 3))
    holder.image = values
    holder.image = values
    assert len(seen) == 2
    assert seen[0].dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        seen[0][0, 0] = 2


def test_an_array_with_other_axes_is_refused():
    with pytest.raises(HelixLabError, match=r"image: found an array of shape \(3,\)"):
        Holder(image=np.zeros(3))


def test_arrays_travel_as_bytes_and_come_back():
    trait = Holder.image
    sent = trait.metadata["to_json"](np.arange(6, dtype=np.float32).reshape(2, 3), None)
    assert (sent["dtype"], sent["shape"], sent["data"].nbytes) == ("float32", [2, 3], 24)
    assert trait.metadata["from_json"](sent, None).tolist() == [[0, 1, 2], [3, 4, 5]]


# --- views ------------------------------------------------------------------------------------------


def test_an_unknown_keyword_is_a_type_error():
    with pytest.raises(TypeError, match="tilte"):
        Heading(tilte="x")


def test_an_exception_is_shown_and_goes_when_its_callback_succeeds():
    card, fails = view(), [True]

    def callback() -> None:
        if fails[0]:
            raise HelixLabError("rise_A: found 0; give a positive rise.")

    guarded, other = card.guarded(callback), card.guarded(lambda: None)
    guarded()
    assert card.heading.error == "rise_A: found 0; give a positive rise."
    other()
    assert card.heading.error
    fails[0] = False
    guarded()
    assert card.heading.error == ""
    assert card.last_error is None


def test_a_fault_of_ours_names_its_place():
    card = view()
    card.guarded(lambda: [][1])()
    assert "IndexError" in card.heading.error
    assert isinstance(card.last_error, IndexError)


def test_close_ends_links_and_widgets():
    card, source = view(), Holder()
    calls = []
    card.watch(source, calls.append, "image")
    source.image = np.zeros((1, 1))
    content = card.children[1]
    card.close()
    source.image = np.zeros((1, 1))
    assert len(calls) == 1
    assert content.comm is None


# --- workers ----------------------------------------------------------------------------------------


class Gate:
    """A job that says when it began and waits to be let go."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self, _ticket):
        self.began.set()
        assert self.may_end.wait(10)
        return "gate"


def test_the_newest_request_wins_and_what_began_is_finished():
    done, gate = [], Gate()
    worker = Worker("test", on_error=done.append)
    worker.submit(gate, done.append)
    assert gate.began.wait(10)
    for n in range(5):
        worker.submit(lambda _ticket, n=n: n, done.append)
    gate.may_end.set()
    assert worker.wait(10)
    assert done == ["gate", 4]


def test_a_long_job_that_checks_stops_when_something_newer_is_asked_for():
    done, began = [], threading.Event()

    def long(ticket):
        began.set()
        ticket.settle(10)
        return "long"

    worker = Worker("test", on_error=done.append)
    worker.submit(long, done.append)
    assert began.wait(10)
    worker.submit(lambda _ticket: "new", done.append)
    assert worker.wait(5)
    assert done == ["new"]


def test_a_cancelled_job_delivers_nothing_and_its_thread_ends():
    done, gate = [], Gate()
    worker = Worker("helixlab-test-cancel", on_error=done.append)
    worker.submit(gate, done.append)
    assert gate.began.wait(10)
    worker.cancel()
    gate.may_end.set()
    assert worker.wait(10)
    assert done == []
    worker.close()
    worker.submit(lambda _ticket: 1, done.append)
    assert done == []
    assert not any(t.name == "helixlab-test-cancel" and t.is_alive() for t in threading.enumerate())


def test_a_failed_job_is_shown_in_its_view_and_forgotten_after_a_success():
    card = view()
    worker = card.add_worker("test", shows_progress=True)
    worker.submit(lambda _ticket: 1 / 0)
    assert worker.wait(10)
    assert "ZeroDivisionError" in card.heading.error
    worker.submit(lambda ticket: ticket.progress("Working", 0.5))
    assert worker.wait(10)
    assert (card.heading.error, card.heading.activity) == ("", "")
