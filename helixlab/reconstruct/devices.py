"""All local devices as one: images spread over them, everything else on each.

What works on images takes them by batches, each device an equal part (:mod:`helixlab.kernels._sharded`); sums over
images are then summed over the devices. With one device nothing of this changes anything.
"""

from collections.abc import Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Shaped

from helixlab.kernels._chunked import blocks
from helixlab.kernels._sharded import IMAGES

Tree = TypeVar("Tree")

_COPIES = 8
"""Arrays as large as a batch's transforms that exist at once: read, whitened, turned, shifted, ..."""

_ROUNDING = 16
"""Batches smaller than a full one come in steps of so many images a device, or of an eighth of the next power of two if
that is more: two half-sets are seldom of one size, and each size is compiled."""


def spread(values: Shaped[np.ndarray, "n ..."]) -> Shaped[Array, "n ..."]:
    """Rows over all devices, an equal part on each; on one device where they do not divide.

    Examples
    --------
    >>> spread(np.zeros((4, 2))).shape
    (4, 2)
    """
    mesh = _mesh()
    if mesh is None or len(values) % mesh.size:
        return jax.device_put(values)  # asarray compiles a copy of each shape
    return jax.device_put(values, NamedSharding(mesh, PartitionSpec(IMAGES)))


def on_all(tree: Tree) -> Tree:
    """A copy of arrays on every device, made once instead of whenever a kernel asks for them."""
    mesh = _mesh()
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def zeros_by_device(like: Float[Array, "*shape"]) -> Float[Array, "*parts_shape"]:
    """What :func:`summed_over_devices` sums: zeros on each device, shape (D, ...); ``like`` itself with one device."""
    mesh = _mesh()
    if mesh is None:
        return like
    # Made where they lie: all parts on one device might be too much for it.
    return jnp.zeros((mesh.size, *like.shape), like.dtype, device=NamedSharding(mesh, PartitionSpec(IMAGES)))


def summed_over_devices(parts: Float[Array, "*parts_shape"]) -> Float[Array, "*shape"]:
    """The sum of the devices' parts, on the first one."""
    return parts if _mesh() is None else jax.device_put(jnp.sum(parts, axis=0), jax.local_devices()[0])


def batches(
    count: int, bytes_per_image: float, *, most: int, batch_bytes: int, size: int | None = None, varies: bool = False
) -> Iterator[tuple[Int[np.ndarray, "b"], Bool[np.ndarray, "b"]]]:
    """Row numbers of each batch and which of them are no padding (:func:`helixlab.kernels._chunked.blocks`).

    Parameters
    ----------
    count : int
        Rows altogether.
    bytes_per_image : float
        What a kernel reads of an image; :data:`_COPIES` of it are allowed for.
    most : int
        Images that a device takes at a time where memory allows.
    batch_bytes : int
        Memory of each device for a batch (:func:`helixlab.reconstruct.memory.batch_bytes`).
    size : int, optional
        Images in a batch, on all devices together, however much memory they take.
    varies : bool
        Whether ``count`` is another each time: then batches smaller than a full one come in powers of two.

    Yields
    ------
    rows, is_valid
        As many as a multiple of the devices.

    Examples
    --------
    >>> [(len(rows), int(is_valid.sum())) for rows, is_valid in batches(40, 8.0, most=512, batch_bytes=2048)]
    [(32, 32), (32, 8)]
    """
    devices = len(jax.local_devices())
    fitting = max(1, min(most, int(batch_bytes / (_COPIES * bytes_per_image))))
    # A power of two, as the blocks of kernels are: none of them is half empty.
    wanted = size or devices << (fitting.bit_length() - 1)
    each = max(1, -(-count // devices))
    step = max(_ROUNDING, (1 << (each - 1).bit_length()) // 8)
    needed = 1 << (each - 1).bit_length() if varies else -(-each // step) * step
    yield from blocks(count, devices * min(-(-wanted // devices), needed))


def _mesh() -> Mesh | None:
    devices = jax.local_devices()
    return Mesh(np.array(devices), (IMAGES,)) if len(devices) > 1 else None
