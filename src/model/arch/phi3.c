/* Phi-3 mini and medium of 4k, Phi-4: decoders whose q, k and v are one tensor, as gate and up are. Those of long
 * contexts (128k, Phi-3.5, Phi-4-mini) divide their frequencies by one of two lists, depending on the length of a
 * text; their files say so by the lists alone, and are refused: without the lists answers would be wrong. */
#include "model/arch/arch.h"

static bool refuse_longrope(const arch_reader *r) {
    static const char *const lists[] = {"rope_factors_long.weight", "rope_factors_short.weight"};
    for (int i = 0; i < 2; i++)
        if (format_find(r->file, str_of(lists[i])))
            return err_set(r->e, ERR_UNSUPPORTED, "tensor %s: frequencies by length (longrope) are not supported",
                           lists[i]);
    return true;
}

bool describe_phi3(const arch_reader *r, model_desc *d) {
    static const arch_traits traits = {.activation = DEVICE_SILU, .fused_gate_up = true};
    return refuse_longrope(r) && arch_decoder(r, &traits, d);
}
