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

# Until 3.11 setup.py builds the modules and looks for libraries in the builder's own directories.
if [ -f setup.py ]; then
    sed -i "s|^\( *\)self\.add_multiarch_paths()|\1add_dir_to_list(self.compiler.library_dirs, '$deps/lib')\n\
\1add_dir_to_list(self.compiler.include_dirs, '$deps/include')\n\
\1add_dir_to_list(self.compiler.include_dirs, '$deps/include/uuid')|" setup.py
fi
# Until 3.11 decimal does not compile against a current mpdecimal and has its own.
mpdecimal=--with-system-libmpdec
[ "${minor#3.}" -ge 12 ] || mpdecimal=--without-system-libmpdec

# Nothing that the builder itself has installed is the target's.
export PKG_CONFIG_LIBDIR=/nonexistent

# Until 3.10 there is no option for the build python: the first of its release in PATH is taken.
PATH=/opt/build-python/bin:$PATH
[ "${minor#3.}" -lt 11 ] || with_build_python=--with-build-python=$build_python

# --build claims musl: until 3.12 configure takes "-linux-musl" of the extension suffix from the build system's name
# (cpython#95855). Libraries and headers lie in the sysroot's usual directories, so no -I or -L reaches every user's
# extension; readline alone needs to be told what it is linked with.
# Threads get 1 MiB of stack (musl: 128 KiB) or deep recursion outside the main thread ends in SIGSEGV (cpython#148260);
# until 3.10, where a call of Python's is one of C's too, glibc's 8 MiB.
stack=0x100000
[ "${minor#3.}" -ge 11 ] || stack=0x800000
CONFIG_SITE=$PWD/config.site ./configure --prefix="$prefix" \
    --build="$(uname -m)-build-linux-musl" --host="$TARGET_TRIPLE" ${with_build_python:-} \
    ${threads:+--disable-gil} --disable-shared --with-ensurepip=no --disable-test-modules --enable-ipv6 \
    --with-computed-gotos --with-openssl="$deps" $mpdecimal --with-dbmliborder=gdbm \
    CC=gcc CXX=g++ AR=ar RANLIB=ranlib READELF=/usr/bin/readelf \
    CFLAGS_NODIST="-O2 -g0 -DTHREAD_STACK_SIZE=$stack -fstack-protector-strong" \
    LDFLAGS_NODIST="-s -Wl,-z,relro,-z,now,--as-needed" \
    LIBREADLINE_CFLAGS=" " LIBREADLINE_LIBS="-lreadline -lncursesw"
# A 64-bit atomic that is aligned to 4 bytes is a call for clang, and only the program itself is linked with what it
# calls; the last word of every module's link is this variable, which no sysconfig tells of.
atomics=
[ "$TARGET_ARCH" != i686 ] || atomics=LIBPYTHON=-latomic
# shellcheck disable=SC2086 # one word or none
make -j"$jobs" $atomics
# Byte code is made below, once and natively, instead of three times by the install rule.
sed -i 's|\$(DESTDIR)\$(LIBDEST)/compileall.py|-c pass|' Makefile
# shellcheck disable=SC2086 # as above
make install DESTDIR=/out $atomics >/dev/null
cd /
rm -rf /usr/src/python
