"""A measured row, and the table of all rows."""

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass
class Row:
    """One line of the table: what was measured, beside what is wanted."""

    work: str
    target: str
    measured: str
    is_met: bool | None = None
    """None where there is no target."""
    run_s: float | None = None
    compile_s: float | None = None
    cores: int | None = None
    peak_MB: float | None = None
    relion: str = ""
    """RELION on the same input in the same run; empty where it was not run."""
    details: dict[str, Any] = field(default_factory=dict)
    """Everything behind the numbers, for ``--json``."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def print_rows(rows: list[Row], console: Console) -> None:
    table = Table(title="HelixLab benchmarks", show_lines=True)
    for column in ("work", "target", "measured"):
        table.add_column(column, overflow="fold")
    for column in ("run", "compile", "cores", "peak"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("RELION, same run", overflow="fold")
    table.add_column("")
    for row in rows:
        verdict = {True: "[green]met[/]", False: "[bold red]missed[/]", None: ""}[row.is_met]
        cores = "" if row.cores is None else str(row.cores)
        peak = "" if row.peak_MB is None else f"{row.peak_MB:.0f} MB"
        times = (seconds(row.run_s), seconds(row.compile_s))
        table.add_row(row.work, row.target, row.measured, *times, cores, peak, row.relion, verdict)
    console.print(table)


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it."""
    if value is None:
        return ""
    return f"{1e3 * value:.0f} ms" if value < 1 else f"{value:.2f} s"
