/* api/core/chat_table — calls, or results of calls, found by a text of theirs: a turn may have thousands of them.
 *
 * Of things with the same text the slot has the one that was put there. Callers: what reads and rearranges
 * conversations. Memory is the caller's arena, given back by its mark.
 */
#ifndef API_CORE_CHAT_TABLE_H
#define API_CORE_CHAT_TABLE_H

#include "base/alloc.h"
#include "base/str.h"

typedef str chat_table_text(const void *thing);

typedef struct chat_table {
    const void **slots;
    size_t n_slots; /* a power of two, at least twice as many as things */
    chat_table_text *text_of;
} chat_table;

/* For n things at most. False: no memory. */
bool chat_table_begin(chat_table *t, const base_alloc *alloc, size_t n, chat_table_text *text_of);
/* The slot of this text, or the free one where it belongs. */
const void **chat_table_slot(const chat_table *t, str text);

#endif
