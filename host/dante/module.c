/* SPDX-License-Identifier: MIT
 * module.c: the module in one of danted's processes.
 */
#include "dante/module.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/syslog.h"
#include "dante/fit.h"
#include "dante/shared.h"
#include "dante/sockets.h"
#include "plugin/loader.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_CONFIG 78
#define PROGRAM "dispatch-dante"
#define SWEEP_NS NS_PER_S        /* between two looks for processes that have died unseen */
#define ARRIVE_NS (3 * NS_PER_S) /* a socket that is on its way for longer is lost */
#define ONE_CHECK_NS NS_PER_S    /* danted asks for its external addresses in a row */
#define CHECKED_MAX 16

static struct {
    bool on;          /* this is danted, and its configuration stands */
    bool busy;        /* the module's own calls pass */
    bool mother;      /* reads configurations */
    bool daemonizing; /* the child that is made now is the mother */
    bool serves;      /* as module_serves() */
    const char *file;
    struct shared shared;
    struct ledger *ledger;
    struct router *router;
    uint32_t generation; /* of the router */
    struct trash trash;
    struct dp_addr checked[CHECKED_MAX]; /* by the check of external addresses under way */
    unsigned n_checked;
    struct stat seen;   /* the file at that time */
    int64_t checked_ns; /* the last of them; 0: none yet */
} module;

bool module_enter(void)
{
    if (!module.on || module.busy)
        return false;
    module.busy = true;
    return true;
}

void module_leave(void)
{
    module.busy = false;
}

bool module_is_mother(void)
{
    return module.mother;
}

struct ledger *module_ledger(void)
{
    return module.ledger;
}

/* ---- what is said ---- */

/* At the start somebody may be looking, and danted logs there as well. */
static void line_to_stderr(enum log_level level, const char *line, size_t len)
{
    (void)level;
    fprintf(stderr, PROGRAM ": %.*s\n", (int)len, line);
}

static void line_to_syslog(enum log_level level, const char *line, size_t len)
{
    syslog_write(level, PROGRAM, line, len);
}

void module_refuse(const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fprintf(stderr, PROGRAM ": %s\n", text);
    _exit(EXIT_CONFIG);
}

static void errors_say(const struct conf_errors *errors)
{
    for (size_t i = 0; i < errors->n; i++)
        log_line(LOG_ERROR, "config", "%s", errors->line[i]);
    if (errors->n == 0)
        log_line(LOG_ERROR, "config", "out of memory");
}

/* ---- the configuration ---- */

/* Puts a configuration to work; takes it over. Processes have one thread: what it replaces can go at
 * once. */
static int config_apply(struct config *config, struct conf_errors *errors)
{
    struct router *old = module.router;
    struct router *router = router_new(config, old, module.shared.arena, &module.trash, errors);
    if (router) {
        router_publish(router);
        router_settle(router);
        module.router = router;
        router_free(old);
    }
    trash_empty(&module.trash);
    return router ? 0 : -1;
}

static struct config *config_from_text(const char *text, size_t len, struct conf_errors *errors)
{
    const char *const *path;
    size_t n = loader_fallback_path(&path);
    return config_parse(module.file, text, len, path, n, &loader_source, errors);
}

static struct config *config_read(struct conf_errors *errors)
{
    const char *const *path;
    size_t n = loader_fallback_path(&path);
    struct config *config = config_load(module.file, path, n, &loader_source, errors);
    if (config && !config->dante) {
        conf_error(
            errors, NULL,
            "%s: no section `dante`: say which external addresses of danted lead to links, as "
            "`dante: {anchors: [127.0.0.2]}`",
            module.file);
        config_free(config);
        config = NULL;
    }
    if (config && !config_fits(config, module.file, errors)) {
        config_free(config);
        config = NULL;
    }
    return config;
}

static void text_free(char *text, size_t len)
{
    if (text)
        explicit_bzero(text, len);
    free(text);
}

/* With all defaults written out a file may be too much for its reader. */
static bool text_is_read(const char *text, size_t len)
{
    struct conf_errors errors = {0};
    struct config *config = len > SHARED_TEXT_MAX ? NULL : config_from_text(text, len, &errors);
    bool read = config != NULL;
    config_free(config);
    conf_errors_free(&errors);
    return read;
}

/* The configuration as text, for the children: they may not be able to read the files, so all that
 * was in these is in it. The caller frees it. NULL: it cannot be handed on. */
static char *config_text(const struct config *config, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    if (!out)
        return NULL;
    config_write(config, out);
    if (fclose(out) == 0 && text_is_read(text, *len))
        return text;
    text_free(text, *len);
    return NULL;
}

/* Both or nothing: what cannot be handed on is not used here. Takes config over. */
static int config_use(struct config *config, struct conf_errors *errors)
{
    size_t len = 0;
    char *text = config_text(config, &len);
    int err = -1;
    if (!text) {
        conf_error(errors, NULL, "%s: too large to be handed to danted's processes", module.file);
        config_free(config);
    } else if ((err = config_apply(config, errors)) == 0) {
        shared_publish(&module.shared, text, len);
        module.generation = shared_generation(&module.shared);
        for (size_t i = 0; i < module.router->config->n_links; i++)
            dp_store(&module.router->link[i]->shared->generation, module.generation);
    }
    text_free(text, len);
    return err;
}

static void config_follow(void)
{
    if (shared_generation(&module.shared) == module.generation)
        return;
    size_t len;
    char *text = shared_read(&module.shared, &module.generation, &len);
    if (!text)
        return; /* the next generation is tried again */
    struct conf_errors errors = {0};
    struct config *config = config_from_text(text, len, &errors);
    if (!config || config_apply(config, &errors) < 0)
        errors_say(&errors);
    conf_errors_free(&errors);
    text_free(text, len);
}

const struct router *module_router(void)
{
    config_follow();
    return module.router;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Takes the place of the configuration in use. */
static int config_reload(struct conf_errors *errors)
{
    struct config *config = config_read(errors);
    if (!config)
        return -1;
    if (!same_text(config->dante->state, module.router->config->dante->state))
        log_line(LOG_WARN, "config", "dante: state: takes effect at the next start of danted");
    return config_use(config, errors);
}

/* danted's mother works as its unprivileged user, and reads its own file as root. */
static int as_root(int (*act)(struct conf_errors *errors), struct conf_errors *errors)
{
    uid_t real, effective, saved;
    if (getresuid(&real, &effective, &saved) < 0)
        return -1;
    bool raise = effective != 0 && (saved == 0 || real == 0) && seteuid(0) == 0;
    int err = act(errors);
    if (raise && seteuid(effective) < 0)
        abort(); /* never go on as root */
    return err;
}

/* Has the file been written since this was asked for last? */
static bool file_moved(void)
{
    struct stat st, seen = module.seen;
    if (stat(module.file, &st) < 0)
        return false;
    module.seen = st;
    return st.st_ino != seen.st_ino || st.st_size != seen.st_size ||
           st.st_mtim.tv_sec != seen.st_mtim.tv_sec || st.st_mtim.tv_nsec != seen.st_mtim.tv_nsec;
}

/* Is this the first address of another check? No address is asked for twice in one; but danted's own
 * file may have others by now. */
static bool check_begins(const struct dp_addr *addr, int64_t now_ns)
{
    bool again = module.n_checked == CHECKED_MAX || now_ns - module.checked_ns > ONE_CHECK_NS;
    again |= file_moved();
    for (unsigned i = 0; i < module.n_checked; i++)
        again |= addr_same_ip(&module.checked[i], addr);
    if (again)
        module.n_checked = 0;
    module.checked[module.n_checked++] = *addr;
    return again;
}

void module_check(const struct dp_addr *addr)
{
    bool start = module.checked_ns == 0, begins = check_begins(addr, clock_now_ns());
    struct conf_errors errors = {0};
    if (begins && !start && as_root(config_reload, &errors) == 0) {
        log_line(LOG_INFO, "config", "reloaded");
    } else if (begins && !start) {
        errors_say(&errors);
        log_line(LOG_ERROR, "config", "not reloaded: the configuration of before stays in use");
    }
    conf_errors_free(&errors);
    module.checked_ns = clock_now_ns();
}

static int state_show(struct conf_errors *errors)
{
    const struct conf_dante *dante = module.router->config->dante;
    int err = dante->state ? shared_show(&module.shared, dante->state) : 0;
    if (err)
        conf_error(errors, dante->node, "dante: state: %s: %s", dante->state, strerror(-err));
    return err;
}

void module_serves(void)
{
    struct conf_errors errors = {0};
    if (module.serves)
        return;
    module.serves = true;
    if (as_root(state_show, &errors) < 0)
        module_refuse("%s", errors.n ? errors.line[0] : "out of memory");
}

/* ---- claims of processes that have ended ---- */

static void claims_end(uint32_t pid, int64_t now_ns)
{
    uint32_t ticket = 0;
    while (ledger_inherit(module.ledger, pid, now_ns - ARRIVE_NS, &ticket))
        router_claim_end(module.router, module.ledger, ticket, now_ns, 0, 0);
    if (pid != LEDGER_ON_ITS_WAY)
        ledger_forget(module.ledger, pid);
}

void module_reap(uint32_t pid)
{
    claims_end(pid, clock_now_ns());
    ledger_settle(module.ledger, module.shared.arena);
}

void module_sweep(int64_t now_ns)
{
    int64_t next = __atomic_load_n(&module.shared.owner->sweep_ns, __ATOMIC_RELAXED);
    if (now_ns < next ||
        !__atomic_compare_exchange_n(&module.shared.owner->sweep_ns, &next, now_ns + SWEEP_NS,
                                     false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    uint32_t pid, cursor = 0;
    while ((pid = ledger_dead(module.ledger, &cursor)))
        claims_end(pid, now_ns);
    claims_end(LEDGER_ON_ITS_WAY, now_ns);
    ledger_settle(module.ledger, module.shared.arena);
}

/* ---- processes ---- */

static void forked(void)
{
    if (module.daemonizing)
        return;
    module.mother = false;
    sockets_forget();
}

void module_daemon_begin(void)
{
    module.daemonizing = true;
}

void module_daemon_end(bool done)
{
    module.daemonizing = false;
    if (!done || !module.on)
        return;
    arena_own(module.shared.arena);
    __atomic_store_n(&module.shared.owner->pid, (uint32_t)getpid(), __ATOMIC_RELAXED);
}

/* A service's environment reaches every program that its unit starts. */
static bool is_danted(void)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    if (len < 0)
        return false;
    path[len] = '\0';
    const char *name = basename(path);
    return strcmp(name, "danted") == 0 || strcmp(name, "sockd") == 0;
}

/* Returns 0, or the mistakes. */
static int start_config(struct conf_errors *errors)
{
    struct config *config = config_read(errors);
    if (!config)
        return -1;
    int err = shared_make(&module.shared, config->dante->state);
    if (!err)
        return config_use(config, errors);
    conf_error(errors, config->dante->node, "dante: state: %s: %s",
               config->dante->state ? config->dante->state : "memory", strerror(-err));
    config_free(config);
    return -1;
}

static void start(void)
{
    struct conf_errors errors = {0};
    log_to(line_to_stderr);
    module.file = secure_getenv("DISPATCH_CONFIG");
    if (!module.file || !*module.file)
        module_refuse("set DISPATCH_CONFIG to the path of a dispatch.yaml");
    if (start_config(&errors) < 0) {
        for (size_t i = 0; i < errors.n; i++)
            fprintf(stderr, "%s\n", errors.line[i]);
        module_refuse("danted does not start without a configuration that works");
    }
    conf_errors_free(&errors);
    module.ledger = ledger_of(module.shared.arena);
    if (!module.ledger || pthread_atfork(NULL, NULL, forked) != 0)
        module_refuse("out of memory");
    log_to(line_to_syslog);
    module.mother = true;
    module.on = true;
}

__attribute__((constructor)) static void module_start(void)
{
    if (is_danted())
        start();
}
