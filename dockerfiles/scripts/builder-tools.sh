#!/bin/sh
# What a slim builder base lacks. A base that has everything (an offline one) is left alone.
set -eu
for tool in make gcc perl xz bzip2 autoreconf libtoolize readelf; do
    command -v "$tool" >/dev/null || missing=1
done
if [ "${missing:-0}" = 1 ]; then
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        make gcc libc6-dev perl xz-utils bzip2 autoconf automake libtool binutils
    rm -rf /var/lib/apt/lists/*
fi
