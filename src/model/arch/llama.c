/* Llama 1–3, Mistral, Mixtral, and most of their kin. GGUF files have their queries and keys permuted, so that pairs
 * that rotate together stand side by side. */
#include "model/arch/arch.h"

bool describe_llama(const arch_reader *r, model_desc *d) {
    static const arch_traits traits = {
        .rope_interleaved = true, .activation = DEVICE_SILU, .gating = DEVICE_GATING_SUM_TO_ONE};
    return arch_decoder(r, &traits, d);
}
