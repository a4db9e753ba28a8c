"""Results on disk: JSON, CSV, CryoSPARC's ``.cs`` and PNG figures, each written whole or not at all.

What is written here are plain values (numbers, lists, arrays), so that the command line, a notebook and a test
write the same files. Nothing is overwritten unless ``overwrite`` says so.
"""

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io._files import written_whole
from helixlab.io.star import StarBlock, StarFile, format_star, quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from helixlab.validate import FSCCurve, FSCResult

_CANDIDATE_COLUMNS: dict[str, type | str] = {
    "rank": np.uint32,
    "twist_deg": np.float64,
    "rise_A": np.float64,
    "point_group": "S8",
    "score": np.float64,
    "mse": np.float64,
    "twist_se_deg": np.float64,
    "rise_se_A": np.float64,
    "pitch_A": np.float64,
    "subunits_per_turn": np.float64,
    "hand": np.int8,
}
"""Columns of the candidates' tables and their types in ``.cs``: float64 keeps every digit of the search."""

_MOST_CELLS_DRAWN = 1200
"""Cells of a landscape drawn along one axis of the figure: about its pixels."""


# --- JSON -----------------------------------------------------------------------------------------


def plain_value(value: Any) -> Any:
    """A value as JSON can hold it: numpy numbers and arrays as Python's, paths as text, NaN and infinity as None.

    Raises
    ------
    HelixLabError
        If a part of it is no plain value.

    Examples
    --------
    >>> plain_value({"pitch_A": float("inf"), "shape": (np.int64(3), 4)})
    {'pitch_A': None, 'shape': [3, 4]}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [plain_value(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise HelixLabError(f"record: found a {type(value).__name__}, which JSON cannot hold; convert it to plain numbers.")


def json_text(value: Any, *, ascii_only: bool = False) -> str:
    """A value as indented JSON, ending in a newline: standard JSON, whose numbers are all finite.

    Examples
    --------
    >>> print(json_text({"rise_A": 1.408, "pitch_A": float("inf")}), end="")
    {
      "rise_A": 1.408,
      "pitch_A": null
    }
    """
    return json.dumps(plain_value(value), indent=2, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike[str], value: Any, *, overwrite: bool = False) -> None:
    """Write :func:`json_text` of a value.

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false, its folder is missing, or the value is not plain.
    """
    text = json_text(value)
    with written_whole(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


# --- tables of candidates ---------------------------------------------------------------------------


def write_candidates_csv(
    path: str | os.PathLike[str], candidates: Sequence[Mapping[str, Any]], *, overwrite: bool = False
) -> None:
    """Write candidates as a table with a header line, best first; what is unknown stays empty.

    Parameters
    ----------
    path : path
    candidates : sequence of mappings
        As in the list "candidates" of a search result's ``to_dict()``.
    overwrite : bool

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false, or a candidate lacks a column.
    """
    rows = _candidate_rows(candidates)
    with written_whole(path, overwrite=overwrite) as temporary, temporary.open("w", encoding="utf-8", newline="") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(_CANDIDATE_COLUMNS)
        table.writerows([["" if v is None else v for v in plain_value(row)] for row in rows])


def write_candidates_cs(
    path: str | os.PathLike[str], candidates: Sequence[Mapping[str, Any]], *, overwrite: bool = False
) -> None:
    """Write candidates as a CryoSPARC ``.cs`` table: a numpy structured array, best first, never pickled.

    Parameters
    ----------
    path : path
    candidates : sequence of mappings
        As in the list "candidates" of a search result's ``to_dict()``.
    overwrite : bool

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false, or a candidate lacks a column.

    Notes
    -----
    ``uid`` counts the rows, as cryosparc-tools expects of any dataset; the other columns are those of the CSV,
    NaN where a value is unknown. The names inside the file of CryoSPARC's own Symmetry search utility are not
    published: ours say their units.
    """
    dtype = [("uid", np.uint64), *_CANDIDATE_COLUMNS.items()]
    table = np.zeros(len(candidates), dtype)
    for uid, (row, values) in enumerate(zip(table, _candidate_rows(candidates), strict=True), start=1):
        row["uid"] = uid
        for (name, kind), value in zip(_CANDIDATE_COLUMNS.items(), values, strict=True):
            row[name] = value.encode() if isinstance(kind, str) else math.nan if value is None else value
    with written_whole(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        np.save(file, table, allow_pickle=False)


def write_symmetry_star(
    path: str | os.PathLike[str], symmetry: HelicalSymmetry, volume: Volume, *, map_name: str, overwrite: bool = False
) -> None:
    """Write a map's helical symmetry as RELION writes it: a ``data_optics`` and a ``data_model_classes`` table.

    Parameters
    ----------
    path : path
    symmetry : HelicalSymmetry
    volume : Volume
        Whose pixel size and box the optics table states.
    map_name : str
        The file of the map, ``rlnReferenceImage``.
    overwrite : bool

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false.

    Notes
    -----
    RELION takes the point group as an option of its programs (``--sym``), not from a table; it is kept in the
    column ``_helixlabPointGroup``, which RELION passes over.
    """
    optics = {
        "_rlnOpticsGroup": "1",
        "_rlnOpticsGroupName": "opticsGroup1",
        "_rlnImagePixelSize": f"{volume.pixel_size_A:.6f}",
        "_rlnImageSize": str(volume.shape[-1]),
        "_rlnImageDimensionality": "3",
    }
    classes = {
        "_rlnReferenceImage": map_name,
        "_rlnHelicalTwist": f"{symmetry.twist_deg:.6f}",
        "_rlnHelicalRise": f"{symmetry.rise_A:.6f}",
        "_helixlabPointGroup": symmetry.point_group,
    }
    blocks = tuple(
        StarBlock(name, {label: quoted([value.encode()]) for label, value in values.items()})
        for name, values in (("optics", optics), ("model_classes", classes))
    )
    write_bytes(path, format_star(StarFile(blocks, "30001")), overwrite=overwrite)


def write_bytes(path: str | os.PathLike[str], content: bytes, *, overwrite: bool = False) -> None:
    """Write a file that was made in memory, such as a figure.

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false, or its folder is missing.
    """
    with written_whole(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


# --- tables and figures of FSC ----------------------------------------------------------------------


def write_fsc_csv(path: str | os.PathLike[str], result: "FSCResult", *, overwrite: bool = False) -> None:
    """Write FSC curves as a table: frequency in 1/Å, resolution in Å (empty at 0), and one column per curve.

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false.
    """
    freqs = result.curves[0].freq_per_A.tolist()
    columns = [curve.fsc.tolist() for curve in result.curves]
    with written_whole(path, overwrite=overwrite) as temporary, temporary.open("w", encoding="utf-8", newline="") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(["freq_per_A", "resolution_A", *(f"fsc_{curve.label}" for curve in result.curves)])
        for freq, *values in zip(freqs, *columns, strict=True):
            table.writerow([freq, 1 / freq if freq else "", *values])


def write_fsc_png(path: str | os.PathLike[str], curves: Sequence["FSCCurve"], *, overwrite: bool = False) -> None:
    """Draw FSC curves against frequency, with the resolution in Å of each crossing of 0.143 in the legend.

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false.
    """
    figure, axes = _new_figure(7.0, 4.5)
    for curve in curves:
        axes.plot(curve.freq_per_A, curve.fsc, label=f"{curve.label}: {curve.crossing(0.143)}")
    for threshold in (0.143, 0.5):
        axes.axhline(threshold, color="0.6", linewidth=0.8, linestyle="--")
        axes.annotate(
            f"{threshold:g}", (1.0, threshold), xycoords=("axes fraction", "data"), xytext=(3, -3),
            textcoords="offset points", color="0.4", fontsize=8,
        )  # fmt: skip
    axes.set(xlabel="spatial frequency (1/Å)", ylabel="Fourier shell correlation", ylim=(-0.1, 1.05))
    axes.set_xlim(0, float(curves[0].freq_per_A[-1]))
    axes.legend(title="resolution at 0.143", frameon=False)
    _save_png(path, figure, overwrite)


def write_landscape_png(
    path: str | os.PathLike[str],
    twist_deg: Float[np.ndarray, "t"],
    rise_A: Float[np.ndarray, "r"],
    score: Float[np.ndarray, "t r"],
    *,
    marked: Sequence[tuple[float, float]] = (),
    overwrite: bool = False,
) -> None:
    """Draw a symmetry-search landscape as a heat map, with the candidates ringed and numbered by rank.

    Parameters
    ----------
    path : path
    twist_deg : array, shape (t,)
        Increasing, evenly spaced.
    rise_A : array, shape (r,)
        Increasing, evenly spaced.
    score : array, shape (t, r)
        Higher is better; NaN where nothing was evaluated.
    marked : sequence of (twist_deg, rise_A)
        Candidates, best first; those outside the plane are left out.
    overwrite : bool

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false, or the landscape is empty.

    Notes
    -----
    Where the grid is finer than the figure, a cell drawn is the best of the cells it stands for: a sharp peak is
    never averaged away.
    """
    if score.size == 0:
        raise HelixLabError(f"score: found a landscape of shape {score.shape}; there is nothing to draw.")
    figure, axes = _new_figure(9.0, 5.5)
    (left, right), (bottom, top) = (_outer_edges(np.asarray(axis, np.float64)) for axis in (twist_deg, rise_A))
    drawn = _best_of_blocks(np.asarray(score, np.float32))
    image = axes.imshow(
        np.ma.masked_invalid(drawn.T), extent=(left, right, bottom, top), origin="lower", aspect="auto",
        cmap="viridis", interpolation="nearest",
    )  # fmt: skip
    figure.colorbar(image, ax=axes, label="score (mean normalised correlation)")
    for rank, (twist, rise) in enumerate(marked, start=1):
        if left <= twist <= right and bottom <= rise <= top:
            axes.plot(twist, rise, "o", markersize=10, fillstyle="none", color="white", markeredgewidth=1.5)
            axes.annotate(
                str(rank), (twist, rise), xytext=(7, 5), textcoords="offset points", color="white", fontsize=9
            )
    axes.set(xlabel="twist (°, right-handed positive)", ylabel="rise (Å)", title="Helical symmetry search")
    _save_png(path, figure, overwrite)


# --- private helpers --------------------------------------------------------------------------------


def _candidate_rows(candidates: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    rows = []
    for rank, candidate in enumerate(candidates, start=1):
        ranked = {"rank": rank, **candidate}
        missing = [name for name in _CANDIDATE_COLUMNS if name not in ranked]
        if missing:
            raise HelixLabError(f"candidate {rank}: found no {', '.join(missing)}; give it as its to_dict() does.")
        rows.append([str(ranked[n]) if isinstance(k, str) else ranked[n] for n, k in _CANDIDATE_COLUMNS.items()])
    return rows


def _best_of_blocks(score: Float[np.ndarray, "t r"]) -> Float[np.ndarray, "T R"]:
    """The largest value of each block of cells that share a pixel; NaN only where a whole block is."""
    for axis in (0, 1):
        n = score.shape[axis]
        starts = np.unique(np.linspace(0, n, min(n, _MOST_CELLS_DRAWN), endpoint=False).astype(int))
        score = np.fmax.reduceat(score, starts, axis=axis)
    return score


def _outer_edges(centres: Float[np.ndarray, "n"]) -> tuple[float, float]:
    half_step = (centres[-1] - centres[0]) / (len(centres) - 1) / 2 if len(centres) > 1 else 0.5
    return float(centres[0] - half_step), float(centres[-1] + half_step)


def _new_figure(width_in: float, height_in: float) -> "tuple[Figure, Axes]":
    # A Figure of its own: pyplot would keep every figure and choose a backend for the user.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=150, layout="constrained")
    return figure, figure.subplots()


def _save_png(path: str | os.PathLike[str], figure: "Figure", overwrite: bool) -> None:
    if Path(path).suffix.lower() != ".png":
        raise HelixLabError(f"{path}: a figure's name ends in .png.")
    with written_whole(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format="png")
