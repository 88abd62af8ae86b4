#include "base/dtype.h"

#include <strings.h>

#include "base/check.h"

static const dtype_info table[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 1, 4, false},
    [DTYPE_F16] = {"F16", 1, 2, false},
    [DTYPE_BF16] = {"BF16", 1, 2, false},
    [DTYPE_F64] = {"F64", 1, 8, false},
    [DTYPE_I8] = {"I8", 1, 1, false},
    [DTYPE_I16] = {"I16", 1, 2, false},
    [DTYPE_I32] = {"I32", 1, 4, false},
    [DTYPE_I64] = {"I64", 1, 8, false},
    [DTYPE_Q4_0] = {"Q4_0", 32, 2 + 16, true},
    [DTYPE_Q4_1] = {"Q4_1", 32, 4 + 16, true},
    [DTYPE_Q5_0] = {"Q5_0", 32, 2 + 4 + 16, true},
    [DTYPE_Q5_1] = {"Q5_1", 32, 4 + 4 + 16, true},
    [DTYPE_Q8_0] = {"Q8_0", 32, 2 + 32, true},
    [DTYPE_Q2_K] = {"Q2_K", 256, 16 + 64 + 4, true},
    [DTYPE_Q3_K] = {"Q3_K", 256, 32 + 64 + 12 + 2, true},
    [DTYPE_Q4_K] = {"Q4_K", 256, 4 + 12 + 128, true},
    [DTYPE_Q5_K] = {"Q5_K", 256, 4 + 12 + 32 + 128, true},
    [DTYPE_Q6_K] = {"Q6_K", 256, 128 + 64 + 16 + 2, true},
    [DTYPE_IQ4_NL] = {"IQ4_NL", 32, 2 + 16, true},
    [DTYPE_IQ4_XS] = {"IQ4_XS", 256, 2 + 2 + 4 + 128, true},
    [DTYPE_MXFP4] = {"MXFP4", 32, 1 + 16, true},
};

const dtype_info *dtype_get(uint32_t id) {
    return id < DTYPE_COUNT && table[id].name ? &table[id] : NULL;
}

dtype dtype_by_name(str name) {
    for (uint32_t id = 0; id < DTYPE_COUNT; id++) {
        const char *n = table[id].name;
        if (n && strlen(n) == name.len && !strncasecmp(n, name.data, name.len)) return (dtype)id;
    }
    return DTYPE_COUNT;
}

uint64_t dtype_row_bytes(dtype type, uint64_t n) {
    const dtype_info *info = dtype_get(type);
    CHECK(info && n % info->block_values == 0);
    return n / info->block_values * info->block_bytes;
}
