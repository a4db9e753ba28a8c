"""What the built distributions must hold.

check_dist.py DIST             the wheel and source distribution in DIST hold both packages and the tutorials
check_dist.py --same A B       two wheels hold the same files
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def tracked(*patterns: str) -> set[str]:
    """Files under version control that match."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.split("\0") if name}


def in_wheel(checkout_path: str) -> str:
    """Where the wheel holds a file of the checkout."""
    if checkout_path.startswith("notebooks/"):
        return f"helixlab_widgets/{checkout_path}"
    return checkout_path.removeprefix("widgets/")


def wheel_files(wheel: Path) -> set[str]:
    """Paths of all files in a wheel, but for its own record."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/RECORD")}


def check(dist: Path) -> None:
    """Both archives hold exactly the packages and notebooks that are under version control."""
    (wheel,) = dist.glob("helixlab-*.whl")
    (sdist,) = dist.glob("helixlab-*.tar.gz")
    sources = tracked("helixlab", "widgets/helixlab_widgets", "notebooks")
    needed = {in_wheel(path) for path in sources}
    assert any(path.endswith(".ipynb") for path in needed), "no tutorial notebook is under version control"
    held = {name for name in wheel_files(wheel) if ".dist-info/" not in name}
    assert held == needed, f"{wheel.name}: missing {sorted(needed - held)}, unexpected {sorted(held - needed)}"
    with tarfile.open(sdist) as archive:
        held = {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}
    needed = sources | tracked(
        "tests", "tools", "pyproject.toml", "constraints.txt", "Makefile", "README.md", "LICENSE"
    )
    assert needed <= held, f"{sdist.name}: missing {sorted(needed - held)}"
    print(f"{wheel.name}, {sdist.name}: hold what they should")


def check_same(one: Path, other: Path) -> None:
    """Both wheels list the same files."""
    difference = wheel_files(one) ^ wheel_files(other)
    assert not difference, f"{one} and {other} differ in {sorted(difference)}"
    print(f"{one.name}: the source distribution builds the same")


if __name__ == "__main__":
    if sys.argv[1] == "--same":
        check_same(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        check(Path(sys.argv[1]))
