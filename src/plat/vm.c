#include "plat/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "plat/cpu.h"
#include "plat/thread.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older kernels say EINVAL */
#endif

enum {
    HUGE_PAGE_BYTES = 2 * 1024 * 1024,
    POPULATE_SLICE_BYTES = 64 * 1024 * 1024, /* less is not worth another thread */
    POPULATE_THREADS_MOST = 8,
};

size_t plat_page_bytes(void) {
    static _Atomic size_t known;
    if (!known) known = (size_t)sysconf(_SC_PAGESIZE);
    return known;
}

size_t plat_vm_round(size_t bytes) {
    size_t mask = plat_page_bytes() - 1;
    if (bytes == 0) bytes = 1;
    if (bytes > SIZE_MAX - mask) return SIZE_MAX & ~mask; /* more than any kernel gives: refused there */
    return (bytes + mask) & ~mask;
}

static bool refused(size_t bytes, err *e) {
    return err_set_memory(e, bytes, 0, "the kernel refuses %zu bytes: %s", bytes, strerror(errno));
}

static void touch_pages(void *p, size_t bytes) {
    volatile char *page = p;
    for (size_t at = 0; at < bytes; at += plat_page_bytes()) page[at] = 0;
}

typedef struct slice {
    char *p;
    size_t bytes;
    int failure; /* errno */
    pthread_t thread;
    bool started;
} slice;

static void *populate_slice(void *arg) {
    slice *s = arg;
    int result;
    do result = madvise(s->p, s->bytes, MADV_POPULATE_WRITE);
    while (result != 0 && (errno == EAGAIN || errno == EINTR));
    s->failure = result == 0 ? 0 : errno;
    if (s->failure != EINVAL && s->failure != ENOSYS) return NULL;
    touch_pages(s->p, s->bytes);
    s->failure = 0;
    return NULL;
}

/* Makes every page of a fresh range present. The kernel clears them on the core that asks, and in a guest that has
 * given its free memory back to the host that takes seconds for a model: large ranges are asked for on several. */
static bool populate(void *p, size_t bytes, bool huge) {
    if (huge) (void)madvise(p, bytes, MADV_HUGEPAGE); /* advice: a kernel without it still serves small pages */
    slice slices[POPULATE_THREADS_MOST];
    size_t n = bytes / POPULATE_SLICE_BYTES, cores = (size_t)plat_cpu_get()->usable_cores;
    if (n > cores) n = cores;
    if (n > POPULATE_THREADS_MOST) n = POPULATE_THREADS_MOST;
    if (n < 1) n = 1;
    size_t each = bytes / n / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    for (size_t i = 0; i < n; i++)
        slices[i] = (slice){.p = (char *)p + i * each, .bytes = i + 1 < n ? each : bytes - i * each};
    for (size_t i = 1; i < n; i++) {
        err unused;
        slices[i].started = plat_thread_start(&slices[i].thread, "populate", populate_slice, &slices[i], &unused);
    }
    int failure = 0;
    for (size_t i = 0; i < n; i++) {
        if (slices[i].started) pthread_join(slices[i].thread, NULL);
        else populate_slice(&slices[i]);
        if (slices[i].failure) failure = slices[i].failure;
    }
    errno = failure;
    return failure == 0;
}

static void *map(size_t bytes, int protection, int flags) {
    void *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* The kernel may refuse to unmap the middle of a mapping (too many mappings); then at least the pages go. */
static void unmap(void *p, size_t bytes) {
    if (bytes == 0 || munmap(p, bytes) == 0) return;
    CHECK(errno == ENOMEM);
    (void)madvise(p, bytes, MADV_DONTNEED);
}

/* Maps more than asked and gives back what lies outside the aligned part. */
static void *map_huge_aligned(size_t bytes, int protection, int flags) {
    if (bytes > SIZE_MAX - HUGE_PAGE_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    char *p = map(bytes + HUGE_PAGE_BYTES, protection, flags);
    if (!p) return NULL;
    size_t before = (size_t)(-(uintptr_t)p & (HUGE_PAGE_BYTES - 1));
    unmap(p, before);
    unmap(p + before + bytes, HUGE_PAGE_BYTES - before);
    return p + before;
}

void *plat_vm_alloc(size_t bytes, bool huge, err *e) {
    bytes = plat_vm_round(bytes);
    void *p = huge ? map_huge_aligned(bytes, PROT_READ | PROT_WRITE, 0) : map(bytes, PROT_READ | PROT_WRITE, 0);
    if (p && populate(p, bytes, huge)) return p;
    refused(bytes, e);
    if (p) unmap(p, bytes);
    return NULL;
}

void plat_vm_free(void *p, size_t bytes) {
    if (p) unmap(p, plat_vm_round(bytes));
}

void *plat_vm_reserve(size_t bytes, err *e) {
    bytes = plat_vm_round(bytes);
    void *p = map_huge_aligned(bytes, PROT_NONE, MAP_NORESERVE);
    if (!p) refused(bytes, e);
    return p;
}

bool plat_vm_commit(void *p, size_t bytes, bool huge, err *e) {
    bytes = plat_vm_round(bytes);
    if (mprotect(p, bytes, PROT_READ | PROT_WRITE) == 0 && populate(p, bytes, huge)) return true;
    refused(bytes, e);
    plat_vm_decommit(p, bytes);
    return false;
}

void plat_vm_decommit(void *p, size_t bytes) {
    bytes = plat_vm_round(bytes);
    CHECK(madvise(p, bytes, MADV_DONTNEED) == 0);
    (void)mprotect(p, bytes, PROT_NONE); /* may lack a mapping to split; the pages are back all the same */
}

void plat_vm_release(void *p, size_t bytes) { plat_vm_free(p, bytes); }

void plat_vm_forget(const void *p, size_t bytes) {
    uintptr_t mask = plat_page_bytes() - 1;
    uintptr_t start = ((uintptr_t)p + mask) & ~mask, end = ((uintptr_t)p + bytes) & ~mask;
    if (end > start) (void)madvise((void *)start, end - start, MADV_DONTNEED);
}

static const char *kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a directory";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
    if (S_ISSOCK(mode)) return "a socket";
    return "not a regular file";
}

static bool file_map(plat_file *f, const char *path, err *e) {
    struct stat st;
    if (fstat(f->fd, &st) != 0) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_IO, "%s: is %s, a regular file is needed", path, kind_of(st.st_mode));
    f->bytes = (uint64_t)st.st_size;
    if (f->bytes == 0) return true;
    if (f->bytes > SIZE_MAX) return err_set(e, ERR_IO, "%s: too large to map", path);
    void *p = mmap(NULL, (size_t)f->bytes, PROT_READ, MAP_PRIVATE, f->fd, 0);
    if (p == MAP_FAILED) return err_set(e, ERR_IO, "%s: cannot map: %s", path, strerror(errno));
    f->map = p;
    return true;
}

bool plat_file_open(plat_file *f, const char *path, err *e) {
    *f = (plat_file){.fd = -1};
    /* O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing to a regular file. */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f->fd < 0) return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
    if (file_map(f, path, e)) return true;
    plat_file_close(f);
    return false;
}

bool plat_path_exists(const char *path) { return access(path, F_OK) == 0; }

bool plat_path_link(const char *path, char *out, size_t bytes) {
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash + 1 - path) : 0;
    if (folder >= bytes) return false;
    ssize_t n = readlink(path, out + folder, bytes - folder);
    if (n <= 0 || (size_t)n == bytes - folder) return false;
    out[folder + (size_t)n] = '\0';
    if (out[folder] == '/') memmove(out, out + folder, (size_t)n + 1);
    else memcpy(out, path, folder);
    return true;
}

void plat_file_close(plat_file *f) {
    if (f->map) unmap((void *)(uintptr_t)f->map, (size_t)f->bytes);
    if (f->fd >= 0) close(f->fd);
    *f = (plat_file){.fd = -1};
}

void plat_file_forget(const plat_file *f, uint64_t offset, uint64_t bytes) {
    if (offset >= f->bytes) return;
    if (bytes > f->bytes - offset) bytes = f->bytes - offset;
    /* Nothing else lies in the file's last page, so a range to the end takes it whole. */
    bool to_end = offset + bytes == f->bytes;
    plat_vm_forget(f->map + offset, (size_t)bytes + (to_end ? plat_page_bytes() - 1 : 0));
}

bool plat_file_read(const plat_file *f, uint64_t offset, void *out, size_t bytes, err *e) {
    if (offset > f->bytes || bytes > f->bytes - offset)
        return err_set(e, ERR_IO, "cannot read %zu bytes at %llu of a file of %llu", bytes,
                       (unsigned long long)offset, (unsigned long long)f->bytes);
    for (size_t done = 0; done < bytes;) {
        unsigned long long at = offset + done;
        ssize_t n = pread(f->fd, (char *)out + done, bytes - done, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_set(e, ERR_IO, "cannot read at byte %llu: %s", at, strerror(errno));
        if (n == 0) return err_set(e, ERR_IO, "the file ends at byte %llu, it was longer when opened", at);
        done += (size_t)n;
    }
    return true;
}
