/* What holds of the server whenever its lock is free. */
#include "base/check.h"
#include "http/internal.h"

void http_counts_check(const http_server *s) {
    CHECK(http_locked(s));
    CHECK(s->slots_used <= s->slot_count && s->counts.connections <= s->conn_count);
    CHECK((s->first_in_line == NULL) == (s->last_in_line == NULL));
}

/* Its bytes are its slot's own, a run of units that are marked as used, or a block. */
static void check_buffer(const http_server *s, const http_request *r) {
    const http_pool *p = &s->pool;
    const http_buffer *b = &r->buffer;
    CHECK(!(b->units && b->block)); /* its length is whoever answers', without the lock */
    CHECK(b->units <= p->units && b->first_unit <= p->units - b->units);
    if (b->units) CHECK(b->data == p->memory + (size_t)b->first_unit * HTTP_UNIT_BYTES);
    else if (!b->block) CHECK(b->data == r->own_bytes && b->cap == HTTP_INLINE_BYTES);
    for (uint32_t i = 0; i < b->units; i++) CHECK(p->used[b->first_unit + i]);
}

/* Each slot in use is its connection's; all units in use are some buffer's, and no two buffers'. */
static void check_slots(const http_server *s) {
    uint32_t used = 0, units = 0, units_used = 0;
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < s->slot_count; i++) {
        const http_request *r = &s->slots[i];
        if (!r->conn) continue;
        CHECK(r->conn->request == r);
        check_buffer(s, r);
        used++;
        units += r->buffer.units;
        blocks += r->buffer.block;
    }
    for (uint32_t i = 0; i < s->pool.units; i++) units_used += s->pool.used[i];
    CHECK(used == s->slots_used && units == units_used && blocks == s->pool.heap.blocks);
}

/* Returns how many of them are in line. */
static uint32_t check_connections(const http_server *s) {
    uint32_t open = 0, in_line = 0;
    for (uint32_t i = 0; i < s->conn_count; i++) {
        const http_conn *c = &s->conns[i];
        open += c->phase != CONN_FREE;
        in_line += c->in_line;
        CHECK(!c->request || (c->request->conn == c && c->phase != CONN_FREE && c->phase != CONN_WAITING));
        CHECK(!c->in_line || c->phase == CONN_OUTSIDE);
    }
    CHECK(open == s->counts.connections);
    return in_line;
}

static void check_line(const http_server *s, uint32_t in_line) {
    uint32_t n = 0;
    for (const http_conn *c = s->first_in_line; c; c = c->next_in_line, n++) {
        CHECK(c->in_line && n < in_line);
        CHECK((c == s->last_in_line) == (c->next_in_line == NULL));
    }
    CHECK(n == in_line);
}

/* Who waits for a worker is in its list, and asleep in the library or worded for. */
static void check_work(const http_server *s) {
    uint32_t waiting = 0, listed = 0;
    for (uint32_t i = 0; i < s->slot_count; i++) waiting += s->slots[i].conn && s->slots[i].work_state == WORK_WAITS;
    for (int lane = 0; lane < HTTP_LANES; lane++)
        for (const http_request *r = s->work[lane].first; r; r = r->next_work, listed++)
            CHECK(r->conn && r->work_state == WORK_WAITS && (int)r->lane == lane && listed < waiting);
    CHECK(listed == waiting);
}

void http_server_check(const http_server *s) {
    http_counts_check(s);
    check_slots(s);
    check_line(s, check_connections(s));
    check_work(s);
}
