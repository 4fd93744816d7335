#!/bin/sh
# add-packages.sh NAME[=VERSION]...: installs from the mirror the builder was given. A directory of packages lies in
# /run/apk with its keys; a URL replaces the base's mirrors; otherwise the base's own /etc/apk/repositories is used.
# Nothing of the first two stays configured. What is asked for stays pinned in /etc/apk/world.
set -eu
if [ -d "/run/apk/$APK_BRANCH" ]; then
    cp -r /etc/apk/keys /run/apk-keys
    cp /run/apk/keys/*.rsa.pub /run/apk-keys/
    for repository in main community; do
        [ -d "/run/apk/$APK_BRANCH/$repository" ] && echo "/run/apk/$APK_BRANCH/$repository"
    done >/run/repositories || true
    apk add --no-network --no-progress --keys-dir /run/apk-keys --repositories-file /run/repositories "$@"
    rm /run/repositories
    rm -rf /run/apk-keys
elif [ -n "$APK_MIRROR" ]; then
    printf '%s\n' "$APK_MIRROR/$APK_BRANCH/main" "$APK_MIRROR/$APK_BRANCH/community" >/run/repositories
    apk add --no-cache --no-progress --repositories-file /run/repositories "$@"
    rm /run/repositories
else
    apk add --no-cache --no-progress "$@"
fi
rm -rf /var/cache/apk/*
