/* base/str — byte slices and a growing buffer.
 *
 * A str never owns and need not end in NUL. A buf owns its bytes through an injected allocator and has
 * a hard limit; after a refused growth it is marked failed and further appends do nothing, so a
 * writer checks once at its end.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

typedef struct str {
    const char *data;
    size_t len;
} str;

#define STR(literal) ((str){"" literal, sizeof(literal) - 1})
#define STR_ARG(s) (int)(s).len, (s).data /* for "%.*s" */

static inline str str_of(const char *zero_terminated) {
    return (str){zero_terminated, strlen(zero_terminated)};
}
static inline bool str_eq(str a, str b) { return a.len == b.len && (a.len == 0 || !memcmp(a.data, b.data, a.len)); }
static inline bool str_is(str a, const char *b) { return str_eq(a, str_of(b)); }
static inline bool str_starts(str s, str prefix) {
    return s.len >= prefix.len && (prefix.len == 0 || !memcmp(s.data, prefix.data, prefix.len));
}
static inline str str_from(str s, size_t at) { return (str){s.data + at, s.len - at}; }
static inline str str_until(str s, size_t end) { return (str){s.data, end}; }
static inline bool str_ends(str s, str suffix) {
    return s.len >= suffix.len && str_starts(str_from(s, s.len - suffix.len), suffix);
}
/* Control characters become '?': for what is quoted from files and requests into logs and on terminals. */
void str_make_printable(char *zero_terminated);
uint64_t str_hash(str s); /* FNV-1a, 64 bit; not for hostile keys without a bound on the table */

typedef struct buf {
    char *data; /* always NUL-terminated when cap > 0; the NUL is not counted in len */
    size_t len, cap, limit;
    const base_alloc *alloc;
    bool failed;
    bool tight; /* grows by an eighth, for storage that grows in place; otherwise it doubles */
} buf;

void buf_init(buf *b, const base_alloc *alloc, size_t limit_bytes);
void buf_free(buf *b);
void buf_clear(buf *b); /* keeps the storage, forgets a failure */
void buf_append(buf *b, const void *data, size_t len);
void buf_append_str(buf *b, str s);
void buf_printf(buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_reserve(buf *b, size_t more_bytes);
static inline str buf_str(const buf *b) { return (str){b->data ? b->data : "", b->len}; }

/* For messages: "%u %s", n, counted(n, "request waits", "requests wait"). */
static inline const char *counted(uint64_t n, const char *one, const char *more) { return n == 1 ? one : more; }

/* UTF-8. Decodes one character at s[0..len): its length in bytes (1–4) and *cp, or 0 when the bytes
 * are malformed, or -1 when they are a proper prefix of a character that has not ended. */
int utf8_decode(const char *s, size_t len, uint32_t *cp);
int utf8_encode(uint32_t cp, char out[4]); /* bytes written; cp must be ≤ 0x10FFFF */
bool utf8_valid(str s);

/* "1.5 GiB" style, for people. */
enum { BYTES_TEXT_BYTES = 24 };
const char *bytes_text(uint64_t bytes, char out[BYTES_TEXT_BYTES]);
/* "12G", "1.5GiB", "800M", "4096": binary units. False when it is none of these or overflows. */
bool bytes_parse(str s, uint64_t *bytes);

#endif
