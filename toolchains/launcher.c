/*
 * The one program behind every name in targets/<arch>/bin: it turns a call of gcc, g++, cpp, ld, ar or ranlib into
 * one of the native clang and lld inside the zig executable, with the flags of its architecture.
 *
 * It is native and static because it runs inside containers of another architecture, where everything else is
 * emulated and no library of its own architecture exists. It finds itself by /proc/self/exe, which names a hard
 * link or a copy by its own path and follows symbolic links: so the names beside it are no symbolic links, and a
 * symbolic link that a project makes to one of them still works.
 *
 *     <toolchain>/zig
 *     <toolchain>/targets/<arch>/clang.cfg
 *     <toolchain>/targets/<arch>/bin/<name>      this program
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

enum mode { DRIVER, LINKER, ARCHIVER };

/* A tool answers to its name and to <triple>-name. "driver" is clang's --driver-mode, "verb" zig's subcommand. */
static const struct tool {
    const char *name;
    enum mode mode;
    const char *verb;
    const char *driver;
} TOOLS[] = {
    {"cc", DRIVER, "clang", "gcc"},       {"gcc", DRIVER, "clang", "gcc"},
    {"clang", DRIVER, "clang", "gcc"},    {"c++", DRIVER, "clang", "g++"},
    {"g++", DRIVER, "clang", "g++"},      {"clang++", DRIVER, "clang", "g++"},
    {"cpp", DRIVER, "clang", "cpp"},      {"ld", LINKER, "ld.lld", NULL},
    {"ld.lld", LINKER, "ld.lld", NULL},   {"ar", ARCHIVER, "ar", NULL},
    {"gcc-ar", ARCHIVER, "ar", NULL},     {"ranlib", ARCHIVER, "ranlib", NULL},
    {"gcc-ranlib", ARCHIVER, "ranlib", NULL},
};

struct arguments {
    char **item;
    size_t count, room;
};

static const char *self_name = "toolchain";

static void die(const char *format, ...) {
    va_list rest;
    fprintf(stderr, "%s: musllinux-build toolchain: ", self_name);
    va_start(rest, format);
    vfprintf(stderr, format, rest);
    va_end(rest);
    fputc('\n', stderr);
    exit(127);
}

static void *must(void *pointer) {
    if (!pointer) die("out of memory");
    return pointer;
}

static char *text(const char *format, ...) {
    va_list rest;
    char *made = NULL;
    va_start(rest, format);
    if (vasprintf(&made, format, rest) < 0) die("out of memory");
    va_end(rest);
    return made;
}

static void add(struct arguments *list, const char *value) {
    if (list->count + 1 >= list->room) {
        list->room = list->room ? list->room * 2 : 64;
        list->item = must(realloc(list->item, list->room * sizeof *list->item));
    }
    list->item[list->count++] = (char *)value;
    list->item[list->count] = NULL;
}

static int starts(const char *string, const char *prefix) { return !strncmp(string, prefix, strlen(prefix)); }

/* The path of this very name. */
static char *own_path(void) {
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0) die("cannot read /proc/self/exe: %s", strerror(errno));
    path[length] = 0;
    return path;
}

/* Cut the last part of a path off and return it. */
static char *cut(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash) die("not installed below a toolchain directory");
    *slash = 0;
    return slash + 1;
}

/* The longest match wins: <triple>-gcc-ar is an archiver, although "ar" matches too. */
static const struct tool *tool_of(const char *name) {
    const struct tool *best = NULL;
    for (size_t i = 0; i < sizeof TOOLS / sizeof *TOOLS; i++) {
        size_t whole = strlen(name), part = strlen(TOOLS[i].name);
        if (part > whole || strcmp(name + whole - part, TOOLS[i].name)) continue;
        if (part < whole && name[whole - part - 1] != '-') continue;
        if (!best || part > strlen(best->name)) best = &TOOLS[i];
    }
    return best;
}

/* "native" would mean the machine that builds; a wheel runs on another one. */
static int names_build_machine(const char *argument) {
    return !strcmp(argument, "-march=native") || !strcmp(argument, "-mtune=native") || !strcmp(argument, "-mcpu=native");
}

static char *read_file(const char *path) {
    size_t used = 0, room = 65536;
    char *content = must(malloc(room));
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return free(content), NULL;
    for (;;) {
        ssize_t got = read(file, content + used, room - used - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        used += (size_t)got;
        if (room - used < 2) content = must(realloc(content, room *= 2));
    }
    close(file);
    content[used] = 0;
    return content;
}

/* One word of a response file as GCC and clang split it: blanks part, quotes hold together, a backslash takes the
 * next character as it is. */
static char *next_word(const char **cursor) {
    const char *at = *cursor;
    char quote = 0, *word, *end;
    while (*at && strchr(" \t\n\r\f\v", *at)) at++;
    if (!*at) return NULL;
    word = end = must(malloc(strlen(at) + 1));
    for (; *at && (quote || !strchr(" \t\n\r\f\v", *at)); at++) {
        if (*at == '\\' && at[1]) *end++ = *++at;
        else if (quote ? *at == quote : (*at == '"' || *at == '\'')) quote = quote ? 0 : *at;
        else *end++ = *at;
    }
    *end = 0;
    *cursor = at;
    return word;
}

/* A user's driver argument. A response file is opened here only when it asks for the build machine's processor. */
static void add_user(struct arguments *list, const char *argument, int depth) {
    char *content;
    const char *cursor, *word;
    if (names_build_machine(argument)) {
        fprintf(stderr, "%s: warning: ignoring %s: a wheel runs on other machines\n", self_name, argument);
        return;
    }
    if (argument[0] != '@' || depth > 8 || !(content = read_file(argument + 1)) || !strstr(content, "=native")) {
        add(list, argument);
        return;
    }
    for (cursor = content; (word = next_word(&cursor));) add_user(list, word, depth + 1);
}

/* Questions that gcc answers and clang does not; gcc takes one dash or two. The answers are those of a gcc without
 * multiarch, multilib or a sysroot of its own, as Alpine's is. */
static void answer_as_gcc(char **user, const char *root) {
    for (; *user; user++) {
        const char *option = starts(*user, "--") ? *user + 1 : *user;
        const char *answer = !strcmp(option, "-print-multiarch")           ? ""
                             : !strcmp(option, "-print-multi-os-directory") ? "."
                             : !strcmp(option, "-print-sysroot")            ? root
                                                                            : NULL;
        if (answer) puts(answer), exit(0);
        if (!strcmp(option, "-dumpfullversion")) *user = "-dumpversion";
    }
}

static int exists(const char *root, const char *path) {
    struct stat found;
    return !stat(text("%s%s", root, path), &found);
}

/* OpenMP here means gcc's libgomp, which clang cannot compile for: the container's own compiler does it, slowly and
 * correctly. Only in its own container; at a sysroot elsewhere nothing can execute it. */
static void leave_openmp_to_gcc(const struct tool *tool, char **user) {
    struct arguments list = {0};
    char *program = text("/usr/bin/%s", tool->driver);
    int wanted = 0;
    for (char **each = user; *each; each++) wanted |= !strcmp(*each, "-fopenmp");
    if (!wanted || access(program, X_OK)) return;
    add(&list, program);
    for (; *user; user++) add_user(&list, *user, 0);
    fprintf(stderr, "%s: note: -fopenmp: compiling with %s\n", self_name, program);
    execve(program, list.item, environ);
    die("cannot execute %s: %s", program, strerror(errno));
}

static void driver_arguments(struct arguments *list, const struct tool *tool, const char *target, char **user) {
    const char *root = getenv("MUSLLINUX_BUILD_SYSROOT");
    if (!root || !*root) root = "/";
    const char *base = strcmp(root, "/") ? root : "";
    answer_as_gcc(user, base);
    if (!*base) leave_openmp_to_gcc(tool, user);
    add(list, text("--driver-mode=%s", tool->driver));
    add(list, "--no-default-config");
    add(list, text("--config=%s/clang.cfg", target));
    add(list, text("--sysroot=%s", root));
    add(list, text("--gcc-toolchain=%s/usr", base));
    /* As gcc: libgcc.a first and libgcc_s only if needed; where there is no libgcc_s, all of it from the archives. */
    if (!exists(base, "/usr/lib/libgcc_s.so") && !exists(base, "/usr/lib/libgcc_s.so.1")) {
        add(list, "--start-no-unused-arguments"); /* silent without a link, where clang.cfg's -Wno- comes too late */
        add(list, "-static-libgcc");
        add(list, "--end-no-unused-arguments");
    }
    for (; *user; user++) add_user(list, *user, 0);
}

/* What Alpine's gcc tells its linker. It stands here and not in clang.cfg, where clang takes it for something to link
 * even when asked only for its version. The driver calls ld.lld; a project that calls ld itself gets a plain linker. */
static const char *const LINK_DEFAULTS[] = {"--as-needed", "-z", "relro", "-z", "now", "--hash-style=gnu"};

/* Alpine's binutils before 3.17 do not know DT_RELR and ignore a request for it; its loaders before 3.15 crash on it. */
static const char *const LINK_NEVER[] = {"--pack-dyn-relocs=none", "-z", "nopack-relative-relocs"};

/* Alpine's gcc ends every link with -lssp_nonshared (__stack_chk_fail_local, which its i686 objects call). An archive
 * at the end of the line adds nothing unless a symbol of it is missing. */
static void linker_arguments(struct arguments *list, const char *name, char **user) {
    const char *root = NULL;
    int relocatable = 0;
    for (size_t i = 0; !strcmp(name, "ld.lld") && i < sizeof LINK_DEFAULTS / sizeof *LINK_DEFAULTS; i++)
        add(list, LINK_DEFAULTS[i]);
    for (; *user; user++) {
        if (starts(*user, "--sysroot=")) root = *user + strlen("--sysroot=");
        if (!strcmp(*user, "-r") || !strcmp(*user, "--relocatable")) relocatable = 1;
        add(list, *user);
    }
    for (size_t i = 0; list->count > 2 && i < sizeof LINK_NEVER / sizeof *LINK_NEVER; i++) add(list, LINK_NEVER[i]);
    if (!root || relocatable) return;
    if (!strcmp(root, "/")) root = "";
    add(list, text("-L%s/usr/local/lib", root)); /* GNU ld's own search path has it, lld has none */
    if (exists(root, "/usr/lib/libssp_nonshared.a")) add(list, text("%s/usr/lib/libssp_nonshared.a", root));
}

/* GCC's quoting of one word, for a response file. */
static void write_word(FILE *file, const char *word) {
    fputc('"', file);
    for (; *word; word++) {
        if (*word == '"' || *word == '\\') fputc('\\', file);
        fputc(*word, file);
    }
    fputs("\"\n", file);
}

/* The kernel took our command line; with our additions it may be too long. Clang, lld and ar read the rest from a
 * response file, which lives in memory because nothing here may need a writable disk. */
static void exec_by_response_file(const char *program, struct arguments *list) {
    int memory = memfd_create("arguments", 0);
    FILE *file = memory < 0 ? NULL : fdopen(memory, "w");
    if (!file) die("the command line is too long, and no response file can be made: %s", strerror(errno));
    for (size_t i = 2; i < list->count; i++) write_word(file, list->item[i]);
    if (fflush(file)) die("cannot write a response file: %s", strerror(errno));
    char *shorter[] = {list->item[0], list->item[1], text("@/proc/self/fd/%d", memory), NULL};
    execve(program, shorter, environ);
}

static void print_command(const struct arguments *list) {
    for (size_t i = 0; i < list->count; i++) fprintf(stderr, "%s%s", i ? " " : "+ ", list->item[i]);
    fputc('\n', stderr);
}

int main(int count, char **argument) {
    char *target = own_path();
    char *name = strdup(cut(target)), *program;
    const char *verbose = getenv("MUSLLINUX_BUILD_VERBOSE");
    struct arguments list = {0};
    const struct tool *tool = tool_of(name);

    self_name = name;
    if (!tool) die("no tool is called %s", name);
    cut(target); /* bin */
    program = strdup(target);
    cut(program); /* <arch> */
    cut(program); /* targets */
    program = text("%s/zig", program);

    add(&list, program);
    add(&list, tool->verb);
    char **user = count > 0 ? argument + 1 : argument;
    if (tool->mode == DRIVER) driver_arguments(&list, tool, target, user);
    else if (tool->mode == LINKER) linker_arguments(&list, name, user);
    else for (; *user; user++) add(&list, *user);

    if (verbose && !strcmp(verbose, "1")) print_command(&list);
    execve(program, list.item, environ);
    if (errno == E2BIG) exec_by_response_file(program, &list);
    die("cannot execute %s: %s", program, strerror(errno));
}
