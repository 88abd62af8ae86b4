// links: mem
/* A spill file of arbitrary labels: opened, restored, read, written. Labels come from the input as they are, and,
 * where it says so, with a checksum that is right: what is checked beyond it is the target. */
#define XXH_INLINE_ALL /* the room kv itself would bring all kernels */
#include "kv/spill.c"

#include <stdio.h>
#include <sys/mman.h>

enum { SLOT_BYTES = BLOCK_BYTES, N_SLOTS = 15, STEP_BYTES = 8 };

static uint64_t shown[N_SLOTS]; /* serials of what restore has shown so far */

static bool each(void *ctx, uint32_t slot, const kv_spill_label *l) {
    const kv_spill *s = ctx;
    CHECK(slot < N_SLOTS && !shown[slot] && l->n_tokens >= 1 && l->n_tokens <= KV_SPILL_TOKENS);
    CHECK(l->payload_bytes >= 1 && l->payload_bytes <= SLOT_BYTES && l->depth < N_SLOTS);
    if (l->parent != KV_SPILL_NONE) {
        CHECK(l->parent < N_SLOTS && shown[l->parent] && shown[l->parent] == l->parent_serial);
        CHECK(s->slots[l->parent].depth + 1 == l->depth);
    } else {
        CHECK(l->depth == 0);
    }
    if (l->tokens[0] == 'x') return false;
    shown[slot] = kv_spill_serial(s, slot);
    return true;
}

static void use(kv_spill *s) {
    static uint8_t page[SLOT_BYTES];
    kv_spill_label label = {.parent = KV_SPILL_NONE, .n_tokens = 1};
    for (uint32_t slot = 0; slot < N_SLOTS; slot++) {
        if (!s->slots[slot].serial) continue;
        void *part = page;
        size_t bytes = s->slots[slot].payload_bytes;
        CHECK(shown[slot]);
        (void)kv_spill_get(s, slot, &part, &bytes, 1, NULL);
        bytes = SLOT_BYTES - bytes;
        if (bytes) CHECK(bytes == s->slots[slot].payload_bytes || !kv_spill_get(s, slot, &part, &bytes, 1, NULL));
    }
    const void *part = page;
    size_t bytes = 100;
    while (kv_spill_used(s) < N_SLOTS) {
        uint32_t slot = kv_spill_put(s, &label, &part, &bytes, 1, NULL);
        void *back = page;
        CHECK(slot < N_SLOTS && kv_spill_get(s, slot, &back, &bytes, 1, NULL));
    }
}

/* Eight bytes say a label that is nearly right: a tree comes about by itself, and a wrong number by one bit. */
static record small_label(const uint8_t b[STEP_BYTES]) {
    bool child = b[3] & 7;
    return (record){.serial = b[0] & 31, .parent = child ? b[1] & 15 : KV_SPILL_NONE, .parent_serial = b[2] & 31,
                    .depth = (b[3] & 7) + (b[3] & 128 ? 8u : 0), .n_tokens = (uint16_t)((b[4] & 63) ^ 32),
                    .kind = b[5] & 1, .salt = {b[5] >> 7}, .payload_bytes = (b[6] ^ 1u) + (b[6] & 128 ? 3900u : 0),
                    .tokens = {b[7]}};
}

/* Each label of the input: a byte that says where it goes, whether it is a small one and whether it is sealed, then
 * its bytes. */
static void scatter(kv_spill *s, const uint8_t *data, size_t size) {
    while (size > STEP_BYTES) {
        record r = small_label(data + 1);
        bool small = !(data[0] & 64), sealed = !(data[0] & 128);
        size_t n = small ? STEP_BYTES : size - 1 < sizeof r ? size - 1 : sizeof r;
        uint32_t slot = data[0] % 16 % N_SLOTS;
        if (!small) memcpy(&r, data + 1, n);
        if (sealed) CHECK(write_label(s, slot, &r, NULL));
        else CHECK(transfer(s->fd, true, label_at(slot), &r, sizeof r));
        data += 1 + n;
        size -= 1 + n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char path[64];
    if (!path[0]) { /* memory that has a name: no disk is worn */
        int fd = memfd_create("spill", MFD_CLOEXEC);
        CHECK(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        log_set_level(LOG_ERROR + 1);
    }
    kv_spill_config c = {.path = path, .file_bytes = 2 * BLOCK_BYTES + (N_SLOTS + 1) * SLOT_BYTES,
                         .page_bytes_max = SLOT_BYTES, .buffered = true};
    if (size < 2) return 0;
    mem_ledger l;
    mem_ledger_init(&l, UINT64_MAX);
    memset(shown, 0, sizeof shown);
    c.identity[0] = data[0] & 1;
    kv_spill *s = kv_spill_open(&c, &l, NULL);
    CHECK(s && s->form.n_slots == N_SLOTS);
    uint8_t none[N_SLOTS * sizeof(record)] = {0};
    CHECK(transfer(s->fd, true, label_at(0), none, sizeof none));
    scatter(s, data + 1, size - 1);
    kv_spill_close(s);
    s = kv_spill_open(&c, &l, NULL);
    CHECK(s);
    kv_spill_restore(s, each, s);
    use(s);
    kv_spill_close(s);
    CHECK(l.now_bytes == 0);
    return 0;
}
