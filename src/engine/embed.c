#include "engine/embed.h"

#include <math.h>

size_t engine_embedding_bytes(const engine *en) {
    return engine_model_desc(en)->n_embd * (sizeof(double) + sizeof(float));
}

void engine_embedding_init(engine_embedding *m, const engine *en, model_pooling pooling, bool normalize,
                           void *memory) {
    uint32_t n_embd = engine_model_desc(en)->n_embd;
    double *sum = memory;
    *m = (engine_embedding){pooling, normalize, n_embd, sum, (float *)(void *)(sum + n_embd)};
}

static bool counts(model_pooling pooling, uint32_t position, uint32_t n_text) {
    return pooling == MODEL_POOL_MEAN || position == (pooling == MODEL_POOL_LAST ? n_text - 1 : 0);
}

static void finish(engine_embedding *m, uint32_t n_text) {
    double divisor = m->pooling == MODEL_POOL_MEAN ? n_text : 1, squares = 0;
    for (uint32_t i = 0; i < m->n_embd; i++) {
        m->sum[i] /= divisor;
        squares += m->sum[i] * m->sum[i];
    }
    double scale = m->normalize && squares > 0 ? 1 / sqrt(squares) : 1;
    for (uint32_t i = 0; i < m->n_embd; i++) m->vector[i] = (float)(m->sum[i] * scale);
}

void engine_embedding_add(engine_embedding *m, const float *states, uint32_t first, uint32_t n, uint32_t n_text) {
    for (uint32_t position = first; position < first + n; position++, states += m->n_embd) {
        if (!counts(m->pooling, position, n_text)) continue;
        bool adds = m->pooling == MODEL_POOL_MEAN && position > 0;
        for (uint32_t i = 0; i < m->n_embd; i++) m->sum[i] = (adds ? m->sum[i] : 0) + (double)states[i];
    }
    if (first + n == n_text) finish(m, n_text);
}
