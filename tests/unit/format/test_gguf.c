/* format/gguf: what is accepted reads back as written; each class of malformed file is refused by name. */
#include "../test.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gguf_build.h"

static build b;

/* From a copy of exactly its size on the heap, so that a sanitizer sees any read past the end. */
static uint8_t *copy;

static bool open_bytes(gguf *g, test_alloc *t, err *e) {
    free(copy);
    copy = malloc(b.len ? b.len : 1);
    memcpy(copy, b.bytes, b.len);
    return gguf_open_memory(g, copy, b.len, "test.gguf", &t->alloc, e);
}

/* The file as built is refused with this code, its name in front, and each of these words. */
static void refused_with(err_code code, const char *words, const char *more_words) {
    test_alloc t;
    test_alloc_init(&t, 0);
    gguf g;
    err e = {0};
    if (open_bytes(&g, &t, &e)) fail_msg("accepted; expected \"%s\"", words);
    if (e.code != code || strncmp(e.message, "test.gguf: ", 11) || !strstr(e.message, words) || !strstr(e.message, more_words))
        fail_msg("%s: \"%s\", expected \"%s\" and \"%s\"", err_code_name(e.code), e.message, words, more_words);
    assert_null(strchr(e.message, '\n'));
    assert_int_equal(t.outstanding_bytes, 0);
    gguf_close(&g); /* harmless after a refusal */
}
static void refused(const char *words, const char *more_words) { refused_with(ERR_FORMAT, words, more_words); }
static void unsupported(const char *words, const char *more_words) { refused_with(ERR_UNSUPPORTED, words, more_words); }

/* Refused before anything is allocated. */
static void refused_at_once(const char *words) {
    test_alloc t;
    test_alloc_init(&t, 1);
    gguf g;
    err e = {0};
    assert_false(open_bytes(&g, &t, &e));
    if (!strstr(e.message, words)) fail_msg("\"%s\", expected \"%s\"", e.message, words);
    assert_int_equal(t.calls, 0);
}

static void accepted(void) {
    test_alloc t;
    test_alloc_init(&t, 0);
    gguf g;
    err e = {0};
    assert_ok(open_bytes(&g, &t, &e), e);
    gguf_close(&g);
    assert_int_equal(t.outstanding_bytes, 0);
}

/* ---- what is accepted ---- */

static void check_scalars(const gguf *g) {
    err e;
    uint32_t u = 0;
    assert_ok(gguf_u32(g, "t.u8", true, &u, &e), e); assert_int_equal(u, 200);
    assert_ok(gguf_u32(g, "t.u16", true, &u, &e), e); assert_int_equal(u, 60000);
    assert_ok(gguf_u32(g, "t.u32", true, &u, &e), e); assert_int_equal(u, 4000000000u);
    assert_true(gguf_number(gguf_find(g, "t.i8")) == -100);
    assert_true(gguf_number(gguf_find(g, "t.i16")) == -30000);
    assert_true(gguf_number(gguf_find(g, "t.i32")) == -2e9);
    assert_true(gguf_number(gguf_find(g, "t.i64")) == -0x1p63);
    assert_true(gguf_number(gguf_find(g, "t.u64")) == 0x1p64);
    assert_true(gguf_number(gguf_find(g, "t.true")) == 1);
    float f = 0;
    assert_ok(gguf_f32(g, "t.f32", true, &f, &e), e); assert_true(f == 1.5f);
    assert_ok(gguf_f32(g, "t.f64", true, &f, &e), e); assert_true(f == -2.25f);
    bool flag = false;
    assert_ok(gguf_bool(g, "t.true", true, &flag, &e), e); assert_true(flag);
    assert_ok(gguf_bool(g, "t.false", true, &flag, &e), e); assert_false(flag);
    str s;
    assert_ok(gguf_str(g, "general.architecture", true, &s, &e), e); assert_true(str_is(s, "sample"));
    assert_ok(gguf_str(g, "t.empty", true, &s, &e), e); assert_int_equal(s.len, 0);
}

static void check_arrays(const gguf *g) {
    err e;
    gguf_strings it;
    uint64_t n = 0;
    str s;
    assert_ok(gguf_string_array(g, "a.strings", true, &it, &n, &e), e);
    assert_int_equal(n, 3);
    assert_true(gguf_strings_next(&it, &s) && str_is(s, "one"));
    assert_true(gguf_strings_next(&it, &s) && s.len == 0);
    assert_true(gguf_strings_next(&it, &s) && str_is(s, "three"));
    assert_false(gguf_strings_next(&it, &s));
    const uint8_t *items;
    assert_ok(gguf_number_array(g, "a.f32", GGUF_F32, true, &items, &n, &e), e);
    assert_int_equal(n, 2);
    assert_true(gguf_f32_at(items, 0) == 0.5f && gguf_f32_at(items, 1) == -8.0f);
    assert_ok(gguf_number_array(g, "a.i32", GGUF_I32, true, &items, &n, &e), e);
    assert_int_equal(n, 2);
    assert_int_equal(gguf_i32_at(items, 1), -7);
    assert_ok(gguf_number_array(g, "a.bool", GGUF_BOOL, true, &items, &n, &e), e);
    assert_int_equal(items[1], 1);
    assert_ok(gguf_number_array(g, "a.none", GGUF_U64, true, &items, &n, &e), e);
    assert_int_equal(n, 0);
}

static void check_tensors(const gguf *g) {
    assert_int_equal(g->alignment, 64);
    assert_int_equal(g->data_offset % 64, 0);
    assert_int_equal(g->tensor_bytes, 32 + 68 + 5);
    assert_true(str_is(g->tensors[0].name, "w.q8")); /* the file's order */
    const format_tensor *t = gguf_find_tensor(g, STR("w.q8"));
    assert_non_null(t);
    assert_int_equal(t->type, DTYPE_Q8_0);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 32);
    assert_int_equal(t->dims[1], 2);
    assert_int_equal(t->dims[2], 1);
    assert_int_equal(t->bytes, 68);
    uint8_t data[4];
    err e;
    assert_ok(gguf_tensor_read(g, t, 64, data, 4, &e), e);
    for (int i = 0; i < 4; i++) assert_int_equal(data[i], 128 + i);
    t = gguf_find_tensor(g, STR("w.i8"));
    assert_non_null(t);
    assert_int_equal(t->dims[1], 1);
    assert_ok(gguf_tensor_read(g, t, 5, data, 0, &e), e);
    assert_null(gguf_find_tensor(g, STR("w.i")));
    assert_null(gguf_find_tensor(g, STR("")));
    assert_null(gguf_find_tensor(g, STR("zzz")));
}

static void everything_reads_back(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        test_alloc t;
        test_alloc_init(&t, 0);
        gguf g;
        err e = {0};
        build_sample(&b, version);
        assert_ok(open_bytes(&g, &t, &e), e);
        assert_int_equal(g.version, version);
        assert_int_equal(g.n_kvs, 20);
        assert_int_equal(t.outstanding_bytes, g.index_bytes);
        check_scalars(&g);
        check_arrays(&g);
        check_tensors(&g);
        gguf_close(&g);
        assert_int_equal(t.outstanding_bytes, 0);
    }
}

static void absent_and_mistyped_keys(void **state) {
    (void)state;
    test_alloc t;
    test_alloc_init(&t, 0);
    gguf g;
    err e = {0};
    build_sample(&b, 3);
    assert_ok(open_bytes(&g, &t, &e), e);
    uint32_t u = 17;
    assert_true(gguf_u32(&g, "nowhere", false, &u, &e));
    assert_int_equal(u, 17);
    assert_false(gguf_u32(&g, "nowhere", true, &u, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_string_equal(e.message, "missing key nowhere");
    assert_false(gguf_u32(&g, "t.i8", false, &u, &e));
    assert_non_null(strstr(e.message, "is -100"));
    assert_false(gguf_u32(&g, "t.i64", false, &u, &e));
    assert_non_null(strstr(e.message, "-9223372036854775808"));
    assert_false(gguf_u32(&g, "t.u64", false, &u, &e));
    assert_non_null(strstr(e.message, "18446744073709551615"));
    assert_false(gguf_u32(&g, "t.f32", false, &u, &e));
    assert_string_equal(e.message, "key t.f32 is f32, not an integer");
    float f;
    assert_false(gguf_f32(&g, "t.empty", true, &f, &e));
    bool flag;
    assert_false(gguf_bool(&g, "t.u8", true, &flag, &e));
    str s;
    assert_false(gguf_str(&g, "a.strings", true, &s, &e));
    assert_string_equal(e.message, "key a.strings is array of string, not a string");
    gguf_strings it;
    uint64_t n;
    assert_false(gguf_string_array(&g, "a.f32", true, &it, &n, &e));
    assert_false(gguf_string_array(&g, "t.empty", true, &it, &n, &e));
    const uint8_t *items;
    assert_false(gguf_number_array(&g, "a.f32", GGUF_I32, true, &items, &n, &e));
    assert_string_equal(e.message, "key a.f32 is array of f32, not an array of i32");
    assert_false(gguf_number_array(&g, "t.u32", GGUF_U32, true, &items, &n, &e));
    gguf_close(&g);
}

static void unsigned_items_pass_for_signed_where_they_fit(void **state) {
    (void)state;
    test_alloc t;
    test_alloc_init(&t, 0);
    gguf g;
    err e = {0};
    build_header(&b, 3, 0, 3);
    build_kv_array(&b, "fits", GGUF_U32, 2), build_u32(&b, 1), build_u32(&b, INT32_MAX);
    build_kv_array(&b, "not", GGUF_U32, 2), build_u32(&b, 1), build_u32(&b, 0x80000000u);
    build_key(&b, "nan", GGUF_F32), build_u32(&b, 0x7FC00000);
    assert_ok(open_bytes(&g, &t, &e), e);
    const uint8_t *items;
    uint64_t n;
    assert_ok(gguf_number_array(&g, "fits", GGUF_I32, true, &items, &n, &e), e);
    assert_int_equal(gguf_i32_at(items, 1), INT32_MAX);
    assert_false(gguf_number_array(&g, "not", GGUF_I32, true, &items, &n, &e));
    assert_non_null(strstr(e.message, "2147483648"));
    float f;
    assert_false(gguf_f32(&g, "nan", true, &f, &e));
    assert_non_null(strstr(e.message, "finite"));
    gguf_close(&g);
}

static void look_up_finds_each_of_many(void **state) {
    (void)state;
    enum { N = 3000 };
    test_alloc t;
    test_alloc_init(&t, 0);
    gguf g;
    err e = {0};
    char name[32];
    build_header(&b, 3, N, N);
    for (uint32_t i = 0; i < N; i++) { /* 7919 is prime to N: a scrambled order */
        snprintf(name, sizeof name, "key.%u", i * 7919 % N);
        build_kv_u32(&b, name, i * 7919 % N);
    }
    for (uint32_t i = 0; i < N; i++) {
        snprintf(name, sizeof name, "w%u", i * 7919 % N);
        build_tensor(&b, name, 1, 1, DTYPE_I8, 32 * ((i * 101) % N));
    }
    build_data(&b, 32, 32 * N);
    assert_ok(open_bytes(&g, &t, &e), e);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t v = N;
        snprintf(name, sizeof name, "key.%u", i);
        assert_ok(gguf_u32(&g, name, true, &v, &e), e);
        assert_int_equal(v, i);
        snprintf(name, sizeof name, "w%u", i);
        const format_tensor *found = gguf_find_tensor(&g, str_of(name));
        assert_non_null(found);
        assert_true(str_is(found->name, name));
    }
    gguf_close(&g);
}

static void odd_files_that_are_accepted(void **state) {
    (void)state;
    build_header(&b, 3, 0, 0); /* 24 bytes, nothing in it */
    accepted();
    build_header(&b, 2, 0, 1); /* a vocabulary alone, without padding */
    build_kv_string(&b, "general.architecture", "llama");
    accepted();
    build_header(&b, 3, 2, 0); /* a gap between tensors, and bytes after the last */
    build_tensor(&b, "a", 4, 1, DTYPE_F32, 0);
    build_tensor(&b, "b", 4, 1, DTYPE_F32, 128);
    build_data(&b, 32, 500);
    accepted();
    build_header(&b, 3, 1, 1); /* a name of several bytes a character, an alignment of u64 type */
    build_key(&b, "general.alignment", GGUF_U64), build_u64(&b, 8);
    build_tensor(&b, "gewicht-\xC3\xA4\xE2\x82\xAC", 4, 1, DTYPE_F32, 0);
    build_data(&b, 8, 16);
    accepted();
}

/* ---- from a file ---- */

static void files_on_disk(void **state) {
    (void)state;
    char path[] = "/tmp/plimsoll-gguf-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    build_sample(&b, 3);
    assert_int_equal(write(fd, b.bytes, b.len), b.len);
    test_alloc t;
    test_alloc_init(&t, 0);
    gguf g;
    err e = {0};
    assert_ok(gguf_open(&g, path, &t.alloc, &e), e);
    check_scalars(&g);
    check_tensors(&g);
    gguf_close(&g);

    assert_int_equal(ftruncate(fd, (off_t)b.len - 1), 0);
    assert_false(gguf_open(&g, path, &t.alloc, &e));
    assert_int_equal(strncmp(e.message, path, strlen(path)), 0);
    assert_non_null(strstr(e.message, "tensor w.i8"));
    gguf_close(&g);

    assert_int_equal(ftruncate(fd, 0), 0);
    assert_false(gguf_open(&g, path, &t.alloc, &e));
    assert_non_null(strstr(e.message, "not a GGUF file"));
    close(fd);
    unlink(path);
    assert_false(gguf_open(&g, path, &t.alloc, &e));
    assert_int_equal(t.outstanding_bytes, 0);
}

/* The data is a hole: 1 TiB of file, a few KiB of disk; opening touches the header alone. */
static void a_sparse_file_opens(void **state) {
    (void)state;
    char path[] = "/tmp/plimsoll-gguf-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    build_header(&b, 3, 1, 0);
    build_tensor(&b, "huge", 1u << 20, 1u << 18, DTYPE_F32, 0);
    build_pad(&b, 32);
    assert_int_equal(write(fd, b.bytes, b.len), b.len);
    if (ftruncate(fd, (off_t)b.len + ((off_t)1 << 40))) { /* this file system has no room for holes */
        close(fd);
        unlink(path);
        skip();
    }
    test_alloc t;
    test_alloc_init(&t, 0);
    gguf g;
    err e = {0};
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    assert_ok(gguf_open(&g, path, &t.alloc, &e), e);
    assert_true(g.tensor_bytes == (uint64_t)1 << 40);
    uint8_t byte = 1;
    assert_ok(gguf_tensor_read(&g, g.tensors, g.tensor_bytes - 1, &byte, 1, &e), e);
    assert_int_equal(byte, 0);
    gguf_close(&g);
    /* Claims that fit a file of this size are still bounded: an array of 2^34 strings, 2^34 keys. */
    build_header(&b, 3, 0, 1);
    build_kv_array(&b, "k", GGUF_STRING, (uint64_t)1 << 34);
    assert_int_equal(pwrite(fd, b.bytes, b.len, 0), b.len);
    assert_false(gguf_open(&g, path, &t.alloc, &e));
    assert_non_null(strstr(e.message, "metadata of more than 128 MiB"));
    build_header(&b, 3, 0, (uint64_t)1 << 34);
    assert_int_equal(pwrite(fd, b.bytes, b.len, 0), b.len);
    assert_false(gguf_open(&g, path, &t.alloc, &e));
    assert_non_null(strstr(e.message, "65536 is the limit"));
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 64 << 10); /* KiB */
    assert_int_equal(t.outstanding_bytes, 0);
    close(fd);
    unlink(path);
}

/* ---- what is refused ---- */

static void no_gguf_at_all(void **state) {
    (void)state;
    b.len = 0;
    refused("not a GGUF file", "0 bytes");
    build_raw(&b, "GGU", 3);
    refused("not a GGUF file", "3 bytes");
    b.len = 0;
    build_raw(&b, "PK\x03\x04 and more than twenty-four bytes", 36);
    refused("not a GGUF file", "36 bytes");
    b.len = 0;
    build_raw(&b, "GGUF", 4);
    refused("truncated: 4 bytes", "24");
    build_header(&b, 3, 0, 0);
    b.len = 23;
    refused("truncated: 23 bytes", "24");
}

static void versions(void **state) {
    (void)state;
    build_header(&b, 1, 0, 0);
    unsupported("version 1", "2 and 3");
    build_header(&b, 4, 0, 0);
    unsupported("version 4", "2 and 3");
    build_header(&b, 0, 0, 0);
    unsupported("version 0", "2 and 3");
    build_header(&b, 0x03000000, 0, 0);
    unsupported("big-endian", "little-endian");
}

static void every_truncation(void **state) {
    (void)state;
    build_sample(&b, 3);
    size_t whole = b.len;
    test_alloc t;
    for (size_t len = 0; len < whole; len++) {
        test_alloc_init(&t, 0);
        gguf g;
        err e = {0};
        build_sample(&b, 3);
        b.len = len;
        if (open_bytes(&g, &t, &e)) fail_msg("accepted the first %zu of %zu bytes", len, whole);
        assert_int_equal(t.outstanding_bytes, 0);
    }
}

static void counts_that_cannot_be(void **state) {
    (void)state;
    build_header(&b, 3, 0, UINT64_MAX);
    refused_at_once("claims 18446744073709551615 metadata keys");
    build_header(&b, 3, (uint64_t)1 << 63, 0);
    refused_at_once("claims 9223372036854775808 tensors");
    build_header(&b, 3, 0x0E38E38E38E38E39, 0); /* times 72 wraps to 8 */
    refused_at_once("tensors");
    build_header(&b, 3, 0, 2); /* room for one at most */
    build_kv_u32(&b, "a", 1);
    refused_at_once("claims 2 metadata keys; a file of 41 bytes has room for 1");
    build_header(&b, 3, 1, 0);
    refused_at_once("claims 1 tensors");
}

static void strings_that_cannot_be(void **state) {
    (void)state;
    build_header(&b, 3, 0, 1);
    build_u64(&b, UINT64_MAX);
    build_raw(&b, "0123456789", 10);
    refused("key 0 has a string of 18446744073709551615 bytes", "10 are left");
    build_header(&b, 3, 0, 1);
    build_key(&b, "k", GGUF_STRING), build_u64(&b, UINT64_MAX - 7);
    refused("string of 18446744073709551608 bytes", "0 are left");
    build_header(&b, 3, 0, 1);
    build_kv_array(&b, "k", GGUF_STRING, 2);
    build_string(&b, "fine"), build_u64(&b, UINT64_MAX);
    refused("string of 18446744073709551615 bytes", "key 0");
    build_header(&b, 3, 1, 0);
    build_u64(&b, (uint64_t)1 << 62);
    build_raw(&b, "0123456789012345678901234567890", 31);
    refused("tensor 0 has a string of 4611686018427387904 bytes", "left");
}

static void arrays_that_cannot_be(void **state) {
    (void)state;
    build_header(&b, 3, 0, 1);
    build_kv_array(&b, "k", GGUF_U32, 4);
    build_u32(&b, 1), build_u32(&b, 2);
    refused("key k claims an array of 4 u32 items", "8 bytes are left");
    build_header(&b, 3, 0, 1); /* 43 bytes at most, and an array of 2^63 */
    build_u64(&b, 1), build_raw(&b, "k", 1), build_u32(&b, GGUF_ARRAY), build_u32(&b, GGUF_U8);
    build_u64(&b, (uint64_t)1 << 63);
    b.len = 43;
    refused("truncated in key 0", "43");
    b.len = 49;
    refused("claims an array of 9223372036854775808 u8 items", "0 bytes are left");
    build_header(&b, 3, 0, 1);
    build_kv_array(&b, "k", GGUF_U64, ((uint64_t)1 << 61) + 1); /* times 8 wraps to 8 */
    build_u64(&b, 0);
    refused("claims an array of 2305843009213693953 u64 items", "8 bytes are left");
    build_header(&b, 3, 0, 1);
    build_kv_array(&b, "k", GGUF_STRING, 3);
    build_string(&b, "one"), build_string(&b, "two");
    refused("claims an array of 3 string items", "22 bytes are left");
    build_header(&b, 3, 0, 1);
    build_kv_array(&b, "k", GGUF_ARRAY, 1);
    build_u32(&b, GGUF_U8), build_u64(&b, 1), build_u8(&b, 1);
    unsupported("key k is an array of arrays", "");
}

static void values_that_cannot_be(void **state) {
    (void)state;
    build_header(&b, 3, 0, 1);
    build_key(&b, "k", 13), build_u64(&b, 0);
    refused("key k has the unknown value type 13", "");
    build_header(&b, 3, 0, 1);
    build_kv_array(&b, "k", UINT32_MAX, 1), build_u64(&b, 0);
    refused("unknown value type 4294967295", "");
    build_header(&b, 3, 0, 1);
    build_key(&b, "k", GGUF_BOOL), build_u8(&b, 2);
    refused("key k has a bool that is 2", "");
    build_header(&b, 3, 0, 1);
    build_kv_array(&b, "k", GGUF_BOOL, 3), build_u8(&b, 1), build_u8(&b, 0), build_u8(&b, 255);
    refused("key k has a bool that is 255", "");
}

static void names_that_cannot_be(void **state) {
    (void)state;
    static char long_name[65537];
    memset(long_name, 'x', 65536);
    struct {
        const char *name;
        size_t len;
        const char *reason;
    } cases[] = {
        {"", 0, "empty name"},
        {long_name, 65536, "a name of 65536 bytes"},
        {"a\0b", 3, "control character 0x00"},
        {"a\nb", 3, "control character 0x0a"},
        {"\x1b[31m", 5, "control character 0x1b"},
        {"\xff\xfe", 2, "not UTF-8"},
        {"\xC0\xAF", 2, "not UTF-8"},
        {"\xE2\x82", 2, "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        build_header(&b, 3, 0, 2);
        build_kv_u32(&b, "good", 1);
        build_string_of(&b, cases[i].name, cases[i].len), build_u32(&b, GGUF_U32), build_u32(&b, 1);
        refused("key 1 has a", cases[i].reason);
        build_header(&b, 3, 1, 0);
        build_string_of(&b, cases[i].name, cases[i].len);
        build_u32(&b, 1), build_u64(&b, 8), build_u32(&b, DTYPE_F32), build_u64(&b, 0);
        build_data(&b, 32, 32);
        refused("tensor 0 has a", cases[i].reason);
    }
    build_header(&b, 3, 0, 1); /* the longest that may be */
    build_string_of(&b, long_name, 65535), build_u32(&b, GGUF_U32), build_u32(&b, 1);
    accepted();
}

static void duplicates(void **state) {
    (void)state;
    build_header(&b, 3, 0, 4);
    build_kv_u32(&b, "same", 1), build_kv_u32(&b, "sam", 2), build_kv_u32(&b, "same2", 3), build_kv_string(&b, "same", "");
    refused("duplicate key same", "");
    build_header(&b, 3, 3, 0);
    build_tensor(&b, "same", 8, 1, DTYPE_F32, 0);
    build_tensor(&b, "other", 8, 1, DTYPE_F32, 32);
    build_tensor(&b, "same", 8, 1, DTYPE_F32, 64);
    build_data(&b, 32, 96);
    refused("duplicate tensor same", "");
}

static void one_tensor(uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset, size_t data_bytes) {
    build_header(&b, 3, 1, 0);
    build_tensor_dims(&b, "w", n_dims, dims, type, offset);
    build_data(&b, 32, data_bytes);
}

static void tensors_that_cannot_be(void **state) {
    (void)state;
    uint64_t ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    one_tensor(4, ones, DTYPE_F32, 0, 4);
    accepted();
    one_tensor(5, ones, DTYPE_F32, 0, 4);
    refused("tensor w has 5 dimensions", "1 to 4");
    one_tensor(0, ones, DTYPE_F32, 0, 64);
    refused("tensor w has 0 dimensions", "1 to 4");
    one_tensor(1, ones, DTYPE_F32, 0, 64);
    b.bytes[24 + 8 + 1 + 3] = 0xFF; /* n_dims of 0xFF000001 */
    refused("tensor w has 4278190081 dimensions", "1 to 4");

    one_tensor(2, (uint64_t[]){32, 0}, DTYPE_F32, 0, 64);
    refused("tensor w has dimension 1 of 0", "");
    one_tensor(4, (uint64_t[]){1u << 31, 1u << 31, 1u << 31, 1u << 31}, DTYPE_F32, 0, 64);
    refused("tensor w has more values than 63 bits count", "");
    one_tensor(2, (uint64_t[]){(uint64_t)1 << 32, (uint64_t)1 << 32}, DTYPE_F32, 0, 64); /* wraps to 0 */
    refused("tensor w has more values than 63 bits count", "");
    one_tensor(1, (uint64_t[]){(uint64_t)1 << 62}, DTYPE_F32, 0, 64); /* bytes wrap to 0 */
    refused("tensor w has more bytes than 63 bits count", "");

    one_tensor(2, (uint64_t[]){33, 1}, DTYPE_Q4_0, 0, 64);
    refused("rows of 33 values, not a multiple of the 32", "Q4_0");
    one_tensor(2, (uint64_t[]){128, 2}, DTYPE_Q4_K, 0, 200); /* 256 values, but no whole block in a row */
    refused("rows of 128 values, not a multiple of the 256", "Q4_K");

    static const uint32_t unknown[] = {4, 5, 16, 31, 36, 40, UINT32_MAX};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        char words[64];
        snprintf(words, sizeof words, "tensor w has the unknown type %u", unknown[i]);
        one_tensor(1, ones, unknown[i], 0, 64);
        unsupported(words, "");
    }
}

static void tensor_data_that_cannot_be(void **state) {
    (void)state;
    one_tensor(2, (uint64_t[]){8, 2}, DTYPE_F32, 0, 63);
    refused("tensor w needs 64 bytes at 0 of the data, but the file has 63", "");
    one_tensor(2, (uint64_t[]){1u << 20, 1u << 20}, DTYPE_F32, 0, 64); /* inflated */
    refused("tensor w needs 4398046511104 bytes", "the file has 64");
    one_tensor(1, (uint64_t[]){8}, DTYPE_F32, 64, 64);
    refused("tensor w needs 32 bytes at 64", "");
    one_tensor(1, (uint64_t[]){8}, DTYPE_F32, UINT64_MAX - 31, 64); /* offset and size wrap */
    refused("tensor w needs 32 bytes at 18446744073709551584", "");
    one_tensor(1, (uint64_t[]){8}, DTYPE_F32, 8, 64);
    refused("tensor w begins at 8, not a multiple of the alignment 32", "");

    build_header(&b, 3, 3, 0); /* the sizes sum to 2^64 + 32 */
    build_tensor(&b, "a", (uint64_t)1 << 60, 2, DTYPE_F32, 0);
    build_tensor(&b, "b", (uint64_t)1 << 60, 2, DTYPE_F32, (uint64_t)1 << 63);
    build_tensor(&b, "c", 8, 1, DTYPE_F32, 0);
    build_data(&b, 32, 64);
    refused("tensor a has more bytes than 63 bits count", "");
    build_header(&b, 3, 5, 0); /* each below 2^63, together 2^64 */
    for (uint64_t i = 0; i < 5; i++)
        build_tensor(&b, (const char *[]){"a", "b", "c", "d", "e"}[i], (uint64_t)1 << 60, 1, DTYPE_F32, i << 62);
    build_data(&b, 32, 64);
    refused("tensor a needs 4611686018427387904 bytes", "the file has 64");

    build_header(&b, 3, 2, 0);
    build_tensor(&b, "a", 9, 1, DTYPE_F32, 0);
    build_tensor(&b, "b", 8, 1, DTYPE_F32, 32);
    build_data(&b, 32, 64);
    refused("tensors a and b overlap", "");
    build_header(&b, 3, 2, 0);
    build_tensor(&b, "a", 8, 1, DTYPE_F32, 32);
    build_tensor(&b, "b", 8, 1, DTYPE_F32, 32);
    build_data(&b, 32, 64);
    refused("overlap", "");
}

static void alignments_that_cannot_be(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 1, 4, 24, 33, 1u << 17, 1u << 30, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char words[64];
        snprintf(words, sizeof words, "alignment of %u", bad[i]);
        build_header(&b, 3, 0, 1);
        build_kv_u32(&b, "general.alignment", bad[i]);
        refused(words, "power of two");
    }
    build_header(&b, 3, 0, 1);
    build_key(&b, "general.alignment", GGUF_I32), build_u32(&b, (uint32_t)-32);
    refused("general.alignment is -32", "");
    build_header(&b, 3, 0, 1);
    build_kv_string(&b, "general.alignment", "32");
    refused("general.alignment is string", "");
    build_header(&b, 3, 0, 1);
    build_key(&b, "general.alignment", GGUF_U64), build_u64(&b, ((uint64_t)1 << 32) + 32);
    refused("general.alignment is 4294967328", "");
}

static void a_long_path_does_not_hide_the_reason(void **state) {
    (void)state;
    char name[1000];
    memset(name, 'd', sizeof name);
    memcpy(name + sizeof name - 8, "/x.gguf", 8);
    test_alloc t;
    test_alloc_init(&t, 0);
    gguf g;
    err e = {0};
    assert_false(gguf_open_memory(&g, "GGUF", 4, name, &t.alloc, &e));
    assert_non_null(strstr(e.message, "/x.gguf: truncated: 4 bytes"));
}

/* Any single byte changed: never a crash, never a leak; what is still accepted can be read. */
static void every_byte_flipped(void **state) {
    (void)state;
    build_sample(&b, 3);
    size_t whole = b.len;
    for (size_t at = 0; at < whole; at++) {
        for (int bit = 0; bit < 8; bit++) {
            test_alloc t;
            test_alloc_init(&t, 0);
            gguf g;
            err e = {0};
            build_sample(&b, 3);
            b.bytes[at] ^= (uint8_t)(1 << bit);
            if (open_bytes(&g, &t, &e)) {
                uint8_t byte;
                for (uint64_t i = 0; i < g.n_tensors; i++)
                    assert_ok(gguf_tensor_read(&g, &g.tensors[i], g.tensors[i].bytes - 1, &byte, 1, &e), e);
            }
            gguf_close(&g);
            assert_int_equal(t.outstanding_bytes, 0);
        }
    }
}

static void write_part(const char *path, uint32_t no, const char *tensor) {
    build_header(&b, 3, 1, 3);
    build_key(&b, "split.no", GGUF_U16), build_u16(&b, (uint16_t)no);
    build_key(&b, "split.count", GGUF_U16), build_u16(&b, 2);
    build_key(&b, "split.tensors.count", GGUF_I32), build_u32(&b, 2);
    build_tensor(&b, tensor, 4, 2, DTYPE_F32, 0);
    build_data(&b, 32, 32 + no); /* of another size each */
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.bytes, 1, b.len, f), b.len);
    fclose(f);
}

/* A model in two files is one directory, wherever memory runs out while it is opened. */
static void two_files_in_any_memory(void **state) {
    (void)state;
    char paths[2][96];
    for (int i = 0; i < 2; i++)
        snprintf(paths[i], sizeof paths[i], "/tmp/plimsoll-%d-0000%d-of-00002.gguf", (int)getpid(), i + 1);
    write_part(paths[0], 0, "b");
    write_part(paths[1], 1, "a");
    bool opened = false;
    for (size_t n = 1; !opened; n++) {
        test_alloc t;
        test_alloc_init(&t, n);
        gguf g;
        err e = {0};
        opened = gguf_open(&g, paths[0], &t.alloc, &e);
        if (!opened) assert_int_equal(e.code, ERR_MEMORY);
        if (opened) {
            assert_true(n > 4 && g.n_parts == 1 && g.n_tensors == 2 && g.tensor_bytes == 64);
            for (uint32_t i = 0; i < 2; i++) {
                uint8_t last;
                const format_tensor *found = gguf_find_tensor(&g, i ? STR("a") : STR("b"));
                assert_true(found && found->part == i);
                assert_ok(gguf_tensor_read(&g, found, 31, &last, 1, &e), e);
                assert_int_equal(last, 31);
            }
        }
        gguf_close(&g);
        assert_int_equal(t.outstanding_bytes, 0);
    }
    for (int i = 0; i < 2; i++) unlink(paths[i]);
}

static void out_of_memory(void **state) {
    (void)state;
    build_sample(&b, 3);
    for (size_t n = 1;; n++) {
        test_alloc t;
        test_alloc_init(&t, n);
        gguf g;
        err e = {0};
        bool opened = open_bytes(&g, &t, &e);
        if (!opened) {
            assert_int_equal(e.code, ERR_MEMORY);
            assert_true(e.need_bytes > 0);
            assert_int_equal(strncmp(e.message, "test.gguf: ", 11), 0);
        }
        gguf_close(&g);
        assert_int_equal(t.outstanding_bytes, 0);
        if (opened) {
            assert_true(n > 1);
            return;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_reads_back),
        cmocka_unit_test(absent_and_mistyped_keys),
        cmocka_unit_test(unsigned_items_pass_for_signed_where_they_fit),
        cmocka_unit_test(look_up_finds_each_of_many),
        cmocka_unit_test(odd_files_that_are_accepted),
        cmocka_unit_test(files_on_disk),
        cmocka_unit_test(a_sparse_file_opens),
        cmocka_unit_test(no_gguf_at_all),
        cmocka_unit_test(versions),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(counts_that_cannot_be),
        cmocka_unit_test(strings_that_cannot_be),
        cmocka_unit_test(arrays_that_cannot_be),
        cmocka_unit_test(values_that_cannot_be),
        cmocka_unit_test(names_that_cannot_be),
        cmocka_unit_test(duplicates),
        cmocka_unit_test(tensors_that_cannot_be),
        cmocka_unit_test(tensor_data_that_cannot_be),
        cmocka_unit_test(alignments_that_cannot_be),
        cmocka_unit_test(a_long_path_does_not_hide_the_reason),
        cmocka_unit_test(every_byte_flipped),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(two_files_in_any_memory),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(copy);
    return failed;
}
