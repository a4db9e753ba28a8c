"""The tests' own eyes and ears: a widget that does not come up is heard, what is cut off or covered is seen."""

from typing import Any

import numpy as np
import pytest
from ui.lab import hear_complaints
from ui.looks import changed_part, misplaced, painted_part, pixels

CARD = """<body style="margin: 0"><div class="area" style="width: 300px">
<div class="helixlab-view" style="background: #fff; height: 100px">{}</div></div></body>"""


@pytest.mark.parametrize("level", ["log", "warn", "error"])
def test_a_widget_that_is_not_registered_is_heard_on_every_level(page: Any, level: str) -> None:
    complaints = hear_complaints(page)
    text = "Module nglview-js-widgets, version 4.0 is not registered"
    page.evaluate("([level, text]) => { console.log('all well'); console[level](text); }", [level, text])
    assert [text in complaint for complaint in complaints] == [True]


@pytest.mark.parametrize(
    ("inside", "complaint"),
    [
        ("<button>Search</button> <button>Refine</button>", ""),
        ('<div style="overflow: auto"><table style="width: 900px"><tr><td>wide</table></div>', ""),
        ('<button style="margin-left: 280px">Search</button>', "reaches"),
        ('<p style="width: 40px; overflow: hidden; white-space: nowrap">resolution</p>', "its text"),
        ('<button>Search</button><button style="margin-left: -20px">Refine</button>', "share"),
    ],
    ids=["fits", "scrolls", "sticks out", "too narrow", "overlaps"],
)
def test_what_does_not_fit_is_seen(page: Any, inside: str, complaint: str) -> None:
    page.set_content(CARD.format(inside))
    found = misplaced(page.locator(".area"))
    assert len(found) == bool(complaint)
    assert all(complaint in words for words in found)


def test_painted_and_changed_parts(page: Any) -> None:
    page.set_content(
        CARD.format('<div style="width: 150px; height: 50px; margin-left: 150px; background: #06c"></div>')
    )
    card = page.locator(".helixlab-view")
    assert painted_part(card) == pytest.approx(0.25, abs=0.001)
    before = pixels(card)
    assert changed_part(before, before) == 0
    assert changed_part(before, np.ones_like(before)) == pytest.approx(0.25, abs=0.001)
    assert changed_part(before, before[1:]) == 1
