"""``python -m benchmarks``: measure, print a table, and write JSON if asked."""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
from rich.console import Console

from benchmarks import (
    explorer_rows,
    impose_rows,
    memory_rows,
    refine_kernels,
    refine_rows,
    relion,
    search_rows,
    startup_rows,
)
from benchmarks.process import MeasurementError, all_cores
from benchmarks.report import Row, print_rows

GROUPS: dict[str, Callable[..., list[Row]]] = {
    "landscape": search_rows.landscape_rows,
    "accuracy": search_rows.accuracy_rows,
    "coverage": search_rows.coverage_rows,
    "explorer": explorer_rows.rows,
    "impose": impose_rows.rows,
    "memory": memory_rows.rows,
    "refine": refine_rows.rows,
    "refine-kernels": refine_kernels.rows,
    "search": search_rows.search_rows,
    "startup": startup_rows.rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and exactness of HelixLab.")
    parser.add_argument("rows", nargs="*", metavar="row", help=f"which: {', '.join(GROUPS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="one case of each, few repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number to FILE")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(GROUPS)
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")

    console = Console(width=None if os.isatty(1) else 160)
    peer = "with RELION in turns" if relion.is_installed() else "RELION is not installed: no ratios to it"
    console.print(f"{len(all_cores())} cores, load {os.getloadavg()[0]:.1f}, JAX {jax.__version__}; {peer}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="helixlab-bench-") as folder:
        for name in arguments.rows or GROUPS:
            console.print(f"measuring {name} ...")
            try:
                rows += GROUPS[name](Path(folder), quick=arguments.quick)
            except MeasurementError as error:
                rows.append(Row(work=name, target="runs", measured=str(error), is_met=False))
    print_rows(rows, console)
    if arguments.json:
        record = {"cores": len(all_cores()), "jax": jax.__version__, "rows": [row.to_dict() for row in rows]}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
        console.print(f"wrote {arguments.json}")


if __name__ == "__main__":
    main()
