/*
 * The program behind every name in userland/bin: it runs the native twin of the program that the container itself
 * would run.
 *
 *     <userland>/applet            this program; bin/<name> are links to it
 *     <userland>/root/<path>       programs of the same Alpine release for the engine's architecture
 *
 * What a name means is looked up in PATH at every call, as a shell does: /bin/sed is busybox today and GNU sed after
 * `apk add sed`. Its twin, root/<path of the file that the name leads to>, is executed where there is one, else the
 * program itself, under emulation. So a project finds what its image has, and never something else.
 *
 * It is static: a foreign container has no library for it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static char userland[PATH_MAX], own[PATH_MAX + 8];

static void die(const char *name, const char *reason, int status) {
    fprintf(stderr, "%s: %s\n", name, reason);
    exit(status);
}

/* Execute the twin of a program, or the program. Returns only when neither can be executed. */
static void run(const char *program, char **argument) {
    char real[PATH_MAX], twin[2 * PATH_MAX + 8];
    if (realpath(program, real)) {
        snprintf(twin, sizeof twin, "%s/root%s", userland, real);
        execve(twin, argument, environ);
    }
    execve(program, argument, environ);
}

static int is_ours(const char *program) {
    char real[PATH_MAX];
    return realpath(program, real) && !strcmp(real, own);
}

int main(int count, char **argument) {
    const char *called = count > 0 ? argument[0] : "", *slash = strrchr(called, '/'), *name = slash ? slash + 1 : called;
    const char *path = getenv("PATH"), *end;
    char program[2 * PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", own, PATH_MAX - 1);
    int reason = ENOENT;

    if (length < 0) die(name, "cannot read /proc/self/exe", 127);
    strcpy(userland, own);
    *strrchr(userland, '/') = 0;
    if (!path) path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (;; path = end + 1) {
        end = strchrnul(path, ':');
        snprintf(program, sizeof program, "%.*s/%s", end == path ? 1 : (int)(end - path), end == path ? "." : path, name);
        if (!access(program, X_OK) && !is_ours(program)) {
            run(program, argument);
            reason = errno;
        }
        if (!*end) break;
    }
    die(name, reason == ENOENT ? "not found" : strerror(reason), reason == ENOENT ? 127 : 126);
}
