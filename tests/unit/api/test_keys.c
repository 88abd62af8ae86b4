/* API keys: which one a request carries, and how many there are. (The headers they come in: scenario tests.) */
#include "../test.h"

#include "api/core/core.h"

static void counting(void **state) {
    (void)state;
    assert_int_equal(api_count_keys(NULL), 0);
    assert_int_equal(api_count_keys("a"), 1);
    assert_int_equal(api_count_keys("alpha,b,c"), 3);
}

static void finding(void **state) {
    (void)state;
    static const char keys[] = "alpha,beta,al,alphaalpha,b";
    static const char *const right[] = {"alpha", "beta", "al", "alphaalpha", "b"};
    for (int i = 0; i < 5; i++) assert_int_equal(api_find_key(keys, str_of(right[i])), i);
    assert_int_equal(api_find_key("only", STR("only")), 0);
}

/* Beginnings, repetitions, the list itself, other cases, and nothing at all. */
static void not_found(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "a", "alph", "alphaa", "alphaalph", "betabeta", "Alpha", "alpha,beta",
                                        ",", "alpha,", " alpha", "alpha "};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (api_find_key("alpha,beta", str_of(wrong[i])) != -1) fail_msg("'%s' was taken for a key", wrong[i]);
    assert_int_equal(api_find_key("alpha,beta", (str){"alpha\0", 6}), -1);
    assert_int_equal(api_find_key(NULL, STR("")), -1);
    assert_int_equal(api_find_key("", STR("")), -1);
    static const char *const gaps[] = {"a,,b", ",a", ",,"}; /* a place without a key lets nobody in */
    for (size_t i = 0; i < sizeof gaps / sizeof *gaps; i++) assert_int_equal(api_find_key(gaps[i], STR("")), -1);
}

/* A tenant shares no pages with another, and has the same salt after a restart. */
static void salts(void **state) {
    (void)state;
    api one = {.config.keys = "alpha,beta"}, other = {.config.keys = "gamma,beta,alpha"}, none = {0};
    uint64_t alpha = api_tenant_salt(&one);
    one.tenant = 1;
    uint64_t beta = api_tenant_salt(&one);
    assert_true(alpha != beta && alpha && beta);
    other.tenant = 2;
    assert_true(api_tenant_salt(&other) == alpha); /* it is the key's, not its place's */
    assert_true(api_tenant_salt(&none) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counting),
        cmocka_unit_test(finding),
        cmocka_unit_test(not_found),
        cmocka_unit_test(salts),
    };
    return cmocka_run_group_tests_name("api_keys", tests, NULL, NULL);
}
