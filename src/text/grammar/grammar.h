/* text/grammar/ — what a model may say: a grammar or a JSON schema, compiled to an automaton that masks tokens.
 *
 * Three things, each with one owner:
 *   text_grammar          what a source was compiled to; immutable, any thread.
 *   text_token_index      a vocabulary's tokens by their bytes; immutable, made once for a vocabulary.
 *   text_grammar_machine  states and masks of whatever grammars are used, made as they are needed, and kept; a fixed
 *                         block of memory, one thread at a time.
 *
 * A text on its way is a text_grammar_cursor: the state in which the machine left it. A machine that is full forgets
 * what it made, and where other texts were: text_grammar_known says so, and such a text is read again from its
 * beginning. A state is what the text so far determines, so no answer depends on what was forgotten.
 *
 * GBNF is llama.cpp's notation: rules `name ::= …`, "literals", [classes], ( ) | * + ? {m,n}, # comments. The text is
 * what `root` stands for. Wherever a rule's name can stand, so can
 *   %json{ … }            a value of that JSON schema; %json{}: any value
 *   %regex"…"             a text that matches the pattern from end to end; escapes as in a literal
 *   <|name|> or <[123]>   that one token; a name that is no token of the vocabulary stands for its bytes.
 *                         <|[NAME]|>: the token [NAME]
 *
 * JSON is written without blanks, but for one after ':' and ',' where the model likes it. Members come in the order
 * of the schema; others only where additionalProperties, or nothing at all, is said. Strings are valid UTF-8; numbers,
 * and \d+ of a pattern, have at most 16 digits. References go GRAMMAR_DEPTH_MAX levels deep: deeper is never begun, so
 * that what is begun can be ended.
 *
 * Schemas are kept to in all drafts' keywords. What is written may be less than what is allowed, never more: `not`,
 * `if`, `oneOf` whose branches overlap and dependencies are said in simpler schemas; items of `uniqueItems` come in the
 * order of their `enum`; `contains` is met by the first item that prefixItems leaves. Keywords and formats that are not
 * known are annotations: ignored. Multiples are those that a division of doubles finds whole, too, as validators do.
 * Refused, by name and place: `uniqueItems` of items of which there are more than can be listed, `unevaluatedItems`,
 * min/maxContains, $dynamicRef, back references in patterns, what nothing satisfies, left recursion, what is larger
 * than the limits.
 */
#ifndef TEXT_GRAMMAR_GRAMMAR_H
#define TEXT_GRAMMAR_GRAMMAR_H

#include "text/vocab/vocab.h"

enum { GRAMMAR_DEPTH_MAX = 48, GRAMMAR_SOURCE_BYTES_MAX = 1 << 20 };

typedef enum text_grammar_kind {
    TEXT_GRAMMAR_GBNF,
    TEXT_GRAMMAR_SCHEMA,
    TEXT_GRAMMAR_JSON_OBJECT
} text_grammar_kind;

typedef struct text_grammar text_grammar;
/* source: GBNF text, or a schema as JSON text; of JSON_OBJECT nothing is read. vocab: whose tokens <|name|> means;
 * NULL: none. ERR_INVALID with the place; ERR_MEMORY when alloc refuses. */
text_grammar *text_grammar_new(text_grammar_kind kind, str source, const text_vocab *vocab, const base_alloc *alloc,
                               err *e);
void text_grammar_free(text_grammar *g);
size_t text_grammar_bytes(const text_grammar *g);

typedef struct text_token_index text_token_index;
/* Takes about 30 bytes a token, and in passing twice as much. */
text_token_index *text_token_index_new(const text_vocab *v, const base_alloc *alloc, err *e);
void text_token_index_free(text_token_index *x);

typedef struct text_grammar_machine text_grammar_machine;
/* index NULL: a machine that reads bytes only. memory: aligned to 64, text_grammar_machine_bytes of it. */
size_t text_grammar_machine_bytes(const text_token_index *index);
text_grammar_machine *text_grammar_machine_init(void *memory, const text_token_index *index);

typedef struct text_grammar_cursor {
    const text_grammar *grammar;
    uint32_t epoch, state;
    uint64_t spent; /* work that it has taken beyond its due */
} text_grammar_cursor;

/* TOO_COMPLEX: one state, or one mask, would take all of the machine, or longer than others' steps can wait. */
typedef enum text_grammar_verdict {
    TEXT_GRAMMAR_OK,
    TEXT_GRAMMAR_REFUSED,
    TEXT_GRAMMAR_TOO_COMPLEX
} text_grammar_verdict;

text_grammar_verdict text_grammar_begin(text_grammar_machine *m, const text_grammar *g, text_grammar_cursor *c);
bool text_grammar_known(const text_grammar_machine *m, const text_grammar_cursor *c);
/* The cursor moves on only with OK. Of tokens that end a text only those are accepted that the grammar names. */
text_grammar_verdict text_grammar_accept(text_grammar_machine *m, text_grammar_cursor *c, text_token t);
text_grammar_verdict text_grammar_accept_bytes(text_grammar_machine *m, text_grammar_cursor *c, str bytes);
bool text_grammar_may_end(const text_grammar_machine *m, const text_grammar_cursor *c);
/* The tokens that may come next, a bit each, valid until the next call; tokens that end a text where it may end.
 * REFUSED: none may. */
text_grammar_verdict text_grammar_mask(text_grammar_machine *m, text_grammar_cursor *c, const uint64_t **mask);

#endif
