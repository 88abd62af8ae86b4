#include "format/gguf_internal.h"

#include <inttypes.h>
#include <math.h>

#include "base/check.h"

/* Values are read by memcpy as the host's own. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF is read on little-endian hosts only");

/* Bounds on what a header may claim, far above any real file (a thousand keys, ten thousand tensors, a
 * vocabulary of 20 MB), so that a sparse file of terabytes can cost neither memory nor time. */
enum {
    HEADER_BYTES_MAX = 128 << 20,
    KVS_MAX = GGUF_KVS_MAX,
    TENSORS_MAX = GGUF_TENSORS_MAX,
    NAME_BYTES_MAX = 65535,
    ALIGNMENT_MIN = 8, /* so that every scalar type is aligned */
    ALIGNMENT_MAX = 65536,
    ALIGNMENT_DEFAULT = 32,
};

enum {
    FIXED_HEADER_BYTES = 4 + 4 + 8 + 8,          /* magic, version, tensor count, key count */
    KV_BYTES_MIN = 8 + 1 + 4 + 1,                /* key length, key, type, value */
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8,    /* name length, name, n_dims, one dim, type, offset */
    SHOWN_NAME_BYTES = 100,                      /* of a name in a message */
};

static const struct {
    const char *name;
    uint32_t bytes; /* of a scalar; for strings and arrays the least an encoded one takes */
} types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"u8", 1},   [GGUF_I8] = {"i8", 1},   [GGUF_U16] = {"u16", 2},       [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4}, [GGUF_I32] = {"i32", 4}, [GGUF_F32] = {"f32", 4},       [GGUF_BOOL] = {"bool", 1},
    [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8}, [GGUF_F64] = {"f64", 8},       [GGUF_STRING] = {"string", 8},
    [GGUF_ARRAY] = {"array", 12},
};

uint32_t gguf_scalar_bytes(gguf_type t) { return types[t].bytes; }
const char *gguf_type_name(gguf_type t) { return (uint32_t)t < GGUF_TYPE_COUNT ? types[t].name : "unknown"; }

static uint32_t load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t load_u64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* For "%.*s": a name may be 64 KiB long. */
#define SHOWN(s) (int)((s).len < SHOWN_NAME_BYTES ? (s).len : SHOWN_NAME_BYTES), (s).data

/* ---- reading the header ---- */

typedef struct reader {
    const uint8_t *base;
    uint64_t at, end;
    uint64_t file_bytes;
    const char *part; /* what is being read, and which of its kind: for messages */
    uint64_t number;
} reader;

static uint64_t left(const reader *r) { return r->end - r->at; }

static bool need(const reader *r, uint64_t bytes, err *e) {
    if (bytes <= left(r)) return true;
    if (r->end < r->file_bytes)
        return err_set(e, ERR_UNSUPPORTED, "metadata of more than %d MiB (in %s %" PRIu64 ")", HEADER_BYTES_MAX >> 20,
                       r->part, r->number);
    return err_set(e, ERR_FORMAT, "truncated in %s %" PRIu64 ": %" PRIu64 " bytes needed at offset %" PRIu64
                   ", but the file ends at %" PRIu64, r->part, r->number, bytes, r->at, r->end);
}

static bool read_u32(reader *r, uint32_t *out, err *e) {
    if (!need(r, 4, e)) return false;
    *out = load_u32(r->base + r->at);
    r->at += 4;
    return true;
}

static bool read_u64(reader *r, uint64_t *out, err *e) {
    if (!need(r, 8, e)) return false;
    *out = load_u64(r->base + r->at);
    r->at += 8;
    return true;
}

static bool read_string(reader *r, str *out, err *e) {
    uint64_t len;
    if (!read_u64(r, &len, e)) return false;
    if (len > left(r) && r->end == r->file_bytes)
        return err_set(e, ERR_FORMAT, "%s %" PRIu64 " has a string of %" PRIu64 " bytes where %" PRIu64 " are left",
                       r->part, r->number, len, left(r));
    if (!need(r, len, e)) return false;
    *out = (str){(const char *)r->base + r->at, (size_t)len};
    r->at += len;
    return true;
}

/* Names reach logs and terminals: proper UTF-8 without control characters, or nothing. */
static bool read_name(reader *r, str *out, err *e) {
    if (!read_string(r, out, e)) return false;
    if (out->len == 0) return err_set(e, ERR_FORMAT, "%s %" PRIu64 " has an empty name", r->part, r->number);
    if (out->len > NAME_BYTES_MAX)
        return err_set(e, ERR_FORMAT, "%s %" PRIu64 " has a name of %zu bytes, more than %d", r->part, r->number,
                       out->len, NAME_BYTES_MAX);
    if (!utf8_valid(*out))
        return err_set(e, ERR_FORMAT, "%s %" PRIu64 " has a name that is not UTF-8", r->part, r->number);
    for (size_t i = 0; i < out->len; i++) {
        unsigned char c = (unsigned char)out->data[i];
        if (c < 0x20 || c == 0x7F)
            return err_set(e, ERR_FORMAT, "%s %" PRIu64 " has a name with the control character 0x%02x", r->part,
                           r->number, c);
    }
    return true;
}

static bool read_type(reader *r, const gguf_kv *kv, gguf_type *out, err *e) {
    uint32_t id;
    if (!read_u32(r, &id, e)) return false;
    if (id >= GGUF_TYPE_COUNT)
        return err_set(e, ERR_FORMAT, "key %.*s has the unknown value type %" PRIu32, SHOWN(kv->key), id);
    *out = (gguf_type)id;
    return true;
}

static bool check_bools(const gguf_kv *kv, uint64_t n, err *e) {
    for (uint64_t i = 0; i < n; i++)
        if (kv->data[i] > 1)
            return err_set(e, ERR_FORMAT, "key %.*s has a bool that is %u, not 0 or 1", SHOWN(kv->key), kv->data[i]);
    return true;
}

static bool read_array(reader *r, gguf_kv *kv, err *e) {
    if (!read_type(r, kv, &kv->item_type, e) || !read_u64(r, &kv->n_items, e)) return false;
    if (kv->item_type == GGUF_ARRAY)
        return err_set(e, ERR_UNSUPPORTED, "key %.*s is an array of arrays", SHOWN(kv->key));
    uint32_t item_bytes = types[kv->item_type].bytes;
    if (kv->n_items > left(r) / item_bytes && r->end == r->file_bytes)
        return err_set(e, ERR_FORMAT,
                       "key %.*s claims an array of %" PRIu64 " %s items where %" PRIu64 " bytes are left",
                       SHOWN(kv->key), kv->n_items, gguf_type_name(kv->item_type), left(r));
    if (kv->n_items > left(r) / item_bytes) return need(r, UINT64_MAX, e);

    kv->data = r->base + r->at;
    if (kv->item_type == GGUF_STRING) {
        str item;
        for (uint64_t i = 0; i < kv->n_items; i++)
            if (!read_string(r, &item, e)) return false;
        return true;
    }
    r->at += kv->n_items * item_bytes;
    return kv->item_type != GGUF_BOOL || check_bools(kv, kv->n_items, e);
}

static bool read_kv(reader *r, gguf_kv *kv, err *e) {
    *kv = (gguf_kv){.data = NULL};
    if (!read_name(r, &kv->key, e) || !read_type(r, kv, &kv->type, e)) return false;
    if (kv->type == GGUF_ARRAY) return read_array(r, kv, e);

    kv->data = r->base + r->at;
    if (kv->type == GGUF_STRING) {
        str value;
        return read_string(r, &value, e);
    }
    if (!need(r, types[kv->type].bytes, e)) return false;
    r->at += types[kv->type].bytes;
    return kv->type != GGUF_BOOL || check_bools(kv, 1, e);
}

/* Values and bytes of the tensor, both below 2^63. */
static bool size_tensor(format_tensor *t, err *e) {
    const dtype_info *info = dtype_get(t->type);
    uint64_t values = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (t->dims[i] == 0)
            return err_set(e, ERR_FORMAT, "tensor %.*s has dimension %" PRIu32 " of 0", SHOWN(t->name), i);
        if (__builtin_mul_overflow(values, t->dims[i], &values) || values > INT64_MAX)
            return err_set(e, ERR_FORMAT, "tensor %.*s has more values than 63 bits count", SHOWN(t->name));
    }
    if (t->dims[0] % info->block_values)
        return err_set(e, ERR_FORMAT, "tensor %.*s has rows of %" PRIu64 " values, not a multiple of the %" PRIu32
                       " in a block of %s", SHOWN(t->name), t->dims[0], info->block_values, info->name);
    if (__builtin_mul_overflow(values / info->block_values, (uint64_t)info->block_bytes, &t->bytes) ||
        t->bytes > INT64_MAX)
        return err_set(e, ERR_FORMAT, "tensor %.*s has more bytes than 63 bits count", SHOWN(t->name));
    return true;
}

static bool read_tensor(reader *r, format_tensor *t, err *e) {
    *t = (format_tensor){.dims = {1, 1, 1, 1}};
    if (!read_name(r, &t->name, e) || !read_u32(r, &t->n_dims, e)) return false;
    if (t->n_dims < 1 || t->n_dims > 4)
        return err_set(e, ERR_FORMAT, "tensor %.*s has %" PRIu32 " dimensions; 1 to 4 are possible", SHOWN(t->name),
                       t->n_dims);
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (!read_u64(r, &t->dims[i], e)) return false;
    uint32_t type;
    if (!read_u32(r, &type, e) || !read_u64(r, &t->offset, e)) return false;
    if (!dtype_get(type))
        return err_set(e, ERR_UNSUPPORTED, "tensor %.*s has the unknown type %" PRIu32, SHOWN(t->name), type);
    t->type = (dtype)type;
    return size_tensor(t, e);
}

static bool read_fixed_header(reader *r, gguf *g, err *e) {
    if (r->file_bytes < 4 || memcmp(r->base, "GGUF", 4) != 0)
        return err_set(e, ERR_FORMAT, "not a GGUF file (%" PRIu64 " bytes, and the first four are not \"GGUF\")",
                       r->file_bytes);
    if (r->file_bytes < FIXED_HEADER_BYTES)
        return err_set(e, ERR_FORMAT, "truncated: %" PRIu64 " bytes, less than the %d of a GGUF header", r->file_bytes,
                       FIXED_HEADER_BYTES);
    g->version = load_u32(r->base + 4);
    if (g->version == 1)
        return err_set(e, ERR_UNSUPPORTED,
                       "GGUF version 1 is not supported; versions 2 and 3 are (convert the model again)");
    if ((g->version & 0xFFFF) == 0 && g->version != 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "big-endian GGUF file (version 0x%08" PRIx32 "); only little-endian is supported",
                       g->version);
    if (g->version != 2 && g->version != 3)
        return err_set(e, ERR_UNSUPPORTED, "GGUF version %" PRIu32 " is not supported; versions 2 and 3 are",
                       g->version);

    g->n_tensors = load_u64(r->base + 8);
    g->n_kvs = load_u64(r->base + 16);
    r->at = FIXED_HEADER_BYTES;
    if (g->n_kvs > left(r) / KV_BYTES_MIN || g->n_kvs > KVS_MAX)
        return err_set(e, ERR_FORMAT,
                       "claims %" PRIu64 " metadata keys; a file of %" PRIu64 " bytes has room for %" PRIu64
                       ", and %d is the limit",
                       g->n_kvs, r->file_bytes, left(r) / KV_BYTES_MIN, KVS_MAX);
    if (g->n_tensors > left(r) / TENSOR_BYTES_MIN || g->n_tensors > TENSORS_MAX)
        return err_set(e, ERR_FORMAT, "claims %" PRIu64 " tensors; a file of %" PRIu64 " bytes has room for %" PRIu64
                       ", and %d is the limit", g->n_tensors, r->file_bytes, left(r) / TENSOR_BYTES_MIN, TENSORS_MAX);
    return true;
}

/* ---- the index: positions in the order of names ---- */

static int name_order(str a, str b) {
    int c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

typedef int compare(const gguf *g, uint32_t a, uint32_t b);

static int by_key(const gguf *g, uint32_t a, uint32_t b) { return name_order(g->kvs[a].key, g->kvs[b].key); }
static int by_tensor_name(const gguf *g, uint32_t a, uint32_t b) {
    return name_order(g->tensors[a].name, g->tensors[b].name);
}
static int by_offset(const gguf *g, uint32_t a, uint32_t b) {
    return g->tensors[a].offset < g->tensors[b].offset ? -1 : g->tensors[a].offset > g->tensors[b].offset;
}

static void sift_down(const gguf *g, uint32_t *order, uint64_t root, uint64_t n, compare *cmp) {
    for (uint64_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && cmp(g, order[child], order[child + 1]) < 0) child++;
        if (cmp(g, order[root], order[child]) >= 0) return;
        uint32_t t = order[root];
        order[root] = order[child];
        order[child] = t;
    }
}

/* Heapsort: n log n whatever the file holds, and no memory (glibc's qsort takes some from malloc). */
static void sort_positions(const gguf *g, uint32_t *order, uint64_t n, compare *cmp) {
    for (uint64_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    for (uint64_t i = n / 2; i-- > 0;) sift_down(g, order, i, n, cmp);
    for (uint64_t i = n; i-- > 1;) {
        uint32_t t = order[0];
        order[0] = order[i];
        order[i] = t;
        sift_down(g, order, 0, i, cmp);
    }
}

static uint32_t *kv_order(const gguf *g) { return (uint32_t *)(void *)(g->tensors + g->n_tensors); }
static uint32_t *tensor_order(const gguf *g) { return kv_order(g) + g->n_kvs; }

/* One block holds everything: keys, tensors, and the two orders. */
bool gguf_take_directory(gguf *g, err *e) {
    g->index_bytes = (size_t)(g->n_kvs * (sizeof *g->kvs + sizeof(uint32_t)) +
                              g->n_tensors * (sizeof *g->tensors + sizeof(uint32_t)));
    g->index = alloc_bytes(g->alloc, g->index_bytes);
    if (!g->index)
        return err_set_memory(e, g->index_bytes, 0, "no memory for a directory of %" PRIu64 " keys and %" PRIu64
                              " tensors (%zu bytes)", g->n_kvs, g->n_tensors, g->index_bytes);
    g->kvs = g->index;
    g->tensors = (format_tensor *)(void *)(g->kvs + g->n_kvs);
    return true;
}

bool gguf_index_keys(gguf *g, err *e) {
    uint32_t *order = kv_order(g);
    sort_positions(g, order, g->n_kvs, by_key);
    for (uint64_t i = 1; i < g->n_kvs; i++)
        if (by_key(g, order[i - 1], order[i]) == 0)
            return err_set(e, ERR_FORMAT, "duplicate key %.*s", SHOWN(g->kvs[order[i]].key));
    return true;
}

static bool doubled(const gguf *g, const format_tensor *a, const format_tensor *b, err *e) {
    if (!g->n_parts) return err_set(e, ERR_FORMAT, "duplicate tensor %.*s", SHOWN(a->name));
    return err_set(e, ERR_FORMAT, "duplicate tensor %.*s, in parts %" PRIu32 " and %" PRIu32, SHOWN(a->name),
                   (a->part < b->part ? a : b)->part + 1, (a->part < b->part ? b : a)->part + 1);
}

bool gguf_index_tensors(gguf *g, err *e) {
    uint32_t *order = tensor_order(g);
    sort_positions(g, order, g->n_tensors, by_tensor_name);
    for (uint64_t i = 1; i < g->n_tensors; i++)
        if (by_tensor_name(g, order[i - 1], order[i]) == 0)
            return doubled(g, &g->tensors[order[i - 1]], &g->tensors[order[i]], e);
    return true;
}

/* ---- where the data lies ---- */

static bool read_alignment(gguf *g, err *e) {
    g->alignment = ALIGNMENT_DEFAULT;
    if (!gguf_u32(g, "general.alignment", false, &g->alignment, e)) return false;
    if (g->alignment < ALIGNMENT_MIN || g->alignment > ALIGNMENT_MAX || (g->alignment & (g->alignment - 1)))
        return err_set(e, ERR_FORMAT, "alignment of %" PRIu32 "; a power of two from %d to %d is possible",
                       g->alignment, ALIGNMENT_MIN, ALIGNMENT_MAX);
    return true;
}

/* Tensors carry offsets from the start of the data; turns them into offsets in the file. */
static bool place_tensor(gguf *g, format_tensor *t, err *e) {
    uint64_t data_bytes = g->bytes - g->data_offset;
    if (t->offset % g->alignment)
        return err_set(e, ERR_FORMAT, "tensor %.*s begins at %" PRIu64 ", not a multiple of the alignment %" PRIu32,
                       SHOWN(t->name), t->offset, g->alignment);
    if (t->bytes > data_bytes || t->offset > data_bytes - t->bytes)
        return err_set(e, ERR_FORMAT,
                       "tensor %.*s needs %" PRIu64 " bytes at %" PRIu64 " of the data, but the file has %" PRIu64,
                       SHOWN(t->name), t->bytes, t->offset, data_bytes);
    t->offset += g->data_offset;
    return true;
}

static bool place_tensors(gguf *g, uint64_t header_bytes, err *e) {
    g->data_offset = (header_bytes + g->alignment - 1) / g->alignment * g->alignment;
    if (g->data_offset > g->bytes) g->data_offset = g->bytes; /* a vocabulary alone may end without padding */
    for (uint64_t i = 0; i < g->n_tensors; i++)
        if (!place_tensor(g, &g->tensors[i], e)) return false;

    uint32_t *order = tensor_order(g);
    sort_positions(g, order, g->n_tensors, by_offset);
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const format_tensor *t = &g->tensors[order[i]], *before = i ? &g->tensors[order[i - 1]] : NULL;
        if (before && before->offset + before->bytes > t->offset)
            return err_set(e, ERR_FORMAT, "tensors %.*s and %.*s overlap at offset %" PRIu64, SHOWN(before->name),
                           SHOWN(t->name), t->offset);
        g->tensor_bytes += t->bytes; /* disjoint parts of one file: cannot overflow */
    }
    return true;
}

static bool read_directory(gguf *g, err *e) {
    reader r = {
        .base = g->base, .end = g->bytes < HEADER_BYTES_MAX ? g->bytes : HEADER_BYTES_MAX, .file_bytes = g->bytes};
    if (!read_fixed_header(&r, g, e) || !gguf_take_directory(g, e)) return false;
    r.part = "key";
    for (r.number = 0; r.number < g->n_kvs; r.number++)
        if (!read_kv(&r, &g->kvs[r.number], e)) return false;
    if (!gguf_index_keys(g, e)) return false;
    r.part = "tensor";
    for (r.number = 0; r.number < g->n_tensors; r.number++)
        if (!read_tensor(&r, &g->tensors[r.number], e)) return false;
    return read_alignment(g, e) && place_tensors(g, r.at, e) && gguf_index_tensors(g, e);
}

/* ---- open and close ---- */

/* A path may be longer than a message: its end says most. */
bool gguf_name_file(err *e, const char *path) {
    enum { SHOWN_PATH_BYTES = 160 };
    size_t len = strlen(path);
    if (len <= SHOWN_PATH_BYTES) return err_prefix(e, "%s: ", path);
    return err_prefix(e, "...%s: ", path + len - SHOWN_PATH_BYTES);
}

bool gguf_open_one(gguf *g, const char *path, const base_alloc *alloc, err *e) {
    *g = (gguf){.alloc = alloc, .file = {.fd = -1}};
    plat_file file;
    if (!plat_file_open(&file, path, e)) return false;
    g->file = file;
    g->base = file.map;
    g->bytes = file.bytes;
    if (read_directory(g, e)) return gguf_fill_source(g), true;
    gguf_close(g);
    return gguf_name_file(e, path);
}

bool gguf_open_memory(gguf *g, const void *bytes, size_t len, const char *name, const base_alloc *alloc, err *e) {
    *g = (gguf){.alloc = alloc, .file = {.fd = -1}, .base = bytes, .bytes = len};
    if (read_directory(g, e) && gguf_check_whole(g, e)) return gguf_fill_source(g), true;
    gguf_close(g);
    return gguf_name_file(e, name);
}

void gguf_close(gguf *g) {
    for (uint32_t i = 0; i < g->n_parts; i++) gguf_close(&g->parts[i]);
    if (g->parts) alloc_free(g->alloc, g->parts, g->n_parts * sizeof *g->parts);
    if (g->alloc) alloc_free(g->alloc, g->index, g->index_bytes);
    if (g->file.fd >= 0) plat_file_close(&g->file);
    *g = (gguf){.file = {.fd = -1}};
}

/* ---- look-ups ---- */

const gguf_kv *gguf_find(const gguf *g, const char *key) { return gguf_find_key(g, str_of(key)); }

const gguf_kv *gguf_find_key(const gguf *g, str wanted) {
    const uint32_t *order = kv_order(g);
    for (uint64_t low = 0, high = g->n_kvs; low < high;) {
        uint64_t middle = low + (high - low) / 2;
        int c = name_order(wanted, g->kvs[order[middle]].key);
        if (c == 0) return &g->kvs[order[middle]];
        if (c < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

const format_tensor *gguf_find_tensor(const gguf *g, str name) {
    const uint32_t *order = tensor_order(g);
    for (uint64_t low = 0, high = g->n_tensors; low < high;) {
        uint64_t middle = low + (high - low) / 2;
        int c = name_order(name, g->tensors[order[middle]].name);
        if (c == 0) return &g->tensors[order[middle]];
        if (c < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

static uint64_t value_bytes(const gguf_kv *kv) {
    if (kv->type == GGUF_STRING) return 8 + load_u64(kv->data);
    if (kv->type != GGUF_ARRAY) return types[kv->type].bytes;
    if (kv->item_type != GGUF_STRING) return kv->n_items * types[kv->item_type].bytes;
    gguf_strings it = {kv->data, kv->n_items};
    for (str item; gguf_strings_next(&it, &item);) continue;
    return (uint64_t)(it.at - kv->data);
}

bool gguf_same_value(const gguf_kv *a, const gguf_kv *b) {
    if (a->type != b->type || (a->type == GGUF_ARRAY && (a->item_type != b->item_type || a->n_items != b->n_items)))
        return false;
    uint64_t bytes = value_bytes(a);
    return bytes == value_bytes(b) && memcmp(a->data, b->data, bytes) == 0;
}

/* Sets *kv to NULL when the key is absent and may be. */
static bool look_up(const gguf *g, const char *key, bool required, const gguf_kv **kv, err *e) {
    *kv = gguf_find(g, key);
    return *kv || !required || err_set(e, ERR_FORMAT, "missing key %s", key);
}

static bool wrong_type(const gguf_kv *kv, const char *wanted, err *e) {
    const char *items = kv->type == GGUF_ARRAY ? gguf_type_name(kv->item_type) : "";
    return err_set(e, ERR_FORMAT, "key %.*s is %s%s%s, not %s", SHOWN(kv->key), gguf_type_name(kv->type),
                   *items ? " of " : "", items, wanted);
}

/* The value of any integer type: magnitude and sign. False for other types. */
static bool integer(const gguf_kv *kv, bool *negative, uint64_t *value) {
    int64_t v;
    switch (kv->type) {
    case GGUF_U8: *negative = false, *value = kv->data[0]; return true;
    case GGUF_U16: *negative = false, *value = (uint64_t)kv->data[0] | (uint64_t)kv->data[1] << 8; return true;
    case GGUF_U32: *negative = false, *value = load_u32(kv->data); return true;
    case GGUF_U64: *negative = false, *value = load_u64(kv->data); return true;
    case GGUF_I8: v = (int8_t)kv->data[0]; break;
    case GGUF_I16: v = (int16_t)(kv->data[0] | kv->data[1] << 8); break;
    case GGUF_I32: v = (int32_t)load_u32(kv->data); break;
    case GGUF_I64: v = (int64_t)load_u64(kv->data); break;
    default: return false;
    }
    *negative = v < 0;
    *value = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    return true;
}

double gguf_number(const gguf_kv *kv) {
    bool negative;
    uint64_t value;
    if (integer(kv, &negative, &value)) return negative ? -(double)value : (double)value;
    if (kv->type == GGUF_BOOL) return kv->data[0];
    if (kv->type == GGUF_F32) return (double)gguf_f32_at(kv->data, 0);
    if (kv->type != GGUF_F64) return 0;
    double v;
    memcpy(&v, kv->data, sizeof v);
    return v;
}

bool gguf_u32(const gguf *g, const char *key, bool required, uint32_t *out, err *e) {
    const gguf_kv *kv;
    if (!look_up(g, key, required, &kv, e)) return false;
    if (!kv) return true;
    bool negative;
    uint64_t value;
    if (!integer(kv, &negative, &value)) return wrong_type(kv, "an integer", e);
    if (negative || value > UINT32_MAX)
        return err_set(e, ERR_FORMAT, "key %s is %s%" PRIu64 ", not from 0 to %" PRIu32, key, negative ? "-" : "",
                       value, UINT32_MAX);
    *out = (uint32_t)value;
    return true;
}

bool gguf_f32(const gguf *g, const char *key, bool required, float *out, err *e) {
    const gguf_kv *kv;
    if (!look_up(g, key, required, &kv, e)) return false;
    if (!kv) return true;
    if (kv->type == GGUF_BOOL || kv->type == GGUF_STRING || kv->type == GGUF_ARRAY)
        return wrong_type(kv, "a number", e);
    double value = gguf_number(kv);
    if (!(fabs(value) <= (double)__FLT_MAX__))
        return err_set(e, ERR_FORMAT, "key %s is %g, not a finite f32", key, value);
    *out = (float)value;
    return true;
}

bool gguf_bool(const gguf *g, const char *key, bool required, bool *out, err *e) {
    const gguf_kv *kv;
    if (!look_up(g, key, required, &kv, e)) return false;
    if (!kv) return true;
    if (kv->type != GGUF_BOOL) return wrong_type(kv, "a bool", e);
    *out = kv->data[0] != 0;
    return true;
}

bool gguf_str(const gguf *g, const char *key, bool required, str *out, err *e) {
    const gguf_kv *kv;
    if (!look_up(g, key, required, &kv, e)) return false;
    if (!kv) return true;
    if (kv->type != GGUF_STRING) return wrong_type(kv, "a string", e);
    *out = (str){(const char *)kv->data + 8, (size_t)load_u64(kv->data)};
    return true;
}

bool gguf_string_array(const gguf *g, const char *key, bool required, gguf_strings *out, uint64_t *n, err *e) {
    const gguf_kv *kv;
    if (!look_up(g, key, required, &kv, e)) return false;
    if (!kv) return true;
    if (kv->type != GGUF_ARRAY || kv->item_type != GGUF_STRING) return wrong_type(kv, "an array of strings", e);
    *out = (gguf_strings){kv->data, kv->n_items};
    *n = kv->n_items;
    return true;
}

bool gguf_strings_next(gguf_strings *it, str *out) {
    if (it->left == 0) return false;
    *out = (str){(const char *)it->at + 8, (size_t)load_u64(it->at)};
    it->at += 8 + out->len;
    it->left--;
    return true;
}

bool gguf_number_array(const gguf *g, const char *key, gguf_type item_type, bool required, const uint8_t **items,
                       uint64_t *n, err *e) {
    CHECK(item_type != GGUF_STRING && item_type != GGUF_ARRAY);
    const gguf_kv *kv;
    if (!look_up(g, key, required, &kv, e)) return false;
    if (!kv) return true;
    bool unsigned_for_signed = item_type == GGUF_I32 && kv->item_type == GGUF_U32;
    if (kv->type != GGUF_ARRAY || (kv->item_type != item_type && !unsigned_for_signed)) {
        char wanted[32] = "an array of ";
        return wrong_type(kv, strcat(wanted, gguf_type_name(item_type)), e);
    }
    for (uint64_t i = 0; unsigned_for_signed && i < kv->n_items; i++)
        if (gguf_i32_at(kv->data, i) < 0)
            return err_set(e, ERR_FORMAT, "key %s has item %" PRIu64 " of %" PRIu32 ", more than an i32 holds", key, i,
                           load_u32(kv->data + 4 * i));
    *items = kv->data;
    *n = kv->n_items;
    return true;
}

bool gguf_tensor_read(const gguf *g, const format_tensor *t, uint64_t offset, void *out, size_t bytes, err *e) {
    CHECK(offset <= t->bytes && bytes <= t->bytes - offset);
    const gguf *part = gguf_part(g, t->part);
    if (part->file.fd >= 0) return plat_file_read(&part->file, t->offset + offset, out, bytes, e);
    if (bytes) memcpy(out, part->base + t->offset + offset, bytes);
    return true;
}
