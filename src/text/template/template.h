/* text/template/ — chat templates: the Jinja that models ship, as Python's jinja2 with Hugging Face's settings
 * reads it (a sandbox without mutation, trim_blocks, lstrip_blocks, break and continue, generation, tojson of
 * json.dumps).
 *
 * A template is compiled once and then immutable: any thread may render it, each into its own memory. It sees
 * nothing but the JSON it is given and the clock: no files, no code, no other template. What it may spend is
 * bounded: steps, bytes of output (and of any one text), depth while it is compiled and while it runs, and
 * memory, by the allocators. api/ and the command `render` call this.
 *
 * Same text out as jinja2's, byte for byte, and refused where it refuses. Known differences: whole numbers
 * have 127 bits; strftime_now speaks UTC; random and lipsum are refused; generators
 * are made at once; pprint is repr(); only + and the filters e and safe tell escaped texts from others.
 */
#ifndef TEXT_TEMPLATE_TEMPLATE_H
#define TEXT_TEMPLATE_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

typedef struct text_template text_template;

enum {
    TEXT_TEMPLATE_BYTES_MAX = 1 << 20,  /* of a template's source */
    TEXT_TEMPLATE_RANGE_MAX = 100000,   /* of range() */
    TEXT_TEMPLATE_MEMORY_PER_BYTE = 24, /* of a context: what its values take, and then some */
    TEXT_TEMPLATE_TOLD_DEPTH = 8,       /* of what is told around the deepest JSON */
};

typedef struct text_template_limits {
    uint64_t steps; /* nodes visited, and one for each 32 bytes that are copied, compared or looked through */
    size_t output_bytes; /* of the output, and of any text on the way there */
    size_t memory_bytes; /* beside the output; 0: as much as the allocator gives */
    int64_t now_s;       /* seconds since 1970, for strftime_now */
} text_template_limits;

void text_template_limits_default(text_template_limits *l); /* 10 million steps, 16 and 32 MiB, now */

/* NULL with ERR_INVALID ("line 3, column 14: …"), ERR_TOO_LARGE or ERR_MEMORY. The source is not kept. */
text_template *text_template_new(str source, const base_alloc *alloc, err *e);
void text_template_free(text_template *t);
size_t text_template_bytes(const text_template *t); /* what it took from alloc */

/* context_json: one JSON object, whose members are the template's globals. scratch: all memory of the
 * rendering, given back at its end (an arena whose free does nothing will do). The text is appended to out,
 * which is as it was when this fails. What raise_exception is given comes back as ERR_INVALID's message, as
 * it is. */
bool text_template_render(const text_template *t, str context_json, const text_template_limits *limits,
                          const base_alloc *scratch, buf *out, err *e);

/* The same of a context that nobody has written down: tell puts it as the events of its JSON (kind, text and value of
 * each are read), twice, and the same both times. Texts and keys are not copied: they stand where they are until the
 * rendering ends; while it is counting they are not looked at. */
typedef struct text_template_input text_template_input;
typedef bool text_template_tell(void *ctx, text_template_input *in, err *e);
bool text_template_put(text_template_input *in, const json_event *event); /* fills the err that tell was given */
bool text_template_is_counting(const text_template_input *in);
/* An object, not empty, that is told by part when the template first looks into it, and told again for each tojson of
 * it that comes before: most objects are only written out, and need not be taken apart for that. json: whatever part
 * knows it by; stands until the rendering ends, as do the texts that part puts, unless they pass. */
typedef bool text_template_tell_part(void *ctx, text_template_input *in, str json, err *e);
bool text_template_put_part(text_template_input *in, str json);
bool text_template_passes(const text_template_input *in); /* what is put is not kept */
bool text_template_render_told(const text_template *t, text_template_tell *tell, text_template_tell_part *part,
                               void *ctx, const text_template_limits *limits, const base_alloc *scratch, buf *out,
                               err *e);

#endif
