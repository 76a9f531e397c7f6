/* SPDX-License-Identifier: MIT
 * abi1.h: the layout of plugin ABI 1 on 64-bit Linux, as numbers. Lines are added, never changed.
 * Included behind any dispatch-plugin.h of ABI 1: today's, the frozen one.
 */
#ifndef COMPAT_ABI1_H
#define COMPAT_ABI1_H

#ifndef __cplusplus
#include <assert.h>
#endif

#if defined __LP64__

#define FIELD(type, name, at) \
    static_assert(offsetof(struct type, name) == (at), #type "." #name " has moved")
/* FROZEN never grows; GROWS may, at its end. */
#define FROZEN(type, size) static_assert(sizeof(struct type) == (size), #type " has changed")
#define GROWS(type, size) static_assert(sizeof(struct type) >= (size), #type " has shrunk")

FROZEN(dp_str, 16);
FIELD(dp_str, p, 0);
FIELD(dp_str, len, 8);

FROZEN(dp_list, 16);
FIELD(dp_list, n, 0);
FIELD(dp_list, item, 8);

FROZEN(dp_addr, 144);
FIELD(dp_addr, sa, 0);
FIELD(dp_addr, salen, 128);
FIELD(dp_addr, port, 132);
FIELD(dp_addr, name_len, 134);
FIELD(dp_addr, name, 136);

GROWS(dp_host, 40);
FIELD(dp_host, size, 0);
FIELD(dp_host, abi, 4);
FIELD(dp_host, name, 8);
FIELD(dp_host, version, 16);
FIELD(dp_host, log, 24);
FIELD(dp_host, fail, 32);

GROWS(dp_opt, 64);
FIELD(dp_opt, name, 0);
FIELD(dp_opt, type, 8);
FIELD(dp_opt, flags, 12);
FIELD(dp_opt, offset, 16);
FIELD(dp_opt, min, 24);
FIELD(dp_opt, max, 32);
FIELD(dp_opt, dflt, 40);
FIELD(dp_opt, choices, 48);
FIELD(dp_opt, help, 56);

GROWS(dp_dial_req, 160);
FIELD(dp_dial_req, size, 0);
FIELD(dp_dial_req, proto, 4);
FIELD(dp_dial_req, to, 8);
FIELD(dp_dial_req, fd, 152);
FIELD(dp_dial_req, reserved, 156);

GROWS(dp_want, 56);
FIELD(dp_want, size, 0);
FIELD(dp_want, nfds, 4);
FIELD(dp_want, now, 8);
FIELD(dp_want, deadline, 16);
FIELD(dp_want, fd, 24);

GROWS(dp_conn, 152);
FIELD(dp_conn, size, 0);
FIELD(dp_conn, fd, 4);
FIELD(dp_conn, bound, 8);

GROWS(dp_dialer_ops, 72);
FIELD(dp_dialer_ops, dial_size, 0);
FIELD(dp_dialer_ops, create, 8);
FIELD(dp_dialer_ops, destroy, 16);
FIELD(dp_dialer_ops, caps, 24);
FIELD(dp_dialer_ops, prepare, 32);
FIELD(dp_dialer_ops, hop, 40);
FIELD(dp_dialer_ops, start, 48);
FIELD(dp_dialer_ops, step, 56);
FIELD(dp_dialer_ops, end, 64);

GROWS(dp_stat, 64);
FIELD(dp_stat, size, 0);
FIELD(dp_stat, active, 4);
FIELD(dp_stat, dialing, 8);
FIELD(dp_stat, fails, 12);
FIELD(dp_stat, picks, 16);
FIELD(dp_stat, rtt, 24);
FIELD(dp_stat, rtt_at, 32);
FIELD(dp_stat, failed_at, 40);
FIELD(dp_stat, rx, 48);
FIELD(dp_stat, tx, 56);

GROWS(dp_member, 48);
FIELD(dp_member, size, 0);
FIELD(dp_member, slot, 4);
FIELD(dp_member, name, 8);
FIELD(dp_member, id, 16);
FIELD(dp_member, weight, 24);
FIELD(dp_member, usable, 28);
FIELD(dp_member, limit, 32);
FIELD(dp_member, stat, 40);

GROWS(dp_view, 24);
FIELD(dp_view, size, 0);
FIELD(dp_view, n, 4);
FIELD(dp_view, gen, 8);
FIELD(dp_view, member, 16);

GROWS(dp_flow, 352);
FIELD(dp_flow, size, 0);
FIELD(dp_flow, proto, 4);
FIELD(dp_flow, client, 8);
FIELD(dp_flow, dest, 152);
FIELD(dp_flow, listener, 296);
FIELD(dp_flow, now, 312);
FIELD(dp_flow, attempt, 320);
FIELD(dp_flow, n_tried, 324);
FIELD(dp_flow, tried, 328);
FIELD(dp_flow, user, 336);

GROWS(dp_pool, 48);
FIELD(dp_pool, size, 0);
FIELD(dp_pool, slot_state, 4);
FIELD(dp_pool, self, 8);
FIELD(dp_pool, picker, 16);
FIELD(dp_pool, state, 24);
FIELD(dp_pool, slots, 32);
FIELD(dp_pool, view, 40);

GROWS(dp_outcome, 40);
FIELD(dp_outcome, size, 0);
FIELD(dp_outcome, err, 4);
FIELD(dp_outcome, dial_ns, 8);
FIELD(dp_outcome, life_ns, 16);
FIELD(dp_outcome, rx, 24);
FIELD(dp_outcome, tx, 32);

GROWS(dp_balancer_ops, 56);
FIELD(dp_balancer_ops, pool_state, 0);
FIELD(dp_balancer_ops, slot_state, 4);
FIELD(dp_balancer_ops, create, 8);
FIELD(dp_balancer_ops, destroy, 16);
FIELD(dp_balancer_ops, build, 24);
FIELD(dp_balancer_ops, drop, 32);
FIELD(dp_balancer_ops, pick, 40);
FIELD(dp_balancer_ops, done, 48);

GROWS(dp_plugin, 72);
FIELD(dp_plugin, size, 0);
FIELD(dp_plugin, abi, 4);
FIELD(dp_plugin, kind, 8);
FIELD(dp_plugin, ops_size, 12);
FIELD(dp_plugin, name, 16);
FIELD(dp_plugin, version, 24);
FIELD(dp_plugin, summary, 32);
FIELD(dp_plugin, ops, 40);
FIELD(dp_plugin, opts, 48);
FIELD(dp_plugin, n_opts, 56);
FIELD(dp_plugin, opt_size, 60);
FIELD(dp_plugin, conf_size, 64);
FIELD(dp_plugin, reserved, 68);

#undef FIELD
#undef FROZEN
#undef GROWS
#endif

#define SAME(a, b) static_assert((a) == (b), #a " has changed")
SAME(DP_ABI, 1);
SAME(DP_TCP, 1);
SAME(DP_UDP, 2);
SAME(DP_BIND, 3);
SAME(DP_LOG_ERROR, 0);
SAME(DP_LOG_DEBUG, 3);
SAME(DP_OK, 0);
SAME(DP_AGAIN, 1);
SAME(DP_ERR_LOCAL, -0x101);
SAME(DP_ERR_LINK, -0x201);
SAME(DP_ERR_REFUSED, -0x305);
SAME(DP_ERR_NO_HOST, -0x304);
SAME(DP_ERR_DENIED, -0x302);
SAME(DP_ERR_NET_UNREACH, -0x403);
SAME(DP_ERR_HOST_UNREACH, -0x404);
SAME(DP_ERR_TTL, -0x406);
SAME(DP_ERR_COMMAND, -0x507);
SAME(DP_ERR_FAMILY, -0x508);
SAME(DP_ERR_NO_ANSWER, -0x501);
SAME(DP_ERR_CANCELLED, -0x600);
SAME(DP_BOOL, 1);
SAME(DP_U32, 2);
SAME(DP_DURATION, 3);
SAME(DP_SIZE, 4);
SAME(DP_STRING, 5);
SAME(DP_SECRET, 6);
SAME(DP_ENUM, 7);
SAME(DP_ENDPOINT, 8);
SAME(DP_ADDRESS, 9);
SAME(DP_DEVICE, 10);
SAME(DP_LIST, 11);
SAME(DP_REQUIRED, 1);
SAME(DP_NAMES, 1);
SAME(DP_DIALER, 1);
SAME(DP_BALANCER, 2);
SAME(DP_NONE, UINT32_MAX);
#undef SAME

#endif
