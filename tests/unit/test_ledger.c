/* SPDX-License-Identifier: MIT
 * test_ledger.c: claims that go from process to process, and those whose process has died.
 */
#include "route/ledger.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARENA ((size_t)16 << 20)
#define LATE INT64_MAX /* everything was sent before */

static const struct ledger_claim claim = {
    .level = {{.pool = 2, .slot = 3}}, .n_levels = 1, .dialing = 1, .at_ns = 4};

static uint32_t opened(struct ledger *l)
{
    uint32_t ticket = ledger_open(l, &claim);
    if (ticket)
        ledger_count(l, ticket);
    return ticket;
}

/* Returns whether it was counted. */
static bool closed(struct ledger *l, uint32_t ticket, struct ledger_claim *seen)
{
    bool counted = ledger_uncount(l, ticket, seen);
    ledger_close(l, ticket);
    return counted;
}

static struct ledger *ledger_new(struct arena **arena)
{
    *arena = arena_new_shared(ARENA);
    cr_assert(ne(ptr, *arena, NULL));
    struct ledger *l = ledger_of(*arena);
    cr_assert(l != NULL);
    return l;
}

/* Runs `body` in a child process until its end, and returns its pid. */
static uint32_t in_child(void (*body)(struct ledger *l), struct ledger *l)
{
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        alarm(20);
        body(l);
        execl("/bin/true", "true", NULL); /* an exit that no leak checker looks at */
        _exit(1);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_expect(eq(i32, status, 0));
    return (uint32_t)pid;
}

Test(ledger, a_private_arena_has_none)
{
    struct arena *a = arena_new(ARENA, -1);
    cr_expect(eq(ptr, ledger_of(a), NULL));
    arena_destroy(a);
}

Test(ledger, opened_and_closed)
{
    struct arena *a;
    struct ledger *l = ledger_new(&a);
    struct ledger_claim seen;
    uint32_t ticket = opened(l);
    cr_assert(ticket != 0);
    cr_expect(eq(u32, ledger_used(l), 1));
    cr_expect(closed(l, ticket, &seen));
    cr_expect(eq(u64, seen.level[0].pool, 2));
    cr_expect(eq(u32, seen.level[0].slot, 3));
    cr_expect(eq(u32, seen.dialing, 1));
    cr_expect(eq(u32, ledger_used(l), 0));
    cr_expect(not(closed(l, ticket, &seen)), "once");
    arena_destroy(a);
}

static uint32_t connected(struct ledger *l, uint64_t cookie)
{
    struct ledger_claim seen;
    uint32_t ticket = opened(l);
    if (ledger_uncount(l, ticket, &seen))
        ledger_dialed(l, ticket);
    return ledger_connect(l, ticket, 9, cookie);
}

Test(ledger, a_socket_is_found_by_its_cookie_while_it_is_on_its_way)
{
    struct arena *a;
    struct ledger *l = ledger_new(&a);
    uint32_t ticket = connected(l, 1234);
    cr_expect(eq(u32, ledger_take(l, 1234), 0), "it has not been sent");
    cr_expect(not(ledger_any_sent(l)));
    ledger_send(l, ticket, 10);
    cr_expect(ledger_any_sent(l));
    cr_expect(eq(u32, ledger_take(l, 1235), 0), "another socket");
    uint32_t there = ledger_take(l, 1234);
    cr_assert(there != 0);
    cr_expect(not(ledger_any_sent(l)));
    cr_expect(eq(u32, ledger_take(l, 1234), 0), "once");
    struct ledger_claim seen;
    cr_expect(closed(l, there, &seen));
    cr_expect(eq(u32, seen.dialing, 0));
    cr_expect(eq(i64, seen.connected_ns, 9));
    arena_destroy(a);
}

Test(ledger, kept_when_sending_failed)
{
    struct arena *a;
    struct ledger *l = ledger_new(&a);
    struct ledger_claim seen;
    uint32_t ticket = connected(l, 7);
    ledger_send(l, ticket, 10);
    ledger_keep(l, ticket);
    cr_expect(not(ledger_any_sent(l)));
    cr_expect(eq(u32, ledger_take(l, 7), 0));
    cr_expect(closed(l, ticket, &seen));
    cr_expect(eq(u32, ledger_used(l), 0));
    arena_destroy(a);
}

Test(ledger, known_by_another_socket)
{
    struct arena *a;
    struct ledger *l = ledger_new(&a);
    uint32_t ticket = ledger_rename(l, connected(l, 7), 8);
    ledger_send(l, ticket, 10);
    cr_expect(eq(u32, ledger_take(l, 7), 0));
    cr_expect(ledger_take(l, 8) != 0);
    cr_expect(eq(u32, ledger_used(l), 1));
    arena_destroy(a);
}

/* Places for cookies are few: more of the same place than that are counted, and lost only if sent. */
Test(ledger, many)
{
    enum { N = 20000 };
    struct arena *a;
    struct ledger *l = ledger_new(&a);
    struct ledger_claim seen;
    uint32_t *ticket = calloc(N, sizeof *ticket);
    cr_assert(ticket != NULL);
    for (uint32_t i = 0; i < N; i++) {
        ticket[i] = connected(l, i * 2 + 1);
        cr_assert(ticket[i] != 0);
    }
    cr_expect(eq(u32, ledger_used(l), N));
    for (uint32_t i = 0; i < N; i++)
        ledger_send(l, ticket[i], 10);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t t = ledger_take(l, i * 2 + 1);
        cr_assert(t != 0, "cookie %u", i * 2 + 1);
        cr_assert(closed(l, t, &seen));
    }
    cr_expect(eq(u32, ledger_used(l), 0));
    free(ticket);
    arena_destroy(a);
}

Test(ledger, full)
{
    struct arena *a;
    struct ledger *l = ledger_new(&a);
    uint32_t n = 0;
    while (opened(l))
        n++;
    cr_expect(eq(u32, n, 65536));
    arena_destroy(a);
}

static void leave_some(struct ledger *l)
{
    opened(l);
    connected(l, 100);
    ledger_send(l, connected(l, 101), 10);
}

Test(ledger, what_the_dead_have_left)
{
    struct arena *a;
    struct ledger *l = ledger_new(&a);
    struct ledger_claim seen;
    uint32_t mine = connected(l, 55), pid = in_child(leave_some, l), cursor = 0, ticket = 0, n = 0;
    cr_expect(eq(u32, ledger_dead(l, &cursor), pid));
    cr_expect(eq(u32, ledger_dead(l, &cursor), 0), "this process lives");
    for (; ledger_inherit(l, pid, 0, &ticket); n++)
        cr_expect(closed(l, ticket, &seen));
    cr_expect(eq(u32, n, 2), "what is on its way belongs to nobody");
    ledger_forget(l, pid);
    cursor = 0;
    cr_expect(eq(u32, ledger_dead(l, &cursor), 0));

    ticket = 0;
    cr_expect(not(ledger_inherit(l, LEDGER_ON_ITS_WAY, 10, &ticket)), "not late yet");
    ticket = 0;
    cr_expect(ledger_inherit(l, LEDGER_ON_ITS_WAY, LATE, &ticket));
    cr_expect(closed(l, ticket, &seen));
    cr_expect(eq(u32, ledger_used(l), 1));
    cr_expect(closed(l, mine, &seen));
    arena_destroy(a);
}

static void open_and_be_killed(struct ledger *l)
{
    srand((unsigned)getpid());
    uint32_t held[64] = {0};
    for (unsigned i = 0;; i++) {
        struct ledger_claim seen;
        uint32_t *t = &held[(unsigned)rand() % 64];
        if (*t)
            closed(l, *t, &seen);
        *t = connected(l, (uint64_t)getpid() << 32 | i);
        if (rand() % 8 == 0) {
            ledger_send(l, *t, i);
            *t = rand() % 2 ? ledger_take(l, (uint64_t)getpid() << 32 | i) : 0;
        }
    }
}

/* Killed in the middle of whatever they do, over and over: nothing stays. */
Test(ledger, kill_9)
{
    struct arena *a;
    struct ledger *l = ledger_new(&a);
    struct ledger_claim seen;
    for (int round = 0; round < 20; round++) {
        pid_t child[4];
        for (int i = 0; i < 4; i++) {
            child[i] = fork();
            cr_assert(child[i] >= 0);
            if (child[i] == 0) {
                alarm(20);
                open_and_be_killed(l);
            }
        }
        usleep(3000);
        for (int i = 0; i < 4; i++) {
            kill(child[i], SIGKILL);
            waitpid(child[i], NULL, 0);
        }
        uint32_t pid, cursor = 0;
        while ((pid = ledger_dead(l, &cursor))) {
            for (uint32_t ticket = 0; ledger_inherit(l, pid, 0, &ticket);)
                closed(l, ticket, &seen);
            ledger_forget(l, pid);
        }
    }
    for (uint32_t ticket = 0; ledger_inherit(l, LEDGER_ON_ITS_WAY, LATE, &ticket);)
        closed(l, ticket, &seen);
    for (uint32_t i = 0; i < 60000; i++)
        cr_assert(opened(l) != 0, "entry %u of a ledger that should be empty", i);
    arena_destroy(a);
}
