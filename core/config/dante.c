/* SPDX-License-Identifier: MIT
 * dante.c: the section `dante`: what the module for danted is to do.
 */
#include "config/build.h"

#include <limits.h>
#include <string.h>

struct dante_keys {
    struct dp_list anchors;
    struct dp_str pool, state;
};

static const struct dp_opt dante_opts[] = {
    {.name = "anchors",
     .type = DP_LIST,
     .flags = DP_REQUIRED,
     .offset = offsetof(struct dante_keys, anchors),
     .min = 1,
     .max = TREE_NODES_MAX},
    {.name = "pool", .type = DP_STRING, .offset = offsetof(struct dante_keys, pool)},
    {.name = "state",
     .type = DP_STRING,
     .offset = offsetof(struct dante_keys, state),
     .min = 1,
     .max = PATH_MAX - 1},
};
static const struct option_table dante_table = OPTION_TABLE(dante_opts);

/* Where the module is not loaded, danted itself uses the anchor as a source address: then nobody may
 * answer. (::1 is none that danted takes for what leaves.) */
static bool stays_inside(const struct dp_addr *addr)
{
    static const char *const inside[] = {"127.0.0.0/8", "fc00::/7"};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        struct addr_net net;
        if (addr_parse_net(&net, inside[i], strlen(inside[i])) == 0 && addr_in_net(addr, &net))
            return true;
    }
    return false;
}

static bool anchor_taken(const struct dp_addr *anchor, size_t n, const struct dp_addr *addr)
{
    for (size_t i = 0; i < n; i++)
        if (addr_same_ip(&anchor[i], addr))
            return true;
    return false;
}

/* Adds one to the n that are there. danted.conf has no `%scope`, so an anchor has none. */
static void anchor_add(const struct option_scope *scope, const struct tree_node *node,
                       const struct dp_str *text, struct dp_addr *anchor, size_t *n)
{
    struct dp_addr addr;
    if (addr_parse_ip(&addr, text->p, text->len) < 0 || strchr(text->p, '%'))
        option_error(scope, node, "anchors",
                     "\"%s\" is not an address, as 127.0.0.2 or fd00:dead::1", text->p);
    else if (!stays_inside(&addr))
        option_error(
            scope, node, "anchors",
            "\"%s\" is not in 127.0.0.0/8 or fc00::/7: without the module nobody may answer to an "
            "anchor",
            text->p);
    else if (anchor_taken(anchor, *n, &addr))
        option_error(scope, node, "anchors", "\"%s\" is named twice", text->p);
    else
        anchor[(*n)++] = addr;
}

static void dante_anchors(const struct option_scope *scope, const struct dp_list *list,
                          struct conf_dante *dante)
{
    const struct tree_node *node = tree_find(scope->map, "anchors");
    struct dp_addr *anchor = memory_alloc(scope->memory, list->n * sizeof *anchor);
    if (!anchor)
        return;
    for (uint32_t i = 0; i < list->n; i++)
        anchor_add(scope, tree_item(node, i), &list->item[i], anchor, &dante->n_anchors);
    dante->anchor = anchor;
}

void build_dante(struct build *b, const struct tree_node *map)
{
    const struct option_scope scope = {b->memory, b->errors, map, "dante: ", b->folder};
    if (!map || map->kind != TREE_MAP || !b->pool)
        return;
    const struct dante_keys *keys = option_bind(&scope, &dante_table, sizeof *keys);
    struct conf_dante *dante = memory_alloc(b->memory, sizeof *dante);
    if (!keys || !dante)
        return;
    option_unknown(&scope, &dante_table, 1);
    dante->node = map;
    dante_anchors(&scope, &keys->anchors, dante);
    dante->pool = build_pool(b, &scope, &keys->pool);
    dante->state = keys->state.p ? option_path(&scope, keys->state.p) : NULL;
    b->config->dante = dante;
}
