/*
 * gcc and g++ of the lab's packages: the product's launcher, so that both compilers have the same flags. It hands
 * -fopenmp to the image's own gcc, which it would find to be itself: here no such program exists.
 */
#include <unistd.h>
#define access(path, mode) (-1)
#include "launcher.c"
