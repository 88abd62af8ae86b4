/* forge/weights — random weights straight in their stored form, at the speed of the generator.
 *
 * No float is quantised. A block's quants are random bits; its scale is drawn from a table made so that
 * the values have mean 0 and the wanted deviation. Only integer arithmetic, sqrt and single
 * multiplications are used, so the bytes are the same on every machine.
 */
#ifndef FORGE_WEIGHTS_H
#define FORGE_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/rng.h"

enum { WEIGHTS_SCALES = 256, WEIGHTS_NORMALS = 4 * 255 + 1 };

typedef struct weights {
    dtype type;
    uint16_t scale[WEIGHTS_SCALES]; /* fp16 */
    uint16_t min[WEIGHTS_SCALES];   /* fp16 */
    uint8_t exponent[WEIGHTS_SCALES];
    float swing;
    float normal[WEIGHTS_NORMALS];
    uint16_t normal16[WEIGHTS_NORMALS];
} weights;

bool weights_can(dtype type);
/* Matrices: centred, with this deviation. */
void weights_init(weights *w, dtype type, double deviation);
/* Vectors, always F32, of even length: mean, plus swing for one half of them and minus for the other, plus noise of
 * this deviation. */
void weights_init_vector(weights *w, double mean, double swing, double deviation);
/* n values, a multiple of the type's block; out has room for 8 bytes more than they take. */
void weights_fill(const weights *w, rng *r, uint64_t n, uint8_t *out);

#endif
