/* SPDX-License-Identifier: MIT
 * plugin_fake.c: a host for plugins without a host.
 */
#include "plugin_fake.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(const char *what, const char *why)
{
    fprintf(stderr, "plugin_fake: %s: %s\n", what, why);
    abort();
}

/* Is `folder`/`file` there? Its path is left in path. */
static int present(char *path, size_t size, const char *folder, size_t len, const char *file)
{
    snprintf(path, size, "%.*s/%s", (int)len, folder, file);
    return access(path, R_OK) == 0;
}

static int find(char *path, size_t size, const char *file)
{
    char own[256];
    snprintf(own, sizeof own, "plugins/%.*s/.libs", (int)strcspn(file, "."), file);
    const char *env = getenv("PLUGIN_DIR");
    const char *list[] = {env ? env : "", "plugins/.libs:.libs", own};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        for (const char *s = list[i]; *s;) {
            size_t len = strcspn(s, ":");
            if (len && present(path, size, s, len, file))
                return 1;
            s += len + (s[len] == ':');
        }
    }
    return 0;
}

const struct dp_plugin *fake_load(const char *file)
{
    char path[4096];
    if (!find(path, sizeof path, file))
        die(file, "not built, or PLUGIN_DIR does not name its folder");
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const struct dp_plugin *plugin = object ? dlsym(object, "dp_plugin") : NULL;
    if (!plugin)
        die(path, dlerror());
    return plugin;
}

/* ---- the host's services ---- */

static void on_log(const struct dp_host *host, int level, const char *msg)
{
    struct fake_host *h = (struct fake_host *)host;
    h->n_logs++;
    h->level = level;
    snprintf(h->log, sizeof h->log, "%s", msg);
}

static int on_fail(const struct dp_host *host, const char *option, const char *msg)
{
    struct fake_host *h = (struct fake_host *)host;
    h->n_fails++;
    snprintf(h->option, sizeof h->option, "%s", option ? option : "");
    snprintf(h->message, sizeof h->message, "%s", msg);
    return FAKE_FAIL;
}

void fake_host_init(struct fake_host *h)
{
    *h = (struct fake_host){
        .host = {.size = sizeof h->host,
                 .abi = DP_ABI,
                 .name = "fake",
                 .version = "0",
                 .log = on_log,
                 .fail = on_fail},
        .level = -1,
    };
}

/* ---- a pool ---- */

static void set_up_members(struct fake_pool *p, const uint32_t *weight, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        p->name[i][0] = (char)('a' + (int)(i % 26));
        p->stat[i].size = sizeof p->stat[i];
        p->member[i] = (struct dp_member){
            .size = sizeof p->member[i],
            .slot = i,
            .name = p->name[i],
            .id = i + 1,
            .weight = weight[i],
            .usable = 1,
            .stat = &p->stat[i],
        };
        p->list[i] = &p->member[i];
    }
}

void fake_pool_open(struct fake_pool *p, const struct dp_plugin *plugin, const void *conf,
                    const uint32_t *weight, uint32_t n)
{
    if (plugin->kind != DP_BALANCER || n > FAKE_MEMBERS)
        die(plugin->name, "no balancer, or too many members");
    memset(p, 0, sizeof *p);
    p->ops = plugin->ops;
    fake_host_init(&p->host);
    set_up_members(p, weight, n);
    p->view = (struct dp_view){.size = sizeof p->view, .n = n, .member = p->list};
    p->flow =
        (struct dp_flow){.size = sizeof p->flow, .proto = DP_TCP, .n_tried = 1, .tried = &p->tried};

    void *self = NULL;
    if (p->ops->create(&p->host.host, conf, &self))
        die(plugin->name, p->host.message);
    p->pool = (struct dp_pool){
        .size = sizeof p->pool,
        .slot_state = p->ops->slot_state,
        .self = self,
        .state = calloc(1, p->ops->pool_state + 1u),
        .slots = calloc(FAKE_MEMBERS, p->ops->slot_state + 1u),
        .view = &p->view,
    };
    if (!p->pool.state || !p->pool.slots)
        die(plugin->name, "out of memory");
    fake_pool_publish(p);
}

static void drop(struct fake_pool *p)
{
    if (p->pool.picker && p->ops->drop)
        p->ops->drop((void *)p->pool.picker);
    p->pool.picker = NULL;
}

void fake_pool_publish(struct fake_pool *p)
{
    void *picker = NULL;
    drop(p);
    p->view.gen++;
    if (p->ops->build && p->ops->build(p->pool.self, &p->view, &picker))
        die("build", "failed");
    p->pool.picker = picker;
}

uint32_t fake_pool_pick(struct fake_pool *p)
{
    p->seen = UINT32_MAX;
    return p->ops->pick(&p->pool, &p->flow, &p->seen);
}

void fake_pool_close(struct fake_pool *p)
{
    drop(p);
    if (p->ops->destroy)
        p->ops->destroy((void *)p->pool.self);
    free(p->pool.state);
    free(p->pool.slots);
}
