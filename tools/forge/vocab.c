#include "vocab.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

enum { L = 26, PIECE_BYTES = 32 };
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, UNUSED = 5, BYTE = 6 }; /* token types as GGUF numbers them */

/* Piece i is left + right; space stands for a blank. Both parts are single letters or earlier pieces. */
typedef struct piece {
    char left[PIECE_BYTES / 2], right[PIECE_BYTES / 2];
} piece;

/* In order: _a, ab, abc, _abc, abcd; 26 + 26² + 26³ + 26³ + 26⁴ of them. */
static piece make_piece(uint32_t i, const char *space) {
    piece p;
    char a = (char)('a' + i % L), b = (char)('a' + i / L % L);
    if (i < L) {
        snprintf(p.left, sizeof p.left, "%s", space);
        snprintf(p.right, sizeof p.right, "%c", a);
        return p;
    }
    i -= L;
    a = (char)('a' + i % L), b = (char)('a' + i / L % L);
    if (i < L * L) {
        snprintf(p.left, sizeof p.left, "%c", b);
        snprintf(p.right, sizeof p.right, "%c", a);
        return p;
    }
    i -= L * L;
    a = (char)('a' + i % L), b = (char)('a' + i / L % L);
    char c = (char)('a' + i / L / L % L), d = (char)('a' + i / L / L / L % L);
    if (i < L * L * L) {
        snprintf(p.left, sizeof p.left, "%c%c", c, b);
        snprintf(p.right, sizeof p.right, "%c", a);
        return p;
    }
    if (i < 2 * L * L * L) {
        snprintf(p.left, sizeof p.left, "%s%c", space, c);
        snprintf(p.right, sizeof p.right, "%c%c", b, a);
        return p;
    }
    i -= 2 * L * L * L;
    CHECK(i < L * L * L * L);
    a = (char)('a' + i % L), b = (char)('a' + i / L % L), c = (char)('a' + i / L / L % L), d = (char)('a' + i / L / L / L);
    snprintf(p.left, sizeof p.left, "%c%c", d, c);
    snprintf(p.right, sizeof p.right, "%c%c", b, a);
    return p;
}

static str piece_text(uint32_t i, const char *space, char text[PIECE_BYTES]) {
    piece p = make_piece(i, space);
    return (str){text, (size_t)snprintf(text, PIECE_BYTES, "%s%s", p.left, p.right)};
}

/* ---- special tokens: at the end of the vocabulary, or a filler where none is named ---- */

typedef struct special {
    uint32_t first; /* id of the first special token */
    struct {
        uint32_t at;
        const char *text;
    } named[10];
    const char *filler; /* with one %u */
} special;

static str special_text(const special *s, uint32_t id, char text[PIECE_BYTES * 2]) {
    uint32_t at = id - s->first, fillers = 0;
    for (int i = 0; i < 10 && s->named[i].text; i++) {
        if (s->named[i].at == at) return str_of(s->named[i].text);
        fillers += s->named[i].at < at;
    }
    return (str){text, (size_t)snprintf(text, PIECE_BYTES * 2, s->filler, at - fillers)};
}

static void write_types(out *o, const shape *s, uint32_t controls_from, uint32_t unused_from) {
    bool spm = s->vocab == VOCAB_SPM || s->vocab == VOCAB_PHI3;
    out_kv_array(o, "tokenizer.ggml.token_type", GGUF_I32, s->n_tokens);
    for (uint32_t i = 0; i < s->n_tokens; i++) {
        uint32_t type = i >= unused_from ? UNUSED : i >= controls_from ? CONTROL : NORMAL;
        if (spm && i < 3) type = i == 0 ? UNKNOWN : CONTROL;
        else if (spm && i < 3 + 256) type = BYTE;
        out_u32(o, type);
    }
}

/* ---- SentencePiece-style ---- */

static const char spm_singles[] = "abcdefghijklmnopqrstuvwxyz" "ABCDEFGHIJKLMNOPQRSTUVWXYZ" "0123456789" ".,;:!?'\"()[]{}<>-_+*/=@#$%&|~^`\\\n";

/* Token i of those after the 259: the blank, small letters, pieces, and other single characters late
 * (SentencePiece too gives them the last ids), if there is room for them at all. */
static str spm_text(uint32_t i, uint32_t room, char text[PIECE_BYTES]) {
    const char *blank = "\xE2\x96\x81"; /* U+2581 */
    const uint32_t all = sizeof spm_singles - 1, others = room > 1000 ? all - L : 0;
    if (i == 0) return str_of(blank);
    i--, room--;
    if (i < L) return (str){spm_singles + i, 1};
    if (i >= room - others) return (str){spm_singles + L + (i - (room - others)), 1};
    return piece_text(i - L, blank, text);
}

static void write_spm(out *o, const shape *s) {
    static const special phi3 = {
        .first = 32000,
        .named = {{0, "<|endoftext|>"}, {1, "<|assistant|>"}, {6, "<|system|>"}, {7, "<|end|>"}, {10, "<|user|>"}},
        .filler = "<|placeholder%u|>",
    };
    special extra = phi3;
    bool is_phi3 = s->vocab == VOCAB_PHI3;
    extra.first = is_phi3 ? s->n_tokens - 64 : s->n_tokens;
    char text[PIECE_BYTES * 2];

    out_kv_str(o, "tokenizer.ggml.model", "llama");
    out_kv_str(o, "tokenizer.ggml.pre", "default");
    out_kv_array(o, "tokenizer.ggml.tokens", GGUF_STRING, s->n_tokens);
    out_str(o, STR("<unk>"));
    out_str(o, STR("<s>"));
    out_str(o, STR("</s>"));
    for (uint32_t i = 0; i < 256; i++) out_str(o, (str){text, (size_t)snprintf(text, sizeof text, "<0x%02X>", i)});
    for (uint32_t i = 259; i < extra.first; i++) out_str(o, spm_text(i - 259, extra.first - 259, text));
    for (uint32_t i = extra.first; i < s->n_tokens; i++) out_str(o, special_text(&extra, i, text));
    out_kv_array(o, "tokenizer.ggml.scores", GGUF_F32, s->n_tokens);
    for (uint32_t i = 0; i < s->n_tokens; i++) out_f32(o, i < 259 || i >= extra.first ? 0 : -(float)(i - 259));
    write_types(o, s, extra.first, UINT32_MAX);

    out_kv_u32(o, "tokenizer.ggml.bos_token_id", 1);
    out_kv_u32(o, "tokenizer.ggml.eos_token_id", is_phi3 ? extra.first : 2);
    if (is_phi3) out_kv_u32(o, "tokenizer.ggml.eot_token_id", extra.first + 7);
    out_kv_u32(o, "tokenizer.ggml.unknown_token_id", 0);
    out_kv_u32(o, "tokenizer.ggml.padding_token_id", is_phi3 ? extra.first : 0);
    out_kv_bool(o, "tokenizer.ggml.add_bos_token", true);
    out_kv_bool(o, "tokenizer.ggml.add_eos_token", false);
    out_kv_str(o, "tokenizer.chat_template",
               is_phi3 ? "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
                         "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
                       : "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
                         "{{ message['content'] + eos_token }}{% else %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
                         "{% endif %}{% endfor %}");
}

/* ---- byte-level BPE ---- */

/* The printable stand-ins of GPT-2: printable Latin-1 bytes stand for themselves, the other 68 for U+0100
 * onwards; tokens in that order. */
static bool stands_for_itself(uint32_t byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

static void write_byte_tokens(out *o) {
    char text[4];
    for (uint32_t byte = 0; byte < 256; byte++)
        if (stands_for_itself(byte)) out_str(o, (str){text, (size_t)utf8_encode(byte, text)});
    for (uint32_t i = 0; i < 68; i++) out_str(o, (str){text, (size_t)utf8_encode(256 + i, text)});
}

static void write_bpe(out *o, const shape *s) {
    static const special llama3 = {
        .named = {{0, "<|begin_of_text|>"}, {1, "<|end_of_text|>"}, {6, "<|start_header_id|>"}, {7, "<|end_header_id|>"},
                  {9, "<|eot_id|>"}},
        .filler = "<|reserved_special_token_%u|>",
    };
    static const special qwen2 = {
        .named = {{0, "<|endoftext|>"}, {1, "<|im_start|>"}, {2, "<|im_end|>"}},
        .filler = "[PAD%u]",
    };
    const char *blank = "\xC4\xA0"; /* U+0120 stands for 0x20 */
    bool is_qwen2 = s->vocab == VOCAB_QWEN2;
    special extra = is_qwen2 ? qwen2 : llama3;
    extra.first = s->n_tokens - (is_qwen2 ? 293 : 256);
    uint32_t n_merges = extra.first - 256;
    char text[PIECE_BYTES * 2];

    out_kv_str(o, "tokenizer.ggml.model", "gpt2");
    out_kv_str(o, "tokenizer.ggml.pre", is_qwen2 ? "qwen2" : "llama-bpe");
    out_kv_array(o, "tokenizer.ggml.tokens", GGUF_STRING, s->n_tokens);
    write_byte_tokens(o);
    for (uint32_t i = 0; i < n_merges; i++) out_str(o, piece_text(i, blank, text));
    for (uint32_t i = extra.first; i < s->n_tokens; i++) out_str(o, special_text(&extra, i, text));
    write_types(o, s, extra.first, is_qwen2 ? extra.first + 3 : UINT32_MAX);
    out_kv_array(o, "tokenizer.ggml.merges", GGUF_STRING, n_merges);
    for (uint32_t i = 0; i < n_merges; i++) {
        piece p = make_piece(i, blank);
        out_str(o, (str){text, (size_t)snprintf(text, sizeof text, "%s %s", p.left, p.right)});
    }

    out_kv_u32(o, "tokenizer.ggml.bos_token_id", extra.first);
    out_kv_u32(o, "tokenizer.ggml.eos_token_id", extra.first + (is_qwen2 ? 2 : 1));
    out_kv_u32(o, "tokenizer.ggml.eot_token_id", extra.first + (is_qwen2 ? 2 : 9));
    out_kv_u32(o, "tokenizer.ggml.padding_token_id", extra.first + (is_qwen2 ? 0 : 1));
    out_kv_bool(o, "tokenizer.ggml.add_bos_token", !is_qwen2);
    out_kv_str(o, "tokenizer.chat_template",
               is_qwen2 ? "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
                          "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
                        : "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
                          "'<|end_header_id|>\n\n' + message['content'] + '<|eot_id|>' }}{% endfor %}"
                          "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}");
}

void vocab_write(out *o, const shape *s) {
    if (s->vocab == VOCAB_SPM || s->vocab == VOCAB_PHI3) write_spm(o, s);
    else write_bpe(o, s);
}
