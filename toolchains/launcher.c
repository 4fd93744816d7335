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
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

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
    for (size_t i = 0; i < COUNT(TOOLS); i++) {
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

/* All that an open file or pipe still holds, and a zero byte. */
static char *read_all(int file, size_t *length) {
    size_t used = 0, room = 65536;
    char *content = must(malloc(room));
    for (;;) {
        ssize_t got = read(file, content + used, room - used - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        used += (size_t)got;
        if (room - used < 2) content = must(realloc(content, room *= 2));
    }
    close(file);
    content[used] = 0;
    *length = used;
    return content;
}

/* A pipe is not read here: who it is meant for would find it empty. */
static char *read_file(const char *path) {
    struct stat found;
    size_t length;
    int file = stat(path, &found) || !S_ISREG(found.st_mode) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    return file < 0 ? NULL : read_all(file, &length);
}

/* One word of a response file as GCC and clang split it: blanks part, quotes hold together, a backslash takes the
 * next character as it is. It is made in place, where it never needs more room. */
static char *next_word(char **cursor) {
    static const char blanks[] = " \t\n\r\f\v";
    char *at = *cursor + strspn(*cursor, blanks), *word = at, *end = at, quote = 0;
    if (!*at) return NULL;
    for (; *at && (quote || !strchr(blanks, *at)); at++) {
        if (*at == '\\' && at[1]) *end++ = *++at;
        else if (quote ? *at == quote : (*at == '"' || *at == '\'')) quote = quote ? 0 : *at;
        else *end++ = *at;
    }
    *cursor = *at ? at + 1 : at;
    *end = 0;
    return word;
}

/* A command line that is gone through; the words of a response file stand in its place. */
struct words {
    char **next;
    char *file[8];
    size_t depth;
};

static const char *next_argument(struct words *words) {
    for (;;) {
        char *word = words->depth ? next_word(&words->file[words->depth - 1]) : *words->next ? *words->next++ : NULL;
        if (!word && !words->depth) return NULL;
        if (!word) {
            words->depth--;
            continue;
        }
        char *content = *word == '@' && words->depth < COUNT(words->file) ? read_file(word + 1) : NULL;
        if (!content) return word;
        words->file[words->depth++] = content;
    }
}

/* What asks for link-time optimization, and what clang refuses or gcc does not know without it. */
static const char *const LTO_ALONE[] = {"-flto", "-fsplit-lto-unit", "-funified-lto", "-fvirtual-function-elimination",
                                        "-fwhole-program-vtables"};

static int asks_for_lto(const char *argument) {
    for (size_t i = 0; i < COUNT(LTO_ALONE); i++)
        if (starts(argument, LTO_ALONE[i])) return 1;
    return 0;
}

/* A user's driver argument. "machine_code" is for objects that another compiler or linker reads: those of link-time
 * optimization only their own compiler understands, and lld takes gcc's for empty ones. A word is replaced where it
 * stands, because one at the end can be an option's value or come after "--", and gcc refuses clang's -flto=thin even
 * before -fno-lto. A response file stays one unless something in it is changed. */
static void add_user(struct arguments *list, char *argument, int machine_code) {
    char *alone[] = {argument, NULL};
    struct words words = {.next = alone};
    const char *word;
    int changed = 0;
    while ((word = next_argument(&words))) changed |= names_build_machine(word) || (machine_code && asks_for_lto(word));
    if (!changed) {
        add(list, argument);
        return;
    }
    words = (struct words){.next = alone};
    while ((word = next_argument(&words))) {
        if (!names_build_machine(word)) add(list, machine_code && asks_for_lto(word) ? "-fno-lto" : word);
        else fprintf(stderr, "%s: warning: ignoring %s: a wheel runs on other machines\n", self_name, word);
    }
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

static int ends(const char *string, const char *suffix) {
    size_t whole = strlen(string), part = strlen(suffix);
    return part <= whole && !strcmp(string + whole - part, suffix);
}

/* What a command line means to the choice of a compiler. */
struct traits {
    struct arguments sources; /* the translation units */
    const char *reason;       /* why clang is not even tried: an option or language of gcc's alone */
    int probe;                /* a question that a configure script, CMake or meson asks; a "no" is an answer */
};

static const char *const SOURCES[] = {
    ".c", ".cc", ".cp", ".cpp", ".cxx", ".c++", ".C", ".s", ".S", ".sx", ".i", ".ii", ".m", ".mm", ".h", ".hh",
    ".hp", ".H", ".hpp", ".hxx", ".h++",
};
static const char *const FORTRAN[] = {".f",   ".for", ".ftn", ".f77", ".f90", ".f95", ".f03",
                                      ".f08", ".F",   ".FOR", ".F77", ".F90", ".F95", ".F03"};
/* OpenMP here means gcc's libgomp, which clang cannot compile for. */
static const char *const GCC_ALONE[] = {"-fopenmp", "-fopenacc", "-fplugin=", "-specs=", "--specs="};
/* Options whose value is the next word, which then is no input. -o and -x are looked at themselves. */
static const char *const VALUED[] = {
    "-A", "-B", "-D", "-F", "-G", "-I", "-J", "-L", "-MF", "-MQ", "-MT", "-T", "-Tbss", "-Tdata", "-Ttext", "-U",
    "-Xclang", "-Xlinker", "-Xassembler", "-arch", "-aux-info", "-dumpbase", "-dumpdir", "-e", "-dumpbase-ext",
    "-idirafter", "-imacros", "-imultilib", "-include", "-iprefix", "-iquote", "-isysroot", "-isystem",
    "-iwithprefix", "-iwithprefixbefore", "-l", "-mllvm", "-target", "-u", "-Xpreprocessor", "-wrapper", "-z",
    "--param", "--sysroot",
};
static const char *const PROBES[] = {
    "/CMakeScratch/", "/CMakeTmp/", "/meson-private/", "/CompilerIdC/", "/CompilerIdCXX/",
};
static const char *const PROBE_NAMES[] = {
    "conftest", "_configtest", "sanitycheckc", "sanitycheckcpp", "CMakeCCompilerId", "CMakeCXXCompilerId",
    "CMakeCCompilerABI", "CMakeCXXCompilerABI", "testCCompiler", "testCXXCompiler",
};

static int ends_in(const char *word, const char *const *suffix, size_t count) {
    while (count--)
        if (ends(word, suffix[count])) return 1;
    return 0;
}

static int takes_value(const char *option) {
    for (size_t i = 0; i < COUNT(VALUED); i++)
        if (!strcmp(option, VALUED[i])) return 1;
    return 0;
}

/* A directory or name that only probes have: conftest.c, conftest2.o and conftest_1.c, but not conftest_helpers.c. */
static int names_probe(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *rest;
    for (size_t i = 0; i < COUNT(PROBES); i++)
        if (strstr(text("/%s", path), PROBES[i])) return 1;
    for (size_t i = 0; i < COUNT(PROBE_NAMES); i++) {
        if (!starts(name, PROBE_NAMES[i])) continue;
        rest = name + strlen(PROBE_NAMES[i]);
        if (*rest == '_' && strspn(rest + 1, "0123456789")) return 1;
        rest += strspn(rest, "0123456789");
        if (!*rest || *rest == '.') return 1;
    }
    return 0;
}

/* A second compiler would find nothing in a pipe, and what is asked of one or of /dev/null is mostly a question. */
static int is_no_file(const char *input) {
    struct stat found;
    return !strcmp(input, "-") || (!stat(input, &found) && (S_ISFIFO(found.st_mode) || S_ISCHR(found.st_mode)));
}

static void add_input(struct traits *found, const char *word, const char *language) {
    int fortran = ends_in(word, FORTRAN, COUNT(FORTRAN));
    if (language) fortran = starts(language, "f77") || starts(language, "f95");
    if (fortran) found->reason = "Fortran";
    if (language || fortran || ends_in(word, SOURCES, COUNT(SOURCES))) add(&found->sources, word);
    found->probe |= names_probe(word) || is_no_file(word);
}

static void add_option(struct traits *found, const char *word) {
    for (size_t i = 0; i < COUNT(GCC_ALONE); i++)
        if (ends(GCC_ALONE[i], "=") ? starts(word, GCC_ALONE[i]) : !strcmp(word, GCC_ALONE[i])) found->reason = word;
}

static struct traits traits_of(const struct tool *tool, char **user) {
    struct traits found = {0};
    struct words words = {.next = user};
    const char *language = !strcmp(tool->driver, "cpp") ? "c" : NULL, *word;
    char place[PATH_MAX] = "";
    int inputs_alone = 0;
    if (getcwd(place, sizeof place - 1)) found.probe = names_probe(strcat(place, "/"));
    while ((word = next_argument(&words))) {
        if (inputs_alone || *word != '-' || !word[1]) add_input(&found, word, language);
        else if (!strcmp(word, "--")) inputs_alone = 1;
        else if (starts(word, "-x")) {
            language = word[2] ? word + 2 : next_argument(&words);
            if (language && !strcmp(language, "none")) language = NULL;
        } else if (!strcmp(word, "-o")) found.probe |= (word = next_argument(&words)) && names_probe(word);
        else if (takes_value(word)) next_argument(&words);
        else add_option(&found, word);
    }
    return found;
}

/* The container's own compiler of this name, NULL where there is none: then clang's word is the last. At a sysroot
 * elsewhere nothing could execute it. */
static const char *own_compiler(const struct tool *tool, const char *base) {
    const char *program = text("/usr/bin/%s", tool->driver);
    struct stat there, here;
    if (*base || access(program, X_OK)) return NULL;
    if (stat(program, &there) || stat("/proc/self/exe", &here)) return NULL;
    return there.st_dev == here.st_dev && there.st_ino == here.st_ino ? NULL : program;
}

/* The whole file is the run's report: one line for each source that the container's own compiler has compiled, or for
 * a command without one. */
static void record(const char *reason, const struct arguments *sources) {
    const char *path = getenv("MUSLLINUX_BUILD_FALLBACKS");
    int file = path && *path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    char *lines = sources->count ? "" : text("%s\t\n", reason);
    if (file < 0) return;
    for (size_t i = 0; i < sources->count; i++) lines = text("%s%s\t%s\n", lines, reason, sources->item[i]);
    if (write(file, lines, strlen(lines)) < 0)
        fprintf(stderr, "%s: cannot write %s: %s\n", self_name, path, strerror(errno));
    close(file);
}

static void own_arguments(struct arguments *list, const char *program, char **user) {
    add(list, program);
    for (; *user; user++) add_user(list, *user, 1);
}

/* What a program has written to its standard output. */
struct output {
    char *text;
    size_t length;
};

static void start(const char *program, struct arguments *list);
static int run_to_end(const char *program, struct arguments *list, struct output *kept);

/* What only gcc can compile, the container's own does: slowly and correctly. */
static void leave_to_own_compiler(const char *program, const struct traits *traits, char **user) {
    struct arguments list = {0};
    own_arguments(&list, program, user);
    fprintf(stderr, "%s: note: %s: compiling with %s\n", self_name, traits->reason, program);
    if (!traits->probe) record(traits->reason, &traits->sources);
    start(program, &list);
}

/* A file that clang does not compile may be one that gcc does. Its answer is then the answer, and nothing that clang
 * has written before it gave up stands before it. */
static void try_both(const char *clang, struct arguments *list, const char *program, const struct traits *traits,
                     char **user) {
    struct arguments own = {0};
    struct output said;
    int status = run_to_end(clang, list, &said);
    if (!status) {
        status = fwrite(said.text, 1, said.length, stdout) != said.length || fflush(stdout);
        if (status) fprintf(stderr, "%s: cannot write to standard output: %s\n", self_name, strerror(errno));
        exit(status);
    }
    fprintf(stderr, "%s: note: clang failed (status %d): trying %s\n", self_name, status, program);
    own_arguments(&own, program, user);
    status = run_to_end(program, &own, NULL);
    if (!status) record("clang failed", &traits->sources);
    exit(status);
}

/* The sysroot without a last slash: "" is this very container. */
static const char *sysroot(void) {
    const char *root = getenv("MUSLLINUX_BUILD_SYSROOT");
    return root && strcmp(root, "/") ? root : "";
}

static void driver_arguments(struct arguments *list, const struct tool *tool, const char *target, char **user,
                             int machine_code) {
    const char *base = sysroot();
    answer_as_gcc(user, base);
    add(list, text("--driver-mode=%s", tool->driver));
    add(list, "--no-default-config");
    add(list, text("--config=%s/clang.cfg", target));
    add(list, text("--sysroot=%s", *base ? base : "/"));
    add(list, text("--gcc-toolchain=%s/usr", base));
    /* As gcc: libgcc.a first and libgcc_s only if needed; where there is no libgcc_s, all of it from the archives. */
    if (!exists(base, "/usr/lib/libgcc_s.so") && !exists(base, "/usr/lib/libgcc_s.so.1")) {
        add(list, "--start-no-unused-arguments"); /* silent without a link, where clang.cfg's -Wno- comes too late */
        add(list, "-static-libgcc");
        add(list, "--end-no-unused-arguments");
    }
    for (; *user; user++) {
        add_user(list, *user, machine_code);
        /* Clang removes what it could not complete, and root's clang the link /dev/stdout itself. */
        if (!strcmp(*user, "-o") && user[1] && !strcmp(user[1], "/dev/stdout")) add(list, "-"), user++;
    }
}

/* What Alpine's gcc tells its linker. It stands here and not in clang.cfg, where clang takes it for something to link
 * even when asked only for its version. The driver calls ld.lld; a project that calls ld itself gets a plain linker. */
static const char *const LINK_DEFAULTS[] = {"--as-needed", "-z", "relro", "-z", "now", "--hash-style=gnu"};

/* Alpine's binutils before 3.17 do not know DT_RELR and ignore a request for it; its loaders before 3.15 crash on it. */
static const char *const LINK_NEVER[] = {"--pack-dyn-relocs=none", "-z", "nopack-relative-relocs"};

/* Alpine's gcc ends every link with -lssp_nonshared (__stack_chk_fail_local, which its i686 objects call). An archive
 * at the end of the line adds nothing unless a symbol of it is missing. A long command comes as a response file. */
static void linker_arguments(struct arguments *list, const char *name, char **user) {
    struct words words = {.next = user};
    const char *root = NULL, *word;
    int relocatable = 0;
    while ((word = next_argument(&words))) {
        if (starts(word, "--sysroot=")) root = word + strlen("--sysroot=");
        if (!strcmp(word, "-r") || !strcmp(word, "--relocatable")) relocatable = 1;
    }
    for (size_t i = 0; !strcmp(name, "ld.lld") && i < COUNT(LINK_DEFAULTS); i++) add(list, LINK_DEFAULTS[i]);
    for (; *user; user++) add(list, *user);
    for (size_t i = 0; list->count > 2 && i < COUNT(LINK_NEVER); i++) add(list, LINK_NEVER[i]);
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

static void start(const char *program, struct arguments *list) {
    execve(program, list->item, environ);
    if (errno == E2BIG) exec_by_response_file(program, list);
    die("cannot execute %s: %s", program, strerror(errno));
}

/* The exit status; of a signal what a shell makes of it. Where it is asked for, standard output is kept. */
static int run_to_end(const char *program, struct arguments *list, struct output *kept) {
    int status, pair[2];
    if (kept && pipe2(pair, O_CLOEXEC)) die("cannot make a pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0) die("cannot fork: %s", strerror(errno));
    if (!child && kept && dup2(pair[1], STDOUT_FILENO) < 0) die("cannot redirect: %s", strerror(errno));
    if (!child) start(program, list);
    if (kept) close(pair[1]), kept->text = read_all(pair[0], &kept->length);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) die("cannot wait: %s", strerror(errno));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
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
    const char *own = tool->mode == DRIVER ? own_compiler(tool, sysroot()) : NULL;
    int both = own && getenv("MUSLLINUX_BUILD_FALLBACKS"); /* may compile, so that both make machine code */
    struct traits traits = {0};
    if (own) traits = traits_of(tool, user);
    if (own && traits.reason) leave_to_own_compiler(own, &traits, user);
    if (tool->mode == DRIVER) driver_arguments(&list, tool, target, user, both);
    else if (tool->mode == LINKER) linker_arguments(&list, name, user);
    else for (; *user; user++) add(&list, *user);

    if (verbose && !strcmp(verbose, "1")) print_command(&list);
    if (both && traits.sources.count && !traits.probe) try_both(program, &list, own, &traits, user);
    start(program, &list);
}
