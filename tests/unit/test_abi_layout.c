/* SPDX-License-Identifier: MIT
 * test_abi_layout.c: the layout of the plugin ABI (when compiled), and the header's own functions.
 */
#include <dispatch-plugin.h>

#include "compat/abi1.h"
#include "lib/plugin_fake.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

Test(abi, errors_carry_blame_and_reply)
{
    static const struct {
        int err, blame, reply;
    } table[] = {
        {DP_ERR_LOCAL, DP_LOCAL, 1},       {DP_ERR_LINK, DP_LINK, 1},
        {DP_ERR_REFUSED, DP_DEST, 5},      {DP_ERR_NO_HOST, DP_DEST, 4},
        {DP_ERR_DENIED, DP_DEST, 2},       {DP_ERR_NET_UNREACH, DP_PATH, 3},
        {DP_ERR_HOST_UNREACH, DP_PATH, 4}, {DP_ERR_TTL, DP_PATH, 6},
        {DP_ERR_COMMAND, DP_UNABLE, 7},    {DP_ERR_FAMILY, DP_UNABLE, 8},
        {DP_ERR_NO_ANSWER, DP_UNABLE, 1},  {DP_ERR_CANCELLED, DP_CANCELLED, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        cr_expect(lt(int, table[i].err, 0), "row %zu", i);
        cr_expect(eq(int, dp_blame(table[i].err), table[i].blame), "row %zu", i);
        cr_expect(eq(int, dp_reply(table[i].err), table[i].reply), "row %zu", i);
    }
    cr_expect(eq(int, dp_blame(DP_OK), 0));
}

Test(abi, allowed)
{
    static const struct {
        uint32_t usable, limit, active, slot;
        int expect;
    } table[] = {
        {1, 0, 0, 0, 1},  {0, 0, 0, 0, 0},   {1, 0, 1000, 0, 1}, {1, 3, 2, 0, 1},
        {1, 3, 3, 0, 0},  {1, 3, 4, 0, 0},   {1, 0, 0, 63, 0}, /* tried */
        {1, 0, 0, 64, 0},                                      /* tried, in the second word */
        {1, 0, 0, 65, 1}, {1, 0, 0, 127, 1}, {1, 0, 0, 128, 1}, /* past the words there are: a link newer than the flow */
    };
    const uint64_t tried[2] = {UINT64_C(1) << 63, 1};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct dp_stat stat = {.active = table[i].active};
        struct dp_member member = {.usable = table[i].usable,
                                   .limit = table[i].limit,
                                   .slot = table[i].slot,
                                   .stat = &stat};
        const struct dp_member *list[] = {&member};
        struct dp_view view = {.n = 1, .member = list};
        struct dp_pool pool = {.view = &view};
        struct dp_flow flow = {.n_tried = 2, .tried = tried};
        cr_expect(eq(int, dp_allowed(&pool, &flow, 0), table[i].expect), "row %zu", i);
    }
}

Test(abi, a_first_attempt_has_tried_nothing)
{
    struct dp_stat stat = {0};
    struct dp_member member = {.usable = 1, .stat = &stat};
    const struct dp_member *list[] = {&member};
    struct dp_view view = {.n = 1, .member = list};
    struct dp_pool pool = {.view = &view};
    struct dp_flow flow = {.n_tried = 0, .tried = NULL};
    cr_expect(eq(int, dp_allowed(&pool, &flow, 0), 1));
}

Test(abi, slots_lie_side_by_side)
{
    uint64_t slots[6] = {0};
    struct dp_pool pool = {.slots = slots, .slot_state = 16};
    cr_expect(eq(ptr, dp_slot(&pool, 0), slots));
    cr_expect(eq(ptr, dp_slot(&pool, 2), slots + 4));
}

Test(abi, long_messages_are_cut)
{
    struct fake_host host;
    char text[1000];
    fake_host_init(&host);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    dp_logf(&host.host, DP_LOG_INFO, "%s", text);
    cr_expect(eq(sz, strlen(host.log), 399));
    dp_logf(&host.host, DP_LOG_ERROR, "%s=%d", "n", 7);
    cr_expect(eq(str, host.log, "n=7"));
    cr_expect(eq(int, host.level, DP_LOG_ERROR));
}
