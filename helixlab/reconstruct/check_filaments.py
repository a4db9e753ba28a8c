"""Checks of what a table says of its filaments: numbers, half-sets, priors, repeated segments."""

from collections.abc import Iterator

import numpy as np

from helixlab.errors import HelixLabError
from helixlab.io import ParticleStack, filament_direction_error_deg
from helixlab.io.column_map import in_files
from helixlab.reconstruct.findings import Finding, SetUp, named_rows, row_numbers
from helixlab.reconstruct.half_sets import given_half_sets, grouping, shared_groups
from helixlab.reconstruct.spacing import places_A

_LEAST_SHARE = 0.4
"""Of the segments, in the smaller half-set."""

_MOST_PSI_ERROR_DEG = 15.0
"""Priors of filament tracing are good to a few degrees, lost conventions are 90° off or scattered."""


def filaments(set_up: SetUp) -> Iterator[Finding]:
    """Whether filaments are known, and half-sets keep them whole."""
    stack = set_up.stack
    if stack.filament_id is None:
        has_micrographs = stack.micrograph is not None
        yield Finding(
            "warning" if has_micrographs else "error",
            "filaments",
            f"no filament numbers, {in_files('filament_id')}",
            "one for each segment",
            f"Import the table of the helical extraction or the filament tracer{stack.passthrough_hint}. "
            + (
                "Micrographs stand in for filaments in the half-sets, and each segment decides its polarity by itself."
                if has_micrographs
                else "Half-sets need them."
            ),
        )
        if not has_micrographs:
            return
    elif _lacks_micrographs(stack):
        yield Finding(
            "warning",
            "filaments",
            "no micrograph names (_rlnMicrographName)",
            "them, since _rlnHelicalTubeID counts the filaments of each micrograph anew",
            f"Image files stand in for micrographs, which makes {stack.n_filaments} filaments. Where one file holds "
            "several micrographs, filaments of one number are taken for one: they share polarity and half-set. Use a "
            "table with that column.",
        )
    groups = grouping(stack)
    if len(np.unique(groups)) < 2:
        yield Finding(
            "error",
            "filaments",
            "one filament",
            "at least 2, one for each half-set",
            "Add segments of other filaments.",
        )
    try:
        half_set = given_half_sets(stack)
    except HelixLabError as error:
        yield Finding("error", "half_sets", f"{error} Correct or remove the column.", "", "")
        return
    if half_set is None:
        return
    shared = shared_groups(groups, half_set)
    if len(shared):
        rows = set_up.table_row[np.isin(groups, shared)]
        yield Finding(
            "error",
            "half_sets",
            f"{len(shared)} filaments with segments in both half-sets ({named_rows(rows)})",
            "each filament in one",
            f"Remove the column {in_files('half_set')}; whole filaments are dealt out then.",
            row_numbers(rows),
        )
    share = float(np.mean(half_set == 1))
    if min(share, 1 - share) < _LEAST_SHARE:
        yield Finding(
            "warning",
            "half_sets",
            f"{share:.0%} of the segments in half-set 1",
            "about half of them",
            f"Remove the column {in_files('half_set')} to have filaments dealt out evenly.",
        )


def places(set_up: SetUp) -> Iterator[Finding]:
    """Whether segments can tell each other's poses."""
    stack, settings = set_up.stack, set_up.settings
    psi_deg = stack.psi_prior_deg if stack.psi_prior_deg is not None else stack.psi_deg
    if settings.symmetry is None or not settings.filament_coherence or stack.filament_id is None or psi_deg is None:
        return
    if places_A(stack, np.asarray(psi_deg)) is None:
        columns = ", ".join(in_files(name) for name in ("coordinate_x_px", "coordinate_y_px", "track_length_A"))
        yield Finding(
            "note",
            "filament_coherence",
            "segments without places along their filaments",
            f"{columns} of each of them",
            "Segments of a filament share its polarity, but say nothing of each other's poses.",
        )


def priors(set_up: SetUp) -> Iterator[Finding]:
    """Whether it is known how the filaments lie in their images."""
    stack = set_up.stack
    if stack.psi_prior_deg is None:
        yield Finding(
            "error" if stack.psi_deg is None else "warning",
            "psi_prior",
            f"no psi priors, {in_files('psi_prior_deg')}",
            "the direction of each filament in its image",
            f"Use the table of the filament tracer{stack.passthrough_hint}; in-plane angles of 2D classification (psi) "
            "stand in for it.",
        )
    reach_deg = 3 * set_up.settings.tilt_prior_sd_deg
    tilt_deg = np.zeros(len(stack)) if stack.tilt_prior_deg is None else stack.tilt_prior_deg - 90.0
    beyond = set_up.table_row[np.abs(tilt_deg) > reach_deg]
    if beyond.size:
        yield Finding(
            "warning",
            "tilt_prior",
            f"tilt priors up to {np.abs(tilt_deg).max():.0f}° from 90° in {named_rows(beyond)}",
            f"at most {reach_deg:g}°, three tilt_prior_sd_deg",
            "Tilts are searched about 90°, whatever their priors: raise tilt_prior_sd_deg.",
            row_numbers(beyond),
        )
    needed = (stack.filament_id, stack.coordinate_x_px, stack.coordinate_y_px, stack.psi_prior_deg)
    if all(column is not None for column in needed) and not _lacks_micrographs(stack):
        error_deg = filament_direction_error_deg(stack)
        error_deg = error_deg[np.isfinite(error_deg)]
        if error_deg.size and np.median(error_deg) > _MOST_PSI_ERROR_DEG:
            yield Finding(
                "warning",
                "psi_prior",
                f"psi priors {np.median(error_deg):.0f}° off the line of their boxes (median)",
                f"at most {_MOST_PSI_ERROR_DEG:.0f}°",
                "A conversion has lost the convention of angles, or an axis of the "
                "micrographs is flipped; convert the table again.",
            )


def duplicates(set_up: SetUp) -> Iterator[Finding]:
    """Segments that are there twice."""
    stack = set_up.stack
    twice = _repeated(stack.image_file, stack.image_index)
    if twice.size:
        rows = set_up.table_row[twice]
        yield Finding(
            "warning",
            "duplicates",
            f"the image of an earlier row again in {named_rows(rows)}",
            "each image once",
            "Remove the repeated rows: in both half-sets they raise the FSC.",
            row_numbers(rows),
        )
    x, y = stack.coordinate_x_px, stack.coordinate_y_px
    if stack.micrograph is None or x is None or y is None:
        return
    twice = np.setdiff1d(_repeated(stack.micrograph, np.rint(10 * x), np.rint(10 * y)), twice)
    if twice.size:
        rows = set_up.table_row[twice]
        yield Finding(
            "warning",
            "duplicates",
            f"the place of an earlier segment again in {named_rows(rows)}",
            "each place once",
            "Remove duplicate picks: in both half-sets they raise the FSC.",
            row_numbers(rows),
        )


def _lacks_micrographs(stack: ParticleStack) -> bool:
    """Whether filaments are told apart by image files and numbers that may begin anew in each micrograph."""
    return stack.source.star is not None and stack.filament_id is not None and stack.micrograph is None


def _repeated(*keys: np.ndarray) -> np.ndarray:
    """Rows whose keys an earlier row has already."""
    _, first = np.unique(np.stack(keys, 1), axis=0, return_index=True)
    return np.setdiff1d(np.arange(len(keys[0])), first)


CHECKS = (filaments, places, priors, duplicates)
