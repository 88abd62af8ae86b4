#include "api/core/chat_table.h"

bool chat_table_begin(chat_table *t, const base_alloc *alloc, size_t n, chat_table_text *text_of) {
    *t = (chat_table){.n_slots = 2, .text_of = text_of};
    while (t->n_slots < 2 * n) t->n_slots *= 2;
    t->slots = alloc_zeroed(alloc, t->n_slots * sizeof *t->slots);
    return t->slots;
}

const void **chat_table_slot(const chat_table *t, str text) {
    size_t i = (size_t)str_hash(text) & (t->n_slots - 1);
    while (t->slots[i] && !str_eq(t->text_of(t->slots[i]), text)) i = (i + 1) & (t->n_slots - 1);
    return &t->slots[i];
}
