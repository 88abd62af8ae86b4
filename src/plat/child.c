#include "plat/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "plat/kernel.h"
#include "plat/proc.h"
#include "plat/psi.h"

enum { MOST_PROCESSES = 16384, END_WITHIN_MS = 5000 };

/* ---- signals ---- */

static sigset_t taken, before;
static bool signals_are_taken;

static void take_signals(void) {
    static const int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    if (signals_are_taken) return;
    sigemptyset(&taken);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaddset(&taken, numbers[i]);
    sigprocmask(SIG_BLOCK, &taken, &before);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    signals_are_taken = true;
}

/* ---- starting ---- */

/* Who owns the terminal may read from it and gets its ^C: the command, when it was us. */
static void give_terminal(pid_t group) {
    sigset_t stop_of_background, old;
    sigemptyset(&stop_of_background);
    sigaddset(&stop_of_background, SIGTTOU);
    sigprocmask(SIG_BLOCK, &stop_of_background, &old);
    (void)tcsetpgrp(STDIN_FILENO, group);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static bool have_terminal(void) { return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp(); }

/* In the new process, until it is another program. Returns only in failure: its errno, negative when that was
 * before the exec. */
static int become(const char *const *arguments, int procs_fd, bool terminal, pid_t parent) {
    setpgid(0, 0);
    if (terminal) give_terminal(getpid());
    if (procs_fd >= 0 && write(procs_fd, "0", 1) != 1) return -errno;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent) return -ESRCH;
    sigprocmask(SIG_SETMASK, &before, NULL);
    union {
        const char *const *given;
        char *const *wanted;
    } argv = {arguments}; /* exec promises not to change them, in a type older than const */
    execvp(arguments[0], argv.wanted);
    return errno;
}

/* What become returned, sent through a pipe that a successful exec closes. */
static int read_failure(int fd) {
    int failure = 0;
    ssize_t n;
    do n = read(fd, &failure, sizeof failure);
    while (n < 0 && errno == EINTR);
    close(fd);
    return n == sizeof failure ? failure : 0;
}

bool plat_child_start(plat_child *c, const char *const *arguments, int procs_fd, int *exec_errno, err *e) {
    *c = (plat_child){.exit_status = -1};
    *exec_errno = 0;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC)) return err_set(e, ERR_IO, "no pipe: %s", strerror(errno));
    take_signals();
    bool terminal = have_terminal();
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        int failure = become(arguments, procs_fd, terminal, parent);
        (void)!write(ends[1], &failure, sizeof failure);
        kill(getpid(), SIGKILL); /* no exit handlers of ours */
        for (;;) pause();
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return err_set(e, ERR_IO, "no process: %s", strerror(errno));
    }
    setpgid(pid, pid);
    c->pid = pid;
    int failure = read_failure(ends[0]);
    if (!failure) return true;
    (void)waitpid(pid, NULL, 0);
    if (terminal) give_terminal(getpgrp());
    c->ended = true;
    if (failure < 0) return err_set(e, ERR_IO, "cannot enter its control group: %s", strerror(-failure));
    *exec_errno = failure;
    return err_set(e, failure == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%.200s: %s", arguments[0], strerror(failure));
}

/* ---- waiting ---- */

static void note_end(plat_child *c, int status, const struct rusage *usage) {
    c->ended = true;
    c->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    c->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    c->peak_rss_bytes = (uint64_t)usage->ru_maxrss * 1024;
    if (isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == c->pid) give_terminal(getpgrp());
}

static void reap(plat_child *c) {
    struct rusage usage;
    int status;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &usage)) > 0;)
        if (pid == c->pid) note_end(c, status, &usage);
}

int plat_child_await(plat_child *c, uint32_t at_most_ms) {
    struct timespec limit = {at_most_ms / 1000, (long)(at_most_ms % 1000) * 1000000};
    int number = sigtimedwait(&taken, NULL, &limit);
    reap(c);
    return number > 0 && number != SIGCHLD ? number : 0;
}

void plat_child_signal(const plat_child *c, int number) {
    if (c->pid > 0 && !c->ended) (void)kill(-c->pid, number);
}

/* ---- the tree ---- */

typedef struct process {
    int pid, parent, group;
    bool inside, gone; /* gone: a zombie, which holds nothing */
} process;

static process table[MOST_PROCESSES]; /* one walk's; only the pages a machine's processes need are ever touched */

/* /proc/PID/stat: "12 (any (name)) S 1 12 …" */
static bool read_process(const char *name, process *p) {
    char path[64];
    plat_lines r;
    snprintf(path, sizeof path, "/proc/%.20s/stat", name);
    if (!plat_lines_open(&r, path)) return false;
    char *line = plat_lines_next(&r), *close_paren = line ? strrchr(line, ')') : NULL, state = 0;
    *p = (process){.pid = atoi(name)};
    bool good = close_paren && sscanf(close_paren + 1, " %c %d %d", &state, &p->parent, &p->group) == 3;
    p->gone = state == 'Z' || state == 'X';
    plat_lines_close(&r);
    return good;
}

static uint32_t read_table(void) {
    uint32_t n = 0;
    DIR *d = opendir("/proc");
    if (!d) return 0;
    for (struct dirent *entry; n < MOST_PROCESSES && (entry = readdir(d));)
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') n += read_process(entry->d_name, &table[n]);
    closedir(d);
    return n;
}

/* The kernel lists processes by number. */
static bool is_inside(uint32_t n, int pid) {
    uint32_t low = 0;
    for (uint32_t high = n; low < high;) {
        uint32_t middle = (low + high) / 2;
        if (table[middle].pid < pid) low = middle + 1;
        else high = middle;
    }
    return low < n && table[low].pid == pid && table[low].inside;
}

/* Marks the tree: ours and the group's first, then their children until nothing changes. */
static uint32_t find_tree(const plat_child *c) {
    uint32_t n = read_table();
    int self = getpid();
    for (uint32_t i = 0; i < n; i++)
        table[i].inside = table[i].pid != self && (table[i].parent == self || table[i].group == c->pid);
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < n; i++)
            if (!table[i].inside && table[i].pid != self && is_inside(n, table[i].parent))
                table[i].inside = changed = true;
    }
    return n;
}

bool plat_child_tree(const plat_child *c, plat_tree *out) {
    *out = (plat_tree){0};
    uint32_t n = find_tree(c);
    for (uint32_t i = 0; i < n; i++) {
        plat_process_memory m;
        if (!table[i].inside || table[i].gone || !plat_process_memory_read_pid(table[i].pid, &m)) continue;
        out->anon_bytes += m.rss_anon_bytes;
        out->file_bytes += m.rss_file_bytes;
        out->shmem_bytes += m.rss_shmem_bytes;
        out->swap_bytes += m.swap_bytes;
        out->processes++;
    }
    return n > 0;
}

/* Pss and SwapPss: what is shared by k processes counts 1/k in each of them. One that has just ended has none; false
 * only when we may not look. */
static bool read_share(int pid, uint64_t *bytes) {
    char path[64];
    plat_lines r;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    if (!plat_lines_open(&r, path)) return errno != EACCES && errno != EPERM;
    for (char *line; (line = plat_lines_next(&r));) {
        uint64_t kib;
        bool pss = !strncmp(line, "Pss:", 4), swap = !strncmp(line, "SwapPss:", 8);
        if ((pss || swap) && plat_number_parse(strchr(line, ':') + 1, &kib)) *bytes += kib * 1024;
    }
    plat_lines_close(&r);
    return true;
}

bool plat_child_tree_shared_once(const plat_child *c, uint64_t *bytes) {
    uint32_t n = find_tree(c);
    *bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        if (table[i].inside && !table[i].gone && !read_share(table[i].pid, bytes)) return false;
    return n > 0 && access("/proc/self/smaps_rollup", F_OK) == 0;
}

bool plat_child_end(plat_child *c) {
    uint64_t start_ns = clock_now_ns();
    const struct timespec pause_between = {0, 5000000};
    for (;;) {
        uint32_t alive = 0, n = find_tree(c);
        if (!c->ended) (void)kill(-c->pid, SIGKILL);
        for (uint32_t i = 0; i < n; i++) {
            if (!table[i].inside || table[i].gone) continue;
            alive++;
            (void)kill(table[i].pid, SIGKILL);
        }
        reap(c);
        if (!alive && c->ended) return true;
        if (clock_ms_since(start_ns) > END_WITHIN_MS) return false;
        (void)nanosleep(&pause_between, NULL);
    }
}

bool plat_stalled_us_at(const char *root, uint64_t *total_us) {
    char path[PLAT_PATH_BYTES];
    snprintf(path, sizeof path, "%s/proc/pressure/memory", root);
    return plat_psi_total(path, "full", total_us);
}
