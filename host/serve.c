/* SPDX-License-Identifier: MIT
 * serve.c: dispatch-host at work.
 */
#include "serve.h"
#include "activation.h"
#include "base/clock.h"
#include "base/log.h"
#include "load.h"
#include "notify.h"
#include "run.h"
#include "traffic/server.h"
#include "trial.h"
#include "upgrade.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct host {
    const struct options *options;
    struct loop *loop;
    struct server *server;
    struct io_timer drain;
    struct upgrade upgrade;
    bool stopping;            /* accepts no more */
    struct conf_listener own; /* of --run */
    struct run_origin origin;
    int status; /* at the end */
};

/* ---- what is said at the start ---- */

/* The name without the number that tells equal words apart. */
static int word_len(const char *name)
{
    const char *number = strrchr(name, '#');
    return (int)(number ? (size_t)(number - name) : strlen(name));
}

/* The Go tool's own lines, for whoever reads them. */
static void say_started_words(const struct host *h)
{
    const struct config *c = server_config(h->server);
    char text[ADDR_TEXT];
    for (size_t i = 0; i < c->n_links; i++)
        fprintf(stderr, "[INFO] Load balancer %zu: %.*s, contention ratio: %u\n", i + 1,
                word_len(c->link[i].name), c->link[i].name, c->link[i].weight);
    struct dp_addr addr = server_listen_addr(h->server, 0);
    fprintf(stderr, "[INFO] SOCKS server started at %s\n", addr_text(&addr, text));
    if (h->options->source == FROM_AUTO && c->n_links == 1)
        fprintf(stderr,
                "[INFO] Only %s has a way out: there is nothing to balance yet. Connect "
                "another network and send SIGHUP, or name links: see --help\n",
                c->link[0].name);
    if (h->options->lhost_given && !addr_is_loopback(&addr))
        fprintf(stderr,
                "[WARN] %s can be reached by other machines: clients of its own networks "
                "are served, nobody else\n",
                text);
}

static void say_started(const struct host *h)
{
    const struct config *c = server_config(h->server);
    for (size_t i = 0; i < c->n_listeners; i++) {
        char text[ADDR_TEXT], protocols[CONF_PROTOCOLS_TEXT];
        struct dp_addr addr = server_listen_addr(h->server, i);
        log_line(LOG_INFO, "listener", "%s: listening on %s pool=%s protocols=[%s]",
                 c->listener[i].name, addr_text(&addr, text), c->listener[i].pool->name,
                 conf_protocols_text(c->listener[i].protocols, protocols));
    }
}

/* ---- signals ---- */

static volatile sig_atomic_t got_hup, got_stop, got_usr2;
static struct loop *signal_loop;

static void on_signal(int sig)
{
    if (sig == SIGHUP)
        got_hup = 1;
    else if (sig == SIGUSR2)
        got_usr2 = 1;
    else
        got_stop++;
    loop_wake(signal_loop);
}

/* Blocked while the workers are made, who inherit that: only the main thread is interrupted. */
static void signals_mask(int how, sigset_t *before)
{
    static const int signals[] = {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR2, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&set, signals[i]);
    pthread_sigmask(how, &set, before);
}

static void signals_start(struct loop *loop)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    signal_loop = loop;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGHUP, &sa, NULL);
    sigaction(SIGUSR2, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
}

/* ---- reload and stop ---- */

static void reload(struct host *h)
{
    struct conf_errors errors = {0};
    uint32_t workers = server_config(h->server)->workers;
    struct config *config = NULL;
    notify_reloading();
    if (load_check_again(h->options))
        config = load_served(h->options, &errors);
    if (config && config->workers != workers)
        log_line(LOG_WARN, "config", "workers: takes effect at the next start");
    if (config && server_apply(h->server, config, &errors) == 0) {
        log_line(LOG_INFO, "config", "reloaded");
        say_started(h);
    } else {
        errors_log(&errors);
        log_line(LOG_ERROR, "config", "not reloaded: the configuration of before stays in use");
    }
    conf_errors_free(&errors);
    notify_ready();
}

static void stop(void *ctx)
{
    struct host *h = ctx;
    loop_stop(h->loop);
}

static void drain_over(struct io_timer *t)
{
    stop((char *)t - offsetof(struct host, drain));
}

static void accept_no_more(struct host *h, bool taken_over)
{
    if (!h->stopping)
        server_drain(h->server, taken_over, stop, h);
    h->stopping = true;
}

static void drain(struct host *h)
{
    int64_t limit = server_config(h->server)->timeouts.drain;
    log_line(LOG_INFO, "host", "stopping: open connections have %lld ms to end",
             (long long)(limit / NS_PER_MS));
    struct io *io = loop_io(h->loop);
    notify_stopping();
    h->drain.fire = drain_over;
    io_timer(io, &h->drain, io_now(io) + limit);
    accept_no_more(h, false);
}

/* ---- a new program in our place ---- */

static void upgrade_over(void *ctx, pid_t pid)
{
    struct host *h = ctx;
    if (!pid) {
        log_line(LOG_ERROR, "host", "the new program has ended before it served: this one goes on");
        return;
    }
    log_line(LOG_INFO, "host",
             "process %ld serves from now on; connections go on here to their end", (long)pid);
    notify_handed_over(pid);
    accept_no_more(h, true);
}

static void upgrade(struct host *h)
{
    if (h->upgrade.pid) {
        log_line(LOG_WARN, "host", "a new program is just starting");
        return;
    }
    h->upgrade.loop = h->loop;
    h->upgrade.over = upgrade_over;
    h->upgrade.ctx = h;
    int err = upgrade_start(&h->upgrade, h->options->argv, h->server, &h->origin);
    if (err)
        log_line(LOG_ERROR, "host", "cannot start a new program: %s; this one goes on",
                 strerror(err));
}

static void woken(void *ctx)
{
    struct host *h = ctx;
    if (got_stop > 1)
        _exit(0); /* asked twice: at once */
    if (got_stop && !h->drain.at_ns)
        drain(h);
    if (got_usr2 && !h->stopping) {
        got_usr2 = 0;
        upgrade(h);
    }
    if (got_hup && !h->stopping) {
        got_hup = 0;
        reload(h);
    }
    server_woken(h->server);
}

/* The connections of a command that has ended end with it. */
static void command_woken(void *ctx)
{
    struct host *h = ctx;
    if (run_woken(&h->status))
        loop_stop(h->loop);
    server_woken(h->server);
}

/* ---- the start ---- */

/* Each connection needs two; the shell's soft limit is for programs that use select(). */
static void descriptors_raise(struct rlimit *before)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    *before = limit;
    if (limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_line(LOG_DEBUG, "host", "the limit of open files stays as it is");
}

/* A configuration that is sound but cannot be served here (a port is taken) is a failure, not a
 * mistake in it. */
static int host_begin(struct host *h)
{
    struct conf_errors errors = {0};
    struct config *config = load_served(h->options, &errors);
    int status = EXIT_CONFIG;
    if (config) {
        status = 1;
        if (h->options->command)
            run_listen(config, &h->own);
        h->server = server_new(config->workers, h->loop, &errors);
        if (!h->server)
            config_free(config);
        else if (server_apply(h->server, config, &errors) == 0)
            status = 0;
    }
    errors_print(&errors);
    conf_errors_free(&errors);
    return status;
}

static void say_ready(const struct host *h)
{
    if (h->options->source == FROM_FILE || h->options->command)
        say_started(h);
    else
        say_started_words(h);
    if (h->options->quiet)
        log_set_level(LOG_ERROR);
}

/* Puts the server, or the command that it is for, in charge of the main loop. */
static int host_attend(struct host *h)
{
    struct dp_addr proxy = server_listen_addr(h->server, 0);
    loop_on_wake(h->loop, h->options->command ? command_woken : woken, h);
    say_ready(h);
    upgrade_say_ready();
    if (h->options->command)
        return run_start(h->options->command, &proxy, h->own.protocols & PROTO_HTTP, &h->origin,
                         h->loop);
    signals_start(h->loop);
    notify_ready();
    return 0;
}

static int host_run(struct host *h)
{
    signals_mask(SIG_BLOCK, &h->origin.mask);
    log_start();
    int status = host_begin(h);
    if (status == 0)
        status = host_attend(h);
    if (status == 0) {
        signals_mask(SIG_UNBLOCK, NULL);
        loop_run(h->loop);
        signals_mask(SIG_BLOCK, NULL); /* the loop they wake goes */
        status = h->status;
    }
    server_free(h->server);
    return status;
}

int host_serve(const struct options *o)
{
    int status = load_check(o);
    if (status)
        return status;
    struct host h = {.options = o, .loop = loop_new()};
    if (!h.loop) {
        log_line(LOG_ERROR, "host", "cannot make an event loop: out of memory or descriptors");
        return 1;
    }
    activation_begin(upgrade_begin());
    signal(SIGPIPE, SIG_IGN);
    descriptors_raise(&h.origin.files);
    status = host_run(&h);
    loop_free(h.loop);
    return status;
}
