#include "mem/watch.h"

#include <errno.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/saturate.h"
#include "base/str.h"
#include "mem/line.h"
#include "plat/thread.h"

enum { LOOK_MS = 200, LOOK_IN_NEED_MS = 100, IDLE_TRIM_MS = 1000, HEAP_TRIM_EVERY_MS = 1000 };

struct mem_watch {
    mem_watch_config config;
    mem_levels levels;
    plat_psi psi;
    pthread_t thread;
    plat_mutex lock;
    pthread_cond_t stop;
    bool stopping;
    mem_books books; /* of the last look */
    mem_reclaimable reclaimable;
    bool tight; /* not safe, or only by what can be reclaimed */
    uint64_t heap_trimmed_ms, idle_since_ms, trimmed_after; /* trimmed_after: requests that had ended by then */
};

/* Under the line: what the plan takes counts as taken, so only what goes beyond it is missed; and the books' own
 * tolerance is not. */
static uint64_t line_room(const mem_books *b, const mem_reclaimable *reclaimable, uint64_t planned_bytes) {
    if (b->ledger.line_bytes == UINT64_MAX) return UINT64_MAX;
    uint64_t kernel = u64_less(b->kernel_bytes, b->tolerance_bytes);
    uint64_t used = kernel > b->ledger.now_bytes ? kernel : b->ledger.now_bytes;
    uint64_t beside_pool = u64_less(used, reclaimable->held_bytes);
    return u64_less(b->ledger.line_bytes, beside_pool > planned_bytes ? beside_pool : planned_bytes);
}

static uint64_t machine_room(const mem_books *b) {
    return b->system.total_bytes ? b->system.available_bytes : UINT64_MAX;
}

void mem_rooms_of(const mem_books *b, const mem_reclaimable *reclaimable, uint64_t planned_bytes, mem_rooms *out) {
    uint64_t may_come_back = reclaimable->reclaimable_bytes;
    *out = (mem_rooms){.bytes = {[MEM_UNDER_LINE] = line_room(b, reclaimable, planned_bytes),
                                 [MEM_OF_MACHINE] = u64_plus(machine_room(b), may_come_back),
                                 [MEM_IN_CGROUP] = u64_plus(plat_cgroup_room(&b->cgroup), may_come_back)},
                       .idle = reclaimable->requests == 0};
}

enum { MACHINE_SHORT_PART = 16 };

bool mem_pressed_by(const mem_books *b, const mem_levels *l, plat_pressed stalls) {
    uint64_t caution = mem_levels_threshold(l, MEM_OF_MACHINE, 0), part = b->system.total_bytes / MACHINE_SHORT_PART;
    return stalls.group || (stalls.machine && machine_room(b) < (caution > part ? caution : part));
}

uint64_t mem_trim_heap(void) {
    plat_process_memory before = {0}, after = {0};
    (void)plat_process_memory_read(&before);
    plat_heap_trim();
    (void)plat_process_memory_read(&after);
    return u64_less(before.rss_anon_bytes, after.rss_anon_bytes);
}

uint64_t mem_lacking_of(const mem_books *b, const mem_levels *l, mem_level level) {
    uint64_t rooms[MEM_BOUND_COUNT] = {UINT64_MAX, machine_room(b), plat_cgroup_room(&b->cgroup)};
    uint64_t wanted = 0;
    for (mem_bound bound = MEM_OF_MACHINE; bound < MEM_BOUND_COUNT; bound++) {
        uint64_t threshold = mem_levels_threshold(l, bound, (int)(level - MEM_CAUTION));
        if (rooms[bound] >= threshold) continue;
        uint64_t lacking = threshold + threshold / 8 - rooms[bound];
        if (lacking > wanted) wanted = lacking;
    }
    return wanted;
}

static void say_given(const char *what, uint64_t bytes) {
    char text[BYTES_TEXT_BYTES];
    if (bytes) log_info("memory", "%s gave back %s", what, bytes_text(bytes, text));
}

/* The heap first: it costs nobody anything. But looking through it takes time. */
static uint64_t trim_heap(mem_watch *w, uint64_t now_ms) {
    if (w->heap_trimmed_ms && now_ms - w->heap_trimmed_ms < HEAP_TRIM_EVERY_MS) return 0;
    w->heap_trimmed_ms = now_ms;
    uint64_t bytes = mem_trim_heap();
    say_given("trimming the heap", bytes);
    return bytes;
}

static void climb(mem_watch *w, uint64_t now_ms) {
    const mem_watch_config *c = &w->config;
    bool all = w->levels.level == MEM_EMERGENCY;
    uint64_t wanted = all ? UINT64_MAX : mem_lacking_of(&w->books, &w->levels, MEM_WARNING);
    if (wanted) wanted = u64_less(wanted, trim_heap(w, now_ms));
    for (uint32_t i = 0; i < c->n_rungs; i++) {
        const mem_rung *rung = &c->rungs[i];
        if (w->levels.level < rung->from || (rung->from == MEM_SAFE && !wanted)) continue;
        uint64_t given = rung->give(c->ctx, wanted);
        say_given(rung->name, given);
        if (!all) wanted = u64_less(wanted, given);
    }
}

static void say_level(const mem_watch *w, mem_level before, const mem_rooms *rooms) {
    const mem_levels *l = &w->levels;
    char room[BYTES_TEXT_BYTES];
    if (l->level > before)
        log_warn("memory", "%s, was %s: %s left (%s)%s", mem_level_name(l->level), mem_level_name(before),
                 bytes_text(rooms->bytes[l->worst], room), mem_bound_name(l->worst),
                 rooms->pressed ? ", tasks wait for memory" : "");
    else if (l->level < before)
        log_info("memory", "%s again, was %s", mem_level_name(l->level), mem_level_name(before));
}

static uint64_t room_of(const mem_rooms *rooms) {
    uint64_t room = UINT64_MAX;
    for (int b = 0; b < MEM_BOUND_COUNT; b++) room = u64_min(room, rooms->bytes[b]);
    return room;
}

static void note(mem_watch *w, const mem_rooms *rooms) {
    const mem_levels *l = &w->levels;
    mem_watched watched = {.on = true,
                           .level = (uint8_t)l->level,
                           .reclaimable_bytes = w->reclaimable.reclaimable_bytes,
                           .room_bytes = u64_plus(w->books.available_bytes, w->reclaimable.reclaimable_bytes),
                           .since_ms = l->since_ms,
                           .changes = l->changes,
                           .worst = mem_bound_name(l->worst),
                           .pressed = rooms->pressed};
    for (int i = 0; i < MEM_LEVEL_STEPS; i++) watched.threshold_bytes[i] = mem_levels_threshold(l, l->worst, i);
    mem_ledger_note(w->config.ledger, &watched);
}

/* Once after each time that requests were there. */
static void trim_when_idle(mem_watch *w, uint64_t now_ms) {
    if (w->reclaimable.requests || w->reclaimable.ended == w->trimmed_after) {
        w->idle_since_ms = 0;
    } else if (!w->idle_since_ms) {
        w->idle_since_ms = now_ms;
    } else if (now_ms - w->idle_since_ms >= IDLE_TRIM_MS) {
        w->trimmed_after = w->reclaimable.ended;
        w->idle_since_ms = 0;
        (void)mem_trim_heap();
    }
}

static void follow_line(mem_watch *w) {
    const mem_watch_config *c = &w->config;
    if (!mem_line_follow(c->ledger)) return;
    mem_ledger_view v;
    mem_ledger_read(c->ledger, &v);
    mem_levels_set_line(&w->levels, v.line_bytes);
    if (c->line) c->line(c->ctx, v.line_bytes);
}

static void look(mem_watch *w) {
    const mem_watch_config *c = &w->config;
    uint64_t now_ms = clock_now_ns() / 1000000;
    mem_rooms rooms;
    mem_level before = w->levels.level;
    follow_line(w);
    mem_books_read(c->ledger, &w->books);
    c->reclaimable(c->ctx, &w->reclaimable);
    mem_rooms_of(&w->books, &w->reclaimable, c->planned_bytes, &rooms);
    rooms.pressed = mem_pressed_by(&w->books, &w->levels, plat_psi_pressed(&w->psi, now_ms));
    mem_levels_update(&w->levels, &rooms, now_ms);
    say_level(w, before, &rooms);
    note(w, &rooms);
    w->tight = w->levels.level != MEM_SAFE || mem_lacking_of(&w->books, &w->levels, MEM_CAUTION) > 0;
    c->level(c->ctx, w->levels.level, w->tight, room_of(&rooms));
    climb(w, now_ms);
    trim_when_idle(w, now_ms);
}

static bool wait_for_next(mem_watch *w) {
    struct timespec until = plat_in_ms(w->tight ? LOOK_IN_NEED_MS : LOOK_MS);
    plat_mutex_lock(&w->lock);
    while (!w->stopping && plat_cond_wait_until(&w->stop, &w->lock, &until)) continue;
    bool go_on = !w->stopping;
    plat_mutex_unlock(&w->lock);
    return go_on;
}

static void *watch(void *arg) {
    mem_watch *w = arg;
    while (wait_for_next(w)) look(w);
    return NULL;
}

mem_watch *mem_watch_start(const mem_watch_config *c, err *e) {
    static mem_watch one;
    mem_watch *w = &one;
    mem_ledger_view v;
    mem_ledger_read(c->ledger, &v);
    *w = (mem_watch){.config = *c};
    if (!mem_levels_init(&w->levels, v.line_bytes, c->threshold_bytes, e)) return NULL;
    plat_cond_init(&w->stop);
    plat_mutex_init(&w->lock);
    plat_psi_open(&w->psi, "");
    look(w);
    if (plat_thread_start(&w->thread, "memory", watch, w, e)) return w;
    plat_psi_close(&w->psi);
    return NULL;
}

void mem_watch_stop(mem_watch *w) {
    if (!w) return;
    plat_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_signal(&w->stop);
    plat_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    plat_psi_close(&w->psi);
    mem_ledger_note(w->config.ledger, &(mem_watched){0});
}
