/* What Python's jinja2 makes of the same templates (tools/record_template_facts.py): byte for byte, or refused
 * by both. Templates whose licence keeps them out of the repository are looked for in PLIMSOLL_TEMPLATES_DIR. */
#include "../test.h"

#include <inttypes.h>

#include "facts.h"
#include "text/template/template.h"

enum { NOW_S = 1700000000, CONVERSATIONS_MAX = 64 }; /* jinja_judge.py has the same now */

static test_alloc memory;

/* True with the text in out (the caller frees it), false when refused with a proper reason. */
static bool render(str source, str context, buf *out) {
    err e = {0};
    text_template_limits limits;
    text_template_limits_default(&limits);
    limits.now_s = NOW_S;
    buf_init(out, &memory.alloc, 1 << 24);
    text_template *t = text_template_new(source, &memory.alloc, &e);
    bool ok = t && text_template_render(t, context, &limits, &memory.alloc, out, &e);
    if (!ok) assert_true(e.code == ERR_INVALID && e.message[0]);
    text_template_free(t);
    return ok;
}

static void test_expressions(void **state) {
    (void)state;
    test_alloc_init(&memory, 0);
    char *data = facts_read("templates/expressions.facts"), *rest = data, *fields[FACTS_FIELDS_MAX];
    assert_int_equal(facts_split(strsep(&rest, "\n"), fields), 2);
    str context = {fields[1], facts_unescape(fields[1])};
    int n = 0, wrong = 0;
    for (char *line; (line = strsep(&rest, "\n")) && *line; n++) {
        assert_int_equal(facts_split(line, fields), 3);
        str source = {fields[0], facts_unescape(fields[0])}, wanted = {fields[2], facts_unescape(fields[2])};
        buf out;
        bool ok = render(source, context, &out), right = ok == (fields[1][0] == '=');
        if (ok && right) right = str_eq(buf_str(&out), wanted);
        if (!right) {
            print_error("%.*s: wanted %s%.*s, got %s%.*s\n", STR_ARG(source), fields[1], STR_ARG(wanted),
                        ok ? "=" : "!", STR_ARG(buf_str(&out)));
            wrong++;
        }
        buf_free(&out);
    }
    free(data);
    assert_true(n > 1000);
    assert_int_equal(wrong, 0);
    assert_int_equal(memory.outstanding_bytes, 0);
}

static char *read_template(const char *folder, const char *name, size_t *len) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.jinja", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *data = malloc(TEXT_TEMPLATE_BYTES_MAX);
    *len = fread(data, 1, TEXT_TEMPLATE_BYTES_MAX, f);
    fclose(f);
    return data;
}

/* NULL when it is not here; a file of that name with other content is a failure. */
static char *find_template(const char *name, const char *hash, size_t *len) {
    char found[17];
    char *data = read_template(TEST_DATA_DIR "/templates", name, len);
    const char *more = getenv("PLIMSOLL_TEMPLATES_DIR");
    if (!data && more) data = read_template(more, name, len);
    if (!data) return NULL;
    snprintf(found, sizeof found, "%016" PRIx64, str_hash((str){data, *len}));
    if (strcmp(found, hash)) fail_msg("%s.jinja is not what was recorded", name);
    return data;
}

typedef struct conversation {
    const char *name;
    str context;
} conversation;

static int read_conversations(char *data, conversation *out) {
    int n = 0;
    char *fields[FACTS_FIELDS_MAX];
    for (char *rest = data, *line; (line = strsep(&rest, "\n")) && *line; n++) {
        assert_true(n < CONVERSATIONS_MAX && facts_split(line, fields) == 2);
        out[n] = (conversation){fields[0], {fields[1], facts_unescape(fields[1])}};
    }
    return n;
}

static bool check_cell(const char *name, str source, const conversation *all, int n, char **fields, int n_fields) {
    int i = 0;
    while (i < n && strcmp(all[i].name, fields[1])) i++;
    assert_true(i < n);
    buf out;
    bool ok = render(source, all[i].context, &out), right = ok == (n_fields == 4);
    if (ok && right) {
        char hash[17];
        snprintf(hash, sizeof hash, "%016" PRIx64, str_hash(buf_str(&out)));
        right = !strcmp(hash, fields[2]) && out.len == strtoul(fields[3], NULL, 10);
    }
    if (!right) print_error("%s, %s: not what was recorded\n%.*s\n", name, fields[1], STR_ARG(buf_str(&out)));
    buf_free(&out);
    return right;
}

static void test_matrix(void **state) {
    (void)state;
    test_alloc_init(&memory, 0);
    static conversation conversations[CONVERSATIONS_MAX];
    char *given = facts_read("templates/conversations.facts"), *data = facts_read("templates/matrix.facts");
    char *fields[FACTS_FIELDS_MAX], *source = NULL;
    const char *name = "";
    int n = read_conversations(given, conversations), cells = 0, wrong = 0, absent = 0;
    size_t len = 0;
    for (char *rest = data, *line; (line = strsep(&rest, "\n")) && *line;) {
        int n_fields = facts_split(line, fields);
        if (*fields[0] == '#') continue;
        if (*fields[0]) {
            free(source);
            name = fields[0];
            source = find_template(name, fields[1], &len);
            absent += !source;
        } else if (source) {
            cells++;
            wrong += !check_cell(name, (str){source, len}, conversations, n, fields, n_fields);
        }
    }
    free(source);
    free(data);
    free(given);
    print_message("%d cells, %d wrong; %d templates are not here\n", cells, wrong, absent);
    assert_true(n >= 14 && cells >= 11 * n);
    assert_int_equal(wrong, 0);
    assert_int_equal(memory.outstanding_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_expressions), cmocka_unit_test(test_matrix)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
