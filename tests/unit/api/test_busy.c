/* What is said when there is no place: each dialect's status and words, and when to come back. */
#include "../test.h"

#include "sched/internal.h"
#include "world.h"

static const struct {
    const char *path, *body;
    int status;
    const char *words;
} asks[] = {
    {"/generate", "{\"prompt\": [5, 6]}", 429, "\"type\":\"busy\""},
    {"/v1/completions", "{\"prompt\": \"x\"}", 429, "\"error\":{\"message\":"},
    {"/v1/completions", "{\"prompt\": \"x\", \"stream\": true}", 429, "\"error\":{\"message\":"},
    {"/v1/chat/completions", "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", 429, "\"error\":{\"message\":"},
    {"/v1/responses", "{\"input\": \"x\"}", 429, "\"error\":{\"message\":"},
    {"/v1/embeddings", "{\"input\": \"x\"}", 429, "\"error\":{\"message\":"},
    {"/v1/messages", "{\"model\": \"plimsoll-tiny\", \"max_tokens\": 5, \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", 529,
     "\"type\":\"overloaded_error\""},
    {"/api/generate", "{\"model\": \"plimsoll-tiny\", \"prompt\": \"x\", \"stream\": false}", 429, "\"error\":\""},
    {"/api/chat", "{\"model\": \"plimsoll-tiny\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", 429, "\"error\":\""},
    {"/api/embed", "{\"model\": \"plimsoll-tiny\", \"input\": \"x\"}", 429, "\"error\":\""},
};

/* A stream that is never read: it keeps its place, in work or stalled. */
static sched_job *submit_lasting(world *w) {
    static const int32_t prompt[] = {5, 6};
    static sched_request r;
    err e = {0};
    r = (sched_request){.prompt = prompt, .n_prompt = 2, .max_tokens = 1900, .params = engine_kv_params(w->en)};
    engine_sampling_default(&r.sampling);
    r.sampling.ignore_end = r.sampling.logprobs = true, r.sampling.top_logprobs = 20;
    sched_job *j = sched_submit(w->sched, &r, &e);
    if (!j) fail_msg("%s", e.message);
    return j;
}

static void set_mean_job_ms(world *w, double ms) {
    plat_mutex_lock(&w->sched->lock);
    w->sched->mean_job_ms = ms;
    plat_mutex_unlock(&w->sched->lock);
}

static void expect_after(answer_text *a, const char *path, int status, const char *words, const char *after) {
    if (a->status != status || !strstr(a->body, words)) fail_msg("%s: %d %s", path, a->status, a->body);
    if (strcmp(header_of(a, "Retry-After"), after))
        fail_msg("%s: come back after %s s, not %s", path, header_of(a, "Retry-After"), after);
    free(a->body);
}

/* The one place is taken and the one place in the queue: two jobs of the mean length, and a second. */
static void each_dialect_says_when(void **state) {
    (void)state;
    static world w;
    static const struct {
        double mean_job_ms;
        const char *after;
    } rows[] = {{8000, "17"}, {100, "1"}, {1e6, "59"}};
    start(&w, (world_config){.n_context = 2048, .max_queue = 1});
    sched_job *running = submit_lasting(&w), *waiting = submit_lasting(&w);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        set_mean_job_ms(&w, rows[r].mean_job_ms);
        for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
            answer_text a = request(&w, "POST", asks[i].path, "", asks[i].body);
            expect_after(&a, asks[i].path, asks[i].status, asks[i].words, rows[r].after);
        }
    }
    /* what the listener refuses by itself says the same */
    set_mean_job_ms(&w, 8000);
    http_server_drain(w.http);
    answer_text a = request(&w, "POST", "/v1/messages", "", "{}");
    expect_after(&a, "/v1/messages", 503, "\"type\":\"error\"", "17");
    sched_job_release(w.sched, running), sched_job_release(w.sched, waiting);
    stop(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_dialect_says_when)};
    return cmocka_run_group_tests_name("api_busy", tests, NULL, NULL);
}
