/* device/ — a place where tensors live and one step's arithmetic runs.
 *
 * Owns the vtable that a backend fills (cpu/ here; an accelerator is another folder) and the plain
 * data it works on. Callers: model/ (operations), engine/ (weights). A device knows no model code and
 * no KV policy: it is told addresses, shapes and positions. Nothing here allocates while a step runs;
 * all pointers are into arenas that the caller owns and that outlive the device's use of them.
 *
 * Every operation works on n tokens at once and treats each by itself: a token's result never depends
 * on its neighbours in the batch (promise 7).
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/err.h"
#include "compute/compute.h"
#include "mem/arena.h"

typedef struct device device;

/* A weight matrix, packed as the device wants it. data NULL: the matrix is absent. */
typedef struct device_matrix {
    dtype type;
    uint32_t rows, cols;
    void *data;
    const float *bias; /* [rows] or NULL */
} device_matrix;

/* Consecutive tokens of a batch that all meet the same one of several matrices of one shape. */
typedef struct device_run {
    uint32_t matrix, first, n;
} device_run;

/* Reads rows of a matrix from wherever they are, in the file's layout. */
typedef bool device_read_rows(void *ctx, uint32_t row, uint32_t n_rows, void *out, err *e);

/* Where one token's keys and values are, and what it sees of them: positions 0 … keep − 1 (with the query as
 * rotated for them, see attend) and first … position. */
typedef struct device_kv_view {
    uint8_t *const *pages;            /* which entry holds what: compute_kv_entry */
    uint32_t sink_pages, ring_pages;
    uint32_t position, first, keep;
    compute_kv_type type;
} device_kv_view;

/* The offsets of one layer inside a page: head h's K at k_offset + h·k_stride, V likewise. */
typedef struct device_kv_layer {
    size_t k_offset, v_offset, k_stride, v_stride;
} device_kv_layer;

typedef struct device_attention {
    uint32_t n_heads, n_kv_heads, head_dim, head_dim_v;
    float scale, softcap;
    device_kv_layer layer[COMPUTE_KV_TYPES];
} device_attention;

typedef struct device_rope {
    uint32_t head_dim, rot_dim;
    bool paired;           /* pairs (2i, 2i+1); otherwise (i, i + rot_dim/2) */
    const float *cos_sin;  /* [n][rot_dim/2][2] */
} device_rope;

typedef enum device_activation { DEVICE_SILU, DEVICE_GELU } device_activation;

/* What a token's experts count for: their shares of a softmax over all experts, or these scaled to a sum of one. */
typedef enum device_gating { DEVICE_GATING_NONE, DEVICE_GATING_SOFTMAX, DEVICE_GATING_SUM_TO_ONE } device_gating;

/* Which experts a step's tokens go to. A slot is a token at one of its experts; slots are in the order of the
 * experts, those of one expert in the order of the tokens. */
typedef struct device_routes {
    uint32_t *chosen; /* [tokens][n_used], best first */
    float *chosen_weights;
    uint32_t *slot_token; /* [tokens · n_used] */
    float *slot_weight;
    uint32_t *next_slot; /* [n_experts] */
    device_run *runs;    /* the experts that have tokens, ascending; for the host, too */
    uint32_t n_runs;
} device_routes;

enum { DEVICE_MATMUL_MAX = 4 };

typedef struct device_ops {
    const char *name;

    bool (*supports)(dtype type); /* as a weight matrix */
    size_t (*matrix_bytes)(dtype type, uint32_t rows, uint32_t cols);
    /* Floats that one output row of a matmul takes (rows rounded up to the kernels' panel). */
    uint32_t (*row_stride)(uint32_t rows);
    /* Fills m->data (already placed) from read; scratch holds matrix_scratch_bytes. */
    size_t (*matrix_scratch_bytes)(dtype type, uint32_t cols, int n_threads);
    bool (*matrix_load)(device *d, device_matrix *m, device_read_rows *read, void *ctx, void *scratch, err *e);

    /* x[i] = row tokens[i] of table, times scale */
    void (*embed)(device *d, const device_matrix *table, const int32_t *tokens, uint32_t n, float scale, float *x);
    void (*rmsnorm)(device *d, const float *x, const float *weight, uint32_t n, uint32_t width, float eps, float *out);
    /* outs[m][i · strides[m] + r] = row r of ms[m] · x[i] + bias, for up to DEVICE_MATMUL_MAX matrices
     * of the same cols */
    void (*matmul)(device *d, const device_matrix *const *ms, uint32_t n_ms, const float *x, uint32_t n,
                   float *const *outs, const size_t *strides);
    /* The same where data holds several matrices, each matrix_bytes long, and a token meets the one of its run. The
     * runs are one behind the other from token 0 on. */
    void (*matmul_runs)(device *d, const device_matrix *const *ms, uint32_t n_ms, const float *x,
                        const device_run *runs, uint32_t n_runs, float *const *outs, const size_t *strides);
    void (*zero)(device *d, float *x, size_t n);
    void (*copy)(device *d, const float *x, size_t n, float *out);
    /* What n values at x are, for the host to read until the next operation. */
    const float *(*read)(device *d, const float *x, size_t n);
    /* out[i] = sigmoid of weights · x[i] */
    void (*sigmoid_dot)(device *d, const float *weights, const float *x, uint32_t n, uint32_t width, float *out);
    /* Of the logits of n tokens [n][stride]: the n_used greatest (of equals those of lower numbers), and what they
     * count for. Slots and runs, whose first is a slot of all. */
    void (*route)(device *d, device_gating gating, uint32_t n_experts, uint32_t n_used, const float *logits,
                  size_t stride, uint32_t n, device_routes *r);
    /* out[i] = x[rows[i]] */
    void (*gather)(device *d, const float *x, const uint32_t *rows, uint32_t n, uint32_t width, float *out);
    /* y[rows[i]] += shares[i] · x[i], in ascending i; rows NULL: y[i] */
    void (*add_weighted)(device *d, float *y, const uint32_t *rows, const float *shares, const float *x,
                       size_t x_stride, uint32_t n, uint32_t width);
    /* cos_sin[i][j] = mscale · (cos, sin) of positions[i] · freqs[j], the angle in double precision */
    void (*rope_angles)(device *d, const float *freqs, float mscale, const uint32_t *positions, uint32_t n,
                        uint32_t pairs, float *cos_sin);
    void (*rope)(device *d, const device_rope *rope, float *x, size_t stride, uint32_t n_heads, uint32_t n);
    void (*kv_store)(device *d, const device_attention *a, const device_kv_view *views, uint32_t n, const float *k,
                     size_t k_stride, const float *v, size_t v_stride);
    /* q_sinks: the queries as the kept first positions see them, laid out as q; NULL when no view keeps any. */
    void (*attend)(device *d, const device_attention *a, const device_kv_view *views, uint32_t n, const float *q,
                   const float *q_sinks, size_t q_stride, float *out, size_t out_stride);
    /* out[i] = act(gate[i]) · up[i] */
    void (*gated)(device *d, device_activation act, const float *gate, const float *up, size_t stride, uint32_t n,
                  uint32_t width, float *out);
    void (*add)(device *d, float *y, const float *x, size_t x_stride, uint32_t n,
                uint32_t width); /* y rows are width apart */
} device_ops;

struct device {
    const device_ops *ops;
    int n_threads;
    void *state;
};

#endif
