"""Checks of the microscope's part in a table: CTF, pixel size, optics groups."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from helixlab.io import ParticleStack
from helixlab.io.column_map import BY_NAME, in_files
from helixlab.io.image_stacks import locate_image_file, read_stack_header
from helixlab.reconstruct.findings import Finding, SetUp, named_rows, row_numbers

_VOLTAGES_KV = (60.0, 400.0)
_CS_MM = (0.0, 10.0)
_AMPLITUDE_CONTRASTS = (0.0, 0.5)
_DEFOCI_A = (500.0, 60_000.0)
"""Nobody takes segments in focus, nor with more than 6 µm; µm and nm in place of Å fall outside."""

_MOST_ASTIGMATISM_A = 5_000.0
_PIXEL_TOLERANCE = 0.01


def ctf(set_up: SetUp) -> Iterator[Finding]:
    """Whether the CTF of every segment is known and likely."""
    stack, optics = set_up.stack, set_up.stack.optics
    per_row = {name: getattr(stack, name) for name in ("defocus_u_A", "defocus_v_A", "defocus_angle_deg")}
    per_group = {name: getattr(optics, name) for name in ("voltage_kV", "cs_mm", "amplitude_contrast")}
    missing = [name for name, values in (per_row | per_group).items() if values is None]
    if missing:
        yield Finding(
            "error",
            "ctf",
            f"no {', '.join(map(in_files, missing))}",
            "the CTF of each segment",
            f"Estimate the CTF, or export the table with it{stack.passthrough_hint}.",
        )
    u, v = stack.defocus_u_A, stack.defocus_v_A
    if u is not None and v is not None:
        astigmatisms_A = 0.0, _MOST_ASTIGMATISM_A
        yield from _outside(
            set_up, "defocus", (u + v) / 2, _DEFOCI_A, "Å, underfocus positive", "Check its unit and sign."
        )
        yield from _outside(set_up, "astigmatism", np.abs(u - v), astigmatisms_A, "Å", "Leave such rows out.")


def optics(set_up: SetUp) -> Iterator[Finding]:
    """Whether optics groups agree and are those of a microscope."""
    stack, optics = set_up.stack, set_up.stack.optics
    sizes_A = np.unique(stack.pixel_size_A)
    if sizes_A[-1] - sizes_A[0] > 1e-4 * sizes_A[0]:
        yield Finding(
            "error",
            "pixel_size",
            f"pixel sizes of {', '.join(f'{size:g}' for size in sizes_A)} Å",
            "one pixel size",
            "Extract all segments with one pixel size, or refine the optics groups apart.",
        )
    limits = {"voltage_kV": (_VOLTAGES_KV, "kV"), "cs_mm": (_CS_MM, "mm")}
    for name, (allowed, unit) in (limits | {"amplitude_contrast": (_AMPLITUDE_CONTRASTS, "")}).items():
        values = getattr(optics, name)
        if values is not None:
            yield from _outside(set_up, name, values[stack.optics_group], allowed, unit, "Correct the optics group.")


def _outside(
    set_up: SetUp, code: str, values: np.ndarray, limits: tuple[float, float], unit: str, advice: str
) -> Iterator[Finding]:
    low, high = limits
    name = in_files(code) if code in BY_NAME else code
    is_outside = (values < low) | (values > high)
    if is_outside.any():
        rows = set_up.table_row[is_outside]
        yield Finding(
            "warning",
            code,
            f"{name} {values[is_outside][0]:g} in {named_rows(rows)}",
            f"{low:g} to {high:g} {unit}".strip(),
            advice,
            row_numbers(rows),
        )


def headers(set_up: SetUp) -> Iterator[Finding]:
    """Whether the image files have the table's pixel size; the first that has not is named."""
    stack = set_up.stack
    table_A, header_A = stack.pixel_size_A, set_up.header_pixel_A[stack.image_file]
    odd = np.flatnonzero((header_A > 0) & (np.abs(header_A - table_A) > _PIXEL_TOLERANCE * table_A))
    if odd.size:
        name = stack.image_files[stack.image_file[odd[0]]]
        yield Finding(
            "warning",
            "pixel_size",
            f"a pixel of {header_A[odd[0]]:g} Å in the header of {name} and {table_A[odd[0]]:g} Å in the table",
            "one pixel size",
            "The table's is used; correct it if the header is right (rise and resolution scale).",
        )


def header_pixel_sizes_A(stack: ParticleStack) -> Float[np.ndarray, "f"]:
    """The pixel size in the header of each image file, 0 where it does not say.

    Raises
    ------
    FileFormatError
        If an image file is missing or damaged.
    """
    source, sizes_A = stack.source, np.zeros(len(stack.image_files))
    for number in np.unique(stack.image_file):
        path = locate_image_file(stack.image_files[number], source.path, source.images_root)
        sizes_A[number] = read_stack_header(path).voxel_size_A[0]
    # 1 is what programs write that do not know the size, as is 0.
    return np.where(sizes_A == 1.0, 0.0, sizes_A)


CHECKS = (ctf, optics, headers)
