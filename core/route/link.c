/* SPDX-License-Identifier: MIT
 * link.c: one way out at work.
 */
#include "route/link.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static struct link *link_of(struct ref *r)
{
    return (struct link *)((char *)r - offsetof(struct link, ref));
}

static void link_destroy(struct ref *r)
{
    struct link *link = link_of(r);
    if (link->via)
        ref_drop(&link->via->ref);
    if (link->dialer)
        ref_drop(&link->dialer->ref);
    arena_free(link->arena, link->shared);
    free(link);
}

static void link_chain(struct link *link)
{
    if (link->via) {
        memcpy(link->chain, link->via->chain, sizeof link->chain);
        link->depth = link->via->depth;
    }
    link->chain[link->depth++] = link;
}

struct link *link_new(struct config *config, const struct conf_link *conf, struct link *via,
                      struct arena *arena, struct trash *trash, struct conf_errors *errors)
{
    struct link *link = calloc(1, sizeof *link);
    if (link) {
        link->hash = conf_link_hash(conf);
        link->shared = arena_share(arena, ARENA_LINK, link->hash, sizeof *link->shared);
    }
    if (!link || !link->shared) {
        free(link);
        conf_error(errors, NULL, "link \"%s\": out of memory", conf->name);
        return NULL;
    }
    link->arena = arena;
    link->stat = &link->shared->stat;
    link->stat->size = sizeof *link->stat;
    link->dialer = instance_new(config, &conf->dialer, "link", conf->name, trash, errors);
    if (!link->dialer) {
        arena_free(arena, link->shared);
        free(link);
        return NULL;
    }
    ref_init(&link->ref, trash, link_destroy);
    link->name = link->dialer->host.name;
    snprintf(link->shared->name, sizeof link->shared->name, "%s", link->name);
    link->id = XXH64(link->name, strlen(link->name), 0);
    link->dns = conf->dns;
    link->n_dns = conf->n_dns;
    link->fast_open = conf->fast_open;
    link->send_proxy = conf->send_proxy;
    if (via) {
        ref_get(&via->ref);
        link->via = via;
    }
    link_chain(link);
    return link;
}

static bool dns_same(const struct link *link, const struct conf_link *conf)
{
    if (link->n_dns != conf->n_dns)
        return false;
    for (size_t i = 0; i < conf->n_dns; i++)
        if (!addr_equal(&link->dns[i], &conf->dns[i]))
            return false;
    return true;
}

bool link_same(const struct link *link, const struct conf_link *conf, const struct link *via)
{
    return strcmp(link->name, conf->name) == 0 && link->via == via && dns_same(link, conf) &&
           link->fast_open == conf->fast_open && link->send_proxy == conf->send_proxy &&
           conf_instance_equal(&link->dialer->conf, &conf->dialer);
}

bool link_is_tunnel(const struct link *link)
{
    return instance_dialer(link->dialer)->hop != NULL;
}

uint32_t link_caps(const struct link *link)
{
    const struct dp_dialer_ops *ops = instance_dialer(link->dialer);
    return ops->caps ? ops->caps(link->dialer->self) : 0;
}
