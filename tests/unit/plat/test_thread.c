/* Threads: stack, name, pinning, sleeping on a word. */
#include "../test.h"

#include <sched.h>

#include "plat/cpu.h"
#include "plat/thread.h"

typedef struct facts {
    size_t stack_bytes, guard_bytes;
    char name[16];
    _Atomic uint32_t go;
} facts;

static void *look(void *arg) {
    facts *f = arg;
    while (f->go == 0) plat_futex_wait(&f->go, 0); /* the name is set by the starter */
    pthread_attr_t attr;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstacksize(&attr, &f->stack_bytes);
    pthread_attr_getguardsize(&attr, &f->guard_bytes);
    pthread_attr_destroy(&attr);
    pthread_getname_np(pthread_self(), f->name, sizeof f->name);
    return f;
}

static void stack_and_name(void **state) {
    (void)state;
    facts f = {0};
    pthread_t thread;
    err e;
    assert_ok(plat_thread_start(&thread, "a-name-longer-than-fifteen", look, &f, &e), e);
    f.go = 1;
    plat_futex_wake(&f.go, 1);
    void *result;
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &f);
    assert_string_equal(f.name, "a-name-longer-t");
#ifndef PLIMSOLL_SANITIZED
    assert_in_range(f.stack_bytes, PLAT_THREAD_STACK_BYTES - 16384, PLAT_THREAD_STACK_BYTES + 16384);
#endif
    assert_true(f.guard_bytes >= 4096);
}

static void *pin_and_look(void *arg) {
    cpu_set_t before, set;
    sched_getaffinity(0, sizeof before, &before);
    plat_thread_pin(1 << 20); /* there is none: nothing happens */
    sched_getaffinity(0, sizeof set, &set);
    if (!CPU_EQUAL(&set, &before)) return NULL;
    plat_thread_pin(0);
    sched_getaffinity(0, sizeof set, &set);
    if (CPU_COUNT(&set) != 1) return NULL;
    plat_thread_pin(-1);
    int last = CPU_COUNT(&before) - 1;
    plat_thread_pin(last); /* counted in the process's mask, not in the one core left to this thread */
    sched_getaffinity(0, sizeof set, &set);
    size_t core = 0;
    for (int seen = -1; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &before) && ++seen == last) break;
    return CPU_COUNT(&set) == 1 && CPU_ISSET(core, &set) ? arg : NULL;
}

static void pinning(void **state) {
    (void)state;
    (void)plat_cpu_get(); /* the mask is the one found at the first look: before any pinning */
    pthread_t thread;
    err e;
    int any;
    assert_ok(plat_thread_start(&thread, "pin", pin_and_look, &any, &e), e);
    void *result;
    pthread_join(thread, &result);
    assert_ptr_equal(result, &any);
}

typedef struct rally {
    _Atomic uint32_t turn;
    uint32_t plain; /* handed over by turn alone */
} rally;

enum { RALLY_TURNS = 20000 };

static void play(rally *r, uint32_t side) {
    for (uint32_t i = side; i < RALLY_TURNS; i += 2) {
        for (uint32_t now; (now = r->turn) != i;) plat_futex_wait(&r->turn, now);
        assert_int_equal(r->plain, i);
        r->plain++;
        r->turn = i + 1;
        plat_futex_wake(&r->turn, 1);
    }
}

static void *play_second(void *arg) {
    play(arg, 1);
    return NULL;
}

static void futex_hands_over_every_turn(void **state) {
    (void)state;
    rally r = {0};
    pthread_t thread;
    err e;
    assert_ok(plat_thread_start(&thread, "second", play_second, &r, &e), e);
    play(&r, 0);
    pthread_join(thread, NULL);
    assert_int_equal(r.plain, RALLY_TURNS);
    plat_futex_wait(&r.turn, RALLY_TURNS + 1); /* not the value seen: returns at once */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stack_and_name),
        cmocka_unit_test(pinning),
        cmocka_unit_test(futex_hands_over_every_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
