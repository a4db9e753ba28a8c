"""How fast HelixLab is, and how exact; side by side with RELION where it is installed.

    make bench
    .venv/bin/python -m benchmarks [--quick] [--json FILE] [row ...]

Every measurement runs in a process of its own with a known set of cores. "Warm" is the best of a few runs after the
first; what the first took longer is compile time. Ratios to RELION come from runs in turns in one process, so that a
busy machine slows both alike.
"""
