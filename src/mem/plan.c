#include "mem/plan.h"

#include "base/check.h"
#include "base/str.h"

static uint64_t sum(const mem_plan *p) {
    uint64_t total = 0;
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++)
        if (__builtin_add_overflow(total, p->bytes[a], &total)) return UINT64_MAX; /* fits under no line */
    return total;
}

void mem_plan_set(mem_plan *p, mem_account a, uint64_t bytes) {
    CHECK(a < MEM_ACCOUNT_COUNT);
    p->bytes[a] = bytes;
    p->total_bytes = sum(p);
}

static mem_account largest(const mem_plan *p) {
    mem_account most = 0;
    for (mem_account a = 0; a < MEM_ACCOUNT_COUNT; a++)
        if (p->bytes[a] > p->bytes[most]) most = a;
    return most;
}

bool mem_plan_check(const mem_plan *p, err *e) {
    if (p->total_bytes <= p->line_bytes && p->total_bytes < UINT64_MAX) return true;
    char total[BYTES_TEXT_BYTES], line[BYTES_TEXT_BYTES], over[BYTES_TEXT_BYTES], most[BYTES_TEXT_BYTES];
    mem_account a = largest(p);
    bytes_text(p->total_bytes, total);
    bytes_text(p->line_bytes, line);
    bytes_text(p->total_bytes - p->line_bytes, over);
    bytes_text(p->bytes[a], most);
    return err_set_memory(e, p->total_bytes, p->line_bytes,
                          "the plan needs %s, %s more than the line of %s (largest: %s, %s)", total, over, line,
                          mem_account_name(a), most);
}

void mem_plan_json(const mem_plan *p, json_writer *w) {
    json_object_start(w);
    mem_line_json(p->line_bytes, &p->line, w);
    json_put_uint(w, "total_bytes", p->total_bytes);
    json_put_bool(w, "fits", mem_plan_check(p, NULL));
    json_key(w, "accounts");
    json_object_start(w);
    for (mem_account a = 0; a < MEM_ACCOUNT_COUNT; a++) json_put_uint(w, mem_account_name(a), p->bytes[a]);
    json_object_end(w);
    json_object_end(w);
}
