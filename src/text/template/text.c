/* Texts: cut, searched, replaced, put together. */
#include "text/template/internal.h"

/* ---- characters ---- */

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

bool text_is_space(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1C && cp <= 0x1F);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 ||
           cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

static bool starts_character(char c) { return (c & 0xC0) != 0x80; }

/* Of eight bytes: how many begin a character. Long texts are counted again and again by templates that build them. */
static size_t starts_of_eight(const char *at) {
    uint64_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    uint64_t inside = bytes & ~(bytes << 1) & 0x8080808080808080; /* 10xxxxxx */
    return 8 - (size_t)(((inside >> 7) * 0x0101010101010101) >> 56);
}

size_t text_characters(str s) {
    size_t n = 0, i = 0;
    for (; i + 8 <= s.len; i += 8) n += starts_of_eight(s.data + i);
    for (; i < s.len; i++) n += starts_character(s.data[i]);
    return n;
}

size_t text_next(str s, size_t at) {
    for (at++; at < s.len && !starts_character(s.data[at]); at++) continue;
    return at;
}

size_t text_offset(str s, size_t character) {
    size_t at = 0, n;
    for (; at + 8 <= s.len && (n = starts_of_eight(s.data + at)) <= character; at += 8) character -= n;
    for (; at < s.len; at++)
        if (starts_character(s.data[at]) && !character--) break;
    return at;
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
    return len <= r->limits->output_bytes ||
           run_fail(r, "a text of more than %zu bytes", r->limits->output_bytes);
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

void build_append_char(text_builder *b, uint32_t cp) {
    char bytes[4];
    build_append(b, (str){bytes, (size_t)utf8_encode(cp, bytes)});
}

void build_pad(text_builder *b, str with, size_t times) {
    if (times && with.len && times > b->r->limits->output_bytes / with.len)
        b->failed |= !check_length(b->r, SIZE_MAX);
    for (; times && !b->failed; times--) build_append(b, with);
}

bool build_end(text_builder *b, value *out) {
    if (b->failed || !check_length(b->r, b->len)) return false;
    region *g = &b->r->memory;
    if (b->data + b->cap == g->at) g->at = b->data + b->len;
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
    if (grow_in_place(&r->memory, end, 0, b.len)) { /* a chain of + goes on where it has come to */
        memmove(end, b.data, b.len);
        *out = value_string((str){a.data, len});
        return run_spend_bytes(r, b.len);
    }
    if (len >= GROWING_FROM_BYTES) {
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

bool text_repeat(run *r, str s, whole times, value *out) {
    text_builder b;
    if (times <= 0 || !s.len) return *out = value_string(STR("")), true;
    if (times > (whole)(r->limits->output_bytes / s.len)) return check_length(r, SIZE_MAX);
    build_begin(&b, r, s.len * (size_t)times);
    build_pad(&b, s, (size_t)times);
    return run_spend(r, (uint64_t)times / 8) && build_end(&b, out);
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

str text_trim_set(str s, str set, bool start, bool end) {
    while (start && s.len) {
        size_t n = text_next(s, 0);
        if (text_find(set, (str){s.data, n}, 0) == SIZE_MAX) break;
        s = (str){s.data + n, s.len - n};
    }
    while (end && s.len) {
        size_t at = s.len - 1;
        while (at && !starts_character(s.data[at])) at--;
        if (text_find(set, (str){s.data + at, s.len - at}, 0) == SIZE_MAX) break;
        s.len = at;
    }
    return s;
}

size_t text_find(str s, str part, size_t from) {
    if (from > s.len) return SIZE_MAX;
    if (!part.len) return from;
    const char *found = s.len > from ? memmem(s.data + from, s.len - from, part.data, part.len) : NULL;
    return found ? (size_t)(found - s.data) : SIZE_MAX;
}

size_t text_find_last(str s, str part) {
    for (size_t at = s.len < part.len ? SIZE_MAX : s.len - part.len; at != SIZE_MAX; at--)
        if (!part.len || !memcmp(s.data + at, part.data, part.len)) return at;
    return SIZE_MAX;
}

bool text_list(run *r, str s, const list **out) {
    value *items, made;
    size_t n = text_characters(s);
    if (!list_new(r, n, &made, &items)) return false;
    for (size_t i = 0, at = 0, next; i < n; i++, at = next) {
        next = text_next(s, at);
        items[i] = value_string((str){s.data + at, next - at});
    }
    return *out = made.list, true;
}

bool text_slice(run *r, str s, int64_t from, int64_t to, int64_t step, value *out) {
    const list *l;
    text_builder b;
    if (!run_spend_bytes(r, s.len)) return false;
    if (step == 1) {
        if (to <= from) return *out = value_string(STR("")), true;
        size_t start = text_offset(s, (size_t)from);
        str rest = {s.data + start, s.len - start};
        return *out = value_string((str){rest.data, text_offset(rest, (size_t)(to - from))}), true;
    }
    if (!text_list(r, s, &l)) return false;
    build_begin(&b, r, 0);
    for (int64_t i = from; step < 0 ? i > to : i < to; i += step) {
        build_append(&b, value_str(&l->items[i]));
        if (step > (int64_t)l->n || step < -(int64_t)l->n) break;
    }
    return build_end(&b, out);
}

/* ---- split, replace ---- */

static size_t word_end(str s) {
    size_t at = 0;
    uint32_t cp;
    for (int n; at < s.len; at += (size_t)n) {
        n = text_decode(s, at, &cp);
        if (text_is_space(cp)) break;
    }
    return at;
}

static bool begin_split(run *r, str s, bool words, str separator) {
    if (!run_spend_bytes(r, s.len)) return false;
    return words || separator.len || run_fail(r, "the separator is empty");
}

bool text_split(run *r, str s, const value *separator, int64_t most, value *out) {
    list_builder b = {.r = r};
    bool words = separator->kind != STRING;
    str part = words ? STR("") : value_str(separator);
    if (!begin_split(r, s, words, part)) return false;
    for (int64_t n = 0;; n++) {
        if (words) s = text_trim(s, true, false);
        if (words && !s.len) break;
        size_t at = words ? word_end(s) : text_find(s, part, 0);
        bool last = (most >= 0 && n >= most) || at == SIZE_MAX;
        if (!list_add(&b, value_string((str){s.data, last ? s.len : at}))) return false;
        if (last) break;
        s = (str){s.data + at + part.len, s.len - at - part.len};
    }
    return list_end(&b, out);
}

static size_t word_start(str s) {
    size_t at = s.len;
    uint32_t cp;
    while (at) {
        size_t before = at - 1;
        while (before && !starts_character(s.data[before])) before--;
        text_decode(s, before, &cp);
        if (text_is_space(cp)) break;
        at = before;
    }
    return at;
}

bool text_split_last(run *r, str s, const value *separator, int64_t most, value *out) {
    list_builder b = {.r = r};
    bool words = separator->kind != STRING;
    str part = words ? STR("") : value_str(separator);
    if (!begin_split(r, s, words, part)) return false;
    for (int64_t n = 0;; n++) {
        if (words) s = text_trim(s, false, true);
        if (words && !s.len) break;
        size_t found = words ? 0 : text_find_last(s, part), at = words               ? word_start(s)
                                                                 : found == SIZE_MAX ? 0
                                                                                     : found + part.len;
        bool last = (most >= 0 && n >= most) || found == SIZE_MAX;
        if (last && words) s = text_trim(s, false, true);
        if (!run_spend_bytes(r, s.len) ||
            !list_add(&b, value_string(last ? s : (str){s.data + at, s.len - at})))
            return false;
        if (last) break;
        s.len = words ? at : found;
    }
    for (size_t i = 0; i < b.n / 2; i++) {
        value swap = b.items[i];
        b.items[i] = b.items[b.n - 1 - i];
        b.items[b.n - 1 - i] = swap;
    }
    return list_end(&b, out);
}

size_t text_line_end(str s, size_t from, size_t *next) {
    uint32_t cp;
    for (size_t at = from, n; at < s.len; at += n) {
        n = (size_t)text_decode(s, at, &cp);
        bool ends = (cp >= 10 && cp <= 13) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 ||
                    cp == 0x2029;
        if (!ends) continue;
        *next = at + n + (cp == 13 && at + 1 < s.len && s.data[at + 1] == '\n');
        return at;
    }
    return *next = s.len;
}

bool text_split_lines(run *r, str s, bool keep_ends, value *out) {
    list_builder b = {.r = r};
    if (!run_spend_bytes(r, s.len)) return false;
    for (size_t at = 0, end, next; at < s.len; at = next) {
        end = text_line_end(s, at, &next);
        if (!list_add(&b, value_string((str){s.data + at, (keep_ends ? next : end) - at}))) return false;
    }
    return list_end(&b, out);
}

bool text_replace(run *r, str s, str old, str new, int64_t most, value *out) {
    text_builder b;
    size_t at = 0;
    if (!run_spend_bytes(r, s.len)) return false;
    if (most == 0 || text_find(s, old, 0) == SIZE_MAX) return *out = value_string(s), true;
    build_begin(&b, r, s.len);
    for (int64_t done = 0; !b.failed && at <= s.len && !(most > 0 && done >= most); done++) {
        size_t found = text_find(s, old, at);
        if (found == SIZE_MAX) break;
        if (!run_spend(r, 1)) return false;
        build_append(&b, (str){s.data + at, found - at});
        build_append(&b, new);
        at = found + old.len;
        if (old.len) continue;
        size_t next = at < s.len ? text_next(s, at) : at + 1; /* '' is before each character and at the end */
        if (at < s.len) build_append(&b, (str){s.data + at, next - at});
        at = next;
    }
    if (at < s.len) build_append(&b, (str){s.data + at, s.len - at});
    return build_end(&b, out);
}
