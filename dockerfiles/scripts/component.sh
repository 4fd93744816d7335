# Sourced by every component script: stop at the first failure, and how a source archive is opened.
set -eu

# Where the target's static libraries and their headers go: into the builder's copy of the sysroot, in whose usual
# directories every release of CPython looks by itself. No option names the place, and no trace of it reaches an image.
deps=${MUSLLINUX_BUILD_SYSROOT:-}/usr
jobs=$(nproc)

# unpack NAME DIRECTORY: the one archive /sources/NAME-*, without its top-level directory (its name differs between
# upstream's archives and a distribution's). tar restores time stamps, or automake would want to run again.
unpack() {
    set -- "$2" /sources/"$1"-*
    if [ $# -ne 2 ] || [ ! -f "$2" ]; then
        echo "expected exactly one source archive, found: $*" >&2
        exit 1
    fi
    mkdir -p "$1"
    tar -xf "$2" -C "$1" --strip-components=1 --no-same-owner
    cd "$1"
}

# Run a command with the builder's own compiler instead of the target's.
natively() {
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# The builder's own triple; config.guess is in every autoconf archive but needs no compiler for this answer.
build_triple() {
    echo "$(uname -m)-build-linux-gnu"
}
