/* The api's start with the N-th reservation refused: an error each time, and nothing left. */
#include "../../unit/test.h"

#include "api/api.h"

static void assert_empty(mem_ledger *l) {
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    assert_int_equal(v.now_bytes, 0);
}

static bool live(engine *en, mem_ledger *l, err *e) {
    api_config c = {.max_active = 8, .body_limit_bytes = 64 * 1024, .default_max_tokens = 16};
    api *a = api_start(&c, l, e);
    if (!a) return false;
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    assert_int_equal(v.rows[MEM_HTTP].now_bytes, api_plan_bytes(&c));
    bool ok = api_ready(a, en, NULL, NULL, e);
    api_draining(a);
    api_stop(a);
    return ok;
}

static void starting(void **state) {
    (void)state;
    mem_ledger of_engine, l;
    err e = {0};
    engine_config c;
    engine_config_default(&c);
    c.n_threads = 1, c.n_context = 64, c.n_sessions = 1, c.n_batch = 16;
    mem_ledger_init(&of_engine, UINT64_MAX);
    engine_plan plan = {.rows.line_bytes = UINT64_MAX};
    engine *en = engine_prepare(&c, &of_engine, &e);
    assert_ok(en && engine_plan_make(en, &plan, &e) && engine_load(en, &plan, NULL, NULL, &e), e);
    uint64_t n = 0;
    bool ok = false;
    while (!ok) {
        mem_ledger_init(&l, UINT64_MAX);
        mem_ledger_fail_nth(&l, ++n);
        ok = live(en, &l, &e);
        assert_empty(&l);
        if (!ok) assert_int_equal(e.code, ERR_MEMORY);
        assert_true(n < 100);
    }
    assert_true(n > 2);
    engine_free(en);
    assert_empty(&of_engine);
}

/* Stopped before a model was there. */
static void never_ready(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    api_config c = {.max_active = 1, .body_limit_bytes = 1024};
    mem_ledger_init(&l, UINT64_MAX);
    api *a = api_start(&c, &l, &e);
    assert_non_null(a);
    api_stop(a);
    api_stop(NULL);
    assert_empty(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(starting), cmocka_unit_test(never_ready)};
    return cmocka_run_group_tests_name("oom_api", tests, NULL, NULL);
}
