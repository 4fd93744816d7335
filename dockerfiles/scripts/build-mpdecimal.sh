#!/bin/sh
# mpdecimal, static: for decimal.
. /scripts/component.sh
unpack mpdecimal /usr/src/mpdecimal
./configure --build="$(build_triple)" --host="$TARGET_TRIPLE" --prefix="$deps" CC=gcc AR=ar RANLIB=ranlib LD=gcc \
    CFLAGS="-O2 -fPIC" --disable-shared --disable-cxx --disable-doc
make -j"$jobs" -C libmpdec
install -D -m 644 -t "$deps/lib" libmpdec/libmpdec.a
install -D -m 644 -t "$deps/include" libmpdec/mpdecimal.h
rm -rf /usr/src/mpdecimal
