/* API keys: who may ask, and whose request it is. */
#include <string.h>
#include <strings.h>

#include "api/core/core.h"

/* Takes the first key off the list. */
static str next_key(const char **list) {
    size_t n = strcspn(*list, ",");
    str key = {*list, n};
    *list += n + ((*list)[n] == ',');
    return key;
}

uint32_t api_count_keys(const char *keys) {
    uint32_t n = 0;
    while (keys && *keys) next_key(&keys), n++;
    return n;
}

/* How long it takes depends on `given` alone. */
static bool same(str given, str key) {
    unsigned differ = given.len != key.len || key.len == 0;
    for (size_t i = 0; i < given.len && key.len; i++)
        differ |= (unsigned)(given.data[i] ^ key.data[i % key.len]);
    return differ == 0;
}

int api_find_key(const char *keys, str given) {
    int found = -1;
    for (int i = 0; keys && *keys; i++) {
        str key = next_key(&keys);
        found = same(given, key) ? i : found;
    }
    return found;
}

/* Authorization: Bearer KEY, else x-api-key: KEY. */
static str key_of(const http_request *r) {
    str s = http_header(r, "Authorization");
    if (s.len <= 7 || strncasecmp(s.data, "Bearer ", 7) != 0) return http_header(r, "x-api-key");
    s.data += 7, s.len -= 7;
    while (s.len && *s.data == ' ') s.data++, s.len--;
    while (s.len && s.data[s.len - 1] == ' ') s.len--;
    return s;
}

int api_find_caller(const api *a, const http_request *r) {
    return a->config.keys ? api_find_key(a->config.keys, key_of(r)) : 0;
}

const http_refusal *api_refuse_key(const http_request *r) {
    static const http_refusal missing = {401, "invalid_api_key",
                                         "this server asks for an API key: Authorization: Bearer KEY, or "
                                         "x-api-key: KEY",
                                         {"WWW-Authenticate", "Bearer"}},
                              unknown = {401, "invalid_api_key", "this API key is not known here",
                                         {"WWW-Authenticate", "Bearer"}};
    return key_of(r).len ? &unknown : &missing;
}

uint64_t api_tenant_salt(const api *a) {
    const char *keys = a->config.keys;
    str key = STR("");
    if (!keys) return 0;
    for (uint32_t i = 0; i <= a->tenant; i++) key = next_key(&keys);
    return str_hash(key);
}
