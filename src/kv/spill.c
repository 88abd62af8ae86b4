#include "kv/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "mem/arena.h"
#include "plat/vm.h"

enum { VERSION = 2, BLOCK_BYTES = 4096, SLOTS_MAX = INT32_MAX, PROBES = 3 };
static const uint64_t MAGIC = 0x314C4C4950534C50u; /* "PLSPILL1" */
static const uint64_t SERIAL_MAX = UINT64_MAX / 2;
static const size_t PAGE_BYTES_LIMIT = 1u << 30;

/* ---- on disk ---- */

typedef struct header {
    uint64_t magic;
    uint32_t version, n_slots;
    uint64_t slot_bytes, file_bytes, identity[2];
    uint64_t checksum; /* of what stands before it */
} header;

typedef struct record {
    uint64_t serial, payload_checksum;
    uint64_t salt[2], parent_serial;
    uint32_t parent, depth, payload_bytes;
    uint16_t n_tokens; /* 0: buried. The slot is free and the serial spent */
    uint8_t kind, unused;
    int32_t tokens[KV_SPILL_TOKENS];
    uint64_t unused_words[16];
    uint64_t checksum; /* of what stands before it, its slot and the file's identity */
} record;
_Static_assert(sizeof(header) == 56 && sizeof(record) == 256, "the format");

/* ---- in memory ---- */

typedef struct slot_state {
    uint64_t serial; /* 0: free */
    uint64_t payload_checksum;
    uint32_t payload_bytes, depth;
} slot_state;

struct kv_spill {
    mem_arena arena; /* this struct and its tables */
    header form;     /* of this file */
    int fd;          /* header and labels; payloads too where there is no O_DIRECT */
    int direct_fd;   /* payloads past the page cache; -1 without */
    uint64_t last_serial;
    slot_state *slots;
    uint32_t *free_slots, first_free, n_free; /* a ring */
    uint32_t *first_of_depth, *next_of_depth; /* for restore: slots by depth */
    uint8_t *buffer;                          /* of a slot, on a 4 KiB bound */
    kv_spill_counts counts;
};

static uint64_t round_block(uint64_t bytes) { return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES; }

static uint64_t label_at(uint32_t slot) { return BLOCK_BYTES + (uint64_t)slot * sizeof(record); }

static uint64_t payload_at(const header *h, uint32_t slot) {
    return BLOCK_BYTES + round_block((uint64_t)h->n_slots * sizeof(record)) + slot * h->slot_bytes;
}

static uint64_t bytes_of_file(const header *h) { return payload_at(h, h->n_slots + 1); } /* the last is scratch */

/* What a file of this configuration looks like; n_slots 0 when there is none. */
static header form_of(const kv_spill_config *c) {
    header h = {.magic = MAGIC, .version = VERSION, .slot_bytes = c->page_bytes_max,
                .identity = {c->identity[0], c->identity[1]}};
    uint64_t slot = c->page_bytes_max, limit = c->file_bytes < INT64_MAX ? c->file_bytes : INT64_MAX;
    if (slot == 0 || slot % BLOCK_BYTES || slot > PAGE_BYTES_LIMIT || limit < BLOCK_BYTES + slot) return h;
    uint64_t n = (limit - BLOCK_BYTES - slot) / (slot + sizeof(record));
    h.n_slots = n < SLOTS_MAX ? (uint32_t)n : SLOTS_MAX;
    if (h.n_slots && bytes_of_file(&h) > limit) h.n_slots--; /* for labels fill whole blocks */
    h.file_bytes = bytes_of_file(&h);
    h.checksum = XXH3_64bits(&h, offsetof(header, checksum));
    return h;
}

static kv_spill *layout(mem_arena *a, const header *h) {
    kv_spill *s = mem_arena_take(a, sizeof *s, 64);
    uint32_t n = h->n_slots;
    slot_state *slots = mem_arena_take(a, n * sizeof *slots, 64);
    uint32_t *tables = mem_arena_take(a, (size_t)n * 3 * sizeof *tables, 64);
    uint8_t *buffer = mem_arena_take(a, (size_t)h->slot_bytes, BLOCK_BYTES);
    if (s)
        *s = (kv_spill){.form = *h, .fd = -1, .direct_fd = -1, .slots = slots, .free_slots = tables,
                        .first_of_depth = tables + n, .next_of_depth = tables + 2 * (size_t)n, .buffer = buffer};
    return s;
}

size_t kv_spill_plan_bytes(const kv_spill_config *c) {
    header h = form_of(c);
    mem_arena a;
    mem_arena_measure(&a);
    layout(&a, &h);
    return plat_vm_round(a.used);
}

/* ---- reading and writing ---- */

/* All of bytes, or false with errno. */
static bool transfer(int fd, bool write, uint64_t at, void *data, size_t bytes) {
    uint8_t *p = data;
    while (bytes) {
        ssize_t n = write ? pwrite(fd, p, bytes, (off_t)at) : pread(fd, p, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        if (n == 0) { /* someone cut the file short */
            errno = ENODATA;
            return false;
        }
        p += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool io_error(err *e, bool write, const char *what) {
    const char *verb = write ? "write" : "read";
    return err_set(e, ERR_IO, "cannot %s %s of the spill file: %s", verb, what, strerror(errno));
}

/* Without O_DIRECT: what was written goes to the disk now, and neither it nor what was read stays in the cache. */
static bool leave_cache(const kv_spill *s, bool write, uint64_t at, uint64_t bytes) {
    unsigned through = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if (write && sync_file_range(s->fd, (off_t)at, (off_t)bytes, through) != 0 && (errno == EIO || errno == ENOSPC))
        return false;
    (void)posix_fadvise(s->fd, (off_t)at, (off_t)bytes, POSIX_FADV_DONTNEED);
    return true;
}

static bool fit_for_direct(const void *const *parts, const size_t *part_bytes, int n_parts) {
    uintptr_t bits = 0;
    for (int i = 0; i < n_parts; i++) bits |= (uintptr_t)parts[i] | part_bytes[i];
    return bits % BLOCK_BYTES == 0;
}

static size_t sum_of(const size_t *part_bytes, int n_parts) {
    size_t sum = 0;
    for (int i = 0; i < n_parts; i++) {
        CHECK(part_bytes[i] <= PAGE_BYTES_LIMIT);
        sum += part_bytes[i];
    }
    return sum;
}

/* Seeded part by part: the same bytes in other parts are another payload. */
static uint64_t checksum_of(const void *const *parts, const size_t *part_bytes, int n_parts) {
    uint64_t sum = 0;
    for (int i = 0; i < n_parts; i++) sum = XXH3_64bits_withSeed(parts[i], part_bytes[i], sum);
    return sum;
}

/* From or to the parts themselves where the disk can, else by way of the buffer, whole blocks at once. */
static bool payload_io(kv_spill *s, bool write, uint32_t slot, void *const *parts, const size_t *part_bytes,
                       int n_parts) {
    int fd = s->direct_fd >= 0 ? s->direct_fd : s->fd;
    uint64_t start = payload_at(&s->form, slot), at = start;
    if (s->direct_fd < 0 || fit_for_direct((const void *const *)parts, part_bytes, n_parts)) {
        for (int i = 0; i < n_parts; at += part_bytes[i++])
            if (!transfer(fd, write, at, parts[i], part_bytes[i])) return false;
        return s->direct_fd >= 0 || leave_cache(s, write, start, at - start);
    }
    uint8_t *p = s->buffer;
    size_t bytes = sum_of(part_bytes, n_parts), whole = round_block(bytes);
    if (!write && !transfer(fd, false, start, s->buffer, whole)) return false;
    for (int i = 0; i < n_parts; p += part_bytes[i++])
        memcpy(write ? p : parts[i], write ? parts[i] : p, part_bytes[i]);
    if (!write) return true;
    memset(p, 0, whole - bytes);
    return transfer(fd, true, start, s->buffer, whole);
}

/* ---- labels ---- */

static uint64_t checksum_of_record(const kv_spill *s, uint32_t slot, const record *r) {
    uint64_t seed = s->form.identity[0] ^ (s->form.identity[1] << 1) ^ ((uint64_t)slot << 32);
    return XXH3_64bits_withSeed(r, offsetof(record, checksum), seed);
}

static bool write_label(kv_spill *s, uint32_t slot, record *r, err *e) {
    r->checksum = checksum_of_record(s, slot, r);
    return transfer(s->fd, true, label_at(slot), r, sizeof *r) || io_error(e, true, "a label");
}

/* From here on, and after a restart, the slot holds nothing. The serial is spent even so. */
static bool bury(kv_spill *s, uint32_t slot, uint64_t serial, err *e) {
    record r = {.serial = serial, .parent = KV_SPILL_NONE};
    return write_label(s, slot, &r, e);
}

static bool genuine(const kv_spill *s, uint32_t slot, const record *r) {
    return r->checksum == checksum_of_record(s, slot, r) && r->serial && r->serial <= SERIAL_MAX;
}

/* Everything that can be known of a genuine label without looking at others. A parent is older than its children,
 * so there are no circles. */
static bool sound(const kv_spill *s, uint32_t slot, const record *r) {
    if (r->n_tokens < 1 || r->n_tokens > KV_SPILL_TOKENS) return false;
    if (r->payload_bytes < 1 || r->payload_bytes > s->form.slot_bytes) return false;
    if (r->parent == KV_SPILL_NONE) return r->depth == 0;
    return r->parent < s->form.n_slots && r->parent != slot && r->parent_serial && r->parent_serial < r->serial &&
           r->depth > 0 && r->depth < s->form.n_slots; /* as many others stand above it */
}

static void learn(kv_spill *s, uint32_t slot, const record *r) {
    s->slots[slot] = (slot_state){0};
    if (!genuine(s, slot, r)) return;
    if (r->serial > s->last_serial) s->last_serial = r->serial;
    if (!sound(s, slot, r)) return;
    s->slots[slot] = (slot_state){r->serial, r->payload_checksum, r->payload_bytes, r->depth};
}

static uint32_t take_free(kv_spill *s) {
    uint32_t slot = s->free_slots[s->first_free];
    s->first_free = (s->first_free + 1) % s->form.n_slots;
    s->n_free--;
    return slot;
}

static void free_as_next(kv_spill *s, uint32_t slot) {
    s->first_free = (s->first_free + s->form.n_slots - 1) % s->form.n_slots;
    s->free_slots[s->first_free] = slot;
    s->n_free++;
}

static void free_as_last(kv_spill *s, uint32_t slot) {
    s->free_slots[(s->first_free + s->n_free++) % s->form.n_slots] = slot;
}

static bool scan_labels(kv_spill *s, err *e) {
    uint32_t at_once = (uint32_t)(s->form.slot_bytes / sizeof(record));
    for (uint32_t first = 0; first < s->form.n_slots; first += at_once) {
        uint32_t n = s->form.n_slots - first < at_once ? s->form.n_slots - first : at_once;
        if (!transfer(s->fd, false, label_at(first), s->buffer, n * sizeof(record)))
            return io_error(e, false, "labels");
        for (uint32_t i = 0; i < n; i++) {
            record r;
            memcpy(&r, s->buffer + i * sizeof r, sizeof r);
            learn(s, first + i, &r);
        }
    }
    for (uint32_t slot = 0; slot < s->form.n_slots; slot++)
        if (!s->slots[slot].serial) free_as_last(s, slot);
    return true;
}

/* ---- open ---- */

static bool open_and_lock(kv_spill *s, const char *path, struct stat *st, err *e) {
    s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (s->fd < 0 || fstat(s->fd, st) != 0)
        return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "spill file %s: %s", path, strerror(errno));
    if (!S_ISREG(st->st_mode)) return err_set(e, ERR_IO, "spill file %s: not a regular file", path);
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) return err_set(e, ERR_BUSY, "spill file %s: another server uses it", path);
        return err_set(e, ERR_IO, "spill file %s: cannot lock: %s", path, strerror(errno));
    }
    /* Whoever held the lock before may have changed it. */
    if (fstat(s->fd, st) != 0) return err_set(e, ERR_IO, "spill file %s: %s", path, strerror(errno));
    return true;
}

/* Why the file's content cannot be used; NULL when it can. */
static const char *unlike(const header *want, const header *have, uint64_t file_bytes) {
    if (have->version != want->version) return "it is of another version";
    if (have->checksum != XXH3_64bits(have, offsetof(header, checksum))) return "its header is damaged";
    if (memcmp(have->identity, want->identity, sizeof want->identity)) return "it holds pages of another model";
    if (memcmp(have, want, sizeof *want)) return "it is of another size";
    if (file_bytes != want->file_bytes) return "it was cut short or made longer";
    return NULL;
}

/* Empty first, so that no label of before outlives its header. */
static bool start_afresh(kv_spill *s, const char *path, err *e) {
    memset(s->buffer, 0, BLOCK_BYTES);
    memcpy(s->buffer, &s->form, sizeof s->form);
    if (ftruncate(s->fd, 0) == 0 && transfer(s->fd, true, 0, s->buffer, BLOCK_BYTES)) return true;
    return err_set(e, ERR_IO, "spill file %s: %s", path, strerror(errno));
}

static bool no_room(const kv_spill *s, const char *path, uint64_t need_bytes, uint64_t free_bytes, err *e) {
    return err_set(e, ERR_IO, "spill file %s: needs %llu bytes (%llu more), the disk has %llu free", path,
                   (unsigned long long)s->form.file_bytes, (unsigned long long)need_bytes,
                   (unsigned long long)free_bytes);
}

/* Asks before it takes: an allocation that fails at its end would have filled the disk for a moment. */
static bool preallocate(kv_spill *s, const char *path, bool fresh, err *e) {
    struct stat st;
    struct statvfs disk;
    if (fstat(s->fd, &st) != 0 || fstatvfs(s->fd, &disk) != 0)
        return err_set(e, ERR_IO, "spill file %s: %s", path, strerror(errno));
    uint64_t bytes = s->form.file_bytes, have_bytes = (uint64_t)st.st_blocks * 512;
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    uint64_t need_bytes = bytes > have_bytes ? bytes - have_bytes : 0;
    bool known = disk.f_blocks > 0; /* a file system without a size of its own says 0 */
    int error = known && need_bytes > free_bytes ? ENOSPC : EINTR;
    while (error == EINTR) error = posix_fallocate(s->fd, 0, (off_t)bytes);
    if (!error) return true;
    if (fresh) (void)!ftruncate(s->fd, 0); /* what it got before it failed */
    if (error == ENOSPC) return no_room(s, path, need_bytes, free_bytes, e);
    return err_set(e, ERR_IO, "spill file %s: cannot allocate %llu bytes: %s", path, (unsigned long long)bytes,
                   strerror(error));
}

/* Makes the file ours, or finds that it is. */
static bool claim(kv_spill *s, const char *path, const struct stat *st, err *e) {
    header have = {0};
    uint64_t bytes = (uint64_t)st->st_size;
    size_t known = bytes < sizeof have ? (size_t)bytes : sizeof have;
    if (!transfer(s->fd, false, 0, &have, known)) return io_error(e, false, "the header");
    if (bytes && have.magic != MAGIC)
        return err_set(e, ERR_FORMAT, "%s is not a spill file: name another path or remove it", path);
    const char *reason = unlike(&s->form, &have, bytes);
    if (reason && bytes) log_warn("kv", "spill file %s: %s: started afresh", path, reason);
    if (reason && !start_afresh(s, path, e)) return false;
    if (!preallocate(s, path, reason != NULL, e)) return false;
    if (st->st_mode & 077 && fchmod(s->fd, 0600) != 0)
        log_warn("kv", "spill file %s: others may read it: %s", path, strerror(errno));
    (void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_RANDOM); /* reads of what was asked for, no more */
    struct statfs fs;
    if (fstatfs(s->fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC))
        log_warn("kv", "spill file %s lies in memory (tmpfs): its %llu bytes are not in the books", path,
                 (unsigned long long)s->form.file_bytes);
    return true;
}

/* A second descriptor: labels are smaller than the blocks that O_DIRECT wants. */
static void open_direct(kv_spill *s, const char *path) {
    struct stat ours, opened;
    s->direct_fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (s->direct_fd < 0) return;
    if (fstat(s->fd, &ours) == 0 && fstat(s->direct_fd, &opened) == 0 && ours.st_dev == opened.st_dev &&
        ours.st_ino == opened.st_ino)
        return;
    close(s->direct_fd); /* the path names another file by now */
    s->direct_fd = -1;
}

static double middle(const double *of) {
    double low = of[0] < of[1] ? of[0] : of[1], high = of[0] < of[1] ? of[1] : of[0];
    return of[2] < low ? low : of[2] > high ? high : of[2];
}

/* One slot-sized payload written to the scratch slot and read back. */
static bool probe(kv_spill *s, uint64_t seed, double *write_ms, double *read_ms, err *e) {
    void *part = s->buffer;
    size_t bytes = (size_t)s->form.slot_bytes;
    for (size_t at = 0; at < bytes; at += sizeof seed) {
        uint64_t word = rng_splitmix(&seed);
        memcpy(s->buffer + at, &word, sizeof word);
    }
    uint64_t written = XXH3_64bits(part, bytes), start_ns = clock_now_ns();
    if (!payload_io(s, true, s->form.n_slots, &part, &bytes, 1)) return io_error(e, true, "the scratch slot");
    *write_ms = clock_ms_since(start_ns);
    memset(part, 0, bytes);
    start_ns = clock_now_ns();
    if (!payload_io(s, false, s->form.n_slots, &part, &bytes, 1)) return io_error(e, false, "the scratch slot");
    *read_ms = clock_ms_since(start_ns);
    if (XXH3_64bits(part, bytes) == written) return true;
    return err_set(e, ERR_IO, "the disk of the spill file returns other bytes than were written");
}

static bool measure(kv_spill *s, err *e) {
    double write_ms[PROBES], read_ms[PROBES], mib = (double)s->form.slot_bytes / (1 << 20);
    _Static_assert(PROBES == 3, "middle takes three");
    for (int i = 0; i < PROBES; i++) {
        uint64_t seed = clock_now_ns();
        if (probe(s, seed, &write_ms[i], &read_ms[i], e)) continue;
        if (s->direct_fd < 0) return false;
        close(s->direct_fd); /* some file systems take the flag and then refuse the transfer */
        s->direct_fd = -1;
        i = -1;
    }
    s->counts.write_ms_per_mib = middle(write_ms) / mib;
    s->counts.read_ms_per_mib = middle(read_ms) / mib;
    s->counts.direct = s->direct_fd >= 0;
    return true;
}

static bool start(kv_spill *s, const kv_spill_config *c, err *e) {
    struct stat st;
    if (!open_and_lock(s, c->path, &st, e) || !claim(s, c->path, &st, e) || !scan_labels(s, e)) return false;
    if (!c->buffered) open_direct(s, c->path);
    if (!measure(s, e)) return false;
    log_info("kv", "spill file %s: %u of %u slots of %llu bytes hold pages; %s, read %.3g and write %.3g ms a MiB",
             c->path, kv_spill_used(s), s->form.n_slots, (unsigned long long)s->form.slot_bytes,
             s->counts.direct ? "O_DIRECT" : "buffered", s->counts.read_ms_per_mib, s->counts.write_ms_per_mib);
    return true;
}

kv_spill *kv_spill_open(const kv_spill_config *c, mem_ledger *l, err *e) {
    header h = form_of(c);
    if (!h.n_slots) {
        err_set(e, ERR_INVALID, "a spill file of %llu bytes cannot hold pages of %zu bytes (a multiple of %d; two "
                "pages and %d bytes are the least)",
                (unsigned long long)c->file_bytes, c->page_bytes_max, BLOCK_BYTES, 2 * BLOCK_BYTES);
        return NULL;
    }
    mem_arena a = {0};
    if (!mem_arena_init(&a, l, MEM_SPILL, kv_spill_plan_bytes(c), false, e)) return NULL;
    kv_spill *s = layout(&a, &h);
    s->arena = a;
    if (start(s, c, e)) return s;
    kv_spill_close(s);
    return NULL;
}

void kv_spill_close(kv_spill *s) {
    if (!s) return;
    if (s->direct_fd >= 0) close(s->direct_fd);
    if (s->fd >= 0) close(s->fd); /* and unlocks */
    mem_arena arena = s->arena;   /* s lies in it */
    mem_arena_free(&arena);
}

/* ---- pages ---- */

uint32_t kv_spill_slots(const kv_spill *s) { return s->form.n_slots; }
uint32_t kv_spill_used(const kv_spill *s) { return s->form.n_slots - s->n_free; }

uint64_t kv_spill_serial(const kv_spill *s, uint32_t slot) {
    CHECK(slot < s->form.n_slots);
    return s->slots[slot].serial;
}

static record record_of(const kv_spill_label *l, uint64_t serial) {
    record r = {.serial = serial, .salt = {l->salt[0], l->salt[1]}, .parent_serial = l->parent_serial,
                .parent = l->parent, .depth = l->depth, .n_tokens = l->n_tokens, .kind = l->kind};
    memcpy(r.tokens, l->tokens, l->n_tokens * sizeof *l->tokens);
    return r;
}

static kv_spill_label label_of(const record *r) {
    kv_spill_label l = {.salt = {r->salt[0], r->salt[1]}, .parent = r->parent, .parent_serial = r->parent_serial,
                        .depth = r->depth, .n_tokens = r->n_tokens, .kind = r->kind,
                        .payload_bytes = r->payload_bytes};
    memcpy(l.tokens, r->tokens, sizeof l.tokens);
    return l;
}

/* Free again, and the last to be tried again: it may lie on a bad block. */
static uint32_t put_failed(kv_spill *s, uint32_t slot, uint64_t serial) {
    (void)bury(s, slot, serial, NULL);
    free_as_last(s, slot);
    return KV_SPILL_NONE;
}

uint32_t kv_spill_put(kv_spill *s, const kv_spill_label *label, const void *const *parts, const size_t *part_bytes,
                      int n_parts, err *e) {
    size_t bytes = sum_of(part_bytes, n_parts);
    CHECK(label->n_tokens >= 1 && label->n_tokens <= KV_SPILL_TOKENS && bytes >= 1 && bytes <= s->form.slot_bytes);
    if (!s->n_free) {
        err_set(e, ERR_BUSY, "all %u slots of the spill file hold pages", s->form.n_slots);
        return KV_SPILL_NONE;
    }
    uint32_t slot = take_free(s);
    record r = record_of(label, ++s->last_serial);
    r.payload_bytes = (uint32_t)bytes;
    r.payload_checksum = checksum_of(parts, part_bytes, n_parts);
    if (!bury(s, slot, r.serial, e)) return put_failed(s, slot, r.serial);
    if (!payload_io(s, true, slot, (void *const *)(uintptr_t)parts, part_bytes, n_parts)) {
        io_error(e, true, "a page");
        return put_failed(s, slot, r.serial);
    }
    if (!write_label(s, slot, &r, e)) return put_failed(s, slot, r.serial);
    s->slots[slot] = (slot_state){r.serial, r.payload_checksum, r.payload_bytes, r.depth};
    s->counts.written_pages++;
    return slot;
}

bool kv_spill_get(kv_spill *s, uint32_t slot, void *const *parts, const size_t *part_bytes, int n_parts, err *e) {
    CHECK(slot < s->form.n_slots && s->slots[slot].serial);
    const slot_state *state = &s->slots[slot];
    if (sum_of(part_bytes, n_parts) != state->payload_bytes) { /* a label from the file may say anything */
        s->counts.bad_pages++;
        return err_set(e, ERR_FORMAT, "slot %u of the spill file holds a page of %u bytes, not of %zu", slot,
                       state->payload_bytes, sum_of(part_bytes, n_parts));
    }
    if (!payload_io(s, false, slot, parts, part_bytes, n_parts)) return io_error(e, false, "a page");
    if (checksum_of((const void *const *)parts, part_bytes, n_parts) != state->payload_checksum) {
        s->counts.bad_pages++;
        return err_set(e, ERR_FORMAT, "slot %u of the spill file: the page is not what was written", slot);
    }
    s->counts.read_pages++;
    return true;
}

void kv_spill_drop(kv_spill *s, uint32_t slot) {
    CHECK(slot < s->form.n_slots && s->slots[slot].serial);
    err e = {0};
    /* If it stays on disk, it is still what its label says: a restart may find it, no one is misled. */
    if (!bury(s, slot, s->slots[slot].serial, &e)) log_warn("kv", "%s", e.message);
    s->slots[slot] = (slot_state){0};
    free_as_next(s, slot);
}

/* ---- restore ---- */

static bool read_label(const kv_spill *s, uint32_t slot, record *r) {
    return transfer(s->fd, false, label_at(slot), r, sizeof *r) && genuine(s, slot, r) && sound(s, slot, r) &&
           r->serial == s->slots[slot].serial && r->depth == s->slots[slot].depth;
}

/* Parents have been seen before: one that is gone by now was dropped. */
static bool hangs_together(const kv_spill *s, const record *r) {
    record parent;
    if (r->parent == KV_SPILL_NONE) return true;
    return s->slots[r->parent].serial == r->parent_serial && s->slots[r->parent].depth + 1 == r->depth &&
           read_label(s, r->parent, &parent) && parent.kind == r->kind &&
           !memcmp(parent.salt, r->salt, sizeof r->salt);
}

static void sort_by_depth(kv_spill *s) {
    uint32_t n = s->form.n_slots;
    for (uint32_t depth = 0; depth < n; depth++) s->first_of_depth[depth] = KV_SPILL_NONE;
    for (uint32_t slot = n; slot-- > 0;) {
        if (!s->slots[slot].serial) continue;
        uint32_t depth = s->slots[slot].depth;
        if (depth >= n) { /* as many others cannot be here */
            kv_spill_drop(s, slot);
            continue;
        }
        s->next_of_depth[slot] = s->first_of_depth[depth];
        s->first_of_depth[depth] = slot;
    }
}

void kv_spill_restore(kv_spill *s, bool (*each)(void *ctx, uint32_t slot, const kv_spill_label *label), void *ctx) {
    sort_by_depth(s);
    for (uint32_t depth = 0; depth < s->form.n_slots; depth++) {
        for (uint32_t slot = s->first_of_depth[depth]; slot != KV_SPILL_NONE; slot = s->next_of_depth[slot]) {
            record r;
            bool stays = read_label(s, slot, &r) && hangs_together(s, &r);
            if (stays) {
                kv_spill_label label = label_of(&r);
                stays = each(ctx, slot, &label);
            }
            if (!stays) kv_spill_drop(s, slot);
        }
    }
    (void)posix_fadvise(s->fd, 0, (off_t)payload_at(&s->form, 0), POSIX_FADV_DONTNEED);
}

void kv_spill_read(const kv_spill *s, kv_spill_counts *out) {
    *out = s->counts;
    out->slots = s->form.n_slots;
    out->used = kv_spill_used(s);
    out->file_bytes = s->form.file_bytes;
}
