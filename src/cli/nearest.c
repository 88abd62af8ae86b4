#include "cli/nearest.h"

#include <ctype.h>

enum { NAME_MAX = 40 };

void cli_nearest_begin(cli_nearest *n, str mistyped) {
    *n = (cli_nearest){.name = mistyped, .distance = (unsigned)(mistyped.len / 3) + 1};
}

static int letter(char c) { return c == '_' ? '-' : tolower((unsigned char)c); }

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

/* Letters to leave out, add, change, or swap with the next one. */
static unsigned distance_of(str a, str b) {
    unsigned rows[3][NAME_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2];
    for (unsigned k = 0; k <= b.len; k++) last[k] = k;
    for (size_t i = 1; i <= a.len; i++) {
        row[0] = (unsigned)i;
        for (size_t k = 1; k <= b.len; k++) {
            int x = letter(a.data[i - 1]), y = letter(b.data[k - 1]);
            row[k] = least(least(last[k], row[k - 1]) + 1, last[k - 1] + (x != y));
            if (i > 1 && k > 1 && x == letter(b.data[k - 2]) && y == letter(a.data[i - 2]))
                row[k] = least(row[k], before[k - 2] + 1);
        }
        unsigned *free_row = before;
        before = last, last = row, row = free_row;
    }
    return last[b.len];
}

void cli_nearest_offer(cli_nearest *n, const char *name) {
    str s = str_of(name);
    if (n->name.len < 2 || n->name.len > NAME_MAX || s.len > NAME_MAX) return;
    unsigned distance = distance_of(n->name, s);
    if (distance >= n->distance) return;
    n->best = name;
    n->distance = distance;
}
