/* Qwen 1.5 to 3: decoders whose q, k and v have biases (they come with the file) up to 2.5, and norms of single heads
 * from 3 on. */
#include "model/arch/arch.h"

bool describe_qwen2(const arch_reader *r, model_desc *d) {
    return arch_decoder(r, &(arch_traits){.activation = DEVICE_SILU}, d);
}

bool describe_qwen2moe(const arch_reader *r, model_desc *d) {
    static const arch_traits traits = {
        .activation = DEVICE_SILU, .gating = DEVICE_GATING_SOFTMAX, .shared_expert = true};
    return arch_decoder(r, &traits, d);
}

bool describe_qwen3(const arch_reader *r, model_desc *d) {
    return arch_decoder(r, &(arch_traits){.activation = DEVICE_SILU, .head_norms = true}, d);
}

bool describe_qwen3moe(const arch_reader *r, model_desc *d) {
    static const arch_traits traits = {
        .activation = DEVICE_SILU, .head_norms = true, .gating = DEVICE_GATING_SUM_TO_ONE};
    return arch_decoder(r, &traits, d);
}
