"""Do what a Binder-style server does with binder/, in an empty environment, and run the tutorials there.

tools/binder_check.py [NOTEBOOK ...]       from anywhere, with the Python of .venv; default: all of notebooks/

The tracked files are copied as they are in the working tree. Conda is not asked: the Python is the one that
tools/venv.sh finds (PYTHON=... names another), not the one that environment.yml pins; the list of pip is the same.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).parents[1]

WIDGETS = ("@jupyter-widgets/jupyterlab-manager", "anywidget", "bqplot", "nglview-js-widgets")
"""What JupyterLab has to know for the explorer to appear."""


def run(*command: str | Path, folder: Path, **env: str) -> str:
    """Run a command, its errors shown; returns what it wrote to stdout and stderr."""
    print("+", *command, flush=True)
    done = subprocess.run(
        command, cwd=folder, env=os.environ | env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.exit(f"{done.stdout[-4000:]}\nbinder-check: {Path(command[0]).name} ended with status {done.returncode}")
    return done.stdout


def copy_tracked_files(folder: Path) -> None:
    """The checkout as a server that clones it would have it, with what is not committed yet."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        source, target = CHECKOUT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)


def pip_requirements(environment: Path) -> list[str]:
    """The lines of the file's list for pip."""
    dependencies = yaml.safe_load(environment.read_text(encoding="utf-8"))["dependencies"]
    (listed,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    return listed


def main(notebooks: list[str]) -> None:
    """Copy, install, post-build, then look for the widgets and execute the notebooks."""
    with tempfile.TemporaryDirectory(prefix="helixlab-binder-") as scratch:
        checkout, venv = Path(scratch) / "checkout", Path(scratch) / "venv"
        copy_tracked_files(checkout)
        run("tools/venv.sh", venv, folder=checkout)
        python, binder = venv / "bin" / "python", checkout / "binder"
        # As conda and mamba do: a file of requirements beside environment.yml, and pip at work in that folder.
        requirements = binder / "requirements.txt"
        requirements.write_text("\n".join(pip_requirements(binder / "environment.yml")) + "\n", encoding="utf-8")
        pip = (python, "-m", "pip", "--disable-pip-version-check", "--no-input")
        # The pip that Python brings along may be too old to find these wheels; conda's is new.
        run(*pip, "install", "--quiet", "--constraint", checkout / "constraints.txt", "pip", folder=checkout)
        run(*pip, "install", "--quiet", "--upgrade", "-r", requirements, folder=binder)

        # Nothing of this account's Jupyter, nor of the environment that runs this, may help.
        home = {"HOME": scratch, "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin"}
        run(binder / "postBuild", folder=checkout, **home)
        known = run("jupyter", "labextension", "list", folder=checkout, **home)
        missing = [name for name in WIDGETS if name not in known]
        if missing:
            sys.exit(f"{known}\nbinder-check: JupyterLab does not know {', '.join(missing)}")
        for notebook in notebooks or sorted(str(p.relative_to(checkout)) for p in checkout.glob("notebooks/*.ipynb")):
            run("jupyter", "nbconvert", "--to", "notebook", "--execute", "--stdout", notebook, folder=checkout, **home)
    print("binder-check: all well")


if __name__ == "__main__":
    main(sys.argv[1:])
