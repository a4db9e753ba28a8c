"""What a file is and holds, as plain values: the content of ``helixlab info``."""

import os
import re
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.io._files import check_readable, compression_of, open_stream, read_at_most, read_text, translated
from helixlab.io.cryosparc import read_cs
from helixlab.io.maps import read_sections
from helixlab.io.mrc_header import read_mrc_header
from helixlab.io.particles import ParticleStack, filament_direction_error_deg
from helixlab.io.star import read_star
from helixlab.io.tables import read_particles

_MODEL_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
_MRC_SUFFIXES = (".mrc", ".mrcs", ".map", ".ccp4")
_KNOWN = "maps and image stacks (.mrc, .map, .mrcs), particle tables (.star, .cs) and atomic models (.pdb, .cif)"
_SIGNATURES = {
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"\x89PNG": "a PNG image",
    b"\x89HDF": "an HDF5 file",
    b"PK\x03\x04": "a ZIP archive",
}


def describe_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Say what a file is and what it holds.

    Parameters
    ----------
    path : path
        A map, an image stack, a STAR file, a CryoSPARC table or an atomic model; also compressed.

    Returns
    -------
    dict
        "path", "kind" ("map", "image stack", "STAR file", "CryoSPARC table", "atomic model") and, by kind: sizes,
        voxel, origin and statistics; blocks and columns, and a summary of particles; chains, residues and the
        deposited helical symmetry. Plain values, fit for JSON.

    Raises
    ------
    FileFormatError
        If the file is none of these, or is damaged.

    Examples
    --------
    >>> describe_file("missing.mrc")
    Traceback (most recent call last):
        ...
    helixlab.errors.FileFormatError: missing.mrc: there is no such file; ...
    """
    path = check_readable(path, f"one of {_KNOWN}")
    with translated(path, "The file is damaged; copy or export it again."):
        start = _first_bytes(path)
        return {"path": str(path), **_describer(path, start)(path)}


def _first_bytes(path: Path) -> bytes:
    with open_stream(path, compression_of(path)) as stream:
        return bytes(read_at_most(stream, 1024))


def _describer(path: Path, start: bytes) -> Any:
    stem = path.name.lower().removesuffix(".gz").removesuffix(".bz2")
    suffix = Path(stem).suffix
    if start[:6] == b"\x93NUMPY" or suffix == ".cs":
        return _describe_cs
    if suffix in _MODEL_SUFFIXES:
        return _describe_model
    if suffix == ".star":
        return _describe_star
    if suffix in _MRC_SUFFIXES or start[208:211] == b"MAP":
        return _describe_mrc
    found = next((words for magic, words in _SIGNATURES.items() if start.startswith(magic)), "an unknown format")
    raise FileFormatError(f"{path}: found {found}; HelixLab reads {_KNOWN}. Convert the file to one of these.")


# --- maps and images ----------------------------------------------------------------------------


def _describe_mrc(path: Path) -> dict[str, Any]:
    header = read_mrc_header(path)
    data = read_sections(header)
    values = np.asarray(data, np.float32) if data.dtype.itemsize < 4 else data
    n_bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    finite = values[np.isfinite(values)] if n_bad else values
    has_values = finite.size > 0
    nz, ny, nx = header.shape
    common: dict[str, Any] = {
        "kind": "image stack" if header.is_image_stack else "map",
        "mode": header.mode,
        "dtype": header.dtype.name,
        "compression": header.compression,
        "space_group": header.space_group,
        "voxel_size_A": list(header.voxel_size_A),
        "n_not_finite": n_bad,
        "minimum": float(finite.min()) if has_values else None,
        "maximum": float(finite.max()) if has_values else None,
        "mean": float(finite.mean(dtype=np.float64)) if has_values else None,
        "standard_deviation": float(finite.std(dtype=np.float64)) if has_values else None,
        "header_notes": list(header.notes),
    }
    if header.is_image_stack:
        return common | {"n_images": header.file_shape[0], "image_size_px": [ny, nx]}
    cell = {} if header.cell_angles_deg == (90.0, 90.0, 90.0) else {"cell_angles_deg": list(header.cell_angles_deg)}
    return (
        common
        | cell
        | {
            "size_zyx": [nz, ny, nx],
            "is_isotropic": header.is_isotropic and min(header.voxel_size_A) > 0,
            "origin_A": list(header.origin_A),
            "start_xyz": list(header.start),
            "axis_order": "".join("xyz"[axis - 1] for axis in header.axes),
        }
    )


# --- tables -------------------------------------------------------------------------------------


def _describe_star(path: Path) -> dict[str, Any]:
    star = read_star(path)
    blocks = [
        {
            "name": b.name,
            "rows": b.n_rows,
            "is_table": b.is_loop,
            "columns": [label.removeprefix("_") for label in b.columns],
        }
        for b in star.blocks
    ]
    described: dict[str, Any] = {"kind": "STAR file", "version": star.version, "blocks": blocks}
    if any("_rlnImageName" in b.columns for b in star.blocks):
        described["particles"] = _describe_particles(path)
    return described


def _describe_cs(path: Path) -> dict[str, Any]:
    rows = read_cs(path)
    fields = {
        name: rows.dtype[name].base.str + (str(list(s)) if (s := rows.dtype[name].shape) else "")
        for name in rows.dtype.names or ()
    }
    described: dict[str, Any] = {"kind": "CryoSPARC table", "rows": len(rows), "fields": fields}
    if len(rows) and "blob/path" in fields:
        described["particles"] = _describe_particles(path)
    return described


def _describe_particles(path: Path) -> dict[str, Any]:
    try:
        stack = read_particles(path)
    except HelixLabError as err:
        return {"problem": str(err)}
    optics = stack.optics
    summary: dict[str, Any] = {
        "n_particles": len(stack),
        "n_image_files": len(stack.image_files),
        "n_micrographs": len(stack.micrograph_names),
        "n_filaments": stack.n_filaments,
        "has_poses": stack.rot_deg is not None and stack.psi_deg is not None,
        "has_half_sets": stack.half_set is not None,
        "optics_groups": [
            {
                "name": optics.name[g],
                "n_particles": int(np.count_nonzero(stack.optics_group == g)),
                "pixel_size_A": float(optics.pixel_size_A[g]),
                "box_size_px": int(optics.box_size_px[g]) or None,
                "voltage_kV": None if optics.voltage_kV is None else float(optics.voltage_kV[g]),
                "cs_mm": None if optics.cs_mm is None else float(optics.cs_mm[g]),
                "amplitude_contrast": None
                if optics.amplitude_contrast is None
                else float(optics.amplitude_contrast[g]),
            }
            for g in range(len(optics))
        ],
    }
    return summary | _describe_filaments(stack)


def _describe_filaments(stack: ParticleStack) -> dict[str, Any]:
    if stack.filament_id is None:
        return {}
    lengths = np.bincount(stack.filament_id)
    lengths = lengths[lengths > 0]
    out: dict[str, Any] = {
        "segments_per_filament": {
            "minimum": int(lengths.min()),
            "median": float(np.median(lengths)),
            "maximum": int(lengths.max()),
        }
    }
    if stack.psi_prior_deg is not None and stack.coordinate_x_px is not None and stack.coordinate_y_px is not None:
        error = filament_direction_error_deg(stack)
        if np.isfinite(error).any():
            out["psi_prior_from_coordinates_median_error_deg"] = float(np.nanmedian(error))
    return out


# --- atomic models ------------------------------------------------------------------------------


def _describe_model(path: Path) -> dict[str, Any]:
    kind = "an atomic model (PDB or mmCIF)"
    text = read_text(path, kind)
    is_cif = Path(path.name.lower().removesuffix(".gz").removesuffix(".bz2")).suffix in (".cif", ".mmcif")
    with translated(path, f"The file is damaged or is not {kind}; download it again."):
        symmetry = None
        if is_cif:
            block = gemmi.cif.read_string(text).sole_block()
            structure = gemmi.make_structure_from_block(block)
            symmetry = _symmetry_of_cif(block)
        else:
            structure = gemmi.read_pdb_string(text)
            structure.name = ""
            symmetry = _symmetry_of_remarks(text)
        if len(structure) == 0 or structure[0].count_atom_sites() == 0:
            raise FileFormatError(f"{path}: found no atoms; needed {kind}.")
        structure.merge_chain_parts()
        model = structure[0]
        box = structure.calculate_box()
        return {
            "kind": "atomic model",
            "name": structure.name or None,
            "n_models": len(structure),
            "n_atoms": model.count_atom_sites(),
            "n_residues": sum(len(chain) for chain in model),
            "chains": [{"name": chain.name, "n_residues": len(chain)} for chain in model],
            "resolution_A": structure.resolution or None,
            "minimum_xyz_A": [round(v, 3) for v in box.minimum.tolist()],
            "maximum_xyz_A": [round(v, 3) for v in box.maximum.tolist()],
            "deposited_helical_symmetry": symmetry,
        }


def _symmetry_of_cif(block: gemmi.cif.Block) -> dict[str, Any] | None:
    """``_pdbx_helical_symmetry``: the screw over n subunits, as deposited."""

    def value(name: str) -> float | None:
        text = block.find_value(f"_pdbx_helical_symmetry.{name}")
        number = gemmi.cif.as_number(text) if text else float("nan")
        return number if np.isfinite(number) else None

    twist, rise = value("rotation_per_n_subunits"), value("rise_per_n_subunits")
    if twist is None or rise is None:
        return None
    order = value("circular_symmetry") or 1
    dyad = gemmi.cif.as_string(block.find_value("_pdbx_helical_symmetry.dyad_axis") or "no").lower() == "yes"
    return {
        "twist_deg": twist,
        "rise_A": rise,
        "per_n_subunits": int(value("n_subunits_divisor") or 1),
        "point_group": f"{'D' if dyad else 'C'}{int(order)}",
        "source": "_pdbx_helical_symmetry",
    }


def _symmetry_of_remarks(text: str) -> dict[str, Any] | None:
    """The sentence on helical symmetry in REMARK 300."""
    remark = "\n".join(re.findall(r"(?m)^REMARK 300(.*)$", text))
    twist = re.search(r"TWIST\)\s*=\s*([-+]?\d+(?:\.\d*)?)", remark)
    rise = re.search(r"HEIGHT\)\s*=\s*([-+]?\d+(?:\.\d*)?)", remark)
    if twist is None or rise is None:
        return None
    return {
        "twist_deg": float(twist[1]),
        "rise_A": float(rise[1]),
        "per_n_subunits": 1,
        "point_group": None,
        "source": "REMARK 300",
    }
