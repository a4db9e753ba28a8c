"""The tutorials in a real JupyterLab in a real browser: they run, every figure is painted, nothing complains."""

import os
import time
from pathlib import Path
from typing import Any

from ui.lab import JupyterLab, OpenNotebook
from ui.looks import hard_to_read, misplaced, painted_part

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

PICTURES = os.environ.get("HELIXLAB_PICTURES")
"""A folder that is to receive every screenshot, to be looked at; those of docs/images are among them."""

RUN_LIMIT_S = 300
"""A cold start compiles every kernel, on cores that other tests use too."""

VIEWS = [(1400, "Light"), (600, "Dark"), *([(1400, "Dark"), (600, "Light")] if PICTURES else [])]
"""Widths in px and themes: each of both, and every pair for those who want to look."""

FIGURES = ".bqplot, .helixlab-planes"

DRAWN = "image[href], path.line[d]"
"""What bqplot draws a picture or a curve with, once there is something to draw; a canvas counts its paintings."""

PLACES = """(figure, area) =>
    [figure, area, figure.querySelector('.plotarea_events'), figure.querySelector('image')]
    .map(e => e?.getBoundingClientRect())
"""

FITS = f"""(figure, area) => {{
    const [whole, room, plot, picture] = ({PLACES})(figure, area);
    const near = (a, b) => Math.abs(a - b) < 2;
    return whole.width > 100 && whole.left >= room.left - 1 && whole.right <= room.right + 1
        && (!plot || plot.left >= whole.left && plot.right <= whole.right)
        && (!picture || near(picture.left, plot.left) && near(picture.right, plot.right));
}}"""
"""Nothing of the figure sticks out of the cell's output, and the picture fills its axes: bqplot draws again some time
after the width has changed."""

FITS_LIMIT_S = 60

LEAST_PAINTED = 0.01

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def test_find_the_symmetry(page: Any, jupyterlab: JupyterLab) -> None:
    notebook = OpenNotebook.open(page, jupyterlab, jupyterlab.add_notebook(NOTEBOOKS / "01_find_the_symmetry.ipynb"))
    notebook.run_all(RUN_LIMIT_S)

    outputs = notebook.outputs()
    assert notebook.errors() == []
    with_figure = [i for i, cell in enumerate(outputs) if any(WIDGET_VIEW in out.get("data", {}) for out in cell)]
    assert len(with_figure) == 11

    for width, theme in VIEWS:
        page.set_viewport_size({"width": width, "height": 1400})
        notebook.set_theme(f"JupyterLab {theme}")
        for cell in with_figure:
            check_figures(notebook, cell, f"{width}-{theme.lower()}")

    picked = click_the_first_landscape(notebook, with_figure[2])
    assert -180 <= picked[0] <= 180
    assert 1 <= picked[1] <= 60
    assert notebook.complaints == []


def test_explore(page: Any, jupyterlab: JupyterLab) -> None:
    notebook = OpenNotebook.open(page, jupyterlab, jupyterlab.add_notebook(NOTEBOOKS / "02_explore.ipynb"))
    notebook.run_all(RUN_LIMIT_S)
    assert notebook.errors() == []
    assert notebook.kernel_prints(f"print(explorer.wait({RUN_LIMIT_S}))") == "True"
    # The search was asked for while the explorer was still opening: its answer is in hand nevertheless.
    assert (
        notebook.kernel_prints("print(explorer.symmetry == found == explorer.candidates.candidates[0].symmetry)")
        == "True"
    )

    for width, theme in VIEWS:
        page.set_viewport_size({"width": width, "height": 1400})
        notebook.set_theme(f"JupyterLab {theme}")
        for cell in EXPLORER_CELL, SLICES_CELL, FSC_CELL:
            check_figures(notebook, cell, f"02-{width}-{theme.lower()}")
        area = notebook.show_cell(EXPLORER_CELL)
        page.wait_for_function(ALL_PAINTED, timeout=60_000)
        assert misplaced(area) == []
        assert hard_to_read(area) == []
        if PICTURES:
            notebook.kernel_prints("explorer.isosurface.level_sigma = 1.7")  # the symmetrised map has less noise
            picture = notebook.shot(f"{PICTURES}/explorer-{width}-{theme.lower()}.png", EXPLORER_CELL)
            page.locator(".helixlab-explorer").screenshot(path=picture)  # without the cell's number
    assert notebook.complaints == []


def test_refine(page: Any, jupyterlab: JupyterLab) -> None:
    notebook = OpenNotebook.open(page, jupyterlab, jupyterlab.add_notebook(NOTEBOOKS / "03_refine.ipynb"))
    notebook.run_all(RUN_LIMIT_S)
    assert notebook.errors() == []
    # What the text promises, whatever the last digits are.
    assert notebook.kernel_prints("print(right.warnings)") == "()"
    doubt = "any('doubted: another one (twist -101.' in text for text in wrong_last.warnings)"
    assert notebook.kernel_prints(f"print({doubt})") == "True"
    assert notebook.kernel_prints("print(comparison.best == found)") == "True"
    assert notebook.kernel_prints("print(right_fsc.crossing(0.5).resolution_A < 10)") == "True"
    assert notebook.kernel_prints("print(wrong_fsc.crossing(0.5).resolution_A > 15)") == "True"

    outputs = notebook.outputs()
    with_figure = [i for i, cell in enumerate(outputs) if any(WIDGET_VIEW in out.get("data", {}) for out in cell)]
    assert len(with_figure) == 7
    for width, theme in VIEWS:
        page.set_viewport_size({"width": width, "height": 1400})
        notebook.set_theme(f"JupyterLab {theme}")
        for cell in with_figure:
            check_figures(notebook, cell, f"03-{width}-{theme.lower()}")
    assert notebook.complaints == []


EXPLORER_CELL, SLICES_CELL, FSC_CELL = 5, 14, 16

ALL_PAINTED = """() => ['slices', 'cylinder', 'spectrum', 'isosurface'].every(
    name => document.querySelector(`.helixlab-${name} canvas[data-painted]:not([data-painted="0"])`)
)"""
"""Those that do not count are bqplot's own."""


def check_figures(notebook: OpenNotebook, cell: int, view: str) -> None:
    """Every figure of a cell is painted, and none is wider than the notebook."""
    area = notebook.show_cell(cell)
    figures = area.locator(FIGURES)
    figures.first.wait_for(state="visible")
    for number in range(figures.count()):
        figure = figures.nth(number)
        deadline = time.monotonic() + FITS_LIMIT_S
        while True:
            # bqplot redraws only what is seen, and what is drawn above may push it out of sight.
            figure.scroll_into_view_if_needed()
            figure.locator(DRAWN).or_(area.locator("canvas[data-painted]")).first.wait_for(state="attached")
            if figure.evaluate(FITS, area.element_handle()):
                break
            places = figure.evaluate(PLACES, area.element_handle())
            assert time.monotonic() < deadline, f"cell {cell}, {view}, figure {number} does not fit: {places}"
            time.sleep(0.1)
    # Of an empty figure only the axes are painted: a few per cent of the pixels.
    painted = painted_part(figures.first)
    assert painted > LEAST_PAINTED, f"cell {cell}, {view}: only {painted:.1%} of the figure is painted"
    if PICTURES:
        area.screenshot(path=f"{PICTURES}/{view}-cell{cell:02d}.png")
        figures.first.screenshot(path=f"{PICTURES}/{view}-cell{cell:02d}-figure.png")


def click_the_first_landscape(notebook: OpenNotebook, cell: int) -> tuple[float, float]:
    """Click in the middle of a landscape; returns what its ``picked`` holds then, as its readout shows it."""
    area = notebook.show_cell(cell)
    area.locator(".helixlab-pointer").first.click()
    readout = area.get_by_text("Picked: twist")
    readout.wait_for(state="visible")
    words = readout.inner_text().replace("°", "").replace(",", "").split()
    return float(words[2]), float(words[4])
