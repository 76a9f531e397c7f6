/* SPDX-License-Identifier: MIT
 * source_fake.h: a plugin_source for tests of the configuration: plugins that only have options.
 */
#ifndef LIB_SOURCE_FAKE_H
#define LIB_SOURCE_FAKE_H

#include "config/config.h"
#include <stdlib.h>
#include <string.h>

static int fake_prepare(const void *self, int fd, int family, int type, struct dp_addr *local)
{
    (void)self, (void)fd, (void)family, (void)type, (void)local;
    return DP_OK;
}
static int fake_hop(const void *self, struct dp_addr *addr)
{
    (void)self, (void)addr;
    return DP_OK;
}
static int fake_start(const void *self, void *dial, const struct dp_dial_req *req,
                      struct dp_want *want, struct dp_conn *conn)
{
    (void)self, (void)dial, (void)req, (void)want, (void)conn;
    return DP_OK;
}
static int fake_step(void *dial, struct dp_want *want, struct dp_conn *conn)
{
    (void)dial, (void)want, (void)conn;
    return DP_OK;
}
static void fake_end(void *dial)
{
    (void)dial;
}

static const struct dp_dialer_ops fake_socket_dialer = {.prepare = fake_prepare};
static const struct dp_dialer_ops fake_tunnel = {
    .hop = fake_hop, .start = fake_start, .step = fake_step};
static const struct dp_dialer_ops fake_stream_dialer = {
    .start = fake_start, .step = fake_step, .end = fake_end};
static const struct dp_balancer_ops fake_balancer;

/* Options of real plugins. */
struct fake_iface {
    struct dp_str interface;
    struct dp_addr address;
};
static const struct dp_opt fake_iface_opts[] = {
    {.name = "interface", .type = DP_DEVICE, .offset = offsetof(struct fake_iface, interface)},
    {.name = "address", .type = DP_ADDRESS, .offset = offsetof(struct fake_iface, address)},
};
struct fake_socks {
    struct dp_addr server;
    struct dp_str username, password;
    uint32_t resolve, version;
};
static const struct dp_opt fake_socks_opts[] = {
    {.name = "server",
     .type = DP_ENDPOINT,
     .flags = DP_REQUIRED,
     .offset = offsetof(struct fake_socks, server),
     .help = "the server"},
    {.name = "username",
     .type = DP_STRING,
     .offset = offsetof(struct fake_socks, username),
     .min = 0,
     .max = 255,
     .help = "log in with this name"},
    {.name = "password",
     .type = DP_SECRET,
     .offset = offsetof(struct fake_socks, password),
     .min = 0,
     .max = 255,
     .help = "and this password"},
    {.name = "resolve",
     .type = DP_ENUM,
     .offset = offsetof(struct fake_socks, resolve),
     .dflt = "remote",
     .choices = "remote|local",
     .help = "who looks up names"},
    {.name = "version",
     .type = DP_ENUM,
     .offset = offsetof(struct fake_socks, version),
     .dflt = "5",
     .choices = "5|4a|4",
     .help = "of SOCKS"},
};
struct fake_rr {
    uint32_t order;
};
static const struct dp_opt fake_rr_opts[] = {
    {.name = "order",
     .type = DP_ENUM,
     .offset = offsetof(struct fake_rr, order),
     .dflt = "smooth",
     .choices = "smooth|block",
     .help = "help"},
};

/* Every type there is, with and without bounds and defaults. */
struct fake_every {
    uint8_t flag;
    uint32_t count, any, mode;
    int64_t wait, ever;
    uint64_t buffer, file;
    struct dp_str text, secret, device;
    struct dp_addr server, local;
    struct dp_list names, some;
};
#define FAKE_OPT(key, kind, ...)                                                                \
    {                                                                                           \
        .name = #key, .type = kind, .offset = offsetof(struct fake_every, key), .help = "help", \
        __VA_ARGS__                                                                             \
    }
static const struct dp_opt fake_every_opts[] = {
    FAKE_OPT(flag, DP_BOOL, .dflt = "no"),
    FAKE_OPT(count, DP_U32, .min = 1, .max = 9, .dflt = "5"),
    FAKE_OPT(any, DP_U32),
    FAKE_OPT(mode, DP_ENUM, .choices = "one|two|three"),
    FAKE_OPT(wait, DP_DURATION, .min = 1000000, .max = 60000000000, .dflt = "1500ms"),
    FAKE_OPT(ever, DP_DURATION),
    FAKE_OPT(buffer, DP_SIZE, .min = 1024, .max = 1048576, .dflt = "64KiB"),
    FAKE_OPT(file, DP_SIZE),
    FAKE_OPT(text, DP_STRING, .min = 2, .max = 8),
    FAKE_OPT(secret, DP_SECRET),
    FAKE_OPT(device, DP_DEVICE),
    FAKE_OPT(server, DP_ENDPOINT),
    FAKE_OPT(local, DP_ADDRESS),
    FAKE_OPT(names, DP_LIST, .dflt = "[a, b]"),
    FAKE_OPT(some, DP_LIST, .min = 1, .max = 2),
};
static const struct dp_opt fake_newer_opts[] = {{.name = "color", .type = 99}};
static const struct dp_opt fake_clash_opts[] = {{.name = "weight", .type = DP_U32}};

#define FAKE_PLUGIN(id, of_kind, its_ops, conf_bytes, ...)                               \
    {                                                                                    \
        .size = sizeof(struct dp_plugin), .abi = DP_ABI, .kind = of_kind, .name = id,    \
        .version = "1.0", .summary = "a fake", .ops = &its_ops, .conf_size = conf_bytes, \
        __VA_ARGS__                                                                      \
    }
#define FAKE_OPTS(table) \
    .opts = table, .n_opts = sizeof table / sizeof *table, .opt_size = sizeof *table

static const struct dp_plugin fake_plugins[] = {
    FAKE_PLUGIN("iface", DP_DIALER, fake_socket_dialer, sizeof(struct fake_iface),
                FAKE_OPTS(fake_iface_opts)),
    FAKE_PLUGIN("direct", DP_DIALER, fake_socket_dialer, 0, .n_opts = 0),
    FAKE_PLUGIN("socks", DP_DIALER, fake_tunnel, sizeof(struct fake_socks),
                FAKE_OPTS(fake_socks_opts)),
    /* Its options are those of socks but for the last. */
    FAKE_PLUGIN("http", DP_DIALER, fake_tunnel, sizeof(struct fake_socks), .opts = fake_socks_opts,
                .n_opts = sizeof fake_socks_opts / sizeof *fake_socks_opts - 1,
                .opt_size = sizeof *fake_socks_opts),
    FAKE_PLUGIN("rr", DP_BALANCER, fake_balancer, sizeof(struct fake_rr), FAKE_OPTS(fake_rr_opts)),
    FAKE_PLUGIN("leastconn", DP_BALANCER, fake_balancer, 0, .n_opts = 0),
    FAKE_PLUGIN("stream", DP_DIALER, fake_stream_dialer, 0, .n_opts = 0),
    FAKE_PLUGIN("every", DP_DIALER, fake_tunnel, sizeof(struct fake_every),
                FAKE_OPTS(fake_every_opts)),
    FAKE_PLUGIN("newer", DP_DIALER, fake_tunnel, 8, FAKE_OPTS(fake_newer_opts)),
    FAKE_PLUGIN("clash", DP_DIALER, fake_tunnel, 8, FAKE_OPTS(fake_clash_opts)),
};

static const struct dp_plugin *fake_find(void *ctx, uint32_t kind, const char *name,
                                         const char *const *path, size_t n, char *why,
                                         size_t why_len)
{
    (void)ctx, (void)path, (void)n;
    for (size_t i = 0; i < sizeof fake_plugins / sizeof *fake_plugins; i++)
        if (fake_plugins[i].kind == kind && strcmp(fake_plugins[i].name, name) == 0)
            return &fake_plugins[i];
    snprintf(why, why_len, "no such plugin: %s", name);
    return NULL;
}

static const struct plugin_source fake_source = {.find = fake_find};

/* The top of the source tree. */
static inline const char *fake_srcdir(void)
{
    const char *dir = getenv("TESTS_SRCDIR");
    if (!dir)
        dir = getenv("srcdir");
    return dir ? dir : ".";
}

#endif
