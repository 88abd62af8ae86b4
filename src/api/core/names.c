/* The names that the model answers to. */
#include <stdio.h>

#include "api/core/core.h"

enum { NAME_BYTES = 256 };

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
