/* mem/books — the ledger beside the kernel's own figure, and what neither explains.
 *
 * kernel = RssAnon + RssShmem + RssFile + swap of this process. ledger = sum of the accounts, with
 * `runtime` as measured. unexplained = kernel − ledger (signed; positive: resident bytes nobody
 * reserved; negative: reserved bytes not resident yet). Balanced: |unexplained| ≤ max(2 %, 8 MiB). */
#ifndef MEM_BOOKS_H
#define MEM_BOOKS_H

#include "base/metric.h"
#include "mem/ledger.h"
#include "plat/kernel.h"

typedef enum mem_level { MEM_SAFE, MEM_CAUTION, MEM_WARNING, MEM_CRITICAL, MEM_EMERGENCY } mem_level;
const char *mem_level_name(mem_level level);
/* Pure: > 3 GiB safe, from 2 caution, from 1 warning, from 0.5 critical; in proportion to a line under 12 GiB. */
mem_level mem_level_of(uint64_t available_bytes, uint64_t line_bytes);

typedef struct mem_books {
    mem_ledger_view ledger;
    plat_process_memory process;
    plat_system_memory system;
    plat_cgroup_memory cgroup;
    plat_heap heap;
    uint64_t kernel_bytes;
    int64_t unexplained_bytes;
    uint64_t tolerance_bytes;
    bool balanced;
    uint64_t available_bytes; /* the least of: under the line (reserved counts as used), MemAvailable,
                               * under the cgroup's limit */
    uint64_t reclaimable_bytes; /* beside these: cache and free pages, given back at once where they are needed */
    mem_level level; /* mem/watch's; where nobody watches, of this reading alone */
} mem_books;

/* Call first thing in main: loads the program's code and takes the process's figure as `runtime`. */
void mem_books_start(mem_ledger *l);
/* Re-measures `runtime` first: pages of the program's own file that came in since. */
void mem_books_read(mem_ledger *l, mem_books *out);
/* available and reclaimable together: what a request could get. */
uint64_t mem_books_room(const mem_books *b);
/* Under the line alone; reserved and not yet resident counts as used. */
uint64_t mem_books_under_line(const mem_books *b);
/* Every figure of a mem_books, with its name and what it means. */
extern const metric_table mem_books_metrics;
void mem_books_json(const mem_books *b, json_writer *w); /* all of them, as an object */

#endif
