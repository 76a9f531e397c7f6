/* SPDX-License-Identifier: MIT
 * config_same.h: do two configurations say the same? But for the names of links, which those of a
 * command line cannot keep in a file.
 */
#ifndef LIB_CONFIG_SAME_H
#define LIB_CONFIG_SAME_H

#include "config/config.h"
#include <criterion/criterion.h>

static void expect_same_networks(const struct addr_net *x, size_t n_x, const struct addr_net *y,
                                 size_t n_y)
{
    cr_assert_eq(n_x, n_y);
    for (size_t i = 0; i < n_x; i++)
        cr_expect(addr_equal(&x[i].addr, &y[i].addr) && x[i].bits == y[i].bits);
}

static void expect_same_listeners(const struct config *a, const struct config *b)
{
    cr_assert_eq(a->n_listeners, b->n_listeners);
    for (size_t i = 0; i < a->n_listeners; i++) {
        const struct conf_listener *x = &a->listener[i], *y = &b->listener[i];
        cr_expect_str_eq(x->name, y->name);
        cr_expect_str_eq(x->pool->name, y->pool->name);
        cr_expect(addr_equal(&x->listen, &y->listen) && x->protocols == y->protocols);
        cr_expect_eq(x->max_per_client, y->max_per_client);
        cr_expect_eq(x->max_request_body, y->max_request_body);
        cr_expect(x->mode == y->mode && x->unix_proxies == y->unix_proxies);
        cr_assert_eq(!x->handed, !y->handed);
        if (x->handed)
            cr_expect_str_eq(x->handed, y->handed);
        expect_same_networks(x->allow, x->n_allow, y->allow, y->n_allow);
        expect_same_networks(x->proxies, x->n_proxies, y->proxies, y->n_proxies);
    }
}

static void expect_same_links(const struct config *a, const struct config *b)
{
    cr_assert_eq(a->n_links, b->n_links);
    for (size_t i = 0; i < a->n_links; i++) {
        const struct conf_link *x = &a->link[i], *y = &b->link[i];
        cr_expect(x->weight == y->weight && x->max_connections == y->max_connections);
        cr_expect(x->send_proxy == y->send_proxy);
        cr_expect(x->slow_start == y->slow_start && x->max_per_dest == y->max_per_dest);
        cr_expect(conf_instance_equal(&x->dialer, &y->dialer), "%s", x->name);
        cr_expect((!x->via && !y->via) ||
                  (x->via && y->via && x->via - a->link == y->via - b->link));
        cr_assert_eq(x->n_dns, y->n_dns);
        for (size_t k = 0; k < x->n_dns; k++)
            cr_expect(addr_equal(&x->dns[k], &y->dns[k]));
        cr_expect(!x->check == !y->check && (!x->check || conf_check_equal(x->check, y->check)));
    }
}

static void expect_same_members(const struct config *a, const struct conf_pool *x,
                                const struct config *b, const struct conf_pool *y)
{
    cr_assert_eq(x->n_members, y->n_members);
    for (size_t k = 0; k < x->n_members; k++) {
        const struct conf_member *m = &x->member[k], *n = &y->member[k];
        cr_assert_eq(!m->link, !n->link);
        if (m->link)
            cr_expect_eq(m->link - a->link, n->link - b->link);
        else
            cr_expect_eq(m->pool - a->pool, n->pool - b->pool);
    }
}

static void expect_same_pools(const struct config *a, const struct config *b)
{
    cr_assert_eq(a->n_pools, b->n_pools);
    for (size_t i = 0; i < a->n_pools; i++) {
        const struct conf_pool *x = &a->pool[i], *y = &b->pool[i];
        cr_expect_str_eq(x->name, y->name);
        cr_expect(conf_instance_equal(&x->balancer, &y->balancer) && x->retries == y->retries);
        cr_expect(x->refuse == y->refuse && x->weight == y->weight);
        expect_same_members(a, x, b, y);
        cr_assert_eq(!x->backup, !y->backup);
        if (x->backup)
            expect_same_members(a, x->backup, b, y->backup);
    }
}

static void expect_same_dante(const struct conf_dante *a, const struct conf_dante *b)
{
    cr_assert_eq(!a, !b);
    if (!a)
        return;
    cr_assert_eq(a->n_anchors, b->n_anchors);
    for (size_t i = 0; i < a->n_anchors; i++)
        cr_expect(addr_equal(&a->anchor[i], &b->anchor[i]));
    cr_expect_str_eq(a->pool->name, b->pool->name);
    cr_assert_eq(!a->state, !b->state);
    if (a->state)
        cr_expect_str_eq(a->state, b->state);
}

static void expect_same(const struct config *a, const struct config *b)
{
    cr_expect_eq(a->workers, b->workers);
    cr_expect_eq(!a->check, !b->check);
    cr_expect_eq(memcmp(&a->timeouts, &b->timeouts, sizeof a->timeouts), 0);
    cr_assert_eq(a->n_plugin_path, b->n_plugin_path);
    for (size_t i = 0; i < a->n_plugin_path; i++)
        cr_expect_str_eq(a->plugin_path[i], b->plugin_path[i]);
    expect_same_listeners(a, b);
    expect_same_links(a, b);
    expect_same_pools(a, b);
    expect_same_dante(a->dante, b->dante);
}

#endif
