"""How much memory is free, and how much of it a batch of images may take."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

_SHARE_OF_BATCH = 0.0625
"""A batch takes at most this part of the free memory: several kernels hold it, and what they make of it, at once, and
up to four batches are worked on side by side (:mod:`helixlab.reconstruct.at_once`)."""

_UNKNOWN_BYTES = 4 << 30
"""Taken for free where the system does not say: what a small computer has."""

_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_CGROUP_OF_SELF = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def free_memory_bytes() -> int:
    """What this process may still take: the least of the machine's free memory, its cgroup's and its own limit.

    Examples
    --------
    >>> free_memory_bytes() > 0
    True
    """
    return max(0, min([*_machine_bytes(), *_cgroup_bytes(), *_address_space_bytes()], default=_UNKNOWN_BYTES))


def batch_bytes() -> int:
    """What a batch may take on each local device, with all that is made of it; a power of two.

    So that a little more or less free memory means neither other shapes, to be compiled again, nor other roundings.

    Examples
    --------
    >>> batch_bytes().bit_count()
    1
    """
    devices = jax.local_devices()
    told = [stats for stats in (device.memory_stats() for device in devices) if stats and "bytes_limit" in stats]
    free = [stats["bytes_limit"] - stats.get("bytes_in_use", 0) for stats in told]
    # Even where devices have a memory of their own, batches come and go through that of the machine, which CPUs share.
    free.append(free_memory_bytes() // len(devices))
    return 1 << (max(1, int(_SHARE_OF_BATCH * min(free))).bit_length() - 1)


# --- what the system says -----------------------------------------------------------------------


def _machine_bytes() -> Iterator[int]:
    available = _kilobytes(_MEMINFO, "MemAvailable:")
    if available is not None:
        yield available
        return
    try:
        # Not all of it is free; on systems that tell no better half of it is taken for that.
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return


def _cgroup_bytes() -> Iterator[int]:
    """Of this process' cgroup and those it lies in, by both versions of the interface.

    Inside a container the path in /proc may be another than that under /sys, whose top then is the container's own.
    """
    for line in _lines(_CGROUP_OF_SELF):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, used, cache = _CGROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, used, cache = (
                _CGROUPS / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        folder = root / path.strip("/")
        for place in (folder, *folder.parents):
            if not place.is_relative_to(root):
                break
            most, now = _number(place / limit), _number(place / used)
            if most is not None and now is not None:
                # Pages of files that nobody uses give way.
                yield most - now + (_named_number(place / "memory.stat", cache) or 0)


def _address_space_bytes() -> Iterator[int]:
    """What ``ulimit -v`` leaves."""
    if sys.platform == "win32":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    taken = _kilobytes(_STATUS, "VmSize:")
    if limit != resource.RLIM_INFINITY and taken is not None:
        yield limit - taken


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _kilobytes(path: Path, name: str) -> int | None:
    value = _named_number(path, name)
    return None if value is None else 1024 * value


def _named_number(path: Path, name: str) -> int | None:
    return next((int(line.split()[1]) for line in _lines(path) if line.split()[:1] == [name]), None)


def _number(path: Path) -> int | None:
    """The number that a file holds; none if it says "max"."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None
