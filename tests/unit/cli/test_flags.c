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
    assert_int_equal(o.kv_type, 0);
    assert_int_equal(o.window, 0);
    assert_int_equal(o.cache_entries, 1000);
    assert_false(o.no_prompt_cache);
    assert_int_equal(o.cache_bytes, 0);
    assert_int_equal(o.cache_ttl_s, 0);
    assert_null(o.spill_file);
    assert_null(o.api_keys);
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

static void kv_and_cache(void **state) {
    (void)state;
    cli_options o;
    err e;
    static const char *const types[] = {"f16", "q8", "q4"};
    for (uint32_t i = 0; i < 3; i++) {
        assert_ok(READ(&o, CLI_RUN, &e, "--kv", types[i]), e);
        assert_int_equal(o.kv_type, i);
    }
    assert_ok(READ(&o, CLI_BENCH, &e, "--window", "64", "--keep", "63", "-c", "64"), e);
    assert_int_equal(o.window, 64);
    assert_int_equal(o.keep, 63);
    assert_ok(READ(&o, CLI_SERVE, &e, "--prompt-cache-bytes", "64M", "--prompt-cache-size", "9",
                   "--prompt-cache-ttl", "60", "--spill-file", "/x", "--spill-bytes", "1.5G"),
              e);
    assert_true(o.cache_bytes == 64 << 20 && o.cache_entries == 9 && o.cache_ttl_s == 60);
    assert_string_equal(o.spill_file, "/x");
    assert_true(o.spill_bytes == UINT64_C(1610612736));
    assert_ok(READ(&o, CLI_PLAN, &e, "--no-prompt-cache"), e);
    assert_true(o.no_prompt_cache);
    REFUSE(CLI_RUN, "--kv is 'q5'; it must be f16, q8 or q4", "--kv", "q5");
    REFUSE(CLI_RUN, "--kv is ''", "--kv=");
    REFUSE(CLI_SERVE, "--prompt-cache-size is 1048577; it must be 0 to 1048576", "--prompt-cache-size", "1048577");
    REFUSE(CLI_SERVE, "--prompt-cache-ttl", "--prompt-cache-ttl", "-1");
    REFUSE(CLI_RUN, "not an option of this command", "--prompt-cache-size", "1");
}

/* What only several options together say. */
static void options_that_need_each_other(void **state) {
    (void)state;
    REFUSE(CLI_RUN, "--keep needs --window", "--keep", "1");
    REFUSE(CLI_RUN, "--keep is 8; it must be below --window, which is 8", "--window", "8", "--keep", "8");
    REFUSE(CLI_SERVE, "--window is 65; it must be at most --ctx-size, which is 64", "--window", "65", "-c", "64");
    REFUSE(CLI_SERVE, "--spill-file needs --spill-bytes", "--spill-file", "x");
    REFUSE(CLI_SERVE, "--spill-bytes needs --spill-file", "--spill-bytes", "1M");
    REFUSE(CLI_SERVE, "that is off", "--spill-file", "x", "--spill-bytes", "1M", "--no-prompt-cache");
    REFUSE(CLI_SERVE, "that is off", "--spill-file", "x", "--spill-bytes", "1M", "--prompt-cache-size", "0");
    setenv("PLIMSOLL_WINDOW", "9", 1); /* wherever they come from */
    cli_options o;
    err e;
    assert_ok(READ(&o, CLI_RUN, &e, "--keep", "8"), e);
    unsetenv("PLIMSOLL_WINDOW");
}

/* Keys are taken as they are, and shown nowhere: not in refusals, not by --print-config. */
static void keys_stay_secret(void **state) {
    (void)state;
    static const char *const wrong[] = {"",          ",",       "SECRET,",  ",SECRET",
                                        "SECRET,,b", "SEC RET", "SECRET\t", "SECR\xC3\xA9T"};
    char text[32768] = "";
    cli_options o;
    err e;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(READ(&o, CLI_SERVE, &e, "--api-key", wrong[i]));
        assert_int_equal(e.code, ERR_USAGE);
        assert_non_null(strstr(e.message, "--api-key holds"));
        assert_null(strstr(e.message, "SEC"));
    }
    assert_ok(READ(&o, CLI_SERVE, &e, "--api-key", "SECRET,b!~"), e);
    assert_string_equal(o.api_keys, "SECRET,b!~");
    FILE *f = fmemopen(text, sizeof text, "w");
    cli_flags_print_config(&o, CLI_SERVE, f);
    fclose(f);
    assert_non_null(strstr(text, "api-key = ***  # flag\n"));
    assert_null(strstr(text, "SECRET"));
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
    static const char *const names[] = {"", ",", "a,", ",a", "a,,b", " ", "a, b", "a ,b", " a"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        REFUSE(CLI_SERVE, "names are separated by single commas", "--alias", names[i]);
    REFUSE(CLI_SERVE, "--alias holds a control character", "--alias", "a\nb");
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

/* An operator tries the line of serve with plan: it takes all of it. */
static void plan_takes_what_serve_takes(void **state) {
    (void)state;
    char serve[32768] = "", plan[32768] = "", *rest = serve;
    FILE *f = fmemopen(serve, sizeof serve, "w");
    cli_flags_help(CLI_SERVE, f);
    fclose(f);
    f = fmemopen(plan, sizeof plan, "w");
    cli_flags_help(CLI_PLAN, f);
    fclose(f);
    int n = 0;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (line[0] != ' ' || !strstr(line, " --")) continue;
        if (!strstr(plan, line)) fail_msg("plan does not take: %s", line);
        n++;
    }
    assert_true(n > 40);
}

/* What people type is answered with what they meant, where that is near. */
static void mistyped_names_are_guessed(void **state) {
    (void)state;
    REFUSE(CLI_RUN, "unknown option --ctx-siez: did you mean --ctx-size?", "--ctx-siez", "1");
    REFUSE(CLI_RUN, "did you mean --ctx-size?", "--ctx_size", "1");
    REFUSE(CLI_SERVE, "did you mean --max-queue?", "--maxqueue", "1");
    REFUSE(CLI_SERVE, "did you mean --parallel?", "--paralel=1");
    REFUSE(CLI_RUN, "unknown option --nope (--help lists them)", "--nope");
    REFUSE(CLI_RUN, "unknown option -z (--help", "-z"); /* of one letter everything is near */
    REFUSE(CLI_RUN, "unknown option --max-quue (", "--max-quue"); /* run has no such option */
    REFUSE(CLI_RUN, "unknown option --01234567890123456789012345678901234567 (", "--01234567890123456789012345678901234567890123456789");
    const char *path = config("\n\nthraeds = 1\n");
    REFUSE(CLI_RUN, ":3: unknown option 'thraeds'; did you mean 'threads'?", "--config", path);
    unlink(path);
}

/* Variables that no option reads are named; those that are Kubernetes' or developers' are not. */
static void mistyped_variables_are_named(void **state) {
    (void)state;
    static char *const good[] = {"PLIMSOLL_CTX_SIZE=1", "PLIMSOLL_KERNELS=ref", "PLIMSOLL_DEBUG_HANG=step", "PLIMSOLL_TESTS=1", "PLIMSOLL_MODEL=",
                                 "PLIMSOLL_SERVICE_HOST=10.0.0.1", "PLIMSOLL_SERVICE_PORT_HTTP=80", "PLIMSOLL_PORT=tcp://10.0.0.1:80",
                                 "PLIMSOLL_PORT_80_TCP_ADDR=10.0.0.1", "PLIMSOLL=1", "PLIMSOLL_CTX_SZIE", "HOME=/", NULL};
    static char *const bad[] = {"PLIMSOLL_CTX_SZIE=SECRET", "PLIMSOLL_API_KEYS=SECRET", "PLIMSOLL_memory=8G", "PLIMSOLL_C=8", "PLIMSOLL_CTX-SIZE=8",
                                "PLIMSOLL_WEATHER=rain", "PLIMSOLL_=", "PLIMSOLL_\x1b[2J=1",
                                "PLIMSOLL_PROMPT_CACHE_BYTES_OF_A_NAME_THAT_IS_LONGER_THAN_ANY_OPTION_CAN_BE_AND_GOES_ON=1", NULL};
    static const char *const said[] = {"PLIMSOLL_CTX_SZIE is ignored: did you mean PLIMSOLL_CTX_SIZE?", "did you mean PLIMSOLL_API_KEY?",
                                       "PLIMSOLL_memory is ignored: did you mean PLIMSOLL_MEMORY?", "PLIMSOLL_C is ignored: did you mean PLIMSOLL_CTX_SIZE?",
                                       "PLIMSOLL_CTX-SIZE is ignored: did you mean PLIMSOLL_CTX_SIZE?", "PLIMSOLL_WEATHER is ignored: no option",
                                       "PLIMSOLL_ is ignored: no option", "PLIMSOLL_?[2J is ignored"};
    char text[4096] = "";
    FILE *f = tmpfile();
    int kept = dup(STDERR_FILENO);
    assert_non_null(f);
    dup2(fileno(f), STDERR_FILENO);
    cli_flags_warn_of_environment((char **)(uintptr_t)good);
    long quiet = lseek(fileno(f), 0, SEEK_CUR);
    cli_flags_warn_of_environment((char **)(uintptr_t)bad);
    dup2(kept, STDERR_FILENO);
    close(kept);
    ssize_t n = pread(fileno(f), text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    fclose(f);
    assert_int_equal(quiet, 0);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (!strstr(text, said[i])) fail_msg("'%s' is not in: %s", said[i], text);
    assert_null(strstr(text, "SECRET"));
    setenv("PLIMSOLL_PORT", "tcp://10.0.0.1:80", 1);
    cli_options o;
    err e;
    assert_ok(READ(&o, CLI_SERVE, &e, "-c", "64"), e);
    assert_int_equal(o.port, 8080);
    unsetenv("PLIMSOLL_PORT");
}

/* Terminals are narrow: no line of any command's help is over 100 columns, and words stay whole. */
static void help_is_narrow(void **state) {
    (void)state;
    for (unsigned command = 1; command < CLI_ALL; command <<= 1) {
        char text[32768] = "", *rest = text;
        FILE *f = fmemopen(text, sizeof text, "w");
        cli_flags_help(command, f);
        fclose(f);
        for (char *line; (line = strsep(&rest, "\n"));) assert_true(strlen(line) <= 100);
        if (command != CLI_SERVE) continue;
        f = fmemopen(text, sizeof text, "w");
        cli_flags_help(command, f);
        fclose(f);
        assert_non_null(strstr(text, "      --cors-origin ORIGIN[,ORIGIN] pages of"));
        assert_non_null(strstr(text, " it gets this one; otherwise a\n                                    name that"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_is_narrow),
        cmocka_unit_test(plan_takes_what_serve_takes),
        cmocka_unit_test(mistyped_names_are_guessed),
        cmocka_unit_test(mistyped_variables_are_named),
        cmocka_unit_test(defaults),
        cmocka_unit_test(ways_to_write_a_flag),
        cmocka_unit_test(memory_sizes),
        cmocka_unit_test(kv_and_cache),
        cmocka_unit_test(options_that_need_each_other),
        cmocka_unit_test(keys_stay_secret),
        cmocka_unit_test(precedence),
        cmocka_unit_test(a_shorter_file_after_a_longer_one),
        cmocka_unit_test(refusals),
        cmocka_unit_test(refusals_name_their_source),
        cmocka_unit_test(too_many_arguments),
        cmocka_unit_test(what_the_table_says),
    };
    return cmocka_run_group_tests_name("cli_flags", tests, NULL, NULL);
}
