#!/bin/sh
# The build python: an interpreter of the builder's own architecture and of the very release that is cross-built
# (another patch release dies on its own frozen modules). Nothing of it is shipped, so it is quick rather than fast.
. /scripts/component.sh
version=$1
threads=$2  # "t" for a free-threaded build
unpack zlib /usr/src/zlib
CFLAGS="-O1 -fPIC" ./configure --static --prefix=/opt/build-python
make -j"$jobs" libz.a
install -D -m 644 -t /opt/build-python/lib libz.a
install -D -m 644 -t /opt/build-python/include zlib.h zconf.h
unpack cpython /usr/src/python
# Nothing of this is needed to build another interpreter. Until 3.11 a file says so, then configure's answers do.
disabled="_bz2 _lzma _ctypes _ssl _hashlib _sqlite3 _tkinter _curses _curses_panel readline _gdbm _dbm _uuid _decimal nis
    ossaudiodev audioop _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw"
answers=""
{
    echo '*disabled*'
    for module in $disabled; do
        echo "$module"
        answers="$answers py_cv_module_$module=n/a"
    done
} >Modules/Setup.local
[ -f setup.py ] || rm Modules/Setup.local
# Until 3.10 the suffix of extensions does not tell glibc from musl; with the target's in its search path, the build
# python would load those.
if [ "$(echo "$version" | cut -d. -f2)" -lt 11 ]; then
    sed -i "/^SOABI='cpython-'/s/\$/-build/" configure
fi
# shellcheck disable=SC2086 # one word per module
./configure --prefix=/opt/build-python ${threads:+--disable-gil} --with-ensurepip=no --disable-test-modules --without-doc-strings \
    OPT="-DNDEBUG -fwrapv -O1 -g0" CPPFLAGS=-I/opt/build-python/include LDFLAGS=-L/opt/build-python/lib $answers
make -j"$jobs"
sed -i 's|\$(DESTDIR)\$(LIBDEST)/compileall.py|-c pass|' Makefile
make install >/dev/null
/opt/build-python/bin/python3 -c 'import zlib, binascii, hashlib, zipfile'
rm -rf /usr/src/python /usr/src/zlib /opt/build-python/lib/*.a /opt/build-python/lib/python*/config-*/*.a
