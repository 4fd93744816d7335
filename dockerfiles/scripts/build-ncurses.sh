#!/bin/sh
# ncurses with wide characters, static: for curses and readline. Stock roots have no terminal descriptions, so those of
# the usual terminals are compiled in; what a system has is preferred.
. /scripts/component.sh
unpack ncurses /usr/src/ncurses
printf '#!/bin/sh\nPATH=/usr/bin:/bin exec gcc "$@"\n' >/usr/src/build-cc
chmod +x /usr/src/build-cc
./configure --build="$(build_triple)" --host="$TARGET_TRIPLE" --prefix="$deps" --includedir="$deps/include" \
    CC=gcc AR=ar RANLIB=ranlib CFLAGS="-O2 -fPIC" --with-build-cc=/usr/src/build-cc \
    --enable-widec --enable-overwrite --with-normal --without-shared --without-debug --without-ada --without-cxx \
    --without-cxx-binding --without-manpages --without-tests --without-progs --disable-db-install \
    --disable-stripping --disable-home-terminfo --enable-pc-files=no \
    --with-terminfo-dirs=/etc/terminfo:/lib/terminfo:/usr/share/terminfo --with-default-terminfo-dir=/usr/share/terminfo \
    --with-fallbacks=linux,vt100,xterm,xterm-256color,screen,screen-256color,tmux-256color,dumb,ansi
make -j"$jobs" libs
make install.libs install.includes
rm -rf /usr/src/ncurses /usr/src/build-cc
