/*
 * libatomic.a for the lab's gcc: what a compiler calls for an atomic object that no instruction reads or writes at once,
 * as the 64-bit ones of i686 that are aligned to 4 bytes. Debian's archive chooses by IFUNC, which musl does not have.
 *
 * An object that is aligned to its size is accessed as inlined code does it, any other under a lock that follows from
 * its address, so that all that access one object exclude each other. Memory orders are taken as the strongest.
 */
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The names are those of builtins, which C cannot define. */
#define NAMED(name) __asm__("__atomic_" #name)

static unsigned char locks[64];

static unsigned char *acquire(const void *object) {
    unsigned char *lock = &locks[((uintptr_t)object >> 4) % sizeof locks];
    while (__atomic_test_and_set(lock, __ATOMIC_ACQUIRE)) sched_yield();
    return lock;
}

static void release(unsigned char *lock) { __atomic_clear(lock, __ATOMIC_RELEASE); }

/* WITH(size, object, type, code): the code for the integer of this size, if the machine has one and the object fits. */
#define WITH(number, type, code)                                                                        \
    if (size == (number) && __atomic_always_lock_free(number, 0) && (uintptr_t)object % (number) == 0) { \
        typedef type __attribute__((aligned(number), may_alias)) whole;                                  \
        code                                                                                            \
    }
#define WITH_ALL(code) \
    WITH(1, uint8_t, code) WITH(2, uint16_t, code) WITH(4, uint32_t, code) WITH(8, uint64_t, code)

void load(size_t size, const void *object, void *result, int order) NAMED(load);
void load(size_t size, const void *object, void *result, int order) {
    (void)order;
    WITH_ALL({
        whole found = __atomic_load_n((const whole *)object, __ATOMIC_SEQ_CST);
        memcpy(result, &found, sizeof found);
        return;
    })
    unsigned char *lock = acquire(object);
    memcpy(result, object, size);
    release(lock);
}

void store(size_t size, void *object, const void *value, int order) NAMED(store);
void store(size_t size, void *object, const void *value, int order) {
    (void)order;
    WITH_ALL({
        whole wanted;
        memcpy(&wanted, value, sizeof wanted);
        __atomic_store_n((whole *)object, wanted, __ATOMIC_SEQ_CST);
        return;
    })
    unsigned char *lock = acquire(object);
    memcpy(object, value, size);
    release(lock);
}

void exchange(size_t size, void *object, const void *value, void *result, int order) NAMED(exchange);
void exchange(size_t size, void *object, const void *value, void *result, int order) {
    (void)order;
    WITH_ALL({
        whole wanted;
        memcpy(&wanted, value, sizeof wanted);
        wanted = __atomic_exchange_n((whole *)object, wanted, __ATOMIC_SEQ_CST);
        memcpy(result, &wanted, sizeof wanted);
        return;
    })
    unsigned char *lock = acquire(object);
    memmove(result, object, size);
    memcpy(object, value, size);
    release(lock);
}

bool compare_exchange(size_t size, void *object, void *expected, const void *value, int order, int failed)
    NAMED(compare_exchange);
bool compare_exchange(size_t size, void *object, void *expected, const void *value, int order, int failed) {
    (void)order, (void)failed;
    WITH_ALL({
        whole wanted;
        whole old;
        memcpy(&wanted, value, sizeof wanted);
        memcpy(&old, expected, sizeof old);
        bool done = __atomic_compare_exchange_n((whole *)object, &old, wanted, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        if (!done) memcpy(expected, &old, sizeof old);
        return done;
    })
    unsigned char *lock = acquire(object);
    bool done = memcmp(object, expected, size) == 0;
    if (done) memcpy(object, value, size);
    else memcpy(expected, object, size);
    release(lock);
    return done;
}

/* The same for integers of 8 bytes, by value. */
uint64_t load_8(const void *object, int order) NAMED(load_8);
uint64_t load_8(const void *object, int order) {
    uint64_t result;
    load(8, object, &result, order);
    return result;
}

void store_8(void *object, uint64_t value, int order) NAMED(store_8);
void store_8(void *object, uint64_t value, int order) { store(8, object, &value, order); }

uint64_t exchange_8(void *object, uint64_t value, int order) NAMED(exchange_8);
uint64_t exchange_8(void *object, uint64_t value, int order) {
    uint64_t result;
    exchange(8, object, &value, &result, order);
    return result;
}

bool compare_exchange_8(void *object, void *expected, uint64_t value, bool weak, int order, int failed)
    NAMED(compare_exchange_8);
bool compare_exchange_8(void *object, void *expected, uint64_t value, bool weak, int order, int failed) {
    (void)weak;
    return compare_exchange(8, object, expected, &value, order, failed);
}

#define FETCH(name, operator)                                                              \
    uint64_t fetch_##name##_8(void *object, uint64_t value, int order) NAMED(fetch_##name##_8); \
    uint64_t fetch_##name##_8(void *object, uint64_t value, int order) {                       \
        uint64_t old = load_8(object, order);                                              \
        uint64_t wanted = old operator value;                                              \
        while (!compare_exchange(8, object, &old, &wanted, order, order)) wanted = old operator value; \
        return old;                                                                        \
    }
FETCH(add, +)
FETCH(sub, -)
FETCH(and, &)
FETCH(or, |)
FETCH(xor, ^)
