#!/bin/sh
# zstd, static: for compression.zstd (3.14).
. /scripts/component.sh
unpack zstd /usr/src/zstd
# musl has qsort_r since 1.2.3; the other way, with one global, serves a function that CPython does not call.
sed -i 's/defined(_GNU_SOURCE)/0/' lib/dictBuilder/cover.c
# TARGET_ARCH is options of the compiler to make's built-in rules, and a name of ours.
make -j"$jobs" -C lib libzstd.a TARGET_ARCH= CC=gcc AR=ar RANLIB=ranlib CFLAGS="-O2 -fPIC" ZSTD_LEGACY_SUPPORT=0 UNAME=Linux
install -D -m 644 -t "$deps/lib" lib/libzstd.a
install -D -m 644 -t "$deps/include" lib/zstd.h lib/zdict.h lib/zstd_errors.h
rm -rf /usr/src/zstd
