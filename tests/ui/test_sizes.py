"""Canvases are as wide as their room, whenever a notebook hides them."""

from typing import Any

from ui.lab import JupyterLab, OpenNotebook

CELL = """import numpy as np
from ipywidgets import VBox
from helixlab.explore import PowerSpectrum
from helixlab.geometry import Volume
from helixlab_widgets import SliceView
from helixlab_widgets.views.spectrum import SpectrumView

density = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
freq_per_A = np.linspace(-0.2, 0.2, 41)
power = np.random.default_rng(0).exponential(size=(41, 41)).astype(np.float32)
VBox([SliceView(Volume(density, 2.0)), SpectrumView(PowerSpectrum(freq_per_A, freq_per_A, power))])"""

NARROW_PX = 300

HIDDEN_AT_THE_FRAME = f"""area => {{
    const box = area.querySelector('.helixlab-view').parentElement;
    const tells = new ResizeObserver(() => {{
        if (box.clientWidth !== {NARROW_PX}) return;
        tells.disconnect();
        setTimeout(() => {{
            box.style.display = 'none';
            requestAnimationFrame(() => {{ box.style.display = ''; }});
        }});
    }});
    tells.observe(box);
    box.style.width = '{NARROW_PX}px';
}}"""
"""The views hear of a new width, are hidden when they come to draw, and are back before anybody measures again: this is
what a theme whose style sheet takes its time may do."""

FIT = f"""area => [...area.querySelectorAll('canvas[data-painted]')].map(canvas => canvas.getBoundingClientRect().width)
    .every(width => 0 < width && width <= {NARROW_PX})"""


def test_a_view_that_was_hidden_for_a_moment_fits(page: Any, jupyterlab: JupyterLab) -> None:
    notebook = OpenNotebook.run_code(page, jupyterlab, CELL, name="sizes.ipynb")
    area = notebook.show_cell(0)
    canvases = area.locator('canvas[data-painted]:not([data-painted="0"])')
    canvases.nth(1).wait_for(state="visible")
    area.evaluate(HIDDEN_AT_THE_FRAME)
    page.wait_for_function(FIT, arg=area.element_handle(), timeout=10_000)
    assert canvases.count() == 2
    assert notebook.complaints == []
