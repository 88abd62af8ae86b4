/* From a source's tokenizer to a text_vocab. */
#include "engine/internal.h"

text_vocab *engine_vocab_read(const format_source *source, const base_alloc *alloc, err *e) {
    format_tokenizer t;
    if (!format_read_tokenizer(source, &t, e)) return NULL;
    text_vocab_spec spec = {.model = t.model, .pre = t.pre, .n_tokens = t.n_tokens, .token = t.token,
                            .n_merges = t.n_merges, .merge = t.merge, .ctx = &t, .bos = t.bos, .eos = t.eos,
                            .eot = t.eot, .unk = t.unk, .sep = t.sep, .pad = t.pad, .cls = t.cls, .mask = t.mask,
                            .add_bos = t.add_bos, .add_eos = t.add_eos, .add_space_prefix = t.add_space_prefix};
    return text_vocab_new(&spec, alloc, e);
}
