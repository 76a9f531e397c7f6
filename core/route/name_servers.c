/* SPDX-License-Identifier: MIT
 * name_servers.c: the name servers of one link, in order, and which of them do not answer there.
 */
#include "route/name_servers.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define GRACE_NS (300 * NS_PER_MS)      /* most answers take less */
#define GRACE_AGAIN_NS (50 * NS_PER_MS) /* for one that has failed */
#define OUT_FIRST_NS NS_PER_S
#define OUT_DOUBLINGS 6 /* to about a minute */
#define TELL_NS (60 * NS_PER_S)

/* ---- sets ---- */

static void set_free(struct name_servers *set)
{
    struct name_servers **at = set->list;
    while (*at != set)
        at = &(*at)->next;
    *at = set->next;
    for (size_t i = 0; i < set->n; i++)
        channel_free(set->server[i].channel);
    io_timer(set->io, &set->end, 0);
    ref_drop(&set->link->ref);
    free(set);
}

static void end_fire(struct io_timer *t)
{
    set_free((struct name_servers *)((char *)t - offsetof(struct name_servers, end)));
}

/* By a timer, for its channel may be at work further up the stack. */
static void end_soon(struct name_servers *set)
{
    if (set->stale && set->users == 0)
        io_timer(set->io, &set->end, io_now(set->io));
}

static struct name_servers *set_new(struct name_servers **list, struct io *io, struct link *link,
                                    const struct system_names *system)
{
    const struct dp_addr *addr = link->n_dns ? link->dns : system->server;
    size_t n = link->n_dns ? link->n_dns : system->n_servers;
    struct name_servers *set = calloc(1, sizeof *set + n * sizeof *set->server);
    if (!set)
        return NULL;
    set->io = io;
    set->link = link;
    set->list = list;
    set->next = *list;
    set->end.fire = end_fire;
    set->n = n;
    for (size_t i = 0; i < n; i++)
        set->server[i].addr = addr[i];
    *list = set;
    ref_get(&link->ref);
    return set;
}

uint64_t name_servers_source(const struct link *link, const struct system_names *system)
{
    return XXH64(&link->hash, sizeof link->hash, system->hash);
}

/* One channel hears nothing any more, for lack of memory some time ago. */
static bool is_deaf(const struct name_servers *set)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->server[i].channel && set->server[i].channel->deaf)
            return true;
    return false;
}

struct name_servers *name_servers_take(struct name_servers **list, struct io *io, struct link *link,
                                       const struct system_names *system)
{
    uint64_t source = name_servers_source(link, system);
    struct name_servers *set = *list;
    while (set && (set->stale || set->link != link))
        set = set->next;
    if (set && (set->source != source || is_deaf(set))) {
        set->stale = true;
        end_soon(set);
        set = NULL;
    }
    if (!set && !(set = set_new(list, io, link, system)))
        return NULL;
    set->source = source;
    set->users++;
    return set;
}

void name_servers_give_back(struct name_servers *set)
{
    set->users--;
    end_soon(set);
}

void name_servers_retire(struct name_servers **list)
{
    struct name_servers *set, *next;
    for (set = *list; set; set = next) {
        next = set->next;
        set->stale = true;
        if (set->users == 0)
            set_free(set);
    }
}

void name_servers_free(struct name_servers **list)
{
    while (*list)
        set_free(*list);
}

/* ---- one of them ---- */

/* Is a to be asked rather than b, which comes before it in the list? */
static bool is_better(const struct name_server *a, const struct name_server *b, int64_t now)
{
    if (a->outside != b->outside)
        return b->outside;
    return b->retry_at_ns > now && a->retry_at_ns < b->retry_at_ns;
}

struct name_server *name_servers_pick(struct name_servers *set, const void *ctx,
                                      bool (*asked)(const void *ctx, const struct name_server *s))
{
    struct name_server *best = NULL;
    int64_t now = io_now(set->io);
    for (size_t i = 0; i < set->n; i++) {
        struct name_server *s = &set->server[i];
        if (!asked(ctx, s) && (!best || is_better(s, best, now)))
            best = s;
    }
    return best;
}

int64_t name_server_grace_ns(const struct name_server *s)
{
    return s->fails ? GRACE_AGAIN_NS : GRACE_NS;
}

struct channel *name_server_channel(struct name_servers *set, struct name_server *s)
{
    if (!s->channel)
        s->channel = channel_new(set->io, set->link, &s->addr);
    return s->channel;
}

void name_server_outside(struct name_server *s)
{
    s->outside = true;
    s->channel->outside = true;
}

void name_server_worked(struct name_server *s)
{
    s->fails = 0;
    s->retry_at_ns = 0;
}

void name_server_failed(struct name_servers *set, struct name_server *s)
{
    static struct log_rate rate;
    char text[ADDR_TEXT];
    int64_t now = io_now(set->io);
    if (set->n == 1 || s->retry_at_ns > now) /* known, or of no use */
        return;
    unsigned doublings = s->fails < OUT_DOUBLINGS ? s->fails : OUT_DOUBLINGS;
    s->retry_at_ns = now + (OUT_FIRST_NS << doublings);
    if (s->fails++ == 0)
        log_rated(&rate, TELL_NS, LOG_INFO, "dns", "%s: name server %s does not answer",
                  set->link->name, addr_text(&s->addr, text));
}
