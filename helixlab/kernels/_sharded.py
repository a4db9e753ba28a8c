"""Images spread over devices: each device works on its own rows, with a copy of all else.

The rows of an array lie on D devices in D parts of one size, along the mesh axis :data:`IMAGES`. A kernel made by
:func:`jit_rows` then runs on every device at once, each seeing its own rows only, numbered from 0: nothing of an image
travels. With one device it is ``jax.jit``. Written out (``shard_map``), because the compiler left alone would bring the
images together wherever rows are picked by number.
"""

import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

IMAGES = "images"
"""The mesh axis."""

Result = TypeVar("Result")


def mesh_of(tree: Any) -> Mesh | None:
    """The devices that the rows of an array, or of a tree of arrays, are spread over; None: they are not."""
    for leaf in jax.tree.leaves(tree)[:1]:
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.spec[:1] == (IMAGES,) and isinstance(sharding.mesh, Mesh):
            return sharding.mesh
    return None


def shard_count(tree: Any) -> int:
    """How many parts the rows of an array lie in.

    Examples
    --------
    >>> shard_count(np.zeros(3))
    1
    """
    mesh = mesh_of(tree)
    return 1 if mesh is None else mesh.size


def spread_like(values: Shaped[np.ndarray, "n ..."], like: Array) -> Shaped[Array, "n ..."]:
    """Rows laid where those of ``like`` lie."""
    mesh = mesh_of(like)
    return jnp.asarray(values) if mesh is None else jax.device_put(values, NamedSharding(mesh, PartitionSpec(IMAGES)))


def jit_rows(*split: str, donate: tuple[str, ...] = ()) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """``jax.jit`` for kernels that work row by row.

    Parameters
    ----------
    *split : str
        Names of the parameters whose leading axes are the images. They, or trees of them, are spread alike; the first
        of them tells how. All other arguments are the same on every device. The results' leading axes are images too.
        Arguments are given by position.
    donate : tuple of str
        Names of parameters whose memory is used for the result.

    Examples
    --------
    >>> @jit_rows("x")
    ... def scaled(x, factor):
    ...     return factor * x
    >>> scaled(np.ones((2, 3)), 2.0).shape
    (2, 3)
    """

    def decorate(kernel: Callable[..., Result]) -> Callable[..., Result]:
        names = list(inspect.signature(kernel).parameters)
        first = names.index(split[0])
        donated = tuple(names.index(name) for name in donate)
        on_one = jax.jit(kernel, donate_argnums=donated)

        @cache
        def on_many(mesh: Mesh) -> Callable[..., Result]:
            specs = tuple(PartitionSpec(IMAGES) if name in split else PartitionSpec() for name in names)
            by_device = jax.shard_map(
                kernel, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(IMAGES), check_vma=False
            )
            return jax.jit(by_device, donate_argnums=donated)

        @wraps(kernel)
        def call(*args: Any) -> Result:
            mesh = mesh_of(args[first])
            return on_one(*args) if mesh is None else on_many(mesh)(*args)

        return call

    return decorate
