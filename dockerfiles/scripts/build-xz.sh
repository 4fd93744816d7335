#!/bin/sh
# liblzma, static: for lzma.
. /scripts/component.sh
unpack xz /usr/src/xz
./configure --build="$(build_triple)" --host="$TARGET_TRIPLE" --prefix="$deps" CC=gcc CFLAGS=-O2 \
    --disable-shared --enable-static --with-pic --disable-nls --disable-doc --disable-scripts \
    --disable-xz --disable-xzdec --disable-lzmadec --disable-lzmainfo --disable-lzma-links
make -j"$jobs" -C src/liblzma
make -C src/liblzma install
rm -rf /usr/src/xz
