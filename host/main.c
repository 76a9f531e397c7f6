/* SPDX-License-Identifier: MIT
 * main.c: dispatch-host, the proxy.
 */
#include "base/log.h"
#include "dante_state.h"
#include "import/import.h"
#include "interfaces.h"
#include "load.h"
#include "options.h"
#include "plugin/loader.h"
#include "serve.h"
#include "trial.h"

#include <stdlib.h>
#include <string.h>

static int dump_config(const struct options *o)
{
    struct conf_errors errors = {0};
    int status = load_check(o);
    if (status)
        return status;
    struct config *config = load_config(o, &errors);
    if (!config)
        return EXIT_CONFIG;
    config_dump(config, stdout);
    config_free(config);
    return 0;
}

/* The configuration's own plugin folders come first, if there is one that can be read. */
static size_t plugin_path(const struct options *o, const char *const **path, struct config **config)
{
    struct conf_errors errors = {0};
    size_t n = loader_fallback_path(path);
    *config = o->source == FROM_FILE ? load_config(o, &errors) : NULL;
    if (*config) {
        *path = (*config)->plugin_path;
        n = (*config)->n_plugin_path;
    }
    conf_errors_free(&errors);
    return n;
}

static int list_plugins(const struct options *o)
{
    const char *const *path;
    struct config *config;
    size_t n = plugin_path(o, &path, &config);
    int bad = loader_list(path, n, stdout);
    config_free(config);
    return bad ? 1 : 0;
}

static const struct dp_plugin *plugin_find(const char *name, const char *const *path, size_t n,
                                           char *why, size_t why_len)
{
    if (strncmp(name, "dialer-", 7) == 0)
        return loader_source.find(NULL, DP_DIALER, name + 7, path, n, why, why_len);
    if (strncmp(name, "balancer-", 9) == 0)
        return loader_source.find(NULL, DP_BALANCER, name + 9, path, n, why, why_len);
    snprintf(why, why_len, "give its full name, as dialer-socks or balancer-rr");
    return NULL;
}

static int dump_plugin(const struct options *o)
{
    const char *const *path;
    struct config *config;
    char why[1024];
    size_t n = plugin_path(o, &path, &config);
    const struct dp_plugin *plugin = plugin_find(o->plugin, path, n, why, sizeof why);
    if (plugin)
        config_dump_plugin(plugin, stdout);
    else
        fprintf(stderr, "dispatch-host: %s: %s\n", o->plugin, why);
    config_free(config);
    return plugin ? 0 : 1;
}

static int check(const struct options *o)
{
    int status = load_check(o);
    if (status == 0)
        printf("%s: ok\n", o->source == FROM_FILE ? o->file : "configuration");
    return status;
}

static int list_addresses(void)
{
    if (interfaces_list(stdout) == 0)
        return 0;
    fputs("dispatch-host: cannot read this machine's interfaces\n", stderr);
    return 1;
}

static int run(const struct options *o)
{
    switch (o->action) {
    case ACTION_CHECK:
        return check(o);
    case ACTION_DUMP_CONFIG:
        return dump_config(o);
    case ACTION_LIST_ADDRESSES:
        return list_addresses();
    case ACTION_LIST_PLUGINS:
        return list_plugins(o);
    case ACTION_DUMP_PLUGIN:
        return dump_plugin(o);
    case ACTION_DANTE_STATE:
        return dante_state_print(o->dante_state);
    case ACTION_IMPORT_DANTE:
        return import_dante(o->dante, stdout);
    case ACTION_VERSION:
        printf("dispatch-host %s (plugin ABI %d)\n", PACKAGE_VERSION, DP_ABI);
        return 0;
    case ACTION_HELP:
        options_help(stdout);
        return 0;
    default:
        return host_serve(o);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    int status = options_parse(&options, argc, argv);
    if (status)
        return status;
    if (options.verbose)
        log_set_level(LOG_DEBUG);
    else if (options.command)
        log_set_level(LOG_ERROR); /* the terminal is the command's */
    status = run(&options);
    if (fflush(stdout) != 0 && status == 0)
        status = 1;
    return status;
}
