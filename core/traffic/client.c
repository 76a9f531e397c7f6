/* SPDX-License-Identifier: MIT
 * client.c: who has come to a listener, and whether he may come in.
 */
#include "traffic/client.h"
#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>

#define LOG_EVERY_NS (10 * NS_PER_S)

const char *client_text(const struct dp_addr *client, char buf[ADDR_TEXT])
{
    if (client->salen)
        return addr_text(client, buf);
    snprintf(buf, ADDR_TEXT, "unix");
    return buf;
}

static bool is_in(const struct addr_net *net, size_t n, const struct dp_addr *client)
{
    for (size_t i = 0; i < n; i++)
        if (addr_in_net(client, &net[i]))
            return true;
    return false;
}

bool client_is_proxy(const struct conf_listener *conf, const struct dp_addr *peer)
{
    if (!peer->salen)
        return conf->unix_proxies;
    return is_in(conf->proxies, conf->n_proxies, peer);
}

bool client_is_allowed(const struct conf_listener *conf, const struct dp_addr *client)
{
    if (conf->n_allow == 0 || is_in(conf->allow, conf->n_allow, client))
        return true;
    static struct log_rate rate;
    char text[ADDR_TEXT];
    log_rated(&rate, LOG_EVERY_NS, LOG_WARN, "listener",
              "%s: client=%s is in none of its allowed networks: closed", conf->name,
              client_text(client, text));
    return false;
}

static bool is_counted(struct sources *sources, const struct conf_listener *conf,
                       const struct dp_addr *client, uint32_t *source)
{
    *source = 0;
    if (!conf->max_per_client ||
        sources_take(sources, conf->name, client, conf->max_per_client, source))
        return true;
    static struct log_rate rate;
    char text[ADDR_TEXT];
    log_rated(&rate, LOG_EVERY_NS, LOG_WARN, "listener",
              "%s: client=%s has %" PRIu32 " connections, its max-connections-per-client: closed",
              conf->name, client_text(client, text), conf->max_per_client);
    return false;
}

bool client_enters(struct sources *sources, const struct conf_listener *conf,
                   const struct dp_addr *client, uint32_t *source)
{
    return client_is_allowed(conf, client) && is_counted(sources, conf, client, source);
}
