#!/bin/sh
# bzip2, static: for bz2.
. /scripts/component.sh
unpack bzip2 /usr/src/bzip2
make -j"$jobs" libbz2.a CC=gcc AR=ar RANLIB=ranlib CFLAGS="-O2 -fPIC -D_FILE_OFFSET_BITS=64"
install -D -m 644 -t "$deps/lib" libbz2.a
install -D -m 644 -t "$deps/include" bzlib.h
rm -rf /usr/src/bzip2
