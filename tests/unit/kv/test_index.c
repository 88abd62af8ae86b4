/* The tree of remembered tokens: what it finds, what stays when something goes, and full tables that refuse. */
#include "../test.h"

#include "kv/index.h"
#include "kv/spill.h"
#include "mem/arena.h"

enum { NODES = 12, ENTRIES = 3, PAGES = 16 };
static const uint64_t salt[2] = {7, 0}, other_salt[2] = {8, 0};

typedef struct fixture {
    mem_ledger ledger;
    kv_shape shape;
    kv_pool *pool;
    mem_arena arena;
    kv_index x;
    kv_node gone[NODES];
    uint32_t n_gone;
} fixture;

static void up(fixture *f) {
    err e = {0};
    *f = (fixture){.shape = kv_shape_make(2, 1, 16, 16, 64, (const bool[]){true, false})};
    mem_ledger_init(&f->ledger, UINT64_MAX);
    assert_ok(f->pool = kv_pool_new(&f->shape, PAGES * 4096, &f->ledger, &e), e);
    mem_arena plan;
    mem_arena_measure(&plan);
    kv_index_layout(&f->x, &plan, NODES, ENTRIES);
    assert_ok(mem_arena_init(&f->arena, &f->ledger, MEM_PROMPT_INDEX, plan.used, false, &e), e);
    kv_index_layout(&f->x, &f->arena, NODES, ENTRIES);
    kv_index_init(&f->x, &f->shape, f->pool);
}

static void on_gone(void *ctx, const kv_index_node *node) {
    fixture *f = ctx;
    f->gone[f->n_gone++] = (kv_node)(node - f->x.nodes);
}

static kv_node prune(fixture *f, kv_node node) {
    f->n_gone = 0;
    return kv_index_prune(&f->x, node, on_gone, f);
}

static uint32_t used_pages(fixture *f) {
    kv_pool_counts c;
    kv_pool_read(f->pool, &c);
    return c.used_pages;
}

static void down(fixture *f) {
    kv_index_check(&f->x);
    assert_int_equal(f->x.n_used, 0);
    assert_int_equal(f->x.n_entries_used, 0);
    assert_int_equal(used_pages(f), 0);
    kv_pool_free(f->pool);
    mem_arena_free(&f->arena);
}

/* A node whose pages are the tree's alone. */
static kv_node add(fixture *f, kv_node parent, int32_t first_token, uint32_t n) {
    err e = {0};
    int32_t tokens[KV_PAGE_TOKENS];
    uint8_t *pages[KV_GROUPS_MAX];
    for (uint32_t i = 0; i < n; i++) tokens[i] = first_token + (int32_t)i;
    for (uint32_t g = 0; g < f->shape.n_groups; g++) assert_ok(pages[g] = kv_pool_take(f->pool, g, 0, &e), e);
    kv_node node = kv_index_add(&f->x, parent, tokens, n, pages, KV_SPILL_NONE);
    for (uint32_t g = 0; g < f->shape.n_groups; g++) kv_pool_unref(f->pool, pages[g]);
    return node;
}

static kv_node find(fixture *f, kv_node parent, int32_t first_token, uint32_t n, uint32_t *common) {
    int32_t tokens[KV_PAGE_TOKENS];
    for (uint32_t i = 0; i < n; i++) tokens[i] = first_token + (int32_t)i;
    return kv_index_child(&f->x, parent, tokens, n, common);
}

static void roots_by_salt(void **state) {
    (void)state;
    fixture f;
    up(&f);
    assert_int_equal(kv_index_find_root(&f.x, salt), KV_NODE_NONE);
    kv_node a = kv_index_root(&f.x, salt, COMPUTE_KV_F16), b = kv_index_root(&f.x, other_salt, COMPUTE_KV_Q8);
    assert_int_not_equal(a, b);
    assert_int_equal(kv_index_root(&f.x, salt, COMPUTE_KV_F16), a);
    assert_int_equal(kv_index_find_root(&f.x, other_salt), b);
    prune(&f, a);
    assert_int_equal(kv_index_find_root(&f.x, salt), KV_NODE_NONE);
    prune(&f, b);
    down(&f);
}

static void the_child_that_goes_on_alike(void **state) {
    (void)state;
    fixture f;
    uint32_t common;
    up(&f);
    kv_node root = kv_index_root(&f.x, salt, 0);
    assert_int_equal(find(&f, root, 100, KV_PAGE_TOKENS, &common), KV_NODE_NONE);
    assert_int_equal(common, 0);
    kv_node full = add(&f, root, 100, KV_PAGE_TOKENS), part = add(&f, root, 100, 10), far = add(&f, root, 500, KV_PAGE_TOKENS);
    assert_int_equal(find(&f, root, 100, KV_PAGE_TOKENS, &common), full);
    assert_int_equal(common, KV_PAGE_TOKENS);
    assert_int_equal(find(&f, root, 100, 10, &common), part); /* both begin so: the shorter is all of it */
    assert_int_equal(common, 10);
    assert_int_equal(find(&f, root, 100, 13, &common), full);
    assert_int_equal(common, 13);
    kv_index_drop_pages(&f.x, part);
    assert_int_equal(find(&f, root, 100, 10, &common), full); /* it needs no reading */
    assert_int_equal(find(&f, root, 500, 1, &common), far);
    assert_int_equal(find(&f, root, 900, 5, &common), KV_NODE_NONE);
    assert_int_equal(common, 0);
    prune(&f, part);
    prune(&f, far);
    assert_int_equal(prune(&f, full), KV_NODE_NONE);
    assert_int_equal(f.n_gone, 2); /* and the root */
    down(&f);
}

static void what_is_needed_stays(void **state) {
    (void)state;
    fixture f;
    up(&f);
    kv_node root = kv_index_root(&f.x, salt, 0), a = add(&f, root, 0, KV_PAGE_TOKENS), b = add(&f, a, KV_PAGE_TOKENS, KV_PAGE_TOKENS);
    kv_node c = add(&f, b, 2 * KV_PAGE_TOKENS, 7);
    assert_int_equal(kv_index_tokens(&f.x, c), 2 * KV_PAGE_TOKENS + 7);
    assert_int_equal(prune(&f, a), a); /* it has children */
    assert_false(kv_index_can_leave(&f.x, b));
    assert_true(kv_index_can_leave(&f.x, c));
    kv_index_at(&f.x, b)->n_cursors = 1;
    assert_int_equal(prune(&f, c), b);
    assert_int_equal(f.n_gone, 1);
    assert_false(kv_index_can_leave(&f.x, b));
    kv_entry *e = kv_index_entry_add(&f.x, a, 5);
    kv_index_at(&f.x, b)->n_cursors = 0;
    assert_true(kv_index_can_leave(&f.x, b));
    assert_int_equal(prune(&f, b), a); /* a conversation ends there */
    kv_index_check(&f.x);
    assert_int_equal(used_pages(&f), 2);
    kv_pool_ref(f.pool, kv_index_at(&f.x, a)->pages[1]); /* one of its pages is read by someone */
    assert_false(kv_index_can_leave(&f.x, a));
    kv_pool_unref(f.pool, kv_index_at(&f.x, a)->pages[1]);
    kv_index_entry_remove(&f.x, e);
    assert_int_equal(prune(&f, a), KV_NODE_NONE);
    down(&f);
}

static void the_tail_of_an_entry(void **state) {
    (void)state;
    fixture f;
    err e = {0};
    up(&f);
    kv_node root = kv_index_root(&f.x, salt, 0), a = add(&f, root, 0, KV_PAGE_TOKENS), b = add(&f, a, KV_PAGE_TOKENS, KV_PAGE_TOKENS);
    kv_node c = add(&f, b, 2 * KV_PAGE_TOKENS, 7);
    kv_entry *end = kv_index_entry_add(&f.x, c, 5);
    assert_int_equal(kv_index_entry_tail(&f.x, end), c);
    kv_node path[] = {c, b, a};
    for (int i = 0; i < 3; i++) {
        kv_index_at(&f.x, path[i])->slot = (uint32_t)i; /* as if it were in the file */
        kv_index_drop_pages(&f.x, path[i]);
        kv_index_check(&f.x);
        assert_int_equal(kv_index_entry_tail(&f.x, end), i < 2 ? path[i + 1] : KV_NODE_NONE);
    }
    for (int i = 3; i-- > 0;) {
        uint8_t *pages[2];
        for (uint32_t g = 0; g < 2; g++) assert_ok(pages[g] = kv_pool_take(f.pool, g, 0, &e), e);
        kv_index_set_pages(&f.x, path[i], pages); /* back from the file, or computed again */
        assert_int_equal(kv_index_entry_tail(&f.x, end), path[i]);
    }
    kv_index_entry_pin(&f.x, end, true);
    for (int i = 0; i < 3; i++) assert_int_equal(kv_pool_refs(f.pool, kv_index_at(&f.x, path[i])->pages[0]), 2);
    assert_false(kv_index_can_leave(&f.x, c));
    kv_index_entry_remove(&f.x, end); /* takes the pin along */
    for (int i = 0; i < 3; i++) assert_int_equal(kv_pool_refs(f.pool, kv_index_at(&f.x, path[i])->pages[0]), 1);
    prune(&f, c);
    down(&f);
}

static void full_tables_refuse(void **state) {
    (void)state;
    fixture f;
    int32_t token = 1;
    up(&f);
    kv_node root = kv_index_root(&f.x, salt, 0), nodes[NODES];
    for (uint32_t i = 1; i < NODES; i++, token++) {
        nodes[i] = kv_index_add(&f.x, root, &token, 1, NULL, i);
        assert_int_not_equal(nodes[i], KV_NODE_NONE);
    }
    assert_int_equal(kv_index_add(&f.x, root, &token, 1, NULL, 0), KV_NODE_NONE);
    assert_int_equal(kv_index_root(&f.x, other_salt, 0), KV_NODE_NONE);
    assert_int_equal(kv_index_root(&f.x, salt, 0), root);
    uint64_t ids[ENTRIES];
    for (uint32_t i = 0; i < ENTRIES; i++) ids[i] = kv_index_entry_add(&f.x, nodes[i + 1], 1)->id;
    assert_null(kv_index_entry_add(&f.x, nodes[5], 1));
    assert_null(kv_index_entry_at(&f.x, nodes[5]));
    kv_entry *second = kv_index_entry_by_id(&f.x, ids[1]);
    assert_ptr_equal(second, kv_index_entry_at(&f.x, nodes[2]));
    kv_index_entry_remove(&f.x, second);
    assert_null(kv_index_entry_by_id(&f.x, ids[1]));
    assert_null(kv_index_entry_by_id(&f.x, 0));
    second = kv_index_entry_add(&f.x, nodes[5], 1);
    assert_true(second->id > ids[2]); /* a name is not used twice */
    kv_index_entry_move(&f.x, second, nodes[6]);
    assert_ptr_equal(kv_index_entry_at(&f.x, nodes[6]), second);
    kv_index_entry_remove(&f.x, second);
    kv_index_entry_remove(&f.x, kv_index_entry_by_id(&f.x, ids[0]));
    kv_index_entry_remove(&f.x, kv_index_entry_by_id(&f.x, ids[2]));
    for (uint32_t i = 1; i < NODES; i++) prune(&f, nodes[i]);
    down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_by_salt),
        cmocka_unit_test(the_child_that_goes_on_alike),
        cmocka_unit_test(what_is_needed_stays),
        cmocka_unit_test(the_tail_of_an_entry),
        cmocka_unit_test(full_tables_refuse),
    };
    return cmocka_run_group_tests_name("kv_index", tests, NULL, NULL);
}
