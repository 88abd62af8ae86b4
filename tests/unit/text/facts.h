/* Files of recorded facts: lines of fields separated by tabs; \\xNN in a text is a byte. */
#ifndef TESTS_UNIT_TEXT_FACTS_H
#define TESTS_UNIT_TEXT_FACTS_H

#include <stdio.h>

enum { FACTS_FIELDS_MAX = 5, FACTS_BYTES_MAX = 1 << 20 };

/* A whole file below tests/golden; the caller frees it. */
static inline char *facts_read(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", TEST_DATA_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *data = calloc(1, FACTS_BYTES_MAX);
    size_t n = fread(data, 1, FACTS_BYTES_MAX - 1, f);
    assert_true(n > 1000 && n < FACTS_BYTES_MAX - 1);
    fclose(f);
    return data;
}

static inline int facts_split(char *line, char *fields[FACTS_FIELDS_MAX]) {
    int n = 0;
    for (char *at = line; at && n < FACTS_FIELDS_MAX;) fields[n++] = strsep(&at, "\t");
    return n;
}

/* In place; returns the length, for texts may hold NUL. */
static inline size_t facts_unescape(char *s) {
    char *out = s;
    for (const char *at = s; *at; out++) {
        if (at[0] == '\\') {
            char hex[3] = {at[2], at[3], 0};
            *out = (char)strtoul(hex, NULL, 16);
            at += 4;
        } else {
            *out = *at++;
        }
    }
    *out = 0;
    return (size_t)(out - s);
}

#endif
