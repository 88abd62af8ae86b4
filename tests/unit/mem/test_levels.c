/* Levels: thresholds, hysteresis over scripted sequences, rooms out of readings, and the watch that acts. */
#include "../test.h"

#include <stdatomic.h>
#include <time.h>

#include "base/rng.h"
#include "mem/levels.h"
#include "mem/watch.h"

#define MIB UINT64_C(1048576)
#define GIB (UINT64_C(1) << 30)

static const uint64_t by_default[MEM_LEVEL_STEPS];

static mem_levels levels_for(uint64_t line) {
    mem_levels l;
    err e = {0};
    assert_ok(mem_levels_init(&l, line, by_default, &e), e);
    return l;
}

static mem_rooms machine(uint64_t bytes) {
    return (mem_rooms){.bytes = {UINT64_MAX, bytes, UINT64_MAX}};
}

static mem_level at(mem_levels *l, uint64_t bytes, uint64_t now_ms) {
    mem_rooms rooms = machine(bytes);
    return mem_levels_update(l, &rooms, now_ms);
}

static void thresholds_are_the_designs(void **state) {
    (void)state;
    mem_levels l = levels_for(16 * GIB);
    assert_true(l.threshold_bytes[0] == 3 * GIB && l.threshold_bytes[1] == 2 * GIB);
    assert_true(l.threshold_bytes[2] == GIB && l.threshold_bytes[3] == GIB / 2);
    l = levels_for(UINT64_MAX);
    assert_true(l.threshold_bytes[0] == 3 * GIB && l.threshold_bytes[3] == GIB / 2);
    l = levels_for(6 * GIB); /* in proportion */
    assert_true(l.threshold_bytes[0] == 3 * GIB / 2 && l.threshold_bytes[3] == GIB / 4);
}

static void expect_refused(uint64_t line, const uint64_t given[MEM_LEVEL_STEPS], const char *words) {
    mem_levels l;
    err e = {0};
    assert_false(mem_levels_init(&l, line, given, &e));
    assert_int_equal(e.code, ERR_USAGE);
    if (!strstr(e.message, words)) fail_msg("'%s' is not in: %s", words, e.message);
}

static void given_ones_must_descend_below_the_line(void **state) {
    (void)state;
    expect_refused(GIB, (uint64_t[]){GIB, 0, 0, 0}, "--level-caution is 1.00 GiB; it must be below the line");
    expect_refused(4 * GIB, (uint64_t[]){GIB, GIB, 0, 0}, "--level-warning is 1.00 GiB; it must be below --level-caution");
    expect_refused(4 * GIB, (uint64_t[]){0, 0, 0, 3 * GIB}, "--level-emergency is 3.00 GiB");
    mem_levels l;
    err e = {0};
    assert_ok(mem_levels_init(&l, 4 * GIB, (uint64_t[]){400 * MIB, 300 * MIB, 200 * MIB, 100 * MIB}, &e), e);
    assert_true(l.threshold_bytes[3] == 100 * MIB);
    /* what is not given keeps its distance below what is */
    assert_ok(mem_levels_init(&l, 16 * GIB, (uint64_t[]){600 * MIB, 0, 0, 0}, &e), e);
    assert_true(l.threshold_bytes[1] == 400 * MIB && l.threshold_bytes[2] == 200 * MIB);
    assert_true(l.threshold_bytes[3] == 100 * MIB);
}

static void up_at_once_down_after_calm(void **state) {
    (void)state;
    mem_levels l = levels_for(16 * GIB);
    uint64_t t = 1000;
    assert_int_equal(at(&l, 20 * GIB, t), MEM_SAFE);
    assert_int_equal(at(&l, 3 * GIB, t += 100), MEM_CAUTION);
    assert_int_equal(at(&l, 100 * MIB, t += 100), MEM_EMERGENCY); /* over several at once */
    assert_int_equal(l.changes, 2);
    assert_int_equal(at(&l, 20 * GIB, t += 100), MEM_EMERGENCY);
    assert_int_equal(at(&l, 20 * GIB, t += 499), MEM_EMERGENCY);
    assert_int_equal(at(&l, 20 * GIB, t += 1), MEM_SAFE); /* and down over several */
    assert_int_equal(l.changes, 3);
}

static void an_eighth_above_is_needed(void **state) {
    (void)state;
    mem_levels l = levels_for(16 * GIB);
    uint64_t t = 1000;
    at(&l, 20 * GIB, t);
    assert_int_equal(at(&l, GIB - 1, t += 100), MEM_CRITICAL);
    for (int i = 0; i < 50; i++) assert_int_equal(at(&l, GIB + GIB / 8 - 1, t += 100), MEM_CRITICAL);
    for (int i = 0; i < 5; i++) assert_int_equal(at(&l, GIB + GIB / 8, t += 100), MEM_CRITICAL);
    assert_int_equal(at(&l, GIB + GIB / 8, t += 100), MEM_WARNING);
}

static void calm_is_uninterrupted_and_the_worst_of_it_counts(void **state) {
    (void)state;
    mem_levels l = levels_for(16 * GIB);
    uint64_t t = 1000;
    at(&l, 20 * GIB, t);
    assert_int_equal(at(&l, GIB / 4, t += 100), MEM_EMERGENCY);
    assert_int_equal(at(&l, 20 * GIB, t += 100), MEM_EMERGENCY);
    assert_int_equal(at(&l, GIB / 2, t += 400), MEM_EMERGENCY); /* not above by an eighth: it begins anew */
    assert_int_equal(at(&l, 20 * GIB, t += 400), MEM_EMERGENCY);
    assert_int_equal(at(&l, 2 * GIB, t += 300), MEM_EMERGENCY); /* worse, and still better than now */
    assert_int_equal(at(&l, 20 * GIB, t += 200), MEM_WARNING);
    assert_int_equal(at(&l, 20 * GIB, t += 100), MEM_WARNING);
    assert_int_equal(at(&l, 20 * GIB, t += 500), MEM_SAFE);
}

/* Room that falls and rises again, with noise on top as large as the margin allows: each level is entered once and
 * left once. */
static void no_oscillation(void **state) {
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 50; round++) {
        mem_levels l = levels_for(16 * GIB);
        uint64_t t = 1000;
        at(&l, 20 * GIB, t);
        mem_level worst = MEM_SAFE;
        for (int i = 0; i <= 400; i++) {
            uint64_t base = 4 * GIB - (uint64_t)(i <= 200 ? i : 400 - i) * (4 * GIB - 64 * MIB) / 200;
            uint64_t noise = rng_splitmix(&seed) % (base / 32 + 1); /* below an eighth of any threshold near it */
            mem_level now = at(&l, base + noise, t += 100);
            if (now > worst) worst = now;
        }
        assert_int_equal(worst, MEM_EMERGENCY);
        for (int i = 0; i < 10; i++) at(&l, 20 * GIB, t += 100);
        assert_int_equal(l.level, MEM_SAFE);
        assert_true(l.changes <= 8); /* four thresholds, crossed twice */
    }
}

static void the_worst_bound_counts(void **state) {
    (void)state;
    mem_levels l = levels_for(16 * GIB);
    mem_rooms rooms = {.bytes = {10 * GIB, 10 * GIB, 10 * GIB}};
    assert_int_equal(mem_levels_update(&l, &rooms, 1000), MEM_SAFE);
    rooms.bytes[MEM_IN_CGROUP] = GIB / 2;
    rooms.bytes[MEM_OF_MACHINE] = 2 * GIB;
    assert_int_equal(mem_levels_update(&l, &rooms, 1100), MEM_CRITICAL);
    assert_int_equal(l.worst, MEM_IN_CGROUP);
    rooms.bytes[MEM_IN_CGROUP] = 6 * GIB / 10;
    rooms.bytes[MEM_OF_MACHINE] = 9 * GIB / 10; /* as bad but for the margin, which only says when it is over */
    assert_int_equal(mem_levels_update(&l, &rooms, 1200), MEM_CRITICAL);
    assert_int_equal(l.worst, MEM_IN_CGROUP);
    rooms.bytes[MEM_UNDER_LINE] = GIB / 2; /* of equals the first: the line is what an operator can move */
    assert_int_equal(mem_levels_update(&l, &rooms, 1300), MEM_CRITICAL);
    assert_int_equal(l.worst, MEM_UNDER_LINE);
}

/* A plan that leaves little, or a small machine, is no distress; losing what there was is. */
static void what_never_was_is_not_missed(void **state) {
    (void)state;
    mem_levels l = levels_for(16 * GIB);
    uint64_t t = 1000;
    assert_int_equal(at(&l, 40 * MIB, t), MEM_SAFE);
    assert_int_equal(at(&l, 40 * MIB / 4, t += 100), MEM_CAUTION);
    assert_int_equal(at(&l, 40 * MIB / 12 - 1, t += 100), MEM_CRITICAL);
    for (int i = 0; i < 10; i++) at(&l, 40 * MIB, t += 100);
    assert_int_equal(l.level, MEM_SAFE);
    assert_int_equal(at(&l, 20 * GIB, t += 100), MEM_SAFE); /* there is more: from now on that counts */
    assert_int_equal(at(&l, 40 * MIB, t += 100), MEM_EMERGENCY);
    err e = {0};
    assert_ok(mem_levels_init(&l, 16 * GIB, (uint64_t[]){400 * MIB, 300 * MIB, 200 * MIB, 100 * MIB}, &e), e);
    assert_int_equal(at(&l, 40 * MIB, t), MEM_EMERGENCY); /* the operator is taken at his word */
}

static void the_line_alone_refuses_nobody_when_idle(void **state) {
    (void)state;
    mem_levels l = levels_for(16 * GIB);
    mem_rooms rooms = {.bytes = {10 * GIB, 10 * GIB, UINT64_MAX}, .idle = true};
    mem_levels_update(&l, &rooms, 1000);
    rooms.bytes[MEM_UNDER_LINE] = 0;
    assert_int_equal(mem_levels_update(&l, &rooms, 1100), MEM_WARNING);
    rooms.idle = false;
    assert_int_equal(mem_levels_update(&l, &rooms, 1200), MEM_EMERGENCY);
    rooms.idle = true;
    mem_levels_update(&l, &rooms, 1300);
    assert_int_equal(mem_levels_update(&l, &rooms, 1800), MEM_WARNING);
    rooms.bytes[MEM_OF_MACHINE] = 0; /* others' memory is another matter */
    assert_int_equal(mem_levels_update(&l, &rooms, 1900), MEM_EMERGENCY);
}

static void pressure_is_one_level_more_while_it_lasts(void **state) {
    (void)state;
    mem_levels l = levels_for(16 * GIB);
    mem_rooms rooms = machine(20 * GIB);
    assert_int_equal(mem_levels_update(&l, &rooms, 1000), MEM_SAFE);
    rooms.pressed = true;
    assert_int_equal(mem_levels_update(&l, &rooms, 1100), MEM_CAUTION);
    assert_int_equal(mem_levels_update(&l, &rooms, 9000), MEM_CAUTION);
    rooms.pressed = false;
    assert_int_equal(mem_levels_update(&l, &rooms, 9100), MEM_CAUTION);
    assert_int_equal(mem_levels_update(&l, &rooms, 9600), MEM_SAFE);
    rooms = machine(GIB / 4);
    rooms.pressed = true;
    assert_int_equal(mem_levels_update(&l, &rooms, 9700), MEM_EMERGENCY); /* there is no more */
}

/* ---- rooms ---- */

static void rooms_count_what_is_lent(void **state) {
    (void)state;
    mem_books b = {.ledger = {.line_bytes = 1000 * MIB, .now_bytes = 700 * MIB},
                   .kernel_bytes = 700 * MIB,
                   .tolerance_bytes = 14 * MIB,
                   .system = {8000 * MIB, 400 * MIB}};
    mem_reclaimable reclaimable = {.held_bytes = 300 * MIB, .reclaimable_bytes = 200 * MIB, .requests = 1};
    mem_rooms rooms;
    mem_rooms_of(&b, &reclaimable, 350 * MIB, &rooms);
    assert_true(rooms.bytes[MEM_UNDER_LINE] == 600 * MIB); /* the whole pool is room: it was planned */
    assert_true(rooms.bytes[MEM_OF_MACHINE] == 600 * MIB); /* what requests hold is gone, what is reclaimable is not */
    assert_true(rooms.bytes[MEM_IN_CGROUP] == UINT64_MAX);
    assert_false(rooms.idle);
    /* planned and not there yet counts as there, so it is not missed when it comes */
    mem_rooms_of(&b, &reclaimable, 500 * MIB, &rooms);
    assert_true(rooms.bytes[MEM_UNDER_LINE] == 500 * MIB);
    /* beyond the plan, and beyond what the books tolerate */
    b.kernel_bytes = 900 * MIB;
    reclaimable.requests = 0;
    mem_rooms_of(&b, &reclaimable, 500 * MIB, &rooms);
    assert_true(rooms.bytes[MEM_UNDER_LINE] == 1000 * MIB - (900 - 14 - 300) * MIB);
    assert_true(rooms.idle);
    b.cgroup = (plat_cgroup_memory){.limited = true, .limit_bytes = 800 * MIB, .used_bytes = 790 * MIB,
                                    .inactive_file_bytes = 15 * MIB};
    b.ledger.line_bytes = UINT64_MAX;
    mem_rooms_of(&b, &reclaimable, 500 * MIB, &rooms);
    assert_true(rooms.bytes[MEM_IN_CGROUP] == 225 * MIB);
    assert_true(rooms.bytes[MEM_UNDER_LINE] == UINT64_MAX);
}

/* What the kernel lacks is counted to an eighth above the threshold, where the level is left for good; of two bounds
 * the one that lacks more counts, and what could be reclaimed does not. */
static void what_is_lacking_ends_an_eighth_above(void **state) {
    (void)state;
    mem_levels l = levels_for(16 * GIB);
    mem_rooms rooms = {.bytes = {20 * GIB, 20 * GIB, 4 * GIB}};
    mem_books b = {.system = {32 * GIB, 2 * GIB}};
    mem_levels_update(&l, &rooms, 1000);
    assert_int_equal(mem_lacking_of(&b, &l, MEM_WARNING), 0); /* at the threshold it is none of it */
    b.system.available_bytes--;
    assert_int_equal(mem_lacking_of(&b, &l, MEM_WARNING), GIB / 4 + 1);
    b.system.available_bytes = GIB;
    assert_int_equal(mem_lacking_of(&b, &l, MEM_WARNING), GIB + GIB / 4);
    assert_int_equal(mem_lacking_of(&b, &l, MEM_CAUTION), 2 * GIB + 3 * GIB / 8);
    assert_int_equal(mem_lacking_of(&b, &l, MEM_CRITICAL), 0);
    b.cgroup = (plat_cgroup_memory){.limited = true, .limit_bytes = 4 * GIB, .used_bytes = 4 * GIB};
    uint64_t warning = 4 * GIB / 6; /* of the most it has shown */
    assert_int_equal(mem_lacking_of(&b, &l, MEM_WARNING), GIB + GIB / 4);
    b.system.available_bytes = 20 * GIB;
    assert_int_equal(mem_lacking_of(&b, &l, MEM_WARNING), warning + warning / 8);
    b.cgroup.used_bytes = 4 * GIB - warning;
    assert_int_equal(mem_lacking_of(&b, &l, MEM_WARNING), 0);
    b.system = (plat_system_memory){0}, b.cgroup.limited = false; /* neither is known */
    assert_int_equal(mem_lacking_of(&b, &l, MEM_CAUTION), 0);
}

/* ---- the watch ---- */

typedef struct ship {
    _Atomic uint64_t looks, evicted, expired, wanted;
    _Atomic int level;
} ship;

static void nothing_lent(void *ctx, mem_reclaimable *out) {
    (void)ctx;
    *out = (mem_reclaimable){.reclaimable_bytes = 5 * MIB, .held_bytes = 5 * MIB};
}

static void hear(void *ctx, mem_level level, bool hold, uint64_t room_bytes) {
    ship *s = ctx;
    assert_true(hold == (level != MEM_SAFE));
    assert_true(room_bytes > 0);
    s->level = level;
    s->looks++;
}

static uint64_t evict(void *ctx, uint64_t wanted_bytes) {
    ship *s = ctx;
    s->wanted = wanted_bytes;
    s->evicted++;
    return 0;
}

static uint64_t expire(void *ctx, uint64_t wanted_bytes) {
    (void)wanted_bytes;
    ((ship *)ctx)->expired++;
    return 0;
}

static void wait_for_looks(ship *s, uint64_t n) {
    while (s->looks < n) nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* Thresholds beyond what the machine has: it is an emergency, and everything is asked for. */
static void the_watch_climbs(void **state) {
    (void)state;
    static const mem_rung rungs[] = {{"expired", MEM_CAUTION, expire}, {"cache", MEM_SAFE, evict}};
    mem_ledger l;
    mem_ledger_init(&l, UINT64_MAX);
    mem_books_start(&l);
    ship s = {0};
    uint64_t huge = UINT64_C(1) << 56;
    mem_watch_config c = {.ledger = &l, .threshold_bytes = {huge + 3, huge + 2, huge + 1, huge}, .ctx = &s,
                          .reclaimable = nothing_lent, .level = hear, .rungs = rungs, .n_rungs = 2};
    err e = {0};
    mem_watch *w = mem_watch_start(&c, &e);
    if (!w) fail_msg("%s", e.message);
    assert_int_equal(s.level, MEM_EMERGENCY); /* the first look has been taken */
    wait_for_looks(&s, 3);
    mem_books b;
    mem_books_read(&l, &b);
    assert_int_equal(b.level, MEM_EMERGENCY);
    assert_int_equal(b.reclaimable_bytes, 5 * MIB);
    assert_true(b.ledger.watched.threshold_bytes[3] == huge);
    mem_watch_stop(w);
    assert_true(s.evicted >= 2 && s.expired >= 2 && s.wanted == UINT64_MAX);
    mem_books_read(&l, &b);
    assert_false(b.ledger.watched.on);

    s = (ship){0};
    memset(c.threshold_bytes, 0, sizeof c.threshold_bytes);
    c.threshold_bytes[0] = 4, c.threshold_bytes[1] = 3, c.threshold_bytes[2] = 2, c.threshold_bytes[3] = 1;
    w = mem_watch_start(&c, &e); /* and with thresholds that nothing reaches, nothing is done */
    wait_for_looks(&s, 2);
    mem_watch_stop(w);
    assert_true(s.evicted == 0 && s.expired == 0);
    uint64_t looks = s.looks;
    nanosleep(&(struct timespec){0, 250000000}, NULL);
    assert_true(s.looks == looks);

    c.threshold_bytes[1] = 5;
    assert_null(mem_watch_start(&c, &e));
    assert_int_equal(e.code, ERR_USAGE);
}

/* Rungs of the kernel's room: what one gave the next need not give. */
static uint64_t give_some(void *ctx, uint64_t wanted_bytes) {
    ((ship *)ctx)->evicted++;
    ((ship *)ctx)->wanted = wanted_bytes;
    return 1000;
}

static uint64_t give_the_rest(void *ctx, uint64_t wanted_bytes) {
    ship *s = ctx;
    assert_int_equal(s->wanted - wanted_bytes, 1000);
    s->expired++;
    return 0;
}

/* More is reclaimable than any threshold. */
static void all_lent(void *ctx, mem_reclaimable *out) {
    (void)ctx;
    *out = (mem_reclaimable){.reclaimable_bytes = UINT64_C(1) << 58, .held_bytes = UINT64_C(1) << 58};
}

static void hear_hold(void *ctx, mem_level level, bool hold, uint64_t room_bytes) {
    (void)room_bytes;
    ship *s = ctx;
    s->level = level;
    if (hold) s->looks++;
}

/* In Warning, and in Safe if that is only by what is reclaimable, the kernel's own room is brought back to where Warning ends. */
static void what_the_kernel_lacks_is_asked_for(void **state) {
    (void)state;
    static const mem_rung rungs[] = {{"some", MEM_SAFE, give_some}, {"the rest", MEM_SAFE, give_the_rest}};
    uint64_t huge = UINT64_C(1) << 56;
    for (int reclaimable = 0; reclaimable < 2; reclaimable++) {
        mem_ledger l;
        mem_ledger_init(&l, UINT64_MAX);
        mem_books_start(&l);
        ship s = {0};
        mem_watch_config c = {.ledger = &l, .threshold_bytes = {huge + 1, huge, 2, 1}, .ctx = &s, .level = hear_hold,
                              .reclaimable = reclaimable ? all_lent : nothing_lent, .rungs = rungs, .n_rungs = 2};
        err e = {0};
        mem_watch *w = mem_watch_start(&c, &e);
        if (!w) fail_msg("%s", e.message);
        mem_watch_stop(w);
        assert_int_equal(s.level, reclaimable ? MEM_SAFE : MEM_WARNING);
        assert_true(s.looks > 0); /* nothing more is to be remembered, in Safe neither */
        assert_true(s.evicted > 0 && s.expired == s.evicted);
        assert_true(s.wanted > huge && s.wanted <= huge + huge / 8);
    }
}

/* Of the machine's stalls only those count that its lack of memory explains: not a stranger's at its own limit. */
static void stalls_of_strangers_raise_nothing(void **state) {
    (void)state;
    mem_levels l = levels_for(2 * GIB); /* caution at 512 MiB */
    mem_books b = {.system = {32 * GIB, 17 * GIB}};
    at(&l, 17 * GIB, 1000);
    assert_false(mem_pressed_by(&b, &l, (plat_pressed){.machine = true}));
    assert_true(mem_pressed_by(&b, &l, (plat_pressed){.group = true}));
    b.system.available_bytes = 2 * GIB + 1;
    assert_false(mem_pressed_by(&b, &l, (plat_pressed){.machine = true}));
    b.system.available_bytes = 2 * GIB - 1; /* less than a sixteenth of the machine */
    assert_true(mem_pressed_by(&b, &l, (plat_pressed){.machine = true}));
    assert_false(mem_pressed_by(&b, &l, (plat_pressed){.machine = false}));
    b.system = (plat_system_memory){4 * GIB, 511 * MIB}; /* less than where caution begins */
    assert_true(mem_pressed_by(&b, &l, (plat_pressed){.machine = true}));
}

static void thresholds_follow_the_line(void **state) {
    (void)state;
    mem_levels l;
    err e = {0};
    assert_ok(mem_levels_init(&l, 12 * GIB, (uint64_t[]){0, 300 * MIB, 0, 0}, &e), e);
    mem_rooms rooms = {.bytes = {8 * GIB, UINT64_MAX, UINT64_MAX}};
    assert_int_equal(mem_levels_update(&l, &rooms, 1000), MEM_SAFE);
    mem_levels_set_line(&l, 6 * GIB);
    assert_true(l.threshold_bytes[0] == 3 * GIB / 2 && l.threshold_bytes[1] == 300 * MIB);
    assert_true(l.threshold_bytes[2] == 150 * MIB); /* by the one that was given */
    rooms.bytes[MEM_UNDER_LINE] = GIB; /* what a lower line leaves with the same plan: no distress */
    assert_int_equal(mem_levels_update(&l, &rooms, 2000), MEM_SAFE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_are_the_designs),
        cmocka_unit_test(given_ones_must_descend_below_the_line),
        cmocka_unit_test(up_at_once_down_after_calm),
        cmocka_unit_test(an_eighth_above_is_needed),
        cmocka_unit_test(calm_is_uninterrupted_and_the_worst_of_it_counts),
        cmocka_unit_test(no_oscillation),
        cmocka_unit_test(the_worst_bound_counts),
        cmocka_unit_test(what_never_was_is_not_missed),
        cmocka_unit_test(the_line_alone_refuses_nobody_when_idle),
        cmocka_unit_test(pressure_is_one_level_more_while_it_lasts),
        cmocka_unit_test(rooms_count_what_is_lent),
        cmocka_unit_test(stalls_of_strangers_raise_nothing),
        cmocka_unit_test(thresholds_follow_the_line),
        cmocka_unit_test(what_is_lacking_ends_an_eighth_above),
        cmocka_unit_test(the_watch_climbs),
        cmocka_unit_test(what_the_kernel_lacks_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
