"""The explorer shared: browsers on one kernel under jupyter-collaboration see it move, Voila serves it as a page."""

from collections.abc import Iterator
from typing import Any

import pytest
from ui.lab import PAGE_LIMIT_MS, TOKEN, JupyterLab, OpenNotebook, hear_complaints, running_jupyterlab

CELLS = (
    """from helixlab.geometry import HelicalSymmetry
from helixlab.simulate import simulate_helix
from helixlab_widgets import SymmetryExplorer
truth = HelicalSymmetry(30.0, 8.0)
volume = simulate_helix("builtin", truth, box=48, pixel_size_A=2.5, resolution_A=8.0).volume""",
    "explorer = SymmetryExplorer(volume, symmetry=truth)\nexplorer",
)

RESTS = "print(explorer.wait(60))"
"""Until its background work is done. A page that loads asks for the widgets once: what is made or closed meanwhile, as
the landscape's picture is, passes it by."""

FIELD = '.helixlab-number[data-name="{}"] input'
"""The text field of a number; its slider comes after it."""


@pytest.fixture(scope="module")
def shared_lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterLab]:
    with running_jupyterlab(tmp_path_factory.mktemp("collaboration"), with_collaboration=True) as lab:
        yield lab


@pytest.fixture
def second_page(browser: Any) -> Iterator[Any]:
    """Another visitor: nothing is shared with the first page but the server."""
    context = browser.new_context(viewport={"width": 600, "height": 1000})
    context.set_default_timeout(PAGE_LIMIT_MS)
    yield context.new_page()
    context.close()


def step(page: Any, name: str) -> None:
    page.locator(FIELD.format(name)).first.press("ArrowUp")


def wait_for_value(page: Any, name: str, value: str) -> None:
    page.wait_for_function(
        "([field, value]) => document.querySelector(field)?.value === value", arg=[FIELD.format(name), value]
    )


def test_two_browsers_see_the_same_state_move(page: Any, second_page: Any, shared_lab: JupyterLab) -> None:
    first = OpenNotebook.run_code(page, shared_lab, *CELLS, name="shared.ipynb")
    assert first.errors() == []
    wait_for_value(page, "twist_deg", "30.000")
    step(page, "twist_deg")
    wait_for_value(page, "twist_deg", "30.001")
    assert first.kernel_prints(RESTS) == "True"

    second = OpenNotebook.open(second_page, shared_lab, "shared.ipynb", workspace="second")
    wait_for_value(second_page, "twist_deg", "30.001")  # who comes late gets the state

    step(page, "twist_deg")
    wait_for_value(second_page, "twist_deg", "30.002")
    step(second_page, "rise_A")
    wait_for_value(page, "rise_A", "8.001")
    assert first.kernel_prints("print(explorer.symmetry.twist_deg, explorer.symmetry.rise_A)") == "30.002 8.001"
    assert first.complaints == second.complaints == []


def test_voila_serves_a_page(page: Any, jupyterlab: JupyterLab) -> None:
    name = jupyterlab.write_notebook("page.ipynb", [*CELLS, RESTS])
    complaints = hear_complaints(page)
    # Voila asks other servers for icons and MathJax; here it gets none, with or without a net.
    page.route(lambda url: not url.startswith(jupyterlab.url), lambda route: route.abort("blockedbyclient"))
    page.goto(f"{jupyterlab.url}/voila/render/{name}?token={TOKEN}")
    wait_for_value(page, "twist_deg", "30.000")
    page.locator(".helixlab-landscape image[href]").wait_for(state="attached")
    step(page, "twist_deg")
    # Python computes the pitch, 360° · rise / twist.
    wait_for_value(page, "pitch_A", f"{360 * 8.0 / 30.001:.3f}")
    assert [c for c in complaints if "ERR_BLOCKED_BY_CLIENT" not in c] == []
