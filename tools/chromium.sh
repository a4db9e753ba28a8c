#!/bin/sh
# The browser that tests/ui drives, installed where it is missing and this script may.
#   tools/chromium.sh        HELIXLAB_CHROMIUM=/path/to/chrome names one that is there already.
# Prints what it found or did; never fails: without a browser those tests are skipped and say why (in CI they fail).
set -eu

say() { printf '%s\n' "$*" >&2; }

if [ -n "${HELIXLAB_CHROMIUM:-}" ]; then
    exit 0
fi
for name in chromium chromium-browser google-chrome; do
    # On Ubuntu the command may be a stub that only asks for a snap.
    if "$name" --version >/dev/null 2>&1; then
        exit 0
    fi
done

as_root=""
if [ "$(id -u)" != 0 ]; then
    # Without a terminal nobody could type sudo's password.
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root="sudo"
    else
        as_root="none"
    fi
fi
if command -v apt-get >/dev/null && [ "$as_root" != none ]; then
    say "Installing chromium with apt-get, for the tests that use a browser."
    $as_root apt-get update -q >/dev/null 2>&1 || say "apt-get update failed; trying with the package lists at hand."
    if $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium >/dev/null; then
        exit 0
    fi
fi
say "No browser for tests/ui. Type"
say "    sudo apt-get update && sudo apt-get install chromium"
say "or set HELIXLAB_CHROMIUM to a Chromium or Chrome that is there."
