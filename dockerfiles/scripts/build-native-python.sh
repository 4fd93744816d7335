#!/bin/sh
# The build python: an interpreter of the builder's own architecture and of the very release that is cross-built
# (another patch release dies on its own frozen modules). Nothing of it is shipped, so it is quick rather than fast.
. /scripts/component.sh
threads=$2  # "t" for a free-threaded build
unpack zlib /usr/src/zlib
CFLAGS="-O1 -fPIC" ./configure --static --prefix=/opt/build-python
make -j"$jobs" libz.a
install -D -m 644 -t /opt/build-python/lib libz.a
install -D -m 644 -t /opt/build-python/include zlib.h zconf.h
unpack cpython /usr/src/python
disabled=""
for module in _bz2 _lzma _ctypes _ssl _hashlib _sqlite3 _tkinter _curses _curses_panel readline _gdbm _dbm _uuid \
    _decimal nis ossaudiodev audioop _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw; do
    disabled="$disabled py_cv_module_$module=n/a"
done
# shellcheck disable=SC2086 # one word per module
./configure --prefix=/opt/build-python ${threads:+--disable-gil} --with-ensurepip=no --disable-test-modules --without-doc-strings \
    OPT="-DNDEBUG -fwrapv -O1 -g0" ZLIB_CFLAGS=-I/opt/build-python/include \
    ZLIB_LIBS="-L/opt/build-python/lib -lz" $disabled
make -j"$jobs"
sed -i 's|\$(DESTDIR)\$(LIBDEST)/compileall.py|-c pass|' Makefile
make install >/dev/null
/opt/build-python/bin/python3 -c 'import zlib, binascii, hashlib, zipfile'
rm -rf /usr/src/python /usr/src/zlib /opt/build-python/lib/*.a /opt/build-python/lib/python*/config-*/*.a
