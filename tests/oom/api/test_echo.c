#include "../../unit/test.h"

#include "api/echo.h"

static void test_refused_and_taken(void **state) {
    (void)state;
    static mem_ledger l;
    api_config c = {.max_active = 8, .body_limit_bytes = 64 * 1024};
    err e = {0};
    mem_ledger_view v;
    mem_ledger_init(&l, UINT64_MAX);
    mem_ledger_fail_nth(&l, 1);
    assert_null(echo_start(&c, &l, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    api *a = echo_start(&c, &l, &e);
    assert_non_null(a);
    mem_ledger_read(&l, &v);
    assert_int_equal(v.now_bytes, echo_plan_bytes(&c)); /* the plan is what is taken */
    echo_stop(a);
    echo_stop(NULL);
    mem_ledger_read(&l, &v);
    assert_int_equal(v.now_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused_and_taken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
