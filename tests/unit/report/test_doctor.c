/* Findings: each rule at its edge, what is said, in which order, and both faces. */
#include "../test.h"

#include "base/json.h"
#include "report/doctor.h"

#define MIB UINT64_C(1048576)
#define GIB UINT64_C(1073741824)

typedef struct patient {
    mem_books books;
    report_snapshot snapshot;
    report_diagnosis found;
} patient;

/* Nothing to say about this one. */
static void well(patient *p) {
    memset(p, 0, sizeof *p);
    p->books = (mem_books){
        .ledger = {.line_bytes = 8 * GIB, .now_bytes = 3 * GIB},
        .system = {16 * GIB, 9 * GIB},
        .heap = {.arena_bytes = 100 * MIB, .in_use_bytes = 90 * MIB, .free_bytes = 10 * MIB},
        .kernel_bytes = 3 * GIB,
        .tolerance_bytes = 60 * MIB,
        .balanced = true,
        .available_bytes = 5 * GIB,
        .level = MEM_SAFE,
    };
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++) p->books.ledger.rows[a].limit_bytes = UINT64_MAX;
    p->snapshot = (report_snapshot){.books = &p->books, .baselines = 100, .hugepages = PLAT_HUGEPAGES_MADVISE};
}

static const report_finding *find(patient *p, const char *code) {
    report_doctor(&p->snapshot, &p->found);
    for (uint32_t i = 0; i < p->found.n; i++)
        if (!strcmp(p->found.findings[i].code, code)) return &p->found.findings[i];
    return NULL;
}

static double figure_of(const report_finding *f, const char *name) {
    for (uint32_t i = 0; i < f->n_figures; i++)
        if (!strcmp(f->figures[i].name, name)) return f->figures[i].value;
    fail_msg("%s: no figure %s", f->code, name);
    return 0;
}

static bool is(const report_finding *f, report_severity severity, const char *words) {
    if (!f) fail_msg("no finding that says \"%s\"", words);
    if (!strstr(f->words, words)) fail_msg("\"%s\" does not say \"%s\"", f->words, words);
    return f->severity == severity && f->advice[0];
}

static bool near(double a, double b) { return a > b - 0.5 && a < b + 0.5; }

static void who_is_well_is_told_so(void **state) {
    (void)state;
    static patient p;
    well(&p);
    report_doctor(&p.snapshot, &p.found);
    assert_int_equal(p.found.n, 0);
}

static void the_level_and_what_it_comes_from(void **state) {
    (void)state;
    static patient p;
    well(&p);
    p.books.level = MEM_CAUTION, p.books.kernel_bytes = p.books.ledger.now_bytes = 7 * GIB;
    p.books.available_bytes = GIB, p.books.reclaimable_bytes = 5 * MIB;
    const report_finding *f = find(&p, "level_line");
    assert_true(is(f, REPORT_NOTE, "level caution: 1.00 GiB are left under the line of 8.00 GiB"));
    assert_true(near(figure_of(f, "available_bytes"), (double)GIB));
    assert_true(near(figure_of(f, "reclaimable_bytes"), 5 * (double)MIB));
    p.books.level = MEM_WARNING;
    assert_true(is(find(&p, "level_line"), REPORT_WARN, "level warning"));

    well(&p);
    p.books.level = MEM_CRITICAL, p.books.system.available_bytes = 700 * MIB;
    assert_true(is(find(&p, "level_machine"), REPORT_ALARM, "the machine has 700 MiB available of 16.0 GiB"));

    well(&p);
    p.books.level = MEM_EMERGENCY;
    p.books.cgroup = (plat_cgroup_memory){.limited = true, .version = 2, .limit_bytes = 9 * GIB,
                                          .used_bytes = 9 * GIB - 100 * MIB};
    assert_true(is(find(&p, "level_cgroup"), REPORT_ALARM,
                   "100 MiB are left under the control group's limit of 9.00 GiB"));

    p.books.ledger.watched = (mem_watched){.on = true, .worst = "machine", .pressed = true}; /* who watches knows */
    assert_non_null(find(&p, "level_machine"));
    assert_true(is(find(&p, "pressed"), REPORT_WARN, "wait for memory"));
}

static void lines_that_do_not_hold(void **state) {
    (void)state;
    static patient p;
    well(&p);
    p.books.ledger.line_bytes = UINT64_MAX;
    assert_true(is(find(&p, "no_line"), REPORT_WARN, "no line"));

    well(&p);
    p.books.kernel_bytes = p.books.ledger.line_bytes;
    assert_null(find(&p, "over_line"));
    p.books.kernel_bytes += 3 * MIB;
    assert_true(is(find(&p, "over_line"), REPORT_ALARM, "3.00 MiB over the line"));

    well(&p);
    p.books.cgroup = (plat_cgroup_memory){.limited = true, .version = 1, .limit_bytes = 8 * GIB};
    assert_null(find(&p, "cgroup_below_line"));
    p.books.cgroup.limit_bytes--;
    assert_true(is(find(&p, "cgroup_below_line"), REPORT_WARN, "below the line of 8.00 GiB"));
    p.books.cgroup.limited = false;
    assert_null(find(&p, "cgroup_below_line"));
    p.books.cgroup.unreadable = true;
    assert_true(is(find(&p, "cgroup_unreadable"), REPORT_WARN, "cannot be read"));
}

static void books_that_do_not_balance(void **state) {
    (void)state;
    static patient p;
    well(&p);
    p.books.balanced = false;
    p.books.unexplained_bytes = 70 * (int64_t)MIB;
    const report_finding *f = find(&p, "unexplained");
    assert_true(is(f, REPORT_WARN, "70.0 MiB are resident that no account explains"));
    assert_true(near(figure_of(f, "tolerance_bytes"), 60 * (double)MIB));
    p.books.unexplained_bytes = -70 * (int64_t)MIB;
    f = find(&p, "not_resident");
    assert_true(is(f, REPORT_NOTE, "70.0 MiB are reserved and not resident"));
    assert_true(near(figure_of(f, "unexplained_bytes"), -70 * (double)MIB));
}

static void a_heap_that_holds_on(void **state) {
    (void)state;
    static patient p;
    well(&p);
    p.books.heap = (plat_heap){.arena_bytes = 100 * MIB, .in_use_bytes = 49 * MIB, .free_bytes = 51 * MIB};
    assert_true(is(find(&p, "heap_held"), REPORT_WARN, "the heap uses 49 % of what it holds: 51.0 MiB are free"));
    p.books.heap.releasable_bytes = 19 * MIB; /* 32 MiB held: not more */
    assert_null(find(&p, "heap_held"));
    p.books.heap.releasable_bytes--;
    assert_non_null(find(&p, "heap_held"));
    p.books.heap = (plat_heap){.arena_bytes = 100 * MIB, .in_use_bytes = 50 * MIB, .free_bytes = 50 * MIB};
    assert_null(find(&p, "heap_held"));
    p.books.heap = (plat_heap){0};
    assert_null(find(&p, "heap_held"));
    p.books.heap.releasable_bytes = GIB; /* what a library may report: more than is free */
    assert_null(find(&p, "heap_held"));
}

static void swap_refusals_and_huge_pages(void **state) {
    (void)state;
    static patient p;
    well(&p);
    p.books.process.swap_bytes = 4096;
    assert_true(is(find(&p, "swapped"), REPORT_WARN, "4.00 KiB of this server are in swap"));
    p.books.process.swap_bytes = GIB;
    assert_true(is(find(&p, "swapped"), REPORT_ALARM, "1.00 GiB"));

    p.books.ledger.rows[MEM_QUEUE].refused = 7;
    const report_finding *f = find(&p, "refused");
    assert_true(is(f, REPORT_NOTE, "account queue was refused memory 7 times"));
    assert_string_equal(f->account, "queue");
    assert_true(near(figure_of(f, "refused"), 7));

    p.snapshot.hugepages = PLAT_HUGEPAGES_NEVER;
    assert_true(is(find(&p, "huge_pages_never"), REPORT_NOTE, "turned off"));
    p.snapshot.hugepages = PLAT_HUGEPAGES_ALWAYS;
    assert_true(is(find(&p, "huge_pages_always"), REPORT_NOTE, "wherever they fit"));
    p.snapshot.hugepages = PLAT_HUGEPAGES_UNKNOWN;
    assert_null(find(&p, "huge_pages_never"));
}

static void a_cache_that_turns_over(void **state) {
    (void)state;
    static patient p;
    well(&p);
    p.snapshot.cache_budget_bytes = GIB, p.snapshot.span_ms = 60000, p.snapshot.evicted_bytes = 2 * GIB - 1;
    assert_null(find(&p, "thrashing"));
    p.snapshot.evicted_bytes++;
    assert_true(is(find(&p, "thrashing"), REPORT_WARN, "2.00 GiB in the last 60 s, 2.0 times the pool a minute"));
    p.snapshot.span_ms = 1000; /* a second says little: as if it were a minute */
    assert_non_null(find(&p, "thrashing"));
    p.books.level = MEM_CAUTION; /* that is why they go */
    assert_null(find(&p, "thrashing"));
    p.books.level = MEM_SAFE, p.snapshot.cache_budget_bytes = 0;
    assert_null(find(&p, "thrashing"));
}

static void leaks_by_name_and_the_worst_first(void **state) {
    (void)state;
    static patient p;
    well(&p);
    const report_leak leaks[] = {
        {"kv", {.n_readings = 32, .slope = 4096, .low = 4000, .high = 4200, .rise_bytes = 126976}, 31, 9},
        {"unexplained", {.n_readings = 20, .slope = 1e6, .low = 9e5, .high = 2e6, .rise_bytes = 2e7}, 5, 9},
    };
    p.snapshot.leaks = leaks, p.snapshot.n_leaks = 2;
    p.snapshot.hugepages = PLAT_HUGEPAGES_ALWAYS;
    p.books.ledger.line_bytes = UINT64_MAX;
    const report_finding *f = find(&p, "leak");
    assert_true(is(f, REPORT_ALARM, "account kv grows and does not come back: 124 KiB over the last 31 requests"));
    assert_true(near(figure_of(f, "at_least"), 4000));
    assert_int_equal(p.found.n, 4);
    assert_true(is(&p.found.findings[1], REPORT_ALARM, "what no account explains grows"));
    assert_string_equal(p.found.findings[2].code, "no_line");
    assert_string_equal(p.found.findings[3].code, "huge_pages_always");
}

/* Everything at once, with the largest figures there are: room for all, nothing cut, and in both faces. */
static void all_of_it_at_once(void **state) {
    (void)state;
    static patient p;
    static report_leak leaks[MEM_ACCOUNT_COUNT + 1];
    well(&p);
    for (mem_account a = 0; a <= MEM_ACCOUNT_COUNT; a++) {
        leaks[a] = (report_leak){a < MEM_ACCOUNT_COUNT ? mem_account_name(a) : "unexplained",
                                     {.n_readings = 128, .slope = 1e18, .low = 1e18, .rise_bytes = 1e19},
                                     UINT64_MAX, UINT64_MAX};
        if (a < MEM_ACCOUNT_COUNT) p.books.ledger.rows[a] = (mem_ledger_row){UINT64_MAX, UINT64_MAX, 5, UINT64_MAX};
    }
    p.snapshot.leaks = leaks, p.snapshot.n_leaks = MEM_ACCOUNT_COUNT + 1;
    p.snapshot.cache_budget_bytes = 1, p.snapshot.span_ms = UINT64_MAX / 2, p.snapshot.evicted_bytes = UINT64_MAX;
    p.snapshot.hugepages = PLAT_HUGEPAGES_ALWAYS;
    p.books.level = MEM_EMERGENCY, p.books.balanced = false, p.books.unexplained_bytes = INT64_MAX;
    p.books.kernel_bytes = UINT64_MAX - 1, p.books.process.swap_bytes = UINT64_MAX;
    p.books.cgroup = (plat_cgroup_memory){.limited = true, .version = 2, .used_bytes = UINT64_MAX};
    p.books.ledger.watched.pressed = true;
    p.books.heap = (plat_heap){.arena_bytes = UINT64_MAX / 2, .in_use_bytes = 1, .free_bytes = UINT64_MAX / 2};
    assert_non_null(find(&p, "heap_held"));
    for (uint32_t i = 0; i < p.found.n; i++) {
        assert_true(strlen(p.found.findings[i].words) < REPORT_FINDING_WORDS_BYTES - 1);
        assert_true(strlen(p.found.findings[i].advice) < REPORT_FINDING_WORDS_BYTES - 1);
        if (i) assert_true(p.found.findings[i].severity <= p.found.findings[i - 1].severity);
    }
    test_alloc alloc;
    test_alloc_init(&alloc, 0);
    buf out;
    buf_init(&out, &alloc.alloc, 1 << 20);
    report_doctor_words(&p.found, &out);
    assert_non_null(strstr(out.data, "Something needs attention.\n\n[alarm] the kernel counts"));
    buf_clear(&out);
    json_writer w;
    json_begin(&w, &out);
    report_doctor_json(&p.found, &w);
    assert_non_null(strstr(out.data, "{\"well\":false,\"findings\":[{\"severity\":\"alarm\",\"code\":"
                                     "\"over_line\",\"account\":null,"));
    buf_free(&out);
    assert_int_equal(alloc.outstanding_bytes, 0);
}

static void notes_are_no_illness(void **state) {
    (void)state;
    static patient p;
    well(&p);
    p.snapshot.hugepages = PLAT_HUGEPAGES_ALWAYS;
    report_doctor(&p.snapshot, &p.found);
    test_alloc alloc;
    test_alloc_init(&alloc, 0);
    buf out;
    buf_init(&out, &alloc.alloc, 1 << 20);
    report_doctor_words(&p.found, &out);
    assert_non_null(strstr(out.data, "All is well.\n\n[note] the kernel uses"));
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_well_is_told_so),
        cmocka_unit_test(the_level_and_what_it_comes_from),
        cmocka_unit_test(lines_that_do_not_hold),
        cmocka_unit_test(books_that_do_not_balance),
        cmocka_unit_test(a_heap_that_holds_on),
        cmocka_unit_test(swap_refusals_and_huge_pages),
        cmocka_unit_test(a_cache_that_turns_over),
        cmocka_unit_test(leaks_by_name_and_the_worst_first),
        cmocka_unit_test(all_of_it_at_once),
        cmocka_unit_test(notes_are_no_illness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
