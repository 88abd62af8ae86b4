/* Texts, as JavaScript's strings behave: cut, searched, replaced, put together. */
#include "text/template_internal.h"

#include <math.h>

/* ---- characters ---- */

/* Of well-formed text, in which halves of surrogate pairs (ED A0…BF xx) may stand. */
int text_decode(str s, size_t at, uint32_t *cp) {
    const unsigned char *p = (const unsigned char *)s.data + at;
    size_t left = s.len - at;
    if (p[0] < 0x80 || left < 2) return *cp = p[0], 1;
    if (p[0] < 0xE0) return *cp = (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu), 2;
    if (left < 3) return *cp = p[0], 1;
    if (p[0] < 0xF0) return *cp = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu), 3;
    if (left < 4) return *cp = p[0], 1;
    return *cp = (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu), 4;
}

int text_encode_unit(uint32_t cp, char out[4]) {
    if (cp < 0xD800 || cp >= 0xE000) return utf8_encode(cp, out);
    out[0] = '\xED';
    out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[2] = (char)(0x80 | (cp & 0x3F));
    return 3;
}

static bool is_half(const char *p, size_t left, bool high) {
    return left >= 3 && p[0] == '\xED' && ((unsigned char)p[1] >= 0xA0) && ((unsigned char)p[1] < 0xB0) == high;
}

size_t text_join_halves(char *s, size_t len) {
    size_t out = 0;
    for (size_t i = 0; i < len;) {
        if (s[i] == '\xED' && is_half(s + i, len - i, true) && is_half(s + i + 3, len - i - 3, false)) {
            uint32_t high, low;
            text_decode((str){s, len}, i, &high);
            text_decode((str){s, len}, i + 3, &low);
            out += (size_t)utf8_encode(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00), s + out);
            i += 6;
        } else {
            s[out++] = s[i++];
        }
    }
    return out;
}

void text_replace_halves(char *s, size_t len) {
    for (size_t i = 0; i + 2 < len; i++)
        if (s[i] == '\xED' && (unsigned char)s[i + 1] >= 0xA0) memcpy(s + i, "\xEF\xBF\xBD", 3);
}

bool text_is_space(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000 || cp == 0xFEFF;
}

static bool starts_character(char c) { return (c & 0xC0) != 0x80; }

static bool has_two_units(char c) { return (unsigned char)c >= 0xF0; }

size_t text_characters(str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += starts_character(s.data[i]);
    return n;
}

size_t text_units(str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += starts_character(s.data[i]) + has_two_units(s.data[i]);
    return n;
}

int text_compare_units(str a, str b) {
    size_t i = 0, least = a.len < b.len ? a.len : b.len;
    while (i < least && a.data[i] == b.data[i]) i++;
    if (i == least) return a.len < b.len ? -1 : a.len > b.len;
    uint32_t x = (unsigned char)a.data[i], y = (unsigned char)b.data[i];
    /* In UTF-16 characters beyond U+FFFF come before those from U+E000 on. */
    if (x >= 0xEE && y >= 0xEE && (x >= 0xF0) != (y >= 0xF0)) return x >= 0xF0 ? -1 : 1;
    return x < y ? -1 : 1;
}

/* ---- building ---- */

void build_begin(text_builder *b, run *r, size_t expected_bytes) {
    *b = (text_builder){.r = r, .cap = expected_bytes};
    b->data = region_take_text(&r->memory, expected_bytes);
    if (!b->data) b->failed = !run_refused(r);
}

/* At the end of the region a text grows where it is. */
static bool grow_in_place(region *g, char *data, size_t cap, size_t more) {
    if (data + cap != g->at || (size_t)(g->end - g->at) < more) return false;
    g->at += more;
    return true;
}

static bool check_length(run *r, size_t len) {
    return len <= r->limits->output_bytes || run_fail(r, "a text of more than %zu bytes", r->limits->output_bytes);
}

static void build_grow(text_builder *b, size_t more) {
    size_t cap = 2 * b->cap + more + 32;
    if (!check_length(b->r, b->len + more)) {
        b->failed = true;
    } else if (grow_in_place(&b->r->memory, b->data, b->cap, cap - b->cap)) {
        b->cap = cap;
    } else {
        char *grown = region_take_text(&b->r->memory, cap);
        if (!grown) {
            b->failed = !run_refused(b->r);
            return;
        }
        if (b->len) memcpy(grown, b->data, b->len);
        b->data = grown;
        b->cap = cap;
    }
}

void build_append(text_builder *b, str s) {
    if (b->failed || !s.len) return;
    if (s.len > b->cap - b->len) build_grow(b, s.len);
    if (b->failed) return;
    memcpy(b->data + b->len, s.data, s.len);
    b->len += s.len;
}

bool build_end(text_builder *b, value *out) {
    if (b->failed || !check_length(b->r, b->len)) return false;
    region *g = &b->r->memory;
    if (b->data + b->cap == g->at) g->at = b->data + b->len;
    if (b->r->halves) b->len = text_join_halves(b->data, b->len);
    *out = value_string((str){b->data, b->len});
    return run_spend_bytes(b->r, b->len);
}

static growing_text *find_growing(run *r, str s) {
    for (growing_text *g = r->growing; g < r->growing + GROWING_TEXTS; g++)
        if (g->data == s.data && g->len == s.len) return g;
    return NULL;
}

/* A copy of s with room behind it. */
static growing_text *new_growing(run *r, str s, size_t cap) {
    growing_text *g = &r->growing[r->grown_last++ % GROWING_TEXTS];
    char *data = region_take_text(&r->memory, cap);
    if (!data) return run_refused(r), NULL;
    memcpy(data, s.data, s.len);
    *g = (growing_text){data, s.len, cap};
    return g;
}

bool text_concat(run *r, str a, str b, value *out) {
    size_t len = a.len + b.len;
    if (!check_length(r, len)) return false;
    if (!a.len || !b.len) return *out = value_string(a.len ? a : b), true;
    char *end = (char *)(uintptr_t)(a.data + a.len);
    if (!r->halves && grow_in_place(&r->memory, end, 0, b.len)) { /* a chain of + goes on where it has come to */
        memcpy(end, b.data, b.len);
        *out = value_string((str){a.data, len});
        return run_spend_bytes(r, b.len);
    }
    if (len >= GROWING_FROM_BYTES && !r->halves) {
        growing_text *g = find_growing(r, a);
        if (!g || g->cap < len) g = run_spend_bytes(r, a.len) ? new_growing(r, a, 2 * len) : NULL;
        if (!g) return false;
        memcpy(g->data + a.len, b.data, b.len);
        g->len = len;
        *out = value_string((str){g->data, len});
        return run_spend_bytes(r, b.len);
    }
    text_builder t;
    build_begin(&t, r, len);
    build_append(&t, a);
    build_append(&t, b);
    return build_end(&t, out);
}

/* ---- parts ---- */

str text_trim(str s, bool start, bool end) {
    uint32_t cp;
    while (start && s.len) {
        int n = text_decode(s, 0, &cp);
        if (!text_is_space(cp)) break;
        s = (str){s.data + n, s.len - (size_t)n};
    }
    while (end && s.len) {
        size_t at = s.len - 1;
        while (at && !starts_character(s.data[at])) at--;
        text_decode(s, at, &cp);
        if (!text_is_space(cp)) break;
        s.len = at;
    }
    return s;
}

size_t text_find(str s, str part, size_t from) {
    if (from > s.len) return SIZE_MAX;
    if (!part.len) return from;
    const char *found = memmem(s.data + from, s.len - from, part.data, part.len);
    return found ? (size_t)(found - s.data) : SIZE_MAX;
}

static size_t next_character(str s, size_t at) {
    for (at++; at < s.len && !starts_character(s.data[at]); at++) continue;
    return at;
}

bool text_slice(run *r, str s, double from, double to, double step, value *out) {
    double direction = step > 0 ? 1 : step < 0 ? -1 : 0, n = 0;
    if (!(direction * from < direction * to)) return *out = value_string(STR("")), true;
    double low = direction > 0 ? from : to + 1, index = 0;
    size_t at = 0;
    for (; index < low; index++) at = next_character(s, at);
    if (step == 1) {
        size_t start = at;
        for (; index < to; index++) at = next_character(s, at);
        return *out = value_string((str){s.data + start, at - start}), true;
    }
    uint32_t *starts; /* of the characters from low on */
    size_t span = (size_t)((direction > 0 ? to : from + 1) - low);
    if (!run_take(r, (span + 1) * sizeof *starts, &starts)) return false;
    for (size_t i = 0; i <= span; i++, at = at < s.len ? next_character(s, at) : at) starts[i] = (uint32_t)at;
    text_builder b;
    build_begin(&b, r, 0);
    for (double i = from; direction * i < direction * to; i += step, n++) {
        size_t k = (size_t)(i - low);
        build_append(&b, (str){s.data + starts[k], starts[k + 1] - starts[k]});
    }
    return run_spend(r, (uint64_t)n) && build_end(&b, out);
}

/* A character beyond U+FFFF has two units: each is half of a surrogate pair. */
bool text_unit_at(run *r, str s, double index, value *out) {
    double n = index < 0 ? (double)text_units(s) : 0, wanted = isnan(index) ? 0 : index + n;
    *out = value_of(UNDEFINED);
    if (wanted < 0 || wanted >= (double)s.len) return run_spend_bytes(r, s.len);
    double unit = 0;
    for (size_t at = 0; at < s.len; at = next_character(s, at)) {
        bool two = has_two_units(s.data[at]);
        if (unit == wanted && !two) {
            *out = value_string((str){s.data + at, next_character(s, at) - at});
            return run_spend_bytes(r, at);
        }
        if (two && (unit == wanted || unit + 1 == wanted)) {
            uint32_t cp;
            char *half = region_take_text(&r->memory, 3);
            if (!half) return run_refused(r);
            text_decode(s, at, &cp);
            cp -= 0x10000;
            text_encode_unit(unit == wanted ? 0xD800 + (cp >> 10) : 0xDC00 + (cp & 0x3FF), half);
            r->halves = true;
            return *out = value_string((str){half, 3}), run_spend_bytes(r, at);
        }
        unit += 1 + two;
    }
    return run_spend_bytes(r, s.len);
}

/* ---- split, replace, indent ---- */

typedef struct parts {
    run *r;
    value *items;
    size_t n, cap;
} parts;

static bool add_part(parts *p, str s) {
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 8;
        value *grown;
        if (!run_take_items(p->r, cap, &grown)) return false;
        if (p->n) memcpy(grown, p->items, p->n * sizeof *grown);
        p->items = grown;
        p->cap = cap;
    }
    p->items[p->n++] = value_string(s);
    return true;
}

static size_t word_end(str s, size_t at) {
    uint32_t cp;
    for (int n; at < s.len; at += (size_t)n) {
        n = text_decode(s, at, &cp);
        if (text_is_space(cp)) break;
    }
    return at;
}

static bool split_words(parts *p, str s, double most) {
    for (s = text_trim(s, true, false); s.len; s = text_trim(s, true, false)) {
        if (most != -1 && (double)p->n >= most) return add_part(p, s);
        size_t end = word_end(s, 0);
        if (!add_part(p, (str){s.data, end})) return false;
        s = (str){s.data + end, s.len - end};
    }
    return true;
}

static bool split_at(parts *p, str s, str separator) {
    for (size_t at;; s = (str){s.data + at + separator.len, s.len - at - separator.len}) {
        at = text_find(s, separator, 0);
        if (!add_part(p, (str){s.data, at == SIZE_MAX ? s.len : at})) return false;
        if (at == SIZE_MAX) return true;
    }
}

/* Parts lie behind each other in one text: from one on they are again what they were. */
static void rejoin_from(parts *p, double from, str s) {
    double start = from < 0 ? (double)p->n + from : from;
    size_t first = start < 0 ? 0 : (size_t)start;
    p->items[first].bytes = (uint32_t)(s.data + s.len - p->items[first].text);
    p->n = first + 1;
}

bool text_split(run *r, str s, const value *separator, double most, value *out) {
    parts p = {.r = r};
    list *l;
    if (!run_spend_bytes(r, s.len) || !run_take(r, sizeof *l, &l)) return false;
    if (separator->kind != STRING) {
        if (!split_words(&p, s, most)) return false;
    } else {
        if (!separator->bytes) return run_fail(r, "the separator is empty");
        if (!split_at(&p, s, value_str(separator))) return false;
        if (most != -1 && (double)p.n > most) rejoin_from(&p, most, s);
    }
    *l = (list){p.items, p.n};
    return *out = value_list(l), true;
}

bool text_replace(run *r, str s, str old, str new, double most, value *out) {
    text_builder b;
    size_t at = 0;
    if (!run_spend_bytes(r, s.len)) return false;
    if (most == 0 || text_find(s, old, 0) == SIZE_MAX) return *out = value_string(s), true;
    build_begin(&b, r, s.len);
    for (double done = 0; !b.failed && at <= s.len && !(most > 0 && done >= most); done++) {
        size_t found = text_find(s, old, at);
        if (found == SIZE_MAX) break;
        if (!run_spend(r, 1)) return false;
        build_append(&b, (str){s.data + at, found - at});
        build_append(&b, new);
        at = found + old.len;
        if (old.len) continue;
        size_t next = at < s.len ? next_character(s, at) : at + 1; /* '' is before each character and at the end */
        if (at < s.len) build_append(&b, (str){s.data + at, next - at});
        at = next;
    }
    if (at < s.len) build_append(&b, (str){s.data + at, s.len - at});
    return build_end(&b, out);
}

bool text_indent(run *r, str s, double width, bool first, bool blank, value *out) {
    text_builder b;
    if (width < 0 || isinf(width)) return run_fail(r, "the width must not be negative");
    size_t n = isnan(width) ? 0 : width < 1e15 ? (size_t)width : SIZE_MAX;
    if (!check_length(r, n)) return false;
    char *spaces = region_take_text(&r->memory, n);
    if (!spaces) return run_refused(r);
    memset(spaces, ' ', n);
    build_begin(&b, r, s.len);
    for (bool is_first = true, more = true; more && !b.failed; is_first = false) {
        const char *end = memchr(s.data, '\n', s.len);
        str line = {s.data, end ? (size_t)(end - s.data) : s.len};
        if ((first || !is_first) && (blank || line.len)) build_append(&b, (str){spaces, n});
        if (!run_spend_bytes(r, n) || !run_spend(r, 1)) return false;
        more = end != NULL;
        build_append(&b, (str){line.data, line.len + more});
        s = (str){s.data + line.len + more, s.len - line.len - more};
    }
    return build_end(&b, out);
}

/* ---- join ---- */

bool text_join_items(run *r, const value *operand, str separator, value *out) {
    text_builder b;
    build_begin(&b, r, 0);
    if (operand->kind == STRING) {
        str s = value_str(operand);
        for (size_t at = 0, next; at < s.len && !b.failed; at = next) {
            next = next_character(s, at);
            if (at) build_append(&b, separator);
            build_append(&b, (str){s.data + at, next - at});
        }
        return build_end(&b, out);
    }
    for (size_t i = 0; i < operand->list->n && !b.failed; i++) {
        const value *v = &operand->list->items[i];
        value text;
        if (i) build_append(&b, separator);
        if (v->kind == MISSING) return run_fail(r, "nothing is there to be joined");
        if (v->kind == NONE || v->kind == UNDEFINED) continue;
        if (!run_spend(r, 1) || !text_of_raw(r, v, &text)) return false;
        build_append(&b, value_str(&text));
    }
    return build_end(&b, out);
}
