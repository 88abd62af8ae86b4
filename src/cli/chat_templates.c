/* --chat-template: well-known ways to write a conversation, by name, for files that bring none or a wrong one. Ours are
 * small: turns and system messages. What a model expects of tools, only its own template says. */
#include <stdio.h>

#include "cli/cli.h"

enum { TEMPLATE_BYTES = 1 << 20, NAMES_BYTES = 160 };

#define SYSTEM_BEFORE_USER(before, after) \
    "{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}" \
    "{% set ns.system = '" before "' + m.content + '" after "' %}"

static const struct {
    const char *name, *text;
} known[] = {
    {"chatml", "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
               "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"},
    {"llama3", "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
               "{{ m.content | trim }}<|eot_id|>{% endfor %}"
               "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"},
    {"llama2", SYSTEM_BEFORE_USER("<<SYS>>\\n", "\\n<</SYS>>\\n\\n")
               "{% elif m.role == 'user' %}{{ bos_token }}[INST] {{ ns.system + m.content }} [/INST]"
               "{% set ns.system = '' %}{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"},
    {"mistral", "{{ bos_token }}" SYSTEM_BEFORE_USER("", "\\n\\n")
                "{% elif m.role == 'user' %}[INST] {{ ns.system + m.content }}[/INST]"
                "{% set ns.system = '' %}{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"},
    {"gemma", "{{ bos_token }}" SYSTEM_BEFORE_USER("", "\\n\\n")
              "{% else %}<start_of_turn>{{ 'model' if m.role == 'assistant' else 'user' }}\n"
              "{{ ns.system + m.content | trim }}<end_of_turn>\n{% set ns.system = '' %}{% endif %}{% endfor %}"
              "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"},
    {"phi3", "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
             "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"},
    {"zephyr", "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
               "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"},
    {"vicuna", "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }} {% elif m.role == 'user' %}"
               "USER: {{ m.content }} {% else %}ASSISTANT: {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
               "{% if add_generation_prompt %}ASSISTANT:{% endif %}"},
    {"plain", "{% for m in messages %}{{ m.content }}{% if not loop.last %}{{ '\\n\\n' }}{% endif %}{% endfor %}"},
};
enum { N_KNOWN = sizeof known / sizeof *known };

static bool read_file(const char *path, str *out, err *e) {
    static char text[TEMPLATE_BYTES]; /* as long as the program runs */
    FILE *f = fopen(path, "rb");
    char names[NAMES_BYTES] = "";
    for (size_t i = 0, n = 0; i < N_KNOWN; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", known[i].name);
    if (!f)
        return err_set(e, ERR_NOT_FOUND, "--chat-template: '%.80s' is neither a file nor one of %s", path, names);
    size_t n = fread(text, 1, sizeof text, f);
    bool broken = ferror(f) != 0;
    fclose(f);
    if (broken) return err_set(e, ERR_IO, "--chat-template: %.120s cannot be read", path);
    if (n == sizeof text)
        return err_set(e, ERR_TOO_LARGE, "--chat-template: %.120s has more than %d bytes", path, TEMPLATE_BYTES - 1);
    *out = (str){text, n};
    return n > 0 || err_set(e, ERR_INVALID, "--chat-template: %.120s is empty", path);
}

bool cli_chat_template(const cli_options *o, str *out, err *e) {
    *out = STR("");
    if (!o->chat_template) return true;
    for (size_t i = 0; i < N_KNOWN; i++)
        if (!strcmp(o->chat_template, known[i].name)) return *out = str_of(known[i].text), true;
    return read_file(o->chat_template, out, e);
}
