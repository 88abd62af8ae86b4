/* compute/pool — a fixed set of pinned threads that run one function together.
 *
 * Owns n−1 threads beside the caller. compute_pool_run hands out task indexes 0 … n_tasks−1, each to
 * exactly one thread, and returns when all are done. Which thread gets which task never changes a
 * result, and a run may be done by fewer threads than there are: tasks must not wait for each other. Between
 * runs threads spin briefly, then sleep; when other processes want the cores they yield, and one whose core
 * is so busy that it holds up the rest is left out for a while. One caller at a time.
 */
#ifndef COMPUTE_POOL_H
#define COMPUTE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct compute_pool compute_pool;
typedef void compute_task(void *ctx, uint32_t task, uint32_t thread);

enum { COMPUTE_MAX_THREADS = 256 };

size_t compute_pool_plan_bytes(int n_threads); /* the struct and the threads' stacks */
/* memory: 64-byte aligned, compute_pool_struct_bytes(n). The stacks come from plat/. */
size_t compute_pool_struct_bytes(int n_threads);
compute_pool *compute_pool_start(void *memory, int n_threads, err *e);
void compute_pool_run(compute_pool *p, uint32_t n_tasks, compute_task *fn, void *ctx);
int compute_pool_threads(const compute_pool *p);
void compute_pool_stop(compute_pool *p); /* joins the threads */

#endif
