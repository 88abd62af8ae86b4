/* Rotary embedding: how fast each pair of a head turns. */
#include <math.h>

#include "model/step.h"

/* Radians per position of each pair. factors: the file's own divisors (Llama 3.1's rope_freqs), or NULL.
 * YaRN as in Peng et al. 2023 (arXiv 2309.00071): pairs that turn often over the original context keep
 * their frequency, pairs that turn less than once are interpolated, a linear ramp between. */
void model_rope_fill(const model_rope *r, const float *factors, model_rope_table *out) {
    double pairs = r->dims / 2;
    double low = 0, high = 0;
    out->mscale = r->attn_factor;
    if (r->scaling == MODEL_ROPE_YARN) {
        double base = log((double)r->base), context = r->context_original;
        low = floor(r->dims * log(context / (r->beta_fast * 2 * M_PI)) / (2 * base));
        high = ceil(r->dims * log(context / (r->beta_slow * 2 * M_PI)) / (2 * base));
        if (low < 0) low = 0;
        if (high > r->dims - 1) high = r->dims - 1;
        out->mscale *= (float)(1.0 + 0.1 * log((double)r->factor));
    }
    for (uint32_t i = 0; i < (uint32_t)pairs; i++) {
        double f = pow((double)r->base, -2.0 * i / r->dims);
        if (factors) f /= (double)factors[i];
        double interpolated = f / (double)r->factor;
        if (r->scaling == MODEL_ROPE_LINEAR) f = interpolated;
        if (r->scaling == MODEL_ROPE_YARN) {
            double ramp = (i - low) / fmax(0.001, high - low);
            ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
            f = interpolated * ramp + f * (1 - ramp);
        }
        out->freqs[i] = (float)f;
    }
}
