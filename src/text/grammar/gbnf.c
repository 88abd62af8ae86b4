/* The notation of grammars: rules `name ::= …`, as llama.cpp reads them, with %json{…}, %tags and <|token|>. */
#include "text/grammar/internal.h"

enum { NESTING_MAX = 64, CLASS_RANGES_MAX = 256, TOKEN_NAME_MAX = 128, REPEATS_MAX = 1 << 20, HEADS = 1 << 11 };

typedef struct name {
    str text;
    uint32_t rule, line; /* where it was first used */
    uint32_t chain;      /* the one before it of the same hash, + 1 */
    bool defined;
} name;

typedef struct schema_at {
    str json;
    uint32_t rule, line;
    bool tagged; /* %tags, not %json */
    grammar_tags tags;
} schema_at;

typedef struct parser {
    grammar_builder *b;
    const char *at, *end;
    const char *counted; /* lines were counted up to here */
    uint32_t lines;
    name *names;
    size_t n_names, names_cap;
    uint16_t heads[HEADS]; /* of names, by hash: the newest, + 1 */
    schema_at *schemas; /* compiled when all rules are written: a rule's code lies in one piece */
    size_t n_schemas, schemas_cap;
    int nesting;
} parser;

static uint32_t line_of(parser *p) {
    for (; p->counted < p->at && p->counted < p->end; p->counted++) p->lines += *p->counted == '\n';
    return p->lines + 1;
}

static bool wrong(parser *p, const char *what) {
    return grammar_fail(p->b, ERR_INVALID, "line %u: %s", line_of(p), what);
}

static int peek(const parser *p) { return p->at < p->end ? (unsigned char)*p->at : -1; }

static bool take(parser *p, char c) {
    if (peek(p) != c) return false;
    p->at++;
    return true;
}

static void skip_blanks(parser *p, bool newlines) {
    for (int c; (c = peek(p)) >= 0; p->at++) {
        if (c == '#') {
            while (p->at + 1 < p->end && p->at[1] != '\n' && p->at[1] != '\r') p->at++;
        } else if (c != ' ' && c != '\t' && !(newlines && (c == '\n' || c == '\r'))) {
            return;
        }
    }
}

static bool is_name(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static str take_name(parser *p) {
    const char *start = p->at;
    while (is_name(peek(p))) p->at++;
    return (str){start, (size_t)(p->at - start)};
}

static name *find_name(parser *p, str text) {
    uint16_t *head = &p->heads[str_hash(text) % HEADS];
    for (uint32_t i = *head; i; i = p->names[i - 1].chain)
        if (str_eq(p->names[i - 1].text, text)) return &p->names[i - 1];
    if (!grammar_grow(p->b, (void **)&p->names, &p->names_cap, p->n_names + 1, GRAMMAR_RULES_MAX, sizeof *p->names,
                      "rules"))
        return NULL;
    uint32_t rule = str_is(text, "root") ? 0 : grammar_rule_new(p->b);
    p->names[p->n_names] = (name){.text = text, .rule = rule, .line = line_of(p), .chain = *head};
    if (p->b->failed) return NULL;
    *head = (uint16_t)(p->n_names + 1);
    return &p->names[p->n_names++];
}

/* ---- characters ---- */

static bool take_hex(parser *p, int digits, uint32_t *cp) {
    *cp = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        int c = peek(p), low = c | 0x20;
        bool digit = c >= '0' && c <= '9';
        if (!digit && (low < 'a' || low > 'f')) return wrong(p, "an escape lacks hexadecimal digits");
        *cp = *cp << 4 | (uint32_t)(digit ? c - '0' : low - 'a' + 10);
    }
    return *cp <= 0x10FFFF && (*cp < 0xD800 || *cp > 0xDFFF) ? true : wrong(p, "an escape names no character");
}

static bool take_escape(parser *p, uint32_t *cp) {
    int c = peek(p);
    p->at++;
    switch (c) {
    case 'x': return take_hex(p, 2, cp);
    case 'u': return take_hex(p, 4, cp);
    case 'U': return take_hex(p, 8, cp);
    case 't': *cp = '\t'; return true;
    case 'r': *cp = '\r'; return true;
    case 'n': *cp = '\n'; return true;
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
    case '^': *cp = (uint32_t)c; return true;
    default:
        p->at--;
        return wrong(p, "this escape is not known; known are \\x \\u \\U \\t \\r \\n \\\\ \\\" \\[ \\]");
    }
}

static bool take_character(parser *p, uint32_t *cp) {
    if (take(p, '\\')) return take_escape(p, cp);
    int n = utf8_decode(p->at, (size_t)(p->end - p->at), cp);
    if (n <= 0) return wrong(p, "the text is not valid UTF-8");
    p->at += n;
    return true;
}

/* Behind its opening quote. */
static bool take_literal(parser *p, buf *to) {
    char text[4];
    uint32_t cp;
    while (!p->b->failed && !take(p, '"')) {
        if (peek(p) < 0 || peek(p) == '\n') return wrong(p, "a literal lacks its closing quote");
        if (take_character(p, &cp)) buf_append(to, text, (size_t)utf8_encode(cp, text));
    }
    return !p->b->failed;
}

static void literal(parser *p) {
    grammar_texts t;
    grammar_texts_begin(p->b, &t);
    if (take_literal(p, &t.all) && t.all.failed) grammar_fail(p->b, ERR_MEMORY, "no memory to compile a grammar");
    grammar_text(p->b, buf_str(&t.all));
    grammar_texts_end(p->b, &t);
}

static void class(parser *p) {
    grammar_range r[CLASS_RANGES_MAX + 2];
    size_t n = 0;
    bool inverted = take(p, '^');
    while (!p->b->failed && peek(p) != ']') {
        if (peek(p) < 0)
            wrong(p, "a class lacks its ]");
        else if (n == CLASS_RANGES_MAX)
            wrong(p, "a class has too many characters");
        else if (take_character(p, &r[n].low)) {
            r[n].high = r[n].low;
            if (peek(p) == '-' && p->at + 1 < p->end && p->at[1] != ']') {
                p->at++;
                if (take_character(p, &r[n].high) && r[n].high < r[n].low)
                    wrong(p, "a range of a class goes backwards");
            }
            n++;
        }
    }
    p->at++;
    if (!p->b->failed) grammar_class(p->b, r, grammar_ranges_tidy(r, n, inverted));
}

/* ---- our own forms ---- */

static void token(parser *p) {
    const char *start = p->at - 1;
    while (peek(p) > ' ' && peek(p) != '>' && p->at - start < TOKEN_NAME_MAX) p->at++;
    if (!take(p, '>')) {
        wrong(p, "a token <…> lacks its >");
        return;
    }
    str text = {start, (size_t)(p->at - start)};
    const text_vocab *v = p->b->vocab;
    uint32_t id = 0, digits = 0;
    if (text.len > 4 && text.data[1] == '[' && text.data[text.len - 2] == ']') {
        for (size_t i = 2; i < text.len - 2 && digits < 9 && text.data[i] >= '0' && text.data[i] <= '9';
             i++, digits++)
            id = id * 10 + (uint32_t)(text.data[i] - '0');
        if (digits + 4 != text.len)
            wrong(p, "a token's number is written <[123]>");
        else if (!v || id >= text_vocab_size(v))
            wrong(p, "a token's number is outside the vocabulary");
        else
            grammar_emit(p->b, OP_TOKEN, id, 0);
        return;
    }
    bool in_brackets = str_starts(text, STR("<|[")) && text.len > 6 && text.data[text.len - 3] == ']';
    if (in_brackets) text = (str){text.data + 2, text.len - 4};
    text_token t = v ? text_vocab_find(v, text) : TEXT_NO_TOKEN;
    if (t == TEXT_NO_TOKEN)
        grammar_text(p->b, text);
    else
        grammar_emit(p->b, OP_TOKEN, (uint32_t)t, 0);
}

/* Without the anchors at both ends, which say nothing of a whole text. */
static str without_anchors(str pattern) {
    size_t slashes = 0;
    if (pattern.len && pattern.data[0] == '^') pattern = (str){pattern.data + 1, pattern.len - 1};
    if (!pattern.len || pattern.data[pattern.len - 1] != '$') return pattern;
    while (slashes + 1 < pattern.len && pattern.data[pattern.len - 2 - slashes] == '\\') slashes++;
    return (str){pattern.data, pattern.len - (slashes % 2 == 0)};
}

/* Behind %regex: the pattern as a literal. */
static void pattern(parser *p) {
    uint32_t line = line_of(p), cp;
    size_t n = 0, room = (size_t)(p->end - p->at) + 4;
    char *text = alloc_bytes(p->b->alloc, room);
    if (!text) {
        grammar_fail(p->b, ERR_MEMORY, "no memory for a pattern");
        return;
    }
    while (!p->b->failed && peek(p) != '"') {
        if (peek(p) < 0) wrong(p, "%regex\" lacks its closing quote");
        else if (take_character(p, &cp)) n += (size_t)utf8_encode(cp, text + n);
    }
    p->at++;
    p->b->plain = true;
    if (!p->b->failed && !grammar_regex_bare(p->b, without_anchors((str){text, n})))
        err_prefix(p->b->e, "line %u: %%regex: ", line);
    p->b->plain = false;
    alloc_free(p->b->alloc, text, room);
}

/* A schema's text, from its { on. */
static bool take_json(parser *p, str *json) {
    const char *start = p->at;
    bool quoted = false;
    int depth = 0;
    do {
        int c = peek(p);
        if (c < 0) return wrong(p, "a schema lacks its }");
        if (quoted && c == '\\')
            p->at++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted)
            depth += (c == '{') - (c == '}');
        p->at++;
    } while (depth > 0 && p->at < p->end);
    if (depth > 0 || p->at > p->end) return wrong(p, "a schema lacks its }");
    *json = (str){start, (size_t)(p->at - start)};
    return true;
}

static bool take_tag(parser *p, char out[GRAMMAR_TAG_MAX]) {
    uint32_t cp;
    size_t n = 0;
    skip_blanks(p, true);
    if (!take(p, '"')) return wrong(p, "%tags lacks one of its four texts");
    while (!p->b->failed && !take(p, '"')) {
        if (peek(p) < 0 || n + 5 > GRAMMAR_TAG_MAX) return wrong(p, "a text of %tags is too long or lacks its quote");
        if (take_character(p, &cp)) n += (size_t)utf8_encode(cp, out + n);
    }
    out[n] = '\0';
    return !p->b->failed;
}

static bool take_tags(parser *p, grammar_tags *t) {
    if (!take_tag(p, t->key) || !take_tag(p, t->key_end) || !take_tag(p, t->value_end) || !take_tag(p, t->after))
        return false;
    skip_blanks(p, true);
    return peek(p) == '{' || wrong(p, "behind the texts of %tags comes a schema {…}");
}

/* Behind %. */
static void schema(parser *p) {
    schema_at s = {.line = line_of(p)};
    str rest = {p->at, (size_t)(p->end - p->at)};
    if (str_starts(rest, STR("regex\""))) {
        p->at += 6;
        pattern(p);
        return;
    }
    s.tagged = str_starts(rest, STR("tags "));
    if (!s.tagged && !str_starts(rest, STR("json{"))) {
        wrong(p, "after % comes json{…}, tags or regex\"…\"");
        return;
    }
    p->at += 4;
    if ((s.tagged && !take_tags(p, &s.tags)) || !take_json(p, &s.json)) return;
    if (!grammar_grow(p->b, (void **)&p->schemas, &p->schemas_cap, p->n_schemas + 1, GRAMMAR_RULES_MAX,
                      sizeof *p->schemas, "schemas"))
        return;
    s.rule = grammar_rule_new(p->b);
    p->schemas[p->n_schemas++] = s;
    grammar_call(p->b, s.rule);
}

/* ---- sequences ---- */

static void alternatives(parser *p, bool nested);

static bool take_number(parser *p, uint32_t *n) {
    uint64_t v = 0;
    if (peek(p) < '0' || peek(p) > '9') return wrong(p, "a repetition {m,n} lacks a number");
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++) {
        v = v * 10 + (uint64_t)(*p->at - '0');
        if (v > REPEATS_MAX) return wrong(p, "a repetition is larger than 1048576");
    }
    *n = (uint32_t)v;
    return true;
}

static void repetition(parser *p, uint32_t start) {
    uint32_t least = 0, most;
    skip_blanks(p, true);
    if (peek(p) != ',' && !take_number(p, &least)) return;
    most = least;
    skip_blanks(p, true);
    if (take(p, ',')) {
        most = GRAMMAR_UNBOUNDED;
        skip_blanks(p, true);
        if (peek(p) != '}' && !take_number(p, &most)) return;
        skip_blanks(p, true);
    }
    if (!take(p, '}'))
        wrong(p, "a repetition {m,n} lacks its }");
    else if (most < least)
        wrong(p, "a repetition {m,n} goes backwards");
    else
        grammar_repeat(p->b, start, least, most);
}

/* One thing; false where there is none. */
static bool item(parser *p, bool nested) {
    static const grammar_range all[] = {{0, 0xD7FF}, {0xE000, 0x10FFFF}};
    int c = peek(p);
    if (is_name(c)) {
        const char *start = p->at;
        str text = take_name(p);
        skip_blanks(p, false);
        if (p->end - p->at >= 3 && !memcmp(p->at, "::=", 3)) { /* the next rule already */
            p->at = start;
            return nested ? wrong(p, "( lacks its )") : false;
        }
        const name *n = find_name(p, text);
        if (n) grammar_call(p->b, n->rule);
        return true;
    }
    if (c < 0 || !strchr("\"[(.<%", c)) return false;
    p->at++;
    switch (c) {
    case '"': literal(p); break;
    case '[': class(p); break;
    case '.': grammar_class(p->b, all, 2); break;
    case '<': token(p); break;
    case '%': schema(p); break;
    default:
        skip_blanks(p, true);
        if (++p->nesting > NESTING_MAX) return wrong(p, "parentheses go deeper than 64 levels");
        alternatives(p, true);
        p->nesting--;
        if (!p->b->failed && !take(p, ')')) wrong(p, "( lacks its )");
    }
    return true;
}

static void sequence(parser *p, bool nested) {
    for (uint32_t start = grammar_here(p->b); grammar_step(p->b) && item(p, nested); start = grammar_here(p->b)) {
        for (bool more = true; more && !p->b->failed;) {
            skip_blanks(p, nested);
            if (take(p, '*'))
                grammar_repeat(p->b, start, 0, GRAMMAR_UNBOUNDED);
            else if (take(p, '+'))
                grammar_repeat(p->b, start, 1, GRAMMAR_UNBOUNDED);
            else if (take(p, '?'))
                grammar_repeat(p->b, start, 0, 1);
            else if (take(p, '{'))
                repetition(p, start);
            else
                more = false;
        }
        skip_blanks(p, nested);
    }
}

/* Whether | comes next, perhaps on a later line. */
static bool take_bar(parser *p) {
    const char *before = p->at;
    skip_blanks(p, true);
    if (take(p, '|')) return true;
    p->at = before;
    return false;
}

/* Literals alone, as a choice of thousands has them: false where anything else is among them. */
static bool literals(parser *p, bool nested) {
    const char *before = p->at;
    grammar_texts t;
    bool only = true, more = true;
    grammar_texts_begin(p->b, &t);
    while (only && more && take(p, '"')) {
        only = take_literal(p, &t.all) && grammar_texts_next(p->b, &t);
        skip_blanks(p, nested);
        more = take_bar(p);
        if (more) skip_blanks(p, true);
        else only = only && (nested ? peek(p) == ')' : peek(p) < 0 || peek(p) == '\n' || peek(p) == '\r');
    }
    only = only && !more && t.n > 1 && !p->b->failed;
    if (only) grammar_texts_emit(p->b, &t, false);
    else p->at = before;
    grammar_texts_end(p->b, &t);
    return only;
}

static void alternatives(parser *p, bool nested) {
    if (literals(p, nested) || p->b->failed) return;
    grammar_alternatives a = grammar_alternatives_begin(p->b);
    sequence(p, nested);
    while (!p->b->failed && take_bar(p)) {
        skip_blanks(p, true);
        grammar_alternatives_next(p->b, &a);
        sequence(p, nested);
    }
    grammar_alternatives_end(p->b, &a);
}

static void rule(parser *p) {
    str text = take_name(p);
    skip_blanks(p, false);
    if (!text.len || p->end - p->at < 3 || memcmp(p->at, "::=", 3)) {
        wrong(p, "a rule begins with name ::=");
        return;
    }
    p->at += 3;
    name *n = find_name(p, text);
    if (!n) return;
    if (n->defined) {
        grammar_fail(p->b, ERR_INVALID, "line %u: the rule '%.*s' is there twice", line_of(p), STR_ARG(text));
        return;
    }
    n->defined = true;
    grammar_rule_begin(p->b, n->rule);
    skip_blanks(p, true);
    alternatives(p, false);
    grammar_emit(p->b, OP_RET, 0, 0);
    skip_blanks(p, false);
    if (!p->b->failed && peek(p) >= 0 && peek(p) != '\n' && peek(p) != '\r') wrong(p, "here a rule cannot go on");
}

static void check_names(parser *p) {
    bool root = false;
    for (size_t i = 0; i < p->n_names; i++) {
        const name *n = &p->names[i];
        root |= n->rule == 0;
        if (!n->defined)
            grammar_fail(p->b, ERR_INVALID, "line %u: there is no rule '%.*s'", n->line, STR_ARG(n->text));
    }
    if (!root) grammar_fail(p->b, ERR_INVALID, "there is no rule 'root'");
}

static void schemas(parser *p) {
    for (size_t i = 0; i < p->n_schemas && !p->b->failed; i++) {
        const schema_at *s = &p->schemas[i];
        if (!grammar_schema(p->b, s->rule, s->json, s->tagged ? &s->tags : NULL))
            err_prefix(p->b->e, "line %u: %%%s: ", s->line, s->tagged ? "tags" : "json");
    }
}

bool grammar_gbnf(grammar_builder *b, str source) {
    parser p = {.b = b, .at = source.data, .end = source.data + source.len, .counted = source.data};
    for (skip_blanks(&p, true); peek(&p) >= 0 && !b->failed; skip_blanks(&p, true)) rule(&p);
    if (!b->failed) check_names(&p);
    schemas(&p);
    alloc_free(b->alloc, p.names, p.names_cap * sizeof *p.names);
    alloc_free(b->alloc, p.schemas, p.schemas_cap * sizeof *p.schemas);
    return !b->failed;
}
