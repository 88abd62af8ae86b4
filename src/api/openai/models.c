/* Which model is served, in OpenAI's words. */
#include "api/openai/openai.h"

enum { PAGE_BYTES = 4096 };

static void put_model(api *a, json_writer *w) {
    json_object_start(w);
    json_put_string(w, "id", str_of(api_model_name(a)));
    json_put_string(w, "object", STR("model"));
    json_put_uint(w, "created", a->ready_ms / 1000);
    json_put_string(w, "owned_by", STR("plimsoll"));
    json_object_end(w);
}

void openai_models(api *a, http_request *r) {
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    json_begin(&w, &body);
    json_object_start(&w);
    json_put_string(&w, "object", STR("list"));
    json_key(&w, "data");
    json_array_start(&w);
    put_model(a, &w);
    json_array_end(&w);
    json_object_end(&w);
    api_reply_json(r, 200, &body);
}

void openai_model(api *a, http_request *r, str name) {
    err e = {0};
    if (!api_check_model(a, name, &e)) {
        api_refuse(a, r, &openai_dialect, &e);
        return;
    }
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    json_begin(&w, &body);
    put_model(a, &w);
    api_reply_json(r, 200, &body);
}
