"""The isosurface in a real browser: NGL is found, follows Python and the user, and gives back what it took."""

from typing import Any

import numpy as np
from ui.lab import JupyterLab, OpenNotebook, drag
from ui.looks import COUNT_CONTEXTS, changed_part, pixels

CELLS = (
    """
import numpy as np
from helixlab.geometry import Volume
from helixlab_widgets import IsosurfaceView

def balls(*centres):
    z, y, x = np.mgrid[-16:16, -16:16, -16:16]
    return Volume(sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 12) for a, b, c in centres), 3.0)

in_front, behind = [balls((10, 0, 0), (0, y, 0), (0, 0, 10)) for y in (-10, 10)]
""",
    "view = IsosurfaceView(in_front, symmetrised=behind, shown='before')\nview",
)

CANVAS = ".helixlab-isosurface canvas"

RUN_AGAIN = """() => {
    window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
    return window.jupyterapp.commands.execute('notebook:run-cell');
}"""

ONE_ALIVE = f"""() => document.querySelectorAll('{CANVAS}').length === 1
    && document.querySelector('{CANVAS}').dataset.painted
    && window.contexts.filter(c => !c.isContextLost()).length === 1"""


def painted(page: Any) -> int:
    return int(page.locator(CANVAS).get_attribute("data-painted") or 0)


def wait_for_paint(page: Any, after: int) -> None:
    page.wait_for_function(
        f"count => Number(document.querySelector('{CANVAS}')?.dataset.painted) > count", arg=after, timeout=60_000
    )


def test_isosurface(page: Any, jupyterlab: JupyterLab) -> None:
    notebook = OpenNotebook.run_code(page, jupyterlab, *CELLS)
    assert notebook.errors() == []
    wait_for_paint(page, 0)
    notebook.show_cell(1)
    canvas = page.locator(CANVAS)

    # Seen from -y with x to the right and z up, the hand of the map is kept: one ball hides the axis.
    seen = pixels(canvas)
    y, x = seen.shape[0] // 2, seen.shape[1] // 2
    is_blue = seen[..., 2] - seen[..., 0] > 0.1
    left, right = is_blue[:, x - 150 : x - 60], is_blue[:, x + 60 : x + 150]
    above, below = is_blue[: y - 60, x - 150 : x + 150], is_blue[y + 60 :, x - 150 : x + 150]
    assert [part.any() for part in (is_blue[y, x], right, above, left, below)] == [True, True, True, False, False]
    count = painted(page)
    notebook.kernel_prints("view.shown = 'after'")
    wait_for_paint(page, count)
    upright = pixels(canvas)
    assert np.ptp(upright[y, x]) < 0.1  # the grey axis, before the ball

    # The camera stays when the map is another one, and goes home on request.
    drag(page, canvas, (0.5, 0.5), (0.6, 0.4))
    turned = pixels(canvas)
    assert changed_part(upright, turned) > 0.01
    count = painted(page)
    notebook.kernel_prints("view.show(None, balls((10, 0, 0), (0, 10, 0), (0, 0, 10)))")
    wait_for_paint(page, count)
    assert changed_part(turned, pixels(canvas)) == 0
    page.get_by_role("button", name="Reset view").click()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert changed_part(upright, pixels(canvas)) == 0

    # The level follows the keyboard without another map.
    sent, count = notebook.kernel_prints("print(view._number, view.level_sigma)"), painted(page)
    page.locator(".helixlab-isosurface input[type=range]").press("ArrowUp")
    wait_for_paint(page, count)
    number, level = sent.split()
    notebook.wait_for_kernel(f"view._number == {number} and view.level_sigma > {level}")

    # A cell that runs again takes no more than it gives back.
    page.evaluate(COUNT_CONTEXTS)
    for _ in range(3):
        page.evaluate(RUN_AGAIN)
        page.wait_for_function(ONE_ALIVE, timeout=60_000)
    assert notebook.complaints == []
