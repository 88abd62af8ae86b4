/* Requests of every dialect with the N-th reservation refused: an error in the dialect's words or an answer,
 * never a crash, and what was held is given back. */
#include "../../unit/test.h"

#include "../../unit/api/world.h"

#define TALK                                                                                                 \
    "\"messages\":[{\"role\":\"user\",\"content\":\"Say "                                                    \
    "\\\"ahoy\\\"\"},{\"role\":\"assistant\",\"content\":\"ahoy\"},{\"role\":\"user\",\"content\":"          \
    "\"Again\"}]"

#define SCHEMA "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"boolean\"}},\"required\":[\"a\"]}"

static const char *const requests[][2] = {
    {"/v1/chat/completions", "{" TALK ",\"max_tokens\":2,\"logprobs\":true,\"top_logprobs\":2,\"n\":2}"},
    {"/v1/chat/completions",
     "{" TALK ",\"max_tokens\":2,\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
    {"/v1/completions", "{\"prompt\":[\"Once\",\"Two\"],\"max_tokens\":2,\"logprobs\":1}"},
    {"/v1/completions", "{\"prompt\":\"Once\",\"max_tokens\":2,\"echo\":true,\"stream\":true}"},
    {"/v1/messages", "{\"model\":\"plimsoll-tiny\"," TALK ",\"max_tokens\":2}"},
    {"/v1/messages", "{\"model\":\"plimsoll-tiny\"," TALK ",\"max_tokens\":2,\"stream\":true}"},
    {"/v1/messages/count_tokens", "{\"model\":\"plimsoll-tiny\"," TALK "}"},
    {"/v1/chat/completions", "{" TALK ",\"max_tokens\":40,\"tool_choice\":\"required\",\"tools\":[{\"type\":"
                                      "\"function\",\"function\":{\"name\":"
                             "\"f\",\"parameters\":" SCHEMA "}}]}"},
    {"/v1/messages", "{\"model\":\"plimsoll-tiny\"," TALK
                     ",\"max_tokens\":40,\"stream\":true,\"tool_choice\":{\"type\":\"any\"},\"tools\":[{"
                     "\"name\":\"f\",\"input_schema\":" SCHEMA "}]}"},
    {"/v1/chat/completions", "{" TALK ",\"max_tokens\":20,\"response_format\":{\"type\":\"json_schema\","
                                      "\"json_schema\":{\"name\":\"x\",\"schema\":" SCHEMA "}}}"},
    {"/v1/responses", "{\"input\":\"Say ahoy\",\"max_output_tokens\":2}"},
    {"/v1/responses", "{\"input\":\"Say ahoy\",\"max_output_tokens\":2,\"stream\":true}"},
    {"/v1/embeddings", "{\"input\":[\"Once\",\"Two\",\"Three\",\"Four\",\"Five\",\"Six\",\"Seven\",\"Eight\",\"Nine\",\"Ten\"]}"},
    {"/api/embed", "{\"model\":\"plimsoll-tiny\",\"input\":\"Once\"}"},
    {"/api/chat", "{\"model\":\"plimsoll-tiny\"," TALK ",\"options\":{\"num_predict\":2},\"stream\":false}"},
    {"/api/chat", "{\"model\":\"plimsoll-tiny\"," TALK ",\"options\":{\"num_predict\":2}}"},
    {"/api/generate", "{\"model\":\"plimsoll-tiny\",\"prompt\":\"Once\",\"context\":[1,5],\"options\":{\"num_predict\":2}}"},
    {"/api/show", "{\"model\":\"plimsoll-tiny\"}"},
};

static bool is_error(const answer_text *a) { return a->status >= 400 && strstr(a->body, "\"error\""); }

/* True when the refusal was met. */
static bool refuse_nth(world *w, const char *const request[2], uint64_t n, bool grows) {
    char text[2048];
    client c = client_open(http_server_port(w->http));
    uint64_t before = settled_queue_bytes(w);
    mem_ledger_fail_nth(&w->ledger, n);
    snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", request[0],
             strlen(request[1]), request[1]);
    assert_true(client_text(&c, text));
    answer_text a = read_answer(&c, false);
    mem_ledger_view v;
    mem_ledger_read(&w->ledger, &v);
    plat_mutex_lock(&w->ledger.lock);
    bool met = w->ledger.fail_countdown == 0;
    w->ledger.fail_countdown = 0;
    plat_mutex_unlock(&w->ledger.lock);
    if (!(a.status == 200 || is_error(&a) || a.cut))
        fail_msg("%s, reservation %d: %d %s", request[0], (int)n, a.status, a.body);
    if (!met && (a.status != 200 || a.cut)) fail_msg("%s: %d %s", request[0], a.status, a.body);
    free(a.body);
    client_close(&c);
    if (!grows) wait_for_queue_bytes(w, before);
    return met;
}

static void every_reservation_of_every_dialect(void **state) {
    (void)state;
    world w;
    start(&w, (world_config){.entries = 4, .n_context = 512});
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        uint64_t n = 1;
        refuse_nth(&w, requests[i], 1000000, true); /* what is made once and kept is made */
        while (refuse_nth(&w, requests[i], n, false)) assert_true(n++ < 500);
        assert_true(n > 1);
    }
    stop(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_reservation_of_every_dialect)};
    return cmocka_run_group_tests_name("oom_dialects", tests, NULL, NULL);
}
