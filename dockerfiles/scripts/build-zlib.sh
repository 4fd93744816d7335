#!/bin/sh
# zlib, static: for zlib, binascii and everything that reads archives.
. /scripts/component.sh
unpack zlib /usr/src/zlib
CC=gcc AR=ar RANLIB=ranlib CFLAGS="-O2 -fPIC" CHOST="$TARGET_TRIPLE" ./configure --static --prefix="$deps"
make -j"$jobs" libz.a CC=gcc AR=ar RANLIB=ranlib
install -D -m 644 -t "$deps/lib" libz.a
install -D -m 644 -t "$deps/include" zlib.h zconf.h
rm -rf /usr/src/zlib
