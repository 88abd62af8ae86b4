/* The table of figures: names, units and help as an exporter needs them, a value for each of an empty and of a loaded
 * snapshot, and places that lead back to their rows. */
#include "../test.h"

#include <ctype.h>

#include "api/core/metrics.h"
#include "world.h"

static bool ends_in(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

static bool is_legal(const char *name) {
    for (const char *c = name; *c; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_') return false;
    return islower((unsigned char)*name) && !strstr(name, "__") && !ends_in(name, "_");
}

static bool is_sentence(const char *help) {
    const char *stop = strchr(help, '.');
    while (stop && stop[1] && stop[1] != ' ') stop = strchr(stop + 1, '.'); /* jobs.parked */
    return isupper((unsigned char)*help) && stop && !stop[1] && !strchr(help, '\n');
}

static void each_name_says_unit_and_kind(void **state) {
    (void)state;
    int n = 0;
    for (metric_place p = {0}; metrics_next(&p);) {
        const metric *m = p.metric;
        if (!is_sentence(m->help)) fail_msg("%s: \"%s\" is no sentence", m->key, m->help);
        if (p.label || !m->name) continue;
        n++;
        if (!is_legal(m->name)) fail_msg("%s is no name", m->name);
        if ((m->kind == METRIC_COUNTER) != ends_in(m->name, "_total")) fail_msg("%s: _total is for counters", m->name);
        if (m->unit == METRIC_BYTES && !ends_in(m->name, "_bytes")) fail_msg("%s counts bytes", m->name);
        if (m->unit == METRIC_RATIO && !ends_in(m->name, "_ratio")) fail_msg("%s is a ratio", m->name);
        if (m->unit == METRIC_MILLISECONDS && !ends_in(m->name, "_seconds")) fail_msg("%s is a time", m->name);
        if (m->kind == METRIC_STATE && m->unit != METRIC_COUNT) fail_msg("%s: a state has no unit", m->name);
        if ((m->form == METRIC_COMPUTED) != (m->read != NULL)) fail_msg("%s has no reader, or one too many", m->name);
        for (metric_place q = {0}; metrics_next(&q);)
            if (q.metric != m && q.metric->name && !strcmp(q.metric->name, m->name)) fail_msg("%s twice", m->name);
    }
    assert_true(n > 80);
}

static void check_value(const metric_place *p, metric_value v) {
    const metric *m = p->metric;
    bool may_be_none = m->form == METRIC_LIMIT || m->form == METRIC_TEXT || m->form == METRIC_COMPUTED;
    if (v.form == METRIC_NONE ? !may_be_none : v.form == METRIC_U32 || v.form == METRIC_I32 || v.form > METRIC_TEXT)
        fail_msg("%s gives no value", m->key);
    bool is_state = v.form == METRIC_BOOL || v.form == METRIC_TEXT;
    if (v.form != METRIC_NONE && is_state != (m->kind == METRIC_STATE)) fail_msg("%s: a state, or none?", m->key);
    if (v.form == METRIC_DOUBLE && !(v.number >= 0)) fail_msg("%s is %g", m->key, v.number);
}

static const metric *named(const char *name, metric_place *p) {
    for (*p = (metric_place){0}; metrics_next(p);)
        if (p->metric->name && !strcmp(p->metric->name, name)) return p->metric;
    fail_msg("no %s", name);
    return NULL;
}

static uint64_t u64_of(const char *name, const metrics_snapshot *s) {
    metric_place p;
    (void)named(name, &p);
    metric_value v = metrics_read(&p, s);
    assert_int_equal(v.form, METRIC_U64);
    return v.u64;
}

static void an_empty_snapshot_has_values(void **state) {
    (void)state;
    static const metrics_snapshot empty;
    for (metric_place p = {0}; metrics_next(&p);) check_value(&p, metrics_read(&p, &empty));
    metric_place p;
    (void)named("kv_pool_used_bytes", &p);
    assert_int_equal(metrics_presence(&p, &empty), METRIC_ABSENT);
    (void)named("memory_level_changes_total", &p);
    assert_int_equal(metrics_presence(&p, &empty), METRIC_NULL);
    (void)named("memory_line_bound", &p);
    assert_int_equal(metrics_presence(&p, &empty), METRIC_ABSENT);
}

static void a_loaded_one_agrees_with_its_parts(void **state) {
    (void)state;
    static world w;
    static metrics_snapshot s;
    start(&w, (world_config){.entries = 10});
    for (int i = 0; i < 2; i++) {
        answer_text a = request(&w, "POST", "/generate", "", "{\"prompt\": [5, 6], \"max_tokens\": 40, \"ignore_eos\": true}");
        assert_int_equal(a.status, 200);
        free(a.body);
    }
    assert_true(sched_wait_idle(w.sched, 20000));
    metrics_take(w.api, METRICS_ALL, &s);
    assert_true(s.serving);
    for (metric_place p = {0}; metrics_next(&p);) check_value(&p, metrics_read(&p, &s));
    assert_int_equal(u64_of("jobs_finished_total", &s), 2);
    assert_int_equal(u64_of("prompt_tokens_total", &s), 4);
    assert_int_equal(u64_of("cache_entries", &s), s.at.kv.entries);
    assert_int_equal(u64_of("cache_bytes", &s), s.at.kv.pool.evictable_bytes + s.at.kv.pinned_bytes);
    assert_true(u64_of("kv_pool_tokens", &s) > 0 && u64_of("engine_steps_total", &s) > 0);
    int n = 0;
    for (metric_place p = {0}; metrics_next(&p);) { /* each account's row reads that account */
        if (!p.of->label || strcmp(p.metric->key, "now_bytes")) continue;
        assert_true(metrics_read(&p, &s).u64 == s.books.ledger.rows[n++].now_bytes);
    }
    assert_int_equal(n, MEM_ACCOUNT_COUNT);
    stop(&w);
}

static void places_lead_to_their_rows(void **state) {
    (void)state;
    int n = 0;
    for (metric_place p = {0}; metrics_next(&p); n++) {
        char path[128];
        str label;
        const char *name = p.of->label ? p.of->label_at(p.label) : "";
        snprintf(path, sizeof path, "%s%s%s%s%s%s%s", p.page, *p.page ? "." : "", p.of->path, *p.of->path ? "." : "",
                 name, *name ? "." : "", p.metric->key);
        if (metrics_at(str_of(path), &label) != p.metric || !str_is(label, name)) fail_msg("%s leads elsewhere", path);
    }
    assert_true(n > 100);
    static const char *const nowhere[] = {"", ".", "books", "books.", "books.accounts", "books.accounts.kv",
                                          "books.accounts.now_bytes", "cache.entries.x", "kv_pool.", "line_bytes"};
    str label;
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
        if (metrics_at(str_of(nowhere[i]), &label)) fail_msg("\"%s\" leads to a row", nowhere[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_name_says_unit_and_kind),      cmocka_unit_test(an_empty_snapshot_has_values),
        cmocka_unit_test(a_loaded_one_agrees_with_its_parts), cmocka_unit_test(places_lead_to_their_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
