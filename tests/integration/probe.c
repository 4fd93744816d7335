/* Opens libraries one after the other and calls a function of each:
 *
 *     probe LIBRARY FUNCTION ...
 *
 * One line for each pair: what the function returned, or the loader's words. Linked against musl's loader alone. */

int __libc_start_main(int (*)(int, char **), int, char **, void (*)(void), void (*)(void), void (*)(void));
void *dlopen(const char *, int);
void *dlsym(void *, const char *);
char *dlerror(void);
int dprintf(int, const char *, ...);

__asm__(".globl _start\n_start: xor %ebp,%ebp; mov %rsp,%rdi; and $-16,%rsp; call begin\n");

static int run(int count, char **words) {
    for (int at = 1; at + 1 < count; at += 2) {
        void *library = dlopen(words[at], 2);
        int (*function)(void) = library ? dlsym(library, words[at + 1]) : 0;
        if (function) dprintf(1, "%d\n", function());
        else dprintf(1, "%s\n", dlerror());
    }
    return 0;
}

__attribute__((used)) void begin(long *stack) {
    __libc_start_main(run, *stack, (char **)(stack + 1), 0, 0, 0);
}
