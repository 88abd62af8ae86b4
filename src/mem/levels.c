#include "mem/levels.h"

#include "base/saturate.h"
#include "base/str.h"

#define GIB UINT64_C(1073741824)

static const uint64_t parts[MEM_LEVEL_STEPS] = {4, 6, 12, 24};
static const char *const step_names[MEM_LEVEL_STEPS] = {"caution", "warning", "critical", "emergency"};

const char *mem_bound_name(mem_bound b) {
    static const char *const names[MEM_BOUND_COUNT] = {"line", "machine", "cgroup"};
    return names[b];
}

static bool not_below(int step, uint64_t bytes, uint64_t bound, err *e) {
    char own[BYTES_TEXT_BYTES], above[BYTES_TEXT_BYTES];
    bytes_text(bytes, own);
    bytes_text(bound, above);
    if (step == 0) return err_set(e, ERR_USAGE, "--level-caution is %s; it must be below the line of %s", own, above);
    return err_set(e, ERR_USAGE, "--level-%s is %s; it must be below --level-%s, which is %s", step_names[step], own,
                   step_names[step - 1], above);
}

/* A threshold that was not given keeps its distance below one that was. */
static void fill_in(mem_levels *l, uint64_t line_bytes) {
    for (int i = 0; i < MEM_LEVEL_STEPS; i++) {
        if (l->given[i]) continue;
        l->threshold_bytes[i] = u64_min(line_bytes, 12 * GIB) / parts[i];
        if (i == 0) continue;
        uint64_t above = l->threshold_bytes[i - 1] * parts[i - 1] / parts[i];
        l->threshold_bytes[i] = u64_min(l->threshold_bytes[i], above);
    }
}

bool mem_levels_init(mem_levels *l, uint64_t line_bytes, const uint64_t given[MEM_LEVEL_STEPS], err *e) {
    *l = (mem_levels){0};
    for (int i = 0; i < MEM_LEVEL_STEPS; i++) {
        l->given[i] = given && given[i];
        if (l->given[i]) l->threshold_bytes[i] = given[i];
    }
    fill_in(l, line_bytes);
    uint64_t above = line_bytes;
    for (int i = 0; i < MEM_LEVEL_STEPS; i++) {
        if (l->given[i] && l->threshold_bytes[i] >= above) return not_below(i, l->threshold_bytes[i], above, e);
        above = l->threshold_bytes[i];
    }
    return true;
}

void mem_levels_set_line(mem_levels *l, uint64_t line_bytes) {
    fill_in(l, line_bytes);
    l->most_bytes[MEM_UNDER_LINE] = 0;
}

uint64_t mem_levels_threshold(const mem_levels *l, mem_bound b, int step) {
    uint64_t bytes = l->threshold_bytes[step];
    return l->given[step] ? bytes : u64_min(bytes, l->most_bytes[b] / parts[step]);
}

/* margin: what must be exceeded by an eighth to count. */
static mem_level level_of(const mem_levels *l, mem_bound b, uint64_t room_bytes, bool margin) {
    for (int step = MEM_LEVEL_STEPS - 1; step >= 0; step--) {
        uint64_t bytes = mem_levels_threshold(l, b, step);
        if (margin) bytes += bytes / 8;
        if (room_bytes < bytes || (step == 0 && room_bytes == bytes)) return (mem_level)(MEM_CAUTION + step);
    }
    return MEM_SAFE;
}

static mem_level worst_of(mem_levels *l, const mem_rooms *rooms, bool margin) {
    mem_level worst = MEM_SAFE;
    for (mem_bound b = 0; b < MEM_BOUND_COUNT; b++) {
        if (rooms->bytes[b] == UINT64_MAX) continue;
        mem_level level = level_of(l, b, rooms->bytes[b], margin);
        if (b == MEM_UNDER_LINE && rooms->idle && level > MEM_WARNING) level = MEM_WARNING;
        if (level <= worst) continue;
        worst = level;
        if (!margin) l->worst = b;
    }
    return rooms->pressed && worst < MEM_EMERGENCY ? worst + 1 : worst;
}

static void change(mem_levels *l, mem_level level, uint64_t now_ms) {
    l->level = level;
    l->since_ms = now_ms;
    l->changes++;
    l->calming = false;
}

mem_level mem_levels_update(mem_levels *l, const mem_rooms *rooms, uint64_t now_ms) {
    for (int b = 0; b < MEM_BOUND_COUNT; b++)
        if (rooms->bytes[b] != UINT64_MAX && rooms->bytes[b] > l->most_bytes[b]) l->most_bytes[b] = rooms->bytes[b];
    mem_level up = worst_of(l, rooms, false), down = worst_of(l, rooms, true);
    if (!l->since_ms) l->since_ms = now_ms;
    if (up > l->level) {
        change(l, up, now_ms);
    } else if (down >= l->level) {
        l->calming = false;
    } else {
        if (!l->calming || down > l->calm_level) l->calm_level = down;
        if (!l->calming) l->calm_since_ms = now_ms;
        l->calming = true;
        if (now_ms - l->calm_since_ms >= MEM_CALM_MS) change(l, l->calm_level, now_ms);
    }
    return l->level;
}
