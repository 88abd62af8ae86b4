/* Multiples of a step that no pattern of digits says, and what is no multiple of another: which digit may come next
 * follows from those before it.
 *
 * A number on its way is a chain of nodes, one for each character. All is whole numbers here: of the unit that is the
 * last place of the step. A validator divides doubles, where 0.29 is no multiple of 0.01: what is written is a
 * multiple both exactly and by that division. */
#include <stdlib.h>

#include "text/grammar/internal.h"

enum { DIGITS_MAX = 15 /* a double holds them */, PLACES_MAX = 8, TRIES_MAX = 64, WRITTEN_MAX = 24 };

typedef struct multiple_rule {
    int64_t low, high, step; /* in units */
    double divisor;          /* the step as a validator has it; 0: none was asked for */
    int64_t no_step[GRAMMAR_NO_MULTIPLES_MAX]; /* of which it must be no multiple */
    double no_divisor[GRAMMAR_NO_MULTIPLES_MAX];
    uint32_t n_no;
    int32_t places;          /* of the unit */
    uint32_t tries;          /* that were made to find one */
} multiple_rule;

static int64_t power_of_ten(int n) {
    int64_t p = 1;
    while (n-- > 0) p *= 10;
    return p;
}

static bool is_quotient_whole(const multiple_rule *r, int64_t v, double divisor) {
    double quotient = (double)v / (double)power_of_ten(r->places) / divisor;
    return quotient == (double)(int64_t)quotient;
}

/* Of multiples of the step. */
static bool is_meant(const multiple_rule *r, int64_t v) {
    for (uint32_t i = 0; i < r->n_no; i++)
        if (v % r->no_step[i] == 0 || is_quotient_whole(r, v, r->no_divisor[i])) return false;
    return r->divisor == 0 || is_quotient_whole(r, v, r->divisor);
}

/* Whether a multiple lies between them. */
static bool some_between(multiple_rule *r, int64_t low, int64_t high) {
    low = low < r->low ? r->low : low;
    high = high > r->high ? r->high : high;
    int64_t v = low / r->step * r->step;
    if (v < low) v += r->step;
    for (int i = 0; i < TRIES_MAX && v <= high; i++, r->tries++, v += r->step)
        if (is_meant(r, v)) return true;
    return false;
}

/* The same of what a number without its sign comes to; there is no −0. */
static bool some_of_size(multiple_rule *r, bool negative, int64_t low, int64_t high) {
    return negative ? some_between(r, -high, low ? -low : -1) : some_between(r, low, high);
}

/* ---- a number on its way ---- */

typedef struct written {
    bool negative, dotted;
    int n_whole, n_places;
    int64_t value; /* of all digits */
} written;

/* What a character makes of it; false: it cannot come. */
static bool write_next(const multiple_rule *r, written *w, char c) {
    bool digit = c >= '0' && c <= '9', leading_zero = w->n_whole == 1 && !w->value;
    if (c == '-') return !w->negative && !w->n_whole && (w->negative = true);
    if (c == '.') return w->n_whole && !w->dotted && r->places && (w->dotted = true);
    if (!digit || (w->dotted ? w->n_places == r->places
                             : leading_zero || w->n_whole == DIGITS_MAX - r->places))
        return false;
    w->value = w->value * 10 + (c - '0');
    *(w->dotted ? &w->n_places : &w->n_whole) += 1;
    return true;
}

static bool may_end(multiple_rule *r, const written *w) {
    int64_t size = w->value * power_of_ten(r->places - w->n_places);
    bool whole = w->n_whole && (!w->dotted || w->n_places);
    return whole && size % r->step == 0 && some_of_size(r, w->negative, size, size);
}

static bool may_go_on(multiple_rule *r, const written *w) {
    int left = r->places - w->n_places;
    if (!w->n_whole) return some_of_size(r, w->negative, 0, power_of_ten(DIGITS_MAX) - 1);
    if (w->dotted && !left) return false;
    bool more_digits = !w->dotted && w->value; /* of the whole part */
    for (int more = left ? 0 : 1; more <= (more_digits ? DIGITS_MAX - r->places - w->n_whole : 0); more++) {
        int64_t size = power_of_ten(left + more);
        if (some_of_size(r, w->negative, w->value * size, w->value * size + size - 1)) return true;
    }
    return false;
}

void machine_multiple_step(text_grammar_machine *m, const text_grammar *g, uint32_t node, uint8_t byte) {
    char text[WRITTEN_MAX];
    int n = WRITTEN_MAX;
    uint32_t place = m->nodes[node].place, at = node;
    multiple_rule r;
    written w = {0};
    memcpy(&r, g->texts + g->ops[place].a, sizeof r);
    text[--n] = (char)byte;
    for (; m->nodes[at].count && n > 0; at = m->nodes[at].parent) text[--n] = (char)m->nodes[at].count;
    for (; n < WRITTEN_MAX; n++)
        if (!write_next(&r, &w, text[n])) return;
    bool more = may_go_on(&r, &w), ends = may_end(&r, &w);
    m->spent += DIGITS_MAX + r.tries;
    if (more) machine_set_add(m, machine_node_of(m, place, byte, node, false, false));
    if (ends) machine_reach(m, g, place + 1, m->nodes[at].parent);
}

/* ---- compiling ---- */

static int64_t common_divisor(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The literal in units of so many places, and as a double. Of whole numbers the multiples of 1.5 are those of 3. */
static bool read_step(grammar_builder *b, str literal, bool whole, int places, int64_t *step, double *divisor) {
    char text[64];
    int own = whole ? grammar_number_places(literal) : places;
    if (own > PLACES_MAX || literal.len >= sizeof text || !grammar_number_in_units(literal, own, true, false, step) ||
        *step > power_of_ten(DIGITS_MAX) - 1)
        return grammar_fail(b, ERR_INVALID, "'multipleOf' is supported from 1e-%d to 1e%d", PLACES_MAX, DIGITS_MAX - 1);
    if (*step <= 0) return grammar_fail(b, ERR_INVALID, "'multipleOf' must be above 0");
    if (whole) *step /= common_divisor(*step, power_of_ten(own));
    memcpy(text, literal.data, literal.len);
    text[literal.len] = 0;
    *divisor = strtod(text, NULL);
    return true;
}

enum { PLACES_FREE = 2 }; /* behind those of what it must be no multiple of, where no step says how many */

static int places_of(const grammar_bounds *n) {
    int most = n->multiple.len ? grammar_number_places(n->multiple) : 0;
    for (uint32_t i = 0; i < n->n_no_multiples; i++) {
        int own = grammar_number_places(n->no_multiple[i]) + (n->multiple.len ? 0 : PLACES_FREE);
        if (own > most) most = own;
    }
    return most;
}

static bool read_rule(grammar_builder *b, const grammar_bounds *n, bool whole, multiple_rule *r) {
    int64_t most = power_of_ten(DIGITS_MAX) - 1;
    int places = whole ? 0 : places_of(n);
    r->step = 1;
    if (n->multiple.len && !read_step(b, n->multiple, whole, places, &r->step, &r->divisor)) return false;
    for (; r->n_no < n->n_no_multiples; r->n_no++)
        if (!read_step(b, n->no_multiple[r->n_no], whole, places, &r->no_step[r->n_no], &r->no_divisor[r->n_no]))
            return false;
    r->places = places;
    r->low = -most;
    r->high = most;
    bool ok = !n->low.len || grammar_number_in_units(n->low, places, true, n->low_open, &r->low);
    ok = ok && (!n->high.len || grammar_number_in_units(n->high, places, false, n->high_open, &r->high));
    if (!ok || r->low > most || r->high < -most)
        return grammar_fail(b, ERR_INVALID, "'multipleOf' with bounds of more than %d digits is not supported",
                            DIGITS_MAX);
    if (r->low < -most) r->low = -most;
    if (r->high > most) r->high = most;
    return true;
}

bool grammar_multiple(grammar_builder *b, const grammar_bounds *n, bool whole) {
    multiple_rule r = {0};
    if (!read_rule(b, n, whole, &r)) return false;
    if (!some_between(&r, r.low, r.high)) return grammar_emit(b, OP_FAIL, 0, 0), !b->failed;
    r.tries = 0;
    grammar_text(b, (str){(const char *)&r, sizeof r});
    if (!b->failed) b->ops[b->n_ops - 1].kind = OP_MULTIPLE;
    return !b->failed;
}
