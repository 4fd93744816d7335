#!/bin/sh
# readline, static: for line editing in the interactive interpreter.
. /scripts/component.sh
unpack readline /usr/src/readline
./configure --build="$(build_triple)" --host="$TARGET_TRIPLE" --prefix="$deps" CC=gcc AR=ar RANLIB=ranlib \
    CFLAGS="-O2 -fPIC" --disable-shared --enable-static --with-curses --disable-install-examples \
    bash_cv_termcap_lib=libncursesw bash_cv_wcwidth_broken=no
make -j"$jobs" static
make install-headers install-static
rm -rf /usr/src/readline
