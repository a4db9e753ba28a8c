"""Is this set-up fit for a refinement? What would spoil it is found before hours of computing, and named by row.

Thresholds are CryoSPARC's for boxes (1.5, better 2, filament diameters; 3 rises without and 5 with helical symmetry) or
the ranges that microscopes can have; each finding says what was found, what is needed and what to do.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from helixlab.errors import FileFormatError
from helixlab.geometry import wrap_deg
from helixlab.io import BadImage, ImageSource, ParticleStack
from helixlab.io.column_map import in_files
from helixlab.reconstruct import check_filaments, check_optics
from helixlab.reconstruct.bad_particles import (
    Progress,
    bad_images,
    named_particles,
    particles_of_other_boxes,
    particles_without_ctf,
)
from helixlab.reconstruct.findings import Finding, SetUp, Severity
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.spacing import inter_box_distance_A, max_symmetry_order

_LEAST_DIAMETERS, _GOOD_DIAMETERS = 1.5, 2.0
_LEAST_RISES_ASYMMETRIC, _LEAST_RISES_SYMMETRIC = 3, 5
_NEAR_HALF_TURN_DEG = 5.0


def check_set_up(
    stack: ParticleStack,
    settings: RefinementSettings | None = None,
    *,
    read_images: bool = True,
    progress: Progress | None = None,
) -> tuple[Finding, ...]:
    """Check particles and settings of a refinement.

    Parameters
    ----------
    stack : ParticleStack
    settings : RefinementSettings, optional
    read_images : bool
        Whether every image is read once, in batches, to find bad ones; off, only the files' headers are.
    progress : callable (stage, fraction), optional

    Returns
    -------
    tuple of Finding
        Errors first, then warnings, then notes.

    Examples
    --------
    >>> from helixlab.io import new_particle_stack
    >>> stack = new_particle_stack(["missing.mrcs"], [0], [0], 1.5, 64)
    >>> [finding.code for finding in check_set_up(stack) if finding.severity == "error"]
    ['images', 'filaments', 'psi_prior', 'ctf']
    """
    settings = settings or RefinementSettings()
    box_px = int(stack.optics.box_size_px[stack.optics_group[0]])
    header_pixel_A = np.zeros(len(stack.image_files))
    severity: Severity = "warning" if settings.drop_bad_images else "error"
    bad = list(particles_without_ctf(stack))
    findings = list(_bad_particles("ctf", bad, severity, "the CTF of each", "Estimate it"))
    try:
        others = particles_of_other_boxes(stack)
        findings += _bad_particles("box", others, severity, "one box size", "Extract all with it")
        rows = _without(stack, others)
        box_px = ImageSource(stack.select(rows)).box_px
        header_pixel_A = check_optics.header_pixel_sizes_A(stack)
        spoiled = bad_images(stack, rows, progress) if read_images else ()
        findings += _bad_particles(
            "bad_images", spoiled, severity, "finite images with noise around the particle", "Extract again"
        )
        bad += [*others, *spoiled]
    except FileFormatError as error:
        findings.append(Finding("error", "images", str(error), "", ""))
    used = _without(stack, bad if settings.drop_bad_images else ())
    if len(used):
        findings += _of_table_and_settings(SetUp(stack.select(used), settings, box_px, used, header_pixel_A))
    else:
        findings.append(
            Finding("error", "bad_images", "no particle that can be used", "one at least", "Extract again.")
        )
    ranks = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda finding: ranks[finding.severity]))


def used_set_up(stack: ParticleStack, left_out: Sequence[BadImage], settings: RefinementSettings, box_px: int) -> SetUp:
    """The set-up of a refinement, which has looked at the images itself.

    Parameters
    ----------
    stack : ParticleStack
        As the user gave it, with image files that are there.
    left_out : sequence of BadImage
        Its particles that are not used.
    settings : RefinementSettings
    box_px : int
        Of the images.
    """
    used = _without(stack, left_out)
    return SetUp(stack.select(used), settings, box_px, used, check_optics.header_pixel_sizes_A(stack))


def set_up_doubts(set_up: SetUp) -> tuple[Finding, ...]:
    """What a refinement tells: all of :func:`check_set_up` but notes, and bad images. No file is read."""
    return tuple(finding for finding in _of_table_and_settings(set_up) if finding.severity != "note")


def _of_table_and_settings(set_up: SetUp) -> Iterator[Finding]:
    for check in (*_CHECKS, *check_filaments.CHECKS, *check_optics.CHECKS):
        yield from check(set_up)


# --- images -----------------------------------------------------------------------------------------


def _without(stack: ParticleStack, bad: Sequence[BadImage]) -> Int[np.ndarray, "k"]:
    return np.setdiff1d(np.arange(len(stack)), [one.row for one in bad])


def _bad_particles(
    code: str, bad: Sequence[BadImage], severity: Severity, needed: str, advice: str
) -> Iterator[Finding]:
    if bad:
        advice = f"{advice}, or set drop_bad_images=true to leave these rows out."
        yield Finding(severity, code, named_particles(tuple(bad)), needed, advice, tuple(one.row for one in bad))


# --- geometry ---------------------------------------------------------------------------------------


def _box(set_up: SetUp) -> Iterator[Finding]:
    if set_up.box_px % 2:
        yield Finding(
            "warning",
            "box_odd",
            f"a box of {set_up.box_px} pixels",
            "an even number",
            "Extract with an even box: RELION refuses odd ones, and transforms are slower.",
        )
    settings = set_up.settings
    diameter_A = settings.outer_diameter_A or settings.cylinder_outer_diameter_A
    if diameter_A is None:
        yield Finding(
            "note",
            "box_diameter",
            "no filament diameter in the settings",
            f"one, to compare with the box of {set_up.box_A:.0f} Å",
            "Set outer_diameter_A.",
        )
    elif set_up.box_px and set_up.box_A < _GOOD_DIAMETERS * diameter_A:
        ratio = set_up.box_A / diameter_A
        yield Finding(
            "error" if ratio < _LEAST_DIAMETERS else "warning",
            "box_diameter",
            f"a box of {set_up.box_A:.0f} Å, {ratio:.2f} filament diameters of {diameter_A:g} Å",
            f"at least {_LEAST_DIAMETERS} diameters, better {_GOOD_DIAMETERS:g} or more",
            "Extract with a larger box.",
        )


def _rises(set_up: SetUp) -> Iterator[Finding]:
    symmetry, table_rise_A = set_up.settings.symmetry, set_up.stack.optics.helical_rise_A
    rise_A = symmetry.rise_A if symmetry else float(table_rise_A[0]) if table_rise_A is not None else 0.0
    least = _LEAST_RISES_SYMMETRIC if symmetry else _LEAST_RISES_ASYMMETRIC
    if rise_A > 0 and 0 < set_up.box_A < least * rise_A:
        kind = "with" if symmetry else "without"
        yield Finding(
            "error",
            "box_rises",
            f"a box of {set_up.box_A:.0f} Å, {set_up.box_A / rise_A:.1f} rises of {rise_A:g} Å",
            f"at least {least} rises {kind} helical symmetry",
            "Extract with a larger box, or correct rise_A.",
        )


def _symmetry_order(set_up: SetUp) -> Iterator[Finding]:
    symmetry, chosen = set_up.settings.symmetry, set_up.settings.max_symmetry_order
    if symmetry is None:
        return
    distance_A = inter_box_distance_A(set_up.stack)
    order = max_symmetry_order(distance_A, symmetry.rise_A)
    if distance_A is None:
        if chosen is None:
            yield Finding(
                "warning",
                "symmetry_order",
                "no distance between boxes",
                f"{in_files('filament_id')} and {in_files('track_length_A')}, or {in_files('inter_box_distance_A')}, "
                "to know how many asymmetric units a segment may contribute",
                "Set max_symmetry_order to the distance over the rise, rounded down; without it, each segment "
                "contributes 1.",
            )
    elif chosen is not None and chosen > order:
        yield Finding(
            "warning",
            "symmetry_order",
            f"max_symmetry_order {chosen} for boxes {distance_A:g} Å apart",
            f"at most {order} for a rise of {symmetry.rise_A:g} Å",
            "Lower it: subunits are counted more than once.",
        )
    else:
        count = chosen or order
        yield Finding(
            "note",
            "symmetry_order",
            f"boxes {distance_A:g} Å apart and a rise of {symmetry.rise_A:g} Å",
            "",
            f"Each segment contributes {count} asymmetric unit{'' if count == 1 else 's'}.",
        )


# --- symmetry and settings --------------------------------------------------------------------------


def _symmetry(set_up: SetUp) -> Iterator[Finding]:
    symmetry, optics = set_up.settings.symmetry, set_up.stack.optics
    if symmetry is None:
        if optics.helical_twist_deg is not None and optics.helical_rise_A is not None and optics.helical_rise_A[0] > 0:
            yield Finding(
                "note",
                "symmetry",
                "no twist and rise in the settings, and in the table "
                f"{optics.helical_twist_deg[0]:g}° and {optics.helical_rise_A[0]:g} Å",
                "",
                "The refinement is asymmetric; set twist_deg and rise_A to impose them.",
            )
        return
    twist_deg, rise_A, group = wrap_deg(symmetry.twist_deg), symmetry.rise_A, symmetry.point_group
    if group == "C2":
        half_deg = wrap_deg(twist_deg / 2 + 180.0)
        yield Finding(
            "note",
            "pseudo_screw",
            f"C2 with {twist_deg:g}° and {rise_A:g} Å",
            "the choice between C2 and a 2₁ screw",
            f"C1 with {half_deg:g}° and {rise_A / 2:g} Å differs by half a rise between the strands only; try both.",
        )
    elif group == "C1" and 180.0 - abs(twist_deg) < _NEAR_HALF_TURN_DEG:
        yield Finding(
            "note",
            "pseudo_screw",
            f"a twist of {twist_deg:g}°, nearly a 2₁ screw",
            "the choice between it and C2",
            f"C2 with {wrap_deg(2 * twist_deg):g}° and {2 * rise_A:g} Å differs by half "
            "a rise between the strands only; try both.",
        )


def _limits(set_up: SetUp) -> Iterator[Finding]:
    settings, nyquist_A = set_up.settings, 2 * set_up.pixel_A
    symmetry = settings.symmetry
    starts = {
        "nonuniform_start_res_A": settings.use_nonuniform,
        "symmetry_search_start_res_A": symmetry is not None,
        "realspace_symmetrize_res_A": symmetry is not None,
    }
    for name, is_used in starts.items():
        start_A = getattr(settings, name)
        # Halves that agree up to the last shell reach the Nyquist frequency itself.
        if not is_used or start_A is None or start_A >= nyquist_A:
            continue
        # Nobody asked for this default, unlike for that of use_nonuniform.
        if name == "realspace_symmetrize_res_A" and start_A == RefinementSettings.model_fields[name].default:
            yield Finding(
                "note",
                name,
                f"{name} at its default of {start_A:g} Å, which a pixel of {set_up.pixel_A:g} Å does not reach",
                "",
                "Copies are averaged in Fourier space alone; to average them in real space too, set it above "
                f"{nyquist_A:g} Å.",
            )
            continue
        yield Finding(
            "warning",
            name,
            f"{name} {start_A:g} Å for a pixel of {set_up.pixel_A:g} Å",
            f"{nyquist_A:g} Å or more, the finest resolution there is",
            "It never begins; set it coarser.",
        )
    split_A = settings.gsfsc_split_res_A
    if symmetry is not None and symmetry.pitch_A < split_A and settings.low_resolution_join_A is None:
        yield Finding(
            "note",
            "split",
            f"a pitch of {symmetry.pitch_A:.1f} Å, finer than the split at {split_A:g} Å",
            "",
            "The halves share their reference beyond the first layer line at first, or they could part in symmetry.",
        )


_CHECKS = (_box, _rises, _symmetry_order, _symmetry, _limits)
