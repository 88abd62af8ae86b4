/* A model in several files, as llama.cpp's gguf-split writes them.
 *
 * Names end in -00001-of-00003.gguf, counted from 1; the key split.no counts from 0, split.count says how many there
 * are, and split.tensors.count how many tensors they hold together. The first has all other keys, the rest only the
 * tensors, each in a data section of its own. Every file is validated as any other; here they are held together and
 * their tensors put into one directory. */
#include <stdio.h>

#include "format/gguf_internal.h"

enum { PARTS_MAX = 512, LINKS_MAX = 40, PATH_BYTES = 4096, SUFFIX_BYTES = 32 };

typedef struct split {
    uint32_t no, count, n_tensors; /* count 0: the file is whole */
} split;

static bool read_split(const gguf *g, split *s, err *e) {
    *s = (split){.n_tensors = UINT32_MAX};
    if (!gguf_u32(g, "split.count", false, &s->count, e)) return false;
    if (s->count <= 1) return s->count = 0, true;
    return gguf_u32(g, "split.no", true, &s->no, e) &&
           gguf_u32(g, "split.tensors.count", false, &s->n_tensors, e);
}

bool gguf_check_whole(const gguf *g, err *e) {
    split s;
    if (!read_split(g, &s, e)) return false;
    return !s.count ||
           err_set(e, ERR_UNSUPPORTED, "is one of %u parts of a model, and the others are not here", s.count);
}

/* The file of part no (from 0), by the name of another. False when that is not named like a part. */
static bool part_path(const char *path, const split *s, uint32_t no, char out[PATH_BYTES]) {
    char suffix[SUFFIX_BYTES];
    snprintf(suffix, sizeof suffix, "-%05u-of-%05u.gguf", s->no + 1, s->count);
    size_t len = strlen(path), end = strlen(suffix);
    if (len < end || strcmp(path + len - end, suffix) != 0) return false;
    int n = snprintf(out, PATH_BYTES, "%.*s-%05u-of-%05u.gguf", (int)(len - end), path, no + 1, s->count);
    return n > 0 && n < PATH_BYTES;
}

/* The name that the others are found by: the file's own, or that of a link on the way to it (model.gguf ->
 * m-00001-of-00002.gguf), whichever has part 2 beside it, else the first that is named like a part. A file in the blobs
 * of a Hugging Face cache has no such name, the links to it in snapshots have. */
static bool find_others(const char *path, const split *s, char out[PATH_BYTES]) {
    char now[PATH_BYTES], next[PATH_BYTES];
    bool named = false;
    if (snprintf(now, sizeof now, "%s", path) >= PATH_BYTES) return false;
    for (int hops = 0; hops <= LINKS_MAX; hops++) {
        if (part_path(now, s, s->no ? 0 : 1, next)) {
            bool there = plat_path_exists(next);
            if (there || !named) memcpy(out, now, sizeof now);
            if (there) return true;
            named = true;
        }
        if (!plat_path_link(now, next, sizeof next)) break;
        memcpy(now, next, sizeof now);
    }
    return named;
}

/* others: the path by which the others are found, which may be another than that of the file. */
static bool check_first(const char *path, const split *s, char others[PATH_BYTES], err *e) {
    static const char cache[] = "in a Hugging Face cache give the link in snapshots, not the file in blobs";
    char first[PATH_BYTES];
    if (s->no >= s->count)
        return err_set(e, ERR_FORMAT, "says that it is part %u of %u", s->no + 1, s->count);
    if (s->count > PARTS_MAX)
        return err_set(e, ERR_UNSUPPORTED, "is one of %u parts; at most %d are possible", s->count, PARTS_MAX);
    bool named = find_others(path, s, others);
    if (!named && s->no)
        return err_set(e, ERR_INVALID, "is part %u of %u: give the first, whose name ends in -00001-of-%05u.gguf (%s)",
                       s->no + 1, s->count, s->count, cache);
    if (!named)
        return err_set(e, ERR_FORMAT, "is the first of %u parts, so its name must end in -00001-of-%05u.gguf, and the "
                       "others lie beside it (%s)", s->count, s->count, cache);
    if (!s->no) return true;
    const char *slash = part_path(others, s, 0, first) ? strrchr(first, '/') : NULL;
    return err_set(e, ERR_INVALID, "is part %u of %u: give the first, %.200s", s->no + 1, s->count,
                   slash ? slash + 1 : first);
}

/* What describes the model stands in the first part. A file that repeats a key says the same; how a file is split and
 * how its own data is aligned are its own. */
static bool check_keys(const gguf *first, const gguf *part, err *e) {
    for (uint64_t i = 0; i < part->n_kvs; i++) {
        const gguf_kv *kv = &part->kvs[i], *same;
        if (str_starts(kv->key, STR("split.")) || str_is(kv->key, "general.alignment")) continue;
        same = gguf_find_key(first, kv->key);
        if (!same || !gguf_same_value(kv, same))
            return err_set(e, ERR_FORMAT, "is a part of another model than the first, which %s %.*s",
                           same ? "has another" : "has no", (int)(kv->key.len < 100 ? kv->key.len : 100), kv->key.data);
    }
    return true;
}

/* blk.NUMBER.…: of which layer; UINT32_MAX for a tensor of none. */
static uint32_t layer_of(str name) {
    uint64_t n = 0;
    size_t at = 4;
    if (!str_starts(name, STR("blk."))) return UINT32_MAX;
    for (; at < name.len && name.data[at] >= '0' && name.data[at] <= '9' && n < UINT32_MAX; at++)
        n = 10 * n + (uint64_t)(name.data[at] - '0');
    return at == 4 || at == name.len || name.data[at] != '.' || n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* A model of more layers, cut at the same place, has tensors that this one has no layer for. */
static bool check_layers(const gguf *first, const gguf *part, err *e) {
    char key[128];
    str arch = STR("");
    uint32_t n_layers = UINT32_MAX;
    if (!gguf_str(first, "general.architecture", false, &arch, e)) return false;
    snprintf(key, sizeof key, "%.*s.block_count", (int)(arch.len < 64 ? arch.len : 64), arch.data);
    if (!gguf_u32(first, key, false, &n_layers, e)) return false;
    for (uint64_t i = 0; i < part->n_tensors; i++) {
        uint32_t layer = layer_of(part->tensors[i].name);
        if (layer != UINT32_MAX && layer >= n_layers)
            return err_set(e, ERR_FORMAT, "is a part of another model than the first, which has %u layers: this file "
                           "holds tensors of layer %u (%.*s)", n_layers, layer,
                           (int)(part->tensors[i].name.len < 100 ? part->tensors[i].name.len : 100),
                           part->tensors[i].name.data);
    }
    return true;
}

/* Against the first; so that a part of another model is not taken for one of this. */
static bool check_part(const gguf *first, const split *s, const gguf *part, uint32_t no, err *e) {
    split is;
    if (!read_split(part, &is, e)) return false;
    if (!is.count) return err_set(e, ERR_FORMAT, "is no part of a split model");
    if (is.no != no || is.count != s->count)
        return err_set(e, ERR_FORMAT, "is part %u of %u, not part %u of %u", is.no + 1, is.count, no + 1, s->count);
    if (is.n_tensors != s->n_tensors)
        return err_set(e, ERR_FORMAT,
                       "is a part of another model than the first, which has another split.tensors.count");
    return check_keys(first, part, e) && check_layers(first, part, e);
}

/* No more in all than one file may have: each part alone could claim that. */
static bool open_parts(gguf *g, const split *s, const char *path, uint64_t *n_tensors, err *e) {
    uint64_t n_kvs = g->n_kvs;
    *n_tensors = g->n_tensors;
    for (uint32_t no = 1; no < s->count; no++) {
        char name[PATH_BYTES];
        gguf *part = &g->parts[no - 1];
        if (!part_path(path, s, no, name)) return err_set(e, ERR_INVALID, "%.160s: the path is too long", path);
        if (!gguf_open_one(part, name, g->alloc, e)) return err_prefix(e, "part %u of %u: ", no + 1, s->count);
        if (!check_part(g, s, part, no, e)) return gguf_name_file(e, name);
        *n_tensors += part->n_tensors;
        n_kvs += part->n_kvs;
        if (*n_tensors > GGUF_TENSORS_MAX || n_kvs > GGUF_KVS_MAX)
            return err_set(e, ERR_UNSUPPORTED,
                           "%.160s: the parts up to this have %llu tensors and %llu keys, more than is possible", name,
                           (unsigned long long)*n_tensors, (unsigned long long)n_kvs);
    }
    if (s->n_tensors == UINT32_MAX || *n_tensors == s->n_tensors) return true;
    err_set(e, ERR_FORMAT, "its %u parts hold %llu tensors together, not %u", s->count, (unsigned long long)*n_tensors,
            s->n_tensors);
    return gguf_name_file(e, path);
}

/* One directory over all files; those of the parts go. */
static bool join(gguf *g, uint64_t n_tensors, err *e) {
    gguf all = *g;
    all.n_tensors = n_tensors;
    if (!gguf_take_directory(&all, e)) return false;
    memcpy(all.kvs, g->kvs, g->n_kvs * sizeof *g->kvs);
    format_tensor *to = all.tensors;
    for (uint32_t i = 0; i <= g->n_parts; i++) {
        gguf *part = i ? &g->parts[i - 1] : g;
        for (uint64_t k = 0; k < part->n_tensors; k++, to++) {
            *to = part->tensors[k];
            to->part = i;
        }
        if (i) all.tensor_bytes += part->tensor_bytes; /* no file has 2^54 bytes */
        alloc_free(part->alloc, part->index, part->index_bytes);
        part->index = NULL;
        part->index_bytes = part->n_kvs = part->n_tensors = 0;
    }
    *g = all;
    if (!gguf_index_keys(g, e) || !gguf_index_tensors(g, e)) return false;
    gguf_fill_source(g);
    return true;
}

static bool open_rest(gguf *g, const split *s, const char *path, err *e) {
    uint64_t n_tensors;
    g->parts = alloc_bytes(g->alloc, (s->count - 1) * sizeof *g->parts);
    if (!g->parts) return err_set_memory(e, s->count * sizeof *g->parts, 0, "no memory for %u parts", s->count);
    g->n_parts = s->count - 1;
    for (uint32_t i = 0; i < g->n_parts; i++) g->parts[i] = (gguf){.file = {.fd = -1}};
    return open_parts(g, s, path, &n_tensors, e) && (join(g, n_tensors, e) || gguf_name_file(e, path));
}

bool gguf_open(gguf *g, const char *path, const base_alloc *alloc, err *e) {
    split s = {0};
    char others[PATH_BYTES];
    if (!gguf_open_one(g, path, alloc, e)) return false;
    bool good = (read_split(g, &s, e) && (!s.count || check_first(path, &s, others, e))) || gguf_name_file(e, path);
    if (good && (!s.count || open_rest(g, &s, others, e))) return true;
    gguf_close(g);
    return false;
}
