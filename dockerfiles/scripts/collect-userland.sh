#!/bin/sh
# collect-userland.sh FOREIGN...: /userland as containers will see it (toolchains/applet.c says how). FOREIGN are applets
# of busybox that stay what they are.
set -eu
cd /userland
mkdir -p bin root
for program in /bin/busybox /usr/bin/make /bin/tar /usr/bin/patch /lib/ld-musl-*.so.1; do
    [ -f "$program" ] && [ ! -L "$program" ] || continue
    # What needs more than libc would not start where it is going to be, and stays foreign.
    /lib/ld-musl-*.so.1 --list "$program" 2>/dev/null | grep -v 'ld-musl-\|libc\.musl-' && continue
    mkdir -p "root${program%/*}"
    cp "$program" "root$program"
done
for name in $(/bin/busybox --list) make; do
    case " $* " in *" $name "*) continue ;; esac
    ln -sf ../applet "bin/$name"
done
chmod 755 applet
