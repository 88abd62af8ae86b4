/* The routes over a real socket and the built-in model: long pages, refusals, several answers, keys. */
#include "../test.h"

#include "world.h"

enum { MANY_ENTRIES = 200 };
#define TOKENS_26 "5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30"

/* On another connection: a 401 ends it. */
static void ask_anew(world *w) {
    client_close(&w->c);
    w->c = client_open(http_server_port(w->http));
}

static void expect(world *w, const char *method, const char *path, const char *body, int status,
                   const char *words) {
    answer_text a = request(w, method, path, "", body);
    if (a.status != status || !strstr(a.body, words))
        fail_msg("%s %s %s: %d %s, not %d with %s", method, path, body, a.status, a.body, status, words);
    free(a.body);
}

static void remember(world *w, int n) {
    char body[256];
    for (int i = 0; i < n; i++) {
        snprintf(body, sizeof body, "{\"prompt\": [" TOKENS_26 ", %d, %d], \"max_tokens\": 1}", i % 50 + 10,
                 i / 50);
        expect(w, "POST", "/generate", body, 200, "\"completion_tokens\":1");
    }
}

static int count(const char *text, const char *words) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, words)); at++) n++;
    return n;
}

/* ---- tests ---- */

/* Longer than any fixed buffer; with each reservation refused in turn: the whole page or an error, never a part. */
static void a_long_list_is_whole(void **state) {
    (void)state;
    static world w;
    start(&w, (world_config){.entries = MANY_ENTRIES + 10});
    uint64_t before = settled_queue_bytes(&w);
    remember(&w, MANY_ENTRIES);
    wait_for_queue_bytes(&w, before);
    int refused = 0;
    for (uint64_t n = 1;; n++) {
        mem_ledger_fail_nth(&w.ledger, n);
        answer_text a = request(&w, "GET", "/cache", "", "");
        mem_ledger_fail_nth(&w.ledger, 0);
        wait_for_queue_bytes(&w, before);
        int status = a.status, entries = count(a.body, "\"id\":");
        bool whole = a.len > 16 * 1024 && a.body[a.len - 1] == '}' &&
                     strstr(a.body, "\"totals\":{\"entries\":200,");
        bool error = strstr(a.body, "\"type\":\"memory\"") != NULL;
        free(a.body);
        if (status == 200) {
            assert_int_equal(entries, MANY_ENTRIES);
            assert_true(whole);
            break;
        }
        assert_int_equal(status, 429);
        assert_true(error && ++refused < 100);
    }
    assert_true(refused > 2);
    expect(&w, "GET", "/memory", "", 200, "\"cache\":{\"entries\":200,\"tokens\":5600,");
    stop(&w);
}

static void forgetting(void **state) {
    (void)state;
    static world w;
    start(&w, (world_config){.entries = 10});
    remember(&w, 3);
    static const char *const unknown[] = {"/cache/0", "/cache/999", "/cache/-1", "/cache/1x",
                                          "/cache/18446744073709551617"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        expect(&w, "DELETE", unknown[i], "", 404, "no cache entry");
    answer_text a = request(&w, "GET", "/cache", "", "");
    char path[64];
    snprintf(path, sizeof path, "/cache/%ld", atol(strstr(a.body, "\"id\":") + 5));
    free(a.body);
    expect(&w, "DELETE", path, "", 200, "{\"removed\":1,\"freed_bytes\":");
    expect(&w, "DELETE", path, "", 404, "no cache entry");
    expect(&w, "GET", "/cache", "", 200, "\"totals\":{\"entries\":2,");
    expect(&w, "DELETE", "/cache", "", 200, "{\"removed\":2,\"freed_bytes\":");
    expect(&w, "DELETE", "/cache", "", 200, "{\"removed\":0,\"freed_bytes\":0}");
    expect(&w, "GET", "/cache", "", 200, "{\"entries\":[],\"totals\":{\"entries\":0,\"tokens\":0,\"bytes\":0,");
    stop(&w);
}

static void all_methods_are_named(void **state) {
    (void)state;
    static world w;
    start(&w, (world_config){.entries = 10});
    static const char *const rows[][3] = {
        {"PUT", "/cache", "GET, HEAD, DELETE, OPTIONS"},
        {"GET", "/cache/1", "DELETE, OPTIONS"},
        {"GET", "/fit", "POST, OPTIONS"},
        {"POST", "/", "GET, HEAD, OPTIONS"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        answer_text a = request(&w, rows[i][0], rows[i][1], "", "");
        assert_int_equal(a.status, 405);
        assert_string_equal(header_of(&a, "Allow"), rows[i][2]);
        free(a.body);
    }
    expect(&w, "GET", "/cache/", "", 200, "{\"entries\":[]"); /* a slash at the end changes nothing */
    stop(&w);
}

/* Until the released ones have left, too. */
static void wait_idle(world *w) { assert_true(sched_wait_idle(w->sched, 20000)); }

static void all_answers_or_none(void **state) {
    (void)state;
    static world w;
    start(&w, (world_config){.entries = 10, .max_queue = 2});
    for (int i = 0; i < 5; i++) {
        expect(&w, "POST", "/generate",
               "{\"prompt\": [5, 6], \"n\": 12, \"max_tokens\": 50, \"ignore_end\": true}", 429, "\"type\":\"busy\"");
        wait_idle(&w);
    }
    expect(&w, "POST", "/generate", "{\"prompt\": [5, 6], \"n\": 2, \"stream\": true}", 200,
           "\"done\":true,\"index\":1");
    expect(&w, "POST", "/generate", "{\"prompt\": [5, 6], \"ignore_end\": true}", 200,
           "\"completion_tokens\":4");
    stop(&w);
    start(&w, (world_config){.entries = 10, .max_queue = 2, .most_answers = 3});
    expect(&w, "POST", "/generate", "{\"prompt\": [5, 6], \"n\": 4}", 400,
           "'n' is 4; the queue of this server holds 3");
    expect(&w, "POST", "/generate", "{\"prompt\": [5, 6], \"n\": 3, \"ignore_end\": true}", 200,
           "\"completion_tokens\":12");
    stop(&w);
}

/* Answer i is what a request with seed + i gets. */
static void answers_have_seeds_of_their_own(void **state) {
    (void)state;
    static world w;
    char one[512], body[256];
    start(&w, (world_config){0});
    answer_text all = request(&w, "POST", "/generate", "",
                          "{\"prompt\": [5, 6], \"seed\": 40, \"temperature\": 2, \"n\": 5, \"max_tokens\": 9}");
    assert_int_equal(all.status, 200);
    for (int i = 0; i < 5; i++) {
        snprintf(body, sizeof body, "{\"prompt\": [5, 6], \"seed\": %d, \"temperature\": 2, \"max_tokens\": 9}",
                 40 + i);
        answer_text a = request(&w, "POST", "/generate", "", body);
        const char *text = strstr(a.body, "\"text\":"), *end = strstr(a.body, ",\"usage\"");
        snprintf(one, sizeof one, "{\"index\":%d,%.*s}", i, (int)(end - text), text);
        if (!strstr(all.body, one)) fail_msg("%s is not in %s", one, all.body);
        free(a.body);
    }
    free(all.body);
    stop(&w);
}

/* What path answers with this seed (NULL: none), from one word of the answer to another. */
static void say(world *w, const char *path, const char *form, const char *seed, const char *from, const char *to,
                char said[512]) {
    char body[256];
    snprintf(body, sizeof body, form, seed ? ", \"seed\": " : "", seed ? seed : "");
    answer_text a = request(w, "POST", path, "", body);
    const char *begin = strstr(a.body, from), *end = begin ? strstr(begin, to) : NULL;
    if (a.status != 200 || !end) fail_msg("%s: %d %s", path, a.status, a.body);
    snprintf(said, 512, "%.*s", (int)(end - begin), begin);
    free(a.body);
}

/* Two seeds differ, one agrees with itself, and without one there is another each time: by chance two answers may be
 * the same, but not all of many. */
static void each_dialect_takes_a_seed(void **state) {
    (void)state;
    enum { TRIES = 12 };
    static const struct {
        const char *path, *body, *from, *to;
    } rows[] = {
        {"/generate", "{\"prompt\": [5, 6], \"max_tokens\": 9, \"temperature\": 100%s%s}", "\"text\":", "\"usage\""},
        {"/v1/completions", "{\"prompt\": \"x\", \"max_tokens\": 9, \"temperature\": 2%s%s}", "\"text\":", "\"logprobs\""},
        {"/v1/chat/completions",
         "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"max_tokens\": 9, \"temperature\": 2%s%s}",
         "\"content\":", "\"logprobs\""},
        {"/api/generate",
         "{\"model\": \"plimsoll-tiny\", \"prompt\": \"x\", \"stream\": false, \"options\": {\"num_predict\": 9, \"temperature\": 100%s%s}}",
         "\"response\":", "\"done\""},
        {"/api/chat",
         "{\"model\": \"plimsoll-tiny\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"stream\": false, \"options\": {\"num_predict\": 9, "
         "\"temperature\": 100%s%s}}",
         "\"content\":", "\"done\""},
    };
    static world w;
    start(&w, (world_config){0});
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char first[512], again[512];
        const char *path = rows[i].path, *form = rows[i].body, *from = rows[i].from, *to = rows[i].to;
        say(&w, path, form, "1", from, to, first);
        say(&w, path, form, "1", from, to, again);
        if (strcmp(first, again)) fail_msg("%s: %s and %s of one seed", path, first, again);
        say(&w, path, form, "2", from, to, again);
        if (!strcmp(first, again)) fail_msg("%s: %s of two seeds", path, first);
        say(&w, path, form, NULL, from, to, first);
        int alike = 0;
        do say(&w, path, form, NULL, from, to, again);
        while (!strcmp(first, again) && ++alike < TRIES);
        if (alike == TRIES) fail_msg("%s: %s each time without a seed", path, first);
    }
    stop(&w);
}

/* A path is not cut short at %00, whatever lies there. */
static void no_route_has_controls(void **state) {
    (void)state;
    static const char *const paths[] = {"/%s", "/livez%s", "/health%s", "/memory%s", "/memory/timeline%s", "/cache%s", "/cache/1%s",
                                        "/metrics%s", "/v1/models%s", "/v1/models/plimsoll%s", "/api/tags%s", "/api/version%s",
                                        "/generate%s", "/v1/chat/completions%s", "/v1/messages%s", "/api/chat%s"};
    static const char *const ends[] = {"%00", "%00x", "%00/x", "%0d%0aX:%20y", "%1f", "%7F"};
    static world w;
    char path[64];
    start(&w, (world_config){0});
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
            snprintf(path, sizeof path, paths[i], ends[k]);
            expect(&w, "GET", path, "", 400, "control characters");
            ask_anew(&w);
        }
    }
    stop(&w);
}

/* A whole answer with each reservation refused in turn: it comes whole, or as an error. */
static void wording_without_memory(void **state) {
    (void)state;
    static world w;
    start(&w, (world_config){.entries = 10});
    uint64_t before = settled_queue_bytes(&w);
    expect(&w, "GET", "/livez", "", 200, "ok"); /* the connection is open, and has what it takes */
    int refused = 0, whole = 0;
    for (uint64_t n = 1; whole < 12 && n < 200; n++) {
        mem_ledger_fail_nth(&w.ledger, n);
        answer_text a = request(&w, "POST", "/generate", "", "{\"prompt\": [5, 6], \"n\": 3, \"top_logprobs\": 9}");
        mem_ledger_fail_nth(&w.ledger, 0);
        bool good = a.status == 200 ? count(a.body, "\"finish_reason\"") == 4 && a.body[a.len - 1] == '}'
                                    : a.status == 429 && strstr(a.body, "\"type\":\"memory\"");
        if (!good) fail_msg("refusing reservation %d: %d %s", (int)n, a.status, a.body);
        refused += a.status != 200;
        whole += a.status == 200;
        free(a.body);
        wait_idle(&w);
    }
    assert_true(refused > 2 && whole >= 12);
    wait_for_queue_bytes(&w, before);
    stop(&w);
}

static void what_never_fits_says_how_much(void **state) {
    (void)state;
    static world w;
    start(&w, (world_config){.type = COMPUTE_KV_Q4}); /* the pool: one context, as q4 */
    const char *body = "{\"prompt\": [5, 6], \"kv_type\": \"f16\", \"max_tokens\": 120}";
    answer_text a = request(&w, "POST", "/generate", "", body);
    assert_int_equal(a.status, 413);
    uint64_t need = strtoull(header_of(&a, "X-Memory-Required-Bytes"), NULL, 10);
    uint64_t have = strtoull(header_of(&a, "X-Memory-Available-Bytes"), NULL, 10);
    assert_true(have > 0 && need > have);
    assert_null(header_of(&a, "Retry-After"));
    free(a.body);
    expect(&w, "POST", "/fit", body, 200, "{\"fits\":false,\"now\":false,\"prompt_tokens\":2,");
    expect(&w, "POST", "/fit", "{\"prompt\": [5, 6]}", 200, "{\"fits\":true,\"now\":true,\"prompt_tokens\":2,");
    expect(&w, "POST", "/fit", "{\"prompt\": [5, 6], \"n\": 0}", 400, "'n' is 0; it must be 1 to 16");
    expect(&w, "POST", "/generate", "{\"prompt\": [5, 6], \"max_tokens\": 2}", 200, "\"lossy\":true");
    stop(&w);
}

/* One at a time: while the first goes on, the others wait in vain. */
static void one_of_several_fails(void **state) {
    (void)state;
    static world w;
    start(&w, (world_config){.entries = 10, .queue_timeout_ms = 100});
    expect(&w, "POST", "/generate",
           "{\"prompt\": [5, 6], \"n\": 3, \"window\": 64, \"ignore_end\": true, \"max_tokens\": 20000}", 429,
           "waited 100 ms in the queue");
    assert_true(sched_wait_idle(w.sched, 60000));
    sched_counts counts;
    sched_read(w.sched, &counts);
    assert_true(counts.failed >= 1 && counts.cancelled >= 1);
    assert_int_equal(counts.failed + counts.cancelled, 3);
    expect(&w, "POST", "/generate", "{\"prompt\": [5, 6]}", 200, "\"text\":");
    stop(&w);
}

static void keys(void **state) {
    (void)state;
    static world w;
    start(&w, (world_config){.entries = 10, .keys = "one,two"});
    static const struct {
        const char *path, *headers;
        int status;
    } rows[] = {
        {"/", "", 200},
        {"/health", "", 200},
        {"/livez", "", 200},
        {"/readyz", "x-api-key: wrong\r\n", 200},
        {"/memory", "", 401},
        {"/cache", "", 401},
        {"/nothing", "", 401},
        {"/nothing", "x-api-key: one\r\n", 404},
        {"/memory", "x-api-key: two\r\n", 200},
        {"/memory", "Authorization: Bearer one\r\n", 200},
        {"/memory", "authorization: bearer  two\r\n", 200},
        {"/memory", "Authorization: Basic one\r\n", 401},
        {"/memory", "Authorization: Bearer one,two\r\n", 401},
        {"/memory", "Authorization: Bearer \r\n", 401},
        {"/memory", "Authorization: Bearer on\r\nx-api-key: one\r\n", 401}, /* the first one counts */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        answer_text a = request(&w, "GET", rows[i].path, rows[i].headers, "");
        if (a.status != rows[i].status) fail_msg("%s %s: %d", rows[i].path, rows[i].headers, a.status);
        if (a.status == 401) assert_string_equal(header_of(&a, "WWW-Authenticate"), "Bearer");
        free(a.body);
        if (a.status == 401) ask_anew(&w);
    }
    /* before there is a body */
    assert_true(client_text(&w.c, "POST /generate HTTP/1.1\r\nHost: localhost\r\nx-api-key: no\r\n"
                                  "Content-Length: 60000\r\n\r\n"));
    answer_text early = read_answer(&w.c, false);
    assert_int_equal(early.status, 401);
    assert_non_null(strstr(early.body, "this API key is not known here"));
    free(early.body);
    ask_anew(&w);
    /* what one remembers is not there for the other */
    static const char *const hits[] = {"\"hit_tokens\":0,", "\"hit_tokens\":25,", "\"hit_tokens\":0,"};
    static const char *const headers[] = {"x-api-key: one\r\n", "Authorization: Bearer one\r\n",
                                          "x-api-key: two\r\n"};
    for (int i = 0; i < 3; i++) {
        answer_text a = request(&w, "POST", "/generate", headers[i], "{\"prompt\": [" TOKENS_26 "]}");
        assert_int_equal(a.status, 200);
        if (!strstr(a.body, hits[i])) fail_msg("%s: %s", headers[i], a.body);
        free(a.body);
    }
    stop(&w);
}

/* Pages about memory when there is none for them: refused in words, and nothing is kept. */
static void pages_of_memory_are_whole_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *path, *headers, *begins, *ends;
    } pages[] = {{"/memory/timeline", "", "{\"now_ms\":", "}"},
                 {"/memory/timeline.svg", "", "<", "</svg>\n"},
                 {"/memory/doctor", "", "{\"well\":", "}"},
                 {"/memory/doctor", "Accept: text/plain\r\n", "", ".\n"}};
    static world w;
    start(&w, (world_config){.entries = 8});
    remember(&w, 3);
    api_sample(w.api);
    uint64_t before = settled_queue_bytes(&w);
    for (size_t p = 0; p < sizeof pages / sizeof *pages; p++) {
        int refused = 0;
        for (uint64_t n = 1;; n++) {
            mem_ledger_fail_nth(&w.ledger, n);
            answer_text a = request(&w, "GET", pages[p].path, pages[p].headers, "");
            mem_ledger_fail_nth(&w.ledger, 0);
            wait_for_queue_bytes(&w, before);
            const char *ends = pages[p].ends;
            bool whole = strlen(a.body) >= strlen(ends) && !strcmp(a.body + strlen(a.body) - strlen(ends), ends) &&
                         !strncmp(a.body, pages[p].begins, strlen(pages[p].begins));
            bool error = a.status == 429 && strstr(a.body, "\"type\":\"memory\"");
            if (!error && (a.status != 200 || !whole)) fail_msg("%s: %d %s", pages[p].path, a.status, a.body);
            free(a.body);
            if (!error) break;
            assert_true(++refused < 100);
        }
        assert_true(refused > 0);
    }
    stop(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_list_is_whole),
        cmocka_unit_test(forgetting),
        cmocka_unit_test(all_methods_are_named),
        cmocka_unit_test(all_answers_or_none),
        cmocka_unit_test(answers_have_seeds_of_their_own),
        cmocka_unit_test(each_dialect_takes_a_seed),
        cmocka_unit_test(no_route_has_controls),
        cmocka_unit_test(wording_without_memory),
        cmocka_unit_test(what_never_fits_says_how_much),
        cmocka_unit_test(one_of_several_fails),
        cmocka_unit_test(keys),
        cmocka_unit_test(pages_of_memory_are_whole_or_refused),
    };
    return cmocka_run_group_tests_name("api_pages", tests, NULL, NULL);
}
