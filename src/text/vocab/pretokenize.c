/* Words of byte-level BPE: text is cut by patterns one after another, each applied to every piece that the
 * one before left, matches and gaps alike becoming pieces. Nothing is stored: each level hands out its next
 * piece on demand. The patterns are those that the models' tokenizers were trained with, published with
 * them. None of them backtracks over more than the run it stands in, so a search costs its length. */
#include "text/vocab/internal.h"

#define CONTRACTION "'s|'t|'re|'ve|'m|'ll|'d"
#define GPT2 CONTRACTION "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define LINES_AND_BLANKS "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CL100K(digits) \
    "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" LINES_AND_BLANKS
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(contraction, digits) \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" contraction "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" contraction \
    "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" LINES_AND_BLANKS
#define CJK "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
/* Letters that have case, as of the Unicode that deepseek-llm was trained with. */
#define DEEPSEEK_CASED \
    "A-Za-z\\x{00B5}\\x{00C0}-\\x{00D6}\\x{00D8}-\\x{00F6}\\x{00F8}-\\x{01BA}\\x{01BC}-\\x{01BF}" \
    "\\x{01C4}-\\x{0293}\\x{0295}-\\x{02AF}\\x{0370}-\\x{0373}\\x{0376}\\x{0377}\\x{037B}-\\x{037D}" \
    "\\x{037F}\\x{0386}\\x{0388}-\\x{038A}\\x{038C}\\x{038E}-\\x{03A1}\\x{03A3}-\\x{03F5}" \
    "\\x{03F7}-\\x{0481}\\x{048A}-\\x{052F}\\x{0531}-\\x{0556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}" \
    "\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}" \
    "\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}" \
    "\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}" \
    "\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}" \
    "\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}" \
    "\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}" \
    "\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}" \
    "\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}" \
    "\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}" \
    "\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}" \
    "\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}" \
    "\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

static const pre_family families[] = {
    {.names = "default",
     .patterns = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.names = "gpt-2 phi-2 olmo mpt jais trillion gigachat jina-es jina-de jina-v2-es jina-v2-de roberta-bpe exaone4",
     .patterns = {GPT2}},
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral lfm2",
     .patterns = {CL100K("\\p{N}{1,3}")}, .ignore_merges = true, .add_bos = true},
    {.names = "dbrx smaug-bpe chatglm-bpe glm4",
     .patterns = {CL100K("\\p{N}{1,3}")}},
    {.names = "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez",
     .patterns = {CL100K("\\p{N}")}},
    {.names = "gpt-4o llama4 minimax-m2",
     .patterns = {CASED("(?i:" CONTRACTION ")?", "\\p{N}{1,3}")}},
    {.names = "tekken",
     .patterns = {CASED("", "\\p{N}")}, .ignore_merges = true, .add_bos = true},
    {.names = "falcon",
     .patterns = {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {.names = "starcoder refact command-r smollm codeshell exaone minerva-7b",
     .patterns = {"\\p{N}", GPT2}},
    /* Published as \s+$; the look-behind keeps a search from starting anew at each blank of a long run. */
    {.names = "deepseek-llm",
     .patterns = {"[\\r\\n]", "\\s?[" DEEPSEEK_CASED "]+",
                  "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+",
                  "(?<!\\s)\\s+$", CJK, "\\p{N}"}},
    {.names = "deepseek-coder",
     .patterns = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK, "\\p{N}"}},
    {.names = "deepseek-v3",
     .patterns = {"\\p{N}{1,3}", "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+",
                  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                  "| ?[\\p{P}\\p{S}]+[\\r\\n]*" LINES_AND_BLANKS}},
};

static bool has_name(const char *names, str name) {
    for (const char *at = names; *at;) {
        size_t len = strcspn(at, " ");
        if (str_eq((str){at, len}, name)) return true;
        at += len + (at[len] == ' ');
    }
    return false;
}

const pre_family *pretokenize_family(str name) {
    if (name.len == 0) return &families[0];
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (has_name(families[i].names, name)) return &families[i];
    }
    return NULL;
}

bool pretokenize_load(text_vocab *v, err *e) {
    v->pcre_memory = pcre2_general_context_create(vocab_pcre_malloc, vocab_pcre_free, &v->alloc);
    if (!v->pcre_memory) return err_set(e, ERR_MEMORY, "no memory for the pre-tokenizer");
    pcre2_compile_context *context = pcre2_compile_context_create(v->pcre_memory);
    if (!context) return err_set(e, ERR_MEMORY, "no memory for the pre-tokenizer");
    for (int i = 0; i < VOCAB_PATTERNS_MAX && v->pre->patterns[i]; i++) {
        int code;
        PCRE2_SIZE offset;
        v->patterns[i] = pcre2_compile((PCRE2_SPTR)v->pre->patterns[i], PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                       &code, &offset, context);
        if (!v->patterns[i]) break;
        v->n_patterns++;
        pcre2_jit_compile(v->patterns[i], PCRE2_JIT_COMPLETE); /* where that fails the interpreter runs */
    }
    pcre2_compile_context_free(context);
    if (v->n_patterns < VOCAB_PATTERNS_MAX && v->pre->patterns[v->n_patterns]) {
        return err_set(e, ERR_MEMORY, "no memory for the patterns of the pre-tokenizer");
    }
    return true;
}

void split_begin(split *s, const text_vocab *v, text_scratch *scratch, str text, err *e) {
    *s = (split){.vocab = v, .scratch = scratch, .rest = text, .e = e};
}

/* The outermost pieces: stretches of proper UTF-8, and stretches of bytes that are not. */
static int next_stretch(split *s, str *piece) {
    if (s->rest.len == 0) return 0;
    uint32_t cp;
    size_t n = 0;
    int first = utf8_decode(s->rest.data, s->rest.len, &cp);
    s->malformed = first <= 0;
    for (int bytes = first; n < s->rest.len && (bytes <= 0) == s->malformed;) {
        n += bytes > 0 ? (size_t)bytes : 1;
        bytes = utf8_decode(s->rest.data + n, s->rest.len - n, &cp);
    }
    *piece = (str){s->rest.data, n};
    s->rest = (str){s->rest.data + n, s->rest.len - n};
    return 1;
}

/* The first match at or behind l->at: 1 and its ends, 0, or −1. */
static int find_match(split *s, const pcre2_code *pattern, const split_level *l, const char **begin, const char **end) {
    text_scratch *scratch = s->scratch;
    PCRE2_SPTR subject = (PCRE2_SPTR)l->piece;
    size_t len = (size_t)(l->end - l->piece), from = (size_t)(l->at - l->piece);
    int rc = pcre2_match(pattern, subject, len, from, PCRE2_NO_UTF_CHECK, scratch->match, scratch->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        rc = pcre2_match(pattern, subject, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match,
                         scratch->limits);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc == PCRE2_ERROR_NOMEMORY || rc == PCRE2_ERROR_HEAPLIMIT) {
        return err_set(s->e, ERR_MEMORY, "no memory to split a text of %zu bytes into words", len), -1;
    }
    if (rc < 0) return err_set(s->e, ERR_INVALID, "a stretch of %zu bytes is too hard to split into words", len), -1;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(scratch->match);
    *begin = l->piece + ends[0];
    *end = l->piece + ends[1];
    return ends[1] > ends[0];
}

static int next_piece(split *s, int level, str *piece) {
    if (level < 0) return next_stretch(s, piece);
    split_level *l = &s->levels[level];
    if (l->at == l->end) {
        int more = next_piece(s, level - 1, piece);
        if (more <= 0 || s->malformed) return more;
        *l = (split_level){piece->data, piece->data, piece->data + piece->len, NULL};
    }
    const char *begin = l->at, *end = l->held;
    l->held = NULL;
    if (!end) {
        int found = find_match(s, s->vocab->patterns[level], l, &begin, &end);
        if (found < 0) return found;
        if (!found) begin = l->end;
        if (begin > l->at) { /* the gap first */
            if (found) l->held = end;
            end = begin;
            begin = l->at;
        }
    }
    *piece = (str){begin, (size_t)(end - begin)};
    l->at = end;
    return 1;
}

int split_next(split *s, str *word) { return next_piece(s, (int)s->vocab->n_patterns - 1, word); }
