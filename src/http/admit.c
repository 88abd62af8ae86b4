/* Slots, and buffers for bodies: who comes first has them first. Who finds none waits in line, asleep in the library,
 * holding its connection and what it has of its body.
 *
 * A body whose length is known takes all it needs at once, a chunked one the longest it may become: nobody holds a
 * part of the pool and waits for another. */
#include "base/check.h"
#include "http/internal.h"

/* Of all connections one in eight is not to wait here: somebody must be able to ask how the server is. */
enum { KEPT_SHARE = 8 };

static const http_refusal busy = {429, "too_many_requests", "too many requests at once"},
                          no_buffer = {429, "too_many_requests", "no buffer is free for this body"};
const http_refusal http_draining = {503, "draining", "the server is shutting down"};

uint64_t http_wait_deadline(const http_server *s) {
    return s->config.wait_timeout_ms ? http_deadline_in(s->config.wait_timeout_ms) : 0;
}

/* ---- slots ---- */

/* One slot in eight is kept for requests without a body: health and metrics answer under any load. */
http_request *http_take_slot(http_server *s, http_conn *c, bool has_body) {
    CHECK(http_locked(s));
    uint32_t kept = has_body ? s->slot_count / KEPT_SHARE : 0;
    if (s->slots_used + kept >= s->slot_count) return NULL;
    for (uint32_t i = 0; i < s->slot_count; i++) {
        http_request *r = &s->slots[i];
        if (r->conn) continue;
        *r = (http_request){.server = s, .own_bytes = r->own_bytes, .conn = c, .mhd = c->mhd};
        http_buffer_release(&s->pool, &r->buffer, r->own_bytes);
        http_make_id(s, r->id);
        s->slots_used++;
        return c->request = r;
    }
    return NULL;
}

static void drop_slot(http_request *r) {
    CHECK(http_locked(r->server));
    http_server *s = r->server;
    http_buffer_release(&s->pool, &r->buffer, r->own_bytes);
    r->conn->request = NULL;
    r->conn = NULL;
    s->slots_used--;
}

void http_give_slot(http_request *r) {
    drop_slot(r);
    http_let_in(r->server);
}

/* ---- the line ---- */

/* A slot and the buffer, or nothing new. */
static bool take_both(http_conn *c) {
    CHECK(http_locked(c->server));
    http_server *s = c->server;
    bool had_slot = c->request;
    if (!had_slot && !http_take_slot(s, c, true)) return false;
    if (http_buffer_reserve_body(&s->pool, &c->request->buffer, c->need_bytes)) return true;
    if (!had_slot) drop_slot(c->request);
    return false;
}

/* Small ones lie in the slot itself, and overtake those that wait for a buffer. */
static bool is_small(const http_conn *c) { return c->need_bytes <= HTTP_INLINE_BYTES; }

bool http_take_room(http_conn *c) { return (is_small(c) || !c->server->first_in_line) && take_both(c); }

const http_refusal *http_no_room(const http_conn *c) {
    const http_server *s = c->server;
    bool slot = c->request || (c->need_bytes && s->slots_used + s->slot_count / KEPT_SHARE < s->slot_count);
    return slot ? &no_buffer : &busy;
}

void http_wait_for_room(http_conn *c) {
    CHECK(http_locked(c->server));
    http_server *s = c->server;
    uint32_t most = s->config.max_connections;
    CHECK(!c->in_line);
    if (s->draining) c->turned_away = &http_draining;
    else if (s->counts.connections > most - most / KEPT_SHARE) c->turned_away = http_no_room(c);
    if (c->turned_away) return;
    if (s->last_in_line) s->last_in_line->next_in_line = c;
    else s->first_in_line = c;
    s->last_in_line = c;
    c->next_in_line = NULL;
    c->in_line = true;
    c->generation++;
    c->deadline_ns = http_wait_deadline(s);
    http_watch_client(c);
    MHD_suspend_connection(c->mhd);
}

/* Awake: the library asks again with the same piece of the body. */
static void step_out(http_conn *c) {
    CHECK(http_locked(c->server));
    http_server *s = c->server;
    http_conn *before = NULL;
    if (s->first_in_line == c) {
        s->first_in_line = c->next_in_line;
    } else {
        for (before = s->first_in_line; before->next_in_line != c;) before = before->next_in_line;
        before->next_in_line = c->next_in_line;
    }
    if (s->last_in_line == c) s->last_in_line = before;
    c->in_line = false;
    c->generation++;
    c->deadline_ns = http_deadline_in(s->config.body_timeout_ms);
    http_unwatch_client(c);
    MHD_resume_connection(c->mhd);
}

void http_let_in(http_server *s) {
    CHECK(http_locked(s));
    for (http_conn *c = s->first_in_line, *next; c; c = next) {
        next = c->next_in_line;
        if ((c != s->first_in_line && !is_small(c)) || !take_both(c)) continue;
        c->phase = CONN_BODY;
        step_out(c);
    }
}

void http_turn_away(http_conn *c, const http_refusal *why) {
    c->turned_away = why;
    step_out(c);
    http_let_in(c->server);
}

void http_leave_line(http_conn *c) {
    if (!c->request) c->server->counts.disconnects++;
    c->phase = CONN_REFUSED;
    step_out(c);
    http_let_in(c->server);
}
