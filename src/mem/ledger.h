/* mem/ledger — the books: who holds how many bytes, and the line nobody may cross.
 *
 * Owns one row per account (now, peak, limit, refused) and their sum against the line. Every room
 * reserves here BEFORE it takes memory and releases AFTER it has given it back, so that the sum is
 * never below the truth. Reservations of one account are plain byte counts: the ledger does not know
 * blocks. Callable from any thread; a reservation is one short critical section.
 *
 * Refuses with ERR_MEMORY (need and have filled in) when the line or the account's own limit would
 * be passed. Bytes are meant to be resident when reserved: take them prefaulted.
 */
#ifndef MEM_LEDGER_H
#define MEM_LEDGER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mem/accounts.h"

typedef struct mem_ledger_row {
    uint64_t now_bytes, peak_bytes;
    uint64_t limit_bytes; /* UINT64_MAX: only the line limits */
    uint64_t refused;     /* reservations turned down */
} mem_ledger_row;

/* What mem/watch last saw, kept here because whoever reads the books reads the ledger. */
typedef struct mem_watched {
    bool on;       /* someone watches: without that, levels are computed from each reading alone */
    uint8_t level; /* a mem_level (mem/books), with its hysteresis */
    uint64_t reclaimable_bytes; /* of what is held: given back at once where it is needed */
    uint64_t room_bytes;        /* available and reclaimable together, at the last look */
    uint64_t since_ms, changes; /* of the level; monotonic */
    uint64_t threshold_bytes[4]; /* as they apply to the bound that the level comes from */
    const char *worst;           /* that bound */
    bool pressed;
} mem_watched;

typedef struct mem_ledger {
    pthread_mutex_t lock;
    mem_watched watched;
    uint64_t line_bytes; /* UINT64_MAX: no line */
    uint64_t now_bytes, peak_bytes;
    mem_ledger_row rows[MEM_ACCOUNT_COUNT];
    uint64_t fail_countdown; /* tests: 0 off, otherwise the Nth reservation from now is refused */
} mem_ledger;

typedef struct mem_ledger_view { /* one consistent reading */
    uint64_t line_bytes, now_bytes, peak_bytes;
    mem_ledger_row rows[MEM_ACCOUNT_COUNT];
    mem_watched watched;
} mem_ledger_view;

void mem_ledger_init(mem_ledger *l, uint64_t line_bytes);
void mem_ledger_set_line(mem_ledger *l, uint64_t line_bytes); /* before anything else is reserved */
void mem_ledger_set_limit(mem_ledger *l, mem_account a, uint64_t limit_bytes);

bool mem_ledger_reserve(mem_ledger *l, mem_account a, uint64_t bytes, err *e);
void mem_ledger_release(mem_ledger *l, mem_account a, uint64_t bytes); /* CHECKs that the row holds them */
/* Sets a row to a figure the kernel gave (mem/books, for `runtime`): a fact is not refused, so the sum
 * may then stand above the line and nothing is available. */
void mem_ledger_measured(mem_ledger *l, mem_account a, uint64_t bytes);
void mem_ledger_note(mem_ledger *l, const mem_watched *watched);
uint64_t mem_ledger_available(mem_ledger *l);                          /* below the line */
void mem_ledger_read(mem_ledger *l, mem_ledger_view *out);

/* The n-th reservation from now (1 = the next) is refused, once; 0 turns it off. For oom tests. */
void mem_ledger_fail_nth(mem_ledger *l, uint64_t n);

#endif
