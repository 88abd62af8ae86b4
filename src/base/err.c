#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* Messages quote files and requests, and reach logs and terminals: one line, whatever was quoted. */
__attribute__((format(printf, 2, 0))) static void word(err *e, const char *format, va_list args) {
    vsnprintf(e->message, sizeof e->message, format, args);
    str_make_printable(e->message);
}

bool err_set(err *e, err_code code, const char *format, ...) {
    if (!e) return false;
    e->code = code;
    e->need_bytes = e->have_bytes = 0;
    e->need_tokens = e->have_tokens = 0;
    va_list args;
    va_start(args, format);
    word(e, format, args);
    va_end(args);
    return false;
}

bool err_set_memory(err *e, uint64_t need_bytes, uint64_t have_bytes, const char *format, ...) {
    if (!e) return false;
    e->code = ERR_MEMORY;
    e->need_bytes = need_bytes;
    e->have_bytes = have_bytes;
    e->need_tokens = e->have_tokens = 0;
    va_list args;
    va_start(args, format);
    word(e, format, args);
    va_end(args);
    return false;
}

bool err_set_tokens(err *e, uint64_t need_tokens, uint32_t have_tokens) {
    if (!e) return false;
    err_set(e, ERR_TOO_LARGE, "prompt is too long: %llu tokens > %u maximum", (unsigned long long)need_tokens,
            have_tokens);
    e->need_tokens = need_tokens < UINT32_MAX ? (uint32_t)need_tokens : UINT32_MAX;
    e->have_tokens = have_tokens;
    return false;
}

bool err_prefix(err *e, const char *format, ...) {
    if (!e) return false;
    char prefixed[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(prefixed, sizeof prefixed, format, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof prefixed ? (size_t)n : sizeof prefixed - 1;
    snprintf(prefixed + used, sizeof prefixed - used, "%.*s", (int)(sizeof prefixed - used - 1), e->message);
    memcpy(e->message, prefixed, sizeof prefixed);
    str_make_printable(e->message);
    return false;
}

const char *err_code_name(err_code code) {
    switch (code) {
    case ERR_NONE: return "none";
    case ERR_USAGE: return "usage";
    case ERR_INVALID: return "invalid";
    case ERR_FORMAT: return "format";
    case ERR_UNSUPPORTED: return "unsupported";
    case ERR_NOT_FOUND: return "not_found";
    case ERR_IO: return "io";
    case ERR_MEMORY: return "memory";
    case ERR_TOO_LARGE: return "too_large";
    case ERR_BUSY: return "busy";
    case ERR_CANCELLED: return "cancelled";
    }
    return "unknown";
}
