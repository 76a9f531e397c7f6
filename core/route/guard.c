/* SPDX-License-Identifier: MIT
 * guard.c: destinations that are out of bounds, this host above all.
 */
#include "route/guard.h"
#include "base/addr.h"
#include "base/clock.h"
#include "base/log.h"
#include "route/socket.h"

/* Loopback or all addresses: either way it reaches this host. */
static bool is_here(const struct dp_addr *a)
{
    return addr_is_loopback(a) || addr_is_any(a);
}

/* A listener on all addresses is reached by each of this machine's. */
static bool leads_to(const struct dp_addr *to, const struct dp_addr *listen)
{
    if (to->port != listen->port)
        return false;
    if (addr_is_any(listen))
        return is_here(to) || socket_is_own(to);
    return addr_same_ip(to, listen) || (addr_is_any(to) && is_here(listen));
}

static bool is_own_listener(const struct dial_env *env, const struct dp_addr *to)
{
    for (size_t i = 0; env->config && i < env->config->n_listeners; i++)
        if (leads_to(to, &env->config->listener[i].listen))
            return true;
    return false;
}

int guard_check(const struct dial_env *env, const struct permit *permit, const struct dp_addr *to,
                const struct dp_addr *local)
{
    if (is_own_listener(env, to) || (permit && to->salen && !permit->allows(permit, to)))
        return DP_ERR_DENIED;
    if (!is_here(to))
        return DP_OK;
    return local && local->salen && addr_is_loopback(local) ? DP_OK : DP_ERR_DENIED;
}

int guard_server(const struct dial_env *env, const struct link *link, const struct dp_addr *server)
{
    static struct log_rate rate;
    if (!is_own_listener(env, server))
        return DP_OK;
    log_rated(&rate, 10 * NS_PER_S, LOG_WARN, "link",
              "%s: its server is a port of this program itself", link->name);
    return DP_ERR_LINK;
}
