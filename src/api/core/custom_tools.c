#include "api/core/custom_tools.h"

#include <stdio.h>

typedef struct format_fields {
    str type, syntax, definition, grammar;
} format_fields;

static const field format_rows[] = {{"type", FIELD_STRING, offsetof(format_fields, type)},
                                    {"syntax", FIELD_STRING, offsetof(format_fields, syntax)},
                                    {"definition", FIELD_STRING, offsetof(format_fields, definition)},
                                    {"grammar", FIELD_OBJECT, offsetof(format_fields, grammar)}};

/* The input as a regular expression that is a text of its own, where it can be compiled. */
static bool hold_to_regex(chat *c, str definition, str *parameters, err *e) {
    static const str before = STR("{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\",\"pattern\":");
    static const str behind = STR("}},\"required\":[\"input\"],\"additionalProperties\":false}");
    str pattern, parts[] = {STR("^(?:"), definition, STR(")$")};
    err why;
    buf b;
    json_writer w;
    if (!chat_make_text(c, &pattern, parts, 3, e)) return false;
    buf_init(&b, &c->alloc, SIZE_MAX / 2);
    buf_append_str(&b, before);
    json_begin(&w, &b);
    json_string(&w, pattern);
    buf_append_str(&b, behind);
    if (b.failed) return chat_no_room(c, e);
    engine_grammar *g = engine_grammar_get(c->a->en, TEXT_GRAMMAR_SCHEMA, buf_str(&b), &why);
    if (!g) return true;
    engine_grammar_release(c->a->en, g);
    *parameters = buf_str(&b);
    return true;
}

/* A grammar is told to the model. Where a call is forced the input is held to one that is a regular expression; others
 * (lark's) are named as not kept to. */
static bool describe(chat *c, str *description, str *parameters, str format, err *e) {
    format_fields f = {0};
    str plain = *parameters;
    if (!format.len) return true;
    if (!CHAT_READ(c, "tools.format", format, format_rows, &f, e)) return false;
    if (f.grammar.len && !CHAT_READ(c, "tools.format.grammar", f.grammar, format_rows, &f, e)) return false;
    if (!f.definition.len) return true;
    if (str_is(f.syntax, "regex") && !hold_to_regex(c, f.definition, parameters, e)) return false;
    if (parameters->data == plain.data && c->ignored)
        shared_fields_ignore(c->ignored, "tools.format.", f.syntax.len ? f.syntax : STR("definition"),
                             "which is told to the model, and not kept to");
    str parts[] = {*description, description->len ? STR("\n\n") : STR(""), STR("The input follows this grammar ("),
                   f.syntax.len ? f.syntax : STR("any"), STR("):\n"), f.definition};
    return chat_make_text(c, description, parts, sizeof parts / sizeof *parts, e);
}

bool custom_add_tool(chat *c, str name, str description, str format, err *e) {
    str parameters = STR(TEXT_REPLY_TEXT);
    json_writer w;
    if (!describe(c, &description, &parameters, format, e)) return false;
    if (!str_is(parameters, TEXT_REPLY_TEXT)) {
        if (c->customs.len) buf_append_str(&c->customs, STR(","));
        json_begin(&w, &c->customs);
        json_string(&w, name);
    }
    return chat_add_tool(c, name, description, parameters, e);
}

bool custom_add_call(chat *c, chat_message *m, str id, str name, str input, err *e) {
    buf b;
    json_writer w;
    buf_init(&b, &c->alloc, SIZE_MAX / 2);
    json_begin(&w, &b);
    json_object_start(&w);
    json_put_string(&w, "input", input);
    json_object_end(&w);
    if (b.failed) return chat_no_room(c, e);
    return chat_add_call(c, m, id, name, buf_str(&b), e);
}

bool custom_is_tool(const answer *x, str name) {
    str item, names = x->style.customs, tools = x->style.tools;
    for (size_t at = 0; names.len && json_raw_item(names, &at, &item);)
        if (json_raw_string_is(item, name)) return true;
    for (size_t at = 0; tools.len && json_raw_item(tools, &at, &item);)
        if (json_raw_string_is(json_raw_find(item, STR("name")), name))
            return str_is(json_raw_find(item, STR("parameters")), TEXT_REPLY_TEXT);
    return false;
}

/* ---- the input, out of its JSON ---- */

/* An object's first member that is a string is the input, whatever its name: a model may have given it another. */
enum { START, KEY, IN_KEY, KEY_ESCAPE, COLON, VALUE, TEXT, ESCAPE, UNIT, DONE };

static void put_character(uint32_t cp, buf *to) {
    char bytes[4];
    buf_append(to, bytes, (size_t)utf8_encode(cp, bytes));
}

static void unit_ended(custom_input *s, buf *to) {
    uint32_t unit = s->unit, high = s->high;
    s->high = 0;
    if (unit >= 0xD800 && unit < 0xDC00) s->high = (uint16_t)unit;
    else if (unit >= 0xDC00 && unit < 0xE000)
        put_character(high ? 0x10000 + ((high - 0xD800u) << 10) + (unit - 0xDC00u) : 0xFFFD, to);
    else put_character(unit, to);
}

static void in_escape(custom_input *s, char c, buf *to) {
    static const char names[] = "bfnrt", bytes[] = "\b\f\n\r\t";
    const char *name = c ? strchr(names, c) : NULL;
    s->state = c == 'u' ? UNIT : TEXT;
    s->unit = s->n = 0;
    if (c != 'u') buf_append(to, name ? &bytes[name - names] : &c, 1);
}

static void in_unit(custom_input *s, char c, buf *to) {
    unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
    s->unit = (uint16_t)((unsigned)s->unit << 4 | (digit & 15));
    if (++s->n < 4) return;
    s->state = TEXT;
    unit_ended(s, to);
}

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static void outside(custom_input *s, char c) {
    if (is_blank(c)) return;
    switch (s->state) {
    case START: s->state = c == '{' ? KEY : DONE; break;
    case KEY: s->state = c == '"' ? IN_KEY : DONE; break;
    case IN_KEY: s->state = c == '"' ? COLON : c == '\\' ? KEY_ESCAPE : IN_KEY; break;
    case KEY_ESCAPE: s->state = IN_KEY; break;
    case COLON: s->state = c == ':' ? VALUE : DONE; break;
    case VALUE: s->state = c == '"' ? TEXT : DONE; break;
    default: break;
    }
}

void custom_input_feed(custom_input *s, str piece, buf *to) {
    for (size_t i = 0; i < piece.len && s->state != DONE; i++) {
        char c = piece.data[i];
        if (s->state == ESCAPE) in_escape(s, c, to);
        else if (s->state == UNIT) in_unit(s, c, to);
        else if (s->state != TEXT) outside(s, c);
        else if (c == '"') s->state = DONE;
        else if (c == '\\') s->state = ESCAPE;
        else buf_append(to, &c, 1);
    }
}

str custom_input_of(answer *x, str arguments) {
    buf *said = api_kept_said(x);
    custom_input s = {0};
    buf_clear(said);
    custom_input_feed(&s, arguments, said);
    return buf_str(said);
}
