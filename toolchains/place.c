/*
 * place LAUNCHER LIST ROOT: copy LAUNCHER to ROOT/<line> for every line of LIST.
 *
 * The image that this runs in holds nothing else, no shell and no cp. Every name becomes a file of its own: a
 * symbolic link would hide the name from /proc/self/exe.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void fail(const char *what, const char *path) {
    fprintf(stderr, "place: %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static void make_parents(char *path) {
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        if (mkdir(path, 0755) && errno != EEXIST) fail("cannot make", path);
        *slash = '/';
    }
}

static void copy(const char *source, char *target) {
    static char block[1 << 16];
    ssize_t got;
    int in = open(source, O_RDONLY), out;
    if (in < 0) fail("cannot read", source);
    make_parents(target);
    out = open(target, O_WRONLY | O_CREAT | O_EXCL, 0755);
    if (out < 0) fail("cannot make", target);
    while ((got = read(in, block, sizeof block)) > 0)
        if (write(out, block, (size_t)got) != got) fail("cannot write", target);
    if (got < 0) fail("cannot read", source);
    close(in);
    if (close(out)) fail("cannot write", target);
}

int main(int count, char **argument) {
    char line[4096], target[8192];
    FILE *list;
    if (count != 4) return fputs("usage: place LAUNCHER LIST ROOT\n", stderr), 2;
    umask(022);
    list = fopen(argument[2], "r");
    if (!list) fail("cannot read", argument[2]);
    while (fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        snprintf(target, sizeof target, "%s/%s", argument[3], line);
        copy(argument[1], target);
    }
    return 0;
}
