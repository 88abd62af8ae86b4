/* The table of architectures: one row each. A new one is a line here, its golden vectors in
 * tests/golden, and, where it has a trait no other has, a field in model_arch. */
#include <stdio.h>

#include "model/model.h"

static const model_arch rows[] = {
    /* Llama 1–3, Mistral, Mixtral, and most of their kin */
    {.name = "llama", .rope_interleaved = true, .activation = DEVICE_SILU, .experts = MODEL_EXPERTS_SUM_TO_ONE},
    {.name = "qwen2", .activation = DEVICE_SILU}, /* biases on q, k, v come with the file */
    {.name = "qwen2moe", .activation = DEVICE_SILU, .experts = MODEL_EXPERTS_SHARES, .shared_expert = true},
    {.name = "qwen3", .activation = DEVICE_SILU, .head_norms = true},
    {.name = "qwen3moe", .activation = DEVICE_SILU, .head_norms = true, .experts = MODEL_EXPERTS_SUM_TO_ONE},
};

const model_arch *model_arch_find(str name, err *e) {
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (str_is(name, rows[i].name)) return &rows[i];
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", rows[i].name);
    }
    err_set(e, ERR_UNSUPPORTED, "architecture '%.*s' is not supported (known: %s)",
            (int)(name.len < 64 ? name.len : 64), name.data, known);
    return NULL;
}
