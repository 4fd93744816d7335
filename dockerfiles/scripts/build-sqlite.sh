#!/bin/sh
# SQLite, static: for sqlite3. Upstream's autoconf archive holds the amalgamation; from a full source tree it is made
# by the tree's own Tcl scripts first.
. /scripts/component.sh
unpack sqlite /usr/src/sqlite
if [ ! -f sqlite3.c ]; then
    natively ./configure CC=/usr/bin/gcc --disable-tcl --disable-readline
    natively make sqlite3.c
fi
gcc -O2 -fPIC -DSQLITE_THREADSAFE=1 -DSQLITE_ENABLE_FTS3 -DSQLITE_ENABLE_FTS3_PARENTHESIS -DSQLITE_ENABLE_FTS4 \
    -DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_RTREE -DSQLITE_ENABLE_JSON1 -DSQLITE_ENABLE_DBSTAT_VTAB \
    -DSQLITE_ENABLE_MATH_FUNCTIONS -DSQLITE_SECURE_DELETE -c sqlite3.c -o sqlite3.o
mkdir -p "$deps/lib"
ar rcs "$deps/lib/libsqlite3.a" sqlite3.o
install -D -m 644 -t "$deps/include" sqlite3.h sqlite3ext.h
rm -rf /usr/src/sqlite
