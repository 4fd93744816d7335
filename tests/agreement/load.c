/* Loads each object in a process of its own and says what became of it.
 *
 *     load p:LIBRARY | d:OBJECT | x:PROGRAM ...
 *
 * "d:" opens a library as CPython opens an extension (RTLD_NOW), after the LIBRARY last named, which stands for the
 * interpreter and is opened globally; "x:" executes a program with --version. One line of output for each of these
 * two: its place among the arguments, "loaded", "refused" or "died" (with the signal), and the loader's own words.
 *
 * Linked against nothing but musl's loader, with symbols musl 1.1.24 has: there are no headers and no crt files here,
 * so that any clang with lld makes it for all six architectures. */

typedef unsigned long size_t;
typedef int pid_t;

int __libc_start_main(int (*)(int, char **), int, char **, void (*)(void), void (*)(void), void (*)(void));
void *dlopen(const char *, int);
char *dlerror(void);
int dprintf(int, const char *, ...);
int open(const char *, int, ...);
long read(int, void *, size_t);
long long lseek(int, long long, int);
int ftruncate(int, long long);
int dup2(int, int);
int close(int);
pid_t fork(void);
pid_t waitpid(pid_t, int *, int);
int execv(const char *, char *const[]);
unsigned alarm(unsigned);
void _exit(int) __attribute__((noreturn));
int *__errno_location(void);

/* The psABI of each: where argc lies when a process begins, and a stack aligned for calls. */
#if defined __x86_64__
__asm__(".globl _start\n_start: xor %ebp,%ebp; mov %rsp,%rdi; and $-16,%rsp; call begin\n");
#elif defined __i386__
__asm__(".globl _start\n_start: xor %ebp,%ebp; mov %esp,%eax; and $-16,%esp; sub $12,%esp; push %eax; call begin\n");
#elif defined __aarch64__
__asm__(".globl _start\n_start: mov x29,#0; mov x30,#0; mov x0,sp; and sp,x0,#-16; bl begin\n");
#elif defined __arm__
__asm__(".arm\n.globl _start\n.type _start,%function\n"
        "_start: mov fp,#0; mov lr,#0; mov r0,sp; bic r1,r0,#15; mov sp,r1; bl begin\n");
#elif defined __powerpc64__
__asm__(".globl _start\n_start: addis 2,12,.TOC.-_start@ha; addi 2,2,.TOC.-_start@l; mr 3,1; clrrdi 1,1,4\n"
        "li 0,0; stdu 0,-32(1); mtlr 0; bl begin; nop\n");
#elif defined __s390x__
__asm__(".globl _start\n_start: lgr %r2,%r15; aghi %r15,-160; lghi %r0,0; stg %r0,0(%r15); brasl %r14,begin\n");
#endif

enum { REPORT = 9, NOW = 2, GLOBAL = 0x100, READ_WRITE = 2, SECONDS = 60 };

static int say(int place, const char *outcome, int number, int report) {
    char words[512], *at = words;
    lseek(report, 0, 0);
    long got = read(report, words, sizeof words - 1);
    words[got > 0 ? got : 0] = 0;
    for (; *at; at++)
        if (*at == '\n' || *at == '\r') *at = ' ';
    return dprintf(1, "%d\t%s\t%d\t%s\n", place, outcome, number, words);
}

static void child(const char *what, const char *python, int report) {
    int nothing = open("/dev/null", READ_WRITE);
    dup2(report, REPORT);
    dup2(nothing, 0);
    dup2(nothing, 1);
    dup2(what[0] == 'x' ? REPORT : nothing, 2);
    alarm(SECONDS);
    if (what[0] == 'x') {
        char *arguments[] = {(char *)what + 2, "--version", 0};
        execv(what + 2, arguments);
        dprintf(REPORT, "execve: errno %d", *__errno_location());
        _exit(127);
    }
    if ((python && !dlopen(python, NOW | GLOBAL)) || !dlopen(what + 2, NOW)) {
        dprintf(REPORT, "%s", dlerror());
        _exit(127);
    }
    _exit(0);
}

static int run(int argc, char **argv) {
    const char *python = 0;
    int report = open("/tmp/report", READ_WRITE | 0100 | 02000, 0600);
    for (int at = 1; at < argc; at++) {
        int status = 0;
        if (argv[at][0] == 'p') {
            python = argv[at] + 2;
            continue;
        }
        ftruncate(report, 0);
        lseek(report, 0, 0);
        pid_t made = fork();
        if (!made) child(argv[at], python, report);
        waitpid(made, &status, 0);
        if (status & 127) say(at, "died", status & 127, report);
        else say(at, status ? "refused" : "loaded", status >> 8, report);
    }
    return 0;
}

__attribute__((used)) void begin(long *stack) {
    __libc_start_main(run, (int)stack[0], (char **)(stack + 1), 0, 0, 0);
}
