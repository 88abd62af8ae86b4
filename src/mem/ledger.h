/* mem/ledger — the books: who holds how many bytes, and the line nobody may cross.
 *
 * Owns one row per account (now, peak, limit, refused) and their sum against the line. Every room
 * reserves here BEFORE it takes memory and releases AFTER it has given it back, so that the sum is
 * never below the truth. Reservations of one account are plain byte counts: the ledger does not know
 * blocks. Callable from any thread; a reservation is one short critical section.
 *
 * Refuses with ERR_MEMORY (need and have filled in) when the line, the account's own limit, or what the
 * machine and its control groups have left would be passed: the last is read at the reservation (a
 * reading serves those of the next two milliseconds), so that a promise is never made of what somebody
 * else has taken. Bytes are meant to be resident when reserved: take them prefaulted.
 */
#ifndef MEM_LEDGER_H
#define MEM_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "mem/accounts.h"
#include "plat/mutex.h"

typedef struct mem_ledger_row {
    uint64_t now_bytes, peak_bytes;
    uint64_t limit_bytes; /* UINT64_MAX: only the line limits */
    uint64_t refused;     /* reservations turned down */
    uint64_t unseen_bytes; /* reserved since mem_ledger_seen, and not known to be resident */
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

/* What the line comes from (mem/line). */
typedef struct mem_line_origin {
    uint64_t asked_bytes;  /* by the operator; or the default */
    uint64_t beside_bytes; /* of the least limit of a group: what others and the kernel held there at the start */
    const char *bound;     /* which of "asked", "cgroup" and "machine" it is; NULL: nobody has set a line */
} mem_line_origin;

/* line_bytes; and where somebody has set it, line_asked_bytes and line_bound. */
void mem_line_json(uint64_t line_bytes, const mem_line_origin *origin, json_writer *w);

/* What the kernel would still give, read anew; enough_bytes: more need not be looked for. */
typedef uint64_t mem_room_fn(uint64_t enough_bytes);

typedef struct mem_ledger {
    plat_mutex lock;
    mem_watched watched;
    uint64_t line_bytes; /* UINT64_MAX: no line */
    mem_line_origin line;
    mem_room_fn *room;        /* NULL: the line alone counts */
    uint64_t room_left_bytes; /* of the last reading, less what was reserved since */
    uint64_t room_read_ns;
    uint64_t pending_bytes;   /* reserved and not resident, by mem_ledger_seen */
    uint64_t now_bytes, peak_bytes;
    mem_ledger_row rows[MEM_ACCOUNT_COUNT];
    uint64_t fail_countdown; /* tests: 0 off, otherwise the Nth reservation from now is refused */
} mem_ledger;

typedef struct mem_ledger_view { /* one consistent reading */
    uint64_t line_bytes, now_bytes, peak_bytes;
    mem_line_origin line;
    mem_ledger_row rows[MEM_ACCOUNT_COUNT];
    mem_watched watched;
} mem_ledger_view;

void mem_ledger_init(mem_ledger *l, uint64_t line_bytes);
/* origin NULL: a line without a story. A line below what is reserved refuses until enough has been given back. */
void mem_ledger_set_line(mem_ledger *l, uint64_t line_bytes, const mem_line_origin *origin);
/* From here on no reservation passes what room says is left; it is called with the ledger's lock held. */
void mem_ledger_set_room(mem_ledger *l, mem_room_fn *room);
void mem_ledger_set_limit(mem_ledger *l, mem_account a, uint64_t limit_bytes);

bool mem_ledger_reserve(mem_ledger *l, mem_account a, uint64_t bytes, err *e);
void mem_ledger_release(mem_ledger *l, mem_account a, uint64_t bytes); /* CHECKs that the row holds them */
/* Bytes just reserved are resident now: the kernel's figures count them, and they need not be counted beside these. */
void mem_ledger_arrived(mem_ledger *l, mem_account a, uint64_t bytes);
/* The kernel's figure of this process, read after v was: what of v's sum is not resident will be touched yet. */
void mem_ledger_seen(mem_ledger *l, const mem_ledger_view *v, uint64_t kernel_bytes);
/* Sets a row to a figure the kernel gave (mem/books, for `runtime`): a fact is not refused, so the sum
 * may then stand above the line and nothing is available. */
void mem_ledger_measured(mem_ledger *l, mem_account a, uint64_t bytes);
void mem_ledger_note(mem_ledger *l, const mem_watched *watched);
uint64_t mem_ledger_available(mem_ledger *l);                          /* below the line */
void mem_ledger_read(mem_ledger *l, mem_ledger_view *out);

/* The sums are those of the rows, and no row is above its peak. Locked: called whenever the lock is let go. */
void mem_ledger_check(const mem_ledger *l);

/* The n-th reservation from now (1 = the next) is refused, once; 0 turns it off. For oom tests. */
void mem_ledger_fail_nth(mem_ledger *l, uint64_t n);

#endif
