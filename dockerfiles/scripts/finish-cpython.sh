#!/bin/sh
# finish-cpython.sh X.Y.Z: makes the installed interpreter below /out the shipped one, and refuses what would not load.
set -eu
mkdir -p /out
prefix=/opt/_internal/cpython-$1${2:+-nogil}
python=/opt/build-python/bin/python${1%.*}$2
# A fixed seed, because sets of constants are written in the order they have.
PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 "$python" /scripts/finish_cpython.py "/out$prefix"
PYTHONDONTWRITEBYTECODE=1 "$python" /scripts/check_elf.py "/out$prefix" /sysroot
