#include "mem/ledger.h"

#include <string.h>

#include "base/check.h"
#include "base/str.h"

static const struct {
    const char *name, *help;
} account_table[MEM_ACCOUNT_COUNT] = {
#define X(ident, name, help) {name, help},
    MEM_ACCOUNT_TABLE(X)
#undef X
};

const char *mem_account_name(mem_account a) { return a < MEM_ACCOUNT_COUNT ? account_table[a].name : "?"; }
const char *mem_account_help(mem_account a) { return a < MEM_ACCOUNT_COUNT ? account_table[a].help : "?"; }

static void lock(mem_ledger *l) { CHECK(pthread_mutex_lock(&l->lock) == 0); }
static void unlock(mem_ledger *l) { CHECK(pthread_mutex_unlock(&l->lock) == 0); }

void mem_ledger_init(mem_ledger *l, uint64_t line_bytes) {
    memset(l, 0, sizeof *l);
    CHECK(pthread_mutex_init(&l->lock, NULL) == 0);
    l->line_bytes = line_bytes;
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++) l->rows[a].limit_bytes = UINT64_MAX;
}

void mem_ledger_set_line(mem_ledger *l, uint64_t line_bytes) {
    pthread_mutex_lock(&l->lock);
    l->line_bytes = line_bytes;
    pthread_mutex_unlock(&l->lock);
}

void mem_ledger_set_limit(mem_ledger *l, mem_account a, uint64_t limit_bytes) {
    CHECK(a < MEM_ACCOUNT_COUNT);
    lock(l);
    l->rows[a].limit_bytes = limit_bytes;
    unlock(l);
}

static uint64_t below(uint64_t limit, uint64_t now) { return limit > now ? limit - now : 0; }

static void add(mem_ledger *l, mem_ledger_row *row, uint64_t bytes) {
    row->now_bytes += bytes;
    l->now_bytes += bytes;
    if (row->now_bytes > row->peak_bytes) row->peak_bytes = row->now_bytes;
    if (l->now_bytes > l->peak_bytes) l->peak_bytes = l->now_bytes;
}

static bool counted_down(mem_ledger *l) { return l->fail_countdown > 0 && --l->fail_countdown == 0; }

bool mem_ledger_reserve(mem_ledger *l, mem_account a, uint64_t bytes, err *e) {
    CHECK(a < MEM_ACCOUNT_COUNT);
    lock(l);
    mem_ledger_row *row = &l->rows[a];
    uint64_t line = l->line_bytes, limit = row->limit_bytes;
    uint64_t under_line = below(line, l->now_bytes), under_limit = below(limit, row->now_bytes);
    bool staged = counted_down(l), fits = bytes <= under_line && bytes <= under_limit;
    if (fits && !staged) add(l, row, bytes);
    else row->refused++;
    unlock(l);
    if (fits && !staged) return true;

    char need[BYTES_TEXT_BYTES], have[BYTES_TEXT_BYTES], bound[BYTES_TEXT_BYTES];
    uint64_t available = under_line < under_limit ? under_line : under_limit;
    bool by_limit = under_limit < under_line;
    bytes_text(bytes, need);
    bytes_text(available, have);
    bytes_text(by_limit ? limit : line, bound);
    return err_set_memory(e, bytes, available, "needs %s, %s available under the %s of %s (account %s)%s", need,
                          have, by_limit ? "limit" : "line", bound, mem_account_name(a),
                          staged ? ", refused for a test" : "");
}

void mem_ledger_release(mem_ledger *l, mem_account a, uint64_t bytes) {
    CHECK(a < MEM_ACCOUNT_COUNT);
    lock(l);
    mem_ledger_row *row = &l->rows[a];
    CHECK(row->now_bytes >= bytes);
    row->now_bytes -= bytes;
    l->now_bytes -= bytes;
    unlock(l);
}

void mem_ledger_measured(mem_ledger *l, mem_account a, uint64_t bytes) {
    CHECK(a < MEM_ACCOUNT_COUNT);
    lock(l);
    mem_ledger_row *row = &l->rows[a];
    l->now_bytes -= row->now_bytes;
    row->now_bytes = 0;
    add(l, row, bytes);
    unlock(l);
}

void mem_ledger_note(mem_ledger *l, const mem_watched *watched) {
    lock(l);
    l->watched = *watched;
    unlock(l);
}

uint64_t mem_ledger_available(mem_ledger *l) {
    lock(l);
    uint64_t bytes = below(l->line_bytes, l->now_bytes);
    unlock(l);
    return bytes;
}

void mem_ledger_read(mem_ledger *l, mem_ledger_view *out) {
    lock(l);
    out->line_bytes = l->line_bytes;
    out->now_bytes = l->now_bytes;
    out->peak_bytes = l->peak_bytes;
    memcpy(out->rows, l->rows, sizeof out->rows);
    out->watched = l->watched;
    unlock(l);
}

void mem_ledger_fail_nth(mem_ledger *l, uint64_t n) {
    lock(l);
    l->fail_countdown = n;
    unlock(l);
}
