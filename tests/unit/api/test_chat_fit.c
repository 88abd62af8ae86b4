/* Conversations that a template does not take as they stand are made fit: templates as strict as those of each
 * family, and all that are recorded. */
#include "../test.h"

#include <dirent.h>

#include "api/core/chat.h"
#include "world.h"

enum { ROOM = 16384, PROMPT_BYTES = 1 << 17 };

typedef struct talk {
    world w;
    mem_heap heap;
    chat c;
    api_request q;
    text_template *template;
    char prompt[PROMPT_BYTES];
} talk;

static talk t;

/* A conversation in letters: S, U, A: who speaks; "Ctext" a call with its id, ";arguments" where it wants other than
 * {"n": 1}; "Rid=text" a result. Messages are parted by '/', calls of one message by '+'. */
/* Texts of the conversation at hand: they outlive its rendering. */
static char *kept[256];
static size_t n_kept;

static const char *description = "d"; /* of the tool */
static const char integer[] = "{\"type\":\"integer\"}", *argument = integer; /* the schema of its argument */

static str keep(const char *text) {
    assert_true(n_kept < sizeof kept / sizeof *kept);
    return str_of(kept[n_kept++] = strdup(text));
}

static void say(const char *line) {
    err e = {0};
    char copy[512], *rest = copy, *part;
    snprintf(copy, sizeof copy, "%s", line);
    while ((part = strsep(&rest, "/"))) {
        chat_role role = *part == 'S' ? CHAT_SYSTEM : *part == 'U' ? CHAT_USER : *part == 'R' ? CHAT_TOOL : CHAT_ASSISTANT;
        chat_message *m = chat_add(&t.c, role, &e);
        assert_non_null(m);
        char *more = part + 1, *text = strsep(&more, *part == 'R' ? "=" : "+");
        text = *part == 'C' ? part : text;
        if (*part == 'R') {
            assert_true(chat_set_whose(&t.c, m, keep(text), STR(""), &e));
            text = more, more = NULL;
        }
        if (*part != 'C') assert_true(chat_add_text(&t.c, &m->text, keep(text), &e));
        for (char *call = *part == 'C' ? text : more ? strsep(&more, "+") : NULL; call; call = more ? strsep(&more, "+") : NULL) {
            char *arguments = call + 1, *id = strsep(&arguments, ";");
            assert_true(chat_add_call(&t.c, m, keep(id), STR("f"),
                                      keep(arguments ? arguments : "{\"n\": 1}"), &e));
        }
    }
}

static bool finish(const char *line, bool tools, err *e) {
    char piece[TEXT_TOKEN_BYTES_MAX];
    size_t n = 0;
    request_begin(t.w.api, &t.q);
    assert_ok(chat_begin(&t.c, t.w.api, 64000, e), *e);
    say(line);
    char schema[128];
    snprintf(schema, sizeof schema, "{\"type\":\"object\",\"properties\":{\"n\":%s}}", argument);
    if (tools) assert_true(chat_add_tool(&t.c, STR("f"), str_of(description), str_of(schema), e));
    bool ok = chat_finish(&t.c, &t.q, e);
    for (uint32_t i = 1; ok && i < t.q.job.n_prompt; i++) { /* behind the start token */
        size_t len = text_token_bytes(engine_vocab(t.w.en), t.w.api->tokens[i], true, piece);
        assert_true(n + len < sizeof t.prompt);
        memcpy(t.prompt + n, piece, len);
        n += len;
    }
    t.prompt[n] = 0;
    request_end(&t.q);
    chat_end(&t.c);
    while (n_kept) free(kept[--n_kept]);
    return ok;
}

static void use(const char *source) {
    err e = {0};
    if (t.template) text_template_free(t.template);
    t.template = text_template_new(str_of(source), &t.heap.alloc, &e);
    assert_ok(t.template, e);
    t.w.api->model.template = t.template;
    assert_ok(chat_model_probe(t.w.api, &e), e);
}

static void expect(const char *line, const char *wanted) {
    err e = {0};
    if (!finish(line, true, &e)) fail_msg("%s: %s", line, e.message);
    if (strcmp(t.prompt + (t.prompt[0] == ' '), wanted)) fail_msg("%s\n  wanted %s\n  got %s", line, wanted, t.prompt);
}

#define ECHO                                                                                                  \
    "{% if tools %}<{{ tools[0].function.name }}{{ 'zqword' if 'zqword' in tools[0].function.parameters.properties }}>{% endif %}{% for m in messages %}[{{ m.role }}|{{ m.content }}" \
    "{% for c in m.tool_calls or [] %}{ {{- c.id }} {{ c.function.arguments|tojson -}} }{% endfor %}]{% endfor %}"

static void one_call_a_turn(void) {
    use("{% for m in messages %}{% if m.tool_calls and m.tool_calls|length > 1 %}"
        "{{ raise_exception('This model takes one call at once') }}{% endif %}{% endfor %}" ECHO);
    assert_true(t.w.api->model.one_call);
    expect("Uq/Ca+Cb/Ra=1/Rb=2/Ux",
           "<f>[user|q][assistant|{a {\"n\": 1}}][tool|1][assistant|{b {\"n\": 1}}][tool|2][user|x]");
    expect("Uq/Afirst+Ca+Cb+Cc/Rc=3/Ra=1", "<f>[user|q][assistant|first{a {\"n\": 1}}][tool|1][assistant|{b {\"n\": 1}}]"
                                           "[assistant|{c {\"n\": 1}}][tool|3]");
    expect("Uq/Ca/Ra=1", "<f>[user|q][assistant|{a {\"n\": 1}}][tool|1]");
}

#define ALTERNATE                                                                                              \
    "{% set ns = namespace(i=0) %}{% for m in messages %}{% if m.role == 'user' or (m.role == 'assistant' and not " \
    "m.tool_calls) %}{% if (m.role == 'user') != (ns.i % 2 == 0) %}{{ raise_exception('Roles must alternate') }}"   \
    "{% endif %}{% set ns.i = ns.i + 1 %}{% endif %}{% for c in m.tool_calls or [] %}{% if c.id|length != 9 %}"     \
    "{{ raise_exception('nine') }}{% endif %}{% endfor %}{% endfor %}"

/* A client need not describe a tool. */
static void tools_without_a_description(void) {
    use("{% for t in tools or [] %}{{ '// ' + t.function.description + '\n' }}" ECHO "{% endfor %}");
    assert_true(t.w.api->model.described);
    description = "";
    expect("Uq", "// \n<f>[user|q]");
    description = "d";
    expect("Uq", "// d\n<f>[user|q]");
    use("{{ tools|tojson }}" ECHO);
    assert_false(t.w.api->model.described);
}

/* A template that goes through schemas, and not through every one: these tools are told in words, and the conversation keeps
 * its shape. */
static void tools_that_the_template_refuses(void) {
    use("{% set names = {'string': 'str', 'integer': 'int'} %}{% for t in tools or [] %}<{{ t.function.name }}"
        "{% for k, p in t.function.parameters.properties.items() %} {{ k }}: {{ names[p.type] if p.type is string else raise_exception('what type?') }}{% endfor %}>{% endfor %}"
        "{% for m in messages %}[{{ m.role }}|{{ m.content }}{% for c in m.tool_calls or [] %}{ {{- c.id }} {{ c.function.arguments|tojson -}} }{% endfor %}]{% endfor %}");
    assert_true(t.w.api->model.tools && t.w.api->model.calls);
    expect("Ss/Uq/Ca/Ra=1", "<f n: int>[system|s][user|q][assistant|{a {\"n\": 1}}][tool|1]");
    argument = "{\"type\":[\"integer\",\"null\"]}";
    expect("Ss/Uq/Ca+Cb/Ra=1/Rb=2", "[system|s\n\nYou can call these functions:\n{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\","
           "\"parameters\":{\"type\":\"object\",\"properties\":{\"n\":{\"type\":[\"integer\",\"null\"]}}}}}\nTo call one, answer with nothing but a JSON object of "
           "this form: {\"name\": \"…\", \"arguments\": {…}}. Its result comes with the next message.][user|q]"
           "[assistant|{a {\"n\": 1}}{b {\"n\": 1}}][tool|1][tool|2]");
    assert_true(t.w.api->model.refused_tools);
    argument = integer;
    expect("Uq", "<f n: int>[user|q]");
}

/* A result without an id is that of the call that is due. */
static void results_without_an_id(void) {
    use("{% for m in messages %}[{{ m.role }}|{{ m.content }}{% if m.tool_call_id %} of {{ m.name }} {{ m.tool_call_id }}{% endif %}"
        "{% for c in m.tool_calls or [] %}{ {{- c.id }} {{ c.function.arguments|tojson -}} }{% endfor %}]{% endfor %}{{ tools|tojson if false }}");
    err e = {0};
    assert_ok(finish("Uq/Ca+Cb/R=1/R=2/Cc/R=3", false, &e), e);
    assert_non_null(strstr(t.prompt, "[tool|1 of f a][tool|2 of f b]"));
    assert_non_null(strstr(t.prompt, "[tool|3 of f c]"));
    assert_ok(finish("Uq/Ca+Cb/Ra=1/R=2", false, &e), e);
    assert_non_null(strstr(t.prompt, "[tool|1 of f a][tool|2 of f b]"));
    assert_ok(finish("Uq/Ca+Cb/Rb=2/R=1", false, &e), e);
    assert_non_null(strstr(t.prompt, "[tool|2 of f b][tool|1 of f a]"));
}

static void turns(void) {
    use(ALTERNATE ECHO);
    assert_true(t.w.api->model.turns && !t.w.api->model.long_ids && !t.w.api->model.one_call);
    expect("Uq/Cabcdefghi/Rabcdefghi=9/Ua reminder",
           "<f>[user|q][assistant|{abcdefghi {\"n\": 1}}][tool|9][assistant|OK.][user|a reminder]");
    expect("Uq/Cabcdefghi/Ustop", "<f>[user|q][assistant|{abcdefghi {\"n\": 1}}][tool|(no result)][assistant|OK.][user|stop]");
    expect("Uq/Cabcdefghi+Cbbcdefghi/Rbbcdefghi=9/Ustop",
           "<f>[user|q][assistant|{abcdefghi {\"n\": 1}}{bbcdefghi {\"n\": 1}}][tool|9][tool|(no result)][assistant|OK.][user|stop]");
    expect("Ahi/Uq", "<f>[user|Hello.][assistant|hi][user|q]");
    expect("Ua/Ub/Ac/Ad/Ue", "<f>[user|a\n\nb][assistant|c\n\nd][user|e]");
    expect("Uq/Alook/Cabcdefghi/Rabcdefghi=9/Adone", "<f>[user|q][assistant|look{abcdefghi {\"n\": 1}}][tool|9][assistant|done]");
    expect("Rabcdefghi=9/Uq", "<f>[user|Result of the call:\n9\n\nq]");
    expect("Ss", "<f>[system|s][user|Hello.]");
    expect("Uq/Cabcdefghi/Cbbcdefghi/Rabcdefghi=1/Rbbcdefghi=2/Ad",
           "<f>[user|q][assistant|{abcdefghi {\"n\": 1}}{bbcdefghi {\"n\": 1}}][tool|1][tool|2][assistant|d]");
}

static void neither_system_nor_tools(void) {
    use("{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}"
        "{% endif %}[{{ m.role }}|{{ m.content }}]{% endfor %}");
    err e = {0};
    assert_ok(finish("Ahi/Sx/Uq/Ca/Ra=1/Uy", false, &e), e);
    assert_string_equal(t.prompt + 1, "[user|Hello.][assistant|hi][user|x\n\nq][assistant|{\"name\":\"f\",\"arguments\":{\"n\": 1}}]"
                                      "[user|Result of f:\n1\n\ny]");
    assert_ok(finish("Ss", false, &e), e);
    assert_string_equal(t.prompt + 1, "[user|s]");
}

static void arguments_that_are_no_json(void) {
    use("{% for m in messages %}[{{ m.role }}|{{ m.content }}{% for c in m.tool_calls or [] %}{% for k, v in "
        "c.function.arguments.items() %}<{{ k }}={{ v }}>{% endfor %}{% endfor %}]{% endfor %}{{ tools|tojson }}");
    err e = {0};
    assert_ok(finish("Uq/Ca;{\"n\":/Ra=1", false, &e), e);
    assert_string_equal(t.prompt + 1, "[user|q][assistant|<arguments={\"n\":>][tool|1]null");
    assert_ok(finish("Uq/Ca;{\"n\": 2}+Cb;[1/Ra=1", false, &e), e);
    assert_string_equal(t.prompt + 1, "[user|q][assistant|<n=2><arguments=[1>][tool|1]null");
}

static void what_no_shape_helps(void) {
    use("{% for m in messages %}{% if 'bad' in m.content %}{{ raise_exception(\"it's 'bad'\") }}{% endif %}[{{ m.role }}]{% endfor %}");
    err e = {0};
    char name[64];
    assert_false(finish("Ubad/Ca/Ra=1", true, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_non_null(strstr(e.message, "it's 'bad'"));
    assert_string_equal(api_error_param(&e, name, sizeof name), "messages");
}

/* What agents send every day. */
static const char *const everyday[] = {
    "Uq", "Ss/Uq", "Uq/Aa/Uq", "Ss", "Ss/Aa/Uq", "Aa/Uq", "Ua/Ub", "Uq/Aa/Ab/Uc", "Uq/Aa/Sx/Uc", "Uq/A/U", "Uq/Ca/Ra=zq1", "Uq/Atext+Ca/Ra=zq1",
    "Uq/Ca+Cb/Ra=zq1/Rb=zq2", "Uq/Ca+Cb/Rb=zq1/Ra=zq2/Azq/Uzq3", "Uq/Ca/Ra=zq1/Uzq2", "Uq/Ca/Uzq", "Uq/Ca;{\"n\":/Ra=zq1",
    "Ra=zq1/Uq", "Uq/Ra=zq1", "Uq/Ctoolu_01AbC.dEf-9/Rtoolu_01AbC.dEf-9=zq1/Aa/Uzq", "Uq/Ca/Ra=zq1/Cb/Rb=zq2", "Uq/Ca/Ra=zq1/Adone/Uzq2/Cc/Rc=zq3",
    "Uq/Ca/Cb/Ra=zq1/Rb=zq2/Uzq", "Ss/Ss2/Uq/Aa/Uzq",
};

/* Schemas that no template's author thought of. */
static const char *const odd[] = {
    "{\"type\":[\"integer\",\"null\"]}", "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", "{}", "true", "{\"type\":\"array\"}", "{\"enum\":[1,\"a\"]}", "{\"const\":null}",
    "{\"type\":\"object\",\"additionalProperties\":false}", "{\"$ref\":\"#/$defs/x\"}", "{\"type\":\"array\",\"items\":[{\"type\":\"string\"},{}]}", "{\"allOf\":[{\"type\":[\"string\"]}]}",
    "{\"type\":\"object\",\"properties\":{},\"required\":[]}", "{\"description\":null,\"default\":{\"a\":[1]},\"type\":\"string\",\"enum\":[]}", "{\"type\":null,\"items\":false}",
};

static int check_odd_tools(const char *file) {
    int wrong = 0;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        err e = {0};
        argument = odd[i];
        if (finish("Ss/Uq/Ca/Ra=zq1/Uzq2", true, &e) && strstr(t.prompt, "zq2")) continue;
        print_error("%s, %s: %s\n", file, odd[i], e.message[0] ? e.message : t.prompt);
        wrong++;
    }
    argument = integer;
    return wrong;
}

static int check_all(const char *folder) {
    static char source[TEXT_TEMPLATE_BYTES_MAX + 1], path[1024];
    DIR *d = opendir(folder);
    int n = 0, wrong = 0;
    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d));) {
        if (!strstr(f->d_name, ".jinja") || strstr(f->d_name, "constructs")) continue;
        snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
        FILE *in = fopen(path, "rb");
        source[fread(source, 1, TEXT_TEMPLATE_BYTES_MAX, in)] = 0;
        fclose(in);
        use(source);
        wrong += check_odd_tools(f->d_name);
        for (size_t i = 0; i < sizeof everyday / sizeof *everyday; i++, n++)
            for (int tools = 0; tools < 3; tools++) {
                err e = {0};
                description = tools == 2 ? "" : "d";
                const char *said = strstr(everyday[i], "zq") ? everyday[i] + strlen(everyday[i]) - 3 : NULL;
                bool ok = finish(everyday[i], tools, &e);
                if (said) said = strstr(said, "zq");
                if (ok && (!said || strstr(t.prompt, said))) continue;
                print_error("%s: %s%s: %s\n", f->d_name, everyday[i], tools == 2 ? " (tools without a description)" : tools ? " (tools)" : "", ok ? t.prompt : e.message);
                wrong++;
            }
    }
    closedir(d);
    description = "d";
    print_message("%d conversations, %d wrong\n", n, wrong);
    return wrong;
}

static void test_fit(void **state) {
    (void)state;
    start(&t.w, (world_config){.entries = 4, .n_context = ROOM});
    mem_heap_init(&t.heap, &t.w.ledger, MEM_TOKENIZER);
    one_call_a_turn();
    tools_without_a_description();
    tools_that_the_template_refuses();
    results_without_an_id();
    turns();
    neither_system_nor_tools();
    arguments_that_are_no_json();
    what_no_shape_helps();
    int wrong = check_all(TEST_DATA_DIR "/templates");
    if (getenv("PLIMSOLL_TEMPLATES_DIR")) wrong += check_all(getenv("PLIMSOLL_TEMPLATES_DIR"));
    assert_int_equal(wrong, 0);
    text_template_free(t.template);
    t.w.api->model.template = t.w.api->model.own ? t.w.api->model.own : engine_template(t.w.en);
    stop(&t.w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fit)};
    return cmocka_run_group_tests_name("api_chat_fit", tests, NULL, NULL);
}
