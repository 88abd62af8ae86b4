#include "shapes.h"

#include <string.h>

const shape shapes[] = {
    {.name = "llama-1b", .arch = "llama", .about = "Llama 3.2 1B", .vocab = VOCAB_LLAMA3,
     .layers = 16, .width = 2048, .ff = 8192, .heads = 32, .kv_heads = 8, .head_dim = 64, .n_tokens = 128256,
     .context = 8192, .rope_theta = 500000, .norm_eps = 1e-5f, .tied = true},
    {.name = "llama-8b", .arch = "llama", .about = "Llama 3.1 8B", .vocab = VOCAB_LLAMA3,
     .layers = 32, .width = 4096, .ff = 14336, .heads = 32, .kv_heads = 8, .head_dim = 128, .n_tokens = 128256,
     .context = 8192, .rope_theta = 500000, .norm_eps = 1e-5f},
    {.name = "phi3-mini", .arch = "phi3", .about = "Phi 3 mini 4k", .vocab = VOCAB_PHI3,
     .layers = 32, .width = 3072, .ff = 8192, .heads = 32, .kv_heads = 32, .head_dim = 96, .n_tokens = 32064,
     .context = 4096, .sliding_window = 2047, .rope_theta = 10000, .norm_eps = 1e-5f, .fused = true},
    {.name = "qwen2-0.5b", .arch = "qwen2", .about = "Qwen 2 0.5B", .vocab = VOCAB_QWEN2,
     .layers = 24, .width = 896, .ff = 4864, .heads = 14, .kv_heads = 2, .head_dim = 64, .n_tokens = 151936,
     .context = 32768, .rope_theta = 1000000, .norm_eps = 1e-6f, .tied = true, .qkv_bias = true},
    {.name = "mixtral-8x7b", .arch = "llama", .about = "Mixtral 8x7B", .vocab = VOCAB_SPM,
     .layers = 32, .width = 4096, .ff = 14336, .heads = 32, .kv_heads = 8, .head_dim = 128, .n_tokens = 32000,
     .context = 32768, .experts = 8, .experts_used = 2, .rope_theta = 1000000, .norm_eps = 1e-5f},
    {.name = "qwen3-30b-a3b", .arch = "qwen3moe", .about = "Qwen 3 30B-A3B", .vocab = VOCAB_QWEN2,
     .layers = 48, .width = 2048, .ff = 6144, .heads = 32, .kv_heads = 4, .head_dim = 128, .n_tokens = 151936,
     .context = 40960, .experts = 128, .experts_used = 8, .expert_ff = 768, .rope_theta = 1000000, .norm_eps = 1e-6f,
     .head_norms = true},
    /* Small ones for tests: one for each kind of layer above, whole blocks of every type. */
    {.name = "golden", .arch = "llama", .about = "small llama, for tests", .vocab = VOCAB_SPM,
     .layers = 3, .width = 256, .ff = 512, .heads = 4, .kv_heads = 2, .head_dim = 64, .n_tokens = 320,
     .context = 2048, .rope_theta = 10000, .norm_eps = 1e-5f},
    {.name = "golden-phi3", .arch = "phi3", .about = "small phi3, for tests", .vocab = VOCAB_PHI3,
     .layers = 3, .width = 256, .ff = 512, .heads = 4, .kv_heads = 2, .head_dim = 64, .n_tokens = 400,
     .context = 2048, .sliding_window = 2047, .rope_dims = 48, .rope_theta = 10000, .norm_eps = 1e-5f, .fused = true},
    {.name = "golden-qwen2", .arch = "qwen2", .about = "small qwen2, for tests", .vocab = VOCAB_QWEN2,
     .layers = 3, .width = 256, .ff = 512, .heads = 4, .kv_heads = 2, .head_dim = 64, .n_tokens = 640,
     .context = 2048, .rope_theta = 1000000, .norm_eps = 1e-6f, .tied = true, .qkv_bias = true},
    {.name = "golden-mixtral", .arch = "llama", .about = "small mixtral, for tests", .vocab = VOCAB_SPM,
     .layers = 3, .width = 256, .ff = 256, .heads = 4, .kv_heads = 2, .head_dim = 64, .n_tokens = 320,
     .context = 2048, .experts = 4, .experts_used = 2, .rope_theta = 1000000, .norm_eps = 1e-5f},
    {.name = "golden-qwen3", .arch = "qwen3", .about = "small qwen3, for tests", .vocab = VOCAB_SPM,
     .layers = 3, .width = 256, .ff = 512, .heads = 8, .kv_heads = 2, .head_dim = 64, .n_tokens = 320,
     .context = 2048, .rope_theta = 1000000, .norm_eps = 1e-6f, .head_norms = true},
    {.name = "golden-qwen2moe", .arch = "qwen2moe", .about = "small qwen2moe, for tests", .vocab = VOCAB_SPM,
     .layers = 3, .width = 256, .ff = 512, .heads = 4, .kv_heads = 2, .head_dim = 64, .n_tokens = 320,
     .context = 2048, .experts = 6, .experts_used = 2, .expert_ff = 256, .shared_ff = 512, .rope_theta = 1000000,
     .norm_eps = 1e-6f, .qkv_bias = true},
    {.name = "golden-qwen3moe", .arch = "qwen3moe", .about = "small qwen3moe, for tests", .vocab = VOCAB_SPM,
     .layers = 3, .width = 256, .ff = 768, .heads = 8, .kv_heads = 2, .head_dim = 64, .n_tokens = 320,
     .context = 2048, .experts = 8, .experts_used = 3, .expert_ff = 256, .rope_theta = 1000000, .norm_eps = 1e-6f,
     .head_norms = true},
    {.name = "tiny", .arch = "llama", .about = "one layer", .vocab = VOCAB_SPM,
     .layers = 1, .width = 64, .ff = 256, .heads = 2, .kv_heads = 1, .head_dim = 32, .n_tokens = 320,
     .context = 512, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true},
};
const int n_shapes = (int)(sizeof shapes / sizeof *shapes);

const shape *shape_by_name(const char *name) {
    for (int i = 0; i < n_shapes; i++)
        if (!strcmp(shapes[i].name, name)) return &shapes[i];
    return NULL;
}
