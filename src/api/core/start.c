/* Start and stop. */
#include <stdio.h>
#include <string.h>

#include "api/core/chat.h"
#include "api/core/doors.h"
#include "base/check.h"
#include "base/clock.h"
#include "plat/vm.h"

static api *layout(const api_config *c, mem_arena *a, answer **answers, report_timeline **timeline) {
    api *self = mem_arena_take(a, sizeof *self, 64);
    *timeline = report_timeline_lay_out(a);
    *answers = mem_arena_take(a, c->max_active * sizeof **answers, 64);
    char *pending = mem_arena_take(a, (size_t)c->max_active * ANSWER_PENDING_BYTES, 64);
    for (uint32_t i = 0; *answers && i < c->max_active; i++)
        (*answers)[i] = (answer){.record_bytes = pending + (size_t)i * ANSWER_PENDING_BYTES};
    return self;
}

bool api_check(const api_config *c, err *e) { return doors_check(c, e); }

size_t api_plan_bytes(const api_config *c) {
    mem_arena a;
    answer *answers;
    report_timeline *timeline;
    mem_arena_measure(&a);
    layout(c, &a, &answers, &timeline);
    return plat_vm_round(a.used);
}

api *api_start(const api_config *c, mem_ledger *l, err *e) {
    mem_arena arena = {0};
    if (!api_check(c, e) || !mem_arena_init(&arena, l, MEM_HTTP, api_plan_bytes(c), false, e)) return NULL;
    answer *answers;
    report_timeline *timeline;
    api *a = layout(c, &arena, &answers, &timeline);
    *a = (api){.config = *c, .ledger = l, .arena = arena, .answers = answers, .timeline = timeline};
    if (!sampler_read_debug_leak(a, e)) return mem_arena_free(&arena), NULL;
    report_timeline_init(timeline);
    mem_heap_init(&a->heap, l, MEM_QUEUE);
    for (uint32_t i = 0; i < c->max_active; i++) {
        pthread_mutex_init(&answers[i].lock, NULL);
        answers[i].a = a;
    }
    return a;
}

/* The same as long as a seed gives the same answer: of the version, the model and what it is asked with. */
static void make_fingerprint(api *a) {
    const uint64_t *content = engine_about_file(a->en)->identity;
    char text[256];
    snprintf(text, sizeof text, "%s %016llx%016llx %016llx %d %u %u", PLIMSOLL_VERSION, (unsigned long long)content[0],
             (unsigned long long)content[1], (unsigned long long)str_hash(engine_chat_template(a->en)),
             (int)engine_kv_params(a->en).type, a->config.window, a->config.keep);
    snprintf(a->fingerprint, sizeof a->fingerprint, "fp_%010llx", (unsigned long long)(str_hash(str_of(text)) >> 24));
}

bool api_ready(api *a, engine *en, sched *s, http_server *http, err *e) {
    a->tokens = mem_heap_take(&a->heap, engine_context(en) * sizeof *a->tokens, e);
    if (!a->tokens) return false;
    memset(a->tokens, 0, engine_context(en) * sizeof *a->tokens); /* present now, as the ledger says */
    a->en = en;
    a->sched = s;
    a->http = http;
    a->ready_ms = clock_wall_ms();
    make_fingerprint(a);
    if (!chat_model_begin(a, e) || !watchdog_start(a, e)) return false;
    api_log_notes(a);
    atomic_store(&a->state, API_READY);
    return true;
}

void api_draining(api *a) { atomic_store(&a->state, API_DRAINING); }

void api_unwatch(api *a) {
    if (a) watchdog_stop(a);
}

void api_stop(api *a) {
    if (!a) return;
    watchdog_stop(a);
    text_scratch_free(a->scratch);
    text_template_free(a->model.own);
    if (a->tokens) mem_heap_give(&a->heap, a->tokens, engine_context(a->en) * sizeof *a->tokens);
    CHECK(mem_heap_bytes(&a->heap) == 0);
    for (uint32_t i = 0; i < a->config.max_active; i++) CHECK(!a->answers[i].in_use);
    report_timeline_free(a->timeline);
    mem_arena arena = a->arena;
    mem_arena_free(&arena);
}

void api_begin_wording(api *a, const http_request *r) {
    plat_pulse_attach(&a->wording);
    plat_pulse_begin("wording", http_request_id(r), 0);
}
