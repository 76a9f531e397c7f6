/* SPDX-License-Identifier: MIT
 * hash.c: links and pools as numbers, for processes that have read the same file each for itself.
 */
#include "config/hash.h"
#include "config/config.h"
#include "config/option.h"

#include <string.h>
#include <xxhash.h>

void hash_add(uint64_t *hash, const void *data, size_t len)
{
    *hash = XXH64(data, len, *hash);
}

void hash_text(uint64_t *hash, const char *text)
{
    hash_add(hash, text, strlen(text));
}

void hash_str(uint64_t *hash, const void *value)
{
    const struct dp_str *s = value;
    const uint8_t given = s->p != NULL; /* and be it empty */
    hash_add(hash, &given, sizeof given);
    hash_add(hash, s->p, s->len);
}

/* One that was parsed: its `sa` has nothing but family, address, scope and port. */
void hash_addr(uint64_t *hash, const void *value)
{
    const struct dp_addr *addr = value;
    hash_add(hash, &addr->sa, addr->salen);
    hash_add(hash, addr->name, addr->name_len);
    hash_add(hash, &addr->port, sizeof addr->port);
}

void hash_list(uint64_t *hash, const void *value)
{
    const struct dp_list *list = value;
    hash_add(hash, &list->n, sizeof list->n);
    for (uint32_t i = 0; i < list->n; i++)
        hash_str(hash, &list->item[i]);
}

static void hash_instance(uint64_t *hash, const struct conf_instance *instance)
{
    const struct option_table table = option_table_of(instance->plugin);
    hash_text(hash, instance->plugin->name);
    option_hash(&table, instance->conf, hash);
}

uint64_t conf_link_hash(const struct conf_link *link)
{
    uint64_t hash = link->via ? conf_link_hash(link->via) : 0;
    const uint8_t fast_open = link->fast_open;
    hash_text(&hash, link->name);
    hash_instance(&hash, &link->dialer);
    hash_add(&hash, &fast_open, sizeof fast_open);
    hash_add(&hash, &link->send_proxy, sizeof link->send_proxy);
    for (size_t i = 0; i < link->n_dns; i++)
        hash_addr(&hash, &link->dns[i]);
    return hash;
}

uint64_t conf_pool_hash(const struct conf_pool *pool)
{
    uint64_t hash = 0;
    hash_text(&hash, pool->name);
    hash_instance(&hash, &pool->balancer);
    if (pool->is_backup)
        hash_text(&hash, "backup");
    return hash;
}
