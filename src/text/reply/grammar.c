/* The grammar of a reply that has to be a call. */
#include "text/reply/internal.h"

static void put(buf *b, const char *text) { buf_append_str(b, str_of(text)); }

static void put_literal_byte(buf *b, char c, const char *special) {
    if (c == '\n') put(b, "\\n");
    else if ((unsigned char)c < 0x20) buf_printf(b, "\\x%02X", (unsigned char)c);
    else if (strchr(special, c)) buf_printf(b, "\\%c", c);
    else buf_append(b, &c, 1);
}

/* One literal of several texts, not all of them empty. */
static void put_literals(buf *b, str x, str y, str z) {
    const str all[] = {x, y, z};
    put(b, "\"");
    for (int i = 0; i < 3; i++)
        for (size_t at = 0; at < all[i].len; at++) put_literal_byte(b, all[i].data[at], "\"\\");
    put(b, "\" ");
}

static void put_literal(buf *b, str text) {
    if (text.len) put_literals(b, text, STR(""), STR(""));
}

/* Where the next <|token|> begins and ends; DeepSeek's have bars of their own, Mistral's are [NAMES]. */
static bool find_token(str words, size_t *begin, size_t *end) {
    size_t wide = str_find(words, STR("<｜")), names = 0;
    while (names + 1 < words.len && !(words.data[names] == '[' && words.data[names + 1] >= 'A')) names++;
    *begin = str_find(words, STR("<|"));
    if (wide < *begin) *begin = wide;
    bool brackets = names + 1 < words.len && names < *begin;
    if (brackets) *begin = names;
    *end = *begin + str_find(str_from(words, *begin), brackets ? STR("]") : STR(">")) + 1;
    return *begin < words.len && *end <= words.len;
}

/* Words of a family: tokens stand for themselves, the rest are literals. */
static void put_words(buf *b, str words) {
    for (size_t begin, end; words.len; words = str_from(words, end)) {
        if (!find_token(words, &begin, &end)) return put_literal(b, words);
        put_literal(b, str_until(words, begin));
        bool brackets = words.data[begin] == '[';
        buf_printf(b, brackets ? "<|%.*s|> " : "%.*s ", (int)(end - begin), words.data + begin);
    }
}

static void put_not(buf *b, char a, char c) {
    put(b, "[^");
    put_literal_byte(b, a, "\\[]");
    if (c != a) put_literal_byte(b, c, "\\[]");
    put(b, "]");
}

/* A rule for any text up to tag, and the tag. The tag's first byte is nowhere else in it, so a text without the tag is
 * a row of: other bytes, and beginnings of the tag that break off, with another beginning or with another byte. */
static void put_until_rule(buf *b, const char *rule, str tag) {
    buf_printf(b, "%s-part ::= ", rule);
    for (size_t i = 0; i + 1 < tag.len; i++) {
        if (i) put(b, "( ");
        put_literal(b, (str){tag.data + i, 1});
    }
    for (size_t i = 2; i < tag.len; i++) put(b, ")? ");
    buf_printf(b, "\n%s-text ::= ", rule);
    put_not(b, tag.data[0], tag.data[0]);
    buf_printf(b, " | %s-part* ", rule);
    put_literal(b, str_until(tag, 1));
    for (size_t i = 1; i < tag.len; i++) {
        put(b, "( ");
        put_not(b, tag.data[0], tag.data[i]);
        if (i + 1 == tag.len) break;
        put(b, " | ");
        put_literal(b, (str){tag.data + i, 1});
    }
    for (size_t i = 1; i < tag.len; i++) put(b, ") ");
    buf_printf(b, "\n%s ::= %s-text* %s-part* ", rule, rule, rule);
    put_literal(b, tag);
    put(b, "\n");
}

/* ---- arguments ---- */

static bool has_parameters(str schema) {
    static const str others[] = {STR("$ref"), STR("anyOf"), STR("oneOf"), STR("allOf"), STR("patternProperties"),
                                 STR("additionalProperties"), STR("minProperties"), STR("if")};
    str key, value;
    size_t at = 0;
    if (json_raw_member(json_raw_find(schema, STR("properties")), &at, &key, &value)) return true;
    if (json_raw_item(json_raw_find(schema, STR("required")), &(size_t){0}, &value)) return true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        str other = json_raw_find(schema, others[i]);
        if (other.len && !str_is(other, "false")) return true;
    }
    return false;
}

static void put_object_arguments(buf *b, str schema) {
    if (!has_parameters(schema)) return put_literal(b, STR("{}"));
    put(b, "%json");
    buf_append_str(b, schema);
    put(b, " ");
}

static void put_xml_arguments(buf *b, const reply_xml *x, str schema) {
    str line = STR("\n"), lines = x->value_has_lines ? line : STR("");
    if (!has_parameters(schema)) return;
    put(b, "%tags ");
    put_literal(b, x->key);
    put_literals(b, x->key_close, line, x->value);
    put_literals(b, lines, x->value_end, STR(""));
    put_literal(b, line);
    buf_append_str(b, schema);
    put(b, " ");
}

/* ---- calls ---- */

/* What a family writes around calls: outer (begin call end) (between begin call end)* outer_end. */
typedef struct shape {
    str outer, begin, end, between, outer_end;
    str arguments; /* JSON objects: the member's key */
} shape;

static shape shape_of(const text_reply_format *f) {
    str arguments = STR("arguments"), comma = STR(", "), line = STR("\n"), end = STR("\n</tool_call>");
    switch (f->family) {
    case TEXT_REPLY_FAMILY_LLAMA_JSON: return (shape){.between = STR("; "), .arguments = STR("parameters")};
    case TEXT_REPLY_FAMILY_MISTRAL:
        if (f->newer) return (shape){.begin = STR("[TOOL_CALLS]")};
        return (shape){STR("[TOOL_CALLS]["), .between = comma, .outer_end = STR("]"), .arguments = arguments};
    case TEXT_REPLY_FAMILY_GRANITE:
        return (shape){STR("<|tool_call|>["), .between = comma, .outer_end = STR("]"), .arguments = arguments};
    case TEXT_REPLY_FAMILY_DEEPSEEK:
        return (shape){STR("<｜tool▁calls▁begin｜>"), STR("<｜tool▁call▁begin｜>"), STR("<｜tool▁call▁end｜>"),
                       f->newer ? STR("") : line, STR("<｜tool▁calls▁end｜>"), STR("")};
    case TEXT_REPLY_FAMILY_HARMONY: return (shape){.begin = STR("<|channel|>commentary to=functions.")};
    case TEXT_REPLY_FAMILY_QWEN_XML: return (shape){.begin = STR("<tool_call>\n"), .end = end, .between = line};
    case TEXT_REPLY_FAMILY_GLM:
        return (shape){.begin = STR("<tool_call>"), .end = STR("</tool_call>"), .between = line};
    case TEXT_REPLY_FAMILY_GENERIC:
    case TEXT_REPLY_FAMILY_PLAIN:
        return (shape){.arguments = arguments}; /* the bare object is what a model without training ends soonest */
    default: return (shape){STR(""), STR("<tool_call>\n"), end, line, STR(""), arguments};
    }
}

/* name: in quotes, as the request has it. */
static void put_call(buf *b, const text_reply_format *f, const shape *s, str name, str schema) {
    const reply_xml *x = reply_xml_of(f->family);
    char bytes[TEXT_REPLY_NAME_MAX];
    str plain = {bytes, 0};
    json_raw_string(name, bytes, sizeof bytes, &plain.len);
    if (s->arguments.len) {
        put_literal(b, STR("{\"name\": "));
        put_literal(b, name);
        put_literal(b, STR(", \""));
        put_literal(b, s->arguments);
        put_literal(b, STR("\": "));
        put_object_arguments(b, schema);
        if (f->family == TEXT_REPLY_FAMILY_MISTRAL) put(b, "\", \\\"id\\\": \\\"\" [a-zA-Z0-9]{9} \"\\\"\" ");
        return put_literal(b, STR("}"));
    }
    switch (f->family) {
    case TEXT_REPLY_FAMILY_QWEN_XML:
    case TEXT_REPLY_FAMILY_GLM:
        put_literal(b, x->call);
        put_literal(b, plain);
        put_literal(b, x->call_close);
        put_literal(b, STR("\n"));
        put_xml_arguments(b, x, schema);
        return put_literal(b, x->call.len ? x->end : STR(""));
    case TEXT_REPLY_FAMILY_HARMONY:
        put_literal(b, plain);
        put_words(b, STR(" <|constrain|>json<|message|>"));
        return put_object_arguments(b, schema);
    case TEXT_REPLY_FAMILY_DEEPSEEK:
        if (!f->newer) put_words(b, STR("function<｜tool▁sep｜>"));
        put_literal(b, plain);
        put_words(b, f->newer ? STR("<｜tool▁sep｜>") : STR("\n```json\n"));
        put_object_arguments(b, schema);
        return put_literal(b, f->newer ? STR("") : STR("\n```"));
    default:
        put_literal(b, plain);
        put_words(b, STR("[ARGS]"));
        return put_object_arguments(b, schema);
    }
}

/* The first words, less a tag that the prompt ends in. */
static void put_first(buf *b, const text_reply_format *f, const shape *s, str tail) {
    const str *begin = reply_tags_of(f->family)->begin;
    str outer = s->outer, first = s->begin, *with_tag = outer.len ? &outer : &first;
    tail = json_without_end_blanks(tail);
    for (size_t i = 0; i < REPLY_TAGS_MAX && begin[i].len; i++) {
        if (!str_ends(tail, begin[i]) || !str_starts(*with_tag, begin[i])) continue;
        *with_tag = str_from(*with_tag, begin[i].len);
        break;
    }
    put_words(b, outer);
    put_words(b, first);
}

static bool is_before_channel(const text_reply_format *f, str tail) {
    return f->family == TEXT_REPLY_FAMILY_HARMONY && str_ends(tail, STR("<|start|>assistant"));
}

/* What comes before all else: a thought that the prompt has begun, or gpt-oss's first message, if it wants one. */
static void put_thought(buf *b, const text_reply_format *f, str tail) {
    if (is_before_channel(f, tail)) {
        put(b, "( <|channel|> \"analysis\" <|message|> [^\\x00]* <|end|> <|start|> \"assistant\" )? ");
    } else if (text_reply_is_thinking(f, tail)) {
        put(b, "thinking ");
        put_literal(b, STR("\n\n"));
    }
}

static void put_thinking_rule(buf *b, const text_reply_format *f, str tail) {
    if (text_reply_is_thinking(f, tail)) put_until_rule(b, "thinking", f->think_close);
}

static void put_calls(buf *b, const text_reply_format *f, bool parallel, str tail) {
    shape s = shape_of(f);
    bool repeats = parallel && f->family != TEXT_REPLY_FAMILY_HARMONY && f->family != TEXT_REPLY_FAMILY_GENERIC &&
                   f->family != TEXT_REPLY_FAMILY_PLAIN;
    put_first(b, f, &s, tail);
    put(b, "call ");
    put_words(b, s.end);
    if (repeats) {
        put(b, "( ");
        put_words(b, s.between);
        put_words(b, s.begin);
        put(b, "call ");
        put_words(b, s.end);
        put(b, ")* ");
    }
    put_words(b, s.outer_end);
}

/* Rules for calls of the tools, or of the one named; how many of them there are. */
static unsigned put_call_rules(buf *b, const text_reply_format *f, str tools, str named) {
    str function, name;
    unsigned n = 0;
    shape s = shape_of(f);
    for (size_t at = 0; reply_next_tool(tools, &at, &function, &name);) {
        if (named.len && !json_raw_string_is(name, named)) continue;
        buf_printf(b, "call-%u ::= ", n++);
        put_call(b, f, &s, name, text_reply_parameters(json_raw_find(function, STR("parameters")), false));
        put(b, "\n");
    }
    if (!n) return 0;
    put(b, "call ::= ");
    for (unsigned i = 0; i < n; i++) buf_printf(b, i ? "| call-%u " : "call-%u ", i);
    put(b, "\n");
    return n;
}

bool text_reply_answer_grammar(const text_reply_format *f, str tools_json, bool parallel, str prompt_tail, buf *gbnf) {
    bool channel = is_before_channel(f, prompt_tail);
    unsigned n = put_call_rules(gbnf, f, tools_json, STR(""));
    if (!n && !channel && !text_reply_is_thinking(f, prompt_tail)) return false;
    put_thinking_rule(gbnf, f, prompt_tail);
    put(gbnf, "root ::= ");
    put_thought(gbnf, f, prompt_tail);
    put(gbnf, channel ? "( <|channel|> \"final\" <|message|> answer " : "( answer ");
    if (n) put(gbnf, "| ");
    if (n) put_calls(gbnf, f, parallel, prompt_tail);
    put(gbnf, ")\n");
    return true;
}

bool text_reply_tool_grammar(const text_reply_format *f, str tools_json, str named, bool parallel, str prompt_tail,
                             buf *gbnf, const base_alloc *scratch, err *e) {
    (void)scratch;
    unsigned n = put_call_rules(gbnf, f, tools_json, named);
    if (!n && named.len) return err_set(e, ERR_INVALID, "no tool is called %.*s", STR_ARG(named));
    if (!n) return err_set(e, ERR_INVALID, "a call is required, but there are no tools");
    put_thinking_rule(gbnf, f, prompt_tail);
    put(gbnf, "root ::= ");
    put_thought(gbnf, f, prompt_tail);
    put_calls(gbnf, f, parallel, prompt_tail);
    put(gbnf, "\n");
    return gbnf->failed ? err_set(e, ERR_MEMORY, "no memory for the grammar of %u tools", n) : true;
}
