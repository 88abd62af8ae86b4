/* Which model is served: OpenAI's list and Anthropic's share a path; who sends anthropic-version gets the
 * latter. */
#include <stdio.h>

#include "api/internal.h"
#include "base/clock.h"

enum { PAGE_BYTES = 4096, NAME_BYTES = 256 };

/* Takes the first name off the list that --alias may be. */
static str next_name(const char **list) {
    size_t n = strcspn(*list, ",");
    str name = {*list, n};
    *list += n + ((*list)[n] == ',');
    return name;
}

/* The i-th name that the model answers to: its own, what its file is called, what --alias says. False behind the
 * last. */
static bool name_at(const api *a, uint32_t i, str *name) {
    const char *list = a->config.model_alias;
    if (i == 0) return *name = str_of(engine_model_name(a->en)), true;
    if (i == 1) return *name = engine_model_stem(a->en), true;
    for (*name = STR(""); list && *list && i > 1; i--) *name = next_name(&list);
    return i == 1;
}

static bool serves(const api *a, str name) {
    str known;
    for (uint32_t i = 0; name_at(a, i, &known); i++)
        if (known.len && str_eq(name, known)) return true;
    return a->config.any_model;
}

static bool no_such_model(const api *a, str name, err *e) {
    char names[NAME_BYTES] = "";
    size_t n = 0;
    str known, own = str_of(engine_model_name(a->en));
    for (uint32_t i = 0; name_at(a, i, &known) && n < sizeof names; i++)
        if (known.len && (i == 0 || !str_eq(known, own)))
            n += (size_t)snprintf(names + n, sizeof names - n, "%s'%.*s'", n ? ", " : "", STR_ARG(known));
    return err_set(e, ERR_NOT_FOUND, "model '%.*s' not found; this server has %s", (int)(name.len < 64 ? name.len : 64),
                   name.data, names);
}

const char *api_model_name(const api *a) {
    static _Thread_local char name[NAME_BYTES];
    const char *list = a->config.model_alias;
    if (!list) return a->en ? engine_model_name(a->en) : "";
    str first = next_name(&list);
    snprintf(name, sizeof name, "%.*s", STR_ARG(first));
    return name;
}

bool api_check_model(const api *a, str name, err *e) {
    str latest = STR(":latest"), plain = name;
    if (name.len > latest.len && !memcmp(name.data + name.len - latest.len, latest.data, latest.len))
        plain.len -= latest.len;
    if (!name.len || serves(a, name) || serves(a, plain)) return true;
    return no_such_model(a, name, e);
}

static bool is_anthropic(const http_request *r) { return http_header(r, "anthropic-version").len > 0; }

static void put_model(api *a, const http_request *r, json_writer *w) {
    char stamp[CLOCK_STAMP_BYTES];
    json_object_start(w);
    json_put_string(w, "id", str_of(api_model_name(a)));
    if (is_anthropic(r)) {
        json_put_string(w, "type", STR("model"));
        json_put_string(w, "display_name", str_of(engine_model_name(a->en)));
        json_put_string(w, "created_at", str_of(clock_stamp(a->ready_ms, stamp)));
    } else {
        json_put_string(w, "object", STR("model"));
        json_put_uint(w, "created", a->ready_ms / 1000);
        json_put_string(w, "owned_by", STR("plimsoll"));
    }
    json_object_end(w);
}

void models_list(api *a, http_request *r) {
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    json_begin(&w, &body);
    json_object_start(&w);
    if (!is_anthropic(r)) json_put_string(&w, "object", STR("list"));
    json_key(&w, "data");
    json_array_start(&w);
    put_model(a, r, &w);
    json_array_end(&w);
    if (is_anthropic(r)) {
        json_put_bool(&w, "has_more", false);
        json_put_string(&w, "first_id", str_of(api_model_name(a)));
        json_put_string(&w, "last_id", str_of(api_model_name(a)));
    }
    json_object_end(&w);
    api_reply_json(r, 200, &body);
}

/* /v1/models/ID, /models/ID: names may hold slashes. */
void models_one(api *a, http_request *r) {
    str path = http_path(r), prefix = str_starts(path, STR("/v1")) ? STR("/v1/models/") : STR("/models/");
    str name = {path.data + prefix.len, path.len - prefix.len};
    err e = {0};
    if (!api_check_model(a, name, &e)) {
        api_refuse_by_path(a, r, &e);
        return;
    }
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    json_begin(&w, &body);
    put_model(a, r, &w);
    api_reply_json(r, 200, &body);
}
