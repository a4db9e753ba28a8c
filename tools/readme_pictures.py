"""Make docs/images anew: screenshots of the tutorials in a real JupyterLab.

tools/readme_pictures.py       from anywhere, with the Python of .venv
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

CHECKOUT = Path(__file__).parents[1]

FIGURES = {"1400-light-cell11-figure.png": "landscape.png", "1400-light-cell24-figure.png": "unrolled.png"}
EXPLORER = {f"explorer-1400-{theme}.png": f"explorer-{theme}.png" for theme in ("light", "dark")}
"""What tests/ui/test_notebooks.py calls them, by the cell's position in the notebook, and what the README does."""

FIGURE_PX = 800
EXPLORER_PX = 1268
"""Height of what is shown of the explorer: down to the unrolled cylinder."""


def main() -> None:
    """Run the browser test with a folder for its screenshots, and keep some of them, a little smaller."""
    with tempfile.TemporaryDirectory() as folder:
        test = [sys.executable, "-m", "pytest", "-q", "tests/ui/test_notebooks.py"]
        subprocess.run(test, cwd=CHECKOUT, check=True, env={**os.environ, "HELIXLAB_PICTURES": folder})
        target = CHECKOUT / "docs" / "images"
        target.mkdir(parents=True, exist_ok=True)
        for source, name in FIGURES.items():
            picture = Image.open(Path(folder) / source).convert("RGB")
            picture.thumbnail((FIGURE_PX, FIGURE_PX), Image.Resampling.LANCZOS)
            picture.save(target / name, optimize=True)
        for source, name in EXPLORER.items():
            whole = Image.open(Path(folder) / source).convert("RGB")
            picture = whole.crop((0, 0, whole.width, EXPLORER_PX))
            # A palette makes it a quarter of a megabyte; of Pillow's methods this one keeps a colour map's colours.
            palette = picture.quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            palette.save(target / name, optimize=True)


if __name__ == "__main__":
    main()
