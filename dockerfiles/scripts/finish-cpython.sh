#!/bin/sh
# finish-cpython.sh X.Y.Z: makes the installed interpreter below /out the shipped one, and refuses what would not load.
set -eu
mkdir -p /out
[ -n "$1" ] || exit 0
PYTHONPYCACHEPREFIX=/tmp/pycache "/opt/build-python/bin/python${1%.*}" /scripts/finish_cpython.py \
    "/out/opt/_internal/cpython-$1"
PYTHONPYCACHEPREFIX=/tmp/pycache "/opt/build-python/bin/python${1%.*}" /scripts/check_elf.py \
    "/out/opt/_internal/cpython-$1" /sysroot
