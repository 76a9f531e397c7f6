/* SPDX-License-Identifier: MIT
 * test_budget.c: how many sessions a limit of descriptors has room for.
 */
#include "traffic/budget.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <unistd.h>

Test(budget, shares)
{
    static const struct {
        uint64_t limit, open;
        uint32_t sessions, pipes;
    } rows[] = {
        {20000, 15, 9912, 32}, /* 9,900 are promised */
        {20000, 40, 9900, 32},
        {1024, 24, 420, 32},
        {664, 24, 240, 32}, /* from here on a quarter is kept */
        {100, 12, 33, 4},
        {64, 12, 19, 2},
        {24, 12, 4, 0},
        {14, 12, 1, 0},
        {UINT64_MAX, 10, UINT32_MAX, 32},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct budget b = {0};
        cr_expect(budget_set(&b, rows[i].limit, rows[i].open), "row %zu", i);
        cr_expect(eq(u32, b.sessions, rows[i].sessions), "row %zu", i);
        cr_expect(eq(u32, b.pipes, rows[i].pipes), "row %zu", i);
    }
}

Test(budget, no_room_leaves_it_as_it_was)
{
    struct budget b = {.sessions = 5, .pipes = 3};
    cr_expect(not(budget_set(&b, 13, 12)));
    cr_expect(not(budget_set(&b, 12, 12)));
    cr_expect(not(budget_set(&b, 10, 12)));
    cr_expect(eq(u32, b.sessions, 5));
    cr_expect(eq(u32, b.pipes, 3));
}

Test(budget, no_more_than_there_are)
{
    struct budget b = {.sessions = 3};
    for (int i = 0; i < 3; i++) {
        cr_expect(not(budget_full(&b)));
        cr_expect(budget_take(&b));
    }
    cr_expect(budget_full(&b));
    cr_expect(not(budget_take(&b)));
    budget_give(&b);
    cr_expect(not(budget_full(&b)));
    cr_expect(budget_take(&b));
    cr_expect(not(budget_take(&b)));
}

Test(budget, fewer_after_a_change)
{
    struct budget b = {.sessions = 3, .used = 3};
    cr_assert(budget_set(&b, 14, 12));
    budget_give(&b);
    budget_give(&b);
    cr_expect(budget_full(&b), "one is open, one may be");
    budget_give(&b);
    cr_expect(budget_take(&b));
}

Test(budget, open_descriptors_are_counted)
{
    uint64_t before = budget_open();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0);
    cr_expect(eq(u64, budget_open(), before + 1));
    close(fd);
    cr_expect(eq(u64, budget_open(), before));
    cr_expect(gt(u64, budget_limit(), before));
}
