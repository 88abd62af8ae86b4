#include "base/metric.h"

const char *metric_kind_name(metric_kind k) {
    static const char *const names[] = {"counter", "gauge", "state"};
    return names[k];
}

const char *metric_unit_name(metric_unit u) {
    static const char *const names[] = {"", "bytes", "tokens", "pages", "requests", "milliseconds", "ratio"};
    return names[u];
}

static metric_value of_u64(uint64_t v) { return (metric_value){.form = METRIC_U64, .u64 = v}; }
static metric_value of_i64(int64_t v) { return (metric_value){.form = METRIC_I64, .i64 = v}; }

metric_value metric_read(const metric *m, const void *snapshot) {
    const void *at = (const char *)snapshot + m->at;
    metric_value none = {.form = METRIC_NONE};
    switch (m->form) {
    case METRIC_NONE: return none;
    case METRIC_U32: return of_u64(*(const uint32_t *)at);
    case METRIC_U64: return of_u64(*(const uint64_t *)at);
    case METRIC_LIMIT: return *(const uint64_t *)at == UINT64_MAX ? none : of_u64(*(const uint64_t *)at);
    case METRIC_I32: return of_i64(*(const int32_t *)at);
    case METRIC_I64: return of_i64(*(const int64_t *)at);
    case METRIC_DOUBLE: return (metric_value){.form = METRIC_DOUBLE, .number = *(const double *)at};
    case METRIC_BOOL: return (metric_value){.form = METRIC_BOOL, .yes = *(const bool *)at};
    case METRIC_TEXT: {
        const char *text = *(const char *const *)at;
        return text ? (metric_value){.form = METRIC_TEXT, .text = text} : none;
    }
    case METRIC_COMPUTED: return m->read(snapshot);
    }
    return none;
}

void metric_json(const metric *m, const void *snapshot, json_writer *w) {
    metric_value v = metric_read(m, snapshot);
    switch (v.form) {
    case METRIC_U64: json_uint(w, v.u64); break;
    case METRIC_I64: json_int(w, v.i64); break;
    case METRIC_DOUBLE: json_fixed(w, v.number, m->decimals); break;
    case METRIC_BOOL: json_bool(w, v.yes); break;
    case METRIC_TEXT: json_string(w, str_of(v.text)); break;
    default: json_null(w);
    }
}

static void put_rows(const metric_section *s, const void *snapshot, json_writer *w) {
    for (uint32_t i = 0; i < s->n; i++) {
        json_key(w, s->rows[i].key);
        metric_json(&s->rows[i], snapshot, w);
    }
}

static metric_presence presence_of(const metric_section *s, const void *snapshot) {
    return s->presence ? s->presence(snapshot) : METRIC_SHOWN;
}

static void put_members(const metric_section *s, const void *snapshot, json_writer *w) {
    if (!s->label) {
        put_rows(s, snapshot, w);
        return;
    }
    for (uint32_t i = 0; i < s->n_labels; i++) {
        json_key(w, s->label_at(i));
        json_object_start(w);
        put_rows(s, (const char *)snapshot + i * s->stride, w);
        json_object_end(w);
    }
}

void metric_section_json(const metric_section *s, const void *snapshot, json_writer *w) {
    if (presence_of(s, snapshot) != METRIC_SHOWN) {
        json_null(w);
        return;
    }
    json_object_start(w);
    put_members(s, snapshot, w);
    json_object_end(w);
}

void metric_table_json(const metric_table *t, const void *snapshot, json_writer *w) {
    for (uint32_t i = 0; i < t->n; i++) {
        const metric_section *s = &t->sections[i];
        metric_presence presence = presence_of(s, snapshot);
        if (presence == METRIC_ABSENT) continue;
        if (!*s->path) {
            put_members(s, snapshot, w);
            continue;
        }
        json_key(w, s->path);
        metric_section_json(s, snapshot, w);
    }
}
