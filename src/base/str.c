#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

void str_make_printable(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7F) *s = '?';
}

uint64_t str_hash(str s) {
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < s.len; i++) h = (h ^ (unsigned char)s.data[i]) * 1099511628211u;
    return h;
}

void buf_init(buf *b, const base_alloc *alloc, size_t limit_bytes) {
    *b = (buf){.alloc = alloc, .limit = limit_bytes};
}

void buf_free(buf *b) {
    alloc_free(b->alloc, b->data, b->cap);
    b->data = NULL;
    b->len = b->cap = 0;
}

void buf_clear(buf *b) {
    b->len = 0;
    b->failed = false;
    if (b->data) b->data[0] = 0;
}

bool buf_reserve(buf *b, size_t more_bytes) {
    if (b->failed) return false;
    if (more_bytes < b->cap - b->len && b->cap) return true;
    if (more_bytes >= b->limit || b->len >= b->limit - more_bytes) return !(b->failed = true);
    size_t cap = b->cap ? b->cap : 64;
    while (cap <= b->len + more_bytes) cap += b->tight && cap >= 4096 ? cap / 8 : cap;
    if (cap > b->limit) cap = b->limit;
    char *grown = b->alloc->resize(b->alloc->ctx, b->data, b->cap, cap);
    if (!grown) return !(b->failed = true);
    b->data = grown;
    b->cap = cap;
    b->data[b->len] = 0;
    return true;
}

void buf_append(buf *b, const void *data, size_t len) {
    if (!buf_reserve(b, len)) return;
    if (len) memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = 0;
}

void buf_append_str(buf *b, str s) { buf_append(b, s.data, s.len); }

void buf_printf(buf *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n >= 0 && buf_reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

int utf8_decode(const char *s, size_t len, uint32_t *cp) {
    const unsigned char *u = (const unsigned char *)s;
    if (len == 0) return -1;
    if (u[0] < 0x80) return *cp = u[0], 1;
    int n = u[0] >= 0xC2 && u[0] < 0xE0 ? 2 : (u[0] & 0xF0) == 0xE0 ? 3 : u[0] >= 0xF0 && u[0] < 0xF5 ? 4 : 0;
    if (!n) return 0;
    uint32_t c = u[0] & (0x7Fu >> n);
    for (int i = 1; i < n; i++) {
        if ((size_t)i >= len) return -1;
        unsigned low = 0x80, high = 0xBF; /* the second byte rules out overlong forms and surrogates */
        if (i == 1) {
            if (u[0] == 0xE0) low = 0xA0;
            if (u[0] == 0xED) high = 0x9F;
            if (u[0] == 0xF0) low = 0x90;
            if (u[0] == 0xF4) high = 0x8F;
        }
        if (u[i] < low || u[i] > high) return 0;
        c = c << 6 | (u[i] & 0x3Fu);
    }
    *cp = c;
    return n;
}

int utf8_encode(uint32_t cp, char out[4]) {
    if (cp < 0x80) return out[0] = (char)cp, 1;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)(lead[n] | cp);
    return n;
}

/* The length of the stretch of ASCII at i, in whole words: most of most texts. */
static size_t ascii_words(str s, size_t i) {
    size_t start = i;
    for (uint64_t word; i + sizeof word <= s.len; i += sizeof word) {
        memcpy(&word, s.data + i, sizeof word);
        if (word & 0x8080808080808080u) break;
    }
    return i - start;
}

bool utf8_valid(str s) {
    uint32_t cp;
    for (size_t i = 0; i < s.len;) {
        i += ascii_words(s, i);
        if (i == s.len) break;
        int n = utf8_decode(s.data + i, s.len - i, &cp);
        if (n <= 0) return false;
        i += (size_t)n;
    }
    return true;
}

const char *bytes_text(uint64_t bytes, char out[BYTES_TEXT_BYTES]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    int u = 0;
    while (v >= 1024 && u < 4) v /= 1024, u++;
    snprintf(out, BYTES_TEXT_BYTES,
             u == 0    ? "%.0f %s"
             : v < 10  ? "%.2f %s"
             : v < 100 ? "%.1f %s"
                       : "%.0f %s",
             v, units[u]);
    return out;
}

bool bytes_parse(str s, uint64_t *bytes) {
    char text[32];
    if (s.len == 0 || s.len >= sizeof text) return false;
    memcpy(text, s.data, s.len);
    text[s.len] = 0;
    if (text[0] < '0' || text[0] > '9') return false; /* no signs, blanks, inf or nan */
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) return false;
    char *end;
    double v = strtod(text, &end);
    double unit = 1;
    switch (*end) {
    case 'k': case 'K': unit = 1024.0, end++; break;
    case 'm': case 'M': unit = 1048576.0, end++; break;
    case 'g': case 'G': unit = 1073741824.0, end++; break;
    case 't': case 'T': unit = 1099511627776.0, end++; break;
    default: break;
    }
    if (unit > 1 && (*end == 'i' || *end == 'I')) end++;
    if (*end == 'b' || *end == 'B') end++;
    if (*end || !(v * unit < 9e18)) return false;
    *bytes = (uint64_t)(v * unit);
    return true;
}
