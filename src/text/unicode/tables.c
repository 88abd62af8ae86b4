#include "text/unicode/internal.h"

#include <string.h>

bool unicode_in_ranges(const unicode_range *ranges, size_t n, uint32_t cp) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges[middle].last < cp) low = middle + 1;
        else high = middle;
    }
    return low < n && ranges[low].first <= cp;
}

static const unicode_shift *find_shift(const unicode_mapping *m, uint32_t cp) {
    size_t low = 0, high = m->n_shifts;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->shifts[middle].last < cp) low = middle + 1;
        else high = middle;
    }
    const unicode_shift *s = &m->shifts[low];
    return low < m->n_shifts && s->first <= cp && (cp - s->first) % s->step == 0 ? s : NULL;
}

static const unicode_several *find_several(const unicode_mapping *m, uint32_t cp) {
    size_t low = 0, high = m->n_several;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->several[middle].from < cp) low = middle + 1;
        else high = middle;
    }
    return low < m->n_several && m->several[low].from == cp ? &m->several[low] : NULL;
}

uint32_t unicode_map(const unicode_mapping *m, uint32_t cp, uint32_t out[3]) {
    const unicode_shift *shift = find_shift(m, cp);
    const unicode_several *several = shift ? NULL : find_several(m, cp);
    out[0] = shift ? (uint32_t)((int32_t)cp + shift->delta) : cp;
    if (!several) return 1;
    memcpy(out, several->to, sizeof several->to);
    return out[2] ? 3 : 2;
}
