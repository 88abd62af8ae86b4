/* Formats of strings, as patterns: what is generated is a part of what the format allows. */
#include "text/grammar_internal.h"

#define DATE "\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\\d|2[0-8])"
#define TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,3})?(Z|[+-](0\\d|1[0-2]):[0-5]\\d)"
#define LABEL "[A-Za-z0-9](-?[A-Za-z0-9]){0,20}"
#define HOST LABEL "(\\." LABEL "){0,3}\\.[A-Za-z]{2,8}"
#define OCTET "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define HEX4 "[0-9a-fA-F]{4}"

static const struct format {
    const char *name, *pattern; /* empty: any string */
} formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "T" TIME},
    {"duration", "P(\\d{1,4}W|\\d{1,4}D(T\\d{1,4}H)?|(\\d{1,3}Y)?\\d{1,3}M|T(\\d{1,4}H)?\\d{1,4}M|T\\d{1,6}S)"},
    {"email", "[A-Za-z0-9_+-]{1,24}(\\.[A-Za-z0-9_+-]{1,16}){0,2}@" HOST},
    {"idn-email", "[A-Za-z0-9_+-]{1,24}(\\.[A-Za-z0-9_+-]{1,16}){0,2}@" HOST},
    {"hostname", HOST},
    {"idn-hostname", HOST},
    {"ipv4", OCTET "(\\." OCTET "){3}"},
    {"ipv6", "([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}"},
    {"uri", "https?://" HOST "(/[A-Za-z0-9._~-]{0,40}){0,8}(\\?[A-Za-z0-9._~=&-]{1,60})?"},
    {"url", "https?://" HOST "(/[A-Za-z0-9._~-]{0,40}){0,8}(\\?[A-Za-z0-9._~=&-]{1,60})?"},
    {"iri", "https?://" HOST "(/[A-Za-z0-9._~-]{0,40}){0,8}(\\?[A-Za-z0-9._~=&-]{1,60})?"},
    {"uri-reference", "(/[A-Za-z0-9._~-]{1,40}){1,8}(\\?[A-Za-z0-9._~=&-]{1,60})?"},
    {"iri-reference", "(/[A-Za-z0-9._~-]{1,40}){1,8}(\\?[A-Za-z0-9._~=&-]{1,60})?"},
    {"uuid", "[0-9a-fA-F]{8}-" HEX4 "-4[0-9a-fA-F]{3}-[89ab][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"},
    {"json-pointer", "(/[A-Za-z0-9_-]{1,40}){0,8}"},
    {"relative-json-pointer", "(0|[1-9]\\d{0,3})(/[A-Za-z0-9_-]{1,40}){0,8}"},
    {"byte", "([A-Za-z0-9+/]{4}){0,64}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"},
    {"base64", "([A-Za-z0-9+/]{4}){0,64}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"},
    {"password", ""},
    {"binary", ""},
};

/* What one client (zod) writes beside these formats; some of it looks around, which is not supported otherwise. */
static const struct format also_written[] = {
    {"email",
     "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$"},
    {"uuid", "^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}|"
             "00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff)$"},
    {"ipv4", "^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])\\.){3}"
             "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])$"},
};

const char *grammar_format_pattern(str name) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (str_is(name, formats[i].name)) return formats[i].pattern;
    return NULL;
}

const char *grammar_format_of_pattern(str pattern) {
    for (size_t i = 0; i < sizeof also_written / sizeof *also_written; i++)
        if (str_is(pattern, also_written[i].pattern)) return also_written[i].name;
    return NULL;
}
