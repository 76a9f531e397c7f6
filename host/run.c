/* SPDX-License-Identifier: MIT
 * run.c: one command that is run by way of the proxy: --run.
 *
 * The command is in the foreground: it has our process group, standard input, output and error.
 */
#include "run.h"
#include "base/addr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

#define EXIT_CANNOT_RUN 126 /* as of the shell, env(1), timeout(1) */
#define EXIT_NOT_FOUND 127

extern char **environ;

void run_listen(struct config *config, struct conf_listener *own)
{
    static const char loopback[] = "127.0.0.1";
    *own = config->listener[0];
    own->handed = NULL;
    own->mode = 0;
    addr_parse_ip(&own->listen, loopback, sizeof loopback - 1);
    own->listen.port = 0;
    own->allow = NULL;
    own->n_allow = 0;
    own->proxies = NULL;
    own->n_proxies = 0;
    own->unix_proxies = false;
    own->users = NULL;
    if (own->protocols != PROTO_RAW)
        own->protocols = PROTO_SOCKS5 | PROTO_SOCKS4 | PROTO_HTTP;
    config->listener = own;
    config->n_listeners = 1;
}

/* ---- the environment ---- */

/* Some programs read the one, some the other; of http_proxy many take the small one only. Many speak
 * no SOCKS, so where it can be HTTP, it is. */
static const struct {
    const char *name;
    bool http;
} proxies[] = {
    {"ALL_PROXY", false}, {"all_proxy", false}, {"HTTPS_PROXY", true}, {"https_proxy", true},
    {"HTTP_PROXY", true}, {"http_proxy", true}, {"FTP_PROXY", false},  {"ftp_proxy", false},
};

/* The loopback is no destination of the proxy's: programs are to go there themselves, if the user
 * has not said what they are to reach so. */
static char *const direct[] = {"NO_PROXY=localhost,127.0.0.1,::1",
                               "no_proxy=localhost,127.0.0.1,::1"};

struct environment {
    char proxy[LENGTH(proxies)][80];
    char **variable; /* NULL-terminated; to be freed */
};

static bool is_proxy(const char *variable)
{
    size_t len = strcspn(variable, "=");
    for (size_t i = 0; i < LENGTH(proxies); i++)
        if (strlen(proxies[i].name) == len && memcmp(variable, proxies[i].name, len) == 0)
            return true;
    return false;
}

static bool environment_make(struct environment *e, const struct dp_addr *proxy, bool http)
{
    size_t n = 0;
    char text[ADDR_TEXT];
    while (environ[n])
        n++;
    e->variable = calloc(n + LENGTH(proxies) + LENGTH(direct) + 1, sizeof *e->variable);
    if (!e->variable)
        return false;
    n = 0;
    for (char **v = environ; *v; v++)
        if (!is_proxy(*v))
            e->variable[n++] = *v;
    for (size_t i = 0; i < LENGTH(proxies); i++) {
        snprintf(e->proxy[i], sizeof e->proxy[i], "%s=%s://%s", proxies[i].name,
                 http && proxies[i].http ? "http" : "socks5h", addr_text(proxy, text));
        e->variable[n++] = e->proxy[i];
    }
    bool said = getenv("NO_PROXY") || getenv("no_proxy");
    for (size_t i = 0; !said && i < LENGTH(direct); i++)
        e->variable[n++] = direct[i];
    return true;
}

/* ---- signals ---- */

static const int passed_on[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
static volatile sig_atomic_t got[LENGTH(passed_on)];
static struct loop *signal_loop;
static pid_t command;

/* What the terminal sends comes from the kernel, and to the command as well: to whom a second one
 * might mean something else. */
static void on_signal(int sig, siginfo_t *info, void *context)
{
    (void)context;
    for (size_t i = 0; i < LENGTH(passed_on); i++)
        if (sig == passed_on[i] && info->si_code <= 0)
            got[i] = 1;
    loop_wake(signal_loop);
}

/* What is ignored here, by nohup(1) or the shell, stays so: the command is to ignore it too. */
static void signals_take(struct loop *loop)
{
    struct sigaction before,
        sa = {.sa_sigaction = on_signal, .sa_flags = SA_RESTART | SA_SIGINFO | SA_NOCLDSTOP};
    sigemptyset(&sa.sa_mask);
    signal_loop = loop;
    for (size_t i = 0; i < LENGTH(passed_on); i++)
        if (sigaction(passed_on[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(passed_on[i], &sa, NULL);
    sigaction(SIGCHLD, &sa, NULL);
}

/* ---- the command ---- */

/* Of what is ours the command inherits nothing: descriptors are closed by O_CLOEXEC, handlers go by
 * exec. The limit of open files is lowered for this moment, in which nobody is connected yet. */
int run_spawn(pid_t *pid, const char *file, char *const *argv, char *const *environment,
              const posix_spawn_file_actions_t *actions, const struct run_origin *origin)
{
    posix_spawnattr_t attr;
    sigset_t ignored;
    struct rlimit raised;
    int err = posix_spawnattr_init(&attr);
    if (err)
        return err;
    sigemptyset(&ignored);
    sigaddset(&ignored, SIGPIPE);
    posix_spawnattr_setsigdefault(&attr, &ignored);
    posix_spawnattr_setsigmask(&attr, &origin->mask);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    getrlimit(RLIMIT_NOFILE, &raised);
    setrlimit(RLIMIT_NOFILE, &origin->files);
    err = posix_spawnp(pid, file, actions, &attr, argv, environment);
    setrlimit(RLIMIT_NOFILE, &raised);
    posix_spawnattr_destroy(&attr);
    return err;
}

int run_start(char *const *argv, const struct dp_addr *proxy, bool http,
              const struct run_origin *origin, struct loop *loop)
{
    struct environment e;
    signals_take(loop);
    int err = environment_make(&e, proxy, http)
                  ? run_spawn(&command, argv[0], argv, e.variable, NULL, origin)
                  : ENOMEM;
    free(e.variable);
    if (err == 0)
        return 0;
    fprintf(stderr, "dispatch-host: cannot run %s: %s\n", argv[0], strerror(err));
    return err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

bool run_woken(int *status)
{
    int how;
    for (size_t i = 0; i < LENGTH(passed_on); i++)
        if (got[i]) {
            got[i] = 0;
            kill(command, passed_on[i]);
        }
    if (waitpid(command, &how, WNOHANG) != command)
        return false;
    *status = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
    return true;
}
