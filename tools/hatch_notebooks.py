"""Build hook: the wheel carries the tutorial notebooks as ``helixlab_widgets/notebooks``.

An editable install reads them from the checkout instead, so that nobody edits a copy.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NotebooksHook(BuildHookInterface):
    """Adds every notebook of ``notebooks/``: not checkpoints, nor what running a tutorial there has written."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files to add; hatchling calls this before each build."""
        if version == "editable":
            return
        folder = Path(self.root) / "notebooks"
        for path in sorted(folder.rglob("*.ipynb")):
            inside = path.relative_to(folder)
            if not any(part.startswith(".") for part in inside.parts):
                build_data["force_include"][str(path)] = f"helixlab_widgets/notebooks/{inside.as_posix()}"
