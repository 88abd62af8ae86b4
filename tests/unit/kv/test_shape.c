/* What a page holds and where: each byte belongs to at most one layer and head, in every type. */
#include "../test.h"

#include "kv/shape.h"
#include "plat/vm.h"

static void own_bytes(uint8_t *owners, size_t page_bytes, size_t at, size_t n) {
    assert_true(at + n <= page_bytes);
    for (size_t i = 0; i < n; i++) assert_int_equal(owners[at + i]++, 0);
}

/* Layers that read another's pages see the same bytes, and add none. */
static bool reads_another(const kv_shape *s, uint32_t layer) {
    for (uint32_t i = 0; i < layer; i++)
        if (s->group_of[i] == s->group_of[layer] && s->row_of[i] == s->row_of[layer]) return true;
    return false;
}

static void layout_of(const kv_shape *s, uint32_t group, kv_type type) {
    const kv_group *g = &s->groups[group];
    size_t page_bytes = kv_page_bytes(s, group, type), owned = 0, wanted = 0;
    size_t k = g->n_layers ? compute_kv_k_bytes(type, g->head_dim) : 0;
    size_t v = g->n_layers ? compute_kv_v_bytes(type, g->head_dim_v) : 0;
    uint8_t *owners = calloc(page_bytes, 1);
    for (uint32_t layer = 0; layer < s->n_layers; layer++) {
        if (s->group_of[layer] != group || reads_another(s, layer)) continue;
        device_kv_layer view = kv_layer_view(s, type, layer);
        for (uint32_t h = 0; h < g->n_kv_heads; h++) {
            size_t k_at = view.k_offset + h * view.k_stride, v_at = view.v_offset + h * view.v_stride;
            own_bytes(owners, page_bytes, k_at, k);
            wanted += k;
            if (g->kind == KV_LATENT) {
                assert_int_equal(v_at, k_at);
                continue;
            }
            own_bytes(owners, page_bytes, v_at, v);
            wanted += v;
        }
    }
    for (size_t i = 0; i < page_bytes; i++) owned += owners[i];
    assert_int_equal(owned, wanted);
    assert_true(page_bytes - owned < plat_page_bytes() || !wanted); /* only the rounding is waste */
    assert_int_equal(page_bytes % plat_page_bytes(), 0);
    free(owners);
}

static void layout_in_every_type(const kv_shape *s) {
    for (uint32_t type = 0; type < KV_TYPES; type++)
        for (uint32_t g = 0; g < s->n_groups; g++) layout_of(s, g, (kv_type)type);
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
            layout_in_every_type(&s);
        }
    }
}

static void groups(void **state) {
    (void)state;
    const bool some[] = {true, false, true, true, false}, all[] = {true, true, true, true, true}, none[5] = {false};
    kv_shape s = kv_shape_make(5, 2, 16, 16, 64, some);
    assert_int_equal(s.n_groups, 2);
    assert_int_equal(s.groups[0].window, 0);
    assert_int_equal(s.groups[1].window, 64);
    assert_int_equal(s.groups[0].n_layers, 2);
    assert_int_equal(s.groups[1].n_layers, 3);
    static const uint32_t rows[] = {0, 0, 1, 2, 1};
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(s.group_of[i], some[i]);
        assert_int_equal(s.row_of[i], rows[i]);
    }
    assert_int_equal(kv_set_bytes(&s, COMPUTE_KV_F16),
                     kv_page_bytes(&s, 0, COMPUTE_KV_F16) + kv_page_bytes(&s, 1, COMPUTE_KV_F16));
    s = kv_shape_make(5, 2, 16, 16, 64, all);
    assert_int_equal(s.n_groups, 1);
    assert_int_equal(s.groups[0].window, 64);
    s = kv_shape_make(5, 2, 16, 16, 64, none);
    assert_int_equal(s.n_groups, 1);
    assert_int_equal(s.groups[0].window, 0);
    s = kv_shape_make(5, 2, 16, 16, 64, NULL);
    assert_int_equal(s.n_groups, 1);
    assert_int_equal(s.groups[0].window, 0);
}

/* Layers as families have them, and what they come to. */

static const kv_layer narrow = {.kind = KV_PAGED, .n_kv_heads = 4, .head_dim = 256, .head_dim_v = 256, .window = 512};
static const kv_layer full = {.kind = KV_PAGED, .n_kv_heads = 2, .head_dim = 512, .head_dim_v = 512};

static kv_shape shape_of(const kv_layer *layers, uint32_t n) {
    kv_shape s;
    err e = {0};
    assert_ok(kv_shape_of_layers(&s, layers, n, &e), e);
    layout_in_every_type(&s);
    return s;
}

/* gemma4: windowed layers of smaller heads beside full ones, and layers at the end that read others' pages. */
static void groups_of_different_shapes(void **state) {
    (void)state;
    const kv_layer layers[] = {narrow, narrow, full, narrow, {.shares = true, .source = 3},
                               {.shares = true, .source = 2}, {.kind = KV_NOTHING}};
    kv_shape s = shape_of(layers, 7);
    assert_int_equal(s.n_groups, 2);
    assert_true(s.groups[0].head_dim == 512 && s.groups[0].n_kv_heads == 2 && s.groups[0].window == 0);
    assert_true(s.groups[1].head_dim == 256 && s.groups[1].n_kv_heads == 4 && s.groups[1].window == 512);
    assert_true(s.groups[0].n_layers == 1 && s.groups[1].n_layers == 3); /* no room for those that share */
    assert_int_equal(kv_page_bytes(&s, 0, COMPUTE_KV_F16), KV_PAGE_TOKENS * 2 * (512 + 512) * 2);
    assert_int_equal(kv_page_bytes(&s, 1, COMPUTE_KV_F16), 3 * KV_PAGE_TOKENS * 4 * (256 + 256) * 2);
    device_kv_layer own = kv_layer_view(&s, COMPUTE_KV_Q8, 3), reader = kv_layer_view(&s, COMPUTE_KV_Q8, 4);
    assert_memory_equal(&own, &reader, sizeof own);
    assert_true(s.group_of[4] == 1 && s.group_of[5] == 0 && s.group_of[6] == KV_GROUP_NONE);
    assert_int_equal(s.state_bytes, 0);
}

/* As in deepseek2: of a token's vector the first values are V, too. They are counted once. */
static void a_latent_vector_is_stored_once(void **state) {
    (void)state;
    const kv_layer latent = {.kind = KV_LATENT, .n_kv_heads = 1, .head_dim = 288, .head_dim_v = 256};
    const kv_layer layers[] = {latent, latent, latent};
    kv_shape s = shape_of(layers, 3);
    assert_int_equal(s.n_groups, 1);
    assert_int_equal(kv_page_bytes(&s, 0, COMPUTE_KV_F16), plat_vm_round(3 * KV_PAGE_TOKENS * 288 * 2));
}

/* Hybrids: a state beside nothing, or beside pages in the same layer. Each begins on a line and none overlaps. */
static void states_beside_pages(void **state) {
    (void)state;
    kv_layer both = full, alone = {.kind = KV_NOTHING, .state_floats = 100};
    both.state_floats = 17;
    const kv_layer layers[] = {alone, full, both, alone};
    kv_shape s = shape_of(layers, 4);
    assert_true(s.n_groups == 1 && s.groups[0].n_layers == 2);
    size_t end = 0;
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(kv_state_offset(&s, i) >= end && kv_state_offset(&s, i) % KV_STATE_LINE == 0);
        end = kv_state_offset(&s, i) + layers[i].state_floats * sizeof(float);
    }
    assert_true(end <= s.state_bytes && s.state_bytes - end < plat_page_bytes() + KV_STATE_LINE);
    assert_int_equal(s.state_bytes % plat_page_bytes(), 0);
    s = shape_of(&alone, 1); /* pages that hold nothing, for its tokens to be counted in */
    assert_true(s.n_groups == 1 && s.groups[0].n_layers == 0);
    assert_int_equal(kv_set_bytes(&s, COMPUTE_KV_F16), plat_page_bytes());
}

static void too_many_kinds(void **state) {
    (void)state;
    kv_layer layers[KV_GROUPS_MAX + 1];
    kv_shape s;
    err e = {0};
    for (uint32_t i = 0; i <= KV_GROUPS_MAX; i++) {
        layers[i] = full;
        layers[i].n_kv_heads = i + 1;
    }
    assert_true(kv_shape_of_layers(&s, layers, KV_GROUPS_MAX, &e));
    assert_false(kv_shape_of_layers(&s, layers, KV_GROUPS_MAX + 1, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
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
        cmocka_unit_test(groups_of_different_shapes),
        cmocka_unit_test(a_latent_vector_is_stored_once),
        cmocka_unit_test(states_beside_pages),
        cmocka_unit_test(too_many_kinds),
        cmocka_unit_test(types_by_name),
        cmocka_unit_test(pages_for_tokens),
    };
    return cmocka_run_group_tests_name("kv_shape", tests, NULL, NULL);
}
