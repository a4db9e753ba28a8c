"""``python -m helixlab.cli`` is the command ``helixlab``."""

from helixlab.cli import main

main()
