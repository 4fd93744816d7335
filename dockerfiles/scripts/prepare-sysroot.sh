#!/bin/sh
# The builder's copy of the sysroot: musl alone is linked as a shared library, and what it says is true.
. /scripts/component.sh

# lld also takes libcrypto.so.1.1 for -lcrypto (as OpenBSD's does), before libcrypto.a of a later directory.
find "$MUSLLINUX_BUILD_SYSROOT/lib" "$MUSLLINUX_BUILD_SYSROOT/usr/lib" -maxdepth 1 -name 'lib*.so.*' \
    ! -name 'libc.musl-*' -exec rm {} +

# The mirror's headers and the base's musl are of one kind, or nothing that is built here would load: the headers of
# musl 1.2 give 32-bit programs a 64-bit time_t, whose functions have other names (__time64 ...) than musl 1.1 has.
cat >/tmp/check.c <<'C'
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
int main(void) {
    struct stat found;
    struct timespec now;
    return stat("/", &found) + clock_gettime(CLOCK_REALTIME, &now) + (time(NULL) == 0) + puts("musl");
}
C
if ! gcc -o /tmp/check /tmp/check.c 2>/tmp/check.log; then
    cat /tmp/check.log >&2
    if grep -q 'undefined symbol: __[a-z_]*time64' /tmp/check.log; then
        version=${MUSL_PACKAGE%-r*}
        echo "the mirror's musl-dev for $TARGET_ARCH has the headers of musl 1.2 (64-bit time_t), the base has musl" \
            "$version: $POLICY needs a musl-dev with the headers of musl ${version%.*}" >&2
    else
        echo "the mirror's musl-dev and gcc do not link a program against the base's musl" >&2
    fi
    exit 1
fi
rm -f /tmp/check /tmp/check.c /tmp/check.log
