/* mem/plan — the static plan: what each account will take, before any of it is taken.
 *
 * Pure: numbers in, a table out. engine/ fills the rows from a model's header alone; cli/ prints it;
 * the load asserts that each big object took what its row said. */
#ifndef MEM_PLAN_H
#define MEM_PLAN_H

#include "base/json.h"
#include "mem/ledger.h"

typedef struct mem_plan {
    uint64_t line_bytes;
    mem_line_origin line; /* where it comes from */
    uint64_t bytes[MEM_ACCOUNT_COUNT]; /* what each account will hold once ready; kv: the whole pool */
    uint64_t total_bytes;
} mem_plan;

void mem_plan_set(mem_plan *p, mem_account a, uint64_t bytes);
/* False with ERR_MEMORY when the rows do not fit under the line. */
bool mem_plan_check(const mem_plan *p, err *e);
void mem_plan_json(const mem_plan *p, json_writer *w);

#endif
