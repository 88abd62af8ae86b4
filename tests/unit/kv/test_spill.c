/* The spill file: what was put comes back or is known to be lost, across restarts, damage and sudden ends. */
#include "../test.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/rng.h"
#include "kv/spill.h"
#include "plat/vm.h"

enum { PAGE_BYTES = 12288, PART_BYTES = 4096, PARTS = 3, LABEL_BYTES = 256, SLOTS = 16 };
enum { FILE_BYTES = 4096 + 4096 + (SLOTS + 1) * PAGE_BYTES };

static char folder[64], path[128];
static uint8_t *memory; /* 4 KiB aligned: a page to write, a page to read, and a block */
static bool buffered;   /* each test runs both ways */

static kv_spill_config config_of(void) {
    return (kv_spill_config){.path = path, .file_bytes = FILE_BYTES, .identity = {0x1234, 0x5678},
                             .page_bytes_max = PAGE_BYTES, .buffered = buffered};
}

typedef struct fixture {
    mem_ledger ledger;
    kv_spill *spill;
} fixture;

static uint64_t row(fixture *f) {
    mem_ledger_view v;
    mem_ledger_read(&f->ledger, &v);
    assert_int_equal(v.now_bytes, v.rows[MEM_SPILL].now_bytes);
    return v.now_bytes;
}

static void open_as(fixture *f, kv_spill_config c) {
    err e = {0};
    mem_ledger_init(&f->ledger, UINT64_MAX);
    assert_ok(f->spill = kv_spill_open(&c, &f->ledger, &e), e);
    assert_int_equal(row(f), kv_spill_plan_bytes(&c));
}

static void open_file(fixture *f) { open_as(f, config_of()); }

static void close_file(fixture *f) {
    kv_spill_close(f->spill);
    assert_int_equal(row(f), 0);
}

static void new_file(fixture *f) {
    (void)unlink(path);
    open_file(f);
    assert_int_equal(kv_spill_slots(f->spill), SLOTS);
    assert_int_equal(kv_spill_used(f->spill), 0);
}

/* ---- pages told by a number ---- */

static void fill(uint8_t *at, size_t bytes, uint64_t mark) {
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = rng_splitmix(&mark);
        memcpy(at + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
}

static kv_spill_label label_of(int32_t mark, uint32_t parent, uint64_t parent_serial, uint32_t depth) {
    kv_spill_label l = {.salt = {7, 9}, .parent = parent, .parent_serial = parent_serial, .depth = depth,
                        .n_tokens = KV_SPILL_TOKENS, .kind = 2};
    for (int i = 0; i < KV_SPILL_TOKENS; i++) l.tokens[i] = mark + i;
    return l;
}

static uint32_t put_label(kv_spill *s, const kv_spill_label *l, err *e) {
    const void *parts[PARTS];
    size_t bytes[PARTS];
    fill(memory, PAGE_BYTES, (uint64_t)l->tokens[0]);
    for (int i = 0; i < PARTS; i++) {
        parts[i] = memory + i * PART_BYTES;
        bytes[i] = PART_BYTES;
    }
    return kv_spill_put(s, l, parts, bytes, PARTS, e);
}

static uint32_t put_below(kv_spill *s, int32_t mark, uint32_t parent, uint32_t depth) {
    err e = {0};
    kv_spill_label l = label_of(mark, parent, parent == KV_SPILL_NONE ? 0 : kv_spill_serial(s, parent), depth);
    uint32_t slot = put_label(s, &l, &e);
    if (slot == KV_SPILL_NONE) fail_msg("put: %s", e.message);
    return slot;
}

static uint32_t put(kv_spill *s, int32_t mark) { return put_below(s, mark, KV_SPILL_NONE, 0); }

static bool get(kv_spill *s, uint32_t slot, err *e) {
    void *parts[PARTS];
    size_t bytes[PARTS];
    memset(memory + PAGE_BYTES, 0xEE, PAGE_BYTES);
    for (int i = 0; i < PARTS; i++) {
        parts[i] = memory + PAGE_BYTES + i * PART_BYTES;
        bytes[i] = PART_BYTES;
    }
    return kv_spill_get(s, slot, parts, bytes, PARTS, e);
}

static void assert_holds(kv_spill *s, uint32_t slot, int32_t mark) {
    err e = {0};
    assert_ok(get(s, slot, &e), e);
    fill(memory, PAGE_BYTES, (uint64_t)mark);
    assert_memory_equal(memory + PAGE_BYTES, memory, PAGE_BYTES);
}

static void assert_bad(kv_spill *s, uint32_t slot) {
    kv_spill_counts before, after;
    err e = {0};
    kv_spill_read(s, &before);
    assert_false(get(s, slot, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    kv_spill_read(s, &after);
    assert_int_equal(after.bad_pages, before.bad_pages + 1);
    assert_int_equal(after.read_pages, before.read_pages);
}

/* ---- what a restart finds ---- */

typedef struct finds {
    kv_spill *spill;
    uint32_t n;
    uint32_t slots[SLOTS];
    kv_spill_label labels[SLOTS];
    int32_t refuse; /* the page of this mark */
} finds;

static bool find(void *ctx, uint32_t slot, const kv_spill_label *l) {
    finds *f = ctx;
    assert_true(f->n < SLOTS && slot < SLOTS);
    bool parent_seen = l->parent == KV_SPILL_NONE && l->depth == 0;
    for (uint32_t i = 0; i < f->n; i++) {
        assert_int_not_equal(f->slots[i], slot);
        if (f->slots[i] == l->parent) parent_seen = f->labels[i].depth + 1 == l->depth;
    }
    assert_true(parent_seen);
    if (f->refuse && l->tokens[0] == f->refuse) return false;
    f->slots[f->n] = slot;
    f->labels[f->n++] = *l;
    return true;
}

static void restore(fixture *f, finds *out, int32_t refuse) {
    *out = (finds){.spill = f->spill, .refuse = refuse};
    kv_spill_restore(f->spill, find, out);
    assert_int_equal(kv_spill_used(f->spill), out->n);
}

static bool has(const finds *f, int32_t mark) {
    for (uint32_t i = 0; i < f->n; i++)
        if (f->labels[i].tokens[0] == mark) return true;
    return false;
}

/* ---- the file, by someone who knows its format for himself ---- */

static void at_file(bool write, long at, void *data, size_t bytes) {
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(write ? pwrite(fd, data, bytes, at) : pread(fd, data, bytes, at), bytes);
    if (write) assert_int_equal(fsync(fd), 0);
    close(fd);
}

static void flip(long at) {
    uint8_t byte;
    at_file(false, at, &byte, 1);
    byte ^= 0x10;
    at_file(true, at, &byte, 1);
}

static long label_at(uint32_t slot) { return 4096 + (long)slot * LABEL_BYTES; }
static long payload_at(uint32_t slot) { return 8192 + (long)slot * PAGE_BYTES; }

/* Changes bytes of a label and makes its checksum right again. */
static void forge(uint32_t slot, size_t offset, const void *bytes, size_t n) {
    uint8_t r[LABEL_BYTES];
    at_file(false, label_at(slot), r, sizeof r);
    memcpy(r + offset, bytes, n);
    uint64_t sum = XXH3_64bits_withSeed(r, 248, 0x1234 ^ (0x5678 << 1) ^ ((uint64_t)slot << 32));
    memcpy(r + 248, &sum, 8);
    at_file(true, label_at(slot), r, sizeof r);
}

enum { AT_SERIAL = 0, AT_SALT = 16, AT_PARENT_SERIAL = 32, AT_PARENT = 40, AT_DEPTH = 44, AT_PAYLOAD_BYTES = 48,
       AT_N_TOKENS = 52, AT_KIND = 54 };

/* ---- tests ---- */

static void a_page_comes_back(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, FILE_BYTES);
    assert_true(st.st_blocks * 512 >= FILE_BYTES); /* preallocated */
    assert_int_equal(st.st_mode & 0777, 0600);
    uint32_t slots[SLOTS];
    for (int32_t i = 0; i < SLOTS; i++) {
        slots[i] = put(f.spill, 100 + i);
        assert_true(slots[i] < SLOTS);
        for (int32_t k = 0; k < i; k++)
            assert_true(slots[i] != slots[k] &&
                        kv_spill_serial(f.spill, slots[i]) > kv_spill_serial(f.spill, slots[k]));
    }
    err e = {0};
    kv_spill_label l = label_of(1, KV_SPILL_NONE, 0, 0);
    assert_int_equal(put_label(f.spill, &l, &e), KV_SPILL_NONE);
    assert_int_equal(e.code, ERR_BUSY);
    for (int32_t i = SLOTS; i-- > 0;) assert_holds(f.spill, slots[i], 100 + i);
    uint64_t serial = kv_spill_serial(f.spill, slots[3]);
    kv_spill_drop(f.spill, slots[3]);
    assert_int_equal(kv_spill_serial(f.spill, slots[3]), 0);
    assert_int_equal(put(f.spill, 500), slots[3]);
    assert_true(kv_spill_serial(f.spill, slots[3]) > serial);
    assert_holds(f.spill, slots[3], 500);
    kv_spill_counts c;
    kv_spill_read(f.spill, &c);
    assert_int_equal(c.slots, SLOTS);
    assert_int_equal(c.used, SLOTS);
    assert_int_equal(c.file_bytes, FILE_BYTES);
    assert_int_equal(c.written_pages, SLOTS + 1);
    assert_int_equal(c.read_pages, SLOTS + 1);
    assert_int_equal(c.bad_pages, 0);
    assert_true(c.read_ms_per_mib > 0 && c.write_ms_per_mib > 0);
    if (buffered) assert_false(c.direct);
    close_file(&f);
}

/* Parts of any size and place; other sizes than were written are refused. */
static void odd_parts_go_by_way_of_the_buffer(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    static const size_t sizes[][2] = {{1, 0}, {1, 4096}, {4095, 4097}, {4096, 100}, {5000, PAGE_BYTES - 5000}};
    kv_spill_label l = label_of(1, KV_SPILL_NONE, 0, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        err e = {0};
        size_t a = sizes[i][0], b = sizes[i][1];
        fill(memory, PAGE_BYTES, i);
        const void *in[2] = {memory, memory + a};
        uint32_t slot = kv_spill_put(f.spill, &l, in, sizes[i], 2, &e);
        assert_int_not_equal(slot, KV_SPILL_NONE);
        uint8_t *back = memory + PAGE_BYTES + 1;
        memset(back, 0xEE, PAGE_BYTES);
        void *out[2] = {back, back + a};
        assert_ok(kv_spill_get(f.spill, slot, out, sizes[i], 2, &e), e);
        assert_memory_equal(back, memory, a + b);
        if (a + b < PAGE_BYTES) assert_int_equal(back[a + b], 0xEE);
        size_t other[2] = {a, b + 1};
        assert_false(kv_spill_get(f.spill, slot, out, other, 2, &e));
        assert_int_equal(e.code, ERR_FORMAT);
        assert_non_null(strstr(e.message, "holds a page of"));
    }
    close_file(&f);
}

/* A small tree, its slots in another order than its depths, comes back whole; what was dropped does not. */
static void a_restart_finds_parents_first(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    uint32_t high[4];
    for (int32_t i = 0; i < 4; i++) high[i] = put(f.spill, 900 + i);
    uint32_t root = put(f.spill, 1), child = put_below(f.spill, 2, root, 1);
    for (int32_t i = 0; i < 4; i++) kv_spill_drop(f.spill, high[i]);
    uint32_t grandchild = put_below(f.spill, 3, child, 2);
    assert_true(grandchild < child);
    put(f.spill, 4);
    put_below(f.spill, 5, root, 1);
    uint64_t last = kv_spill_serial(f.spill, put(f.spill, 6));
    kv_spill_label wanted = label_of(3, child, kv_spill_serial(f.spill, child), 2);
    wanted.payload_bytes = PAGE_BYTES;
    close_file(&f);

    open_file(&f);
    assert_int_equal(kv_spill_used(f.spill), 6);
    finds found;
    restore(&f, &found, 0);
    assert_int_equal(found.n, 6);
    for (uint32_t i = 0; i < found.n; i++) {
        if (i) assert_true(found.labels[i].depth >= found.labels[i - 1].depth);
        assert_holds(f.spill, found.slots[i], found.labels[i].tokens[0]);
        if (found.slots[i] != grandchild) continue;
        assert_memory_equal(found.labels[i].salt, wanted.salt, sizeof wanted.salt);
        assert_memory_equal(found.labels[i].tokens, wanted.tokens, sizeof wanted.tokens);
        assert_int_equal(found.labels[i].parent_serial, wanted.parent_serial);
        assert_int_equal(found.labels[i].kind, wanted.kind);
        assert_int_equal(found.labels[i].n_tokens, wanted.n_tokens);
        assert_int_equal(found.labels[i].payload_bytes, wanted.payload_bytes);
    }
    assert_true(kv_spill_serial(f.spill, put(f.spill, 7)) > last);
    close_file(&f);

    open_file(&f);
    restore(&f, &found, 2); /* its child 3 cannot stay either */
    assert_int_equal(found.n, 5);
    assert_false(has(&found, 3));
    close_file(&f);

    open_file(&f);
    restore(&f, &found, 0);
    assert_int_equal(found.n, 5); /* what was refused is gone from the disk */
    close_file(&f);
}

/* The serial of a page that was dropped last is not given out again after a restart. */
static void serials_are_not_used_twice(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    uint32_t root = put(f.spill, 1);
    uint64_t serial = kv_spill_serial(f.spill, root);
    kv_spill_drop(f.spill, root);
    close_file(&f);
    open_file(&f);
    assert_true(kv_spill_serial(f.spill, put(f.spill, 2)) > serial);
    close_file(&f);
}

static void damage_is_found(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    uint32_t a = put(f.spill, 1), b = put(f.spill, 2), c = put(f.spill, 3);
    flip(payload_at(a) + 5000);
    flip(payload_at(b) + PAGE_BYTES - 1);
    assert_bad(f.spill, a);
    assert_bad(f.spill, b);
    assert_holds(f.spill, c, 3);
    close_file(&f);
    open_file(&f);
    finds found;
    restore(&f, &found, 0);
    assert_int_equal(found.n, 3); /* labels are whole; the payload is checked when it is wanted */
    assert_bad(f.spill, a);
    kv_spill_drop(f.spill, a);
    put(f.spill, 4);
    assert_holds(f.spill, a, 4);
    close_file(&f);
}

static void each_byte_of_a_label_counts(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    uint32_t root = put(f.spill, 1), child = put_below(f.spill, 2, root, 1), other = put(f.spill, 3);
    assert_int_not_equal(child, other);
    close_file(&f);
    uint8_t whole[FILE_BYTES];
    at_file(false, 0, whole, sizeof whole);
    for (int at = 0; at < LABEL_BYTES; at += 3) {
        flip(label_at(root) + at);
        open_file(&f);
        finds found;
        restore(&f, &found, 0);
        assert_int_equal(found.n, 1); /* nor its child */
        assert_true(has(&found, 3));
        close_file(&f);
        at_file(true, 0, whole, sizeof whole);
    }
    /* A genuine label in another place is none. */
    at_file(true, label_at(9), whole + label_at(other), LABEL_BYTES);
    open_file(&f);
    assert_int_equal(kv_spill_used(f.spill), 3);
    close_file(&f);
}

/* Labels whose checksum is right and that lie. */
static void forged_labels_are_dropped(void **state) {
    (void)state;
    static const uint16_t n_tokens[] = {0, KV_SPILL_TOKENS + 1, 65535};
    static const uint32_t payload_bytes[] = {0, PAGE_BYTES + 1, UINT32_MAX}, depth[] = {0, 2, SLOTS, UINT32_MAX},
                          parent[] = {1, 2, SLOTS, UINT32_MAX - 1, KV_SPILL_NONE};
    static const uint64_t parent_serial[] = {0, 2, 3, UINT64_MAX}, serial[] = {0, UINT64_MAX, 1}, salt[] = {8};
    static const uint8_t kind[] = {3};
    static const struct lie {
        size_t at, bytes, n;
        const void *values;
    } lies[] = {{AT_N_TOKENS, 2, 3, n_tokens}, {AT_PAYLOAD_BYTES, 4, 3, payload_bytes}, {AT_DEPTH, 4, 4, depth},
                {AT_PARENT, 4, 5, parent}, {AT_PARENT_SERIAL, 8, 4, parent_serial}, {AT_SERIAL, 8, 3, serial},
                {AT_SALT, 8, 1, salt}, {AT_SALT + 8, 8, 1, salt}, {AT_KIND, 1, 1, kind}};
    for (const struct lie *lie = lies; lie < lies + sizeof lies / sizeof *lies; lie++) {
        for (size_t i = 0; i < lie->n; i++) {
            fixture f;
            new_file(&f);
            uint32_t root = put(f.spill, 1), child = put_below(f.spill, 2, root, 1);
            put_below(f.spill, 3, child, 2);
            assert_int_equal(child, 1);
            close_file(&f);
            forge(child, lie->at, (const uint8_t *)lie->values + i * lie->bytes, lie->bytes);
            open_file(&f);
            finds found;
            restore(&f, &found, 0);
            if (found.n != 1 || !has(&found, 1)) fail_msg("value %zu at %zu: %u pages", i, lie->at, found.n);
            uint32_t slot = put(f.spill, 4); /* goes on */
            assert_holds(f.spill, slot, 4);
            close_file(&f);
        }
    }
}

/* The parent's slot was used for another page since: its child does not hang from that. */
static void a_child_of_a_dropped_parent_goes(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    uint32_t root = put(f.spill, 1);
    put_below(f.spill, 2, root, 1);
    kv_spill_drop(f.spill, root);
    assert_int_equal(put(f.spill, 3), root);
    close_file(&f);
    open_file(&f);
    finds found;
    restore(&f, &found, 0);
    assert_int_equal(found.n, 1);
    assert_true(has(&found, 3));
    close_file(&f);
}

/* Pages deeper than the file has slots are kept while the process lives, and not found again. */
static void depth_has_no_limit_while_it_runs(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    uint32_t root = put(f.spill, 1), deep = put_below(f.spill, 2, root, 1000000);
    assert_holds(f.spill, deep, 2);
    finds found;
    restore(&f, &found, 0);
    assert_int_equal(found.n, 1);
    close_file(&f);
}

/* What goes through the file does not stay in the page cache, which the process's cgroup pays for. */
static void nothing_stays_in_the_page_cache(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    struct statfs fs;
    assert_int_equal(statfs(folder, &fs), 0);
    for (int32_t i = 0; i < SLOTS; i++) assert_holds(f.spill, put(f.spill, 1 + i), 1 + i);
    int fd = open(path, O_RDWR);
    size_t bytes = SLOTS * PAGE_BYTES, resident = 0;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, payload_at(0));
    assert_ptr_not_equal(map, MAP_FAILED);
    unsigned char present[SLOTS * PAGE_BYTES / 4096];
    assert_int_equal(mincore(map, bytes, present), 0);
    for (size_t i = 0; i < sizeof present; i++) resident += present[i] & 1u;
    if (fs.f_type != TMPFS_MAGIC) assert_int_equal(resident, 0);
    assert_int_equal(munmap(map, bytes), 0);
    close(fd);
    close_file(&f);
}

static void another_file_is_started_afresh(void **state) {
    (void)state;
    for (int what = 0; what < 8; what++) {
        fixture f;
        new_file(&f);
        put(f.spill, 1);
        close_file(&f);
        kv_spill_config c = config_of();
        uint32_t version = 1; /* of another day */
        if (what == 0) c.identity[1]++;
        if (what == 1) c.page_bytes_max = 4096;
        if (what == 2) c.file_bytes += PAGE_BYTES + 4096;
        if (what == 3) at_file(true, 8, &version, sizeof version);
        if (what == 4) flip(50); /* the checksum of the header */
        if (what == 5) assert_int_equal(truncate(path, FILE_BYTES / 2), 0);
        if (what == 6) assert_int_equal(truncate(path, 20), 0);
        if (what == 7) assert_int_equal(truncate(path, FILE_BYTES + 1), 0);
        open_as(&f, c);
        assert_int_equal(kv_spill_used(f.spill), 0);
        uint32_t slot = c.page_bytes_max == PAGE_BYTES ? put(f.spill, 2) : 0;
        close_file(&f);
        open_as(&f, c);
        finds found;
        restore(&f, &found, 0);
        assert_int_equal(found.n, c.page_bytes_max == PAGE_BYTES);
        if (found.n) assert_holds(f.spill, slot, 2);
        close_file(&f);
    }
}

/* Once another model had the file, nothing of the first is found, even if the other put nothing in. */
static void it_is_the_last_ones_file(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    put(f.spill, 1);
    close_file(&f);
    kv_spill_config c = config_of();
    c.identity[0]++;
    open_as(&f, c);
    close_file(&f);
    open_file(&f);
    assert_int_equal(kv_spill_used(f.spill), 0);
    close_file(&f);
}

static void refuses(kv_spill_config c, err_code code, const char *reason) {
    mem_ledger l;
    err e = {0};
    mem_ledger_init(&l, UINT64_MAX);
    assert_null(kv_spill_open(&c, &l, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.message, reason)) fail_msg("\"%s\" does not say \"%s\"", e.message, reason);
    mem_ledger_view v;
    mem_ledger_read(&l, &v);
    assert_int_equal(v.now_bytes, 0);
}

static void what_is_not_a_spill_file_is_left_alone(void **state) {
    (void)state;
    (void)unlink(path);
    static char other[5000] = "GGUF is somebody's model";
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, other, sizeof other), sizeof other);
    close(fd);
    refuses(config_of(), ERR_FORMAT, "not a spill file");
    char back[5000];
    at_file(false, 0, back, sizeof back);
    assert_memory_equal(back, other, sizeof other);
    kv_spill_config c = config_of();
    c.path = folder;
    refuses(c, ERR_IO, "directory");
    c.path = "/dev/null";
    refuses(c, ERR_IO, "regular");
    char absent[160];
    snprintf(absent, sizeof absent, "%s/no/file", folder);
    c.path = absent;
    refuses(c, ERR_NOT_FOUND, "No such file");
    (void)unlink(path);
}

static void sizes_that_cannot_be(void **state) {
    (void)state;
    static const struct { uint64_t file_bytes; size_t page_bytes; } sizes[] = {
        {FILE_BYTES, 0}, {FILE_BYTES, 4095}, {FILE_BYTES, 1}, {0, 4096}, {4096, 4096}, {4 * 4096 - 1, 4096},
        {UINT64_MAX, SIZE_MAX & ~(size_t)4095}, {PAGE_BYTES, PAGE_BYTES}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        kv_spill_config c = config_of();
        c.file_bytes = sizes[i].file_bytes;
        c.page_bytes_max = sizes[i].page_bytes;
        refuses(c, ERR_INVALID, "cannot hold");
        assert_int_equal(access(path, F_OK), -1);
    }
    fixture f;
    kv_spill_config least = config_of();
    least.file_bytes = 4 * 4096;
    least.page_bytes_max = 4096;
    open_as(&f, least);
    assert_int_equal(kv_spill_slots(f.spill), 1);
    close_file(&f);
    (void)unlink(path);
}

/* The file is at most what was granted, and wastes less than a page and a block of labels. */
static void the_file_is_as_large_as_granted(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 5);
    for (int i = 0; i < 40; i++) {
        fixture f;
        kv_spill_counts counts;
        kv_spill_config c = config_of();
        c.page_bytes_max = 4096 * (1 + rng_next(&r) % 4);
        c.file_bytes = 4 * c.page_bytes_max + rng_next(&r) % 2000000;
        (void)unlink(path);
        open_as(&f, c);
        kv_spill_read(f.spill, &counts);
        assert_true(counts.file_bytes <= c.file_bytes);
        assert_true(c.file_bytes - counts.file_bytes < 2 * (c.page_bytes_max + 4096));
        close_file(&f);
    }
    (void)unlink(path);
}

/* More than any disk has: refused with the figures, and nothing stays taken. */
static void a_disk_without_room(void **state) {
    (void)state;
    struct statvfs disk;
    assert_int_equal(statvfs(folder, &disk), 0);
    kv_spill_config c = config_of();
    c.page_bytes_max = 1 << 26; /* few slots: the tables are small */
    c.file_bytes = ((uint64_t)disk.f_blocks * disk.f_frsize) + ((uint64_t)1 << 32);
    refuses(c, ERR_IO, "free");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(st.st_blocks, 0);
    fixture f; /* and the empty file is used by one that fits */
    open_file(&f);
    close_file(&f);
}

/* What it holds is what was said: one that others could read is theirs no longer, new or old, whatever the mask. */
static void nobody_else_may_read_it(void **state) {
    (void)state;
    static const mode_t before[] = {0, 0644, 0660, 0602, 0777};
    mode_t mask = umask(0);
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        fixture f;
        struct stat st;
        new_file(&f);
        if (before[i]) {
            close_file(&f);
            assert_int_equal(chmod(path, before[i]), 0);
            open_file(&f);
        }
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        close_file(&f);
    }
    umask(mask);
}

static void one_server_a_file(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    uint32_t slot = put(f.spill, 1);
    refuses(config_of(), ERR_BUSY, "another server");
    kv_spill_config c = config_of();
    c.identity[0]++; /* nor is it started afresh under the other's feet */
    refuses(c, ERR_BUSY, "another server");
    assert_holds(f.spill, slot, 1);
    close_file(&f);
    open_file(&f);
    assert_int_equal(kv_spill_used(f.spill), 1);
    close_file(&f);
}

/* The disk refuses payloads (a limit on file sizes stands in for it): slots stay free, what was there stays. */
static void a_failed_write_leaves_the_slot_free(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    uint32_t first = put(f.spill, 1), slots[SLOTS];
    for (int32_t i = 1; i < SLOTS; i++) slots[i] = put(f.spill, 1 + i);
    for (int32_t i = 1; i < SLOTS; i++) kv_spill_drop(f.spill, slots[i]); /* the bad ones are tried first */
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){(rlim_t)payload_at(SLOTS / 2), before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    uint32_t failed = 0, stored = 0;
    for (int32_t i = 0; i < 2 * SLOTS; i++) {
        err e = {0};
        kv_spill_label l = label_of(10 + i, KV_SPILL_NONE, 0, 0);
        uint32_t slot = put_label(f.spill, &l, &e);
        if (slot != KV_SPILL_NONE) {
            stored++;
            assert_true(slot < SLOTS / 2);
            continue;
        }
        failed++;
        assert_int_equal(e.code, ERR_IO);
        assert_int_equal(kv_spill_used(f.spill), 1 + stored);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(stored, SLOTS / 2 - 1);
    assert_int_equal(failed, 2 * SLOTS - stored);
    assert_holds(f.spill, first, 1);
    close_file(&f);
    open_file(&f);
    finds found;
    restore(&f, &found, 0);
    assert_int_equal(found.n, 1 + stored);
    for (uint32_t i = 0; i < found.n; i++) assert_holds(f.spill, found.slots[i], found.labels[i].tokens[0]);
    while (kv_spill_used(f.spill) < SLOTS) put(f.spill, 99);
    close_file(&f);
}

/* The file cut short under a running process: errors, and nothing else. */
static void a_file_that_shrinks(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    uint32_t slot = put(f.spill, 1);
    assert_int_equal(truncate(path, 4096), 0);
    err e = {0};
    assert_false(get(f.spill, slot, &e));
    assert_true(e.code == ERR_IO || e.code == ERR_FORMAT);
    finds found;
    restore(&f, &found, 0);
    assert_int_equal(found.n, 0);
    close_file(&f);
}

_Noreturn static void write_until_killed(uint64_t seed) {
    fixture f;
    rng r;
    rng_seed(&r, seed);
    open_file(&f);
    finds found;
    restore(&f, &found, 0);
    uint32_t live[SLOTS], depth[SLOTS], n = 0;
    for (uint32_t i = 0; i < found.n; i++) {
        live[n] = found.slots[i];
        depth[n++] = found.labels[i].depth;
    }
    for (int32_t mark = (int32_t)(seed * 1000000);; mark++) {
        uint64_t what = rng_next(&r);
        if (n == SLOTS || (n && what % 3 == 0)) {
            uint32_t at = (uint32_t)(what >> 8) % n;
            kv_spill_drop(f.spill, live[at]);
            live[at] = live[--n];
            depth[at] = depth[n];
        } else {
            uint32_t at = n ? (uint32_t)(what >> 8) % n : 0;
            bool root = !n || what & 128;
            depth[n] = root ? 0 : depth[at] + 1;
            live[n] = put_below(f.spill, mark, root ? KV_SPILL_NONE : live[at], depth[n]);
            n++;
        }
    }
}

static void killed_at_any_moment(void **state) {
    (void)state;
    (void)unlink(path);
    uint32_t restored = 0;
    for (uint64_t round = 1; round <= 12; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) write_until_killed(round);
        usleep((useconds_t)(15000 + round * 2711));
        assert_int_equal(kill(child, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* not an assertion of its own */
        fixture f;
        open_file(&f);
        finds found;
        restore(&f, &found, 0);
        for (uint32_t i = 0; i < found.n; i++) assert_holds(f.spill, found.slots[i], found.labels[i].tokens[0]);
        restored += found.n;
        close_file(&f);
    }
    assert_true(restored > 0);
}

static void each_refusal_of_memory_leaves_nothing(void **state) {
    (void)state;
    fixture f;
    new_file(&f);
    put(f.spill, 1);
    close_file(&f);
    kv_spill_config c = config_of();
    uint64_t n = 1;
    for (;; n++) {
        err e = {0};
        mem_ledger_init(&f.ledger, UINT64_MAX);
        mem_ledger_fail_nth(&f.ledger, n);
        if ((f.spill = kv_spill_open(&c, &f.ledger, &e))) break;
        assert_int_equal(e.code, ERR_MEMORY);
        assert_int_equal(row(&f), 0);
    }
    assert_int_equal(n, 2); /* all of it is one reservation */
    assert_int_equal(kv_spill_used(f.spill), 1);
    close_file(&f);
    mem_ledger_init(&f.ledger, kv_spill_plan_bytes(&c) - 1);
    err e = {0};
    assert_null(kv_spill_open(&c, &f.ledger, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    mem_ledger_init(&f.ledger, kv_spill_plan_bytes(&c));
    assert_ok(f.spill = kv_spill_open(&c, &f.ledger, &e), e);
    close_file(&f);
}

static int start(void **state) {
    (void)state;
    strcpy(folder, "/tmp/plimsoll-spill-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/spill", folder);
    err e = {0};
    memory = plat_vm_alloc(2 * PAGE_BYTES + 4096, false, &e);
    return memory ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    plat_vm_free(memory, 2 * PAGE_BYTES + 4096);
    (void)unlink(path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_comes_back),
        cmocka_unit_test(odd_parts_go_by_way_of_the_buffer),
        cmocka_unit_test(a_restart_finds_parents_first),
        cmocka_unit_test(serials_are_not_used_twice),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(each_byte_of_a_label_counts),
        cmocka_unit_test(forged_labels_are_dropped),
        cmocka_unit_test(a_child_of_a_dropped_parent_goes),
        cmocka_unit_test(depth_has_no_limit_while_it_runs),
        cmocka_unit_test(nothing_stays_in_the_page_cache),
        cmocka_unit_test(another_file_is_started_afresh),
        cmocka_unit_test(it_is_the_last_ones_file),
        cmocka_unit_test(what_is_not_a_spill_file_is_left_alone),
        cmocka_unit_test(sizes_that_cannot_be),
        cmocka_unit_test(the_file_is_as_large_as_granted),
        cmocka_unit_test(a_disk_without_room),
        cmocka_unit_test(nobody_else_may_read_it),
        cmocka_unit_test(one_server_a_file),
        cmocka_unit_test(a_failed_write_leaves_the_slot_free),
        cmocka_unit_test(a_file_that_shrinks),
        cmocka_unit_test(killed_at_any_moment),
        cmocka_unit_test(each_refusal_of_memory_leaves_nothing),
    };
    log_set_level(LOG_ERROR);
    int failed = cmocka_run_group_tests_name("kv_spill", tests, start, end);
    buffered = true;
    return failed + cmocka_run_group_tests_name("kv_spill, buffered", tests, start, end);
}
