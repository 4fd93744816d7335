/*
 * The program behind every name in userland/bin: it runs the native twin of the program that the container itself
 * would run.
 *
 *     <userland>/applet            this program; bin/<name> are links to it
 *     <userland>/root/<path>       programs of the same Alpine release for the engine's architecture
 *
 * What a name means is looked up in PATH at every call, as a shell does: /bin/sed is busybox today and GNU sed after
 * `apk add sed`. Its twin, root/<path of the file that the name leads to>, is executed where there is one, else the
 * program itself, under emulation. So a project finds what its image has, and never something else. A link that a
 * project makes to one of our names (gmake to bin/make) means what that name means.
 *
 * It is static: a foreign container has no library for it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

extern char **environ;

static char userland[PATH_MAX], own[PATH_MAX + 8];

static void die(const char *name, const char *reason, int status) {
    fprintf(stderr, "%s: %s\n", name, reason);
    exit(status);
}

/* A file that is no program is a script of /bin/sh, as for every shell and execvp. */
static void run_script(char *program, char **argument) {
    size_t count = 0;
    while (argument[count]) count++;
    char **longer = calloc(count + 3, sizeof *longer);
    if (!longer) return;
    longer[0] = "/bin/sh";
    longer[1] = program;
    if (count) memcpy(longer + 2, argument + 1, (count - 1) * sizeof *longer);
    execve(longer[0], longer, environ);
}

/* Execute the twin of a program, or the program. Returns only when neither can be executed. */
static void run(char *program, char **argument) {
    char real[PATH_MAX], twin[2 * PATH_MAX + 8];
    if (realpath(program, real)) {
        snprintf(twin, sizeof twin, "%s/root%s", userland, real);
        execve(twin, argument, environ);
    }
    execve(program, argument, environ);
    if (errno != ENOEXEC) return;
    run_script(program, argument);
    die(program, strerror(errno), 126);
}

static int is_ours(const char *program) {
    char real[PATH_MAX];
    return realpath(program, real) && !strcmp(real, own);
}

/* The name in userland/bin that a path leads to, NULL for one that leads past it. */
static char *name_behind(const char *link) {
    char path[3 * PATH_MAX], bin[PATH_MAX + 8], real[PATH_MAX], target[PATH_MAX];
    snprintf(bin, sizeof bin, "%s/bin", userland);
    snprintf(path, sizeof path, "%s%s", strchr(link, '/') ? "" : "./", link);
    for (int links = 0; links < 40; links++) {
        char *name = strrchr(path, '/') + 1;
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length < 0) return NULL;
        target[length] = 0;
        name[-1] = 0;
        if (realpath(*path ? path : "/", real) && !strcmp(real, bin)) return strdup(name);
        name[-1] = '/';
        if (*target == '/') name = path;
        snprintf(name, (size_t)(path + sizeof path - name), "%s", target);
    }
    return NULL;
}

/* Run what a name means. Returns why nothing can be run; 0 and another name where a link of this name leads to it. */
static int look_up(const char *name, char **argument, char **other) {
    const char *path = getenv("PATH"), *end;
    char program[2 * PATH_MAX];
    int reason = ENOENT;
    if (!path) path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (;; path = end + 1) {
        end = strchrnul(path, ':');
        snprintf(program, sizeof program, "%.*s/%s", end == path ? 1 : (int)(end - path), end == path ? "." : path, name);
        if (!access(program, X_OK)) {
            if (!is_ours(program)) {
                run(program, argument);
                reason = errno;
            } else if ((*other = name_behind(program)) && strcmp(*other, name)) return 0;
        }
        if (!*end) return *other = NULL, reason;
    }
}

int main(int count, char **argument) {
    const char *called = count > 0 ? argument[0] : "", *slash = strrchr(called, '/'), *name = slash ? slash + 1 : called;
    const char *executed = (const char *)getauxval(AT_EXECFN);
    char *other;
    ssize_t length = readlink("/proc/self/exe", own, PATH_MAX - 1);
    int reason, names = 0;

    if (length < 0) die(name, "cannot read /proc/self/exe", 127);
    strcpy(userland, own);
    *strrchr(userland, '/') = 0;
    if (executed && (other = name_behind(executed))) name = other;
    while (!(reason = look_up(name, argument, &other)) && names++ < 8) name = other;
    if (!reason) reason = ELOOP;
    die(name, reason == ENOENT ? "not found" : strerror(reason), reason == ENOENT ? 127 : 126);
}
