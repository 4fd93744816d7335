#!/bin/sh
# libuuid of util-linux, static: for uuid. Its clock's place is compiled in, so no directory is the builder's.
. /scripts/component.sh
unpack util-linux /usr/src/uuid
[ -x configure ] || ./autogen.sh
# Its own reallocarray would clash with a header that is newer than musl; libuuid does not call it.
./configure --build="$(build_triple)" --host="$TARGET_TRIPLE" --prefix=/usr \
    ac_cv_func_reallocarray=yes --localstatedir=/var --runstatedir=/run CC=gcc AR=ar RANLIB=ranlib CFLAGS=-O2 \
    --disable-all-programs --enable-libuuid --disable-shared --enable-static --with-pic --disable-nls \
    --disable-asciidoc --without-python --without-systemd --without-ncurses --without-ncursesw
make -j"$jobs" libuuid.la
install -D -m 644 -t "$deps/lib" .libs/libuuid.a
install -D -m 644 -t "$deps/include/uuid" libuuid/src/uuid.h
rm -rf /usr/src/uuid
