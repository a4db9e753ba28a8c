"""The planes of a map: where they lie, how they are cut, made smaller, and drawn for print."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from helixlab.kernels.symmetrize import Sections

Plane = Float[np.ndarray, "rows columns"]

AXES = ("z", "y", "x")

PLANES = {"zy": (0, 1, 2), "zx": (0, 2, 1), "yx": (1, 2, 0)}
"""Of each plane: which axis (0 z, 1 y, 2 x) runs up, which to the right, and which one it is cut across."""

MOST_PX = 384
"""Side of a plane that is drawn as it is; larger ones are reduced, as no panel is larger than that on the screen."""

AUTO_QUANTILES = (0.005, 0.999)
"""What auto contrast spans: a few bright voxels are more telling than as many dark ones."""

AUTO_TOLERANCE = 0.25
"""Auto contrast stays while it would move by less than this part of its span: no flicker from plane to plane."""


def reduced_plane(plane: Plane, factor: int) -> Plane:
    """The means of squares of this many pixels, the last ones of what is left; the plane itself for factor 1.

    Examples
    --------
    >>> reduced_plane(np.arange(6.0).reshape(2, 3), 2)
    array([[2. , 3.5]])
    """
    if factor == 1:
        return plane
    starts = [np.arange(0, n, factor) for n in plane.shape]
    sums = np.add.reduceat(np.add.reduceat(plane, starts[0], axis=0), starts[1], axis=1)
    counts = [np.minimum(factor, n - start) for n, start in zip(plane.shape, starts, strict=True)]
    return sums / (counts[0][:, None] * counts[1]).astype(plane.dtype)


def settled_limits(values: Float[np.ndarray, "n"], old: tuple[float, float]) -> tuple[float, float]:
    """Contrast for these densities: the old one if it is about right.

    Examples
    --------
    >>> settled_limits(np.linspace(0.0, 1.0, 1001), (0.05, 1.1))
    (0.05, 1.1)
    >>> settled_limits(np.linspace(0.0, 1.0, 1001), (0.0, 5.0))
    (0.005, 0.999)
    """
    low, high = (float(q) for q in np.quantile(values, AUTO_QUANTILES))
    if not low < high:
        low, high = low - 0.5, high + 0.5
    allowed = AUTO_TOLERANCE * (old[1] - old[0])
    return old if abs(low - old[0]) <= allowed and abs(high - old[1]) <= allowed else (low, high)


def box_of(planes: "Sections") -> tuple[int, int, int]:
    """Voxels (nz, ny, nx) of the box that planes were cut from."""
    (nz, ny), (also_nz, nx) = planes.zy.shape, planes.zx.shape
    if also_nz != nz or planes.yx.shape != (ny, nx):
        found = ", ".join(str(plane.shape) for plane in planes)
        raise HelixLabError(f"planes: found {found}; they are of shape (nz, ny), (nz, nx) and (ny, nx).")
    return nz, ny, nx


def is_inside(place_px: tuple[int, int, int], shape: tuple[int, int, int]) -> bool:
    """Whether a box has this voxel."""
    return all(0 <= i < n for i, n in zip(place_px, shape, strict=True))


def cut_plane(volume: Volume, normal: int, at_px: int, kind: str) -> Plane:
    """One section across an axis (0 z, 1 y, 2 x), or the sum of all."""
    if kind == "section":
        return np.take(volume.data, at_px, axis=normal)
    return volume.data.sum(axis=normal, dtype=np.float64)


def draw_plane(
    axes: "Axes",
    name: str,
    plane: Plane,
    *,
    shape: tuple[int, int, int],
    pixel_size_A: float,
    reduction: int,
    **look: Any,
) -> None:
    """Draw a plane of a box into matplotlib axes: in Å from the helical axis and the box's middle, with a scale bar.

    ``look`` goes to ``imshow``.
    """
    up, right, _ = PLANES[name]
    # Pixels are squares around their places; the origin is voxel n // 2.
    left, bottom = (-(shape[axis] // 2 + 0.5) * pixel_size_A for axis in (right, up))
    rows, columns = (n * reduction * pixel_size_A for n in plane.shape)
    axes.imshow(plane, origin="lower", extent=(left, left + columns, bottom, bottom + rows), **look)
    width, height = (shape[axis] * pixel_size_A for axis in (right, up))
    axes.set(xlim=(left, left + width), ylim=(bottom, bottom + height))
    axes.set(xlabel=f"{AXES[right]} (Å)", ylabel=f"{AXES[up]} (Å)")
    _draw_scale_bar(axes, left + 0.06 * width, bottom + 0.06 * width, round_length(0.35 * width))


def _draw_scale_bar(axes: "Axes", x_A: float, y_A: float, length_A: float) -> None:
    """White with a black rim, which reads on every density."""
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=3.5, foreground="black")]
    ends = [x_A, x_A + length_A]
    axes.plot(ends, [y_A, y_A], color="white", linewidth=2.0, solid_capstyle="butt", path_effects=rim)
    name = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "fontsize": "small"}
    rim = [withStroke(linewidth=1.5, foreground="black")]
    axes.annotate(f"{length_A:g} Å", (x_A + length_A / 2, y_A), color="white", path_effects=rim, **name)


def round_length(most: float) -> float:
    """The longest of 1, 2, 5 times a power of ten up to a limit.

    Examples
    --------
    >>> round_length(74.0), round_length(1.0)
    (50.0, 1.0)
    """
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most))
