/* A library that knows whether it was relocated: pointers that DT_RELR packs, near each other and far apart. */
static int a[64];
#ifndef ZEROS
#define ZEROS 100000
#endif
static char big[ZEROS];
#define FOUR(n) &a[n], &a[n + 1], &a[n + 2], &a[n + 3]
#define SIXTEEN(n) FOUR(n), FOUR(n + 4), FOUR(n + 8), FOUR(n + 12)
int *dense[64] = {SIXTEEN(0), SIXTEEN(16), SIXTEEN(32), SIXTEEN(48)};
int *sparse[300] = {[0] = &a[1], [70] = &a[2], [71] = &a[3], [140] = &a[4], [299] = &a[5]};
const char *const words[] = {"alpha", "beta", "gamma"};

extern int puts(const char *);

__attribute__((constructor)) static void check(void) {
    int wrong = sparse[1] != 0;
    for (int i = 0; i < 64; i++) wrong |= dense[i] != &a[i];
    wrong |= sparse[0] != &a[1] || sparse[70] != &a[2] || sparse[71] != &a[3] || sparse[140] != &a[4];
    wrong |= sparse[299] != &a[5] || words[0][0] != 'a' || words[1][0] != 'b' || words[2][0] != 'g';
    for (int i = 0; i < ZEROS; i += 1000) wrong |= big[i];
    puts(wrong ? "wrong" : "relocated");
}
