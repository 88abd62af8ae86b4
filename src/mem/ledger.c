#include "mem/ledger.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
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

void mem_ledger_check(const mem_ledger *l) {
    uint64_t sum = 0;
    CHECK(plat_mutex_held(&l->lock));
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++) {
        CHECK(l->rows[a].now_bytes <= l->rows[a].peak_bytes);
        sum += l->rows[a].now_bytes;
    }
    CHECK(sum == l->now_bytes && sum <= l->peak_bytes);
}

static void lock(mem_ledger *l) { plat_mutex_lock(&l->lock); }
static void unlock(mem_ledger *l) {
    mem_ledger_check(l);
    plat_mutex_unlock(&l->lock);
}

void mem_ledger_init(mem_ledger *l, uint64_t line_bytes) {
    memset(l, 0, sizeof *l);
    plat_mutex_init(&l->lock);
    l->line_bytes = line_bytes;
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++) l->rows[a].limit_bytes = UINT64_MAX;
}

void mem_ledger_set_line(mem_ledger *l, uint64_t line_bytes, const mem_line_origin *origin) {
    lock(l);
    l->line_bytes = line_bytes;
    l->line = origin ? *origin : (mem_line_origin){.asked_bytes = line_bytes};
    unlock(l);
}

static void put_line(json_writer *w, const char *key, uint64_t bytes) {
    json_key(w, key);
    if (bytes == UINT64_MAX) json_null(w);
    else json_uint(w, bytes);
}

void mem_line_json(uint64_t line_bytes, const mem_line_origin *origin, json_writer *w) {
    put_line(w, "line_bytes", line_bytes);
    if (!origin->bound) return;
    put_line(w, "line_asked_bytes", origin->asked_bytes);
    json_put_string(w, "line_bound", str_of(origin->bound));
}

void mem_ledger_set_room(mem_ledger *l, mem_room_fn *room) {
    lock(l);
    l->room = room;
    l->room_read_ns = 0;
    unlock(l);
}

void mem_ledger_set_limit(mem_ledger *l, mem_account a, uint64_t limit_bytes) {
    CHECK(a < MEM_ACCOUNT_COUNT);
    lock(l);
    l->rows[a].limit_bytes = limit_bytes;
    unlock(l);
}

static uint64_t below(uint64_t limit, uint64_t now) { return limit > now ? limit - now : 0; }

static void forget_unseen(mem_ledger_row *row, uint64_t bytes) { row->unseen_bytes = below(row->unseen_bytes, bytes); }

static void add(mem_ledger *l, mem_ledger_row *row, uint64_t bytes) {
    row->now_bytes += bytes;
    l->now_bytes += bytes;
    if (row->now_bytes > row->peak_bytes) row->peak_bytes = row->now_bytes;
    if (l->now_bytes > l->peak_bytes) l->peak_bytes = l->now_bytes;
}

/* ---- what the kernel would still give ---- */

enum { ROOM_LASTS_NS = 2000000 };

/* At least `bytes`, or all there is. What is reserved and not resident yet is not free, though the kernel counts it
 * so. */
static uint64_t room_left(mem_ledger *l, uint64_t bytes) {
    CHECK(plat_mutex_held(&l->lock));
    if (!l->room) return UINT64_MAX;
    uint64_t now = clock_now_ns();
    if (bytes > l->room_left_bytes || now - l->room_read_ns >= ROOM_LASTS_NS) {
        uint64_t awaited = l->pending_bytes;
        for (int a = 0; a < MEM_ACCOUNT_COUNT; a++) awaited += l->rows[a].unseen_bytes;
        l->room_left_bytes = below(l->room(bytes + awaited), awaited);
        l->room_read_ns = now;
    }
    return l->room_left_bytes;
}

static void take_room(mem_ledger *l, mem_ledger_row *row, uint64_t bytes) {
    if (!l->room) return;
    l->room_left_bytes -= bytes;
    row->unseen_bytes += bytes;
}

void mem_ledger_arrived(mem_ledger *l, mem_account a, uint64_t bytes) {
    CHECK(a < MEM_ACCOUNT_COUNT);
    lock(l);
    forget_unseen(&l->rows[a], bytes);
    unlock(l);
}

void mem_ledger_seen(mem_ledger *l, const mem_ledger_view *v, uint64_t kernel_bytes) {
    lock(l);
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++) forget_unseen(&l->rows[a], v->rows[a].unseen_bytes);
    l->pending_bytes = below(v->now_bytes, kernel_bytes);
    unlock(l);
}

static bool counted_down(mem_ledger *l) { return l->fail_countdown > 0 && --l->fail_countdown == 0; }

typedef struct bound { /* what stands in the way of a reservation */
    uint64_t available_bytes, of_bytes;
    const char *words;
} bound;

static bound tightest(mem_ledger *l, const mem_ledger_row *row, uint64_t bytes) {
    bound b = {below(l->line_bytes, l->now_bytes), l->line_bytes, "under the line of "};
    uint64_t under_limit = below(row->limit_bytes, row->now_bytes);
    if (under_limit < b.available_bytes) b = (bound){under_limit, row->limit_bytes, "under the limit of "};
    if (bytes > b.available_bytes) return b;
    uint64_t room = room_left(l, bytes);
    if (room < bytes) b = (bound){room, 0, "in this machine and its control groups"};
    return b;
}

bool mem_ledger_reserve(mem_ledger *l, mem_account a, uint64_t bytes, err *e) {
    CHECK(a < MEM_ACCOUNT_COUNT);
    lock(l);
    mem_ledger_row *row = &l->rows[a];
    bound b = tightest(l, row, bytes);
    bool staged = counted_down(l), good = bytes <= b.available_bytes && !staged;
    if (good) add(l, row, bytes), take_room(l, row, bytes);
    else row->refused++;
    unlock(l);
    if (good) return true;

    char need[BYTES_TEXT_BYTES], have[BYTES_TEXT_BYTES], of[BYTES_TEXT_BYTES] = "";
    bytes_text(bytes, need);
    bytes_text(b.available_bytes, have);
    if (b.of_bytes) bytes_text(b.of_bytes, of);
    return err_set_memory(e, bytes, b.available_bytes, "needs %s, %s available %s%s (account %s)%s", need, have,
                          b.words, of, mem_account_name(a), staged ? ", refused for a test" : "");
}

void mem_ledger_release(mem_ledger *l, mem_account a, uint64_t bytes) {
    CHECK(a < MEM_ACCOUNT_COUNT);
    lock(l);
    mem_ledger_row *row = &l->rows[a];
    CHECK(row->now_bytes >= bytes);
    row->now_bytes -= bytes;
    l->now_bytes -= bytes;
    forget_unseen(row, bytes);
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
    out->line = l->line;
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
