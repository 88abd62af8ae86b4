/* Code, written piece by piece; and what is proved of it before it is used. */
#include <stdatomic.h>
#include <stdio.h>

#include "base/check.h"
#include "text/grammar/internal.h"

void grammar_builder_init(grammar_builder *b, const text_vocab *vocab, const base_alloc *alloc, err *e) {
    *b = (grammar_builder){.alloc = alloc, .vocab = vocab, .e = e};
    buf_init(&b->notes, alloc, GRAMMAR_NOTES_BYTES_MAX);
}

void grammar_builder_free(grammar_builder *b) {
    buf_free(&b->notes);
    alloc_free(b->alloc, b->ops, b->ops_cap * sizeof *b->ops);
    alloc_free(b->alloc, b->rules, b->rules_cap * sizeof *b->rules);
    alloc_free(b->alloc, b->ranges, b->ranges_cap * sizeof *b->ranges);
    alloc_free(b->alloc, b->keys, b->keys_cap * sizeof *b->keys);
    alloc_free(b->alloc, b->lists, b->lists_cap * sizeof *b->lists);
    alloc_free(b->alloc, b->texts, b->texts_cap);
}

bool grammar_fail(grammar_builder *b, err_code code, const char *format, ...) {
    if (b->failed) return false;
    char text[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    str_make_printable(text);
    b->failed = true;
    return err_set(b->e, code, "%s", text);
}

bool grammar_step(grammar_builder *b) {
    if (b->failed) return false;
    return ++b->steps <= GRAMMAR_STEPS_MAX || grammar_fail(b, ERR_INVALID, "it takes too long to compile");
}

bool grammar_grow(grammar_builder *b, void **items, size_t *cap, size_t want, size_t most, size_t item_bytes,
                  const char *what) {
    if (b->failed) return false;
    if (want <= *cap) return true;
    if (want > most) return grammar_fail(b, ERR_INVALID, "it is too large: more than %zu %s", most, what);
    size_t cap_now = *cap * 2 > want ? *cap * 2 : want < 32 ? 32 : want;
    void *grown = b->alloc->resize(b->alloc->ctx, *items, *cap * item_bytes, cap_now * item_bytes);
    if (!grown) {
        b->failed = true;
        return err_set_memory(b->e, cap_now * item_bytes, 0, "no memory to compile a grammar");
    }
    *items = grown;
    *cap = cap_now;
    return true;
}

/* ---- writing ---- */

uint32_t grammar_rule_new(grammar_builder *b) {
    if (!grammar_grow(b, (void **)&b->rules, &b->rules_cap, b->n_rules + 1, GRAMMAR_RULES_MAX, sizeof *b->rules,
                      "rules"))
        return 0;
    b->rules[b->n_rules] = GRAMMAR_UNBOUNDED;
    return (uint32_t)b->n_rules++;
}

void grammar_rule_begin(grammar_builder *b, uint32_t rule) {
    if (!b->failed) b->rules[rule] = grammar_here(b);
}

uint32_t grammar_here(const grammar_builder *b) { return (uint32_t)b->n_ops; }

uint32_t grammar_emit(grammar_builder *b, grammar_op_kind kind, uint32_t x, uint32_t y) {
    if (!grammar_grow(b, (void **)&b->ops, &b->ops_cap, b->n_ops + 1, GRAMMAR_OPS_MAX, sizeof *b->ops, "steps"))
        return 0;
    b->ops[b->n_ops] = (grammar_op){.kind = (uint8_t)kind, .a = x, .b = y};
    return (uint32_t)b->n_ops++;
}

void grammar_never(grammar_builder *b, const char *reason) {
    size_t at = b->notes.len, bytes = strlen(reason) + 1;
    bool fits = at + bytes <= GRAMMAR_NOTES_BYTES_MAX;
    if (fits) buf_append(&b->notes, reason, bytes);
    if (b->notes.failed) grammar_fail(b, ERR_MEMORY, "no memory to compile a grammar");
    grammar_emit(b, OP_FAIL, fits ? (uint32_t)at + 1 : 0, 0);
}

/* Room for n ops at a place; what was there moves up. Targets are relative, so what moves as a whole stays right.
 */
static bool insert(grammar_builder *b, uint32_t at, uint32_t n) {
    if (!grammar_grow(b, (void **)&b->ops, &b->ops_cap, b->n_ops + n, GRAMMAR_OPS_MAX, sizeof *b->ops, "steps"))
        return false;
    memmove(b->ops + at + n, b->ops + at, (b->n_ops - at) * sizeof *b->ops);
    b->steps += (uint32_t)((b->n_ops - at) / GRAMMAR_OPS_A_STEP);
    b->n_ops += n;
    return grammar_step(b);
}

void grammar_set_target(grammar_builder *b, uint32_t at, bool second, uint32_t target) {
    if (b->failed) return;
    *(second ? &b->ops[at].b : &b->ops[at].a) = target - at;
}

void grammar_jumps_land(grammar_builder *b, uint32_t begin, const uint32_t *places) {
    for (size_t i = begin; i < b->n_ops && !b->failed; i++) {
        grammar_op *o = &b->ops[i];
        if (o->kind != OP_JUMP || !o->b) continue;
        grammar_set_target(b, (uint32_t)i, false, places[o->b - 1]);
        o->b = 0;
    }
}

void grammar_text(grammar_builder *b, str text) {
    if (!text.len || !grammar_grow(b, (void **)&b->texts, &b->texts_cap, b->n_texts + text.len,
                                   GRAMMAR_TEXT_BYTES_MAX, 1, "bytes of text"))
        return;
    memcpy(b->texts + b->n_texts, text.data, text.len);
    grammar_emit(b, OP_TEXT, (uint32_t)b->n_texts, (uint32_t)text.len);
    b->n_texts += text.len;
}

void grammar_class(grammar_builder *b, const grammar_range *ranges, size_t n) {
    if (n == 0) {
        grammar_emit(b, OP_FAIL, 0, 0);
        return;
    }
    uint32_t *known = &b->classes[str_hash((str){(const char *)ranges, n * sizeof *ranges}) % GRAMMAR_CLASSES_KNOWN];
    if (*known + n <= b->n_ranges && !memcmp(b->ranges + *known, ranges, n * sizeof *ranges)) { /* as one before */
        grammar_emit(b, OP_CLASS, *known, (uint32_t)n);
        return;
    }
    if (!grammar_grow(b, (void **)&b->ranges, &b->ranges_cap, b->n_ranges + n, GRAMMAR_RANGES_MAX,
                      sizeof *b->ranges, "ranges of characters"))
        return;
    memcpy(b->ranges + b->n_ranges, ranges, n * sizeof *ranges);
    *known = (uint32_t)b->n_ranges;
    grammar_emit(b, OP_CLASS, (uint32_t)b->n_ranges, (uint32_t)n);
    b->n_ranges += n;
}

/* Ascending, not overlapping. */
static size_t sort_ranges(grammar_range *r, size_t n) {
    for (size_t i = 1; i < n; i++) {
        grammar_range x = r[i];
        size_t at = i;
        for (; at > 0 && r[at - 1].low > x.low; at--) r[at] = r[at - 1];
        r[at] = x;
    }
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        if (!out || r[i].low > r[out - 1].high + 1)
            r[out++] = r[i];
        else if (r[i].high > r[out - 1].high)
            r[out - 1].high = r[i].high;
    }
    return out;
}

size_t grammar_ranges_tidy(grammar_range *r, size_t n, bool inverted) {
    if (inverted) r[n++] = (grammar_range){0xD800, 0xDFFF}; /* surrogates are no characters */
    n = sort_ranges(r, n);
    if (!inverted) return n;
    size_t out = 0;
    uint32_t next = 0;
    for (size_t i = 0; i < n; i++) {
        grammar_range x = r[i];
        if (x.low > next) r[out++] = (grammar_range){next, x.low - 1};
        next = x.high + 1;
    }
    if (next <= 0x10FFFF) r[out++] = (grammar_range){next, 0x10FFFF};
    return out;
}

void grammar_call(grammar_builder *b, uint32_t rule) { grammar_emit(b, OP_CALL, rule, 0); }

static void repeat_without_end(grammar_builder *b, uint32_t start, uint32_t least) {
    uint32_t split = start;
    if (least == 0) {
        if (!insert(b, start, 1)) return;
        grammar_set_target(b, grammar_emit(b, OP_JUMP, 0, 0), false, start);
        b->ops[start] = (grammar_op){.kind = OP_SPLIT};
        grammar_set_target(b, split, false, start + 1);
    } else {
        split = grammar_emit(b, OP_SPLIT, 0, 0);
        grammar_set_target(b, split, false, start);
    }
    grammar_set_target(b, split, true, grammar_here(b));
}

void grammar_repeat(grammar_builder *b, uint32_t start, uint32_t least, uint32_t most) {
    if (b->failed || (least == 1 && most == 1)) return;
    if (most == 0) {
        b->n_ops = start;
    } else if (least <= 1 && most == GRAMMAR_UNBOUNDED) {
        repeat_without_end(b, start, least);
    } else if (least == 0 && most == 1) {
        if (!insert(b, start, 1)) return;
        b->ops[start] = (grammar_op){.kind = OP_SPLIT};
        grammar_set_target(b, start, false, start + 1);
        grammar_set_target(b, start, true, grammar_here(b));
    } else {
        grammar_repeat_list(b, start, start, least, most);
    }
}

void grammar_repeat_list(grammar_builder *b, uint32_t start, uint32_t first, uint32_t least, uint32_t most) {
    if (most == 0 && !b->failed) b->n_ops = start;
    if (most == 0 || !insert(b, start, 2)) return;
    grammar_emit(b, OP_RET, 0, 0);
    if (b->failed) return;
    b->ops[start] = (grammar_op){.kind = OP_REPEAT, .loop = (uint8_t)(first - start), .a = least, .b = most};
    b->ops[start + 1] = (grammar_op){.kind = OP_JUMP};
    grammar_set_target(b, start + 1, false, grammar_here(b));
}

grammar_alternatives grammar_alternatives_begin(const grammar_builder *b) {
    return (grammar_alternatives){.start = grammar_here(b)};
}

void grammar_alternatives_next(grammar_builder *b, grammar_alternatives *a) {
    if (!insert(b, a->start, 1)) return;
    b->ops[a->start] = (grammar_op){.kind = OP_SPLIT};
    grammar_set_target(b, a->start, false, a->start + 1);
    a->jumps = grammar_emit(b, OP_JUMP, a->jumps, 0);
    grammar_set_target(b, a->start, true, grammar_here(b));
    a->start = grammar_here(b);
}

void grammar_alternatives_end(grammar_builder *b, grammar_alternatives *a) {
    for (uint32_t at = a->jumps, before; at && !b->failed; at = before) {
        before = b->ops[at].a;
        grammar_set_target(b, at, false, grammar_here(b));
    }
}

/* ---- proofs ---- */

static void resolve(grammar_builder *b) {
    for (size_t i = 0; i < b->n_ops && !b->failed; i++) {
        grammar_op *o = &b->ops[i];
        if (o->kind == OP_KEYS && b->lists[o->b].base == GRAMMAR_UNBOUNDED) b->lists[o->b].base = (uint32_t)i;
        if (o->kind == OP_JUMP || o->kind == OP_SPLIT || o->kind == OP_KEYS) o->a += (uint32_t)i;
        if (o->kind == OP_SPLIT) o->b += (uint32_t)i;
        if (o->kind == OP_CALL) o->b = o->a, o->a = b->rules[o->a];
    }
    for (size_t i = 0; i < b->n_ops && !b->failed; i++) {
        size_t next = i + 1;
        while (b->ops[next].kind == OP_JUMP) next = b->ops[next].a;
        if (b->ops[i].kind == OP_CALL) b->ops[i].loop = b->ops[next].kind == OP_RET;
    }
}

/* Of what may be empty, any number of times says no more than none at least. */
static bool may_be_left_out(const grammar_op *o) { return !o->a || (o[2].nullable && o[2 + o->loop].nullable); }

static uint8_t larger(uint8_t x, uint8_t y) { return x > y ? x : y; }

static uint8_t need_of(const grammar_op *ops, const grammar_op *o) {
    uint8_t next = o[1].need, called;
    switch ((grammar_op_kind)o->kind) {
    case OP_RET: return 0;
    case OP_FAIL: return GRAMMAR_NEVER;
    case OP_JUMP: return ops[o->a].need;
    case OP_KEYS: return ops[o->a].need < next ? ops[o->a].need : next;
    case OP_SPLIT: return ops[o->a].need < ops[o->b].need ? ops[o->a].need : ops[o->b].need;
    case OP_CALL:
        called = ops[o->a].need;
        return called >= GRAMMAR_DEPTH_MAX ? GRAMMAR_NEVER : larger((uint8_t)(called + 1), next);
    case OP_REPEAT: return may_be_left_out(o) ? next : larger(o[2 + o->loop].need, next);
    default: return next;
    }
}

static bool nullable_of(const grammar_op *ops, const grammar_op *o) {
    switch ((grammar_op_kind)o->kind) {
    case OP_RET: return true;
    case OP_JUMP: return ops[o->a].nullable;
    case OP_SPLIT: return ops[o->a].nullable || ops[o->b].nullable;
    case OP_CALL: return ops[o->a].nullable && o[1].nullable;
    case OP_REPEAT: return (o->a == 0 || o[2 + o->loop].nullable) && o[1].nullable;
    default: return false;
    }
}

/* The least fixed point of both; a sentinel stands behind the last op. */
static void solve(grammar_builder *b) {
    for (size_t i = 0; i <= b->n_ops; i++) b->ops[i].need = GRAMMAR_NEVER;
    for (bool changed = true; changed && grammar_step(b);) {
        changed = false;
        for (size_t i = b->n_ops; i-- > 0;) {
            grammar_op *o = &b->ops[i];
            uint8_t need = need_of(b->ops, o);
            bool nullable = nullable_of(b->ops, o);
            changed |= need != o->need || nullable != o->nullable;
            o->need = need;
            o->nullable = nullable;
        }
        b->steps += (uint32_t)(b->n_ops / GRAMMAR_OPS_A_STEP);
    }
}

/* The machine, which follows, need not count times that were empty. */
static void relax_repeats(grammar_builder *b) {
    for (size_t i = 0; i < b->n_ops && !b->failed; i++)
        if (b->ops[i].kind == OP_REPEAT && may_be_left_out(&b->ops[i])) b->ops[i].a = 0;
}

/* From a rule's start, over all that takes no text, to the rules that are called there. */
typedef struct left_walk {
    uint32_t *seen;  /* by place: the rule from which it was reached last, + 1 */
    uint32_t *stack; /* places to go on from */
    uint32_t *calls; /* by rule: from how many places it is called so */
    uint32_t *queue; /* rules that no other calls so */
    uint32_t n_stack, n_queue;
} left_walk;

static void push(left_walk *w, uint32_t rule, uint32_t at) {
    if (w->seen[at] == rule + 1) return;
    w->seen[at] = rule + 1;
    w->stack[w->n_stack++] = at;
}

static void first_calls(grammar_builder *b, left_walk *w, uint32_t rule, bool count) {
    push(w, rule, b->rules[rule]);
    while (w->n_stack && grammar_step(b)) {
        uint32_t at = w->stack[--w->n_stack];
        const grammar_op *o = &b->ops[at];
        if (o->kind == OP_SPLIT) push(w, rule, o->b);
        if (o->kind == OP_SPLIT || o->kind == OP_JUMP) push(w, rule, o->a);
        if (o->kind == OP_REPEAT) push(w, rule, at + 2 + o->loop);
        if (o->kind == OP_REPEAT && (o->a == 0 || o[2 + o->loop].nullable)) push(w, rule, at + 1);
        if (o->kind != OP_CALL) continue;
        if (count)
            w->calls[o->b]++;
        else if (--w->calls[o->b] == 0)
            w->queue[w->n_queue++] = o->b;
        if (b->ops[o->a].nullable) push(w, rule, at + 1);
    }
}

/* Rules go that no other calls first, and their calls with them. A ring of rules that call one another never goes.
 */
static bool no_left_recursion(grammar_builder *b, left_walk *w) {
    uint32_t done = 0;
    for (uint32_t r = 0; r < b->n_rules; r++) first_calls(b, w, r, true);
    memset(w->seen, 0, b->n_ops * sizeof *w->seen);
    for (uint32_t r = 0; r < b->n_rules; r++)
        if (w->calls[r] == 0) w->queue[w->n_queue++] = r;
    while (done < w->n_queue && !b->failed) first_calls(b, w, w->queue[done++], false);
    return done == b->n_rules ||
           grammar_fail(b, ERR_INVALID, "a rule leads back to itself with nothing in between");
}

static bool check_left_recursion(grammar_builder *b) {
    size_t bytes = (2 * b->n_ops + 2 * b->n_rules) * sizeof(uint32_t);
    uint32_t *memory = alloc_zeroed(b->alloc, bytes);
    if (!memory) return grammar_fail(b, ERR_MEMORY, "no memory to compile a grammar");
    left_walk w = {.seen = memory,
                   .stack = memory + b->n_ops,
                   .calls = memory + 2 * b->n_ops,
                   .queue = memory + 2 * b->n_ops + b->n_rules};
    bool ok = no_left_recursion(b, &w);
    alloc_free(b->alloc, memory, bytes);
    return ok;
}

/* From the start over what nothing satisfies, to where nothing goes on. */
static const char *why_never(const grammar_builder *b) {
    uint32_t at = b->rules[0];
    for (size_t i = 0; i < b->n_ops && at < b->n_ops; i++) {
        const grammar_op *o = &b->ops[at];
        if (o->kind == OP_FAIL) return o->a ? b->notes.data + o->a - 1 : "nothing satisfies it";
        bool inside = (o->kind == OP_CALL && b->ops[o->a].need >= GRAMMAR_DEPTH_MAX) || o->kind == OP_JUMP ||
                      o->kind == OP_SPLIT || o->kind == OP_KEYS;
        if (o->kind == OP_REPEAT && o->a && o[2 + o->loop].need == GRAMMAR_NEVER) at += 2 + o->loop;
        else at = inside ? o->a : at + 1;
    }
    return "nothing satisfies it: what it requires leads back to itself without an end, or deeper than 48 levels";
}

static bool prove(grammar_builder *b) {
    grammar_emit(b, OP_FAIL, 0, 0); /* whoever looks at what follows a last op finds one */
    if (b->failed) return false;
    b->n_ops--;
    resolve(b);
    solve(b);
    relax_repeats(b);
    if (b->failed || !check_left_recursion(b)) return false;
    return b->ops[b->rules[0]].need <= GRAMMAR_DEPTH_MAX || grammar_fail(b, ERR_INVALID, "%s", why_never(b));
}

/* ---- one block ---- */

static size_t aligned(size_t bytes) { return (bytes + 15) & ~(size_t)15; }

static const void *put_part(char *at, const void *part, size_t bytes) { return bytes ? memcpy(at, part, bytes) : at; }

text_grammar *grammar_builder_finish(grammar_builder *b) {
    static _Atomic uint32_t last_serial;
    if (b->failed || !prove(b)) return NULL;
    size_t head = aligned(sizeof(text_grammar)), ops = aligned(b->n_ops * sizeof *b->ops),
           ranges = aligned(b->n_ranges * sizeof *b->ranges), keys = aligned(b->n_keys * sizeof *b->keys),
           lists = aligned(b->n_lists * sizeof *b->lists), bytes = head + ops + ranges + keys + lists + b->n_texts;
    char *at = alloc_bytes(b->alloc, bytes);
    if (!at) return err_set_memory(b->e, bytes, 0, "no memory for a compiled grammar"), NULL;
    text_grammar *g = (text_grammar *)(void *)at;
    *g = (text_grammar){
        .alloc = *b->alloc, .bytes = bytes, .serial = atomic_fetch_add(&last_serial, 1) + 1, .start = b->rules[0]};
    g->ops = memcpy(at += head, b->ops, b->n_ops * sizeof *b->ops);
    g->ranges = put_part(at += ops, b->ranges, b->n_ranges * sizeof *b->ranges);
    g->keys = put_part(at += ranges, b->keys, b->n_keys * sizeof *b->keys);
    g->lists = put_part(at += keys, b->lists, b->n_lists * sizeof *b->lists);
    g->texts = put_part(at + lists, b->texts, b->n_texts);
    return g;
}
