"""What goes wrong in the browser is said in the view."""

from typing import Any

from ui.lab import JupyterLab, OpenNotebook

CELL = """from helixlab_widgets.base import Canvas, View, static_text

class Faulty(Canvas):
    _esm = static_text("core.js") + '''
        function render({ model, el }) {
          const fail = () => { throw new Error("the click broke it"); };
          const reject = async () => { throw new Error("the promise broke it"); };
          el.append(element("button", { textContent: "Fail", onclick: fail }));
          el.append(element("button", { textContent: "Reject", onclick: reject }));
        }
        export default viewOf(render);'''

view = View([Faulty()], title="Faulty", help_text="", name="faulty")
view"""


def test_faults_of_handlers_and_promises_are_shown_in_their_view(page: Any, jupyterlab: JupyterLab) -> None:
    notebook = OpenNotebook.run_code(page, jupyterlab, CELL, name="faulty.ipynb")
    for button, fault in (("Fail", "the click broke it"), ("Reject", "the promise broke it")):
        page.get_by_role("button", name=button, exact=True).click()
        page.get_by_role("alert").get_by_text(fault).wait_for(state="visible")
    assert notebook.kernel_prints("print(type(view.last_error).__name__)") == "RuntimeError"
