/* SPDX-License-Identifier: MIT
 * dante_state.c: --dante-state: what the module in danted knows, seen from outside.
 */
#include "dante_state.h"
#include "base/clock.h"
#include "dante/shared.h"
#include "route/ledger.h"
#include "route/link.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS "%-20s %-8s %8s %8s %12s %6s %10s %15s %15s\n"

/* Milliseconds, or `-` where nothing is known. */
static const char *rtt_text(int64_t rtt_ns, char text[32])
{
    if (!rtt_ns)
        return "-";
    snprintf(text, 32, "%.1fms", (double)rtt_ns / (double)NS_PER_MS);
    return text;
}

static const char *state_of(const struct link_shared *link, uint32_t generation)
{
    if (dp_load(&link->generation) != generation)
        return "removed"; /* its last connections are still there */
    return dp_load(&link->retry_at) > clock_now_ns() ? "down" : "up";
}

/* Whatever the file is, what is printed is text. */
static const char *name_of(const struct link_shared *link, char text[sizeof link->name])
{
    size_t n = 0;
    for (; n < sizeof link->name - 1 && link->name[n]; n++)
        text[n] = isgraph((unsigned char)link->name[n]) ? link->name[n] : '?';
    text[n] = '\0';
    return text;
}

static void print_link(const struct link_shared *link, uint32_t generation)
{
    const struct dp_stat *stat = &link->stat;
    char name[sizeof link->name];
    char active[16], dialing[16], picks[24], fails[16], rtt[32], rx[24], tx[24];
    snprintf(active, sizeof active, "%" PRIu32, dp_load(&stat->active));
    snprintf(dialing, sizeof dialing, "%" PRIu32, dp_load(&stat->dialing));
    snprintf(picks, sizeof picks, "%" PRIu64, dp_load(&stat->picks));
    snprintf(fails, sizeof fails, "%" PRIu32, dp_load(&stat->fails));
    snprintf(rx, sizeof rx, "%" PRIu64, dp_load(&stat->rx));
    snprintf(tx, sizeof tx, "%" PRIu64, dp_load(&stat->tx));
    printf(COLUMNS, name_of(link, name), state_of(link, generation), active, dialing, picks, fails,
           rtt_text(dp_load(&stat->rtt), rtt), rx, tx);
}

static void print_arena(const struct arena *arena, const struct dante_owner *owner)
{
    uint32_t generation = dp_load(&owner->generation);
    const struct link_shared *link = NULL;
    printf(COLUMNS, "LINK", "STATE", "ACTIVE", "DIALING", "PICKS", "FAILS", "RTT", "RX", "TX");
    while ((link = arena_next(arena, ARENA_LINK, link)))
        if (dp_load(&link->generation) == generation || dp_load(&link->stat.active))
            print_link(link, generation);
    printf("sessions %" PRIu32 "\n", ledger_used(ledger_seen(arena)));
}

/* An old file of another program may have blocks that are too small for ours. */
static int check_rooms(const struct arena *arena)
{
    const void *link = NULL, *owner = arena_next(arena, ARENA_OWNER, NULL);
    if (!owner || arena_room(arena, owner) < sizeof(struct dante_owner) || !ledger_seen(arena))
        return -1;
    while ((link = arena_next(arena, ARENA_LINK, link)))
        if (arena_room(arena, link) < sizeof(struct link_shared))
            return -1;
    return 0;
}

static int say(const char *file, const char *what)
{
    fprintf(stderr, "dispatch-host: %s: %s\n", file, what);
    return 1;
}

static int arena_print(const struct arena *arena, const char *file)
{
    if (check_rooms(arena) < 0)
        return say(file, "not a state file of dispatch-dante of this version");
    const struct dante_owner *owner = arena_next(arena, ARENA_OWNER, NULL);
    pid_t pid = (pid_t)dp_load(&owner->pid);
    print_arena(arena, owner);
    if (kill(pid, 0) < 0 && errno == ESRCH)
        return say(file, "the danted that wrote it has ended: this is how it was left");
    return 0;
}

int dante_state_print(const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return say(file, strerror(errno));
    struct arena *arena = arena_look(fd);
    close(fd);
    if (!arena)
        return say(file, "not a state file of dispatch-dante of this version "
                         "(its path is `dante: state:` in the YAML file of danted's module)");
    int status = arena_print(arena, file);
    arena_destroy(arena);
    return status;
}
