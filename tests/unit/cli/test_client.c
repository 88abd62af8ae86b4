#include "../test.h"

#include "cli/client.h"

/* Feeds text in pieces of `step` bytes; 'E' when it is refused, 'C' when it is whole by the connection's end, 'D' when
 * it was whole before, 'O' when something is missing. */
static char read_answer(str text, size_t step, cli_answer *a, buf *body) {
    err e;
    cli_answer_begin(a);
    for (size_t at = 0; at < text.len; at += step) {
        size_t n = text.len - at < step ? text.len - at : step;
        if (!cli_answer_feed(a, (str){text.data + at, n}, body, &e)) return 'E';
    }
    if (a->state == ANSWER_DONE) return 'D';
    return cli_answer_closed(a, &e) ? 'C' : 'O';
}

static const struct {
    str text;
    char result;
    int status;
    const char *body;
    bool closes;
} answers[] = {
    {STR("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), 'D', 200, "hello", false},
    {STR("HTTP/1.1 200 OK\ncontent-length: 5\nconnection: CLOSE\n\nhello"), 'D', 200, "hello", true},
    {STR("HTTP/1.1 204 No Content\r\n\r\n"), 'D', 204, "", false},
    {STR("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 'D', 200, "", false},
    {STR("HTTP/1.0 200 OK\r\n\r\nto the end"), 'C', 200, "to the end", true},
    {STR("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 No\r\nContent-Length: 1\r\n\r\nx"), 'D', 429, "x", false},
    {STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: x\r\n\r\n"), 'D', 200,
     "abc0123456789", false},
    {STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 'D', 200, "", false},
    {STR("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"), 'O', 200, "hell", false},
    {STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"), 'O', 200, "ab", false},
    {STR(""), 'O', 0, "", false},
    {STR("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"), 'E', 200, "ab", false},
    {STR("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n"), 'E', 200, "", false},
    {STR("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"), 'E', 200, "", false},
    {STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), 'E', 200, "", false},
    {STR("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), 'E', 200, "", false},
    {STR("HTTP/1.1 20 OK\r\n\r\n"), 'E', 20, "", false},
    {STR("SSH-2.0-OpenSSH\r\n"), 'E', 0, "", false},
};

static void test_answers_in_pieces_of_any_size(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        for (size_t step = 1; step <= answers[i].text.len + 1; step++) {
            test_alloc alloc;
            test_alloc_init(&alloc, 0);
            buf body;
            buf_init(&body, &alloc.alloc, 4096);
            cli_answer a;
            char result = read_answer(answers[i].text, step, &a, &body);
            if (result != answers[i].result) fail_msg("answer %zu in pieces of %zu: %c", i, step, result);
            assert_int_equal(a.status, answers[i].status);
            if (result != 'E') {
                assert_int_equal(body.len, strlen(answers[i].body));
                assert_memory_equal(buf_str(&body).data, answers[i].body, body.len);
                assert_int_equal(a.closes, answers[i].closes);
            }
            buf_free(&body);
        }
    }
}

static void test_bounds(void **state) {
    (void)state;
    static char line[2000];
    cli_answer a;
    err e;
    memset(line, 'x', sizeof line);
    cli_answer_begin(&a);
    assert_false(cli_answer_feed(&a, (str){line, sizeof line}, NULL, &e)); /* a line without end */
    test_alloc alloc;
    test_alloc_init(&alloc, 0);
    buf body;
    buf_init(&body, &alloc.alloc, 64);
    str head = STR("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n");
    cli_answer_begin(&a);
    assert_true(cli_answer_feed(&a, head, &body, &e));
    assert_false(cli_answer_feed(&a, (str){line, sizeof line}, &body, &e));
    assert_int_equal(e.code, ERR_TOO_LARGE);
    buf_free(&body);
    assert_int_equal(alloc.outstanding_bytes, 0);
}

static void test_urls(void **state) {
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port; /* 0: refused */
    } urls[] = {
        {"http://127.0.0.1:80", "127.0.0.1", 80}, {"http://a.b/", "a.b", 8080},   {"localhost:1", "localhost", 1},
        {":65535", "127.0.0.1", 65535},           {"9000", "127.0.0.1", 9000},    {"", "127.0.0.1", 8080},
        {"http://x:0", NULL, 0},                  {"http://x:65536", NULL, 0},    {"https://x", NULL, 0},
        {"http://[::1]:80/", "[::1]", 80},        {"[fe80::1]", "[fe80::1]", 8080}, {"::1", "[::1]", 8080},
        {"http://[::1", NULL, 0},                 {"[::1]80", NULL, 0},           {"[::1]:", NULL, 0},
        {"http://x/path", NULL, 0},               {"http://x:", NULL, 0},         {"x:+5", NULL, 0},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        cli_url u;
        err e;
        bool good = cli_url_parse(urls[i].text, &u, &e);
        if (good != (urls[i].port != 0)) fail_msg("'%s'", urls[i].text);
        if (!good) continue;
        assert_string_equal(u.host, urls[i].host);
        assert_int_equal(u.port, urls[i].port);
    }
}

static void test_loopback(void **state) {
    (void)state;
    static const char *const here[] = {"127.9.8.7", "::1", "[::1]", "::ffff:127.0.0.1", "localhost"};
    static const char *const elsewhere[] = {"10.0.0.1", "128.0.0.1", "[fe80::1]", "::ffff:10.0.0.1"};
    static const char *const nowhere[] = {"", "[::1", "[127.0.0.1]", "1:2", "a b", "http://x", "[]"};
    plat_address a;
    err e;
    for (size_t i = 0; i < sizeof here / sizeof *here; i++) {
        if (!plat_address_find(&a, here[i], 80, &e) || !plat_address_is_loopback(&a)) fail_msg("%s", here[i]);
        assert_int_equal(plat_address_port(&a), 80);
    }
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (!plat_address_find(&a, elsewhere[i], 80, &e) || plat_address_is_loopback(&a)) fail_msg("%s", elsewhere[i]);
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
        if (plat_address_find(&a, nowhere[i], 80, &e)) fail_msg("'%s'", nowhere[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_in_pieces_of_any_size),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
