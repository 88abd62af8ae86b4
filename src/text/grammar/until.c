/* Texts up to a tag: any characters, counted, and the tag, which is nowhere in them.
 *
 * The tag's first character is not in it again (grammar_tags.c sees to it), but it may be a newline, which is not the
 * value's own: then also the tag without it may not be in the text, for the reader would end the value there. So two
 * ways into the tag are followed: from its first character on, where what was read is no part of the text unless it
 * breaks off; and, as part of the text, from its '<' on, up to the last character but one. And where a text may be
 * read as JSON of other types, it must not look like it: not in its first character, and not as one of four words.
 */
#include "text/grammar/argument.h"
#include "text/grammar/internal.h"

/* What is known of the last characters, in a count's low bits. The first are machine_utf8's. */
enum {
    IN_TAG = 8,   /* + how many characters of the tag have come, one at least */
    IN_PART = 24, /* + how many of the tag behind its newline, as part of the text */
    IN_WORD = 40, /* + WORD_STATES × word + how many of its letters */
    WORD_STATES = 5,
    AT_NEWLINE = 61, /* of the tag, and nothing has come before */
    AT_BEGIN = 62,
    AT_WORD_END = 63,
};

static const char words[][6] = {"true", "false", "null", "none"};
enum { WORD_NULL = 2, WORD_NONE = 3, N_WORDS = 4 };

typedef struct until {
    const grammar_op *o;
    const char *tag, *part; /* part: without the newline */
    uint32_t tag_len, part_len, count;
} until;

uint32_t machine_until_begin(const grammar_op *o) { return o->loop ? AT_BEGIN : UTF8_NONE; }

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

/* Without a most only the least is counted. */
static void add(until *u, uint32_t n) {
    u->count += n;
    if (u->o->b == GRAMMAR_UNBOUNDED && u->count > u->o->a) u->count = u->o->a;
}

static int64_t at(const until *u, uint32_t inside) { return (int64_t)u->count << UNTIL_COUNT_SHIFT | inside; }

/* One character more of the text. */
static int64_t take(until *u, uint32_t inside) {
    if (u->count >= u->o->b) return UNTIL_WRONG;
    add(u, 1);
    return at(u, inside);
}

static int64_t character(until *u, uint32_t inside, uint8_t c) {
    uint32_t part = inside > IN_PART && inside < IN_WORD ? inside - IN_PART : 0;
    if (part && c == (uint8_t)u->part[part])
        return part + 1 == u->part_len ? UNTIL_WRONG : take(u, inside + 1);
    if (c == (uint8_t)u->part[0]) return take(u, IN_PART + 1);
    int utf8 = c ? machine_utf8_begin(c) : -1;
    return utf8 < 0 ? UNTIL_WRONG : take(u, (uint32_t)utf8);
}

static bool may_begin_tag(const until *u, uint8_t c) { return c == (uint8_t)u->tag[0] && u->count >= u->o->a; }

static int64_t first_character(until *u, uint8_t c) {
    unsigned types = u->o->loop;
    if (may_begin_tag(u, c)) return at(u, c == '\n' ? AT_NEWLINE : IN_TAG + 1);
    if (is_blank(c) || (types & ARGUMENT_OBJECT && c == '{') || (types & ARGUMENT_ARRAY && c == '[') ||
        (types & ARGUMENT_NUMBER && (c == '-' || (c >= '0' && c <= '9'))))
        return UNTIL_WRONG;
    for (uint32_t w = 0; w < N_WORDS; w++)
        if (types & (w < WORD_NULL ? ARGUMENT_BOOL : ARGUMENT_NULL) && lower(c) == (uint8_t)words[w][0])
            return take(u, IN_WORD + WORD_STATES * w + 1);
    return character(u, UTF8_NONE, c);
}

/* A word is no string here, so there must be room for a character behind it. */
static int64_t letter(until *u, uint32_t inside, uint8_t c) {
    uint32_t word = (inside - IN_WORD) / WORD_STATES, n = (inside - IN_WORD) % WORD_STATES;
    if (word == WORD_NULL && n == 1 && lower(c) == 'o') word = WORD_NONE;
    if (lower(c) == (uint8_t)words[word][n]) {
        if (words[word][n + 1]) return take(u, IN_WORD + WORD_STATES * word + n + 1);
        return u->o->b - u->count < 2 ? UNTIL_WRONG : take(u, AT_WORD_END);
    }
    return may_begin_tag(u, c) ? at(u, IN_TAG + 1) : character(u, UTF8_NONE, c);
}

static int64_t in_tag(until *u, uint32_t n, uint8_t c) {
    if (c == (uint8_t)u->tag[n]) return n + 1 == u->tag_len ? UNTIL_DONE : at(u, IN_TAG + n + 1);
    if (u->o->b - u->count < n) return UNTIL_WRONG;
    add(u, n); /* it was text */
    if (may_begin_tag(u, c)) return at(u, IN_TAG + 1);
    return character(u, u->part > u->tag && n > 1 ? IN_PART + n - 1 : UTF8_NONE, c);
}

int64_t machine_until_step(const text_grammar *g, const grammar_op *o, uint32_t count, uint8_t c) {
    until u = {.o = o, .tag = g->texts + o[1].a, .tag_len = o[1].b, .count = count >> UNTIL_COUNT_SHIFT};
    uint32_t inside = count & ((1u << UNTIL_COUNT_SHIFT) - 1), newline = u.tag[0] == '\n';
    u.part = u.tag + newline;
    u.part_len = u.tag_len - newline;
    if (inside == AT_BEGIN) return first_character(&u, c);
    if (inside == AT_NEWLINE) return c == (uint8_t)u.tag[1] ? at(&u, IN_TAG + 2) : UNTIL_WRONG;
    if (inside == AT_WORD_END)
        return is_blank(c) || c == (uint8_t)u.part[0] ? UNTIL_WRONG : character(&u, UTF8_NONE, c);
    if (inside >= IN_WORD) return letter(&u, inside, c);
    if (inside > IN_TAG && inside <= IN_PART) return in_tag(&u, inside - IN_TAG, c);
    if (inside > UTF8_NONE && inside < IN_TAG) {
        int utf8 = machine_utf8_go_on((int)inside, c);
        return utf8 < 0 ? UNTIL_WRONG : at(&u, (uint32_t)utf8);
    }
    return may_begin_tag(&u, c) ? at(&u, IN_TAG + 1) : character(&u, inside, c);
}
