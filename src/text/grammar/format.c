/* Formats of strings, as patterns: what is generated is a part of what the format allows. */
#include "text/grammar/internal.h"

#define DATE "\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\\d|2[0-8])"
#define TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,3})?(Z|[+-](0\\d|1[0-2]):[0-5]\\d)"
#define LABEL "[A-Za-z0-9](-?[A-Za-z0-9]){0,20}"
#define HOST LABEL "(\\." LABEL "){0,3}\\.[A-Za-z]{2,8}"
#define OCTET "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define WEB "https?://" HOST "((/[A-Za-z0-9._~-]{0,40}){1,8}(\\?[A-Za-z0-9._~=&-]{1,60})?)?"
#define PCHARS "[A-Za-z0-9._~!$&'()*+,;=:@-]"
#define ANY_URI "[A-Za-z][A-Za-z0-9+.-]{0,20}:" PCHARS "{1,80}(/" PCHARS "{0,40}){0,8}(\\?[A-Za-z0-9._~=&-]{1,60})?"
#define ANY_REFERENCE                                                                                                  \
    "(" ANY_URI "|[A-Za-z0-9._~-]{1,40}(/" PCHARS "{1,40}){0,8}|(/" PCHARS "{1,40}){0,8})(#[A-Za-z0-9._~/-]{0,80})?"
#define EMOJI "[\\u{1F600}-\\u{1F64F}]{1,8}"
#define HEX4 "[0-9a-fA-F]{4}"

static const struct format {
    const char *name, *pattern; /* empty: any string */
    bool says_no_more;          /* than the pattern that its client writes beside it */
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
    {"uri", WEB},
    {"url", WEB},
    {"iri", WEB},
    {"uri-reference", "(/[A-Za-z0-9._~-]{1,40}){1,8}(\\?[A-Za-z0-9._~=&-]{1,60})?"},
    {"iri-reference", "(/[A-Za-z0-9._~-]{1,40}){1,8}(\\?[A-Za-z0-9._~=&-]{1,60})?"},
    {"uuid", "[0-9a-fA-F]{8}-" HEX4 "-4[0-9a-fA-F]{3}-[89ab][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"},
    {"uuid1", "[0-9a-f]{8}-" HEX4 "-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"},
    {"uuid3", "[0-9a-f]{8}-" HEX4 "-3[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"},
    {"uuid4", "[0-9a-f]{8}-" HEX4 "-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"},
    {"uuid5", "[0-9a-f]{8}-" HEX4 "-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"},
    {"ipvanyaddress", OCTET "(\\." OCTET "){3}"},
    {"iso-time", TIME},
    {"iso-date-time", DATE "T" TIME},
    {"regex", "[A-Za-z0-9 _-]{0,40}"},
    {"json-pointer", "(/[A-Za-z0-9_-]{1,40}){0,8}"},
    {"relative-json-pointer", "(0|[1-9]\\d{0,3})(/[A-Za-z0-9_-]{1,40}){0,8}"},
    {"byte", "([A-Za-z0-9+/]{4}){0,64}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"},
    {"base64", "([A-Za-z0-9+/]{4}){0,64}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"},
    {"base64url", "([A-Za-z0-9_-]{4}){0,64}([A-Za-z0-9_-]{2,3})?", true},
    {"cidrv4", OCTET "(\\." OCTET "){3}/([0-9]|[12]\\d|3[0-2])", true},
    {"cidrv6", "([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}/([1-9]?\\d|1[01]\\d|12[0-8])", true},
    {"cuid", "c[0-9a-z]{24}", true},
    {"cuid2", "[a-z][0-9a-z]{23}", true},
    {"ulid", "[0-7][0-9A-HJKMNP-TV-Z]{25}", true},
    {"nanoid", "[A-Za-z0-9_-]{21}", true},
    {"xid", "[0-9a-v]{20}", true},
    {"ksuid", "[A-Za-z0-9]{27}", true},
    {"e164", "\\+[1-9]\\d{6,14}", true},
    {"jwt", "[A-Za-z0-9_-]{8,80}\\.[A-Za-z0-9_-]{8,200}\\.[A-Za-z0-9_-]{8,100}", true},
    {"emoji", EMOJI, true},
    {"password", ""},
    {"binary", ""},
    {"file-path", ""},
    {"directory-path", ""},
    {"path", ""},
    {"starts_with", ""},
    {"ends_with", ""},
    {"includes", ""},
    {"lowercase", ""},
    {"uppercase", ""},
};

const char *grammar_format_pattern(str name) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (str_is(name, formats[i].name)) return formats[i].pattern;
    return NULL;
}

const char *grammar_format_wider(str name) {
    if (str_is(name, "uri") || str_is(name, "url") || str_is(name, "iri")) return ANY_URI;
    return str_is(name, "uri-reference") || str_is(name, "iri-reference") ? ANY_REFERENCE : NULL;
}

bool grammar_format_is_its_pattern(str name) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (str_is(name, formats[i].name)) return formats[i].says_no_more || !*formats[i].pattern;
    return false;
}

/* ---- formats with patterns ---- */

/* zod writes both; what is generated satisfies both. (Of any format and any pattern that could not be said.) And
 * patterns that look around, which is not supported otherwise: pydantic's of decimals. */
#define ZOD_DATE                                                                                                       \
    "(?:(?:\\d\\d[2468][048]|\\d\\d[13579][26]|\\d\\d0[48]|[02468][048]00|[13579][26]00)-02-29|"                       \
    "\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|"                       \
    "(?:02)-(?:0[1-9]|1\\d|2[0-8])))"
#define ZOD_TIME "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d"
#define ZOD_LOCAL "|(?:[01]\\d|2[0-3]):[0-5]\\d(?::[0-5]\\d(?:\\.\\d+)?)?"
#define ZOD_OFFSET "(?:Z|([+-](?:[01]\\d|2[0-3]):[0-5]\\d))"
#define ZOD_UUID "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-"
#define CLOCK "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d"

static const struct both {
    const char *format, *pattern, *generated;
} both[] = {
    {"email",
     "^(?:[A-Za-z0-9_'+\\-]+\\.)*[A-Za-z0-9_'+\\-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$",
     NULL},
    {"email",
     "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$", NULL},
    {"uuid",
     "^(" ZOD_UUID "[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}|00000000-0000-0000-0000-000000000000|"
     "ffffffff-ffff-ffff-ffff-ffffffffffff)$",
     NULL},
    {"uuid", "^(" ZOD_UUID "4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12})$", NULL},
    {"uuid", "^(" ZOD_UUID "[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})$", NULL},
    {"date", "^" ZOD_DATE "$", NULL},
    {"date-time", "^" ZOD_DATE "T(?:" ZOD_TIME "(?:\\.\\d+)?(?:Z))$", DATE "T" CLOCK "(\\.\\d{1,3})?Z"},
    {"date-time", "^" ZOD_DATE "T(?:" ZOD_TIME "(?:\\.\\d+)?(?:Z)" ZOD_LOCAL ")$",
     DATE "T" CLOCK "(\\.\\d{1,3})?Z"},
    {"date-time", "^" ZOD_DATE "T(?:" ZOD_TIME "(?:\\.\\d+)?" ZOD_OFFSET ")$", NULL},
    {"date-time", "^" ZOD_DATE "T(?:" ZOD_TIME "(?:\\.\\d+)?" ZOD_OFFSET ZOD_LOCAL ")$", NULL},
    {"date-time", "^" ZOD_DATE "T(?:" ZOD_TIME "(?:Z))$", DATE "T" CLOCK "Z"},
    {"date-time", "^" ZOD_DATE "T(?:" ZOD_TIME "\\.\\d{3}(?:Z))$", DATE "T" CLOCK "\\.\\d{3}Z"},
    {"duration",
     "^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$", NULL},
    {"ipv4",
     "^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])\\.){3}"
     "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])$",
     NULL},
    {"ipv6",
     "^(([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,7}:|([0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F]{1,4}|"
     "([0-9a-fA-F]{1,4}:){1,5}(:[0-9a-fA-F]{1,4}){1,2}|([0-9a-fA-F]{1,4}:){1,4}(:[0-9a-fA-F]{1,4}){1,3}|"
     "([0-9a-fA-F]{1,4}:){1,3}(:[0-9a-fA-F]{1,4}){1,4}|([0-9a-fA-F]{1,4}:){1,2}(:[0-9a-fA-F]{1,4}){1,5}|"
     "[0-9a-fA-F]{1,4}:((:[0-9a-fA-F]{1,4}){1,6})|:((:[0-9a-fA-F]{1,4}){1,7}|:))$",
     NULL},
    {"base64", "^$|^(?:[0-9a-zA-Z+/]{4})*(?:(?:[0-9a-zA-Z+/]{2}==)|(?:[0-9a-zA-Z+/]{3}=))?$", NULL},
    {"decimal", "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$", "-?(0|[1-9]\\d{0,11})(\\.\\d{1,6})?"},
    {"emoji",
     "^(?=[\\s\\S]*[\\p{Extended_Pictographic}\\p{Regional_Indicator}\\u20E3])"
     "[\\p{Extended_Pictographic}\\p{Emoji_Component}]+$",
     NULL},
};

const char *grammar_format_both(str format, str pattern) {
    for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
        if (!str_is(pattern, both[i].pattern) || (format.len && !str_is(format, both[i].format))) continue;
        return both[i].generated ? both[i].generated : grammar_format_pattern(str_of(both[i].format));
    }
    return NULL;
}
