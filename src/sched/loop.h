/* sched/loop — the engine thread: admit, compose a step, run it, hand out its tokens. */
#ifndef SCHED_LOOP_H
#define SCHED_LOOP_H

void *sched_loop(void *sched);

#endif
