/* base/dtype — element types of tensors as GGUF numbers them, and their block geometry.
 *
 * One table, used by format/ (sizes of tensor data), compute/ (kernels) and tools/forge. The type ids
 * and block layouts are those of the GGUF specification.
 */
#ifndef BASE_DTYPE_H
#define BASE_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

typedef enum dtype {
    DTYPE_F32 = 0,
    DTYPE_F16 = 1,
    DTYPE_Q4_0 = 2,
    DTYPE_Q4_1 = 3,
    DTYPE_Q5_0 = 6,
    DTYPE_Q5_1 = 7,
    DTYPE_Q8_0 = 8,
    DTYPE_Q2_K = 10,
    DTYPE_Q3_K = 11,
    DTYPE_Q4_K = 12,
    DTYPE_Q5_K = 13,
    DTYPE_Q6_K = 14,
    DTYPE_IQ4_NL = 20,
    DTYPE_IQ4_XS = 23,
    DTYPE_I8 = 24,
    DTYPE_I16 = 25,
    DTYPE_I32 = 26,
    DTYPE_I64 = 27,
    DTYPE_F64 = 28,
    DTYPE_BF16 = 30,
    DTYPE_MXFP4 = 39,
    DTYPE_COUNT = 40,
} dtype;

typedef struct dtype_info {
    const char *name;      /* "Q4_K"; NULL for ids that nothing here knows */
    uint32_t block_values; /* values per block */
    uint32_t block_bytes;
    bool quantised;
} dtype_info;

/* NULL when the id is unknown. */
const dtype_info *dtype_get(uint32_t id);

/* By name, case-insensitive ("q4_0"). Returns DTYPE_COUNT when unknown. */
dtype dtype_by_name(str name);

/* Bytes of one row of n values; n must be a multiple of block_values. */
uint64_t dtype_row_bytes(dtype type, uint64_t n);

#endif
