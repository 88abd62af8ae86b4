/* Which model is served, in Anthropic's words. */
#include "api/anthropic/anthropic.h"
#include "base/clock.h"

enum { PAGE_BYTES = 4096 };

static void put_model(api *a, json_writer *w) {
    char stamp[CLOCK_STAMP_BYTES];
    json_object_start(w);
    json_put_string(w, "id", str_of(api_model_name(a)));
    json_put_string(w, "type", STR("model"));
    json_put_string(w, "display_name", str_of(engine_model_name(a->en)));
    json_put_string(w, "created_at", str_of(clock_stamp(a->ready_ms, stamp)));
    json_object_end(w);
}

void anthropic_models(api *a, http_request *r) {
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    json_begin(&w, &body);
    json_object_start(&w);
    json_key(&w, "data");
    json_array_start(&w);
    put_model(a, &w);
    json_array_end(&w);
    json_put_bool(&w, "has_more", false);
    json_put_string(&w, "first_id", str_of(api_model_name(a)));
    json_put_string(&w, "last_id", str_of(api_model_name(a)));
    json_object_end(&w);
    api_reply_json(r, 200, &body);
}

void anthropic_model(api *a, http_request *r, str name) {
    err e = {0};
    if (!api_check_model(a, name, &e)) {
        api_refuse(a, r, &anthropic_dialect, &e);
        return;
    }
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    json_begin(&w, &body);
    put_model(a, &w);
    api_reply_json(r, 200, &body);
}
