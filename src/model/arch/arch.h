/* model/arch/ — the families: what distinguishes one from the next. Internal to model/.
 *
 * A family is one function, `describe`, that fills a model_desc from a file's keys (GGUF's: "<family>.block_count", …),
 * and a row in families.c. Most families differ from a plain decoder in a few traits: they call arch_decoder and then
 * change what is their own. Refuses, like all reading here, with ERR_FORMAT what cannot be, by the key's name, and with
 * ERR_UNSUPPORTED what is not known.
 */
#ifndef MODEL_ARCH_ARCH_H
#define MODEL_ARCH_ARCH_H

#include "model/desc.h"

typedef struct arch_reader {
    const format_source *file;
    const char *family;
    err *e;
} arch_reader;

typedef struct model_family {
    const char *name; /* general.architecture */
    bool (*describe)(const arch_reader *r, model_desc *d); /* d: zeros but for defaults (model_describe) */
} model_family;

/* The row for a name, or NULL with ERR_UNSUPPORTED that lists what there is. */
const model_family *model_family_find(str name, err *e);

bool describe_llama(const arch_reader *r, model_desc *d);
bool describe_phi3(const arch_reader *r, model_desc *d);
bool describe_qwen2(const arch_reader *r, model_desc *d);
bool describe_qwen2moe(const arch_reader *r, model_desc *d);
bool describe_qwen3(const arch_reader *r, model_desc *d);
bool describe_qwen3moe(const arch_reader *r, model_desc *d);

/* ---- a plain decoder: each layer attention, then a dense network or experts, each normed before ---- */

typedef struct arch_traits {
    bool rope_interleaved; /* rotate (2i, 2i+1); otherwise (i, i + half) */
    bool head_norms;       /* each head's query and key are normed before they are rotated */
    device_activation activation;
    device_gating gating;   /* of files that have experts; NONE: the family has none */
    bool shared_expert;    /* beside them one for all tokens, in a share of its own */
    bool fused_gate_up;    /* ffn_up holds the rows of gate, then those of up */
    uint32_t window_pattern; /* where the file has a window and does not say: all layers but every n-th; 0: all */
} arch_traits;

/* Reads all that a plain decoder has: sizes, heads, windows, one rope, experts, pooling; lists the parts. Tensors
 * attn_q, attn_k, attn_v may be one, attn_qkv, where the file has it. */
bool arch_decoder(const arch_reader *r, const arch_traits *t, model_desc *d);

/* ---- for describe functions: keys (by their tail) and parts ---- */

bool arch_u32(const arch_reader *r, const char *tail, bool required, uint32_t low, uint32_t high, uint32_t *out);
/* A value for each of n layers: an array, or one for all. */
bool arch_u32s(const arch_reader *r, const char *tail, bool required, uint32_t low, uint32_t high, uint32_t n,
               uint32_t *out);
bool arch_f32(const arch_reader *r, const char *tail, bool required, float *out); /* finite, not negative */
bool arch_text(const arch_reader *r, const char *tail, str *out); /* optional */

/* The part is the whole tensor, one matrix; what differs is set in what is returned. */
model_part *arch_matrix(model_layer_desc *l, model_matrix slot, const char *tensor, uint32_t rows, uint32_t cols);
model_vector_part *arch_vector(model_layer_desc *l, model_vector slot, const char *tensor, uint32_t size);

#endif
