"""Particles that cannot be used, by row: images not finite, empty or cut out of their noise, other boxes, no CTF.

``helixlab check`` names them; a refinement refuses them or, where the settings say so, leaves them out.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from helixlab.errors import HelixLabError
from helixlab.io import BadImage, ImageSource, ParticleStack
from helixlab.io.column_map import in_files
from helixlab.io.image_stacks import locate_image_file, read_stack_header
from helixlab.reconstruct.settings import RefinementSettings

Progress = Callable[[str, float], None]

NAMED_AT_MOST = 10
"""Rows that a message names; their number is given too."""

BACKGROUND_PART = 0.94
"""Beyond this part of the box's half edge an image is taken for background; its corners at least are."""

_BATCH = 64

_NUMBERS = (
    "defocus_u_A",
    "defocus_v_A",
    "defocus_angle_deg",
    "phase_shift_deg",
    "ctf_bfactor_A2",
    "ctf_scale",
)
_GROUP_NUMBERS = ("voltage_kV", "cs_mm", "amplitude_contrast")


def usable_particles(stack: ParticleStack, settings: RefinementSettings) -> tuple[ParticleStack, tuple[BadImage, ...]]:
    """The particles that a refinement can use, and those it leaves out.

    Parameters
    ----------
    stack : ParticleStack
    settings : RefinementSettings
        With ``drop_bad_images`` all images are read once, and bad particles left out. Without, the images are not
        looked at here.

    Raises
    ------
    HelixLabError
        If there are bad particles which the settings do not leave out, or no others; it names their rows.
    """
    bad = find_bad_particles(stack, read_images=settings.drop_bad_images)
    if not bad:
        return stack, ()
    if not settings.drop_bad_images:
        raise bad_particles_error(stack)
    if len(bad) == len(stack):
        raise HelixLabError(f"{_name(stack)}: found no particle that can be used: {named_particles(bad)}.")
    return stack.select(np.setdiff1d(np.arange(len(stack)), [one.row for one in bad])), bad


def find_bad_particles(
    stack: ParticleStack, *, read_images: bool = True, progress: Progress | None = None
) -> tuple[BadImage, ...]:
    """Every particle that cannot be used, once, in the order of rows.

    Parameters
    ----------
    stack : ParticleStack
    read_images : bool
        Whether every image is read; off, only the table and the files' headers are.
    progress : callable (stage, fraction), optional

    Raises
    ------
    FileFormatError
        If an image file is missing or damaged.
    """
    bad = {one.row: one for one in (*particles_of_other_boxes(stack), *particles_without_ctf(stack))}
    if read_images:
        rows = np.setdiff1d(np.arange(len(stack)), list(bad))
        bad |= {one.row: one for one in bad_images(stack, rows, progress)}
    return tuple(bad[row] for row in sorted(bad))


def particles_without_ctf(stack: ParticleStack) -> tuple[BadImage, ...]:
    """Those in whose rows, or optics groups, a number of the CTF is missing; columns that nobody has are not told."""
    columns = {name: getattr(stack, name) for name in _NUMBERS}
    groups = {name: getattr(stack.optics, name) for name in _GROUP_NUMBERS}
    columns |= {name: None if values is None else values[stack.optics_group] for name, values in groups.items()}
    missing: dict[int, list[str]] = {}
    for name, values in columns.items():
        for row in [] if values is None else np.flatnonzero(~np.isfinite(values)).tolist():
            missing.setdefault(row, []).append(in_files(name))
    return tuple(BadImage(row, stack.image_name(row), f"no {', '.join(missing[row])}") for row in sorted(missing))


def particles_of_other_boxes(stack: ParticleStack) -> tuple[BadImage, ...]:
    """Those whose images have another size than most."""
    source = stack.source
    names = [stack.image_files[number] for number in stack.image_file.tolist()]
    headers = {name: read_stack_header(locate_image_file(name, source.path, source.images_root)) for name in set(names)}
    shapes = [headers[name].file_shape[1:] for name in names]
    usual = Counter(shapes).most_common(1)[0][0]
    return tuple(
        BadImage(row, stack.image_name(row), f"{x} × {y} pixels, where most have {usual[1]} × {usual[0]}")
        for row, (y, x) in enumerate(shapes)
        if (y, x) != usual
    )


def bad_images(
    stack: ParticleStack, rows: Int[np.ndarray, "k"], progress: Progress | None = None
) -> tuple[BadImage, ...]:
    """Those of these rows whose images are not finite, empty or without background, by reading them."""
    if not len(rows):
        return ()
    bad: list[BadImage] = []
    done, chosen = 0, stack.select(rows)
    for batch in ImageSource(chosen).batches(_BATCH):
        found = {one.row: one for one in (*images_without_background(chosen, batch.rows, batch.images), *batch.bad)}
        bad += [BadImage(int(rows[row]), found[row].name, found[row].reason) for row in sorted(found)]
        done += len(batch.rows)
        if progress is not None:
            progress("reading images", done / len(rows))
    return tuple(bad)


def images_without_background(
    stack: ParticleStack, rows: Int[np.ndarray, "b"], images: Float[np.ndarray, "b n n"]
) -> tuple[BadImage, ...]:
    """Those of some images, of these rows, whose background is one value: they are scaled by its noise."""
    y = np.arange(images.shape[1]) - images.shape[1] // 2
    outside = images[:, np.hypot(y[:, None], y) > BACKGROUND_PART * len(y) / 2]
    blank = np.flatnonzero(outside.min(axis=1) == outside.max(axis=1)).tolist()
    reasons = {int(rows[n]): f"every pixel around the particle is {outside[n, 0]:g}" for n in blank}
    return tuple(BadImage(row, stack.image_name(row), reason) for row, reason in reasons.items())


def bad_particles_error(stack: ParticleStack) -> HelixLabError:
    """The error that names all of a stack's bad particles."""
    return HelixLabError(
        f"{_name(stack)}: found {named_particles(find_bad_particles(stack))}; needed finite images with noise around "
        "the particle, of one box, each with a CTF. Extract them again, or set drop_bad_images=true to leave them out."
    )


def named_particles(bad: tuple[BadImage, ...]) -> str:
    """The first of them in words, and how many there are.

    Examples
    --------
    >>> named_particles((BadImage(2, "000003@a.mrcs", "every pixel is 0"),))
    '1 bad particle: row 3 (000003@a.mrcs): every pixel is 0'
    """
    named = "; ".join(map(str, bad[:NAMED_AT_MOST]))
    more = f" and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
    return f"{len(bad)} bad particle{'' if len(bad) == 1 else 's'}: {named}{more}"


def _name(stack: ParticleStack) -> str:
    return str(stack.source.path or "particles")
