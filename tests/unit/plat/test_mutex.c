/* A lock that knows who has it: with it, without it, while it waits, and what stops. */
#include "../test.h"
#include "../stops.h"

#include "plat/mutex.h"
#include "plat/thread.h"

typedef struct pair {
    plat_mutex lock;
    pthread_cond_t changed;
    int turn;
    bool other_held; /* what the other thread saw while this one waited */
} pair;

static void *take_turn(void *arg) {
    pair *p = arg;
    p->other_held = plat_mutex_held(&p->lock);
    plat_mutex_lock(&p->lock);
    p->turn = 1;
    pthread_cond_signal(&p->changed);
    plat_mutex_unlock(&p->lock);
    return NULL;
}

static void held_by_who_has_it(void **state) {
    (void)state;
    pair p = {.lock = PLAT_MUTEX_INITIALIZER};
    plat_cond_init(&p.changed);
    pthread_t other;
    assert_false(plat_mutex_held(&p.lock));
    plat_mutex_lock(&p.lock);
    assert_true(plat_mutex_held(&p.lock));
    assert_int_equal(pthread_create(&other, NULL, take_turn, &p), 0);
    while (!p.turn) plat_cond_wait(&p.changed, &p.lock);
    assert_true(plat_mutex_held(&p.lock));
    assert_false(p.other_held);
    struct timespec now = plat_in_ms(0);
    while (plat_cond_wait_until(&p.changed, &p.lock, &now)) continue;
    assert_true(plat_mutex_held(&p.lock));
    plat_mutex_unlock(&p.lock);
    assert_false(plat_mutex_held(&p.lock));
    pthread_join(other, NULL);
    plat_mutex_destroy(&p.lock);
    pthread_cond_destroy(&p.changed);
}

static void what_breaks_the_contract_stops(void **state) {
    (void)state;
    plat_mutex m;
    pthread_cond_t cond;
    plat_mutex_init(&m);
    plat_cond_init(&cond);
    assert_stops(plat_mutex_unlock(&m));
    assert_stops(plat_cond_wait(&cond, &m));
    plat_mutex_lock(&m);
    assert_stops(plat_mutex_lock(&m));
    assert_stops(plat_mutex_destroy(&m));
    plat_mutex_unlock(&m);
    plat_mutex_destroy(&m);
    pthread_cond_destroy(&cond);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_by_who_has_it),
        cmocka_unit_test(what_breaks_the_contract_stops),
    };
    return cmocka_run_group_tests_name("plat_mutex", tests, NULL, NULL);
}
