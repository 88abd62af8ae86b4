/* Objects of schemas. */
#include "text/grammar/schema.h"

/* ---- members ---- */

enum { PATTERNS_MAX = 24, ALL_SETS_OF_PATTERNS = 3 };

typedef struct members {
    str *names;
    bool *required;
    size_t n, names_cap, required_cap, n_required;
    size_t open;                     /* behind the last that is required */
    uint32_t least, most;            /* of minProperties, maxProperties */
    uint32_t patterns[PATTERNS_MAX]; /* of patternProperties, different ones */
    uint32_t n_patterns;
    schema_parts keys;   /* propertyNames */
    bool others_come;    /* members that nobody names are asked for, not only allowed */
    bool patterns_come;
} members;

static size_t find_name(const members *m, str name) {
    size_t i = 0;
    while (i < m->n && !str_eq(m->names[i], name)) i++;
    return i;
}

static void add_name(schema *s, members *m, str name, bool required) {
    if (!grammar_step(s->b)) return;
    s->b->steps += (uint32_t)(m->n / 16);
    size_t i = find_name(m, name);
    if (i == m->n) {
        if (!grammar_grow(s->b, (void **)&m->names, &m->names_cap, m->n + 1, SCHEMA_NODES_MAX, sizeof *m->names,
                          "members") ||
            !grammar_grow(s->b, (void **)&m->required, &m->required_cap, m->n + 1, SCHEMA_NODES_MAX, 1, "members"))
            return;
        m->names[m->n] = name;
        m->required[m->n++] = false;
    }
    m->n_required += required && !m->required[i];
    m->required[i] |= required;
}

static void gather_names(schema *s, const schema_parts *p, members *m) {
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t properties = schema_member(s, p->at[i].node, "properties");
        for (uint32_t c = s->nodes[properties].child; c; c = s->nodes[c].next)
            add_name(s, m, s->nodes[c].key, false);
    }
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t required = schema_member(s, p->at[i].node, "required");
        for (uint32_t c = s->nodes[required].child; c; c = s->nodes[c].next) add_name(s, m, s->nodes[c].text, true);
        if (p->at[i].forced) add_name(s, m, s->nodes[p->at[i].forced].key, true);
    }
}

static void gather_patterns(schema *s, members *m, uint32_t map) {
    for (uint32_t c = s->nodes[map].child; c; c = s->nodes[c].next) {
        bool known = false;
        for (uint32_t i = 0; i < m->n_patterns; i++) known |= str_eq(s->nodes[m->patterns[i]].key, s->nodes[c].key);
        if (!known && m->n_patterns == PATTERNS_MAX)
            schema_fail(s, map, "more than %d 'patternProperties' are not supported", PATTERNS_MAX);
        else if (!known) m->patterns[m->n_patterns++] = c;
    }
}

/* Members without a name are written where a schema speaks of them: with `properties` alone they would only be
 * allowed. */
static bool gather_others(schema *s, const schema_parts *p, members *m) {
    bool speaks = false, named = false, closed = false, wanted = false;
    m->most = GRAMMAR_UNBOUNDED;
    for (uint32_t i = 0, n; i < p->n; i++) {
        uint32_t node = p->at[i].node, more = schema_member(s, node, "additionalProperties"),
                 patterns = schema_member(s, node, "patternProperties"),
                 names = schema_member(s, node, "propertyNames"),
                 unevaluated = schema_member(s, node, "unevaluatedProperties");
        named |= schema_member(s, node, "properties") != 0 && !s->nodes[schema_original(s, node)].made;
        if (more) speaks = true, closed |= s->nodes[more].kind == JSON_BOOL && !s->nodes[more].boolean;
        if (unevaluated && !s->nodes[unevaluated].boolean) closed = true;
        if (names) schema_add(s, &m->keys, names);
        if (schema_count(s, node, "minProperties", &n) && n > m->least) m->least = n;
        if (schema_count(s, node, "maxProperties", &n) && n < m->most) m->most = n;
        gather_patterns(s, m, patterns);
    }
    wanted = m->least > m->n && !m->n_patterns; /* as many are not named */
    m->patterns_come = m->n_patterns && !m->keys.never;
    m->others_come = (speaks || wanted || (!named && !m->n_patterns)) && !closed && !m->keys.never;
    return !s->b->failed;
}

/* What a part says of a member by its key: its patterns that are found there; if nothing names it, the others. */
static void parts_of_part(schema *s, uint32_t node, const members *m, uint64_t found, bool named, schema_parts *out) {
    uint32_t patterns = schema_member(s, node, "patternProperties"),
             more = schema_member(s, node, "additionalProperties");
    bool known = named;
    for (uint32_t c = s->nodes[patterns].child; c && !s->b->failed; c = s->nodes[c].next)
        for (uint32_t i = 0; i < m->n_patterns; i++)
            if ((found >> i & 1) && str_eq(s->nodes[m->patterns[i]].key, s->nodes[c].key))
                known = true, schema_add(s, out, c);
    if (!known && more) schema_add(s, out, more);
}

/* All that the parts say of one member. */
static void parts_of(schema *s, const schema_parts *p, const members *m, str name, schema_parts *out) {
    uint64_t found = 0;
    *out = (schema_parts){0};
    for (uint32_t i = 0; i < m->n_patterns && !s->b->failed; i++)
        if (schema_finds(s, m->patterns[i], s->nodes[m->patterns[i]].key, name)) found |= UINT64_C(1) << i;
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t node = p->at[i].node, own = schema_member_str(s, schema_member(s, node, "properties"), name);
        if (own) schema_add(s, out, own);
        parts_of_part(s, node, m, found, own != 0, out);
    }
    for (uint32_t i = 0; i < m->keys.n && !s->b->failed; i++) {
        uint32_t key = schema_make(s, m->keys.at[i].node, JSON_STRING);
        if (key) s->nodes[key].text = name;
        out->never |= !key || !schema_accepts(s, m->keys.at[i], key, 0);
    }
    out->never |= m->keys.never;
}

/* ---- keys ---- */

static void emit_comma(schema *s) {
    if (s->level == LEVEL_JSON) grammar_json_separator(s->b, ',');
}

/* With all that comes before its value, but for the ':' of JSON. False: a tag takes no such name. */
static bool write_key(schema *s, str name, buf *out) {
    json_writer w;
    bool json = s->level == LEVEL_JSON, taken = json || schema_tag_takes_name(name);
    if (json) {
        json_begin(&w, out);
        json_string(&w, name);
    } else if (taken) {
        buf_append_str(out, str_of(s->tags->key));
        buf_append_str(out, name);
        buf_append_str(out, str_of(s->tags->key_end));
    }
    if (out->failed) grammar_fail(s->b, ERR_MEMORY, "no memory to compile a grammar");
    return taken && !out->failed;
}

static void emit_key(schema *s, str name) {
    buf text;
    buf_init(&text, s->b->alloc, GRAMMAR_TEXT_BYTES_MAX);
    if (write_key(s, name, &text)) grammar_text(s->b, buf_str(&text));
    else grammar_emit(s->b, OP_FAIL, 0, 0);
    buf_free(&text);
}

enum { OTHER_KEYS_MAX = 96, OTHER_KEY_BYTES_MAX = 64 };

/* The inside of a string that is none of the names, which all begin alike up to `at`. */
static void emit_other_key(schema *s, const str *names, size_t n, size_t at) {
    grammar_range taken[OTHER_KEYS_MAX + 6];
    size_t n_taken = 0;
    bool ends = false;
    if (at > OTHER_KEY_BYTES_MAX)
        grammar_fail(s->b, ERR_INVALID, "members whose names are alike in %d bytes are not supported beside others",
                     OTHER_KEY_BYTES_MAX);
    grammar_alternatives a = grammar_alternatives_begin(s->b);
    for (size_t i = 0; i < n && grammar_step(s->b); i++) {
        uint32_t cp = 0;
        if (names[i].len == at)
            ends = true;
        else
            utf8_decode(names[i].data + at, names[i].len - at, &cp);
        bool seen = names[i].len == at;
        for (size_t t = 0; t < n_taken; t++) seen |= taken[t].low == cp;
        if (seen || n_taken == OTHER_KEYS_MAX) continue;
        taken[n_taken++] = (grammar_range){cp, cp};
        if (cp < 0x20 || cp == '"' || cp == '\\') continue; /* no key with an escape so early */
        char text[4];
        size_t bytes = (size_t)utf8_encode(cp, text), first = i, alike = 0;
        str *mine = alloc_bytes(s->b->alloc, n * sizeof *mine);
        if (!mine) {
            grammar_fail(s->b, ERR_MEMORY, "no memory to compile a grammar");
            return;
        }
        for (size_t j = first; j < n; j++)
            if (names[j].len >= at + bytes && !memcmp(names[j].data + at, text, bytes)) mine[alike++] = names[j];
        grammar_text(s->b, (str){text, bytes});
        emit_other_key(s, mine, alike, at + bytes);
        grammar_alternatives_next(s->b, &a);
        alloc_free(s->b->alloc, mine, n * sizeof *mine);
    }
    if (n_taken == OTHER_KEYS_MAX)
        grammar_fail(s->b, ERR_INVALID, "members begin with more than %d different characters", OTHER_KEYS_MAX - 1);
    taken[n_taken++] = (grammar_range){0, 0x1F};
    taken[n_taken++] = (grammar_range){'"', '"'};
    taken[n_taken++] = (grammar_range){'\\', '\\'};
    grammar_class(s->b, taken, grammar_ranges_tidy(taken, n_taken, true));
    grammar_emit(s->b, OP_STRING, 0, GRAMMAR_UNBOUNDED);
    if (!ends) {
        grammar_alternatives_next(s->b, &a);
        grammar_text(s->b, STR("\""));
    }
    grammar_alternatives_end(s->b, &a);
}

/* Keys as a set of strings: those in which these patterns are found, and no others, and that are no name. */
static expression keys_of(schema *s, const members *m, uint64_t found) {
    language *l = &s->words;
    expression e = LANGUAGE_ALL;
    if (!schema_words_begin(s)) return LANGUAGE_NONE;
    for (uint32_t i = 0; i < m->keys.n; i++)
        e = language_and(l, e, schema_strings(s, m->keys.at[i].node, false, 0));
    for (uint32_t i = 0; i < m->n_patterns && !s->b->failed; i++) {
        str pattern = s->nodes[m->patterns[i]].key;
        bool has = found >> i & 1;
        expression own = schema_words(s, m->patterns[i], pattern, false, !has);
        e = language_and(l, e, has ? own : language_not(l, own));
    }
    size_t begun = language_begin_or(l);
    for (size_t i = 0; i < m->n && grammar_step(s->b); i++) language_add_or(l, language_text(l, m->names[i]));
    return language_and(l, e, language_not(l, language_end_or(l, begun)));
}

/* In a tag. */
static void emit_other_name(schema *s, const members *m, uint64_t found, bool *none) {
    if (!schema_words_begin(s)) return;
    s->b->plain = true;
    language_emit(&s->words, schema_tag_names(s, keys_of(s, m, found)), (grammar_lengths){0, GRAMMAR_UNBOUNDED}, none);
    s->b->plain = false;
}

/* One kind of them: which of the patterns are found in the key. false: there are none. */
static bool emit_kind_of_others(schema *s, const schema_parts *p, const members *m, uint64_t found) {
    schema_parts own = {0};
    grammar_lengths any = {0, GRAMMAR_UNBOUNDED};
    bool none = false, plain = !m->n_patterns && !m->keys.n;
    for (uint32_t i = 0; i < p->n; i++) parts_of_part(s, p->at[i].node, m, found, false, &own);
    if (own.never || s->b->failed) return false;
    uint32_t start = grammar_here(s->b);
    bool json = s->level == LEVEL_JSON;
    grammar_text(s->b, json ? STR("\"") : str_of(s->tags->key));
    if (!json) emit_other_name(s, m, found, &none);
    else if (plain && m->n) emit_other_key(s, m->names, m->n, 0);
    else if (plain) grammar_emit(s->b, OP_STRING, 0, GRAMMAR_UNBOUNDED);
    else language_emit(&s->words, keys_of(s, m, found), any, &none);
    if (none && !s->b->failed) s->b->n_ops = start;
    if (none || s->b->failed) return false;
    if (json) grammar_json_separator(s->b, ':'), schema_emit(s, &own);
    else grammar_text(s->b, str_of(s->tags->key_end)), schema_tag_value(s, STR(""), &own);
    return true;
}

static void emit_member_of_others(schema *s, const schema_parts *p, const members *m) {
    grammar_alternatives a = grammar_alternatives_begin(s->b);
    uint64_t sets = m->n_patterns <= ALL_SETS_OF_PATTERNS ? (UINT64_C(1) << m->n_patterns) - 1 : m->n_patterns;
    for (uint64_t i = m->others_come ? 0 : 1; i <= (m->patterns_come ? sets : 0) && !s->b->failed; i++) {
        uint64_t found = m->n_patterns <= ALL_SETS_OF_PATTERNS ? i : i ? UINT64_C(1) << (i - 1) : 0;
        if (emit_kind_of_others(s, p, m, found)) grammar_alternatives_next(s->b, &a);
    }
    if (s->b->failed && m->n_patterns && s->b->e->code == ERR_INVALID && strncmp(s->b->e->message, "at ", 3)) {
        err why = *s->b->e;
        s->b->failed = false;
        schema_fail(s, schema_original(s, m->patterns[0]), "the pattern: %s", why.message);
    }
    grammar_emit(s->b, OP_FAIL, 0, 0);
    grammar_alternatives_end(s->b, &a);
}

/* ---- objects ---- */

/* A run of members of which any may come next: all that are not required, up to one that is, or to the end. Where
 * members are counted each stands once for each count of those before it, up to where that no longer matters: a layer
 * for each. Their ways are labels until all places are known: of the members (member_label), of what comes behind
 * them when so many are written (rest_label), and of the end. */
typedef struct writing {
    schema *s;
    const schema_parts *p;
    const members *m;
    uint32_t counts; /* that are told apart: the last is its own next */
    uint32_t layers;
    uint32_t *places;
} writing;

static uint32_t member_label(const writing *w, size_t i, uint32_t layer) { return (uint32_t)i * w->layers + layer; }
static uint32_t rest_label(const writing *w, uint32_t count) { return member_label(w, w->m->n, count); }
static uint32_t end_label(const writing *w) { return rest_label(w, w->counts); }
static void place(const writing *w, uint32_t label) { w->places[label] = grammar_here(w->s->b); }

static void jump_to(const writing *w, uint32_t label) {
    uint32_t at = grammar_emit(w->s->b, OP_JUMP, 0, 0);
    if (!w->s->b->failed) w->s->b->ops[at].b = label + 1;
}

/* All that is behind the named ones, when so many are written. */
static void emit_counted_others(const writing *w, uint32_t count) {
    schema *s = w->s;
    const members *m = w->m;
    uint32_t least = count < m->least ? m->least - count : 0,
             most = m->most == GRAMMAR_UNBOUNDED ? m->most : m->most - count;
    if (!m->others_come && !m->patterns_come) most = 0;
    bool never = least > most || least > 1; /* two of them may be the same: they count as one */
    if (least > most)
        schema_never(s, w->p->at[0].node,
                     "nothing satisfies it: 'minProperties' asks for more members than may be there");
    else if (never)
        schema_never(s, w->p->at[0].node,
                     "'minProperties' is supported up to one more than the members that are named");
    if (never || !most) return;
    uint32_t start = grammar_here(s->b);
    emit_comma(s);
    uint32_t first = count ? start : grammar_here(s->b);
    emit_member_of_others(s, w->p, m);
    grammar_repeat_list(s->b, start, first, least, most);
}

/* Of any number of others: with a comma before the first, and without one, at the same code. */
static void emit_others_once(const writing *w) {
    grammar_builder *b = w->s->b;
    uint32_t start = grammar_here(b), first;
    place(w, rest_label(w, 1));
    emit_comma(w->s);
    first = grammar_here(b);
    emit_member_of_others(w->s, w->p, w->m);
    grammar_repeat(b, start, 0, GRAMMAR_UNBOUNDED); /* a SPLIT now stands at start */
    jump_to(w, end_label(w));
    place(w, rest_label(w, 0));
    uint32_t skip = w->m->least ? 0 : grammar_emit(b, OP_SPLIT, 0, 0);
    if (skip) grammar_set_target(b, skip, false, skip + 1);
    grammar_set_target(b, grammar_emit(b, OP_JUMP, 0, 0), false, first + 1);
    if (!skip) return;
    grammar_set_target(b, skip, true, grammar_here(b));
    jump_to(w, end_label(w));
}

static void emit_rest(const writing *w) {
    bool more = w->m->others_come || w->m->patterns_come;
    if (w->counts == 2 && more && w->m->most == GRAMMAR_UNBOUNDED && !w->m->n_required && w->m->least <= 1) {
        emit_others_once(w);
        return;
    }
    for (uint32_t c = 0; c < w->counts && grammar_step(w->s->b); c++) {
        place(w, rest_label(w, c));
        if (c < w->m->n_required && c + 1 < w->counts) continue; /* never so few */
        emit_counted_others(w, c);
        jump_to(w, end_label(w));
    }
}

/* Where the members from i on may come, when so many are written. */
static void emit_from(const writing *w, size_t i, uint32_t count) {
    grammar_builder *b = w->s->b;
    bool closed = i < w->m->open, full = count == w->m->most;
    uint32_t skip = 0;
    if (i == w->m->n || (full && !closed)) {
        jump_to(w, rest_label(w, count));
        return;
    }
    if (full) {
        schema_never(w->s, w->p->at[0].node, "nothing satisfies it: 'required' asks for more than 'maxProperties'");
        return;
    }
    if (!closed) skip = grammar_emit(b, OP_SPLIT, 0, 0), grammar_set_target(b, skip, false, skip + 1);
    if (count) emit_comma(w->s);
    jump_to(w, member_label(w, i, count < w->layers ? count : w->layers - 1));
    if (closed) return;
    grammar_set_target(b, skip, true, grammar_here(b));
    jump_to(w, rest_label(w, count));
}

static void emit_member(const writing *w, size_t i, uint32_t layer, bool key) {
    schema *s = w->s;
    schema_parts own;
    parts_of(s, w->p, w->m, w->m->names[i], &own);
    if (key) emit_key(s, w->m->names[i]);
    if (s->level == LEVEL_JSON) grammar_json_separator(s->b, ':');
    if (s->level == LEVEL_ARGUMENTS) schema_tag_value(s, w->m->names[i], &own);
    else if (w->layers > 1) schema_call(s, &own);
    else schema_emit(s, &own);
    emit_from(w, i + 1, layer + 1);
}

/* The keys of a run, for all layers. */
static void emit_keys(const writing *w, size_t from, size_t to) {
    grammar_builder *b = w->s->b;
    uint32_t keys = grammar_keys_begin(b);
    buf text;
    buf_init(&text, b->alloc, GRAMMAR_TEXT_BYTES_MAX);
    for (size_t i = from; i < to && grammar_step(b); i++) {
        buf_clear(&text);
        if (write_key(w->s, w->m->names[i], &text)) grammar_keys_add(b, buf_str(&text), (uint32_t)(i - from));
    }
    buf_free(&text);
    grammar_keys_end(b, keys);
    for (uint32_t layer = 0, n = (uint32_t)b->n_keys - keys; layer < w->layers && !b->failed; layer++) {
        uint32_t start = grammar_keys_emit(b, keys, n, (uint32_t)(to - from));
        for (size_t i = from; i < to; i++) w->places[member_label(w, i, layer)] = start + (uint32_t)(i - from);
    }
}

static void emit_run(const writing *w, size_t from, size_t to) {
    bool alone = to - from == 1;
    if (!alone) emit_keys(w, from, to);
    for (size_t i = from; i < to; i++)
        for (uint32_t layer = 0; layer < w->layers && layer <= i && grammar_step(w->s->b); layer++) {
            uint32_t label = member_label(w, i, layer);
            if (alone) place(w, label);
            else grammar_set_target(w->s->b, w->places[label], false, grammar_here(w->s->b));
            emit_member(w, i, layer, alone);
        }
}

static void emit_all(const writing *w) {
    uint32_t begin = grammar_here(w->s->b);
    emit_from(w, 0, 0);
    for (size_t i = 0, to; i < w->m->n && !w->s->b->failed; i = to) {
        for (to = i; to < w->m->n && !w->m->required[to]; to++) {}
        to += to < w->m->n;
        emit_run(w, i, to);
    }
    emit_rest(w);
    place(w, end_label(w));
    grammar_jumps_land(w->s->b, begin, w->places);
}

enum { COUNTED_MAX = 1500 };

/* How many counts of members must be told apart. */
static uint32_t counts_of(const members *m) {
    bool counted = (m->least > m->n_required && m->least > 1) || m->most < GRAMMAR_UNBOUNDED;
    size_t counts = !counted ? 2 : m->most == GRAMMAR_UNBOUNDED ? m->least + (size_t)1 : m->most + (size_t)1;
    if (counts > m->n + 1) counts = m->n + 1;
    return counts < 2 ? 2 : (uint32_t)counts;
}

static bool emit_members(schema *s, const schema_parts *p, members *m) {
    writing w = {.s = s, .p = p, .m = m};
    bool more = m->others_come || m->patterns_come;
    if (!more && m->most >= m->n) m->most = GRAMMAR_UNBOUNDED;
    bool many = counts_of(m) > 2 && m->n * counts_of(m) > COUNTED_MAX && m->most == GRAMMAR_UNBOUNDED;
    for (size_t i = 0; i < m->n && many && m->n_required < m->least; i++)
        if (!m->required[i]) m->required[i] = true, m->n_required++; /* fewer choices */
    if (m->most == GRAMMAR_UNBOUNDED && m->n_required >= m->least && m->n_required) m->least = 0;
    for (size_t i = 0; i < m->n; i++)
        if (m->required[i]) m->open = i + 1;
    w.counts = counts_of(m);
    w.layers = w.counts - 1;
    for (size_t i = 0; i < m->n && s->level == LEVEL_ARGUMENTS; i++)
        if (m->required[i] && !schema_tag_takes_name(m->names[i]))
            return schema_fail(s, p->at[0].node, "'%.*s' is required, and no tag can hold that name: without '<', '>' "
                                                 "and line breaks, and not empty, it can",
                               (int)(m->names[i].len < 64 ? m->names[i].len : 64), m->names[i].data);
    if (w.layers > 1 && m->n * w.counts > COUNTED_MAX)
        return schema_fail(s, p->at[0].node, "'maxProperties' with more than %d members is not supported",
                           COUNTED_MAX / (int)w.counts);
    size_t bytes = (end_label(&w) + 1) * sizeof(uint32_t);
    if (!(w.places = alloc_zeroed(s->b->alloc, bytes)))
        return grammar_fail(s->b, ERR_MEMORY, "no memory to compile a grammar");
    emit_all(&w);
    alloc_free(s->b->alloc, w.places, bytes);
    return !s->b->failed;
}

/* {} itself, or other objects, may be excluded. */
static bool excludes_objects(const schema *s, const schema_parts *p, members *m) {
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t no = schema_member(s, p->at[i].node, "not"), one = schema_member(s, no, "const"),
                 list = schema_member(s, no, "enum");
        for (uint32_t v = one ? one : s->nodes[list].child; no && v; v = one ? 0 : s->nodes[v].next) {
            if (s->nodes[v].kind != JSON_OBJECT_START) continue;
            if (s->nodes[v].n) return true;
            if (!m->least) m->least = 1;
        }
    }
    return false;
}

bool schema_emit_object(schema *s, const schema_parts *p) {
    members m = {0};
    gather_names(s, p, &m);
    if (!s->b->failed && gather_others(s, p, &m)) {
        bool more = m.others_come || m.patterns_come, excluded = excludes_objects(s, p, &m);
        if (more && m.least > m.n + 1 && m.least <= m.most)
            schema_fail(s, p->at[0].node,
                        "'minProperties' is supported up to one more than the members that are named");
        if (s->level == LEVEL_JSON) grammar_text(s->b, STR("{"));
        if (excluded)
            schema_never(s, p->at[0].node, "'not' of an object that has members is not supported");
        else if (m.n_required > m.most || m.least > m.most)
            schema_never(s, p->at[0].node, "nothing satisfies it: 'maxProperties' is below 'minProperties' or what is "
                                           "'required'");
        else if (!m.n) emit_counted_others(&(writing){.s = s, .p = p, .m = &m}, 0);
        else emit_members(s, p, &m);
        if (s->level == LEVEL_JSON) grammar_text(s->b, STR("}"));
    }
    alloc_free(s->b->alloc, m.names, m.names_cap * sizeof *m.names);
    alloc_free(s->b->alloc, m.required, m.required_cap);
    return !s->b->failed;
}
