/* What a page holds and where: each byte belongs to at most one layer and head, in every type. */
#include "../test.h"

#include "kv/shape.h"
#include "plat/vm.h"

static void layout_of(const kv_shape *s, uint32_t group, kv_type type) {
    size_t page_bytes = kv_page_bytes(s, group, type), owned = 0, wanted = 0;
    size_t k = compute_kv_k_bytes(type, s->head_dim), v = compute_kv_v_bytes(type, s->head_dim_v);
    uint8_t *owners = calloc(page_bytes, 1);
    for (uint32_t layer = 0; layer < s->n_layers; layer++) {
        if (s->group_of[layer] != group) continue;
        device_kv_layer view = kv_layer_view(s, type, layer);
        for (uint32_t h = 0; h < s->n_kv_heads; h++) {
            size_t k_at = view.k_offset + h * view.k_stride, v_at = view.v_offset + h * view.v_stride;
            assert_true(k_at + k <= page_bytes && v_at + v <= page_bytes);
            for (size_t i = 0; i < k; i++) assert_int_equal(owners[k_at + i]++, 0);
            for (size_t i = 0; i < v; i++) assert_int_equal(owners[v_at + i]++, 0);
            wanted += k + v;
        }
    }
    for (size_t i = 0; i < page_bytes; i++) owned += owners[i];
    assert_int_equal(owned, wanted);
    assert_true(page_bytes - owned < plat_page_bytes()); /* only the rounding is waste */
    assert_int_equal(page_bytes % plat_page_bytes(), 0);
    free(owners);
}

static void layout_does_not_overlap(void **state) {
    (void)state;
    static const uint32_t dims[][4] = {{1, 1, 2, 2},   {1, 1, 64, 64},  {3, 5, 6, 10}, {7, 3, 80, 2},
                                       {2, 1, 2, 128}, {32, 8, 96, 64}, {5, 7, 30, 30}};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        bool windowed[32] = {false};
        for (uint32_t layer = 0; layer < dims[i][0]; layer++) windowed[layer] = layer % 3 == 0;
        for (int mixed = 0; mixed < 2; mixed++) {
            kv_shape s = kv_shape_make(dims[i][0], dims[i][1], dims[i][2], dims[i][3], 64, mixed ? windowed : NULL);
            for (uint32_t type = 0; type < KV_TYPES; type++)
                for (uint32_t g = 0; g < s.n_groups; g++) layout_of(&s, g, (kv_type)type);
        }
    }
}

static void groups(void **state) {
    (void)state;
    const bool some[] = {true, false, true, true, false}, all[] = {true, true, true, true, true}, none[5] = {false};
    kv_shape s = kv_shape_make(5, 2, 16, 16, 64, some);
    assert_int_equal(s.n_groups, 2);
    assert_int_equal(s.window[0], 0);
    assert_int_equal(s.window[1], 64);
    assert_int_equal(s.group_layers[0], 2);
    assert_int_equal(s.group_layers[1], 3);
    static const uint32_t rows[] = {0, 0, 1, 2, 1};
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(s.group_of[i], some[i]);
        assert_int_equal(s.row_of[i], rows[i]);
    }
    assert_int_equal(kv_set_bytes(&s, COMPUTE_KV_F16),
                     kv_page_bytes(&s, 0, COMPUTE_KV_F16) + kv_page_bytes(&s, 1, COMPUTE_KV_F16));
    s = kv_shape_make(5, 2, 16, 16, 64, all);
    assert_int_equal(s.n_groups, 1);
    assert_int_equal(s.window[0], 64);
    s = kv_shape_make(5, 2, 16, 16, 64, none);
    assert_int_equal(s.n_groups, 1);
    assert_int_equal(s.window[0], 0);
    s = kv_shape_make(5, 2, 16, 16, 64, NULL);
    assert_int_equal(s.n_groups, 1);
    assert_int_equal(s.window[0], 0);
}

static void types_by_name(void **state) {
    (void)state;
    kv_type type;
    for (uint32_t i = 0; i < KV_TYPES; i++) {
        assert_true(kv_type_parse(compute_kv_name((kv_type)i), &type));
        assert_int_equal(type, i);
    }
    assert_true(kv_type_parse("q4", &type) && type == COMPUTE_KV_Q4);
    static const char *const others[] = {"", "f", "f32", "q80", "Q8", " q8"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(kv_type_parse(others[i], &type));
}

static void pages_for_tokens(void **state) {
    (void)state;
    assert_int_equal(kv_pages_for(0), 0);
    assert_int_equal(kv_pages_for(1), 1);
    assert_int_equal(kv_pages_for(KV_PAGE_TOKENS), 1);
    assert_int_equal(kv_pages_for(KV_PAGE_TOKENS + 1), 2);
    assert_int_equal(kv_pages_for(1u << 30), (1u << 30) / KV_PAGE_TOKENS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_does_not_overlap),
        cmocka_unit_test(groups),
        cmocka_unit_test(types_by_name),
        cmocka_unit_test(pages_for_tokens),
    };
    return cmocka_run_group_tests_name("kv_shape", tests, NULL, NULL);
}
