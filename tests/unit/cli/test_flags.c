/* Options: flags over environment over config file over defaults, and a clear refusal of everything else. */
#include "../test.h"

#include <stdio.h>
#include <unistd.h>

#include "cli/flags.h"

#define READ(o, command, e, ...) read_args(o, command, e, (const char *[]){__VA_ARGS__, NULL})

static bool read_args(cli_options *o, unsigned command, err *e, const char **args) {
    int n = 0;
    while (args[n]) n++;
    *e = (err){0};
    return cli_flags_read(o, command, n, args, e);
}

static void refuse(unsigned command, const char *words, const char **args) {
    cli_options o;
    err e;
    if (read_args(&o, command, &e, args)) fail_msg("%s %s was accepted", args[0], args[1] ? args[1] : "");
    assert_int_equal(e.code, ERR_USAGE);
    if (!strstr(e.message, words)) fail_msg("'%s' does not say '%s'", e.message, words);
}
#define REFUSE(command, words, ...) refuse(command, words, (const char *[]){__VA_ARGS__, NULL})

/* Writes a config file whose path lives until the next call. */
static const char *config(const char *text) {
    static char path[64];
    if (!*path) snprintf(path, sizeof path, "/tmp/plimsoll-flags-%d.conf", (int)getpid());
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void defaults(void **state) {
    (void)state;
    cli_options o;
    err e;
    assert_ok(read_args(&o, CLI_SERVE, &e, (const char *[]){NULL}), e);
    assert_null(o.model);
    assert_string_equal(o.host, "127.0.0.1");
    assert_int_equal(o.port, 8080);
    assert_int_equal(o.parallel, 4);
    assert_int_equal(o.body_limit_bytes, 2 << 20);
    assert_int_equal(o.memory_bytes, 0);
    assert_false(o.seed_given);
    assert_int_equal(o.n_args, 0);
}

static void ways_to_write_a_flag(void **state) {
    (void)state;
    cli_options o;
    err e;
    static const char *const forms[][3] = {{"-c", "512"},         {"--c", "512"},     {"-ctx-size", "512"},
                                           {"--ctx-size", "512"}, {"--ctx-size=512"}, {"-c=512"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        assert_ok(read_args(&o, CLI_RUN, &e, (const char **)(uintptr_t)forms[i]), e);
        assert_int_equal(o.context, 512);
    }
    assert_ok(READ(&o, CLI_RUN, &e, "a", "-n", "-1", "-", "--no-echo", "b", "--", "--temp", "-c"), e);
    assert_int_equal(o.predict, -1);
    assert_true(o.no_echo);
    static const char *const args[] = {"a", "-", "b", "--temp", "-c"};
    assert_int_equal(o.n_args, 5);
    for (int i = 0; i < 5; i++) assert_string_equal(o.args[i], args[i]);
    assert_ok(READ(&o, CLI_RUN, &e, "--seed", "0", "--seed", "9007199254740992", "--temp", "1e-3"), e);
    assert_true(o.seed == UINT64_C(9007199254740992) && o.seed_given); /* the last one counts */
    assert_true(o.temperature == 0.001f);
    assert_ok(READ(&o, CLI_PLAN, &e, "--json=false"), e);
    assert_false(o.json);
}

static void memory_sizes(void **state) {
    (void)state;
    cli_options o;
    err e;
    assert_ok(READ(&o, CLI_RUN, &e, "--memory", "1.5G"), e);
    assert_true(o.memory_bytes == UINT64_C(1610612736) && o.memory_percent == 0.0);
    assert_ok(READ(&o, CLI_RUN, &e, "--memory", "60%"), e);
    assert_true(o.memory_bytes == 0 && o.memory_percent == 60.0);
    assert_ok(READ(&o, CLI_RUN, &e, "--memory", "60%", "--memory", "2M"), e);
    assert_true(o.memory_bytes == 2 << 20 && o.memory_percent == 0.0);
    static const char *const wrong[] = {"0%", "101%",    "%",   "x%", "nan%", "",
                                        "0",  "1048575", "-1G", "1Q", "1 0M", "99999999999T"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) REFUSE(CLI_RUN, "--memory", "--memory", wrong[i]);
}

static void precedence(void **state) {
    (void)state;
    cli_options o;
    err e;
    const char *path = config("# a comment\n\n ctx-size = 100 \nthreads=3\r\nparallel = 9\nalias = my model\n");
    assert_ok(READ(&o, CLI_SERVE, &e, "--config", path), e);
    assert_int_equal(o.context, 100);
    assert_int_equal(o.threads, 3);
    assert_string_equal(o.alias, "my model");
    setenv("PLIMSOLL_CTX_SIZE", "200", 1);
    setenv("PLIMSOLL_PORT", "81", 1);
    assert_ok(READ(&o, CLI_SERVE, &e, "--config", path), e);
    assert_int_equal(o.context, 200); /* environment over file */
    assert_int_equal(o.threads, 3);
    assert_int_equal(o.port, 81); /* environment over default */
    assert_ok(READ(&o, CLI_SERVE, &e, "-c", "300", "--config", path), e);
    assert_int_equal(o.context, 300); /* flag over both, wherever it stands */
    setenv("PLIMSOLL_CONFIG", path, 1);
    assert_ok(READ(&o, CLI_SERVE, &e, "-t", "2"), e);
    assert_int_equal(o.parallel, 9);
    assert_int_equal(o.threads, 2);
    assert_ok(READ(&o, CLI_RUN, &e, "-t", "2"), e); /* parallel is not run's: passed over in the file */
    unsetenv("PLIMSOLL_CONFIG");
    setenv("PLIMSOLL_MEMORY", "8G", 1);
    assert_ok(READ(&o, CLI_SERVE, &e, "--memory", "50%"), e);
    assert_true(o.memory_bytes == 0 && o.memory_percent == 50.0);
    unsetenv("PLIMSOLL_MEMORY");
    unsetenv("PLIMSOLL_CTX_SIZE");
    unsetenv("PLIMSOLL_PORT");
    unlink(path);
}

static void a_shorter_file_after_a_longer_one(void **state) {
    (void)state;
    cli_options o;
    err e;
    assert_ok(READ(&o, CLI_SERVE, &e, "--config", config("ctx-size = 100\nthreads = 3\nport = 99\n")), e);
    const char *path = config("threads = 4\n");
    assert_ok(READ(&o, CLI_SERVE, &e, "--config", path), e);
    assert_int_equal(o.threads, 4);
    assert_int_equal(o.port, 8080);
    unlink(path);
}

static void refusals(void **state) {
    (void)state;
    REFUSE(CLI_RUN, "unknown option --nope", "--nope");
    REFUSE(CLI_RUN, "unknown option", "-z");
    REFUSE(CLI_RUN, "not an option of this command", "--port", "80");
    REFUSE(CLI_RUN, "needs a value", "-c");
    REFUSE(CLI_RUN, "--ctx-size takes a whole number, not 'x'", "-c", "x");
    REFUSE(CLI_RUN, "--ctx-size takes a whole number, not ''", "-c", "");
    REFUSE(CLI_RUN, "--ctx-size takes a whole number, not '1.5'", "-c", "1.5");
    REFUSE(CLI_RUN, "--ctx-size takes a whole number, not '12k'", "-c", "12k");
    REFUSE(CLI_RUN, "--ctx-size is -1", "-c", "-1");
    REFUSE(CLI_RUN, "--batch-size is 0; it must be 1 to 8192", "-b", "0");
    REFUSE(CLI_RUN, "--temp takes a number", "--temp", "warm");
    REFUSE(CLI_RUN, "--temp takes a number", "--temp", "nan");
    REFUSE(CLI_RUN, "--temp takes a number", "--temp", "inf");
    REFUSE(CLI_RUN, "--temp is 101; it must be 0 to 100", "--temp", "101");
    REFUSE(CLI_RUN, "--predict is -2", "-n", "-2");
    REFUSE(CLI_RUN, "--seed", "--seed", "1e17");
    REFUSE(CLI_SERVE, "--port is 65536", "--port", "65536");
    REFUSE(CLI_SERVE, "--body-limit takes a size", "--body-limit", "much");
    REFUSE(CLI_SERVE, "--body-limit is 2G", "--body-limit", "2G");
    REFUSE(CLI_SERVE, "--body-limit is 1", "--body-limit", "1");
    REFUSE(CLI_PLAN, "--json", "--json=maybe");
}

static void refusals_name_their_source(void **state) {
    (void)state;
    setenv("PLIMSOLL_BATCH_SIZE", "many", 1);
    REFUSE(CLI_RUN, "PLIMSOLL_BATCH_SIZE: --batch-size takes a whole number, not 'many'", "-c", "12");
    REFUSE(CLI_RUN, "PLIMSOLL_BATCH_SIZE", "-b", "12"); /* wrong is wrong, though a flag would win */
    unsetenv("PLIMSOLL_BATCH_SIZE");
    cli_options o;
    err e;
    const char *path = config("threads = 1\nthis line\n");
    REFUSE(CLI_RUN, ":2: expected name = value", "--config", path);
    config("\n\nthraeds = 1\n");
    REFUSE(CLI_RUN, ":3: unknown option 'thraeds'", "--config", path);
    config("threads = none\n");
    REFUSE(CLI_RUN, ":1: --threads takes a whole number", "--config", path);
    assert_false(READ(&o, CLI_RUN, &e, "--config", "/nowhere/at/all"));
    assert_non_null(strstr(e.message, "/nowhere/at/all"));
    unlink(path);
}

static void too_many_arguments(void **state) {
    (void)state;
    static const char *args[1100];
    cli_options o;
    err e = {0};
    for (int i = 0; i < 1100; i++) args[i] = "x";
    assert_true(cli_flags_read(&o, CLI_RUN, 1024, args, &e));
    assert_int_equal(o.n_args, 1024);
    assert_false(cli_flags_read(&o, CLI_RUN, 1025, args, &e));
    assert_int_equal(e.code, ERR_USAGE);
}

/* Every row of a command is in its help, and --print-config says where a value came from. */
static void what_the_table_says(void **state) {
    (void)state;
    char text[32768] = "";
    cli_options o;
    err e;
    FILE *f = fmemopen(text, sizeof text, "w");
    cli_flags_help(CLI_RUN, f);
    fclose(f);
    assert_non_null(strstr(text, "--ctx-size"));
    assert_non_null(strstr(text, "-m, --model FILE"));
    assert_null(strstr(text, "--port"));
    setenv("PLIMSOLL_THREADS", "2", 1);
    assert_ok(READ(&o, CLI_RUN, &e, "-c", "64"), e);
    unsetenv("PLIMSOLL_THREADS");
    f = fmemopen(text, sizeof text, "w");
    cli_flags_print_config(&o, CLI_RUN, f);
    fclose(f);
    assert_non_null(strstr(text, "ctx-size = 64  # flag\n"));
    assert_non_null(strstr(text, "threads = 2  # environment\n"));
    assert_non_null(strstr(text, "batch-size = 256  # default\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(ways_to_write_a_flag),
        cmocka_unit_test(memory_sizes),
        cmocka_unit_test(precedence),
        cmocka_unit_test(a_shorter_file_after_a_longer_one),
        cmocka_unit_test(refusals),
        cmocka_unit_test(refusals_name_their_source),
        cmocka_unit_test(too_many_arguments),
        cmocka_unit_test(what_the_table_says),
    };
    return cmocka_run_group_tests_name("cli_flags", tests, NULL, NULL);
}
