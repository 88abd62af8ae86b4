/* text/reply/internal — what the files of text/reply share. Nobody else includes it. */
#ifndef TEXT_REPLY_INTERNAL_H
#define TEXT_REPLY_INTERNAL_H

#include "text/reply/reply.h"

/* Where needle first begins, or s.len. */
static inline size_t str_find(str s, str needle) {
    const char *at = s.len ? memmem(s.data, s.len, needle.data, needle.len) : NULL;
    size_t found = at ? (size_t)(at - s.data) : s.len;
    text_work += found;
    return found;
}
static inline bool str_has(str s, str needle) { return str_find(s, needle) < s.len; }

/* What the text so far allows to say. */
typedef enum reply_verdict { REPLY_MORE, REPLY_NO, REPLY_YES } reply_verdict;

static inline reply_verdict reply_begins(str text, str tag) {
    if (str_starts(text, tag)) return REPLY_YES;
    return str_starts(tag, text) ? REPLY_MORE : REPLY_NO;
}

static inline bool reply_is_escaped_blank(str s) {
    return s.len > 1 && s.data[0] == '\\' && (s.data[1] == 'n' || s.data[1] == 'r' || s.data[1] == 't');
}

/* What is read anew with every token is short: of blanks, too, there are only so many. */
enum { REPLY_BLANKS_MAX = 64 };

/* ---- reply_format.c: a family's tags ---- */

enum { REPLY_TAGS_MAX = 4 };

typedef struct reply_tags {
    str begin[REPLY_TAGS_MAX]; /* of calls; the empty ones are not there */
    str after[REPLY_TAGS_MAX]; /* what may stand behind a call and belongs to it */
    bool bare;                 /* a call may be the reply's first word, without a tag */
} reply_tags;

const reply_tags *reply_tags_of(text_reply_family family);

/* The words of calls with an argument per tag. */
typedef struct reply_xml {
    str call, call_close;              /* around the name */
    str key, key_close, value;         /* around an argument's name; what opens its value */
    str value_end, end;                /* of a value, of the call */
    bool value_has_lines;              /* a newline on either side of a value is not its own */
} reply_xml;

const reply_xml *reply_xml_of(text_reply_family family);

/* ---- reply_tools.c: the request's tools ---- */

/* The function's object in the array at *at, and its name as written. */
bool reply_next_tool(str tools, size_t *at, str *function, str *name);
/* The parameters of the tool called so; false when there is none. */
bool reply_find_tool(const text_reply_tools *tools, str name, str *schema);

/* ---- reply_head.c: how a call begins, into a->head ---- */

/* text: behind tag (empty: at the reply's first word). a: as it was when there was less of the same text. */
reply_verdict reply_read_head(const text_reply_format *f, const text_reply_tools *tools, str tag, str text,
                              text_reply_ahead *a);
/* A call object at `at`, inside of the brackets that a->head has open already. strictly: members that no call has make
 * it none. */
reply_verdict reply_read_object(const text_reply_tools *tools, str text, size_t at, bool strictly, text_reply_ahead *a);
/* Whether an object that breaks off has said nothing yet that a call would not say. */
bool reply_may_be_call(const text_reply_ahead *a);
/* From a->at over one value. */
reply_verdict reply_go_over(text_reply_ahead *a, str text);
/* From `at` over a key and its value; a->at is behind it. */
reply_verdict reply_skip_member(str text, size_t at, text_reply_ahead *a);

/* A message's header, up to its text (gpt-oss): what kind it is, or a call's head. */
reply_verdict reply_read_channel(const text_reply_tools *tools, str text, text_reply_kind *kind, text_reply_head *h);

reply_verdict reply_take_name(const text_reply_tools *tools, str name, text_reply_head *h);

/* A fence's first line at text, and the blanks behind it: ```json */
reply_verdict reply_read_fence(str text, size_t *len);

/* ---- reply.c, for reply_call.c and reply_xml.c ---- */

enum reply_state {
    REPLY_TEXT, REPLY_THOUGHT,
    REPLY_ARGS, REPLY_QUOTED, REPLY_BROKEN, REPLY_AFTER, /* arguments: JSON, as the text of a string, no JSON */
    REPLY_XML, REPLY_XML_VALUE, REPLY_XML_STRING, REPLY_XML_JSON, REPLY_XML_REST, /* between arguments, and in one */
    REPLY_KEYWORD, REPLY_KEYWORD_STRING, REPLY_KEYWORD_LIST, REPLY_KEYWORD_REST,            /* as these */
};

void reply_put(text_reply *r, text_reply_kind kind, str text);
void reply_put_arguments(void *r, str piece); /* a text_json_put */
/* next: REPLY_AFTER, or REPLY_TEXT, which is the thought that the call lies in if there is one. */
void reply_end_call(text_reply *r, enum reply_state next);
/* w: from the head on; raw: what it is written as, from its tag on. */
void reply_begin_call(text_reply *r, str w, str raw, const text_reply_head *h);
/* The call's end, where the reply breaks off in it. */
void reply_cut_call(text_reply *r);

/* ---- reply_call.c: as step in reply.c, bytes of the window that are done with ---- */

size_t reply_step_arguments(text_reply *r, str w, bool last);
size_t reply_step_quoted(text_reply *r, str w, bool last);
size_t reply_step_broken(text_reply *r, str w, bool last);
size_t reply_step_after(text_reply *r, str w, bool last);

/* A tag that closes a call. */
reply_verdict reply_is_close(const text_reply *r, str w, size_t *len);
/* Whether a tag that may have been meant to close a call did: nothing follows it but another call. */
reply_verdict reply_is_end(const text_reply *r, str w, bool last);

/* ---- reply_keywords.c ---- */

bool reply_is_identifier(char c);
/* name.call( and a first keyword, or the end. */
reply_verdict reply_read_keywords(const text_reply_tools *tools, str text, text_reply_head *h);
void reply_keywords_begin(text_reply *r, str name);
size_t reply_keywords_step(text_reply *r, str w, bool last);
void reply_keywords_cut(text_reply *r);

/* ---- reply_xml.c ---- */

void reply_xml_begin(text_reply *r, str name);
size_t reply_xml_step(text_reply *r, str w, bool last);
/* The reply breaks off in the call. */
void reply_xml_cut(text_reply *r);

#endif
