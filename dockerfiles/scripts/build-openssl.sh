#!/bin/sh
# OpenSSL, static: for ssl and hashlib.
. /scripts/component.sh
unpack openssl /usr/src/openssl
# openssldir is where Alpine keeps its certificates (cert.pem is a link to its bundle), so that the default context
# also verifies in a stock root. musl has no ucontext (async); no separate modules, hence no legacy provider.
# 64-bit atomics are calls into libatomic where an integer of that size is aligned to 4 bytes: locks instead.
atomics=
[ "$OPENSSL_TARGET" != linux-x86 ] || atomics=-DBROKEN_CLANG_ATOMICS
# shellcheck disable=SC2086 # one word or none
CC=gcc AR=ar RANLIB=ranlib ./Configure "$OPENSSL_TARGET" --prefix=/usr --libdir=lib --openssldir=/etc/ssl \
    no-shared no-module no-tests no-docs no-apps no-legacy no-engine no-async no-quic no-comp -fPIC -O2 $atomics
make -j"$jobs" build_libs
make install_dev DESTDIR=/usr/src/openssl-installed >/dev/null
# The prefix is compiled in, so it is a neutral one and the files are moved.
mkdir -p "$deps"
cp -a /usr/src/openssl-installed/usr/. "$deps/"
rm -rf /usr/src/openssl /usr/src/openssl-installed
