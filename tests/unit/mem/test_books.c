/* The books against the kernel; levels and lines as pure functions; the JSON face. */
#include "../test.h"

#include <stdio.h>
#include <sys/mman.h>

#include "base/json.h"
#include "mem/arena.h"
#include "mem/line.h"
#include "plat/vm.h"

#define MIB (INT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* Constants of the program that no one has touched yet: file-backed, and not code. */
static const volatile char untouched[2 * 1024 * 1024] = {1};
static volatile char unwritten[2 * 1024 * 1024] = {1}; /* and such as turn from the file's into our own */

static void level_edges(void **state) {
    (void)state;
    const struct { uint64_t available, line; mem_level level; } cases[] = {
        {3 * GIB + 1, 16 * GIB, MEM_SAFE},        {3 * GIB, 16 * GIB, MEM_CAUTION},
        {2 * GIB, 16 * GIB, MEM_CAUTION},         {2 * GIB - 1, 16 * GIB, MEM_WARNING},
        {GIB, 16 * GIB, MEM_WARNING},             {GIB - 1, 16 * GIB, MEM_CRITICAL},
        {GIB / 2, 16 * GIB, MEM_CRITICAL},        {GIB / 2 - 1, 16 * GIB, MEM_EMERGENCY},
        {0, 16 * GIB, MEM_EMERGENCY},             {3 * GIB + 1, UINT64_MAX, MEM_SAFE},
        {3 * GIB, UINT64_MAX, MEM_CAUTION},       {3 * GIB, 12 * GIB, MEM_CAUTION},
        {3 * GIB, 12 * GIB - 4, MEM_SAFE},        /* under 12 GiB in proportion */
        {GIB / 4 + 1, GIB, MEM_SAFE},             {GIB / 4, GIB, MEM_CAUTION},
        {1200, 7200, MEM_CAUTION},                {1199, 7200, MEM_WARNING},
        {600, 7200, MEM_WARNING},                 {599, 7200, MEM_CRITICAL},
        {300, 7200, MEM_CRITICAL},                {299, 7200, MEM_EMERGENCY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(mem_level_name(mem_level_of(cases[i].available, cases[i].line)), mem_level_name(cases[i].level));
}

static void default_lines(void **state) {
    (void)state;
    const plat_cgroup_memory none = {0};
    plat_system_memory m = {32 * GIB, 20 * GIB};
    assert_true(mem_line_for(&m, &none) == 20 * GIB / 100 * 80 - GIB);
    m = (plat_system_memory){8 * GIB, 5 * GIB};
    assert_true(mem_line_for(&m, &none) == 5 * GIB / 100 * 80 - GIB);
    m = (plat_system_memory){8 * GIB - 1, 5 * GIB}; /* too small for a buffer */
    assert_true(mem_line_for(&m, &none) == 5 * GIB / 100 * 80);
    m = (plat_system_memory){64 * GIB, 60 * GIB};
    plat_cgroup_memory c = {.limited = true, .limit_bytes = GIB / 2, .used_bytes = GIB / 8, .inactive_file_bytes = GIB / 8};
    assert_true(mem_line_for(&m, &c) == GIB / 2 / 100 * 80); /* a small container on a large machine */
    c.limit_bytes = 16 * GIB;
    assert_true(mem_line_for(&m, &c) == 16 * GIB / 100 * 80 - GIB);
    m = (plat_system_memory){64 * GIB, GIB}; /* hardly anything left: no wrap */
    assert_int_equal(mem_line_for(&m, &none), 0);

    uint64_t here = mem_line_default();
    plat_system_memory machine;
    plat_system_memory_read(&machine);
    assert_true(here < machine.total_bytes);
}

#ifndef PLIMSOLL_SANITIZED /* shadow memory is in the kernel's figure */

static int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

static void books_balance_and_show_what_they_do_not_hold(void **state) {
    (void)state;
    mem_ledger l;
    mem_ledger_init(&l, 4 * GIB);
    mem_books_start(&l);
    mem_books b;
    mem_books_read(&l, &b);
    assert_true(b.balanced);
    assert_true(magnitude(b.unexplained_bytes) < MIB);
    int64_t start = b.unexplained_bytes;
    assert_true(b.ledger.rows[MEM_RUNTIME].now_bytes == b.ledger.now_bytes);

    mem_arena a;
    err e;
    assert_ok(mem_arena_init(&a, &l, MEM_KV, (size_t)(64 * MIB), true, &e), e);
    mem_books_read(&l, &b);
    assert_true(b.balanced);
    assert_true(magnitude(b.unexplained_bytes - start) < MIB / 2);
    assert_int_equal(b.ledger.rows[MEM_KV].now_bytes, 64 * MIB);
    uint64_t under_line = 4 * GIB - (b.kernel_bytes > b.ledger.now_bytes ? b.kernel_bytes : b.ledger.now_bytes);
    assert_true(b.available_bytes <= under_line);

    char *behind = mmap(NULL, (size_t)(64 * MIB), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(behind != MAP_FAILED);
    memset(behind, 1, (size_t)(64 * MIB));
    mem_books_read(&l, &b);
    assert_false(b.balanced);
    assert_true(magnitude(b.unexplained_bytes - start - 64 * MIB) < MIB / 2);
    munmap(behind, (size_t)(64 * MIB));

    /* reserved and not there: as unbalanced, with the other sign, and as little available */
    assert_ok(mem_ledger_reserve(&l, MEM_HTTP, 3 * GIB, &e), e);
    mem_books_read(&l, &b);
    assert_false(b.balanced);
    assert_true(b.unexplained_bytes < -2 * (int64_t)GIB);
    assert_true(b.available_bytes < GIB);
    mem_ledger_release(&l, MEM_HTTP, 3 * GIB);

    mem_arena_free(&a);
    mem_books_read(&l, &b);
    assert_true(b.balanced);
    assert_true(magnitude(b.unexplained_bytes - start) < MIB / 2);
}

static void runtime_follows_the_image(void **state) {
    (void)state;
    mem_ledger l;
    mem_ledger_init(&l, UINT64_MAX);
    mem_books_start(&l);
    plat_vm_forget((const void *)(uintptr_t)untouched, sizeof untouched); /* a neighbour's fault may have brought it */
    mem_books before, after;
    mem_books_read(&l, &before);
    int sum = 0;
    for (size_t i = 0; i < sizeof untouched; i += 4096) sum += untouched[i];
    assert_int_equal(sum, 1);
    mem_books_read(&l, &after);
    assert_true(after.process.rss_file_bytes - before.process.rss_file_bytes > sizeof untouched / 2);
    uint64_t growth = after.ledger.rows[MEM_RUNTIME].now_bytes - before.ledger.rows[MEM_RUNTIME].now_bytes;
    assert_true(growth > sizeof untouched / 2);
    assert_true(magnitude(after.unexplained_bytes - before.unexplained_bytes) < MIB / 4);
    /* A kernel that maps whole folios may have had these in already, as the file's: what must grow is what is our own. */
    for (size_t i = 0; i < sizeof unwritten; i += 4096) unwritten[i] = 5;
    mem_books_read(&l, &after);
    growth = after.ledger.rows[MEM_RUNTIME].now_bytes - before.ledger.rows[MEM_RUNTIME].now_bytes;
    assert_true(after.process.rss_anon_bytes - before.process.rss_anon_bytes > sizeof unwritten / 4 * 3);
    assert_true(magnitude(after.unexplained_bytes - before.unexplained_bytes) < MIB / 4);
    plat_vm_forget((const void *)(uintptr_t)untouched, sizeof untouched);
    mem_books_read(&l, &after);
    growth -= after.ledger.rows[MEM_RUNTIME].now_bytes - before.ledger.rows[MEM_RUNTIME].now_bytes;
    assert_true(growth > sizeof untouched / 2); /* what left no longer counts */
}

/* Serving asks for readings every second: they cost no memory. */
static void reading_takes_no_memory(void **state) {
    (void)state;
    mem_ledger l;
    mem_ledger_init(&l, UINT64_MAX);
    mem_books_start(&l);
    mem_books b;
    uint64_t calls = plat_malloc_calls();
    mem_books_read(&l, &b);
    assert_int_equal(plat_malloc_calls() - calls, 0);
    assert_true(plat_malloc_is_counted());
}

#endif

/* "path=value" of every scalar in a JSON text */
typedef struct flat {
    char key[JSON_MAX_DEPTH][40];
    char text[16384];
    size_t used;
} flat;

static bool flatten(void *ctx, const json_event *event, err *e) {
    (void)e;
    flat *f = ctx;
    if (event->kind == JSON_KEY) snprintf(f->key[event->depth], sizeof f->key[0], "%.*s", STR_ARG(event->text));
    if (event->kind == JSON_KEY || event->kind == JSON_OBJECT_START || event->kind == JSON_OBJECT_END) return true;
    f->used += (size_t)snprintf(f->text + f->used, sizeof f->text - f->used, "\n");
    for (int i = 1; i <= event->depth; i++)
        f->used += (size_t)snprintf(f->text + f->used, sizeof f->text - f->used, "%s%s", i > 1 ? "." : "", f->key[i]);
    str value = event->kind == JSON_NULL ? STR("null") : event->kind == JSON_BOOL ? (event->boolean ? STR("true") : STR("false")) : event->text;
    f->used += (size_t)snprintf(f->text + f->used, sizeof f->text - f->used, "=%.*s", STR_ARG(value));
    return true;
}

static void assert_line(const flat *f, const char *line) {
    char whole[128];
    snprintf(whole, sizeof whole, "\n%s\n", line);
    if (!strstr(f->text, whole)) fail_msg("no \"%s\" in:%s", line, f->text);
}

static void as_json(void **state) {
    (void)state;
    mem_books b = {
        .ledger = {.line_bytes = 1000, .now_bytes = 300, .peak_bytes = 400},
        .process = {11, 12, 13, 14, 15},
        .system = {5000, 4000},
        .cgroup = {.limited = true, .version = 2, .limit_bytes = 2000, .used_bytes = 20, .inactive_file_bytes = 2},
        .heap = {.arena_bytes = 80, .in_use_bytes = 75, .free_bytes = 25, .releasable_bytes = 5, .mmapped_bytes = 20},
        .kernel_bytes = 250, .unexplained_bytes = -50, .tolerance_bytes = 8, .balanced = false,
        .available_bytes = 700, .level = MEM_CAUTION,
    };
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++) b.ledger.rows[a].limit_bytes = UINT64_MAX;
    b.ledger.rows[MEM_KV] = (mem_ledger_row){300, 333, 350, 4};

    test_alloc alloc;
    test_alloc_init(&alloc, 0);
    buf out;
    buf_init(&out, &alloc.alloc, 65536);
    json_writer w;
    json_begin(&w, &out);
    mem_books_json(&b, &w);
    assert_false(out.failed);
    static flat f;
    err e;
    assert_ok(json_parse(&alloc.alloc, buf_str(&out), flatten, &f, &e), e);
    strcat(f.text, "\n");
    const char *const lines[] = {
        "line_bytes=1000", "kernel_bytes=250", "ledger_bytes=300", "unexplained_bytes=-50", "tolerance_bytes=8",
        "balanced=false", "level=caution", "available_bytes=700", "accounts.kv.now_bytes=300", "accounts.kv.peak_bytes=333",
        "accounts.kv.limit_bytes=350", "accounts.kv.refused=4", "accounts.http.limit_bytes=null",
        "accounts.prompt_index.now_bytes=0", "kernel.rss_anon_bytes=11", "kernel.rss_file_bytes=12",
        "kernel.rss_shmem_bytes=13", "kernel.swap_bytes=14", "kernel.peak_rss_bytes=15", "system.total_bytes=5000",
        "system.available_bytes=4000", "cgroup.version=2", "cgroup.limit_bytes=2000", "cgroup.used_bytes=20",
        "cgroup.inactive_file_bytes=2", "heap.arena_bytes=80", "heap.in_use_bytes=75", "heap.free_bytes=25",
        "heap.releasable_bytes=5", "heap.mmapped_bytes=20", "heap.utilisation=0.750",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) assert_line(&f, lines[i]);

    b.ledger.line_bytes = UINT64_MAX;
    b.cgroup = (plat_cgroup_memory){0};
    buf_clear(&out);
    json_begin(&w, &out);
    mem_books_json(&b, &w);
    f.used = 0;
    assert_ok(json_parse(&alloc.alloc, buf_str(&out), flatten, &f, &e), e);
    strcat(f.text, "\n");
    assert_line(&f, "line_bytes=null");
    assert_line(&f, "cgroup.limit_bytes=null");
    buf_free(&out);
    assert_int_equal(alloc.outstanding_bytes, 0);
}

static uint64_t clamped(uint64_t asked, uint64_t in_groups, uint64_t in_machine, uint64_t limit, const char *bound) {
    mem_line_origin t;
    uint64_t line = mem_line_clamp(asked, 8 * MIB, in_groups, in_machine, limit, &t);
    assert_string_equal(t.bound, bound);
    assert_true(t.asked_bytes == asked);
    return line;
}

static void a_line_is_no_more_than_there_is(void **state) {
    (void)state;
    const uint64_t none = UINT64_MAX;
    assert_true(clamped(GIB, none, none, none, "asked") == GIB);
    assert_true(clamped(GIB, 64 * MIB, none, 90 * MIB, "cgroup") == 72 * MIB);
    assert_true(clamped(GIB, 64 * MIB, 32 * MIB, 90 * MIB, "machine") == 40 * MIB);
    assert_true(clamped(72 * MIB, 64 * MIB, none, 90 * MIB, "asked") == 72 * MIB);
    assert_true(clamped(GIB, 0, none, 90 * MIB, "cgroup") == 8 * MIB); /* no room: what is there already */
    assert_true(clamped(none, none, none, none, "asked") == none);
}

/* In this process's own group, whatever that is. */
static void the_line_of_this_process(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    mem_ledger_view v;
    mem_ledger_init(&l, UINT64_MAX);
    mem_line_start(&l, UINT64_MAX / 2, true);
    mem_ledger_read(&l, &v);
    plat_system_memory machine;
    plat_system_memory_read(&machine);
    assert_true(v.line_bytes < machine.total_bytes && v.line.asked_bytes == UINT64_MAX / 2);
    assert_string_not_equal(v.line.bound, "asked");
    assert_ok(mem_ledger_reserve(&l, MEM_KV, MIB, &e), e);
    assert_false(mem_ledger_reserve(&l, MEM_KV, v.line_bytes, &e));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(level_edges),
        cmocka_unit_test(default_lines),
        cmocka_unit_test(a_line_is_no_more_than_there_is),
        cmocka_unit_test(the_line_of_this_process),
#ifndef PLIMSOLL_SANITIZED
        cmocka_unit_test(books_balance_and_show_what_they_do_not_hold),
        cmocka_unit_test(runtime_follows_the_image),
        cmocka_unit_test(reading_takes_no_memory),
#endif
        cmocka_unit_test(as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
