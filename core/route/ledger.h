/* SPDX-License-Identifier: MIT
 * ledger.h: who holds which claim, where processes share the counters (the Dante module).
 *
 * Each claim has an entry in the shared arena. It belongs to one process; with the socket it goes to
 * another: the giver marks it as on its way, the taker finds it by the socket's cookie. A process
 * that dies leaves its entries behind, and whoever notices takes them over and ends the claims.
 */
#ifndef ROUTE_LEDGER_H
#define ROUTE_LEDGER_H

#include "route/arena.h"

struct ledger;

#define LEDGER_ON_ITS_WAY UINT32_MAX

#define LEDGER_LEVELS 4 /* pools on the way to a link: no more are configured */

struct ledger_level {
    uint64_t pool; /* its hash in the configuration */
    uint32_t stat; /* arena_offset() of what is counted: a pool's member, the link at last */
    uint32_t slot;
};

/* A claim, as all processes can read it. */
struct ledger_claim {
    struct ledger_level level[LEDGER_LEVELS];
    uint32_t n_levels;
    uint32_t dialing; /* counted as such */
    uint32_t cell;    /* of quota.h; 0: none */
    int64_t at_ns, connected_ns;
};

/* The one of this arena; NULL: the arena is private, or full. */
struct ledger *ledger_of(struct arena *arena);

/* A new entry, this process's, for a claim that is going to be counted; ledger_count() when it has
 * been. Returns its ticket; 0: there is no room. */
uint32_t ledger_open(struct ledger *ledger, const struct ledger_claim *claim);
void ledger_count(struct ledger *ledger, uint32_t ticket);
/* Before what is counted changes. Returns false if there is nothing to change: another process has
 * taken this one for dead and ended the claim. `claim`: what the entry says; NULL: not wanted. */
bool ledger_uncount(struct ledger *ledger, uint32_t ticket, struct ledger_claim *claim);
/* It counts again, but not as dialing. */
void ledger_dialed(struct ledger *ledger, uint32_t ticket);
/* Removes an entry of this process, whose claim is not counted any more. */
void ledger_close(struct ledger *ledger, uint32_t ticket);

/* The claim became a connection, known by its socket's cookie. Returns its ticket, a new one. */
uint32_t ledger_connect(struct ledger *ledger, uint32_t ticket, int64_t now_ns, uint64_t cookie);
/* Another socket has taken the place of the one it was known by. Returns its new ticket. */
uint32_t ledger_rename(struct ledger *ledger, uint32_t ticket, uint64_t cookie);

/* The socket is about to leave for another process; and it did not after all. */
void ledger_send(struct ledger *ledger, uint32_t ticket, int64_t now_ns);
void ledger_keep(struct ledger *ledger, uint32_t ticket);
/* Is any on its way? If not, no received socket needs to be looked up. */
bool ledger_any_sent(const struct ledger *ledger);
/* The entry of a socket that has arrived, now this process's; 0: it has none. */
uint32_t ledger_take(struct ledger *ledger, uint64_t cookie);

/* The next process that holds claims and has died; 0: no more. *cursor is 0 at first. */
uint32_t ledger_dead(struct ledger *ledger, uint32_t *cursor);
/* Takes over the next entry after *ticket (0 at first) of a process that has ended, or, with pid
 * LEDGER_ON_ITS_WAY, one that was sent before sent_before_ns and has not arrived. */
bool ledger_inherit(struct ledger *ledger, uint32_t pid, int64_t sent_before_ns, uint32_t *ticket);
/* It has no entries any more. */
void ledger_forget(struct ledger *ledger, uint32_t pid);

/* Counts again the links of claims whose processes died while they were being counted, as far as
 * nothing else changes meanwhile: to be called now and then. */
void ledger_settle(struct ledger *ledger, struct arena *arena);

/* That of another program's arena; NULL: it has none of this version. */
const struct ledger *ledger_seen(const struct arena *arena);
/* Entries in use. */
uint32_t ledger_used(const struct ledger *ledger);

#endif
