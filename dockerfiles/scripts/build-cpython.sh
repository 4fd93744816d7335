#!/bin/sh
# One interpreter for the target, below /out as it will lie in the image.
. /scripts/component.sh
CPYTHON_VERSION=$1
threads=$2  # "t" for a free-threaded build
mkdir -p /out
minor=${CPYTHON_VERSION%.*}
prefix=/opt/_internal/cpython-$CPYTHON_VERSION${threads:+-nogil}
build_python=/opt/build-python/bin/python$minor$threads
# The conventional place, because generated files that are shipped name the source directory.
unpack cpython /usr/src/python

# Answers of run-time checks that a cross build cannot ask; musl's and Linux' behaviour, proven by the smoke test.
cat >config.site <<'SITE'
ac_cv_file__dev_ptmx=yes
ac_cv_file__dev_ptc=no
ac_cv_buggy_getaddrinfo=no
ac_cv_working_tzset=yes
ac_cv_aligned_required=no
ac_cv_broken_sem_getvalue=no
ac_cv_posix_semaphores_enabled=yes
ac_cv_computed_gotos=yes
ac_cv_pthread_is_default=yes
ac_cv_pthread_system_supported=yes
ac_cv_cxx_thread=no
SITE

# Until 3.11 ctypes is not configured but searched for by setup.py, which has no place to be told.
if grep -q 'ffi_lib = None' setup.py 2>/dev/null; then
    sed -i "s|ffi_inc = sysconfig.*|ffi_inc = '$deps/include'|; s|ffi_lib = None|ffi_lib = 'ffi'|" setup.py
    ln -sf "$deps/lib/libffi.a" "$MUSLLINUX_BUILD_SYSROOT/usr/lib/libffi.a"
fi

# Nothing that the builder itself has installed is the target's.
export PKG_CONFIG_LIBDIR=/nonexistent

# --build claims musl: until 3.12 configure takes "-linux-musl" of the extension suffix from the build system's name
# (cpython#95855). Libraries come by variables, not by -I and -L that would reach every user's extension.
# Threads get 1 MiB of stack (musl: 128 KiB) or deep recursion outside the main thread ends in SIGSEGV (cpython#148260).
CONFIG_SITE=$PWD/config.site ./configure --prefix="$prefix" \
    --build="$(uname -m)-build-linux-musl" --host="$TARGET_TRIPLE" --with-build-python="$build_python" \
    ${threads:+--disable-gil} --disable-shared --with-ensurepip=no --disable-test-modules --enable-ipv6 --with-computed-gotos \
    --with-openssl="$deps" --without-system-libmpdec \
    CC=gcc CXX=g++ AR=ar RANLIB=ranlib READELF=/usr/bin/readelf \
    CFLAGS_NODIST="-O2 -g0 -DTHREAD_STACK_SIZE=0x100000 -fstack-protector-strong" \
    LDFLAGS_NODIST="-s -Wl,-z,relro,-z,now,--as-needed" \
    ZLIB_CFLAGS="-I$deps/include" ZLIB_LIBS="-L$deps/lib -lz" \
    BZIP2_CFLAGS="-I$deps/include" BZIP2_LIBS="-L$deps/lib -lbz2" \
    LIBLZMA_CFLAGS="-I$deps/include" LIBLZMA_LIBS="-L$deps/lib -llzma" \
    LIBFFI_CFLAGS="-I$deps/include" LIBFFI_LIBS="-L$deps/lib -lffi" LIBFFI_INCLUDEDIR="$deps/include" \
    LIBSQLITE3_CFLAGS="-I$deps/include" LIBSQLITE3_LIBS="-L$deps/lib -lsqlite3"
make -j"$jobs"
# Byte code is made below, once and natively, instead of three times by the install rule.
sed -i 's|\$(DESTDIR)\$(LIBDEST)/compileall.py|-c pass|' Makefile
make install DESTDIR=/out >/dev/null
cd /
rm -rf /usr/src/python

