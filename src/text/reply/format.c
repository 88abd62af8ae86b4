/* The families: their tags, and how a template shows which of them it is. */
#include "text/reply/internal.h"

#define CLOSES {STR("</tool_call>"), STR("</function>")}

static const reply_tags tags[] = {
    [TEXT_REPLY_FAMILY_PLAIN] = {.bare = false},
    [TEXT_REPLY_FAMILY_HERMES] = {{STR("<tool_call>"), STR("<function=")}, CLOSES, .bare = true},
    [TEXT_REPLY_FAMILY_QWEN_XML] = {{STR("<tool_call>"), STR("<function=")}, CLOSES, .bare = true},
    [TEXT_REPLY_FAMILY_LLAMA_JSON] = {{STR("<|python_tag|>"), STR("<function=")}, {STR("</function>")}, .bare = true},
    [TEXT_REPLY_FAMILY_MISTRAL] = {{STR("[TOOL_CALLS]")}, {STR("[/TOOL_CALLS]")}, .bare = true},
    [TEXT_REPLY_FAMILY_HARMONY] = {.bare = false},
    [TEXT_REPLY_FAMILY_DEEPSEEK] = {{STR("<｜tool▁calls▁begin｜>"), STR("<｜tool▁call▁begin｜>")},
                                    {STR("<｜tool▁call▁end｜>"), STR("<｜tool▁calls▁end｜>")},
                                    .bare = true},
    /* A template that says nothing of tools does not say what the model was taught to write. */
    [TEXT_REPLY_FAMILY_GENERIC] = {{STR("<tool_call>"), STR("<function="), STR("[TOOL_CALLS]"), STR("<|python_tag|>")},
                                   {STR("</tool_call>"), STR("</function>"), STR("[/TOOL_CALLS]")},
                                   .bare = true},
    [TEXT_REPLY_FAMILY_GRANITE] = {{STR("<|tool_call|>"), STR("<tool_call>")}, {STR("</tool_call>")}, .bare = true},
    [TEXT_REPLY_FAMILY_GLM] = {{STR("<tool_call>")}, {STR("</tool_call>")}, .bare = true},
};

const reply_tags *reply_tags_of(text_reply_family family) { return &tags[family]; }

const reply_xml *reply_xml_of(text_reply_family family) {
    static const reply_xml qwen = {
        .call = STR("<function="), .call_close = STR(">"), .key = STR("<parameter="), .key_close = STR(">"),
        .value_end = STR("</parameter>"), .end = STR("</function>"), .value_has_lines = true,
    };
    static const reply_xml glm = {
        .key = STR("<arg_key>"), .key_close = STR("</arg_key>"), .value = STR("<arg_value>"),
        .value_end = STR("</arg_value>"), .end = STR("</tool_call>"),
    };
    return family == TEXT_REPLY_FAMILY_GLM ? &glm : &qwen;
}

static text_reply_family family_of(str source) {
    static const struct {
        str word;
        text_reply_family family;
    } signs[] = { /* the first that is found decides */
        {STR("<|channel|>"), TEXT_REPLY_FAMILY_HARMONY},
        {STR("<arg_key>"), TEXT_REPLY_FAMILY_GLM},
        {STR("<function="), TEXT_REPLY_FAMILY_QWEN_XML},
        {STR("<｜tool▁calls▁begin｜>"), TEXT_REPLY_FAMILY_DEEPSEEK},
        {STR("[TOOL_CALLS]"), TEXT_REPLY_FAMILY_MISTRAL},
        {STR("<|tool_call|>"), TEXT_REPLY_FAMILY_GRANITE},
        {STR("<tool_call>"), TEXT_REPLY_FAMILY_HERMES},
        {STR("<|python_tag|>"), TEXT_REPLY_FAMILY_LLAMA_JSON},
        {STR("\"parameters\": dictionary"), TEXT_REPLY_FAMILY_LLAMA_JSON},
    };
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        /* Llama 3.1 has <function= in its words for a built-in tool, but not the parameters' tags. */
        bool half = signs[i].family == TEXT_REPLY_FAMILY_QWEN_XML && !str_has(source, STR("<parameter="));
        if (!half && str_has(source, signs[i].word)) return signs[i].family;
    }
    return TEXT_REPLY_FAMILY_GENERIC;
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The variable, not a part of another word, a tag or a key. */
static bool names_tools(str source) {
    for (size_t at = 0; at < source.len; at++) {
        at += str_find(str_from(source, at), STR("tools"));
        if (at == 0 || at + 5 >= source.len) continue;
        char before = source.data[at - 1], after = source.data[at + 5];
        if (before == ' ' && !is_word(after) && after != '.') return true;
    }
    return false;
}

void text_reply_format_of(str source, text_reply_format *out) {
    bool brackets = str_has(source, STR("[THINK]"));
    *out = (text_reply_format){
        .family = family_of(source), .lists_tools = names_tools(source),
        .think_open = brackets ? STR("[THINK]") : STR("<think>"),
        .think_close = brackets ? STR("[/THINK]") : STR("</think>"),
    };
    out->thinks = out->family == TEXT_REPLY_FAMILY_HARMONY || str_has(source, out->think_open) ||
                  str_has(source, out->think_close);
    out->newer = out->family == TEXT_REPLY_FAMILY_MISTRAL    ? str_has(source, STR("[ARGS]"))
                 : out->family == TEXT_REPLY_FAMILY_DEEPSEEK ? !str_has(source, STR("```json"))
                                                             : false;
}

bool text_reply_is_thinking(const text_reply_format *f, str prompt_tail) {
    bool has_tag = f->family != TEXT_REPLY_FAMILY_HARMONY && f->think_open.len;
    return has_tag && str_ends(json_without_end_blanks(prompt_tail), f->think_open);
}

bool text_reply_is_word(const text_reply_format *f, str token) {
    static const struct {
        text_reply_family family;
        str token;
    } inner[] = {
        {TEXT_REPLY_FAMILY_MISTRAL, STR("[ARGS]")},          {TEXT_REPLY_FAMILY_MISTRAL, STR("[CALL_ID]")},
        {TEXT_REPLY_FAMILY_DEEPSEEK, STR("<｜tool▁sep｜>")}, {TEXT_REPLY_FAMILY_HARMONY, STR("<|start|>")},
        {TEXT_REPLY_FAMILY_HARMONY, STR("<|channel|>")},     {TEXT_REPLY_FAMILY_HARMONY, STR("<|constrain|>")},
        {TEXT_REPLY_FAMILY_HARMONY, STR("<|message|>")},     {TEXT_REPLY_FAMILY_HARMONY, STR("<|end|>")},
        {TEXT_REPLY_FAMILY_HARMONY, STR("<|call|>")},        {TEXT_REPLY_FAMILY_HARMONY, STR("<|return|>")},
        {TEXT_REPLY_FAMILY_GLM, STR("<arg_key>")},           {TEXT_REPLY_FAMILY_GLM, STR("</arg_key>")},
        {TEXT_REPLY_FAMILY_GLM, STR("<arg_value>")},         {TEXT_REPLY_FAMILY_GLM, STR("</arg_value>")},
        {TEXT_REPLY_FAMILY_GLM, STR("</tool_call>")},
    };
    const reply_tags *t = reply_tags_of(f->family);
    if (!token.len) return false;
    if (str_eq(token, f->think_open) || str_eq(token, f->think_close)) return true;
    for (size_t i = 0; i < REPLY_TAGS_MAX; i++)
        if (str_eq(token, t->begin[i]) || str_eq(token, t->after[i])) return true;
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++)
        if (inner[i].family == f->family && str_eq(token, inner[i].token)) return true;
    return false;
}
