/* SPDX-License-Identifier: MIT
 * load.c: the configuration that dispatch-host was asked for: made, tried out, its mistakes said.
 */
#include "load.h"
#include "activation.h"
#include "base/log.h"
#include "interfaces.h"
#include "plugin/instance.h"
#include "plugin/loader.h"
#include "route/router.h"
#include "trial.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- mistakes ---- */

/* There was no memory to keep a mistake in: then that is what is said. */
static bool errors_unkept(const struct conf_errors *errors)
{
    return errors->n == 0 && errors->n_more > 0;
}

void errors_print(const struct conf_errors *errors)
{
    for (size_t i = 0; i < errors->n; i++)
        fprintf(stderr, "%s\n", errors->line[i]);
    if (errors_unkept(errors))
        fputs("out of memory\n", stderr);
}

void errors_log(const struct conf_errors *errors)
{
    for (size_t i = 0; i < errors->n; i++)
        log_line(LOG_ERROR, "config", "%s", errors->line[i]);
    if (errors_unkept(errors))
        log_line(LOG_ERROR, "config", "out of memory");
}

/* ---- made ---- */

/* `why`: for each interface a line, why it is none; NULL: there was no memory for it. */
static void say_no_way(char *why, struct conf_errors *errors)
{
    conf_error(errors, NULL, "no interface has a way out, so there is nothing to dispatch to:");
    char *rest = why;
    for (const char *line; rest && (line = strsep(&rest, "\n"));)
        if (*line)
            conf_error(errors, NULL, "  %s", line);
}

static struct config *auto_config(const struct options *o, const char *const *path, size_t n_path,
                                  const struct plugin_source *plugins, struct conf_errors *errors)
{
    struct conf_command_line words = o->words;
    const char *const *names = NULL;
    struct config *config = NULL;
    char *why = NULL;
    size_t why_len;
    FILE *out = open_memstream(&why, &why_len);
    int n = out ? interfaces_auto(&names, out) : -1;
    if (out)
        fclose(out);
    if (n > 0) {
        words.link = names;
        words.n_links = (size_t)n;
        config = config_from_args(&words, path, n_path, plugins, errors);
    } else if (n == 0) {
        say_no_way(why, errors);
    } else {
        conf_error(errors, NULL, "cannot read this machine's interfaces and routes");
    }
    free((void *)names);
    free(why);
    return config;
}

static struct config *config_make(const struct options *o, const struct plugin_source *plugins,
                                  struct conf_errors *errors)
{
    const char *const *path;
    size_t n = loader_fallback_path(&path);
    switch (o->source) {
    case FROM_FILE:
        return config_load(o->file, path, n, plugins, errors);
    case FROM_WORDS:
        return config_from_args(&o->words, path, n, plugins, errors);
    default:
        return auto_config(o, path, n, plugins, errors);
    }
}

struct config *load_config(const struct options *o, struct conf_errors *errors)
{
    return config_make(o, &loader_source, errors);
}

/* With the sockets of the service manager; a command has its own listener. */
struct config *load_served(const struct options *o, struct conf_errors *errors)
{
    struct config *config = load_config(o, errors);
    if (!config || o->command || activation_find(config, errors) == 0)
        return config;
    config_free(config);
    return NULL;
}

/* ---- tried out ---- */

struct check {
    const struct options *options;
    bool reloading; /* a daemon's mistakes are log lines */
};

/* Loads everything and makes every plugin instance, as the start would. */
static int try_config(void *ctx)
{
    const struct check *check = ctx;
    const struct options *o = check->options;
    if (check->reloading) {
        log_child();
        closefrom(STDERR_FILENO + 1); /* or connections that end meanwhile would stay open here */
    }
    struct conf_errors errors = {0};
    struct trash trash = {0};
    struct arena *arena = arena_new((size_t)64 << 20, -1);
    if (o->action == ACTION_SERVE)
        log_set_level(LOG_ERROR); /* what plugins have to say they say again at the real start */
    const struct plugin_source plugins = {.find = loader_source.find, .examine = instance_examine};
    struct config *config = config_make(o, &plugins, &errors);
    log_set_level(LOG_ERROR); /* the same once more */
    if (!arena)
        conf_error(&errors, NULL, "out of memory");
    struct router *router =
        config && arena ? router_new(config, NULL, arena, &trash, &errors) : NULL;
    if (router)
        router_retract(router);
    if (check->reloading)
        errors_log(&errors);
    else
        errors_print(&errors);
    int result = router ? 0 : EXIT_CONFIG;
    router_free(router);
    trash_empty(&trash);
    arena_destroy(arena);
    conf_errors_free(&errors);
    return result;
}

/* Finding nothing to use is a failure of the machine, not a mistake in a configuration. */
int load_check(const struct options *o)
{
    struct check check = {.options = o};
    int status = trial_run(try_config, &check);
    return o->source == FROM_AUTO && status == EXIT_CONFIG ? 1 : status;
}

bool load_check_again(const struct options *o)
{
    struct check check = {.options = o, .reloading = true};
    return trial_run(try_config, &check) == 0;
}
