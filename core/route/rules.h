/* SPDX-License-Identifier: MIT
 * rules.h: what is to become of a flow: which pool it goes by, or that it is denied.
 */
#ifndef ROUTE_RULES_H
#define ROUTE_RULES_H

#include "route/router.h"

/* What rules look at. */
struct rule_flow {
    const char *listener;
    unsigned protocol; /* PROTO_ */
    const struct dp_addr *client, *dest;
    struct dp_str user;           /* len 0: nobody */
    const struct dp_addr *dialed; /* what dest's name has turned out to be; NULL: not known */
};

/* The first rule that holds; NULL: none. Reads the configuration alone. [worker] */
const struct conf_rule *rules_find(const struct config *config, const struct rule_flow *flow);

/* The pool that the rules give the flow, `usual` where none holds. NULL: it is denied, by rule number
 * *by, from 1. [worker] */
struct pool *rules_pool(const struct router *router, const struct rule_flow *flow,
                        struct pool *usual, size_t *by);

#endif
