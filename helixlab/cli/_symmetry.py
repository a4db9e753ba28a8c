"""``helixlab convert``: one helical symmetry in all the words in which papers and programs give it."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helixlab.cli._console import print_json, print_table, reports_errors
from helixlab.cli._options import JsonOutput, PointGroup
from helixlab.errors import HelixLabError

if TYPE_CHECKING:
    from helixlab.geometry import HelicalSymmetry

HANDS = {1: "right", -1: "left", 0: "none"}


@reports_errors
def convert(
    twist_deg: Annotated[float | None, typer.Option("--twist", metavar="DEG", help="Right-handed positive.")] = None,
    rise_A: Annotated[float | None, typer.Option("--rise", metavar="A", help="Å per subunit, > 0.")] = None,
    point_group: PointGroup = "C1",
    pitch_A: Annotated[
        float | None, typer.Option("--pitch", metavar="A", help="In place of twist and rise, Å.")
    ] = None,
    subunits_per_turn: Annotated[
        float | None, typer.Option("--subunits-per-turn", metavar="N", help="Goes with --pitch.")
    ] = None,
    hand: Annotated[str, typer.Option("--hand", metavar="right|left", help="Goes with --pitch.")] = "right",
    max_start: Annotated[
        int, typer.Option("--max-start", min=1, max=50, help="Most strands considered for n-start readings.")
    ] = 4,
    json_output: JsonOutput = False,
) -> None:
    """Say a symmetry in other words.

    Lists every equivalent description, the canonical one first, the mirror image and n-start readings.
    Give twist and rise, or pitch, subunits per turn and hand.
    """
    symmetry = _given_symmetry(twist_deg, rise_A, point_group, pitch_A, subunits_per_turn, hand)
    described = describe_symmetry(symmetry, max_start)
    if json_output:
        print_json(described)
        return
    typer.echo(f"canonical: {symmetry.canonical()}")
    _print_symmetries("Equivalent descriptions (the same operators)", described["equivalents"])
    _print_symmetries("Mirror image (after flipping the map's hand)", [described["mirror"]])
    _print_symmetries(
        "The same helix followed along its k-start strands (step along one strand)", described["strands"], "k"
    )
    readings = [
        {"n_start": group["n_start"], **reading} for group in described["n_start"] for reading in group["readings"]
    ]
    _print_symmetries(
        "If the given values are instead the step along one of n strands: the possible symmetries", readings, "n_start"
    )


def describe_symmetry(symmetry: "HelicalSymmetry", max_start: int) -> dict[str, Any]:
    """All readings of a symmetry as plain values.

    ``strands`` are steps from every k-th subunit to the next, along one of k strands of the same helix;
    ``n_start`` holds, for each n, the symmetries in which the given values are the step along one of n strands.
    """
    return {
        "canonical": symmetry_dict(symmetry.canonical()),
        "equivalents": [symmetry_dict(s) for s in symmetry.equivalents()],
        "mirror": symmetry_dict(symmetry.mirrored().canonical()),
        "strands": [{"k": k, **symmetry_dict(symmetry.multiple(k).canonical())} for k in range(1, max_start + 1)],
        "n_start": [
            {"n_start": n, "readings": [symmetry_dict(s) for s in symmetry.one_start_reductions(n)]}
            for n in range(2, max_start + 1)
        ],
    }


def symmetry_dict(symmetry: "HelicalSymmetry") -> dict[str, Any]:
    """One description as plain values; pitch and subunits per turn are None for twist 0. Hand is 1, −1 or 0."""
    return {
        "twist_deg": _rounded(symmetry.twist_deg),
        "rise_A": _rounded(symmetry.rise_A),
        "point_group": symmetry.point_group,
        "pitch_A": _rounded(symmetry.pitch_A),
        "subunits_per_turn": _rounded(symmetry.subunits_per_turn),
        "hand": symmetry.hand,
    }


def _rounded(value: float) -> float | None:
    # Nine decimals: no measurement has them, and −101.1 wrapped by turns still reads −101.1.
    return round(value, 9) if math.isfinite(value) else None


def _given_symmetry(
    twist_deg: float | None,
    rise_A: float | None,
    point_group: str,
    pitch_A: float | None,
    subunits_per_turn: float | None,
    hand: str,
) -> "HelicalSymmetry":
    from helixlab.geometry import HelicalSymmetry

    if twist_deg is not None and rise_A is not None and pitch_A is None and subunits_per_turn is None:
        if hand != "right":
            raise HelixLabError("--hand: found it beside --twist, whose sign is the hand; leave it out.")
        return HelicalSymmetry(twist_deg, rise_A, point_group)
    if pitch_A is not None and subunits_per_turn is not None and twist_deg is None and rise_A is None:
        signs = {"right": 1, "left": -1}
        if hand not in signs:
            raise HelixLabError(f"--hand: found {hand!r}; write right or left.")
        return HelicalSymmetry.from_pitch(pitch_A, subunits_per_turn, signs[hand], point_group)
    given = {"--twist": twist_deg, "--rise": rise_A, "--pitch": pitch_A, "--subunits-per-turn": subunits_per_turn}
    found = ", ".join(name for name, value in given.items() if value is not None) or "none of them"
    raise HelixLabError(
        f"convert: found {found}; give either --twist and --rise, or --pitch and --subunits-per-turn (with --hand)."
    )


def _print_symmetries(title: str, rows: list[dict[str, Any]], first: str | None = None) -> None:
    if not rows:
        return
    names = [*([first] if first else []), "twist (°)", "rise (Å)", "group", "pitch (Å)", "subunits/turn", "hand"]
    cells = [
        [
            *([str(row[first])] if first else []),
            f"{row['twist_deg']:.4f}",
            f"{row['rise_A']:.4f}",
            row["point_group"],
            _number(row["pitch_A"]),
            _number(row["subunits_per_turn"]),
            HANDS[row["hand"]],
        ]
        for row in rows
    ]
    typer.echo(f"\n{title}:")
    print_table(names, cells)


def _number(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.4f}"
