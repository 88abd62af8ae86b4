#include "api/core/doors.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

enum { NAME_BYTES = 256, HEADERS_PIECE_BYTES = 200, HEADERS_PIECES_MOST = 6 };

static bool same(str a, str b) { return a.len == b.len && !strncasecmp(a.data, b.data, a.len); }

static bool ends_with(str s, str end) {
    return s.len > end.len && same((str){s.data + s.len - end.len, end.len}, end);
}

/* Takes the first item off a list; false at its end. */
static bool next_item(const char **list, str *item) {
    if (!*list || !**list) return false;
    size_t n = strcspn(*list, ",");
    *item = (str){*list, n};
    *list += n + ((*list)[n] == ',');
    while (item->len && *item->data == ' ') item->data++, item->len--;
    while (item->len && item->data[item->len - 1] == ' ') item->len--;
    return true;
}

static bool holds_only(str s, const char *others) {
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && (!c || !strchr(others, c))) return false;
    }
    return true;
}

/* ---- names ---- */

/* "name:port", "[::1]:port" without the port, the brackets and a last dot. False when it is none of these. */
static bool read_host(str s, str *name) {
    const char *end = s.data + s.len;
    bool bracketed = s.len && *s.data == '[';
    const char *stop = memchr(s.data, bracketed ? ']' : ':', s.len);
    if (bracketed && !stop) return false;
    if (!stop) stop = end;
    *name = (str){s.data + bracketed, (size_t)(stop - s.data) - bracketed};
    str port = {stop + bracketed, (size_t)(end - stop) - bracketed};
    if (port.len && (*port.data != ':' || port.len > 6)) return false;
    for (size_t i = 1; i < port.len; i++)
        if (port.data[i] < '0' || port.data[i] > '9') return false;
    if (bracketed) return name->len && holds_only(*name, ":.%");
    if (name->len > 1 && name->data[name->len - 1] == '.') name->len--;
    return holds_only(*name, "-._");
}

static bool is_address(str name) {
    char text[64], address[16];
    const char *zone = memchr(name.data, '%', name.len);
    size_t len = zone ? (size_t)(zone - name.data) : name.len;
    if (len >= sizeof text) return false;
    memcpy(text, name.data, len);
    text[len] = 0;
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static bool is_loopback(str name) {
    bool v4 = is_address(name) && str_starts(name, STR("127."));
    return v4 || str_is(name, "::1") || same(name, STR("localhost")) || ends_with(name, STR(".localhost"));
}

static bool is_this_machine(str name) {
    char own[NAME_BYTES];
    if (gethostname(own, sizeof own)) return false;
    own[sizeof own - 1] = 0;
    return *own && same(name, str_of(own));
}

/* "*.example.com" and ".example.com" stand for all names below it. */
static bool is_allowed_host(const char *list, str name) {
    for (str item; next_item(&list, &item);) {
        if (str_is(item, "*") || same(item, name)) return true;
        if (str_starts(item, STR("*."))) item.data++, item.len--;
        if (item.len && *item.data == '.' && ends_with(name, item)) return true;
    }
    return false;
}

static bool may_be_host(const api_config *c, str name) {
    return !name.len || is_address(name) || is_loopback(name) || is_this_machine(name) ||
           (c->host && same(name, str_of(c->host))) || is_allowed_host(c->allowed_hosts, name);
}

/* ---- origins ---- */

/* One "*" within stands for whatever a host or a port may hold. */
static bool matches(str pattern, str origin) {
    const char *star = memchr(pattern.data, '*', pattern.len);
    if (!star) return same(pattern, origin);
    str before = {pattern.data, (size_t)(star - pattern.data)};
    str after = {star + 1, pattern.len - before.len - 1};
    if (origin.len <= before.len + after.len || strncasecmp(origin.data, before.data, before.len)) return false;
    str middle = {origin.data + before.len, origin.len - before.len - after.len};
    return same((str){middle.data + middle.len, after.len}, after) && holds_only(middle, "-._:");
}

static bool is_everyone(const char *list) {
    for (str item; next_item(&list, &item);)
        if (str_is(item, "*")) return true;
    return false;
}

static bool is_listed(const char *list, str origin) {
    if (is_everyone(list)) return true;
    for (str item; next_item(&list, &item);)
        if (matches(item, origin)) return true;
    return false;
}

/* Of this server, or of another on this machine. */
static bool is_own(const http_request *r, str origin) {
    str host, authority = origin;
    size_t scheme = str_starts(origin, STR("http://")) ? 7 : str_starts(origin, STR("https://")) ? 8 : 0;
    authority.data += scheme, authority.len -= scheme;
    return scheme && read_host(authority, &host) &&
           (same(authority, http_host(r)) || is_loopback(host));
}

static bool may_be_origin(const api_config *c, const http_request *r, str origin) {
    return is_own(r, origin) || is_listed(c->cors_origins, origin);
}

static bool changes_something(str method) {
    return !str_is(method, "GET") && !str_is(method, "HEAD") && !str_is(method, "OPTIONS");
}

bool doors_is_preflight(const http_request *r) {
    return str_is(http_method(r), "OPTIONS") && http_header(r, "Origin").len &&
           http_header(r, "Access-Control-Request-Method").len;
}

/* ---- what is said ---- */

static const char *shown(str s, char out[96]) {
    snprintf(out, 96, "%.*s", (int)(s.len < 95 ? s.len : 95), s.data);
    str_make_printable(out);
    return out;
}

const http_refusal *doors_refuse(const api_config *c, const http_request *r) {
    static const http_refusal malformed = {.status = 400, .code = "malformed_request",
                                           .message = "the header Host is neither a name nor an address"};
    static _Thread_local char words[400];
    static _Thread_local http_refusal why;
    char text[96];
    str name, origin = http_header(r, "Origin");
    bool matters = changes_something(http_method(r)) || doors_is_preflight(r);
    if (!read_host(http_host(r), &name)) return &malformed;
    if (!may_be_host(c, name)) {
        why = (http_refusal){.status = 403, .code = "host_not_allowed", .message = words};
        snprintf(words, sizeof words, "this server does not answer to the name '%s'; it would with --allowed-host %s",
                 shown(name, text), text);
    } else if (matters && origin.len && !may_be_origin(c, r, origin)) {
        why = (http_refusal){.status = 403, .code = "origin_not_allowed", .message = words};
        snprintf(words, sizeof words, "pages of '%s' may not use this server; they may with --cors-origin %s",
                 shown(origin, text), text);
    } else if (matters && !origin.len && str_is(http_header(r, "Sec-Fetch-Site"), "cross-site") &&
               !is_everyone(c->cors_origins)) {
        why = (http_refusal){
            .status = 403,
            .code = "origin_not_allowed",
            .message = "pages of other sites may not use this server; --cors-origin names those that may"};
    } else {
        return NULL;
    }
    return &why;
}

static void put(http_field *f, const char *name, str value) {
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->value, sizeof f->value, "%.*s", (int)(value.len < sizeof f->value ? value.len : 0), value.data);
}

/* The headers that were asked for, in as many fields as they need; what is no list of names is left out. */
static uint32_t put_headers(str asked, http_field *out) {
    uint32_t n = 0;
    if (!holds_only(asked, "-_, ")) return 0;
    while (asked.len && n < HEADERS_PIECES_MOST) {
        size_t len = asked.len;
        if (len > HEADERS_PIECE_BYTES) {
            const char *comma = memrchr(asked.data, ',', HEADERS_PIECE_BYTES);
            if (!comma) break;
            len = (size_t)(comma - asked.data);
        }
        put(&out[n++], "Access-Control-Allow-Headers", (str){asked.data, len});
        size_t skip = len < asked.len ? len + 1 : len;
        asked.data += skip, asked.len -= skip;
    }
    return n;
}

static uint32_t put_preflight(const http_request *r, const char *methods, http_field *out) {
    uint32_t n = 0;
    put(&out[n++], "Access-Control-Allow-Methods", *methods ? str_of(methods) : STR("GET, POST, DELETE"));
    put(&out[n++], "Access-Control-Max-Age", STR("86400"));
    if (str_is(http_header(r, "Access-Control-Request-Private-Network"), "true"))
        put(&out[n++], "Access-Control-Allow-Private-Network", STR("true"));
    return n + put_headers(http_header(r, "Access-Control-Request-Headers"), out + n);
}

uint32_t doors_fields(const api_config *c, const http_request *r, const char *methods,
                      http_field out[HTTP_EXTRA_FIELDS]) {
    str origin = http_header(r, "Origin");
    bool everyone = is_everyone(c->cors_origins);
    uint32_t n = 0;
    if (!everyone && (origin.len || c->cors_origins)) put(&out[n++], "Vary", STR("Origin"));
    if (!origin.len || origin.len >= sizeof out->value || !may_be_origin(c, r, origin)) return n;
    put(&out[n++], "Access-Control-Allow-Origin", everyone ? STR("*") : origin);
    if (doors_is_preflight(r)) return n + put_preflight(r, methods, out + n);
    put(&out[n++], "Access-Control-Expose-Headers", /* the star: whatever else there may be, but not all take it */
        STR("x-request-id, request-id, Retry-After, X-Memory-Status, X-Memory-Available-Bytes, "
            "X-Memory-Required-Bytes, X-Plimsoll-Ignored, *"));
    return n;
}

/* ---- the lists ---- */

static bool is_origin(str item) {
    if (str_is(item, "*") || str_is(item, "null")) return true;
    const char *colon = memmem(item.data, item.len, "://", 3);
    if (!colon || colon == item.data) return false;
    str scheme = {item.data, (size_t)(colon - item.data)}, rest = {colon + 3, item.len - scheme.len - 3};
    return rest.len && holds_only(scheme, "-+.") && holds_only(rest, "-._:[]*");
}

bool doors_check(const api_config *c, err *e) {
    const char *hosts = c->allowed_hosts, *origins = c->cors_origins;
    char text[96];
    for (str item; next_item(&hosts, &item);)
        if (!item.len || !holds_only(item, "-._*"))
            return err_set(e, ERR_USAGE, "--allowed-host holds '%s'; it takes names without scheme, port or path "
                           "(plimsoll.example.com, *.example.com, or * for every name)", shown(item, text));
    for (str item; next_item(&origins, &item);)
        if (!is_origin(item))
            return err_set(e, ERR_USAGE, "--cors-origin holds '%s'; it takes origins as browsers send them "
                           "(https://chat.example.com, http://10.0.0.5:3000), or * for all", shown(item, text));
    return true;
}
