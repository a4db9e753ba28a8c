"""Make docs/images anew: screenshots of the first tutorial's figures in a real JupyterLab.

tools/readme_pictures.py       from anywhere, with the Python of .venv
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

CHECKOUT = Path(__file__).parents[1]

PICTURES = {"1400-light-cell11-figure.png": "landscape.png", "1400-light-cell24-figure.png": "unrolled.png"}
"""What tests/ui/test_notebooks.py calls them, by the cell's position in the notebook, and what the README does."""

WIDTH_PX = 800


def main() -> None:
    """Run the browser test with a folder for its screenshots, and keep two of them, a little smaller."""
    with tempfile.TemporaryDirectory() as folder:
        test = [sys.executable, "-m", "pytest", "-q", "tests/ui/test_notebooks.py"]
        subprocess.run(test, cwd=CHECKOUT, check=True, env={**os.environ, "HELIXLAB_PICTURES": folder})
        target = CHECKOUT / "docs" / "images"
        target.mkdir(parents=True, exist_ok=True)
        for source, name in PICTURES.items():
            picture = Image.open(Path(folder) / source).convert("RGB")
            picture.thumbnail((WIDTH_PX, WIDTH_PX), Image.Resampling.LANCZOS)
            picture.save(target / name, optimize=True)


if __name__ == "__main__":
    main()
