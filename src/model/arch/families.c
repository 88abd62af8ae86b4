/* The table of families. A new one is a file here with its `describe`, a prototype in arch.h, a line below, its shape
 * in tools/forge and its golden facts (docs/ARCHITECTURE.md has the recipe). */
#include <stdio.h>

#include "base/check.h"
#include "model/arch/arch.h"

static const model_family families[] = {
    {"llama", describe_llama},       {"phi3", describe_phi3},   {"qwen2", describe_qwen2},
    {"qwen2moe", describe_qwen2moe}, {"qwen3", describe_qwen3}, {"qwen3moe", describe_qwen3moe},
};

const model_family *model_family_find(str name, err *e) {
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (str_is(name, families[i].name)) return &families[i];
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", families[i].name);
        CHECK(used < sizeof known);
    }
    err_set(e, ERR_UNSUPPORTED, "architecture '%.*s' is not supported (known: %s)",
            (int)(name.len < 64 ? name.len : 64), name.data, known);
    return NULL;
}
