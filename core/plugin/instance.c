/* SPDX-License-Identifier: MIT
 * instance.c: a plugin at work.
 */
#include "plugin/instance.h"
#include "base/log.h"
#include "plugin/loader.h"
#include "plugin/note.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN_CAPS ((uint32_t)DP_NAMES)

static void host_log(const struct dp_host *host, int level, const char *msg)
{
    if (level < DP_LOG_ERROR || level > DP_LOG_DEBUG)
        level = DP_LOG_INFO;
    log_line((enum log_level)level, host->name, "%s", msg);
}

/* A mistake in an option has its line; one in the whole needs the file it came from. */
static void instance_error(const struct instance *i, const char *option, const char *msg)
{
    const char *path = loader_path(i->conf.plugin);
    char text[512];
    snprintf(text, sizeof text, "%s (%s)", msg, path);
    conf_instance_error(i->errors, &i->conf, i->what, option, option || !*path ? msg : text);
}

static int host_fail(const struct dp_host *host, const char *option, const char *msg)
{
    const struct instance *i =
        (const struct instance *)((const char *)host - offsetof(struct instance, host));
    if (i->errors)
        instance_error(i, option, msg);
    return DP_ERR_LOCAL;
}

static void instance_free(struct instance *i)
{
    config_free(i->config);
    free((char *)i->host.name);
    free(i);
}

static void instance_end(struct instance *i)
{
    void (*destroy)(void *) = i->conf.plugin->kind == DP_DIALER ? instance_dialer(i)->destroy
                                                                : instance_balancer(i)->destroy;
    if (destroy)
        destroy(i->self);
}

static void instance_destroy(struct ref *r)
{
    struct instance *i = (struct instance *)((char *)r - offsetof(struct instance, ref));
    instance_end(i);
    instance_free(i);
}

/* Reporting a mistake is failing, whatever create() returns then. */
static int instance_create(struct instance *i)
{
    size_t before = i->errors->n + i->errors->n_more;
    int (*create)(const struct dp_host *, const void *, void **) =
        i->conf.plugin->kind == DP_DIALER ? instance_dialer(i)->create
                                          : instance_balancer(i)->create;
    plugin_note("create() of %s, plugin %s", i->what, i->conf.plugin->name);
    int result = create(&i->host, i->conf.conf, &i->self);
    bool reported = i->errors->n + i->errors->n_more > before;
    if (result == DP_OK && !reported)
        return 0;
    if (result == DP_OK)
        instance_end(i);
    else if (!reported)
        instance_error(i, NULL, "it refused to start and gave no reason");
    return -1;
}

static int instance_check_caps(struct instance *i)
{
    if (i->conf.plugin->kind != DP_DIALER || !instance_dialer(i)->caps)
        return 0;
    if (!(instance_dialer(i)->caps(i->self) & ~KNOWN_CAPS))
        return 0;
    instance_error(i, NULL, "it needs a newer host (it has a capability unknown here)");
    return -1;
}

struct instance *instance_new(struct config *config, const struct conf_instance *conf,
                              const char *kind, const char *name, struct trash *trash,
                              struct conf_errors *errors)
{
    struct instance *i = calloc(1, sizeof *i);
    char *own_name = strdup(name);
    if (!i || !own_name) {
        free(i);
        free(own_name);
        conf_error(errors, NULL, "out of memory");
        return NULL;
    }
    char what[128];
    snprintf(what, sizeof what, "%s \"%s\"", kind, name);
    i->host = (struct dp_host){.size = sizeof i->host,
                               .abi = DP_ABI,
                               .name = own_name,
                               .version = PACKAGE_VERSION,
                               .log = host_log,
                               .fail = host_fail};
    i->conf = *conf;
    i->config = config ? config_ref(config) : NULL;
    i->errors = errors;
    i->what = what;
    ref_init(&i->ref, trash, instance_destroy);
    if (instance_create(i) < 0) {
        instance_free(i);
        return NULL;
    }
    int bad = instance_check_caps(i);
    i->errors = NULL;
    i->what = NULL;
    if (bad) {
        ref_drop(&i->ref);
        return NULL;
    }
    return i;
}

void instance_examine(const struct conf_instance *conf, const char *kind, const char *name,
                      struct conf_errors *errors)
{
    struct trash trash = {0};
    struct instance *i = instance_new(NULL, conf, kind, name, &trash, errors);
    if (i)
        ref_drop(&i->ref);
    trash_empty(&trash);
}
