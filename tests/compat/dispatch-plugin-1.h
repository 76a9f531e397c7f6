/* SPDX-License-Identifier: MIT
 * dispatch-plugin.h: everything a dispatch plugin needs. One file, no library to link.
 *
 * A plugin is one shared object that exports one constant object, `dp_plugin`. A dialer gets a
 * stream out by a link; a balancer picks one of the usable links of a pool. Guide: doc/plugins.md.
 *
 * ABI change log
 *   1 (provisional until UDP through tunnels has run on it): first version.
 *
 * Growth: a struct with `size` grows at its end and is copied up to the smaller of both sizes, the
 * rest zeroed; an array of structs is walked by its stated stride; `dp_str` and `dp_addr` are
 * frozen. So a plugin built against an older header of the same ABI runs in a newer host, and one
 * built against a newer header runs in an older host unless it asks for what that host lacks.
 *
 * Threads: [main] one at a time, before traffic or at a reload; [worker] on the event loop that
 * owns the connection; [parallel] from several threads, or forked processes, at once; [any] any.
 * Times are int64_t nanoseconds of CLOCK_MONOTONIC. Nothing here may block.
 * After create() the host may fork: keep no descriptor, thread or process id in `self`.
 */
#ifndef DISPATCH_PLUGIN_H
#define DISPATCH_PLUGIN_H

#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif
#define DP_ABI 1

/* Frozen, as is dp_addr. Somebody else's bytes; no NUL at the end is promised. Empty: len 0. */
struct dp_str {
    const char *p;
    uint32_t len;
};
struct dp_list {
    uint32_t n;
    const struct dp_str *item;
};

/* An address. salen > 0: a socket address in `sa` (its port too, in network order). salen 0: the
 * host name of name_len bytes at `name`, without a NUL. `port` is always set, in host order. */
struct dp_addr {
    struct sockaddr_storage sa;
    uint32_t salen;
    uint16_t port, name_len;
    const char *name;
};

enum { DP_TCP = 1, DP_UDP, DP_BIND }; /* proto; a tunnel is asked for DP_TCP alone */
enum { DP_LOG_ERROR, DP_LOG_WARN, DP_LOG_INFO, DP_LOG_DEBUG };

/* ---- results: 0, DP_AGAIN, or a negative error that carries its blame ---- */
#define DP_OK 0
#define DP_AGAIN 1 /* not done: wait for what `want` says, then step() */
/* blame: what the host does with the failure. Below the top of a chain a DEST or PATH error means
 * that the next server is out of reach: the host makes it a LINK error of the picked link.
 *   blame      another link?   counts against the link?       usual reply
 *   LOCAL      no              no                              01
 *   LINK       yes             yes                             01
 *   DEST       no              no                              05 04 02
 *   PATH       one more        if another then gets through    03 04 06
 *   UNABLE     yes             no                              07 08, 01 closed without an answer
 *   CANCELLED  no              no                              none: the client has gone */
enum { DP_LOCAL = 1, DP_LINK, DP_DEST, DP_PATH, DP_UNABLE, DP_CANCELLED };

/* An error from a blame and a SOCKS5 reply code (RFC 1928, section 6). */
#define DP_ERROR(blame, reply) (-(((blame) << 8) | (reply)))
#define DP_ERR_LOCAL DP_ERROR(DP_LOCAL, 1)         /* out of memory, out of descriptors */
#define DP_ERR_LINK DP_ERROR(DP_LINK, 1)           /* the link or its server is broken */
#define DP_ERR_REFUSED DP_ERROR(DP_DEST, 5)        /* the destination refused */
#define DP_ERR_NO_HOST DP_ERROR(DP_DEST, 4)        /* no such host: the name does not exist */
#define DP_ERR_DENIED DP_ERROR(DP_DEST, 2)         /* forbidden by a rule */
#define DP_ERR_NET_UNREACH DP_ERROR(DP_PATH, 3)    /* no way there from here */
#define DP_ERR_HOST_UNREACH DP_ERROR(DP_PATH, 4)   /* no answer from there */
#define DP_ERR_TTL DP_ERROR(DP_PATH, 6)            /* TTL expired on the way */
#define DP_ERR_COMMAND DP_ERROR(DP_UNABLE, 7)      /* the link cannot do this command */
#define DP_ERR_FAMILY DP_ERROR(DP_UNABLE, 8)       /* the link cannot do this kind of address */
#define DP_ERR_NO_ANSWER DP_ERROR(DP_UNABLE, 1)    /* closed without an answer to the request */
#define DP_ERR_CANCELLED DP_ERROR(DP_CANCELLED, 0) /* the host gave up on this dial */

#define dp_blame(err) (-(err) / 256)
#define dp_reply(err) (-(err) % 256)

/* ---- what the host offers ---- */
struct dp_host { /* one for each instance, valid until destroy() has returned */
    uint32_t size, abi;
    const char *name;    /* of the instance: the link's or the pool's name in the configuration */
    const char *version; /* of the host */
    /* Logs one line under the instance's name. Never blocks. [any] */
    void (*log)(const struct dp_host *host, int level, const char *msg);
    /* Reports a mistake in `option` (NULL: in the whole), with its file and line. Returns an error
     * for create() to return. [main, inside create()] */
    int (*fail)(const struct dp_host *host, const char *option, const char *msg);
};

/* log() with a format; messages past 400 bytes are cut. [any] */
__attribute__((format(printf, 3, 4))) static inline void dp_logf(const struct dp_host *host,
                                                                 int level, const char *fmt, ...)
{
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    host->log(host, level, msg);
}

/* ---- options: the host parses and checks them, fills `conf`, and prints the help ---- */
enum {
    DP_BOOL = 1, /* uint8_t */
    DP_U32,      /* uint32_t, min to max */
    DP_DURATION, /* int64_t nanoseconds, min to max; `10s`, `250ms`, `1h` in the file */
    DP_SIZE,     /* uint64_t bytes, min to max; `64KiB`, `20MB` in the file */
    DP_STRING,   /* struct dp_str, min to max bytes; also NUL-terminated for convenience */
    DP_SECRET,   /* as STRING; never printed; option `X-file` reads it from a file */
    DP_ENUM,     /* uint32_t: the index in choices */
    DP_ENDPOINT, /* struct dp_addr: address or name, with a port */
    DP_ADDRESS,  /* struct dp_addr: an IPv4 or IPv6 address, without a port */
    DP_DEVICE,   /* struct dp_str: the name of a network interface, which need not exist yet */
    DP_LIST,     /* struct dp_list of strings, min to max of them */
};
enum { DP_REQUIRED = 1 }; /* flags */
/* Strided (opt_size). Pointers in `conf` live until destroy(). A value not given and without a
 * default is all zero bytes. */
struct dp_opt {
    const char *name;             /* kebab-case */
    uint32_t type, flags, offset; /* offset: of the value in conf */
    int64_t min, max;             /* both 0: no bound */
    const char *dflt;             /* as it would stand in YAML; NULL: none */
    const char *choices;          /* ENUM: "one|two|three" */
    const char *help;             /* one line: what it does, and its unit */
};

/* ---- dialers ---- */
struct dp_dial_req {
    uint32_t size, proto;
    struct dp_addr to; /* where the stream must lead; a name only if caps() has DP_NAMES */
    int32_t fd;        /* tunnel: the stream to its server, lent until done; otherwise -1 */
    uint32_t reserved; /* 0 */
};

/* What a dial waits for. The host clears nfds and sets now before each call and sets revents before
 * step(). deadline: call step() at this time even if nothing happened; 0: the host's limit only. */
struct dp_want {
    uint32_t size, nfds;
    int64_t now, deadline;
    struct pollfd fd[4];
};

struct dp_conn {
    uint32_t size;
    int32_t fd; /* on OK the host's: a connected, non-blocking stream socket; tunnels leave it */
    struct dp_addr bound; /* the address the destination sees, for the client's reply; or zero. A
                             name may lie in the dial's memory: the host reads it at once */
};

enum { DP_NAMES = 1 }; /* caps */
/* Three shapes: a socket dialer has prepare() only: the host makes, binds, connects and closes the
 * socket. A tunnel has hop(), start(), step(): it talks on a stream the host has connected, owns no
 * descriptor, and reads not one byte past its handshake. A stream dialer has start(), step(),
 * end(): it makes its own descriptor, and cannot go `via` another link. */
struct dp_dialer_ops {
    uint32_t dial_size; /* bytes the host gives each dial, zeroed, 16-aligned, alive until end() */
    /* Makes an instance from its options. conf lives until destroy(). Returns 0, or what
     * host->fail() returned. destroy(), optional: once, when its last dial has ended. [main] */
    int (*create)(const struct dp_host *host, const void *conf, void **self);
    void (*destroy)(void *self);
    /* What this instance takes; NULL: nothing special. A bit the host does not know is refused. */
    uint32_t (*caps)(const void *self);
    /* Sets device, mark and options on a fresh unbound socket (type SOCK_STREAM or SOCK_DGRAM) of the
     * host's; fills `local` if the source address matters. DP_ERR_FAMILY: the link has no address of
     * this family and is skipped. Any error ends the attempt: a link fails closed. [any] */
    int (*prepare)(const void *self, int fd, int family, int type, struct dp_addr *local);
    /* Where the stream must lead before start(). [any] */
    int (*hop)(const void *self, struct dp_addr *addr);
    /* Both return DP_OK, DP_AGAIN or an error. req lives until end(). [worker] */
    int (*start)(const void *self, void *dial, const struct dp_dial_req *req, struct dp_want *want,
                 struct dp_conn *conn);
    int (*step)(void *dial, struct dp_want *want, struct dp_conn *conn);
    /* Once for each start() that did not return an error, even if a step() then did: to cancel, when
     * the connection is over, or goes to another process. Without it dial's memory goes on OK. */
    void (*end)(void *dial);
};

/* ---- balancers ---- */
struct dp_stat {                    /* shared and updated while read: use dp_load() */
    uint32_t size, active, dialing; /* claims now: dials and connections; of these, dials */
    uint32_t fails;                 /* failures in a row that count against the link */
    uint64_t picks;                 /* claims since the start */
    int64_t rtt, rtt_at; /* smoothed time to connect, ns (0: not known); when last measured */
    int64_t failed_at;   /* last failure that counted */
    uint64_t rx, tx;     /* bytes from and to destinations, of ended connections */
};

struct dp_member {
    uint32_t size, slot;    /* slot: its number in this pool, kept as long as it is a member */
    const char *name;       /* of the link */
    uint64_t id;            /* hash of the name, the same in every process and run */
    uint32_t weight;        /* 1 to 65535 */
    uint32_t usable, limit; /* 0: skip it; connections at most, 0: no limit */
    const struct dp_stat *stat;
};

struct dp_view { /* immutable */
    uint32_t size, n;
    uint64_t gen; /* no other view of this pool has it */
    const struct dp_member *const *member;
};

struct dp_flow { /* one client request; pointers live as long as the call */
    uint32_t size, proto;
    struct dp_addr client, dest; /* all zero: not known, as dest of DP_UDP and DP_BIND */
    struct dp_str listener;      /* its name in the configuration */
    int64_t now;
    uint32_t attempt, n_tried; /* links tried so far; words in tried */
    const uint64_t *tried;     /* bit set by slot: the links this flow has tried */
    struct dp_str user;        /* who has logged in; len 0: nobody */
};

struct dp_pool {
    uint32_t size;
    uint32_t slot_state; /* stride of slots */
    const void *self, *picker;
    void *state, *slots; /* the shared blocks: pool_state bytes; slot_state bytes for each slot */
    const struct dp_view *view;
};

struct dp_outcome {
    uint32_t size;
    int32_t err;     /* DP_OK, or why the dial failed */
    int64_t dial_ns; /* from the claim to connected or failed */
    int64_t life_ns; /* from connected to closed; 0: the dial failed */
    uint64_t rx, tx; /* bytes from and to the destination */
};

#define DP_NONE UINT32_MAX
struct dp_balancer_ops {
    /* Bytes of shared state the host gives, zeroed, 8-aligned: one block a pool, one a slot. They
     * may lie in memory shared by processes: numbers used with dp_load() and friends, no pointers.
     * Kept over a reload that leaves the pool's options as they were. */
    uint32_t pool_state, slot_state;
    int (*create)(const struct dp_host *host, const void *conf, void **self); /* as above [main] */
    void (*destroy)(void *self);
    /* Optional: prepares what pick() needs from a new view. Never writes self. drop() frees it when
     * no worker can hold it any more. Returns 0 or an error. [main] */
    int (*build)(const void *self, const struct dp_view *view, void **picker);
    void (*drop)(void *picker);
    /* Returns an index into the view for which dp_allowed() holds, or DP_NONE. Never blocks, locks
     * or allocates. If the choice rests on the chosen member's `active`, store the value in *seen
     * (DP_NONE before): the host claims by compare-and-swap and picks again if it moved.
     * pool->view is the view that build() had for pool->picker. [worker, parallel] */
    uint32_t (*pick)(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen);
    /* Optional: when a claim is given back, if its link is still a member. [worker, parallel] */
    void (*done)(const struct dp_pool *pool, uint32_t slot, const struct dp_outcome *outcome);
};

/* Relaxed atomic access to shared numbers (4 or 8 bytes, aligned). dp_add returns the old value. */
#define dp_load(ptr) __atomic_load_n((ptr), __ATOMIC_RELAXED)
#define dp_store(ptr, v) __atomic_store_n((ptr), (v), __ATOMIC_RELAXED)
#define dp_add(ptr, v) __atomic_fetch_add((ptr), (v), __ATOMIC_RELAXED)

/* The shared block of one slot of a pool. */
static inline void *dp_slot(const struct dp_pool *pool, uint32_t slot)
{
    return (char *)pool->slots + (size_t)slot * pool->slot_state;
}

/* May member i be picked for this flow: usable, below its limit, not tried yet? */
static inline int dp_allowed(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t i)
{
    const struct dp_member *m = pool->view->member[i];
    if (!m->usable || (m->limit && dp_load(&m->stat->active) >= m->limit))
        return 0;
    return m->slot / 64 >= flow->n_tried || !(flow->tried[m->slot / 64] >> (m->slot % 64) & 1);
}

/* ---- the one exported object ---- */
enum { DP_DIALER = 1, DP_BALANCER };
struct dp_plugin {
    uint32_t size, abi;            /* sizeof(struct dp_plugin), DP_ABI */
    uint32_t kind, ops_size;       /* of the two above; sizeof the ops struct */
    const char *name;              /* as in the file name: dialer-NAME.so or balancer-NAME.so */
    const char *version, *summary; /* one line */
    const void *ops;               /* struct dp_dialer_ops or dp_balancer_ops */
    const struct dp_opt *opts;
    uint32_t n_opts, opt_size, conf_size, reserved; /* reserved: 0 */
};

extern __attribute__((visibility("default"))) const struct dp_plugin dp_plugin;

#ifdef __cplusplus
}
#endif
#endif
