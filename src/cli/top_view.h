/* cli/top_view — one frame of `plimsoll top`, as text. Pure: what was read in, lines out.
 *
 * Owns the drawing: the ship that sits deeper the more memory is used and whose mark is the line, the figures
 * beside it, a bar for each account, pool, cache, requests, events. Callers: cli/top. A frame keeps to
 * columns × rows: at fewer rows blank lines go first, then the ship, then small accounts join. */
#ifndef CLI_TOP_VIEW_H
#define CLI_TOP_VIEW_H

#include "cli/top_snapshot.h"

enum { TOP_LEAST_COLUMNS = 20, TOP_MOST_COLUMNS = 400 };

typedef struct top_view {
    uint32_t columns, rows; /* rows 0: as many as it takes */
    bool color, utf8;
    bool keys;      /* name the keys in the last line */
    uint32_t waves; /* moves the water */
    const char *address, *clock;
} top_view;

/* Lines end in '\n' and carry no control but colours. */
void top_view_frame(const top_view *v, const top_track *t, buf *out);
/* What stands for a frame where there is no terminal: one line. */
void top_view_line(const top_view *v, const top_track *t, buf *out);

#endif
