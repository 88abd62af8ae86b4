/* What an answer is to look like, by the names that vLLM and SGLang have for it: a JSON schema, a regular expression,
 * one of several texts, a grammar. */
#include <stdio.h>

#include "api/core/core.h"
#include "api/core/request.h"

typedef enum form_kind { FORM_JSON, FORM_JSON_OBJECT, FORM_REGEX, FORM_CHOICE, FORM_GBNF } form_kind;

typedef struct outputs {
    str json, regex, choice, grammar;
    bool json_object;
} outputs;

#define AT(member) offsetof(outputs, member)
static const field outputs_rows[] = {
    {"json", FIELD_ANY, AT(json)},
    {"regex", FIELD_STRING, AT(regex)},
    {"choice", FIELD_ARRAY, AT(choice)},
    {"grammar", FIELD_STRING, AT(grammar)},
    {"json_object", FIELD_BOOL, AT(json_object)},
    {"structural_tag", FIELD_ANY, .use = FIELD_REFUSED, .why = "is given: this server has no structural tags"},
    {"whitespace_pattern", FIELD_ANY, .use = FIELD_REFUSED, .why = "is given: JSON is written without blanks here"},
    {"disable_any_whitespace", FIELD_BOOL, .use = FIELD_CHECKED},
    {"disable_fallback", FIELD_BOOL, .use = FIELD_CHECKED},
    {"disable_additional_properties", FIELD_BOOL, .use = FIELD_CHECKED},
};

/* OpenAI's, of routes that have no such field of their own. The schema may stand in it without an envelope. */
typedef struct format_object {
    uint32_t type;
    str json_schema, schema, grammar, regex;
} format_object;

static const char *const format_types[] = {"text", "json_object", "json_schema", "grammar", "regex", NULL};
enum { FORMAT_TEXT, FORMAT_OBJECT, FORMAT_SCHEMA, FORMAT_GRAMMAR, FORMAT_REGEX, FORMAT_UNSAID };
static const field format_rows[] = {
    {"type", FIELD_WORD, offsetof(format_object, type), .words = format_types},
    {"json_schema", FIELD_OBJECT, offsetof(format_object, json_schema)},
    {"schema", FIELD_ANY, offsetof(format_object, schema)},
    {"grammar", FIELD_STRING, offsetof(format_object, grammar)},
    {"regex", FIELD_STRING, offsetof(format_object, regex)},
};
static const field schema_rows[] = { /* OpenAI's names beside a schema */
    {"schema", FIELD_ANY, offsetof(format_object, schema)},
    {"name", FIELD_STRING, .use = FIELD_CHECKED},
    {"description", FIELD_STRING, .use = FIELD_CHECKED},
    {"strict", FIELD_BOOL, .use = FIELD_CHECKED},
};

typedef struct form_reader {
    const fields_in *in;
    const fields_more *nobodys; /* what nobody knows is named */
    request_form *form;
    buf text;
    const char *name;
    uint32_t n_choices;
} form_reader;

/* As a literal of GBNF. */
static void put_literal(buf *to, str text) {
    buf_append_str(to, STR("\""));
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '\n' || c == '\r') buf_append_str(to, c == '\n' ? STR("\\n") : STR("\\r"));
        else if (c == '"' || c == '\\') buf_append(to, (char[]){'\\', c}, 2);
        else buf_append(to, &c, 1);
    }
    buf_append_str(to, STR("\""));
}

static bool on_choice(void *ctx, const field_item *item, err *e) {
    form_reader *x = ctx;
    if (item->kind != JSON_STRING || !item->text.len)
        return err_set(e, ERR_INVALID, "'%s' must be an array of strings that are not empty", x->name);
    buf_append_str(&x->text, x->n_choices++ ? STR(" | ") : STR("("));
    put_literal(&x->text, item->text);
    return true;
}

/* A schema is an object, or a text that holds one. */
static bool put_schema(form_reader *x, str json, err *e) {
    str text = json;
    if (fields_kind(json) == JSON_STRING && !fields_text(x->in, json, &text, e)) return false;
    size_t at = 0;
    while (at < text.len && strchr(" \t\r\n", text.data[at])) at++;
    if (at == text.len || text.data[at] != '{')
        return err_set(e, ERR_INVALID, "'%s' must be a JSON schema: an object, or a string that holds one", x->name);
    buf_append_str(&x->text, STR("%json"));
    buf_append(&x->text, text.data + at, text.len - at);
    return true;
}

static bool put_form(form_reader *x, form_kind kind, str value, err *e) {
    fields_in items = {x->in->parser, x->in->texts, x->name, NULL};
    switch (kind) {
    case FORM_JSON: return put_schema(x, value, e);
    case FORM_JSON_OBJECT: buf_append_str(&x->text, STR("%json{\"type\":\"object\"}")); return true;
    case FORM_GBNF: buf_append_str(&x->text, value); return true;
    case FORM_REGEX:
        buf_append_str(&x->text, STR("%regex"));
        put_literal(&x->text, value);
        return true;
    default:
        if (!fields_each(&items, value, on_choice, x, e)) return false;
        if (!x->n_choices) return err_set(e, ERR_INVALID, "'%s' is empty; there must be one text at least", x->name);
        buf_append_str(&x->text, STR(")"));
        return true;
    }
}

static bool take(form_reader *x, const char *name, form_kind kind, str value, err *e) {
    request_form *f = x->form;
    if (!value.len) return true;
    if (f->name) return err_set(e, ERR_INVALID, "'%s' and '%s' are both given; one is possible", f->name, name);
    f->name = x->name = name;
    f->is_grammar = kind == FORM_GBNF;
    buf_init(&x->text, x->in->texts, SIZE_MAX / 2);
    if (!put_form(x, kind, value, e)) return false;
    if (x->text.failed) return err_set_memory(e, x->text.len, 0, "no memory for the form of the answer");
    f->source = buf_str(&x->text);
    return true;
}

static bool take_format(form_reader *x, str json, err *e) {
    format_object f = {.type = FORMAT_UNSAID};
    fields_in inner = {x->in->parser, x->in->texts, "response_format.", x->nobodys};
    fields_in schema = {x->in->parser, x->in->texts, "response_format.json_schema.", x->nobodys};
    size_t n = sizeof format_rows / sizeof *format_rows, n_schema = sizeof schema_rows / sizeof *schema_rows;
    if (!json.len) return true;
    if (!fields_parse_in(&inner, json, format_rows, n, true, &f, NULL, e)) return false;
    if (f.json_schema.len && !fields_parse_in(&schema, f.json_schema, schema_rows, n_schema, true, &f, NULL, e))
        return false;
    switch (f.type) {
    case FORMAT_TEXT: return true;
    case FORMAT_OBJECT: return take(x, "response_format", f.schema.len ? FORM_JSON : FORM_JSON_OBJECT,
                                    f.schema.len ? f.schema : STR("{}"), e);
    case FORMAT_SCHEMA:
        if (f.schema.len) return take(x, "response_format", FORM_JSON, f.schema, e);
        return err_set(e, ERR_INVALID, "'response_format.json_schema.schema' is missing");
    case FORMAT_GRAMMAR:
        if (f.grammar.len) return take(x, "response_format", FORM_GBNF, f.grammar, e);
        return err_set(e, ERR_INVALID, "'response_format.grammar' is missing");
    case FORMAT_REGEX:
        if (f.regex.len) return take(x, "response_format", FORM_REGEX, f.regex, e);
        return err_set(e, ERR_INVALID, "'response_format.regex' is missing");
    default: return err_set(e, ERR_INVALID, "'response_format.type' is missing");
    }
}

bool request_read_form(api_request *q, const fields_in *in, err *e) {
    const shared_values *v = &q->also;
    outputs o = {.json_object = false};
    fields_more nobodys = {.unknown = shared_fields_ignore, .ctx = &q->ignored};
    form_reader x = {.in = in, .nobodys = &nobodys, .form = &q->form};
    fields_in inner = {in->parser, in->texts, "structured_outputs.", &nobodys};
    str any = STR("{}"), none = STR("");
    if (v->structured.len && !fields_parse_in(&inner, v->structured, outputs_rows,
                                              sizeof outputs_rows / sizeof *outputs_rows, true, &o, NULL, e))
        return false;
    return take_format(&x, v->response_format, e) && take(&x, "guided_json", FORM_JSON, v->guided_json, e) &&
           take(&x, "guided_json_object", FORM_JSON_OBJECT, v->guided_json_object ? any : none, e) &&
           take(&x, "guided_regex", FORM_REGEX, v->guided_regex, e) &&
           take(&x, "guided_choice", FORM_CHOICE, v->guided_choice, e) &&
           take(&x, "guided_grammar", FORM_GBNF, v->guided_grammar, e) &&
           take(&x, "json_schema", FORM_JSON, v->json_schema, e) && take(&x, "regex", FORM_REGEX, v->regex, e) &&
           take(&x, "choice", FORM_CHOICE, v->choice, e) && take(&x, "ebnf", FORM_GBNF, v->ebnf, e) &&
           take(&x, "structured_outputs.json", FORM_JSON, o.json, e) &&
           take(&x, "structured_outputs.json_object", FORM_JSON_OBJECT, o.json_object ? any : none, e) &&
           take(&x, "structured_outputs.regex", FORM_REGEX, o.regex, e) &&
           take(&x, "structured_outputs.choice", FORM_CHOICE, o.choice, e) &&
           take(&x, "structured_outputs.grammar", FORM_GBNF, o.grammar, e);
}
