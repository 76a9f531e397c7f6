/* SPDX-License-Identifier: MIT
 * check.c: does what a plugin hands over fit this host?
 */
#include "plugin/check.h"

#include <stdbool.h>
#include <string.h>

/* Bounds that only a mistake passes: a conf, a dial, or a state larger than this. */
#define BLOCK_MAX 65536
#define OPTS_MAX 256

/* ABI 1 always had these. */
#define PLUGIN_SIZE_MIN (offsetof(struct dp_plugin, conf_size) + sizeof(uint32_t))
#define OPT_SIZE_MIN (offsetof(struct dp_opt, help) + sizeof(const char *))

static int refuse(char *why, size_t why_len, const char *text)
{
    snprintf(why, why_len, "%s", text);
    return -1;
}

int plugin_check_head(const struct dp_plugin *p, uint32_t kind, const char *name, char *why,
                      size_t why_len)
{
    if (p->abi != DP_ABI) {
        snprintf(why, why_len,
                 "it was built for plugin ABI %u and this host has ABI %u: build it against this "
                 "host's dispatch-plugin.h",
                 p->abi, DP_ABI);
        return -1;
    }
    if (p->size < PLUGIN_SIZE_MIN || !p->name || !p->version || !p->summary)
        return refuse(why, why_len, "its dp_plugin is incomplete (size, name, version, summary)");
    if (p->kind != kind)
        return refuse(why, why_len,
                      kind == DP_DIALER ? "its file name says dialer, but it is not one"
                                        : "its file name says balancer, but it is not one");
    if (strcmp(p->name, name) != 0) {
        snprintf(why, why_len, "it calls itself \"%.60s\": its file name must say the same",
                 p->name);
        return -1;
    }
    if (!p->ops || p->ops_size == 0)
        return refuse(why, why_len, "it has no operations (ops)");
    return 0;
}

static size_t opt_width(uint32_t type)
{
    static const size_t width[] = {
        [DP_BOOL] = 1,
        [DP_U32] = sizeof(uint32_t),
        [DP_DURATION] = sizeof(int64_t),
        [DP_SIZE] = sizeof(uint64_t),
        [DP_STRING] = sizeof(struct dp_str),
        [DP_SECRET] = sizeof(struct dp_str),
        [DP_ENUM] = sizeof(uint32_t),
        [DP_ENDPOINT] = sizeof(struct dp_addr),
        [DP_ADDRESS] = sizeof(struct dp_addr),
        [DP_DEVICE] = sizeof(struct dp_str),
        [DP_LIST] = sizeof(struct dp_list),
    };
    return type < sizeof width / sizeof *width ? width[type] : 0;
}

static int opt_check(const struct dp_plugin *p, const struct dp_opt *opt, char *why, size_t why_len)
{
    if (!opt->name || !opt->help)
        return refuse(why, why_len, "an option of it has no name or no help");
    size_t width = opt_width(opt->type);
    if (!width || opt->flags & ~(uint32_t)DP_REQUIRED) {
        snprintf(why, why_len, "its option \"%.60s\" needs a newer host (type %u, flags %u)",
                 opt->name, opt->type, opt->flags);
        return -1;
    }
    if (opt->offset > p->conf_size || p->conf_size - opt->offset < width ||
        opt->offset % (width < 8 ? width : 8) != 0 || (opt->type == DP_ENUM && !opt->choices)) {
        snprintf(why, why_len, "its option \"%.60s\" does not fit its conf", opt->name);
        return -1;
    }
    return 0;
}

static int opts_check(const struct dp_plugin *p, char *why, size_t why_len)
{
    if (p->conf_size > BLOCK_MAX)
        return refuse(why, why_len, "its conf_size is too large");
    if (p->n_opts == 0)
        return 0;
    if (!p->opts || p->n_opts > OPTS_MAX || p->opt_size < OPT_SIZE_MIN)
        return refuse(why, why_len, "its option table is broken (opts, n_opts, opt_size)");
    for (uint32_t i = 0; i < p->n_opts; i++) {
        const char *at = (const char *)p->opts + (size_t)i * p->opt_size;
        if (opt_check(p, (const struct dp_opt *)at, why, why_len) < 0)
            return -1;
    }
    return 0;
}

/* A socket dialer, a tunnel, or a stream dialer, and nothing between. */
static int dialer_check(const struct dp_dialer_ops *ops, char *why, size_t why_len)
{
    bool socket = ops->prepare && !ops->hop && !ops->start && !ops->step;
    bool tunnel = !ops->prepare && ops->hop && ops->start && ops->step;
    bool stream = !ops->prepare && !ops->hop && ops->start && ops->step && ops->end;
    if (!ops->create)
        return refuse(why, why_len, "it has no create()");
    if (!socket && !tunnel && !stream)
        return refuse(why, why_len,
                      "it needs prepare() alone, or hop(), start() and step(), or start(), step() "
                      "and end()");
    if (ops->dial_size > BLOCK_MAX)
        return refuse(why, why_len, "its dial_size is too large");
    return 0;
}

static int balancer_check(const struct dp_balancer_ops *ops, char *why, size_t why_len)
{
    if (!ops->create || !ops->pick)
        return refuse(why, why_len, !ops->create ? "it has no create()" : "it has no pick()");
    if (!ops->build != !ops->drop)
        return refuse(why, why_len, "it has only one of build() and drop()");
    if (ops->pool_state > BLOCK_MAX || ops->slot_state > BLOCK_MAX)
        return refuse(why, why_len, "its pool_state or slot_state is too large");
    return 0;
}

int plugin_check_body(const struct dp_plugin *p, char *why, size_t why_len)
{
    if (opts_check(p, why, why_len) < 0)
        return -1;
    return p->kind == DP_DIALER ? dialer_check(p->ops, why, why_len)
                                : balancer_check(p->ops, why, why_len);
}
