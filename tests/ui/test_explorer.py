"""The Symmetry Explorer in a real JupyterLab, by mouse and keys: every gesture ends in the state and on the screen."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ui.lab import JupyterLab, OpenNotebook, drag
from ui.looks import COUNT_CONTEXTS, changed_part, hard_to_read, misplaced, pixels

CELLS = (
    """from helixlab.geometry import HelicalSymmetry
from helixlab.simulate import simulate_helix
from helixlab_widgets import SymmetryExplorer
truth = HelicalSymmetry(26.0, 9.0)
map = simulate_helix("builtin", truth, box=48, pixel_size_A=2.5, resolution_A=8.0, fsc_resolution_A=12.0)""",
    """explorer = SymmetryExplorer((map.half1, map.half2), symmetry=truth)
start = explorer.state
explorer""",
)

LIMIT_S = 180
"""For the longest answer, a first search, on cores that others use, too."""

FIELD = '.helixlab-number[data-name="{}"] input[type=text]'
NAMES = ("twist_deg", "rise_A", "pitch_A", "subunits_per_turn")
SLICES = ".helixlab-slices canvas"
CURVE = "[...document.querySelectorAll('.helixlab-fsc path.line')].map(path => path.getAttribute('d')).join()"


@pytest.fixture(scope="module")
def notebook(browser: Any, jupyterlab: JupyterLab) -> Iterator[OpenNotebook]:
    """One page and one kernel for all tests of this file."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.add_init_script(f"({COUNT_CONTEXTS})()")
    notebook = OpenNotebook.run_code(page, jupyterlab, *CELLS, name="explorer.ipynb")
    assert notebook.errors() == []
    yield notebook
    page.close()


@pytest.fixture
def page(notebook: OpenNotebook) -> Iterator[Any]:
    """The page as it was opened, and nothing on its console after the test."""
    notebook.complaints.clear()
    notebook.kernel_prints("explorer.state = start; explorer.candidates.show(())")
    rest(notebook)
    notebook.show_cell(1)
    yield notebook.page
    assert notebook.complaints == []


def rest(notebook: OpenNotebook) -> None:
    """Until the background work is done, and its answers are on the screen."""
    assert notebook.kernel_prints(f"print(explorer.wait({LIMIT_S}))") == "True"
    notebook.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def state(notebook: OpenNotebook) -> dict[str, Any]:
    return json.loads(notebook.kernel_prints("print(explorer.state.model_dump_json())"))


def press(page: Any, card: str, name: str) -> None:
    page.locator(f".helixlab-{card}").get_by_role("button", name=name, exact=True).click()


def step(page: Any, key: str, name: str = "twist_deg") -> None:
    page.locator(FIELD.format(name)).press(key)


def wait_for_text(page: Any, selector: str, text: str) -> None:
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.textContent.includes(text)",
        arg=[selector, text],
        timeout=1000 * LIMIT_S,
    )


def wait_for_fields(notebook: OpenNotebook) -> None:
    """The four fields say what the state is."""
    symmetry = ", ".join(f"explorer.symmetry.{name}" for name in NAMES)
    shown = ", ".join(f"'{FIELD.format(name)}'" for name in NAMES).replace('"', '\\"')
    fields = f"[{shown}].map(field => document.querySelector(field).value)"
    # Asked anew each time: what the mouse did may still be on its way to the kernel.
    for _ in range(LIMIT_S):
        said = notebook.kernel_prints(f"print(*[f'{{value:.3f}}' for value in ({symmetry})])").split()
        if notebook.page.evaluate(fields) == said:
            return
        notebook.page.wait_for_timeout(250)
    raise AssertionError(f"the fields show {notebook.page.evaluate(fields)}, the state is {said}")


def test_keys_and_sliders_move_every_view(page: Any, notebook: OpenNotebook) -> None:
    slices, curve = pixels(page.locator(SLICES)), page.evaluate(CURVE)
    step(page, "ArrowUp")
    step(page, "Shift+ArrowDown")
    step(page, "ArrowDown", "rise_A")
    notebook.wait_for_kernel("abs(explorer.state.twist_deg - 25.991) + abs(explorer.state.rise_A - 8.999) < 1e-9")

    slider = page.locator('.helixlab-number[data-name="twist_deg"] input[type=range]')
    drag(page, slider, (0.57, 0.5), (0.7, 0.5))
    notebook.wait_for_kernel("explorer.state.twist_deg > 40")
    notebook.wait_for_kernel(f"abs(explorer.state.twist_deg - {slider.input_value()}) < 1e-3")
    rest(notebook)
    wait_for_fields(notebook)
    assert changed_part(slices, pixels(page.locator(SLICES))) > 0.05
    page.wait_for_function(f"before => {CURVE} !== before", arg=curve)


def test_landscape_lattice_and_layer_lines_are_handles(page: Any, notebook: OpenNotebook) -> None:
    page.locator(".helixlab-landscape .helixlab-pointer").first.click()
    notebook.wait_for_kernel("explorer.landscape.picked == (explorer.state.twist_deg, explorer.state.rise_A)")
    wait_for_fields(notebook)

    # The lattice's point k = 1 lies at the twist and the rise: where it is dragged to, they are.
    notebook.kernel_prints("explorer.state = start; explorer.wait()")
    canvas, (place, per_px) = plane(notebook, "cylinder", left=58, right=14, top=10, bottom=40)
    drag(page, canvas, place(26, 9), place(40, 15))
    twist, rise = (f"abs(explorer.state.{name} - {value})" for name, value in (("twist_deg", 40), ("rise_A", 15)))
    notebook.wait_for_kernel(f"{twist} < {per_px[0]} and {rise} < {per_px[1]}")  # the mouse moves by whole pixels
    wait_for_fields(notebook)

    # The first layer line on the meridian lies at 1/rise.
    notebook.kernel_prints("explorer.state = start; explorer.wait()")
    canvas, (place, per_px) = plane(notebook, "spectrum", left=72, right=52, top=22, bottom=40)
    drag(page, canvas, place(0, 1 / 9), place(0, 1 / 8))
    notebook.wait_for_kernel(f"abs(1 / explorer.state.rise_A - 1 / 8) < {per_px[1]}")
    moved = state(notebook)
    assert moved["twist_deg"] / moved["rise_A"] == pytest.approx(26 / 9)  # the pitch stays
    wait_for_fields(notebook)


def plane(notebook: OpenNotebook, name: str, *, left: int, right: int, top: int, bottom: int) -> Any:
    """A picture under axes with these margins: its canvas, where a value lies as parts of it, values per pixel."""
    canvas = notebook.page.locator(f".helixlab-{name} canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    edges = notebook.kernel_prints(f"print([*explorer.{name}.canvas.x_edges, *explorer.{name}.canvas.y_edges])")
    x0, x1, y0, y1 = json.loads(edges)
    per_px = (x1 - x0) / (box["width"] - left - right), (y1 - y0) / (box["height"] - top - bottom)

    def place(x: float, y: float) -> tuple[float, float]:
        return (left + (x - x0) / per_px[0]) / box["width"], (top + (y1 - y) / per_px[1]) / box["height"]

    return canvas, (place, per_px)


def test_search_choose_undo_and_flip(page: Any, notebook: OpenNotebook) -> None:
    press(page, "controls", "Search symmetry")
    second = page.locator(".helixlab-candidates tbody tr[tabindex]").nth(1)
    second.wait_for(state="visible", timeout=1000 * LIMIT_S)
    rest(notebook)
    best = state(notebook)
    assert (best["twist_deg"], best["rise_A"]) == pytest.approx((26, 9), abs=0.1)  # a tenth of what is resolved
    second.click()
    chosen = "explorer.symmetry == explorer.candidates.candidates[{}].symmetry"
    notebook.wait_for_kernel(chosen.format(1))
    assert "helixlab-current" in second.get_attribute("class")
    press(page, "controls", "↶ Undo")
    notebook.wait_for_kernel(chosen.format(0))
    press(page, "controls", "↷ Redo")
    notebook.wait_for_kernel(chosen.format(1))
    wait_for_fields(notebook)

    rest(notebook)
    slices, twist = pixels(page.locator(SLICES)), state(notebook)["twist_deg"]
    notebook.kernel_prints("plane = explorer.slices.canvas.before_zy")
    press(page, "controls", "Flip hand")
    notebook.wait_for_kernel(f"explorer.state.is_flipped and explorer.state.twist_deg == {-twist}")
    rest(notebook)
    # Mirrored about the middle voxel: the first row of an even box has no partner.
    assert notebook.kernel_prints("print((explorer.slices.canvas.before_zy[:0:-1] == plane[1:]).all())") == "True"
    assert changed_part(slices, pixels(page.locator(SLICES))) > 0.05
    pressed = page.locator('.helixlab-controls [role=radio][aria-checked="true"]')
    assert pressed.inner_text() == "left"


def test_hypotheses_are_kept_compared_saved_and_loaded(page: Any, notebook: OpenNotebook, jupyterlab: Any) -> None:
    card = page.locator(".helixlab-hypotheses")
    card.get_by_label("Name of the hypothesis").fill("all")
    press(page, "hypotheses", "Keep current")
    wait_for_text(page, ".helixlab-hypotheses tbody", "all")
    notebook.kernel_prints("explorer.set_symmetry(truth.multiple(2))")
    card.get_by_label("Name of the hypothesis").fill("every second")
    press(page, "hypotheses", "Keep current")
    press(page, "hypotheses", "Add asymmetric control")
    press(page, "hypotheses", "Compare")
    wait_for_text(page, ".helixlab-hypotheses tbody tr:nth-child(2)", "2nd subunit of “all”")
    rest(notebook)
    rows = card.locator("tbody").inner_text()
    assert card.locator("tbody tr").count() == 3

    card.get_by_label("File of the hypotheses").fill("kept.json")
    press(page, "hypotheses", "Save")
    wait_for_text(page, ".helixlab-hypotheses .helixlab-actions [role=status]", "Saved kept.json")
    assert [h["name"] for h in json.loads((jupyterlab.folder / "kept.json").read_text())["hypotheses"]] == [
        *("all", "every second", "asymmetric")
    ]
    with page.expect_download() as download:
        press(page, "hypotheses", "Download")
    assert json.loads(download.value.path().read_text())["current"] == "every second"

    press(page, "hypotheses", "Save")  # nothing is overwritten unasked
    wait_for_text(page, ".helixlab-hypotheses [role=alert]", "kept.json")
    page.get_by_role("button", name="all", exact=True).click()
    notebook.wait_for_kernel("explorer.symmetry == truth")
    page.get_by_role("button", name="Remove all").click()
    page.wait_for_function("() => document.querySelectorAll('.helixlab-hypotheses tbody tr').length === 2")
    press(page, "hypotheses", "Load")
    wait_for_text(page, ".helixlab-hypotheses .helixlab-actions [role=status]", "Loaded kept.json")
    notebook.wait_for_kernel("explorer.symmetry == truth.multiple(2)")
    rest(notebook)
    assert card.locator("tbody").inner_text() == rows
    notebook.kernel_prints("explorer.hypotheses.heading.error = ''")


def test_what_goes_wrong_is_said_in_its_card(page: Any, notebook: OpenNotebook) -> None:
    message = page.locator(".helixlab-controls [role=alert]")

    def say(name: str, text: str) -> None:
        page.locator(FIELD.format(name)).fill(text)
        step(page, "Enter", name)

    say("twist_deg", "twenty")
    wait_for_text(page, ".helixlab-controls [role=alert]", "twenty")
    say("rise_A", "−1")
    wait_for_text(page, ".helixlab-controls [role=alert]", "rise_A")
    wait_for_fields(notebook)  # back to what they were
    assert state(notebook)["rise_A"] == 9
    say("rise_A", "9,5")
    notebook.wait_for_kernel("explorer.state.rise_A == 9.5")
    message.wait_for(state="hidden")

    notebook.kernel_prints("explorer.work.refine = lambda: 1 / 0")
    press(page, "controls", "Refine here")
    wait_for_text(page, ".helixlab-controls [role=alert]", "ZeroDivisionError")
    notebook.kernel_prints("del explorer.work.refine")
    press(page, "controls", "Refine here")
    message.wait_for(state="hidden")
    notebook.kernel_prints("explorer.slices.show_planes = lambda *planes: 1 / 0")
    step(page, "ArrowUp")
    wait_for_text(page, ".helixlab-slices [role=alert]", "ZeroDivisionError")
    notebook.kernel_prints("del explorer.slices.show_planes")
    step(page, "ArrowUp")
    page.locator(".helixlab-slices [role=alert]").wait_for(state="hidden")


@pytest.mark.parametrize(("width", "theme"), [(1400, "Dark"), (600, "Light"), (600, "Dark"), (1400, "Light")])
def test_everything_fits_and_can_be_read(page: Any, notebook: OpenNotebook, width: int, theme: str) -> None:
    notebook.kernel_prints("explorer.keep('all'); explorer.keep_control(); explorer.controls.heading.error = 'Oh'")
    page.set_viewport_size({"width": width, "height": 1000})
    notebook.set_theme(f"JupyterLab {theme}")
    rest(notebook)
    area = notebook.show_cell(1)
    assert misplaced(area) == []
    assert hard_to_read(area) == []
    if width == 1400:
        left, right = (card.bounding_box() for card in page.locator(".helixlab-columns > * > :last-child").all())
        assert left["y"] + left["height"] == pytest.approx(right["y"] + right["height"], abs=1)
    for ask in area.locator(".helixlab-ask").all():
        ask.click()
    assert misplaced(area) == []
    for ask in area.locator(".helixlab-ask").all():
        ask.click()
    notebook.kernel_prints("explorer.controls.heading.error = ''")


def test_closing_gives_everything_back(page: Any, notebook: OpenNotebook) -> None:
    for _ in range(5):
        page.evaluate(
            """() => {
                window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
                return window.jupyterapp.commands.execute('notebook:run-cell');
            }"""
        )
        page.wait_for_function(ALIVE, arg=1, timeout=1000 * LIMIT_S)
    rest(notebook)
    threads = "[t.name for t in __import__('threading').enumerate() if t.name.startswith('helixlab')]"
    assert notebook.kernel_prints(f"explorer.close(); print({threads})") == "[]"
    page.wait_for_function(ALIVE, arg=0)
    notebook.run_all(LIMIT_S)


ALIVE = """count => document.querySelectorAll('.helixlab-isosurface canvas').length === count
    && window.contexts.filter(context => !context.isContextLost()).length === count"""
"""So many pictures in 3D are on the page, and nobody else holds what it takes to draw one."""
