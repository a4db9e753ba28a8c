#!/bin/sh
# Make the virtual environment DIR with the first Python that is new enough, pip included.
#   tools/venv.sh DIR        PYTHON=/path/to/python3.12 chooses the interpreter.
# On Debian and Ubuntu the module that puts pip into an environment is a package of its own (python3.X-venv):
# it is installed where this script may, otherwise the command to type is printed.
set -eu
dir=$1
oldest="3.11"

say() { printf '%s\n' "$*" >&2; }

# A `python3.12` on PATH may be a shim that cannot run, hence the question instead of the name.
is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

has_pip_installer() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

install_venv_package() {
    package="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        # Without a terminal nobody could type sudo's password.
        if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            as_root="sudo"
        else
            as_root="none"
        fi
    fi
    if command -v apt-get >/dev/null && [ "$as_root" != none ]; then
        say "This Python cannot put pip into an environment: installing $package with apt-get."
        $as_root apt-get update -q >&2 || say "apt-get update failed; trying with the package lists at hand."
        if $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package" >&2; then
            return 0
        fi
    fi
    say ""
    say "$1 cannot put pip into an environment (its module ensurepip is missing). Type"
    say "    sudo apt-get update && sudo apt-get install $package"
    say "and start again."
    exit 1
}

python=""
first_without_pip=""
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3}; do
    if is_new_enough "$candidate"; then
        if has_pip_installer "$candidate"; then
            python=$candidate
            break
        fi
        first_without_pip=${first_without_pip:-$candidate}
    fi
done

if [ -z "$python" ] && [ -n "$first_without_pip" ]; then
    python=$first_without_pip
    install_venv_package "$python"
fi
if [ -z "$python" ]; then
    say "HelixLab needs Python $oldest or newer; found: $(${PYTHON:-python3} --version 2>&1 | head -n 1)."
    say "On Debian 12 and Ubuntu 23.04 or newer type"
    say "    sudo apt-get install python3 python3-venv"
    say "on Ubuntu 22.04"
    say "    sudo apt-get install python3.11 python3.11-venv"
    say "and start again. To name a Python elsewhere: make PYTHON=/path/to/python3.12"
    exit 1
fi

say "Making $dir with $("$python" --version) ($(command -v "$python"))"
"$python" -m venv --clear "$dir"
