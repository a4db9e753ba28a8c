"""JupyterLab as a process of its own, and a notebook open in a browser's page."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

SETTINGS = {
    "notification": '{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}',
}

START_LIMIT_S = 60.0

KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"


@dataclass(frozen=True)
class JupyterLab:
    """A running server: where it answers, the folder it serves, its environment."""

    url: str
    folder: Path
    env: dict[str, str]

    def add_notebook(self, notebook: Path) -> str:
        """Copy a notebook into the served folder and trust it; returns its name."""
        shutil.copyfile(notebook, self.folder / notebook.name)
        trust = [sys.executable, "-m", "jupyter", "trust", notebook.name]
        subprocess.run(trust, cwd=self.folder, env=self.env, check=True, capture_output=True)
        return notebook.name


@contextmanager
def running_jupyterlab(root: Path) -> Iterator[JupyterLab]:
    """JupyterLab on a free port of this machine, with folders of its own below ``root``.

    Nothing of this account's Jupyter is read or changed. Server and kernels are one process group, which ends here.
    """
    folder = root / "notebooks"
    folder.mkdir()
    for name, text in SETTINGS.items():
        path = root / "settings/@jupyterlab/apputils-extension" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
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


@dataclass
class OpenNotebook:
    """A notebook in a page of JupyterLab, and all that the page complained about."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, page: Any, lab: JupyterLab, name: str) -> "OpenNotebook":
        """Open it in a fresh workspace, without side bars, and wait for its kernel."""
        opened = cls(page)
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and opened.complaints.append(message.text))
        workspace = name.split(".")[0]
        page.goto(f"{lab.url}/lab/workspaces/{workspace}/tree/{name}?token={TOKEN}&reset")
        page.wait_for_function(f"() => {KERNEL}?.status === 'idle'", timeout=60_000)
        page.evaluate("() => { const s = window.jupyterapp.shell; s.collapseLeft(); s.collapseRight(); }")
        return opened

    def run_all(self, limit_s: float) -> None:
        """Run every cell; returns when the kernel rests and every code cell has its number."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            f"""() => {KERNEL}.status === 'idle' && [...window.jupyterapp.shell.currentWidget.content.model.cells]
                .every(c => c.type !== 'code' || c.executionCount !== null)""",
            timeout=1000 * limit_s,
        )

    def outputs(self) -> list[list[dict[str, Any]]]:
        """The outputs of each cell, as a notebook file holds them."""
        return self.page.evaluate(
            """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
                .map(c => c.outputs ? c.outputs.toJSON() : [])"""
        )

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

    def kernel_prints(self, code: str) -> str:
        """What code prints in the notebook's kernel, run beside its cells."""
        return self.page.evaluate(
            f"""async code => {{
                const future = {KERNEL}.requestExecute({{code, store_history: false}});
                let text = '';
                future.onIOPub = m => {{ text += m.content.text ?? m.content.evalue ?? ''; }};
                await future.done;
                return text.trim();
            }}""",
            code,
        )


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
            server.wait(15)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
