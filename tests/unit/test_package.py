"""The package as a whole: what importing it costs and loads, its version, its notebooks, its import rules."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

NOT_AT_IMPORT = ["helixlab_widgets", "ipywidgets", "bqplot", "nglview", "anywidget", "IPython", "matplotlib", "pandas"]

MAX_IMPORT_S = 0.5
"""What `import helixlab` may take beyond jax itself (DESIGN: no one waits for a command's --help)."""


def python(code: str, **env: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **env}
    )
    return run.stdout


def test_import_loads_no_user_interface_and_nothing_that_draws() -> None:
    loaded = json.loads(python("import helixlab, json, sys; print(json.dumps(sorted(sys.modules)))"))
    assert "helixlab" in loaded
    assert [name for name in NOT_AT_IMPORT if name in loaded] == []


def test_import_is_quick_beyond_jax() -> None:
    # Processor time in the same process after jax, so that neither jax nor a busy machine's waiting counts; the
    # smallest of several runs, because noise only ever adds.
    code = (
        "import time, jax, jax.numpy; start = time.process_time(); import helixlab; print(time.process_time() - start)"
    )
    seconds = min(float(python(code, JAX_PLATFORMS="cpu")) for _ in range(3))
    assert seconds < MAX_IMPORT_S


def test_every_public_name_can_be_used_after_a_bare_import() -> None:
    code = "import helixlab; print([n for n in getattr(helixlab, '__all__', []) if getattr(helixlab, n, None) is None])"
    assert python(code, JAX_PLATFORMS="cpu").strip() == "[]"


def test_version_is_the_installed_one() -> None:
    import helixlab

    assert helixlab.__version__ == version("helixlab")


def test_the_changelog_knows_the_version() -> None:
    assert f"## [{version('helixlab')}]" in (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_notebooks_are_stored_without_outputs() -> None:
    for path in sorted(CHECKOUT.glob("notebooks/*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code_cells = [cell for cell in cells if cell["cell_type"] == "code"]
        kept = [n for n, cell in enumerate(code_cells, 1) if cell["outputs"] or cell["execution_count"] is not None]
        assert kept == [], f"{path.name}: code cells {kept} hold outputs; remove them with `make strip`"


BROKEN_IMPORTS = {
    "a kernel that reaches up to the search": ("helixlab/kernels/bad.py", "import helixlab.search\n", "point down"),
    "a reader that uses a kernel": ("helixlab/io/bad.py", "import helixlab.kernels\n", "point down"),
    "a widget in the science": ("helixlab/search/bad.py", "import ipywidgets\n", "no user interface"),
    "a view in the science": ("helixlab/explore/bad.py", "import helixlab_widgets\n", "no user interface"),
    "a module without a place": ("helixlab/bad.py", "x = 1\n", "point down"),
}


@pytest.mark.parametrize("breach", BROKEN_IMPORTS)
def test_import_rules_catch(breach: str, tmp_path: Path) -> None:
    """The contracts of pyproject.toml, run on a copy of the package with one forbidden import."""
    where, code, contract = BROKEN_IMPORTS[breach]
    run = lint_imports(copy_of_sources(tmp_path, where, code))
    assert run.returncode == 1, run.stdout + run.stderr
    broken = [line for line in run.stdout.splitlines() if "BROKEN" in line]
    assert len(broken) == 1
    assert contract in broken[0]


def copy_of_sources(folder: Path, extra: str, code: str) -> Path:
    """The real modules, so that the one import added is the only thing wrong."""
    for source in [*CHECKOUT.glob("helixlab/**/*.py"), *CHECKOUT.glob("widgets/helixlab_widgets/**/*.py")]:
        inside = source.relative_to(CHECKOUT / "widgets" if "widgets" in source.parts else CHECKOUT)
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        (folder / inside).write_bytes(source.read_bytes())
    (folder / extra).write_text(code, encoding="utf-8")
    (folder / "pyproject.toml").write_bytes((CHECKOUT / "pyproject.toml").read_bytes())
    return folder


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_no_drawing_library_is_imported_at_module_level(tmp_path: Path) -> None:
    """Ruff's rule, which `make lint` runs: proved here on a file that breaks it."""
    (tmp_path / "helixlab").mkdir()
    (tmp_path / "pyproject.toml").write_bytes((CHECKOUT / "pyproject.toml").read_bytes())
    (tmp_path / "helixlab" / "bad.py").write_text(
        '"""A module."""\n\nimport matplotlib.pyplot as plt\n\n__all__ = ["plt"]\n', encoding="utf-8"
    )
    run = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "TID253" in run.stdout
