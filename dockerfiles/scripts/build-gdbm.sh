#!/bin/sh
# gdbm and its ndbm interface, static: for dbm.gnu and dbm.ndbm.
. /scripts/component.sh
unpack gdbm /usr/src/gdbm
[ -x configure ] || autoreconf --force --install
./configure --build="$(build_triple)" --host="$TARGET_TRIPLE" --prefix="$deps" CC=gcc AR=ar RANLIB=ranlib CFLAGS=-O2 \
    --disable-shared --enable-static --with-pic --enable-libgdbm-compat --disable-nls --without-readline
make -j"$jobs" -C src libgdbm.la
make -j"$jobs" -C compat
install -D -m 644 -t "$deps/include" src/gdbm.h compat/ndbm.h
install -m 644 compat/ndbm.h "$deps/include/gdbm-ndbm.h"
install -D -m 644 -t "$deps/lib" src/.libs/libgdbm.a
# configure links against the ndbm interface alone.
mkdir joined
(cd joined && ar x ../src/.libs/libgdbm.a && ar x ../compat/.libs/libgdbm_compat.a)
ar rcs "$deps/lib/libgdbm_compat.a" joined/*.o
rm -rf /usr/src/gdbm
