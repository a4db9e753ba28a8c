"""The explorer's hypotheses and files: kept, compared, saved, loaded, exported."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixlab.errors import HelixLabError
from helixlab.explore import (
    Hypothesis,
    HypothesisFile,
    HypothesisReport,
    MapIdentity,
    compare_hypotheses,
    parse_hypotheses,
    read_hypotheses,
    write_hypotheses,
)
from helixlab.io import write_volume
from helixlab.record import write_bytes, write_candidates_cs, write_symmetry_star
from helixlab.search import SearchSettings
from helixlab_widgets.apps.explorer_state import ExplorerState
from helixlab_widgets.jobs import Ticket

if TYPE_CHECKING:
    from helixlab_widgets.apps.symmetry_explorer import SymmetryExplorer


class ExplorerFiles:
    """What the panels "Hypotheses" and "Export" do."""

    def __init__(self, explorer: SymmetryExplorer) -> None:
        self._explorer = explorer
        self._reports: dict[Hypothesis, HypothesisReport] = {}
        self._worker = explorer.hypotheses.add_worker("hypotheses", shows_progress=True)
        names = ("keep", "keep_control", "show", "rename", "remove", "compare", "save", "load", "download", "upload")
        explorer.hypotheses.on(**{name: getattr(self, name) for name in names})
        explorer.exports.on_export(self.export)

    # --- hypotheses ---------------------------------------------------------------------------------

    def keep(self, name: str = "") -> None:
        """Keep the symmetry in hand under a name."""
        state = self._explorer.state
        name = name or self._free_name(f"{state.twist_deg:.2f}° {state.rise_A:.2f} Å {state.point_group}")
        self._add(
            Hypothesis(
                name=name,
                twist_deg=state.twist_deg,
                rise_A=state.rise_A,
                point_group=state.point_group,
                is_flipped=state.is_flipped,
            )
        )

    def keep_control(self) -> None:
        """Keep the map as it is, without symmetry, as the control."""
        self._add(Hypothesis(name=self._free_name("asymmetric"), kind="asymmetric"))

    def show(self, index: int) -> None:
        """Take a hypothesis in hand."""
        chosen = self._explorer.state.hypotheses[index]
        if chosen.symmetry is None:
            raise HelixLabError(f"{chosen.name}: the asymmetric control has no twist and rise to look at.")
        state = self._explorer.state.with_symmetry(chosen.symmetry)
        self._explorer.state = state.model_copy(update={"is_flipped": chosen.is_flipped})

    def rename(self, index: int, name: str) -> None:
        """Give a hypothesis another name."""
        rows = list(self._explorer.state.hypotheses)
        if name == rows[index].name:
            return
        self._check_name(name)
        rows[index] = rows[index].model_copy(update={"name": name})
        self._set(rows)

    def remove(self, index: int) -> None:
        """Take a hypothesis off the table; undo brings it back."""
        rows = list(self._explorer.state.hypotheses)
        del rows[index]
        self._set(rows)

    def compare(self) -> None:
        """Score all rows, and say how they are related."""
        hypotheses, filament_map = self._explorer.state.hypotheses, self._explorer.map
        if not hypotheses:
            return

        def work(ticket: Ticket) -> list[HypothesisReport]:
            return compare_hypotheses(filament_map, hypotheses, progress=ticket.progress)

        def show(reports: list[HypothesisReport]) -> None:
            self._reports |= dict(zip(hypotheses, reports, strict=True))
            self.show_rows()

        self._worker.submit(work, show)

    @property
    def reports(self) -> list[HypothesisReport]:
        """What is known of the hypotheses, in their order."""
        return [self._reports[h] for h in self._explorer.state.hypotheses if h in self._reports]

    def show_rows(self) -> None:
        """Bring the table up to date."""
        state = self._explorer.state
        self._explorer.hypotheses.show_rows(
            [_row(h, self._reports.get(h), is_current=_is_in_hand(h, state)) for h in state.hypotheses]
        )

    def _add(self, hypothesis: Hypothesis) -> None:
        self._check_name(hypothesis.name)
        self._set([*self._explorer.state.hypotheses, hypothesis])

    def _set(self, rows: list[Hypothesis]) -> None:
        self._explorer.state = self._explorer.state.model_copy(update={"hypotheses": tuple(rows)})

    def _check_name(self, name: str) -> None:
        if not name or any(h.name == name for h in self._explorer.state.hypotheses):
            raise HelixLabError(f"name: found {name!r}; each hypothesis needs a name that no other one has.")

    def _free_name(self, name: str) -> str:
        taken = {h.name for h in self._explorer.state.hypotheses}
        numbered = (f"{name} ({n})" for n in range(2, len(taken) + 2))
        return name if name not in taken else next(free for free in numbered if free not in taken)

    # --- their file -----------------------------------------------------------------------------------

    def save(self, path: str, overwrite: bool = False) -> None:
        """Write hypotheses and view to a file beside the notebook."""
        _check_free([path], overwrite)
        write_hypotheses(path, self._as_file(), overwrite=overwrite)
        self._explorer.hypotheses.canvas.saved = f"Saved {path}"

    def load(self, path: str) -> None:
        """Show what a file holds instead; undo brings the present back."""
        self._show_file(read_hypotheses(path), path)

    def download(self) -> None:
        """Let the browser save the file."""
        canvas = self._explorer.hypotheses.canvas
        self._explorer.hypotheses.hand_over(Path(canvas.file_name).name, self._as_file().to_json())

    def upload(self, name: str, text: str) -> None:
        """Show what a file of the user's own machine holds."""
        self._show_file(parse_hypotheses(text, name), name)

    def _as_file(self) -> HypothesisFile:
        state = self._explorer.state
        in_hand = next((h.name for h in state.hypotheses if _is_in_hand(h, state)), None)
        return HypothesisFile.of(
            self._explorer.map,
            tuple(self._reports[h].filled() if h in self._reports else h for h in state.hypotheses),
            current=in_hand,
            view=state.model_dump(mode="json", exclude={"hypotheses"}),
        )

    def _show_file(self, file: HypothesisFile, name: str) -> None:
        # The numbers are computed again: they hold for the map of the file, which may be another one.
        bare = {"score": None, "score_se": None, "resolution_A": None}
        hypotheses = [h.model_copy(update=bare) for h in file.hypotheses]
        present = self._explorer.state.model_dump(mode="json", exclude={"hypotheses"})
        try:
            state = ExplorerState.model_validate(present | dict(file.view) | {"hypotheses": hypotheses})
        except HelixLabError as error:
            raise HelixLabError(f"{name}: view.{error} Repair the file or take its view out.") from None
        self._explorer.state = state
        warning = "" if file.map == MapIdentity.of(self._explorer.map) else f"; it is of another map ({file.map.name})"
        self._explorer.hypotheses.canvas.saved = f"Loaded {name}{warning}"

    # --- export ---------------------------------------------------------------------------------------

    def export(self, kind: str, stem: str, overwrite: bool) -> list[str]:
        """Write files of one kind; returns their names."""
        explorer = self._explorer
        state, symmetry = explorer.state, explorer.symmetry
        filament_map = explorer.work.map
        if kind == "code":
            plain = state.model_dump(mode="json")
            explorer.exports.canvas.code = explorer_code(explorer.source, plain, **explorer.opened_with)
            return []
        if not Path(stem).name:
            raise HelixLabError("name: found none; the files need a common beginning of their names.")
        if state.is_flipped:
            stem = f"{stem}_mirrored"  # twist and map are those of the mirror image
        if kind in ("png", "svg"):
            return self._write_figures(kind, stem, overwrite)
        endings = {"map": "symmetrised.mrc", "cs": "symmetry.cs", "star": "symmetry.star", "json": "hypotheses.json"}
        path = f"{stem}_{endings[kind]}"
        _check_free([path], overwrite)
        match kind:
            case "map":
                write_volume(path, filament_map.symmetrised(symmetry), overwrite=overwrite)
            case "cs":
                write_candidates_cs(path, [filament_map.score(symmetry).to_dict()], overwrite=overwrite)
            case "star":
                map_name = f"{stem}_symmetrised.mrc"
                write_symmetry_star(path, symmetry, filament_map.volume, map_name=map_name, overwrite=overwrite)
            case "json":
                write_hypotheses(path, self._as_file(), overwrite=overwrite)
        return [path]

    def _write_figures(self, kind: str, stem: str, overwrite: bool) -> list[str]:
        views = {name: getattr(self._explorer, name) for name in ("slices", "cylinder", "landscape", "fsc", "spectrum")}
        paths = {name: f"{stem}_{name}.{kind}" for name in views}
        _check_free(paths.values(), overwrite)
        for name, view in views.items():
            content = view.to_png() if kind == "png" else view.to_svg().encode()
            write_bytes(paths[name], content, overwrite=overwrite)
        return list(paths.values())


def _check_free(paths: Iterable[str], overwrite: bool) -> None:
    """Refuse files that are there already, in the words of the cards."""
    taken = next((path for path in paths if Path(path).exists()), None)
    if taken is not None and not overwrite:
        raise HelixLabError(f"{taken}: there is such a file already. Choose another name, or tick “replace”.")


def explorer_code(
    source: Any,
    state: dict[str, Any],
    *,
    pixel_size_A: float | None = None,
    settings: SearchSettings | None = None,
) -> str:
    """The code of a cell that opens the same map in the same state.

    Examples
    --------
    >>> print(explorer_code("map.mrc", {"twist_deg": 22.03, "rise_A": 1.408}, pixel_size_A=1.1))
    from helixlab_widgets import SymmetryExplorer
    <BLANKLINE>
    SymmetryExplorer(
        'map.mrc',
        pixel_size_A=1.1,
        state={'twist_deg': 22.03, 'rise_A': 1.408},
    )
    """
    sources = list(source) if isinstance(source, list | tuple) else [source]
    imports, lines = ["from helixlab_widgets import SymmetryExplorer"], []
    if all(isinstance(s, str | Path) for s in sources):
        names = [str(s) for s in sources]
        lines.append(f"{names if len(names) > 1 else names[0]!r},")
    else:
        lines.append("volume,  # the map or the half maps that were given as values")
    if pixel_size_A is not None:
        lines.append(f"pixel_size_A={pixel_size_A},")
    if settings is not None:
        imports.insert(0, "from helixlab.search import SearchSettings")
        changed = ", ".join(f"{name}={value!r}" for name, value in settings.model_dump(exclude_defaults=True).items())
        lines.append(f"settings=SearchSettings({changed}),")
    lines.append(f"state={json.loads(json.dumps(state))!r},")
    body = "".join(f"    {line}\n" for line in lines)
    return "\n".join(imports) + f"\n\nSymmetryExplorer(\n{body})"


def _is_in_hand(hypothesis: Hypothesis, state: Any) -> bool:
    own = (hypothesis.twist_deg, hypothesis.rise_A, hypothesis.point_group, hypothesis.is_flipped)
    return own == (state.twist_deg, state.rise_A, state.point_group, state.is_flipped)


def _row(hypothesis: Hypothesis, report: HypothesisReport | None, *, is_current: bool) -> dict[str, Any]:
    """The texts of one line of the table."""
    symmetry = hypothesis.symmetry
    return {
        "name": hypothesis.name,
        "twist_deg": f"{symmetry.twist_deg:.3f}" if symmetry else "–",
        "rise_A": f"{symmetry.rise_A:.3f}" if symmetry else "–",
        "point_group": symmetry.point_group if symmetry else "none",
        "hand": "mirrored" if hypothesis.is_flipped else "as opened",
        "score": report.score_text if report else "…",
        "resolution": report.resolution_text if report else "…",
        "remark": report.remark if report else "",
        "is_current": is_current,
    }
