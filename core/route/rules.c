/* SPDX-License-Identifier: MIT
 * rules.c: what is to become of a flow.
 */
#include "route/rules.h"

#include <string.h>

static bool by_listener(const struct conf_rule *rule, const char *listener)
{
    for (size_t i = 0; i < rule->n_listeners; i++)
        if (strcmp(rule->listener[i], listener) == 0)
            return true;
    return rule->n_listeners == 0;
}

static bool by_user(const struct conf_rule *rule, struct dp_str user)
{
    for (size_t i = 0; i < rule->n_users; i++)
        if (user.len && rule->user[i].len == user.len &&
            memcmp(rule->user[i].p, user.p, user.len) == 0)
            return true;
    return rule->n_users == 0;
}

static bool by_port(const struct conf_rule *rule, uint16_t port)
{
    for (size_t i = 0; i < rule->n_ports; i++)
        if (port >= rule->port[i].from && port <= rule->port[i].to)
            return true;
    return rule->n_ports == 0;
}

static bool by_host(const struct conf_rule *rule, const struct dp_addr *dest)
{
    if (!rule->host && !rule->domain)
        return true;
    if (dest->salen)
        return false;
    return (rule->host && host_set_has(rule->host, dest->name, dest->name_len)) ||
           (rule->domain && host_set_has(rule->domain, dest->name, dest->name_len));
}

/* A name alone is in no network. */
static bool by_network(const struct conf_rule *rule, const struct rule_flow *flow)
{
    const struct dp_addr *to = flow->dialed ? flow->dialed : flow->dest;
    return !rule->network || (to->salen && net_set_has(rule->network, to));
}

static bool holds(const struct conf_rule *rule, const struct rule_flow *flow)
{
    return (!rule->protocols || rule->protocols & flow->protocol) &&
           by_port(rule, flow->dest->port) && by_listener(rule, flow->listener) &&
           by_user(rule, flow->user) &&
           (!rule->client || net_set_has(rule->client, flow->client)) && by_network(rule, flow) &&
           by_host(rule, flow->dest);
}

const struct conf_rule *rules_find(const struct config *config, const struct rule_flow *flow)
{
    for (size_t i = 0; i < config->n_rules; i++)
        if (holds(&config->rule[i], flow))
            return &config->rule[i];
    return NULL;
}

struct pool *rules_pool(const struct router *router, const struct rule_flow *flow,
                        struct pool *usual, size_t *by)
{
    const struct conf_rule *rule = rules_find(router->config, flow);
    if (!rule)
        return usual;
    *by = (size_t)(rule - router->config->rule) + 1;
    return rule->pool ? router_pool(router, rule->pool) : NULL;
}
