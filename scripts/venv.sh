#!/usr/bin/env bash
# Makes or refreshes .venv: the project itself (editable) and its development tools, at the
# versions pinned in constraints.txt. Uses uv when it works here, else venv and pip. An existing
# .venv with a sound Python is kept and brought up to date.
#   PYTHON=/path/to/python3.12 scripts/venv.sh    to choose the interpreter of a new .venv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "venv: $*" >&2; }

# A command on PATH may be a version manager's shim that fails when called, so each candidate is run.
is_python() {
    "$1" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 python python3.12 python3.13}; do
        if is_python "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    say "huetrack needs Python 3.11 or later, and none of these is one: ${PYTHON:-python3.11 python3" \
        "python python3.12 python3.13}. Install it, or name it: PYTHON=/path/to/python make venv"
    return 1
}

if ! is_python .venv/bin/python; then
    python=$(find_python)
    say "creating .venv with $python"
    rm -rf .venv
    # Distributions that leave out ensurepip still make a bare environment; pip then comes from outside.
    "$python" -m venv .venv 2>/dev/null || "$python" -m venv --clear --without-pip .venv
fi

if uv --version >/dev/null 2>&1; then
    say "installing with uv"
    uv pip install --python .venv/bin/python --constraint constraints.txt --editable '.[dev]'
else
    say "installing with pip"
    if .venv/bin/python -m pip --version >/dev/null 2>&1; then
        pip=(.venv/bin/python -m pip)
    else
        outer=$(find_python)
        if ! "$outer" -m pip --version >/dev/null 2>&1; then
            say "no pip in .venv, none in $outer, and no uv: install one of them (Debian: python3-pip)"
            exit 1
        fi
        pip=("$outer" -m pip --python .venv/bin/python)
    fi
    "${pip[@]}" install --constraint constraints.txt --editable '.[dev]'
fi

touch .venv/.installed
