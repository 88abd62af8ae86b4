/* plimsoll top: a running server, watched from a terminal. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/top_view.h"
#include "mem/heap.h"

enum {
    ANSWER_LIMIT_BYTES = 4 << 20, FRAME_LIMIT_BYTES = 8 << 20,
    ASK_TIMEOUT_MS = 900, CLEANUP_TIMEOUT_MS = 5000, DOCTOR_EVERY_MS = 5000, ONCE_PAUSE_MS = 400,
};

typedef struct top {
    cli_url server;
    char address[CLI_HOST_BYTES + 16];
    uint32_t interval_ms;
    mem_heap heap;
    buf answer, frame, screen;
    top_view view;
    top_track track;
    char clock[TOP_CLOCK_BYTES];
    bool told_of_key, knows_history;
    char finding[TOP_EVENT_BYTES];
    uint64_t doctor_due_ms;
} top;

/* ---- the terminal, given back however we end ---- */

#define TERMINAL_TAKE "\033[?1049h\033[?25l"
#define TERMINAL_GIVE "\033[0m\033[?25h\033[?1049l"

static struct termios terminal_before;
static volatile sig_atomic_t terminal_taken, keys_taken;
static volatile sig_atomic_t end_asked, stop_asked, redraw_asked;

static void write_all(const char *data, size_t len) {
    while (len) {
        ssize_t n = write(STDOUT_FILENO, data, len);
        if (n < 0 && errno != EINTR && errno != EAGAIN) return;
        if (n > 0) data += n, len -= (size_t)n;
    }
}

static void terminal_take(void) {
    keys_taken = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &terminal_before) == 0;
    if (keys_taken) {
        struct termios keys = terminal_before;
        keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        keys.c_cc[VMIN] = 1;
        keys.c_cc[VTIME] = 0;
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &keys);
    }
    terminal_taken = 1;
    write_all(TERMINAL_TAKE, sizeof TERMINAL_TAKE - 1);
}

/* Only what a signal handler may do. */
static void terminal_give(void) {
    if (!terminal_taken) return;
    terminal_taken = 0;
    write_all(TERMINAL_GIVE, sizeof TERMINAL_GIVE - 1);
    if (keys_taken) (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
    keys_taken = 0;
}

static void on_signal(int number) {
    if (number == SIGWINCH) redraw_asked = 1;
    else if (number == SIGTSTP) stop_asked = 1;
    else end_asked = 1;
}

static void on_crash(int number) {
    terminal_give();
    signal(number, SIG_DFL);
    raise(number);
}

/* Signals that we answer are blocked but while we wait, so that none is missed between a look and a wait. */
static void signals_take(sigset_t *while_waiting) {
    static const int answered[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t blocked;
    sigemptyset(&blocked);
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof answered / sizeof *answered; i++) {
        sigaddset(&blocked, answered[i]);
        sigaction(answered[i], &action, NULL);
    }
    sigprocmask(SIG_BLOCK, &blocked, while_waiting);
    action.sa_handler = on_crash;
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) sigaction(crashes[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void stop_for_shell(void) {
    stop_asked = 0;
    terminal_give();
    raise(SIGSTOP);
    terminal_take();
    redraw_asked = 1;
}

static bool locale_is_utf8(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static bool terminal_is_dumb(void) {
    const char *name = getenv("TERM");
    return !name || !*name || !strcmp(name, "dumb");
}

static uint32_t columns_from_environment(void) {
    const char *text = getenv("COLUMNS");
    long n = text ? strtol(text, NULL, 10) : 0;
    return n >= TOP_LEAST_COLUMNS && n <= TOP_MOST_COLUMNS ? (uint32_t)n : 80;
}

static void measure_terminal(top_view *v) {
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row;
    v->columns = known ? size.ws_col : columns_from_environment();
    v->rows = known ? size.ws_row : 24;
}

/* ---- the server ---- */

static void set_clock(top *t) {
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm parts;
    if (!localtime_r(&now, &parts) || !strftime(t->clock, sizeof t->clock, "%H:%M:%S", &parts)) t->clock[0] = 0;
}

static bool ask(top *t, const char *method, const char *path, uint32_t timeout_ms, int *status, err *e) {
    buf_clear(&t->answer);
    return cli_http(t->server.host, t->server.port, method, path, STR(""), timeout_ms, status, &t->answer, e);
}

static bool read_health(top *t, top_snapshot *s, err *e) {
    int status;
    if (!ask(t, "GET", "/health", ASK_TIMEOUT_MS, &status, e)) return false;
    if (status != 200 && status != 503)
        return err_set(e, ERR_FORMAT, "%s answers %d to GET /health: is it a Plimsoll server?", t->address, status);
    return top_read_health(&t->heap.alloc, buf_str(&t->answer), s, e);
}

/* /health is open to everyone and /memory is not: what it says may be missing. */
static bool read_memory(top *t, top_snapshot *s, err *e) {
    int status;
    if (!ask(t, "GET", "/memory", ASK_TIMEOUT_MS, &status, e)) return false;
    if (status == 200) return top_read_memory(&t->heap.alloc, buf_str(&t->answer), s, e);
    if (status == 401 && !t->told_of_key)
        top_track_event(&t->track, t->clock, "the server asks for an API key (--api-key KEY)");
    t->told_of_key |= status == 401;
    return true;
}

/* What else the server may have: its doctor now and then, its timeline once. */
static void read_more(top *t, top_snapshot *s) {
    int status;
    err unsaid;
    uint64_t now_ms = clock_now_ns() / 1000000;
    if (now_ms >= t->doctor_due_ms) {
        t->doctor_due_ms = now_ms + DOCTOR_EVERY_MS;
        t->finding[0] = 0;
        if (ask(t, "GET", "/memory/doctor", ASK_TIMEOUT_MS, &status, &unsaid) && status == 200 &&
            top_read_doctor(&t->heap.alloc, buf_str(&t->answer), s, &unsaid))
            memcpy(t->finding, s->finding, sizeof t->finding);
    }
    memcpy(s->finding, t->finding, sizeof s->finding);
    if (t->knows_history || t->track.any) return;
    t->knows_history = true;
    if (ask(t, "GET", "/memory/timeline", ASK_TIMEOUT_MS, &status, &unsaid) && status == 200)
        (void)top_read_timeline(&t->heap.alloc, buf_str(&t->answer), &t->track, &unsaid);
}

static bool take_reading(top *t, err *e) {
    static top_snapshot s;
    set_clock(t);
    if (read_health(t, &s, e) && read_memory(t, &s, e)) {
        if (s.has_memory) read_more(t, &s);
        top_track_reading(&t->track, &s, clock_now_ns() / 1000000, t->clock);
        return true;
    }
    top_track_trouble(&t->track, e->message, t->clock);
    return false;
}

typedef struct message {
    bool due;
    char text[TOP_EVENT_BYTES];
} message;

static bool on_message(void *ctx, const json_event *event, err *e) {
    message *m = ctx;
    (void)e;
    if (event->depth != 1) return true;
    if (event->kind == JSON_STRING && m->due) snprintf(m->text, sizeof m->text, "%.*s", STR_ARG(event->text));
    m->due = event->kind == JSON_KEY && str_is(event->text, "message");
    return true;
}

static void clean_up(top *t) {
    int status;
    err e = {0};
    message m = {.text = "done"};
    set_clock(t);
    if (!ask(t, "POST", "/cleanup-memory", CLEANUP_TIMEOUT_MS, &status, &e)) {
        top_track_event(&t->track, t->clock, "cleanup: %s", e.message);
    } else if (status != 200) {
        top_track_event(&t->track, t->clock, status == 404 ? "cleanup: this server has none (%d)"
                                                           : "cleanup: the server answers %d", status);
    } else {
        (void)json_parse(&t->heap.alloc, buf_str(&t->answer), on_message, &m, &e);
        top_track_event(&t->track, t->clock, "cleanup: %s", m.text);
    }
}

/* ---- the screen ---- */

/* Over what stands there already, line by line: nothing flickers. */
static void draw(top *t) {
    measure_terminal(&t->view);
    buf_clear(&t->frame);
    buf_clear(&t->screen);
    top_view_frame(&t->view, &t->track, &t->frame);
    buf_append(&t->screen, "\033[H", 3);
    for (size_t i = 0; i < t->frame.len; i++) {
        if (t->frame.data[i] != '\n') buf_append(&t->screen, t->frame.data + i, 1);
        else buf_append_str(&t->screen, i + 1 < t->frame.len ? STR("\033[K\n") : STR("\033[K"));
    }
    buf_append(&t->screen, "\033[J", 3);
    if (!t->screen.failed) write_all(t->screen.data, t->screen.len);
}

static void on_key(top *t, char key) {
    if (key == 'q' || key == 'Q') end_asked = 1;
    if (key == 'c' || key == 'C') clean_up(t);
    redraw_asked = 1;
}

/* Until due_ns, or a key, or a signal. */
static void wait_and_listen(top *t, uint64_t due_ns, const sigset_t *while_waiting) {
    struct pollfd keys = {.fd = keys_taken ? STDIN_FILENO : -1, .events = POLLIN};
    uint64_t now = clock_now_ns(), left = due_ns > now ? due_ns - now : 0;
    struct timespec most = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
    if (ppoll(&keys, 1, &most, while_waiting) <= 0 || !keys.revents) return;
    char key = 0;
    if (read(STDIN_FILENO, &key, 1) == 1) on_key(t, key);
    else end_asked = 1; /* the terminal is gone */
}

static void watch(top *t, bool on_screen) {
    sigset_t while_waiting;
    err e = {0};
    signals_take(&while_waiting);
    if (on_screen) terminal_take();
    for (uint64_t due = 0; !end_asked;) {
        if (clock_now_ns() >= due) {
            due = clock_now_ns() + t->interval_ms * UINT64_C(1000000);
            take_reading(t, &e);
            t->view.waves++;
            redraw_asked = 1;
        }
        if (redraw_asked && on_screen) {
            draw(t);
        } else if (redraw_asked) {
            buf_clear(&t->frame);
            top_view_line(&t->view, &t->track, &t->frame);
            if (fwrite(t->frame.data, 1, t->frame.len, stdout) != t->frame.len || fflush(stdout)) break;
        }
        redraw_asked = 0;
        wait_and_listen(t, due, &while_waiting);
        if (stop_asked && on_screen) stop_for_shell();
        else if (stop_asked) stop_asked = 0, raise(SIGSTOP);
    }
    terminal_give();
}

static int show_once(top *t) {
    err e = {0};
    if (!take_reading(t, &e)) return cli_fail(&e);
    usleep(ONCE_PAUSE_MS * 1000); /* speeds are differences */
    if (!take_reading(t, &e)) return cli_fail(&e);
    top_view_frame(&t->view, &t->track, &t->frame);
    return fwrite(t->frame.data, 1, t->frame.len, stdout) == t->frame.len && fflush(stdout) == 0 ? 0 : 1;
}

static bool begin(top *t, const cli_options *o, mem_ledger *l, err *e) {
    if (o->n_args > 1) return err_set(e, ERR_USAGE, "give one address: plimsoll top http://127.0.0.1:8080");
    if (!cli_url_parse(o->n_args ? o->args[0] : "http://127.0.0.1:8080", &t->server, e)) return false;
    if (o->api_keys && !cli_http_use_key(o->api_keys, e)) return false;
    const char *no_color = getenv("NO_COLOR");
    bool terminal = isatty(STDOUT_FILENO) && !terminal_is_dumb();
    snprintf(t->address, sizeof t->address, "http://%s:%u", t->server.host, t->server.port);
    str_make_printable(t->address);
    t->interval_ms = o->interval_ms;
    t->view = (top_view){.columns = columns_from_environment(), .utf8 = locale_is_utf8(), .address = t->address,
                         .clock = t->clock, .color = terminal && !(no_color && *no_color)};
    if (terminal) measure_terminal(&t->view);
    t->view.rows = 0; /* a frame on a screen measures again */
    mem_heap_init(&t->heap, l, MEM_HTTP);
    buf_init(&t->answer, &t->heap.alloc, ANSWER_LIMIT_BYTES);
    buf_init(&t->frame, &t->heap.alloc, FRAME_LIMIT_BYTES);
    buf_init(&t->screen, &t->heap.alloc, FRAME_LIMIT_BYTES);
    top_track_init(&t->track);
    return true;
}

int cli_top(const cli_options *o, mem_ledger *l) {
    static top t;
    err e = {0};
    int rc = 0;
    if (!begin(&t, o, l, &e)) return cli_fail(&e);
    bool on_screen = isatty(STDOUT_FILENO) && !terminal_is_dumb();
    t.view.keys = on_screen && !o->once && isatty(STDIN_FILENO);
    if (o->once) rc = show_once(&t);
    else watch(&t, on_screen);
    buf_free(&t.answer);
    buf_free(&t.frame);
    buf_free(&t.screen);
    return rc;
}
