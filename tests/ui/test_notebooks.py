"""The tutorials in a real JupyterLab in a real browser: they run, every figure is painted, nothing complains."""

import io
import os
from pathlib import Path
from typing import Any

from matplotlib.image import imread
from ui.lab import JupyterLab, OpenNotebook

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

PICTURES = os.environ.get("HELIXLAB_PICTURES")
"""A folder that is to receive every screenshot, to be looked at; those of docs/images are among them."""

RUN_LIMIT_S = 300
"""A cold start compiles every kernel, on cores that other tests use too."""

VIEWS = [(1400, "Light"), (600, "Dark"), *([(1400, "Dark"), (600, "Light")] if PICTURES else [])]
"""Widths in px and themes: each of both, and every pair for those who want to look."""

DRAWN = "image[href], path.line[d]"
"""What bqplot draws a picture or a curve with, once there is something to draw."""

FITS = """([figure, area]) => {
    const [whole, room, plot, picture] =
        [figure, area, figure.querySelector('.plotarea_events'), figure.querySelector('image')]
        .map(e => e?.getBoundingClientRect());
    const near = (a, b) => Math.abs(a - b) < 2;
    return whole.width > 100 && whole.left >= room.left - 1 && whole.right <= room.right + 1
        && plot.left >= whole.left && plot.right <= whole.right
        && (!picture || near(picture.left, plot.left) && near(picture.right, plot.right));
}"""
"""Nothing of the figure sticks out of the cell's output, and the picture fills its axes: bqplot draws again some time
after the width has changed."""

LEAST_PAINTED = 0.01

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def test_find_the_symmetry(page: Any, jupyterlab: JupyterLab) -> None:
    notebook = OpenNotebook.open(page, jupyterlab, jupyterlab.add_notebook(NOTEBOOKS / "01_find_the_symmetry.ipynb"))
    notebook.run_all(RUN_LIMIT_S)

    outputs = notebook.outputs()
    errors = [out for cell in outputs for out in cell if out["output_type"] == "error"]
    assert errors == []
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


def check_figures(notebook: OpenNotebook, cell: int, view: str) -> None:
    """Every figure of a cell is painted, and none is wider than the notebook."""
    area = notebook.show_cell(cell)
    figures = area.locator(".bqplot")
    figures.first.wait_for(state="visible")
    for number in range(figures.count()):
        figure = figures.nth(number)
        figure.locator(DRAWN).first.wait_for(state="attached")
        notebook.page.wait_for_function(FITS, arg=[figure.element_handle(), area.element_handle()])
    pixels = imread(io.BytesIO(figures.first.screenshot()))[..., :3]
    # Of an empty figure only the axes are painted: a few per cent of the pixels.
    background = pixels[0, 0]
    painted = (abs(pixels - background) > 0.05).any(axis=-1).mean()
    assert painted > LEAST_PAINTED, f"cell {cell}, {view}: only {painted:.1%} of the figure is painted"
    if PICTURES:
        area.screenshot(path=f"{PICTURES}/{view}-cell{cell:02d}.png")
        figures.first.screenshot(path=f"{PICTURES}/{view}-cell{cell:02d}-figure.png")


def click_the_first_landscape(notebook: OpenNotebook, cell: int) -> tuple[float, float]:
    """Click in the middle of a landscape; returns what its ``picked`` holds then, as its readout shows it."""
    area = notebook.show_cell(cell)
    area.locator(".bqplot image").first.click()
    readout = area.get_by_text("Picked: twist")
    readout.wait_for(state="visible")
    words = readout.inner_text().replace("°", "").replace(",", "").split()
    return float(words[2]), float(words[4])
