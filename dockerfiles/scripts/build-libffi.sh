#!/bin/sh
# libffi, static: for ctypes.
. /scripts/component.sh
unpack libffi /usr/src/libffi
# Upstream's archive brings its configure script, a distribution's may not. The macro removed then asks whether the
# platform prefixes symbols with an underscore (no ELF platform does) and is only in libtool's development files.
if [ ! -x configure ]; then
    sed -i '/^LT_SYS_SYMBOL_USCORE$/d' configure.ac
    autoreconf --force --install
fi
./configure --build="$(build_triple)" --host="$TARGET_TRIPLE" --prefix="$deps" CC=gcc CXX=g++ CFLAGS=-O2 \
    --disable-shared --enable-static --with-pic --disable-docs --disable-multi-os-directory
make -j"$jobs"
make install
rm -rf /usr/src/libffi
