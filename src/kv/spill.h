/* kv/spill — one preallocated file that holds cold pages, and outlives the process.
 *
 * Owns the file, its lock, and which of its fixed-size slots hold a page. Knows bytes and labels only: what goes
 * in, what comes back and when is kv/cache's to decide. One thread at a time.
 *
 * The file (native byte order), all parts on 4 KiB bounds:
 *
 *     header     magic, version, identity, geometry, checksum                     4 KiB
 *     labels     one record of 256 bytes a slot, each with a serial and a checksum of its own
 *     slots      payloads, page_bytes_max apart
 *     scratch    one slot more, for measuring the disk at open
 *
 * A slot is taken in three steps: its label on disk is buried, its payload is written, its new label is written.
 * So whenever the process ends, a label that passes its checksum names a payload that was written whole. After the
 * machine itself loses power a label may be older than its payload: kv_spill_get then finds that the checksum of
 * the payload differs. Nothing is synced for the sake of durability: this is a cache.
 *
 * Payloads go past the page cache (O_DIRECT, or written through and dropped), so that the file does not grow the
 * process's cgroup. Everything read from the file is hostile until validated.
 *
 * Refuses: a path that holds something other than a spill file (it is never overwritten), a file that another
 * server uses (ERR_BUSY), a disk without room for all of it (ERR_IO, with both figures).
 */
#ifndef KV_SPILL_H
#define KV_SPILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "mem/ledger.h"

typedef struct kv_spill kv_spill;
enum { KV_SPILL_NONE = UINT32_MAX };
enum { KV_SPILL_TOKENS = 16 };

typedef struct kv_spill_config {
    const char *path;
    uint64_t file_bytes;   /* at most; preallocated */
    uint64_t identity[2];  /* of the model and the KV shape: a file of another is not read */
    size_t page_bytes_max; /* the largest payload, a multiple of 4096 */
    bool buffered;         /* never O_DIRECT */
} kv_spill_config;

/* What the index needs to hang a stored page back into its tree after a restart. */
typedef struct kv_spill_label {
    uint64_t salt[2];
    uint32_t parent;        /* slot, or KV_SPILL_NONE; put before its children, or they are lost at a restart */
    uint64_t parent_serial; /* 0 without a parent */
    uint32_t depth;         /* pages above it */
    uint16_t n_tokens;      /* 1 … 16 */
    uint8_t kind;           /* any small number (KV type) */
    uint32_t payload_bytes; /* set by kv_spill_put from its parts */
    int32_t tokens[KV_SPILL_TOKENS];
} kv_spill_label;

/* Tables and one buffer of page_bytes_max, all under the account `spill`. */
size_t kv_spill_plan_bytes(const kv_spill_config *c);

/* Makes the file or opens it, locks it, reads its labels and measures the disk. A file of another identity,
 * geometry or version, or of another length, is started afresh (a warning says so). NULL with the reason. */
kv_spill *kv_spill_open(const kv_spill_config *c, mem_ledger *l, err *e);
void kv_spill_close(kv_spill *s); /* keeps the content; NULL is harmless */

uint32_t kv_spill_slots(const kv_spill *s);
uint32_t kv_spill_used(const kv_spill *s);
uint64_t kv_spill_serial(const kv_spill *s, uint32_t slot); /* 0: free. Never used twice in the life of the file */

/* Writes n parts (pages of layer groups) one after another as the payload. Returns the slot, or KV_SPILL_NONE:
 * ERR_BUSY when no slot is free, ERR_IO when the disk refuses (the slot is then free again). Parts on 4 KiB bounds
 * and of whole 4 KiB go to the disk from where they are, others by way of the buffer. */
uint32_t kv_spill_put(kv_spill *s, const kv_spill_label *label, const void *const *parts, const size_t *part_bytes,
                      int n_parts, err *e);

/* Reads a payload into parts of the sizes it was put with. ERR_FORMAT when it is not what was written (counted
 * as bad); then the parts hold anything, and the slot is still used: drop it. */
bool kv_spill_get(kv_spill *s, uint32_t slot, void *const *parts, const size_t *part_bytes, int n_parts, err *e);

void kv_spill_drop(kv_spill *s, uint32_t slot); /* a used slot becomes free, its label on disk invalid */

/* Once, after open: shows every page that was found, parents before children, to each(), which returns false to
 * drop it. A page is dropped unseen when its parent's slot does not hold the parent of that serial, one less deep,
 * with the same salt and kind. each() puts and drops nothing itself; it may get the slot it is shown. */
void kv_spill_restore(kv_spill *s, bool (*each)(void *ctx, uint32_t slot, const kv_spill_label *label), void *ctx);

typedef struct kv_spill_counts {
    uint32_t slots, used;
    uint64_t file_bytes;
    uint64_t written_pages, read_pages, bad_pages;
    double read_ms_per_mib, write_ms_per_mib; /* measured at open, slot-sized, past the page cache */
    bool direct;
} kv_spill_counts;

void kv_spill_read(const kv_spill *s, kv_spill_counts *out);

#endif
