/* mem/accounts — the table of ledger accounts. Every byte the process holds belongs to one row.
 * X(IDENT, "name", "help") */
#ifndef MEM_ACCOUNTS_H
#define MEM_ACCOUNTS_H

#define MEM_ACCOUNT_TABLE(X)                                                                        \
    X(WEIGHTS, "weights", "model tensors, packed for the kernels, one copy for all requests")       \
    X(KV, "kv", "pages of keys and values")                                                         \
    X(WORKSPACE, "workspace", "activations of one step, thread stacks of the compute pool")         \
    X(ADAPTERS, "adapters", "LoRA adapters")                                                        \
    X(TOKENIZER, "tokenizer", "vocabulary, merges, compiled patterns")                              \
    X(GRAMMAR, "grammar", "compiled grammars and schemas")                                          \
    X(HTTP, "http", "connection slots, body pool, output rings")                                    \
    X(QUEUE, "queue", "requests waiting and running: their arenas")                                 \
    X(PROMPT_INDEX, "prompt_index", "the prefix index over cached pages")                           \
    X(SPILL, "spill", "buffers of the spill tier")                                                  \
    X(RUNTIME, "runtime", "binary, libraries, stacks: measured at start")

typedef enum mem_account {
#define X(ident, name, help) MEM_##ident,
    MEM_ACCOUNT_TABLE(X)
#undef X
    MEM_ACCOUNT_COUNT
} mem_account;

const char *mem_account_name(mem_account a);
const char *mem_account_help(mem_account a);

#endif
