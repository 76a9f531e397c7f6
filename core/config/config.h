/* SPDX-License-Identifier: MIT
 * config.h: the whole configuration as one immutable object, from a file or the command line.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "base/addr.h"
#include "config/errors.h"
#include "config/host_set.h"
#include "config/net_set.h"
#include <dispatch-plugin.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct tree_node; /* where in the file something stood, for conf_error() */

struct conf_instance;

/* How config reaches plugins without knowing the loader. Returns the plugin (of `kind`: DP_DIALER
 * or DP_BALANCER), or NULL with one sentence in why. `path`: folders, in order, n of them. */
struct plugin_source {
    const struct dp_plugin *(*find)(void *ctx, uint32_t kind, const char *name,
                                    const char *const *path, size_t n, char *why, size_t why_len);
    void *ctx;
    /* Optional, for a trial: reports the mistakes that only the plugin itself can find in these
     * options. `kind` and `name` are of what they belong to: link "vps". */
    void (*examine)(const struct conf_instance *instance, const char *kind, const char *name,
                    struct conf_errors *errors);
};

/* A plugin with its option values: what create() gets as conf. */
struct conf_instance {
    const struct dp_plugin *plugin;
    const void *conf; /* plugin->conf_size bytes */
    const struct tree_node *node;
};

enum conf_check_kind { CHECK_TCP, CHECK_HTTP, CHECK_DNS, CHECK_NONE };

/* How it is found out whether a link works. */
struct conf_check {
    enum conf_check_kind kind;
    const char *target;      /* the endpoint, URL or name, as in the file */
    struct dp_addr to;       /* TCP, HTTP: where it connects; its name points into memory of here */
    const char *host, *path; /* HTTP: what the request says */
    const char *name;        /* DNS: what is asked for, with a dot at its end */
    uint32_t status_min, status_max;
    int64_t interval, timeout; /* ns */
    uint32_t rise, fall;       /* at least 1 */
    const struct tree_node *node;
};

struct conf_link {
    const char *name;
    struct conf_instance dialer;
    const struct conf_link *via; /* NULL: none */
    uint32_t weight;             /* 1 to 65535 */
    uint32_t max_connections;    /* 0: no limit */
    uint32_t max_per_dest;       /* to one destination; 0: no limit */
    bool fast_open;              /* TCP fast open to the dialer's server */
    uint32_t send_proxy;         /* version of the PROXY protocol's header sent first; 0: none */
    bool keep;                   /* its connections stay when its interface goes down */
    int64_t slow_start;          /* ns until it has its full share when it is back; 0: at once */
    bool implicit;               /* made for `action: direct`: not in the file */
    const struct dp_addr *dns;   /* name servers, with port (53 unless given) */
    size_t n_dns;
    const struct conf_check *check; /* its own, a pool's, or that of all; NULL: none */
};

enum { STICKY_CLIENT = 1, STICKY_HOST = 2 };

/* Which connections keep to the link of those before. */
struct conf_sticky {
    uint32_t by; /* STICKY_, all of them; 0: not sticky */
    int64_t ttl; /* ns since the last such connection */
};

struct conf_pool;

/* One of the two. */
struct conf_member {
    const struct conf_link *link;
    const struct conf_pool *pool;
};

enum {
    CONF_POOL_DEPTH = 4,    /* pools that lead to a link at most, the first and the last included */
    CONF_POOL_MEMBERS = 512 /* of one pool at most */
};

struct conf_pool {
    const char *name;
    struct conf_instance balancer;
    const struct conf_member *member;
    size_t n_members;
    uint32_t weight;  /* as a member of another pool: 1 to 65535 */
    uint32_t retries; /* other links tried after the first */
    bool refuse;      /* links that are out are not used, not even if there are no others */
    bool implicit;    /* made for `action: direct`: not in the file */
    struct conf_sticky sticky;
    const struct conf_pool *backup; /* what is used while no link can be had; NULL: nothing */
    bool is_backup;                 /* of the pool of this name */
};

struct conf_user {
    struct dp_str name;           /* 1 to CONF_USER_MAX bytes; with a NUL behind */
    const char *hash;             /* of the password, of crypt(5): CONF_HASH_MAX bytes at most */
    const struct conf_pool *pool; /* NULL: the listener's */
};

#define CONF_USER_MAX 255 /* RFC 1929; so is a password */
#define CONF_HASH_MAX 383 /* as of crypt(3) */

/* Those who may use a listener. */
struct conf_users {
    const char *file;
    const struct conf_user *user; /* in the order of their names */
    size_t n;                     /* at least 1 */
};

/* SOCKS4 is SOCKS4a as well; a raw listener speaks nothing else. */
enum { PROTO_SOCKS5 = 1, PROTO_RAW = 2, PROTO_SOCKS4 = 4, PROTO_HTTP = 8 };

struct conf_listener {
    const char *name;
    struct dp_addr listen; /* of a handed one not known, until the host has found it */
    const char *handed; /* the name or number of a socket the service manager has opened; or NULL */
    int handed_fd;      /* that socket; not the listener's own */
    uint32_t mode;      /* permissions of a unix socket's file; 0: as the umask leaves them */
    const struct conf_pool *pool;
    unsigned protocols;
    const struct addr_net *allow; /* client networks; n_allow 0: everybody */
    size_t n_allow;
    const struct addr_net
        *proxies; /* peers that say by the PROXY protocol whose connection it is */
    size_t n_proxies;
    bool unix_proxies;              /* so are all whose end is a unix socket */
    bool open;                      /* for everybody */
    const struct conf_users *users; /* NULL: nobody has to log in */
    bool early_reply;               /* success is told before there is any */
    uint32_t max_per_client;        /* connections of one address at once; 0: no limit */
    uint64_t max_request_body;      /* bytes, of a plain request of HTTP; 0: no limit */
    const struct tree_node *node;   /* of `listen` */
};

static inline bool conf_listens_unix(const struct conf_listener *listener)
{
    return addr_family(&listener->listen) == AF_UNIX;
}

/* Can others than this machine's own programs come in, though nobody has said who may? */
bool conf_listener_exposed(const struct conf_listener *listener);
#define CONF_EXPOSED                                                                            \
    "others than this machine can reach this address: say `allow: [NETWORK, ...]` for whom it " \
    "is, "                                                                                      \
    "`users-file: FILE` for those who log in, or `open: yes` for everybody"

struct conf_ports {
    uint16_t from, to;
};

enum rule_action { RULE_POOL, RULE_DIRECT, RULE_DENY };

/* What `action: direct` goes by: a link and a pool of this name. */
#define CONF_DIRECT "direct"

/* A rule holds for a flow that fulfils each of its conditions; NULL or 0: it has no such one. */
struct conf_rule {
    const char *const *listener; /* names */
    size_t n_listeners;
    const struct dp_str *user;
    size_t n_users;
    unsigned protocols; /* PROTO_ */
    const struct net_set *client;
    const struct net_set *network;        /* of destinations that are addresses */
    const struct host_set *host, *domain; /* of those that are names: one of the two must have it */
    const struct conf_ports *port;
    size_t n_ports;
    enum rule_action action;
    const struct conf_pool *pool; /* NULL: of RULE_DENY */
    const void *keys;             /* as they stood in the file */
};

struct conf_timeouts {
    int64_t handshake, connect, attempt, idle, drain; /* ns; idle 0: no limit */
};

/* For danted with the module preloaded; dispatch-host itself has no use for it. */
struct conf_dante {
    const struct dp_addr *anchor; /* without ports; a socket bound to one of them is the module's */
    size_t n_anchors;             /* at least 1 */
    const struct conf_pool *pool;
    const char *state; /* the file that is the shared mapping; NULL: none */
    const struct tree_node *node;
};

enum { CONF_WORKERS_MAX = 64 };

struct config {
    uint32_t workers; /* at least 1: `auto` is already the number of processors */
    const char *const *plugin_path;
    size_t n_plugin_path;
    size_t n_own_path; /* the first ones are the file's own, the others the fallback */
    const struct conf_link *link;
    size_t n_links;
    const struct conf_pool *pool;
    size_t n_pools;
    size_t n_backups; /* of pools: they stand behind these */
    const struct conf_listener *listener;
    size_t n_listeners;
    const struct conf_rule *rule; /* the first that holds decides; none: the listener's pool */
    size_t n_rules;
    struct conf_timeouts timeouts;
    const struct conf_check *check; /* of links for which nothing nearer says more; NULL: none */
    const struct conf_dante *dante; /* NULL: no such section */
    struct conf_memory *memory;     /* owns all of the above */
    unsigned refs;                  /* config_free() frees when it was the last; 1 at first */
};

/* Reads and checks a whole file. `fallback_path`: plugin folders that follow plugin-path's (or the
 * default's) own: the in-tree ones under ./run, then the installed one. Returns NULL when errors
 * holds at least one. The caller frees with config_free(). [main] */
struct config *config_load(const char *file, const char *const *fallback_path, size_t n_fallback,
                           const struct plugin_source *plugins, struct conf_errors *errors);

/* The same from text, for tests and fuzzing; `name` stands in messages for the file. */
struct config *config_parse(const char *name, const char *text, size_t len,
                            const char *const *fallback_path, size_t n_fallback,
                            const struct plugin_source *plugins, struct conf_errors *errors);

/* Go-tool style: `-lhost`, `-lport`, `-tunnel` and the links as words: "10.0.0.1@3", "eth0",
 * "socks5://user:pw@host:1080@2", with tunnel "host:port@N". Balancer rr in block order. */
struct conf_command_line {
    const char *lhost; /* NULL: 127.0.0.1 */
    uint16_t lport;
    bool tunnel;
    const char *const *link;
    size_t n_links;
};
struct config *config_from_args(const struct conf_command_line *args,
                                const char *const *fallback_path, size_t n_fallback,
                                const struct plugin_source *plugins, struct conf_errors *errors);

/* One more reference: plugin instances kept over a reload still use their conf. [main] */
struct config *config_ref(struct config *config);
void config_free(struct config *config);

/* Prints it as a file that would give the same, defaults written out, secrets as "***". */
void config_dump(const struct config *config, FILE *out);

/* Prints it for config_parse() in a process that may not read its files: with the same fallback_path
 * that gives an equal configuration, secrets included. Whoever keeps the text wipes it. Everything is
 * written out, so that thousands of links may come to more than one file may hold. Who may use a
 * listener is left out: that process has none. */
void config_write(const struct config *config, FILE *out);

/* NULL: there is no such user. */
const struct conf_user *conf_user_find(const struct conf_users *users, const void *name,
                                       size_t len);

/* "socks5, socks4, http": as in a file. Returns text. */
#define CONF_PROTOCOLS_TEXT 32
const char *conf_protocols_text(unsigned protocols, char text[CONF_PROTOCOLS_TEXT]);

/* Prints a plugin's option table for people: --dump-plugin. */
void config_dump_plugin(const struct dp_plugin *plugin, FILE *out);

/* Are both instances of one plugin with equal option values? Then the running one is kept. */
bool conf_instance_equal(const struct conf_instance *a, const struct conf_instance *b);

/* Do both check in the same way? */
bool conf_check_equal(const struct conf_check *a, const struct conf_check *b);

/* The same number in each process for a link, or pool, of the same name and options: for what makes
 * it another one, as opposed to weight, limits, members, retries and what to do when all are down. */
uint64_t conf_link_hash(const struct conf_link *link);
uint64_t conf_pool_hash(const struct conf_pool *pool);

/* Reports a mistake in `option` (NULL: the whole) of an instance; `what` is `link "vps"`. */
void conf_instance_error(struct conf_errors *errors, const struct conf_instance *instance,
                         const char *what, const char *option, const char *msg);

#endif
