/* What the kernel's line about 2 MiB pages says, in recorded forms; the machine's own. */
#include "../test.h"

#include "plat/hugepages.h"
#include "tree.h"

static void each_setting(void **state) {
    (void)state;
    tree t;
    tree_start(&t);
    const char *path = "/sys/kernel/mm/transparent_hugepage/enabled";
    assert_int_equal(plat_hugepages_at(t.root), PLAT_HUGEPAGES_UNKNOWN); /* no such file */
    tree_write(&t, path, "always madvise [never]\n");
    assert_int_equal(plat_hugepages_at(t.root), PLAT_HUGEPAGES_NEVER);
    tree_write(&t, path, "always [madvise] never\n");
    assert_int_equal(plat_hugepages_at(t.root), PLAT_HUGEPAGES_MADVISE);
    tree_write(&t, path, "[always] madvise never\n");
    assert_int_equal(plat_hugepages_at(t.root), PLAT_HUGEPAGES_ALWAYS);
    tree_write(&t, path, "");
    assert_int_equal(plat_hugepages_at(t.root), PLAT_HUGEPAGES_UNKNOWN);
    tree_write(&t, path, "something else\n");
    assert_int_equal(plat_hugepages_at(t.root), PLAT_HUGEPAGES_UNKNOWN);
    tree_end(&t);
}

static void this_machine(void **state) {
    (void)state;
    assert_in_range(plat_hugepages_read(), PLAT_HUGEPAGES_UNKNOWN, PLAT_HUGEPAGES_ALWAYS);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_setting), cmocka_unit_test(this_machine)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
