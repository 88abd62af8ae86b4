/* A folder of small files for one test, written from strings and removed afterwards. */
#ifndef TESTS_UNIT_PLAT_TREE_H
#define TESTS_UNIT_PLAT_TREE_H

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct tree {
    char root[64];
} tree;

static inline void tree_start(tree *t) {
    strcpy(t->root, "/tmp/plimsoll-test-XXXXXX");
    assert_non_null(mkdtemp(t->root));
}

static inline void tree_path(const tree *t, const char *path, char out[512]) { snprintf(out, 512, "%s%s", t->root, path); }

static inline void tree_write(const tree *t, const char *path, const char *text) {
    char full[512];
    tree_path(t, path, full);
    for (char *slash = full + strlen(t->root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int tree_remove_one(const char *path, const struct stat *st, int kind, struct FTW *place) {
    (void)st, (void)kind, (void)place;
    return remove(path);
}

static inline void tree_end(tree *t) { assert_int_equal(nftw(t->root, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0); }

#endif
