/* SPDX-License-Identifier: MIT
 * ledger.c: who holds which claim, where processes share the counters.
 *
 * An entry is its owner's alone; changing hands is one compare-and-swap of `owner`. A connection's
 * entry stands among the REACH ones after its cookie's place, so that looking for it costs as much in
 * a full table as in an empty one; a claim without a cookie may stand anywhere.
 *
 * A claim has its entry from before it is counted until after it is not any more, with `counted` 0
 * meanwhile. If its process dies just then nobody can say how far it got: what it counts on is in
 * doubt, and those numbers are counted again in a moment in which no entry changes.
 */
#include "route/ledger.h"

#include <dispatch-plugin.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES 65536u  /* 8 MiB that are touched as they are used */
#define REACH 64u       /* entries looked at for one cookie */
#define PROCESSES 4096u /* at once, with claims */
#define PROCESS_REACH 64u
#define DOUBTS 32 /* links and pools at once; of one more a number may stay wrong */
#define ON_ITS_WAY LEDGER_ON_ITS_WAY

struct entry {
    uint32_t owner;   /* a process, ON_ITS_WAY, or 0: free; atomic */
    uint32_t counted; /* as the claim says; 0: not, or just changing; atomic */
    uint64_t cookie;  /* 0: not connected; atomic */
    int64_t sent_ns;
    struct ledger_claim claim;
};

/* Who has entries: so that the dead are found without a look at every entry. */
struct process {
    uint32_t pid; /* 0: free; atomic */
    uint32_t n;   /* entries it owns; atomic */
};

struct ledger {
    uint32_t sent;          /* entries on their way; atomic */
    uint32_t changes;       /* of what is counted; atomic */
    uint64_t doubt[DOUBTS]; /* `stat` of levels; 0: none; atomic */
    struct process process[PROCESSES];
    struct entry entry[ENTRIES];
};

struct ledger *ledger_of(struct arena *arena)
{
    return arena_is_shared(arena) ? arena_share(arena, ARENA_LEDGER, 0, sizeof(struct ledger))
                                  : NULL;
}

static uint32_t self(void)
{
    return (uint32_t)getpid();
}

static struct entry *entry_at(struct ledger *l, uint32_t ticket)
{
    return &l->entry[ticket - 1];
}

static uint32_t ticket_of(const struct ledger *l, const struct entry *e)
{
    return (uint32_t)(e - l->entry) + 1;
}

/* The record of a process; `make`: a new one if it has none. NULL: none, or no room. */
static struct process *process_of(struct ledger *l, uint32_t pid, bool make)
{
    struct process *free_one = NULL;
    for (uint32_t i = 0; i < PROCESS_REACH; i++) {
        struct process *p = &l->process[(pid + i) % PROCESSES];
        uint32_t has = __atomic_load_n(&p->pid, __ATOMIC_RELAXED);
        if (has == pid)
            return p;
        if (!has && !free_one)
            free_one = p;
    }
    uint32_t nobody = 0;
    if (!make || !free_one ||
        !__atomic_compare_exchange_n(&free_one->pid, &nobody, pid, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return NULL;
    __atomic_store_n(&free_one->n, 0, __ATOMIC_RELAXED);
    return free_one;
}

static void process_count(struct ledger *l, uint32_t pid, uint32_t by)
{
    if (pid == 0 || pid == ON_ITS_WAY)
        return;
    struct process *p = process_of(l, pid, by == 1);
    if (p)
        __atomic_fetch_add(&p->n, by, __ATOMIC_RELAXED);
}

static bool owner_swap(struct ledger *l, struct entry *e, uint32_t from, uint32_t to)
{
    process_count(l, to, 1);
    uint32_t was = from;
    bool done =
        __atomic_compare_exchange_n(&e->owner, &was, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    process_count(l, done ? from : to, UINT32_MAX);
    return done;
}

/* The n-th entry from a place on. */
static struct entry *entry_from(struct ledger *l, uint64_t place, uint32_t n)
{
    return &l->entry[(place + n) % ENTRIES];
}

/* Makes one of the `reach` entries from `place` on this process's. */
static struct entry *entry_new(struct ledger *l, uint64_t place, uint32_t reach)
{
    for (uint32_t i = 0; i < reach; i++) {
        struct entry *e = entry_from(l, place, i);
        if (__atomic_load_n(&e->owner, __ATOMIC_RELAXED) == 0 && owner_swap(l, e, 0, self())) {
            e->cookie = 0;
            e->counted = 0;
            return e;
        }
    }
    return NULL;
}

uint32_t ledger_open(struct ledger *l, const struct ledger_claim *claim)
{
    uint64_t place = (uint64_t)self() * REACH; /* processes begin to look apart */
    struct entry *e = entry_new(l, place, ENTRIES);
    if (!e)
        return 0;
    e->claim = *claim;
    __atomic_fetch_add(&l->changes, 1, __ATOMIC_ACQ_REL);
    return ticket_of(l, e);
}

void ledger_count(struct ledger *l, uint32_t ticket)
{
    __atomic_store_n(&entry_at(l, ticket)->counted, 1, __ATOMIC_RELEASE);
}

bool ledger_uncount(struct ledger *l, uint32_t ticket, struct ledger_claim *claim)
{
    struct entry *e = entry_at(l, ticket);
    __atomic_fetch_add(&l->changes, 1, __ATOMIC_ACQ_REL);
    bool counted = __atomic_exchange_n(&e->counted, 0, __ATOMIC_ACQ_REL) != 0;
    if (claim)
        *claim = e->claim;
    return counted;
}

void ledger_close(struct ledger *l, uint32_t ticket)
{
    struct entry *e = entry_at(l, ticket);
    __atomic_store_n(&e->cookie, 0, __ATOMIC_RELEASE);
    owner_swap(l, e, self(), 0);
}

void ledger_dialed(struct ledger *l, uint32_t ticket)
{
    entry_at(l, ticket)->claim.dialing = 0;
    ledger_count(l, ticket);
}

static uint64_t place_of(uint64_t cookie)
{
    return cookie * UINT64_C(0x9e3779b97f4a7c15) >> 32; /* cookies count up from a few bases */
}

/* Moves the entry to where its cookie is looked for. Without room there it stays, and does not
 * survive being sent: whoever receives the socket does not find it, and it ends as lost. */
uint32_t ledger_rename(struct ledger *l, uint32_t ticket, uint64_t cookie)
{
    struct entry *old = entry_at(l, ticket);
    struct entry *e = entry_new(l, place_of(cookie), REACH);
    if (!e) {
        __atomic_store_n(&old->cookie, cookie, __ATOMIC_RELEASE);
        return ticket;
    }
    e->claim = old->claim;
    __atomic_store_n(&e->cookie, cookie, __ATOMIC_RELEASE);
    struct ledger_claim same;
    if (ledger_uncount(l, ticket, &same))
        ledger_count(l, ticket_of(l, e));
    ledger_close(l, ticket);
    return ticket_of(l, e);
}

uint32_t ledger_connect(struct ledger *l, uint32_t ticket, int64_t now_ns, uint64_t cookie)
{
    struct entry *e = entry_at(l, ticket);
    e->claim.connected_ns = now_ns;
    return ledger_rename(l, ticket, cookie);
}

void ledger_send(struct ledger *l, uint32_t ticket, int64_t now_ns)
{
    struct entry *e = entry_at(l, ticket);
    e->sent_ns = now_ns;
    __atomic_fetch_add(&l->sent, 1, __ATOMIC_RELAXED);
    if (!owner_swap(l, e, self(), ON_ITS_WAY))
        __atomic_fetch_sub(&l->sent, 1, __ATOMIC_RELAXED);
}

static bool entry_arrive(struct ledger *l, struct entry *e)
{
    if (!owner_swap(l, e, ON_ITS_WAY, self()))
        return false;
    __atomic_fetch_sub(&l->sent, 1, __ATOMIC_RELAXED);
    return true;
}

void ledger_keep(struct ledger *l, uint32_t ticket)
{
    entry_arrive(l, entry_at(l, ticket));
}

bool ledger_any_sent(const struct ledger *l)
{
    return __atomic_load_n(&l->sent, __ATOMIC_RELAXED) != 0;
}

uint32_t ledger_take(struct ledger *l, uint64_t cookie)
{
    for (uint32_t i = 0; i < REACH; i++) {
        struct entry *e = entry_from(l, place_of(cookie), i);
        if (__atomic_load_n(&e->cookie, __ATOMIC_ACQUIRE) == cookie && entry_arrive(l, e))
            return ticket_of(l, e);
    }
    return 0;
}

static bool is_dead(uint32_t pid)
{
    return kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

uint32_t ledger_dead(struct ledger *l, uint32_t *cursor)
{
    while (*cursor < PROCESSES) {
        uint32_t pid = __atomic_load_n(&l->process[(*cursor)++].pid, __ATOMIC_RELAXED);
        if (pid && is_dead(pid))
            return pid;
    }
    return 0;
}

static void doubt(struct ledger *l, uint64_t stat)
{
    for (unsigned i = 0; i < DOUBTS; i++) {
        uint64_t has = 0;
        if (__atomic_compare_exchange_n(&l->doubt[i], &has, stat, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED) ||
            has == stat)
            return;
    }
}

static void doubt_all(struct ledger *l, const struct ledger_claim *claim)
{
    for (uint32_t i = 0; i < claim->n_levels; i++)
        doubt(l, claim->level[i].stat);
}

static bool counts_on(const struct ledger_claim *claim, uint64_t stat)
{
    for (uint32_t i = 0; i < claim->n_levels && i < LEDGER_LEVELS; i++)
        if (claim->level[i].stat == stat)
            return true;
    return false;
}

bool ledger_inherit(struct ledger *l, uint32_t pid, int64_t sent_before_ns, uint32_t *ticket)
{
    struct process *p = pid == ON_ITS_WAY ? NULL : process_of(l, pid, false);
    if (pid == ON_ITS_WAY ? !ledger_any_sent(l) : !p || !__atomic_load_n(&p->n, __ATOMIC_RELAXED))
        return false;
    while (*ticket < ENTRIES) {
        struct entry *e = entry_at(l, ++*ticket);
        if (__atomic_load_n(&e->owner, __ATOMIC_ACQUIRE) != pid)
            continue;
        bool ours = pid != ON_ITS_WAY ? owner_swap(l, e, pid, self())
                                      : e->sent_ns < sent_before_ns && entry_arrive(l, e);
        if (ours && !__atomic_load_n(&e->counted, __ATOMIC_ACQUIRE))
            doubt_all(l, &e->claim);
        if (ours)
            return true;
    }
    return false;
}

void ledger_forget(struct ledger *l, uint32_t pid)
{
    struct process *p = process_of(l, pid, false);
    if (p)
        __atomic_store_n(&p->pid, 0, __ATOMIC_RELEASE);
}

/* Adds up what entries say of a link, or of a pool in a pool. Returns false if one is just changing. */
static bool recount(const struct ledger *l, uint64_t stat, uint32_t *active, uint32_t *dialing)
{
    *active = *dialing = 0;
    for (const struct entry *e = l->entry; e < l->entry + ENTRIES; e++) {
        if (!__atomic_load_n(&e->owner, __ATOMIC_ACQUIRE) || !counts_on(&e->claim, stat))
            continue;
        if (!__atomic_load_n(&e->counted, __ATOMIC_ACQUIRE))
            return false;
        *active += 1;
        *dialing += e->claim.dialing;
    }
    return true;
}

/* Who changes an entry says so in `changes` before the link's numbers: if that has not moved since
 * they were read, they are either as they were, and right now, or the compare-and-swap fails. */
static bool settle(struct ledger *l, uint64_t offset, struct dp_stat *stat)
{
    uint32_t changes = __atomic_load_n(&l->changes, __ATOMIC_ACQUIRE);
    uint32_t active = __atomic_load_n(&stat->active, __ATOMIC_ACQUIRE);
    uint32_t dialing = __atomic_load_n(&stat->dialing, __ATOMIC_ACQUIRE);
    uint32_t true_active, true_dialing;
    return recount(l, offset, &true_active, &true_dialing) &&
           __atomic_load_n(&l->changes, __ATOMIC_ACQUIRE) == changes &&
           __atomic_compare_exchange_n(&stat->active, &active, true_active, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED) &&
           __atomic_compare_exchange_n(&stat->dialing, &dialing, true_dialing, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

void ledger_settle(struct ledger *l, struct arena *arena)
{
    for (unsigned i = 0; i < DOUBTS; i++) {
        uint64_t offset = __atomic_load_n(&l->doubt[i], __ATOMIC_ACQUIRE);
        if (!offset)
            continue;
        __atomic_store_n(&l->doubt[i], 0, __ATOMIC_RELEASE);
        if (!settle(l, offset, arena_at(arena, offset)))
            doubt(l, offset);
    }
}

const struct ledger *ledger_seen(const struct arena *arena)
{
    const struct ledger *l = arena_next(arena, ARENA_LEDGER, NULL);
    return l && arena_room(arena, l) >= sizeof *l ? l : NULL;
}

uint32_t ledger_used(const struct ledger *l)
{
    uint32_t n = 0;
    for (const struct entry *e = l->entry; e < l->entry + ENTRIES; e++)
        n += __atomic_load_n(&e->owner, __ATOMIC_RELAXED) != 0;
    return n;
}
