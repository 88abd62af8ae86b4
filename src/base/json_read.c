#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <yajl/yajl_parse.h>

#include "base/check.h"

#define NO_MEMORY "there is no memory left to read JSON with; try again when other requests have ended"

/* A literal of more digits says nothing that a double could hold. */
enum { NUMBER_LIMIT_BYTES = 512, ROOM_BYTES = 1024 };

/* yajl gives no old size when it frees or grows a block, and never looks whether it got one. So each
 * block carries its size and hangs on a list: a refusal leaves yajl by longjmp, the reader is dead from
 * then on, and json_reader_free walks the list instead of asking yajl. Its small blocks lie in the reader
 * itself: what is left to ask for is the one buffer in which texts are unescaped, so that readers within
 * readers give back to an arena all that they took. */
typedef struct block {
    struct block *prev, *next;
    size_t bytes; /* header included */
    size_t unused;
} block;
_Static_assert(sizeof(block) % 16 == 0, "what follows the header stays aligned");

typedef enum surrogate_state { TEXT, ESCAPE, HEX, NEED_ESCAPE, NEED_U } surrogate_state;

/* yajl turns lone surrogates into '?', so they are looked for in the raw text. No need to know what
 * is a string: outside of one, a backslash is an error anyway. */
typedef struct surrogate_scan {
    surrogate_state state;
    bool need_low; /* a high surrogate stands before */
    int digits;
    uint32_t unit;
} surrogate_scan;

struct json_reader {
    const base_alloc *alloc;
    block *blocks;
    size_t block_limit_bytes, room_used;
    _Alignas(16) char room[ROOM_BYTES];
    jmp_buf refused;
    const char *refused_why;
    err_code refused_code;

    yajl_handle yajl;
    yajl_callbacks calls;
    const int *text_depth; /* texts and keys further in are not wanted; NULL: all are */
    surrogate_scan scan;
    json_on_event *on_event;
    void *ctx;
    size_t string_limit_bytes;
    int depth; /* containers open */
    uint64_t fed_bytes; /* before the current feed */
    err *e;             /* of the current feed */
    bool dead;          /* after an error nothing more is read */
    bool refused_by_consumer;
};

/* ---- memory for yajl ---- */

_Noreturn static void refuse(json_reader *r, err_code code, const char *why) {
    r->refused_code = code;
    r->refused_why = why;
    longjmp(r->refused, 1);
}

static void relink(json_reader *r, block *b) {
    if (b->prev) b->prev->next = b;
    else r->blocks = b;
    if (b->next) b->next->prev = b;
}

static void *yajl_take(void *ctx, size_t bytes) {
    json_reader *r = ctx;
    if (bytes > r->block_limit_bytes) refuse(r, ERR_TOO_LARGE, "string too long");
    size_t whole = sizeof(block) + ((bytes + 15) & ~(size_t)15);
    if (bytes < ROOM_BYTES && whole <= ROOM_BYTES - r->room_used) {
        block *inside = (block *)(void *)(r->room + r->room_used);
        r->room_used += whole;
        *inside = (block){.bytes = sizeof *inside + bytes};
        return inside + 1;
    }
    block *b = alloc_bytes(r->alloc, sizeof *b + bytes);
    if (!b) refuse(r, ERR_MEMORY, NO_MEMORY);
    *b = (block){.next = r->blocks, .bytes = sizeof *b + bytes};
    relink(r, b);
    return b + 1;
}

static bool is_inside(const json_reader *r, const void *p) {
    return (const char *)p >= r->room && (const char *)p < r->room + ROOM_BYTES;
}

static void *yajl_grow(void *ctx, void *p, size_t bytes) {
    json_reader *r = ctx;
    if (!p) return yajl_take(ctx, bytes);
    if (bytes > r->block_limit_bytes) refuse(r, ERR_TOO_LARGE, "string too long");
    block *b = (block *)p - 1;
    if (is_inside(r, p)) {
        size_t old = b->bytes - sizeof *b;
        return memcpy(yajl_take(ctx, bytes), p, old < bytes ? old : bytes);
    }
    block *grown = r->alloc->resize(r->alloc->ctx, b, b->bytes, sizeof *b + bytes);
    if (!grown) refuse(r, ERR_MEMORY, NO_MEMORY);
    grown->bytes = sizeof *b + bytes;
    relink(r, grown);
    return grown + 1;
}

static void yajl_give(void *ctx, void *p) {
    json_reader *r = ctx;
    if (!p || is_inside(r, p)) return;
    block *b = (block *)p - 1;
    if (b->prev) b->prev->next = b->next;
    else r->blocks = b->next;
    if (b->next) b->next->prev = b->prev;
    alloc_free(r->alloc, b, b->bytes);
}

/* ---- events ---- */

static int emit(json_reader *r, const json_event *said) {
    json_event event = *said;
    event.end = r->fed_bytes + yajl_get_bytes_consumed(r->yajl);
    bool goes_on = r->on_event(r->ctx, &event, r->e);
    r->refused_by_consumer = !goes_on;
    return goes_on;
}

static int on_null(void *ctx) {
    json_reader *r = ctx;
    return emit(r, &(json_event){.kind = JSON_NULL, .depth = r->depth});
}

static int on_boolean(void *ctx, int value) {
    json_reader *r = ctx;
    return emit(r, &(json_event){.kind = JSON_BOOL, .depth = r->depth, .boolean = value != 0});
}

static int on_number(void *ctx, const char *text, size_t len) {
    json_reader *r = ctx;
    char literal[NUMBER_LIMIT_BYTES + 1];
    if (len > NUMBER_LIMIT_BYTES)
        return err_set(r->e, ERR_INVALID, "number of more than %d characters", NUMBER_LIMIT_BYTES);
    memcpy(literal, text, len);
    literal[len] = 0;

    json_event event = {.kind = JSON_DOUBLE, .depth = r->depth, .text = {text, len}};
    event.number = strtod(literal, NULL);
    if (!isfinite(event.number)) return err_set(r->e, ERR_INVALID, "number out of range");
    if (!strpbrk(literal, ".eE")) {
        errno = 0;
        event.integer = strtoll(literal, NULL, 10);
        if (errno == 0) event.kind = JSON_INT;
        else event.integer = 0;
    }
    return emit(r, &event);
}

static int emit_text(json_reader *r, json_kind kind, const unsigned char *data, size_t len) {
    str text = {(const char *)data, len};
    if (len > r->string_limit_bytes)
        return err_set(r->e, ERR_TOO_LARGE, "string of more than %zu bytes", r->string_limit_bytes);
    if (!utf8_valid(text)) return err_set(r->e, ERR_INVALID, "string is not valid UTF-8");
    return emit(r, &(json_event){.kind = kind, .depth = r->depth, .text = text});
}

static int on_string(void *ctx, const unsigned char *data, size_t len) {
    return emit_text(ctx, JSON_STRING, data, len);
}
static int on_key(void *ctx, const unsigned char *data, size_t len) { return emit_text(ctx, JSON_KEY, data, len); }

/* yajl unescapes what somebody asks for; the rest it only reads over. */
static void set_wanted(json_reader *r) {
    bool wanted = !r->text_depth || r->depth <= *r->text_depth;
    r->calls.yajl_string = wanted ? on_string : NULL;
    r->calls.yajl_map_key = wanted ? on_key : NULL;
}

static int emit_start(json_reader *r, json_kind kind) {
    if (r->depth == JSON_MAX_DEPTH) return err_set(r->e, ERR_INVALID, "nested deeper than %d", JSON_MAX_DEPTH);
    int depth = r->depth++;
    set_wanted(r);
    return emit(r, &(json_event){.kind = kind, .depth = depth});
}

static int emit_end(json_reader *r, json_kind kind) {
    int depth = --r->depth;
    set_wanted(r);
    return emit(r, &(json_event){.kind = kind, .depth = depth});
}

static int on_object_start(void *ctx) { return emit_start(ctx, JSON_OBJECT_START); }
static int on_object_end(void *ctx) { return emit_end(ctx, JSON_OBJECT_END); }
static int on_array_start(void *ctx) { return emit_start(ctx, JSON_ARRAY_START); }
static int on_array_end(void *ctx) { return emit_end(ctx, JSON_ARRAY_END); }

static const yajl_callbacks callbacks = {
    .yajl_null = on_null, .yajl_boolean = on_boolean, .yajl_number = on_number,
    .yajl_string = on_string, .yajl_map_key = on_key,
    .yajl_start_map = on_object_start, .yajl_end_map = on_object_end,
    .yajl_start_array = on_array_start, .yajl_end_array = on_array_end,
};

/* ---- lone surrogates ---- */

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One byte; false when it makes a surrogate lone. What is no escape at all yajl refuses itself. */
static bool scan_step(surrogate_scan *s, char c) {
    switch (s->state) {
    case TEXT:
        if (c == '\\') s->state = ESCAPE;
        return true;
    case NEED_ESCAPE:
        s->state = NEED_U;
        return c == '\\';
    case NEED_U:
    case ESCAPE:
        if (c != 'u' && s->state == NEED_U) return false;
        s->state = c == 'u' ? HEX : TEXT;
        s->digits = 0;
        s->unit = 0;
        return true;
    case HEX:
        if (hex_value(c) < 0) return s->state = TEXT, true;
        s->unit = s->unit << 4 | (uint32_t)hex_value(c);
        if (++s->digits < 4) return true;
        bool low = s->unit >= 0xDC00 && s->unit < 0xE000, high = s->unit >= 0xD800 && s->unit < 0xDC00;
        if (low != s->need_low) return false;
        s->need_low = high;
        s->state = high ? NEED_ESCAPE : TEXT;
        return true;
    }
    return true;
}

/* How many leading bytes are free of lone surrogates. */
static size_t scan_surrogates(surrogate_scan *s, str bytes) {
    for (size_t i = 0; i < bytes.len; i++) {
        if (s->state == TEXT) {
            const char *escape = memchr(bytes.data + i, '\\', bytes.len - i);
            if (!escape) return bytes.len;
            i = (size_t)(escape - bytes.data);
        }
        if (!scan_step(s, bytes.data[i])) return i;
    }
    return bytes.len;
}

/* How many leading bytes hold none of the two blanks that yajl takes and JSON does not. */
static size_t scan_blanks(str bytes) {
    size_t clean = bytes.len;
    for (const char *blank = "\v\f"; *blank; blank++) {
        const char *found = clean ? memchr(bytes.data, *blank, clean) : NULL;
        if (found) clean = (size_t)(found - bytes.data);
    }
    return clean;
}

/* ---- the reader ---- */

json_reader *json_reader_new(const base_alloc *alloc, size_t string_limit_bytes, json_on_event *on_event, void *ctx) {
    json_reader *r = alloc_zeroed(alloc, sizeof *r);
    if (!r) return NULL;
    r->alloc = alloc;
    r->on_event = on_event;
    r->ctx = ctx;
    r->string_limit_bytes = string_limit_bytes;
    /* Six bytes of "\u0041" are one, and yajl doubles what it grows. */
    r->block_limit_bytes = string_limit_bytes < SIZE_MAX / 32 ? 12 * string_limit_bytes + 4096 : SIZE_MAX / 2;
    if (setjmp(r->refused)) {
        json_reader_free(r);
        return NULL;
    }
    yajl_alloc_funcs funcs = {yajl_take, yajl_grow, yajl_give, r};
    r->calls = callbacks;
    r->yajl = yajl_alloc(&r->calls, &funcs, r);
    CHECK(r->yajl);
    yajl_config(r->yajl, yajl_dont_validate_strings, 1); /* it lets overlong forms pass; see emit_text */
    return r;
}

void json_reader_free(json_reader *r) {
    if (!r) return;
    while (r->blocks) yajl_give(r, r->blocks + 1);
    alloc_free(r->alloc, r, sizeof *r);
}

/* Places count from 1: the byte that was read when the reason showed. */
static void place(json_reader *r, uint64_t at_byte, const char *reason) {
    err_set(r->e, ERR_INVALID, "at byte %llu: %s", (unsigned long long)at_byte, reason);
}

/* yajl's reason, in one line without its full stop. */
static void place_syntax_error(json_reader *r, uint64_t at_byte) {
    unsigned char *text = yajl_get_error(r->yajl, 0, NULL, 0);
    size_t len = strcspn((char *)text, "\n");
    if (len && text[len - 1] == '.') len--;
    text[len] = 0;
    place(r, at_byte, (char *)text);
    yajl_free_error(r->yajl, text);
}

/* bytes.data NULL: the end of the text. Any reason for leaving is in *r->e. */
static bool run_yajl(json_reader *r, str bytes) {
    if (setjmp(r->refused)) {
        err_set(r->e, r->refused_code, "at byte %llu: %s", (unsigned long long)r->fed_bytes, r->refused_why);
        return false;
    }
    bool ending = !bytes.data;
    yajl_status status = ending ? yajl_complete_parse(r->yajl)
                                : yajl_parse(r->yajl, (const unsigned char *)bytes.data, bytes.len);
    if (status == yajl_status_ok) return true;
    uint64_t at_byte = r->fed_bytes + (ending ? 0 : yajl_get_bytes_consumed(r->yajl));
    if (status == yajl_status_error) place_syntax_error(r, at_byte);
    else if (r->e->code == ERR_NONE) place(r, at_byte, "stopped by the consumer");
    else if (!r->refused_by_consumer) err_prefix(r->e, "at byte %llu: ", (unsigned long long)at_byte);
    return false;
}

static bool feed(json_reader *r, str bytes) {
    size_t no_blank = scan_blanks(bytes), clean = scan_surrogates(&r->scan, (str){bytes.data, no_blank});
    if (clean > 0 && !run_yajl(r, (str){bytes.data, clean})) return false;
    r->fed_bytes += clean;
    if (clean == bytes.len) return true;
    place(r, r->fed_bytes + 1, clean < no_blank ? "lone surrogate in a string" : "invalid control character");
    return false;
}

/* The err of one call: filled once, also when the caller passes none. */
static bool begin_call(json_reader *r, err *e, err *own) {
    r->e = e ? e : own;
    if (r->dead) return err_set(r->e, ERR_INVALID, "at byte %llu: already failed", (unsigned long long)r->fed_bytes);
    *r->e = (err){0};
    return true;
}

bool json_reader_feed(json_reader *r, str bytes, err *e) {
    err own;
    if (!begin_call(r, e, &own)) return false;
    r->dead = !feed(r, bytes);
    return !r->dead;
}

bool json_reader_finish(json_reader *r, err *e) {
    err own;
    if (!begin_call(r, e, &own)) return false;
    bool good = run_yajl(r, (str){0});
    r->dead = true; /* one text per reader */
    return good;
}

bool json_parse(const base_alloc *alloc, str text, json_on_event *on_event, void *ctx, err *e) {
    return json_parse_outer(alloc, text, NULL, on_event, ctx, e);
}

bool json_parse_outer(const base_alloc *alloc, str text, const int *text_depth, json_on_event *on_event, void *ctx,
                      err *e) {
    if (text_depth && !utf8_valid(text))
        return err_set(e, ERR_INVALID, "the text is not valid UTF-8");
    json_reader *r = json_reader_new(alloc, SIZE_MAX, on_event, ctx);
    if (!r) return err_set(e, ERR_MEMORY, NO_MEMORY);
    r->text_depth = text_depth;
    bool good = json_reader_feed(r, text, e) && json_reader_finish(r, e);
    json_reader_free(r);
    return good;
}
