"""JupyterLab as a process of its own, and a notebook open in a browser's page."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat.sign import NotebookNotary

TOKEN = "helixlab-ui-tests"

CHROMIUM_FLAGS = [
    "--no-sandbox",  # containers give it no user namespace
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Without a GPU, software draws a canvas faster than an emulated GPU does.
    "--enable-unsafe-swiftshader",
    "--disable-gpu-rasterization",
    "--disable-accelerated-2d-canvas",
]

CONFIGURATION = {
    "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # Jupyter Notebook's extension is not made for Voila and fails there.
    "config/voila.json": {"VoilaConfiguration": {"extension_denylist": ["@jupyter-notebook/lab-extension"]}},
}
"""Files below a server's own folder, and what they hold."""

WITHOUT_COLLABORATION = {
    "config/jupyter_server_config.json": {"ServerApp": {"jpserver_extensions": {"jupyter_server_ydoc": False}}},
    "config/labconfig/page_config.json": {
        "disabledExtensions": {"@jupyter/collaboration-extension": True, "@jupyter/docprovider-extension": True}
    },
}
"""More of them: where jupyter-collaboration is installed it takes over every notebook; most users have none."""

START_LIMIT_S = 60.0
END_LIMIT_S = 5.0
PAGE_LIMIT_MS = 60_000
"""For anything to appear in a page, on cores that other tests use too."""

KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"

BROKEN = re.compile(
    r"is not registered|Module \S+ .*not found|Failed to load model class|[Cc]ould not (create|instantiate|process)|"
    r"Error displaying widget|Failed to resolve module"
)
"""What a widget that does not come up says, on whatever level of the console."""

HEAR_KERNEL = f"""() => {{ {KERNEL}.iopubMessage.connect((_, message) => {{
    const {{header, content, parent_header}} = message;
    if (parent_header.msg_type === 'execute_request') return;
    if (header.msg_type === 'error') console.error(`kernel: ${{content.ename}}: ${{content.evalue}}`);
    if (header.msg_type === 'stream' && content.name === 'stderr')
        content.text.split('\\n').filter(line => line && !line.startsWith('No such comm'))
            .forEach(line => console.error('kernel: ' + line));
}}); }}"""
"""What goes wrong in a widget's callback is in no cell's output, and JupyterLab's console does not tell.

"No such comm" is what any kernel says, sooner or later, to any page: the page asks for the kernel's widgets on a line
of its own, before the kernel has loaded ipywidgets or before the line is open.
"""


CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """The browser: HELIXLAB_CHROMIUM, or the first of the usual names on PATH; None if there is none."""
    named = os.environ.get("HELIXLAB_CHROMIUM")
    return next((path for path in map(shutil.which, [named] if named else CHROMIUM_NAMES) if path), None)


@dataclass(frozen=True)
class JupyterLab:
    """A running server: where it answers, the folder it serves, its environment."""

    url: str
    folder: Path
    env: dict[str, str]

    def add_notebook(self, notebook: Path) -> str:
        """Copy a notebook into the served folder and trust it; returns its name."""
        shutil.copyfile(notebook, self.folder / notebook.name)
        return self._trust(notebook.name)

    def write_notebook(self, name: str, cells: Sequence[str]) -> str:
        """Write a notebook of code cells into the served folder and trust it; returns its name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.folder / name)
        return self._trust(name)

    def _trust(self, name: str) -> str:
        """Without trust, widgets are shown to whoever runs the cells, and to nobody else."""
        notary = NotebookNotary(data_dir=self.env["JUPYTER_DATA_DIR"])
        notary.sign(nbformat.read(self.folder / name, as_version=4))
        notary.store.close()
        return name


@contextmanager
def running_jupyterlab(root: Path, *, with_collaboration: bool = False) -> Iterator[JupyterLab]:
    """JupyterLab on a free port of this machine, with folders of its own below ``root``.

    Nothing of this account's Jupyter is read or changed. Server and kernels are one process group, which ends here.
    """
    folder = root / "notebooks"
    for path in (folder, root / "data"):
        path.mkdir(parents=True)
    for name, content in (CONFIGURATION if with_collaboration else CONFIGURATION | WITHOUT_COLLABORATION).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    env = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(root / "config"),
        "JUPYTER_DATA_DIR": str(root / "data"),
        "JUPYTER_RUNTIME_DIR": str(root / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"),
        "IPYTHONDIR": str(root / "ipython"),
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", root / "server.log"
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
        *(f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"),
        *(f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"),
    ]
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_for_answer(server, f"{url}/api/status?token={TOKEN}", log)
        yield JupyterLab(url, folder, env)
    finally:
        _end_group(server)


def hear_complaints(page: Any) -> list[str]:
    """A list that grows with every error of the page, and with every word of a widget that does not come up."""
    heard: list[str] = []

    def hear(message: Any) -> None:
        if message.type == "error" or BROKEN.search(message.text):
            heard.append(f"{message.type}: {message.text}")

    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("console", hear)
    return heard


@dataclass
class OpenNotebook:
    """A notebook in a page of JupyterLab, and all that page and kernel complained about."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, page: Any, lab: JupyterLab, name: str, *, workspace: str = "") -> "OpenNotebook":
        """Open it in a fresh workspace, without side bars, and wait for its kernel."""
        opened = cls(page, hear_complaints(page))
        workspace = workspace or name.split(".")[0]
        page.goto(f"{lab.url}/lab/workspaces/{workspace}/tree/{name}?token={TOKEN}&reset")
        page.wait_for_function(f"() => {KERNEL}?.status === 'idle'", timeout=60_000)
        page.evaluate("() => { const s = window.jupyterapp.shell; s.collapseLeft(); s.collapseRight(); }")
        page.evaluate(HEAR_KERNEL)
        return opened

    @classmethod
    def run_code(
        cls, page: Any, lab: JupyterLab, *cells: str, name: str = "code.ipynb", limit_s: float = 120
    ) -> "OpenNotebook":
        """A fresh notebook of these code cells, open and run."""
        notebook = cls.open(page, lab, lab.write_notebook(name, cells))
        notebook.run_all(limit_s)
        return notebook

    def run_all(self, limit_s: float) -> None:
        """Run the cells, up to one that fails; returns when the kernel rests and each has its number."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            f"""() => {{
                const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells].filter(c => c.outputs);
                const hasFailed = cells.some(c => c.outputs.toJSON().some(o => o.output_type === 'error'));
                return {KERNEL}.status === 'idle' && (hasFailed || cells.every(c => c.executionCount !== null));
            }}""",
            timeout=1000 * limit_s,
        )

    def outputs(self) -> list[list[dict[str, Any]]]:
        """The outputs of each cell, as a notebook file holds them."""
        return self.page.evaluate(
            """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
                .map(c => c.outputs ? c.outputs.toJSON() : [])"""
        )

    def errors(self) -> list[dict[str, Any]]:
        """The errors among the cells' outputs."""
        return [output for cell in self.outputs() for output in cell if output["output_type"] == "error"]

    def set_theme(self, name: str) -> None:
        """E.g. "JupyterLab Dark"; returns when the page has changed."""
        self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)

    def show_cell(self, index: int) -> Any:
        """Scroll to a cell; returns its output area."""
        self.page.evaluate(
            "async i => { await window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start', 0); }", index
        )
        area = self.page.locator(f".jp-Cell[data-windowed-list-index='{index}'] .jp-OutputArea").first
        area.wait_for(state="visible")
        area.scroll_into_view_if_needed()
        return area

    def shot(self, path: Path | str, cell: int = 0) -> Path:
        """A picture of a cell's whole output, however high it is; the window keeps the height it needed."""
        area = self.show_cell(cell)
        width = self.page.viewport_size["width"]
        height = min(int(area.bounding_box()["height"]) + 300, MOST_PICTURED_PX)
        self.page.set_viewport_size({"width": width, "height": max(height, self.page.viewport_size["height"])})
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.show_cell(cell).screenshot(path=path)
        return Path(path)

    def kernel_prints(self, code: str) -> str:
        """What code prints in the notebook's kernel, run beside its cells."""
        return self.page.evaluate(KERNEL_PRINTS, code)

    def wait_for_kernel(self, expression: str, limit_s: float = 90) -> None:
        """Ask the kernel again and again until a Python expression is true."""
        self.page.wait_for_function(
            f"async code => (await ({KERNEL_PRINTS})(code)) === 'True'",
            arg=f"print(bool({expression}))",
            polling=100,
            timeout=1000 * limit_s,
        )


MOST_PICTURED_PX = 8000
"""Height of the highest picture: what a page's memory holds."""

KERNEL_PRINTS = f"""async code => {{
    const future = {KERNEL}.requestExecute({{code, store_history: false}});
    let text = '';
    future.onIOPub = m => {{ text += m.content.text ?? m.content.evalue ?? ''; }};
    await future.done;
    return text.trim();
}}"""


def drag(page: Any, element: Any, start: tuple[float, float], end: tuple[float, float], *, steps: int = 10) -> None:
    """Drag the mouse inside an element; places are parts of its width and height, from the upper left."""
    box = element.bounding_box()
    (x0, y0), (x1, y1) = ((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end))
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=steps)
    page.mouse.up()


def _wait_for_answer(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """A server that ended, or is silent for too long, fails with its own words."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _end_group(server: subprocess.Popen[bytes]) -> None:
    """The server and its kernels: gently first, and whatever is left after."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
            server.wait(END_LIMIT_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
