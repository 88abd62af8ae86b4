#include "cli/top_view.h"

#include "base/saturate.h"

#include <math.h>
#include <stdio.h>

#include "cli/top_pen.h"

/* ---- the ship ----
 *
 * Seven rows high. Water stands between a row above the keel (nothing used) and the middle of the mark's row (the
 * line); a ship that is over her line has it higher. */

enum { SHIP_ROWS = 8, SHIP_COLUMNS = 34, MARK_ROW = 3, KEEL_ROW = 6 };

typedef struct ship_row {
    const char *utf8, *ascii;
    bool hull; /* else rigging, which stands in the air */
} ship_row;

/* Blanks outside are sky or water. */
static const ship_row ship_rows[SHIP_ROWS] = {
    {"                       ▄▄▖", "                       __", false},
    {"         ╷    ╷       ▐███▄", "         |    |       |  |_", false},
    {"   ▄▄▄▄▄▄█▄▄▄▄█▄▄▄▄▄▄▄██████▄", "   ______|____|_______|_|__|_", false},
    {"   ▜█████████████████████████▛", "   \\         --(+)--         /", true},
    {"    ▜███████████████████████▛", "    \\                       /", true},
    {"     ▜█████████████████████▛", "     \\                     /", true},
    {"      ▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀", "      \\___________________/", true},
    {"", "", false},
};

/* Rows under the top of the picture, in eighths, at which the water stands. */
static int water_eighths(const top_snapshot *s) {
    double used = pen_share(s->used_bytes, s->line_bytes);
    double low = (KEEL_ROW + 0.375) * 8, mark = (MARK_ROW + 0.5) * 8;
    return (int)lround(low - fmin(used, 1.25) * (low - mark));
}

/* How much of a cell of this row is under water, in eighths; the surface moves a little. */
static int wet_eighths(const pen *p, int surface, int row, uint32_t column) {
    int wet = (row + 1) * 8 - surface;
    bool crest = (column + p->view->waves) / 3 % 2 && p->view->utf8;
    return wet <= 0 || wet >= 7 ? wet : wet + crest;
}

static void water_cell(pen *p, int surface, int row) {
    int wet = wet_eighths(p, surface, row, p->column);
    if (wet <= 0) pen_text(p, PLAIN, " ");
    else if (!p->view->utf8) pen_text(p, WATER, wet >= 8 ? "." : "~");
    else if (wet >= 8) pen_text(p, WATER, p->view->color ? "█" : "░");
    else pen_text(p, WATER, pen_eighths_up(p, wet));
}

enum { MARK_COLUMN = 15, MARK_COLUMNS = 3 };

/* The disc and its line, painted on the hull. */
static bool mark_cell(pen *p, int row, uint32_t column) {
    static const char *const signs[MARK_COLUMNS] = {"━", "⊖", "━"};
    if (row != MARK_ROW || !p->view->utf8) return false;
    if (column < MARK_COLUMN || column >= MARK_COLUMN + MARK_COLUMNS) return false;
    pen_text(p, MARK, signs[column - MARK_COLUMN]);
    return true;
}

static bool is_blank(const char *at, int n) { return n == 1 && *at == ' '; }

/* The hull's slanted edges show water through their corners. */
static style hull_style(const pen *p, int surface, int row, bool edge) {
    int wet = wet_eighths(p, surface, row, p->column);
    if (wet <= 4) return HULL;
    return edge ? BOTTOM_EDGE : BOTTOM;
}

static void ship_line(pen *p, const top_snapshot *s, int row) {
    const ship_row *r = &ship_rows[row];
    const char *text = pen_either(p, r->utf8, r->ascii), *last = text + strlen(text);
    int surface = water_eighths(s), n;
    bool begun = false;
    uint32_t cp, start = p->column;
    for (const char *at = text; at < last; at += n) {
        n = utf8_decode(at, (size_t)(last - at), &cp);
        char cell[8] = {0};
        memcpy(cell, at, (size_t)n);
        bool edge = !begun || at + n == last || row == KEEL_ROW;
        begun |= !is_blank(at, n);
        if (!begun) water_cell(p, surface, row);
        else if (!mark_cell(p, row, p->column - start))
            pen_text(p, r->hull ? hull_style(p, surface, row, edge) : HULL, cell);
    }
    while (p->column < start + SHIP_COLUMNS) water_cell(p, surface, row);
}

/* For narrow terminals: the same in one line, with the mark at the line. */
static void gauge(pen *p, const top_snapshot *s) {
    double used = pen_share(s->used_bytes, s->line_bytes);
    uint32_t width = p->columns > 4 ? p->columns - 3 : 1;
    pen_bar(p, used > 1 ? BAD : WATER, width, used, 0);
    pen_text(p, BOLD, pen_either(p, "⊖", "|"));
    pen_end(p);
}

/* ---- the figures beside it ---- */

enum { FIGURES = 8, LABEL_COLUMNS = 12, FIGURES_COLUMN = 36, NARROW_COLUMNS = 72, PICTURE_COLUMNS = 82 };

static void label(pen *p, const char *text) {
    uint32_t start = p->column;
    pen_text(p, DIM, text);
    pen_to(p, start + LABEL_COLUMNS);
}

static void level_figure(pen *p, const top_track *t) {
    label(p, "level");
    if (*t->now.level) pen_print(p, pen_level_style(t->now.level), p->view->color ? " %s " : "%s", t->now.level);
    if (!t->connected) pen_text(p, WARN, "  when last seen");
}

static void used_figure(pen *p, const top_snapshot *s) {
    char used[BYTES_TEXT_BYTES], line[BYTES_TEXT_BYTES];
    label(p, "used");
    pen_text(p, BOLD, pen_size_text(p, s->used_bytes, used));
    if (s->line_bytes == UINT64_MAX) pen_text(p, PLAIN, ", no line");
    else pen_print(p, PLAIN, " of %s, %.0f %%", pen_size_text(p, s->line_bytes, line),
                   pen_share(s->used_bytes, s->line_bytes) * 100);
}

static void available_figure(pen *p, const top_snapshot *s) {
    char available[BYTES_TEXT_BYTES], reclaimable[BYTES_TEXT_BYTES];
    label(p, "available");
    pen_text(p, BOLD, pen_size_text(p, s->available_bytes, available));
    if (s->reclaimable_bytes)
        pen_print(p, PLAIN, ", %s reclaimable", pen_size_text(p, s->reclaimable_bytes, reclaimable));
}

static void unexplained_figure(pen *p, const top_snapshot *s) {
    char off[BYTES_TEXT_BYTES], most[BYTES_TEXT_BYTES];
    uint64_t size = s->unexplained_bytes < 0 ? 0 - (uint64_t)s->unexplained_bytes : (uint64_t)s->unexplained_bytes;
    label(p, "unexplained");
    pen_print(p, s->balanced ? PLAIN : BAD, "%s%s", s->unexplained_bytes < 0 ? pen_either(p, "−", "-") : "",
              pen_size_text(p, size, off));
    pen_print(p, s->balanced ? PLAIN : BAD, s->balanced ? ", within %s" : ", more than %s",
              pen_size_text(p, s->tolerance_bytes, most));
}

static void machine_figure(pen *p, const top_snapshot *s) {
    char free_text[BYTES_TEXT_BYTES], all[BYTES_TEXT_BYTES];
    bool boxed = s->cgroup_limit_bytes != UINT64_MAX && s->cgroup_limit_bytes < s->machine_bytes;
    label(p, "machine");
    pen_size_text(p, s->machine_available_bytes, free_text);
    pen_print(p, PLAIN, "%s free of %s", free_text, pen_size_text(p, s->machine_bytes, all));
    if (boxed) pen_print(p, PLAIN, ", cgroup %s", pen_size_text(p, s->cgroup_limit_bytes, all));
}

static void requests_figure(pen *p, const top_snapshot *s) {
    char n[BYTES_TEXT_BYTES];
    label(p, "requests");
    pen_figure(p, pen_count_text(s->active, n), "active, ");
    pen_figure(p, pen_count_text(s->queued, n), "queued, ");
    pen_figure(p, pen_count_text(s->preempted, n), "parked");
}

static double history_at(const top_track *t, uint64_t age, bool tokens) {
    if (age >= t->n_history || age >= TOP_HISTORY) return -1;
    const top_sample *s = &t->history[(t->n_history - 1 - age) % TOP_HISTORY];
    return tokens ? s->tokens_per_s : s->used_bytes;
}

static void speed_figure(pen *p, const top_track *t) {
    char n[BYTES_TEXT_BYTES];
    enum { CELLS = 8 };
    double most = 1;
    label(p, "speed");
    if (t->tokens_per_s < 0) {
        pen_text(p, PLAIN, pen_either(p, "–", "-"));
        return;
    }
    pen_figure(p, pen_speed_text(t->tokens_per_s, n), "tokens/s");
    if (t->requests_per_s >= 0) pen_text(p, PLAIN, ", "), pen_figure(p, pen_speed_text(t->requests_per_s, n), "req/s ");
    for (uint32_t age = 0; age < CELLS; age++) most = fmax(most, history_at(t, age, true));
    for (uint32_t age = CELLS; age-- > 0 && p->column < PICTURE_COLUMNS - 2;)
        pen_text(p, BAR, pen_eighths_up(p, (int)lround(history_at(t, age, true) / most * 8)));
}

static void figure_line(pen *p, const top_track *t, int row) {
    const top_snapshot *s = &t->now;
    char a[BYTES_TEXT_BYTES], b[BYTES_TEXT_BYTES];
    switch (row) {
    case 0: level_figure(p, t); break;
    case 1: used_figure(p, s); break;
    case 2: available_figure(p, s); break;
    case 3: requests_figure(p, s); break;
    case 4: speed_figure(p, t); break;
    default:
        if (!s->has_memory) break;
        if (row == 5) {
            label(p, "accounts");
            pen_print(p, PLAIN, "%s, peak %s", pen_size_text(p, s->ledger_bytes, a),
                      pen_size_text(p, s->ledger_peak_bytes, b));
        }
        if (row == 6) unexplained_figure(p, s);
        if (row == 7) machine_figure(p, s);
    }
}

/* One row of memory used over time, under the line: the newest at the right. */
static void history_line(pen *p, const top_track *t, int row) {
    uint32_t width = p->columns - PICTURE_COLUMNS;
    double most = t->now.line_bytes == UINT64_MAX ? 1 : (double)t->now.line_bytes;
    if (row == 0) {
        pen_print(p, DIM, "used, last %u readings", width);
        return;
    }
    for (uint32_t age = 0; t->now.line_bytes == UINT64_MAX && age < width; age++)
        most = fmax(most, history_at(t, age, false));
    for (uint32_t age = width; age-- > 0;) {
        int high = (int)lround(fmin(history_at(t, age, false) / most, 2) * (FIGURES - 1) * 8);
        int below = (FIGURES - 1 - row) * 8;
        if (row == 1 && high <= below && t->now.line_bytes != UINT64_MAX) pen_text(p, DIM, pen_either(p, "▔", "-"));
        else pen_text(p, WATER, pen_eighths_up(p, high - below));
    }
}

static void picture(pen *p, const top_track *t) {
    for (int row = 0; row < SHIP_ROWS; row++) {
        ship_line(p, &t->now, row);
        pen_to(p, FIGURES_COLUMN);
        figure_line(p, t, row);
        if (p->columns >= PICTURE_COLUMNS + 20) {
            pen_to(p, PICTURE_COLUMNS);
            history_line(p, t, row);
        }
        pen_end(p);
    }
}

/* ---- tables ---- */

enum { NAME_COLUMNS = 14, SIZE_COLUMNS = 11, WIDEST_BAR = 80 };

static uint32_t bar_columns(const pen *p, uint32_t beside) {
    uint32_t most = p->columns > beside ? p->columns - beside : 0;
    return most < WIDEST_BAR ? most : WIDEST_BAR;
}

static void account_line(pen *p, const top_account *a, uint64_t most) {
    char now[BYTES_TEXT_BYTES], peak[BYTES_TEXT_BYTES];
    uint32_t width = bar_columns(p, NAME_COLUMNS + 2 * SIZE_COLUMNS);
    pen_text(p, PLAIN, a->name);
    pen_to(p, NAME_COLUMNS - 1);
    pen_text(p, PLAIN, " ");
    if (width >= 8) pen_bar(p, BAR, width, pen_share(a->now_bytes, most), pen_share(a->peak_bytes, most));
    pen_print(p, PLAIN, "%*s", SIZE_COLUMNS, pen_size_text(p, a->now_bytes, now));
    pen_print(p, DIM, "%*s", SIZE_COLUMNS, pen_size_text(p, a->peak_bytes, peak));
    if (a->refused && p->column + 12 <= p->columns) pen_print(p, WARN, "  %s refused", pen_count_text(a->refused, now));
    pen_end(p);
}

static void accounts_head(pen *p) {
    uint32_t width = bar_columns(p, NAME_COLUMNS + 2 * SIZE_COLUMNS);
    pen_text(p, DIM, "account");
    pen_to(p, NAME_COLUMNS + (width >= 8 ? width : 0));
    pen_print(p, DIM, "%*s%*s", SIZE_COLUMNS, "now", SIZE_COLUMNS, "peak");
    pen_end(p);
}

/* Largest first; those behind `most_lines` together. What never held a byte is not shown. */
static void accounts(pen *p, const top_snapshot *s, uint32_t most_lines) {
    const top_account *order[TOP_ACCOUNTS];
    uint32_t n = 0;
    top_account others = {.name = "others"};
    for (uint32_t i = 0; i < s->n_accounts; i++) {
        const top_account *a = &s->accounts[i];
        uint32_t at = n;
        if (!a->peak_bytes && !a->now_bytes && !a->refused) continue;
        for (; at > 0 && order[at - 1]->peak_bytes < a->peak_bytes; at--) order[at] = order[at - 1];
        order[at] = a;
        n++;
    }
    if (!n) return;
    accounts_head(p);
    uint64_t most = order[0]->peak_bytes > order[0]->now_bytes ? order[0]->peak_bytes : order[0]->now_bytes;
    uint32_t shown = n <= most_lines ? n : most_lines - 1;
    for (uint32_t i = 0; i < shown; i++) account_line(p, order[i], most);
    for (uint32_t i = shown; i < n; i++) {
        others.now_bytes = u64_plus(others.now_bytes, order[i]->now_bytes);
        others.peak_bytes = u64_plus(others.peak_bytes, order[i]->peak_bytes);
    }
    if (shown < n) account_line(p, &others, most);
}

static void row_name(pen *p, const char *name) {
    pen_text(p, DIM, name);
    pen_to(p, NAME_COLUMNS);
}

static void pool_bar(pen *p, const top_pool *k, uint64_t held) {
    uint32_t width = bar_columns(p, NAME_COLUMNS + 2 * SIZE_COLUMNS), start = p->column;
    uint32_t in_use = (uint32_t)lround(fmin(pen_share(held, k->budget_bytes), 1) * width);
    uint32_t filled = (uint32_t)lround(fmin(pen_share(k->used_bytes, k->budget_bytes), 1) * width);
    pen_repeat(p, BAR, pen_either(p, "█", "="), in_use);
    pen_repeat(p, LENT, pen_either(p, "▒", ":"), filled > in_use ? filled - in_use : 0);
    while (p->column < start + width) pen_text(p, DIM, pen_either(p, "·", "."));
}

static void pool(pen *p, const top_pool *k) {
    char a[BYTES_TEXT_BYTES], b[BYTES_TEXT_BYTES], c[BYTES_TEXT_BYTES];
    uint64_t held = k->used_bytes > k->evictable_bytes ? k->used_bytes - k->evictable_bytes : 0;
    uint64_t left = k->budget_bytes > k->used_bytes ? k->budget_bytes - k->used_bytes : 0;
    row_name(p, "KV pool");
    if (p->columns >= 60) {
        pool_bar(p, k, held);
        pen_print(p, PLAIN, "%*s", SIZE_COLUMNS, pen_size_text(p, k->used_bytes, a));
        pen_print(p, DIM, " of %s", pen_size_text(p, k->budget_bytes, b));
        pen_end(p);
        row_name(p, "");
    }
    pen_words(p, PLAIN, NAME_COLUMNS, "%s in use, %s remembered, %s free; waste %.1f %%, %s", pen_size_text(p, held, a),
              pen_size_text(p, k->evictable_bytes, b), pen_size_text(p, left, c), fmin(fmax(k->waste, 0), 1) * 100,
              k->type);
    pen_end(p);
}

static void cache(pen *p, const top_cache *c) {
    char entries[BYTES_TEXT_BYTES], tokens[BYTES_TEXT_BYTES], spared[BYTES_TEXT_BYTES];
    char hits[BYTES_TEXT_BYTES], all[BYTES_TEXT_BYTES];
    row_name(p, "cache");
    pen_words(p, PLAIN, NAME_COLUMNS, "%s prompts, %s tokens; %s hits of %s, %s tokens spared",
              pen_count_text(c->entries, entries), pen_count_text(c->tokens, tokens), pen_count_text(c->hits, hits),
              pen_count_text(u64_plus(c->hits, c->misses), all), pen_count_text(c->hit_tokens, spared));
    pen_end(p);
}

static void spill(pen *p, const top_spill *s) {
    char used[BYTES_TEXT_BYTES], all[BYTES_TEXT_BYTES], size[BYTES_TEXT_BYTES];
    char written[BYTES_TEXT_BYTES], back[BYTES_TEXT_BYTES];
    row_name(p, "spill file");
    pen_words(p, PLAIN, NAME_COLUMNS, "%s of %s pages (%s); %s written, %s read back", pen_count_text(s->used, used),
              pen_count_text(s->slots, all), pen_size_text(p, s->file_bytes, size),
              pen_count_text(s->spilled_pages, written), pen_count_text(s->restored_pages, back));
    pen_end(p);
}

static void jobs(pen *p, const top_snapshot *s) {
    char a[BYTES_TEXT_BYTES], b[BYTES_TEXT_BYTES], c[BYTES_TEXT_BYTES], d[BYTES_TEXT_BYTES];
    const top_jobs *j = &s->jobs;
    row_name(p, "so far");
    pen_words(p, PLAIN, NAME_COLUMNS, "%s finished, %s cancelled, %s failed, %s parked, ",
              pen_count_text(j->finished, a), pen_count_text(j->cancelled, b), pen_count_text(j->failed, c),
              pen_count_text(s->pool.preemptions, d));
    pen_words(p, j->refused ? WARN : PLAIN, NAME_COLUMNS, "%s refused", pen_count_text(j->refused, a));
    pen_end(p);
}

static void events(pen *p, const top_track *t, uint32_t most) {
    uint64_t n = t->n_events < most ? t->n_events : most;
    for (uint64_t i = t->n_events - n; i < t->n_events; i++) {
        const top_event *event = &t->events[i % TOP_EVENTS];
        pen_print(p, DIM, "%s  ", event->clock);
        pen_words(p, PLAIN, TOP_CLOCK_BYTES + 1, "%s", event->text);
        pen_end(p);
    }
}

/* ---- the frame ---- */

static uint32_t columns_of(const char *text) {
    uint32_t n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static void title(pen *p, const top_track *t) {
    const char *status = t->connected ? t->now.status : "no answer";
    uint32_t right = columns_of(p->view->address) + columns_of(status) + columns_of(p->view->clock) + 4;
    pen_text(p, BOLD, "Plimsoll");
    pen_print(p, PLAIN, "  %s", t->now.model);
    if (p->column + 2 + right <= p->columns) {
        pen_to(p, p->columns - right);
        pen_print(p, DIM, "%s  ", p->view->address);
    } else {
        pen_text(p, PLAIN, "  ");
    }
    pen_text(p, !t->connected ? BAD : !strcmp(status, "ok") ? GOOD : WARN, status);
    pen_print(p, DIM, "  %s", p->view->clock);
    pen_end(p);
    if (t->connected) return;
    pen_text(p, BAD, *t->trouble ? t->trouble : "no answer yet");
    pen_text(p, DIM, pen_either(p, " — trying again", " - trying again"));
    pen_end(p);
}

/* What a frame shows, from all to the least: the first that fits the terminal is taken. */
typedef struct layout {
    bool blanks, ship;
    uint32_t accounts, events, figures;
} layout;

static const layout layouts[] = {
    {true, true, 16, 5, 8},  {false, true, 16, 5, 8}, {false, true, 16, 2, 8}, {false, true, 8, 2, 8},
    {false, true, 6, 2, 8},  {false, true, 5, 2, 8},  {false, true, 4, 2, 8},  {false, true, 3, 1, 8},
    {false, false, 5, 2, 5}, {false, false, 3, 1, 5}, {false, false, 2, 1, 4},
};
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts };

static void blank(pen *p, const layout *shown) {
    if (shown->blanks) pen_end(p);
}

static void tables(pen *p, const top_snapshot *s, const layout *shown) {
    accounts(p, s, shown->accounts);
    blank(p, shown);
    if (s->has_pool) pool(p, &s->pool), cache(p, &s->cache);
    if (s->has_spill) spill(p, &s->spill);
    if (s->has_jobs) jobs(p, s);
    if (*s->finding) {
        row_name(p, "doctor");
        pen_words(p, WARN, NAME_COLUMNS, "%s", s->finding);
        pen_end(p);
    }
}

static uint32_t draw(const top_view *v, const top_track *t, const layout *shown, buf *out) {
    pen p = {.view = v, .out = out, .columns = v->columns};
    if (p.columns < TOP_LEAST_COLUMNS) p.columns = TOP_LEAST_COLUMNS;
    if (p.columns > TOP_MOST_COLUMNS) p.columns = TOP_MOST_COLUMNS;
    title(&p, t);
    if (t->any) {
        blank(&p, shown);
        if (shown->ship && p.columns >= NARROW_COLUMNS) {
            picture(&p, t);
        } else {
            gauge(&p, &t->now);
            for (uint32_t row = 0; row < shown->figures; row++) figure_line(&p, t, (int)row), pen_end(&p);
        }
        blank(&p, shown);
        if (t->now.has_memory) tables(&p, &t->now, shown);
    }
    if (t->n_events) blank(&p, shown), events(&p, t, shown->events);
    if (v->keys) {
        blank(&p, shown);
        pen_text(&p, DIM, "q quit   c give back what nobody needs");
        pen_end(&p);
    }
    return p.lines;
}

static void cut_lines(buf *out, size_t from, uint32_t rows) {
    for (size_t i = from; i < out->len; i++)
        if (out->data[i] == '\n' && rows-- == 1) out->data[out->len = i + 1] = 0;
}

void top_view_frame(const top_view *v, const top_track *t, buf *out) {
    size_t from = out->len;
    for (int i = 0; i < N_LAYOUTS && !out->failed; i++) {
        out->len = from;
        if (draw(v, t, &layouts[i], out) <= v->rows || !v->rows) return;
    }
    if (!out->failed) cut_lines(out, from, v->rows);
}

void top_view_line(const top_view *v, const top_track *t, buf *out) {
    pen p = {.view = v, .out = out, .columns = UINT32_MAX};
    const top_snapshot *s = &t->now;
    char a[BYTES_TEXT_BYTES], b[BYTES_TEXT_BYTES], c[BYTES_TEXT_BYTES];
    pen_print(&p, PLAIN, "%s  ", v->clock);
    if (!t->connected) {
        pen_text(&p, PLAIN, *t->trouble ? t->trouble : "no answer yet");
        pen_end(&p);
        return;
    }
    pen_print(&p, PLAIN, "%s %s  used %s of %s  available %s", s->status, s->level, pen_size_text(&p, s->used_bytes, a),
              s->line_bytes == UINT64_MAX ? "no line" : pen_size_text(&p, s->line_bytes, b),
              pen_size_text(&p, s->available_bytes, c));
    pen_print(&p, PLAIN, "  active %llu queued %llu parked %llu", (unsigned long long)s->active,
              (unsigned long long)s->queued, (unsigned long long)s->preempted);
    if (t->tokens_per_s >= 0) pen_print(&p, PLAIN, "  %s tokens/s", pen_speed_text(t->tokens_per_s, a));
    if (t->requests_per_s >= 0) pen_print(&p, PLAIN, "  %s req/s", pen_speed_text(t->requests_per_s, b));
    if (s->jobs.refused) pen_print(&p, PLAIN, "  %s refused so far", pen_count_text(s->jobs.refused, c));
    pen_end(&p);
}
