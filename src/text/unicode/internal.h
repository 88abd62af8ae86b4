/* text/unicode/internal — the form of this room's tables, and how they are asked. Nobody else includes it. */
#ifndef TEXT_UNICODE_INTERNAL_H
#define TEXT_UNICODE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

typedef struct unicode_range {
    uint32_t first, last;
} unicode_range;

/* Every step-th character of first … last becomes the one delta away. */
typedef struct unicode_shift {
    uint32_t first, last : 24, step : 8;
    int32_t delta;
} unicode_shift;

/* One that becomes two or three characters; the third may be 0. */
typedef struct unicode_several {
    uint32_t from, to[3];
} unicode_several;

/* Tables are in order, and a character stands in one of the two at most. */
typedef struct unicode_mapping {
    const unicode_shift *shifts;
    size_t n_shifts;
    const unicode_several *several;
    size_t n_several;
} unicode_mapping;

bool unicode_in_ranges(const unicode_range *ranges, size_t n, uint32_t cp);
/* What cp becomes, itself where no table has it: 1 to 3 characters into out, their count. */
uint32_t unicode_map(const unicode_mapping *m, uint32_t cp, uint32_t out[3]);

#endif
