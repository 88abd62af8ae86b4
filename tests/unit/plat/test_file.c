/* Mapped files: what is opened, what is refused, what forgetting gives back. */
#include "../test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "plat/kernel.h"
#include "plat/vm.h"
#include "tree.h"

static tree t;

static void refuses(const char *path, err_code code, const char *reason) {
    plat_file f;
    err e = {0};
    alarm(20); /* a pipe without a writer must not hold us */
    assert_false(plat_file_open(&f, path, &e));
    alarm(0);
    assert_int_equal(e.code, code);
    if (!strstr(e.message, reason)) fail_msg("\"%s\" does not say \"%s\"", e.message, reason);
    assert_null(f.map);
    assert_int_equal(f.fd, -1);
    plat_file_close(&f); /* harmless */
}

static void only_regular_files(void **state) {
    (void)state;
    char path[512];
    refuses(t.root, ERR_IO, "a directory");
    refuses("/dev/zero", ERR_IO, "a device");
    tree_path(&t, "/pipe", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    refuses(path, ERR_IO, "a pipe");
    tree_path(&t, "/nothing", path);
    refuses(path, ERR_NOT_FOUND, "No such file");
    tree_path(&t, "/pipe/below", path);
    refuses(path, ERR_IO, "Not a directory");

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", t.root);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
    refuses(address.sun_path, ERR_IO, "No such device");
    close(s);
}

static void empty_file(void **state) {
    (void)state;
    tree_write(&t, "/empty", "");
    char path[512];
    tree_path(&t, "/empty", path);
    plat_file f;
    err e;
    assert_ok(plat_file_open(&f, path, &e), e);
    assert_null(f.map);
    assert_int_equal(f.bytes, 0);
    char c;
    assert_ok(plat_file_read(&f, 0, &c, 0, &e), e);
    assert_false(plat_file_read(&f, 0, &c, 1, &e));
    plat_file_forget(&f, 0, 100);
    plat_file_close(&f);
}

static void reads_exactly_or_says_why(void **state) {
    (void)state;
    tree_write(&t, "/ten", "0123456789");
    char path[512], out[16] = {0};
    tree_path(&t, "/ten", path);
    plat_file f;
    err e;
    assert_ok(plat_file_open(&f, path, &e), e);
    assert_int_equal(f.bytes, 10);
    assert_memory_equal(f.map, "0123456789", 10);
    assert_ok(plat_file_read(&f, 3, out, 7, &e), e);
    assert_string_equal(out, "3456789");
    const struct { uint64_t at; size_t bytes; } beyond[] = {{0, 11}, {10, 1}, {11, 0}, {5, 6}, {UINT64_MAX, 1}, {1, SIZE_MAX}};
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
        assert_false(plat_file_read(&f, beyond[i].at, out, beyond[i].bytes, &e));
        assert_int_equal(e.code, ERR_IO);
    }
    FILE *longer = fopen(path, "a"); /* someone appends: the file is what it was when opened */
    fputs("abc", longer);
    fclose(longer);
    assert_false(plat_file_read(&f, 8, out, 4, &e));
    assert_int_equal(truncate(path, 4), 0); /* someone shortens it under us */
    assert_false(plat_file_read(&f, 2, out, 6, &e));
    assert_non_null(strstr(e.message, "ends at byte 4"));
    plat_file_close(&f);
}

#ifndef PLIMSOLL_SANITIZED
static int64_t rss_file(void) {
    plat_process_memory m;
    assert_true(plat_process_memory_read(&m));
    return (int64_t)m.rss_file_bytes;
}
#endif

static void forget_gives_pages_back_and_keeps_content(void **state) {
    (void)state;
    const size_t bytes = (16u << 20) + 1000;
    char path[512];
    tree_path(&t, "/big", path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    char *block = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) block[i] = (char)(i * 31 >> 3);
    assert_int_equal(write(fd, block, bytes), bytes);
    close(fd);

    plat_file f;
    err e;
    assert_ok(plat_file_open(&f, path, &e), e);
#ifndef PLIMSOLL_SANITIZED
    int64_t before = rss_file();
#endif
    assert_memory_equal(f.map, block, bytes);
#ifndef PLIMSOLL_SANITIZED
    assert_true(rss_file() - before > (int64_t)bytes - (1 << 20));
    plat_file_forget(&f, 0, 8u << 20);
    assert_true(rss_file() - before < (9 << 20));
    assert_true(rss_file() - before > (7 << 20));
#endif
    plat_file_forget(&f, 8u << 20, UINT64_MAX); /* cut to the file's end */
    plat_file_forget(&f, UINT64_MAX, 1);
#ifndef PLIMSOLL_SANITIZED
    assert_true(rss_file() - before < (1 << 20));
#endif
    assert_memory_equal(f.map, block, bytes);
    plat_file_close(&f);
    free(block);
}

/* Only whole pages inside the range may go: what shares its edge pages stays. Private dirty pages would
 * lose their content, so a wrong edge shows as a lost byte. */
static void forget_stays_inside_the_range(void **state) {
    (void)state;
    size_t page = plat_page_bytes();
    err e;
    char *p = plat_vm_alloc(4 * page, false, &e);
    assert_ok(p, e);
    memset(p, 1, 4 * page);
    plat_vm_forget(p + 10, page - 10);        /* no whole page */
    plat_vm_forget(p + page + 1, 2 * page - 2); /* none either, on both edges */
    plat_vm_forget(p + page, 0);
    for (size_t i = 0; i < 4 * page; i++) assert_int_equal(p[i], 1);
    plat_vm_forget(p + page - 1, page + 2); /* exactly the second page */
    for (size_t i = 0; i < 4 * page; i++) assert_int_equal(p[i], i / page == 1 ? 0 : 1);
    plat_vm_free(p, 4 * page);
}

static int setup(void **state) {
    (void)state;
    tree_start(&t);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tree_end(&t);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_regular_files),
        cmocka_unit_test(empty_file),
        cmocka_unit_test(reads_exactly_or_says_why),
        cmocka_unit_test(forget_gives_pages_back_and_keeps_content),
        cmocka_unit_test(forget_stays_inside_the_range),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
