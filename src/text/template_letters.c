/* Upper and lower case. */
#include "text/template_internal.h"
#include "text/letter_tables.h"

static uint32_t change(uint32_t cp, const letter_shift *shifts, size_t n, const letter_several *several,
                       size_t n_several, uint32_t out[3]) {
    for (size_t i = 0; i < n_several && several[i].from <= cp; i++) {
        if (several[i].from != cp) continue;
        memcpy(out, several[i].to, sizeof several[i].to);
        return out[2] ? 3 : 2;
    }
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (shifts[middle].last < cp) low = middle + 1;
        else high = middle;
    }
    bool shifted = low < n && shifts[low].first <= cp && (cp - shifts[low].first) % shifts[low].step == 0;
    out[0] = shifted ? (uint32_t)((int32_t)cp + shifts[low].delta) : cp;
    return 1;
}

#define COUNT(table) (sizeof(table) / sizeof *(table))

uint32_t letter_upper(uint32_t cp, uint32_t out[3]) {
    if (cp < 0x80) return out[0] = cp >= 'a' && cp <= 'z' ? cp - 32 : cp, 1;
    return change(cp, upper_shifts, COUNT(upper_shifts), upper_several, COUNT(upper_several), out);
}

uint32_t letter_lower(uint32_t cp, uint32_t out[3]) {
    if (cp < 0x80) return out[0] = cp >= 'A' && cp <= 'Z' ? cp + 32 : cp, 1;
    return change(cp, lower_shifts, COUNT(lower_shifts), lower_several, COUNT(lower_several), out);
}

static bool has_case(uint32_t cp) {
    uint32_t out[3];
    return letter_upper(cp, out) > 1 || out[0] != cp || letter_lower(cp, out) > 1 || out[0] != cp;
}

/* Marks that stand inside words without being letters. */
static bool is_passed_over(uint32_t cp) {
    static const uint32_t others[] = {'\'', '.', ':', '^', '`', 0xA8, 0xAD, 0xAF, 0xB4, 0xB7, 0xB8, 0x2019, 0x200D};
    for (size_t i = 0; i < COUNT(others); i++)
        if (cp == others[i]) return true;
    return cp >= 0x300 && cp < 0x370;
}

/* Sigma at the end of a word has a form of its own. */
static bool ends_word(str s, size_t at, size_t behind) {
    uint32_t cp = 0;
    bool letter_before = false;
    while (at) {
        for (at--; at && (s.data[at] & 0xC0) == 0x80; at--) continue;
        text_decode(s, at, &cp);
        if (is_passed_over(cp)) continue;
        letter_before = has_case(cp);
        break;
    }
    if (!letter_before) return false;
    while (behind < s.len) {
        behind += (size_t)text_decode(s, behind, &cp);
        if (!is_passed_over(cp)) return !has_case(cp);
    }
    return true;
}

static void append_case(text_builder *b, str s, size_t at, int n, bool upper) {
    uint32_t cp, to[3], count;
    char bytes[4];
    text_decode(s, at, &cp);
    if (cp == 0x3A3 && !upper && ends_word(s, at, at + (size_t)n)) count = 1, to[0] = 0x3C2;
    else count = upper ? letter_upper(cp, to) : letter_lower(cp, to);
    for (uint32_t i = 0; i < count; i++) build_append(b, (str){bytes, (size_t)text_encode_unit(to[i], bytes)});
}

static bool changes(str s, bool upper) {
    char low = upper ? 'a' : 'A', high = upper ? 'z' : 'Z';
    for (size_t i = 0; i < s.len; i++)
        if ((s.data[i] >= low && s.data[i] <= high) || (unsigned char)s.data[i] >= 0x80) return true;
    return false;
}

bool text_change_case(run *r, str s, bool upper, value *out) {
    text_builder b;
    uint32_t cp;
    if (!run_spend_bytes(r, s.len)) return false;
    if (!changes(s, upper)) return *out = value_string(s), true;
    build_begin(&b, r, s.len);
    for (size_t at = 0; at < s.len && !b.failed;) {
        int n = text_decode(s, at, &cp);
        append_case(&b, s, at, n, upper);
        at += (size_t)n;
    }
    return run_spend_bytes(r, 8 * s.len) && build_end(&b, out);
}

/* ---- the order of localeCompare, which is exact for ASCII; what lies beyond comes behind it ---- */

static uint32_t next_weight(str s, size_t *at, bool *is_upper) {
    static const char order[] = "\t\n\v\f\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz";
    *is_upper = false;
    while (*at < s.len) {
        uint32_t cp;
        *at += (size_t)text_decode(s, *at, &cp);
        if (cp >= 0x80) return cp;
        *is_upper = cp >= 'A' && cp <= 'Z';
        const char *found = cp ? memchr(order, (int)(*is_upper ? cp + 32 : cp), sizeof order - 1) : NULL;
        if (found) return (uint32_t)(found - order) + 1; /* other control characters count for nothing */
    }
    return 0;
}

int text_collate(str a, str b) {
    int by_case = 0;
    for (size_t i = 0, k = 0;;) {
        bool a_upper, b_upper;
        uint32_t x = next_weight(a, &i, &a_upper), y = next_weight(b, &k, &b_upper);
        if (x != y) return x < y ? -1 : 1;
        if (!x) return by_case;
        if (!by_case) by_case = a_upper - b_upper;
    }
}

/* ---- words ---- */

static bool is_word(char c) { return (c >= '0' && c <= '9') || c == '_' || ((c | 32) >= 'a' && (c | 32) <= 'z'); }

/* The first of each run of ASCII letters, digits and _. */
bool text_title(run *r, str s, value *out) {
    char *text = region_take_text(&r->memory, s.len);
    if (!text) return run_refused(r);
    for (size_t i = 0; i < s.len; i++) {
        bool first = s.data[i] >= 'a' && s.data[i] <= 'z' && (i == 0 || !is_word(s.data[i - 1]));
        text[i] = (char)(first ? s.data[i] - 32 : s.data[i]);
    }
    *out = value_string((str){text, s.len});
    return run_spend_bytes(r, s.len);
}

/* The rest stays as it is. */
bool text_capitalize(run *r, str s, value *out) {
    text_builder b;
    uint32_t cp;
    if (!s.len) return *out = value_string(s), true;
    int n = text_decode(s, 0, &cp);
    build_begin(&b, r, s.len + 8);
    if (n < 4) append_case(&b, s, 0, n, true);
    else build_append(&b, (str){s.data, 4}); /* the reference sees half of it */
    build_append(&b, (str){s.data + n, s.len - (size_t)n});
    return build_end(&b, out);
}
