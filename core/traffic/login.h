/* SPDX-License-Identifier: MIT
 * login.h: a client's name and password on their way to a verdict.
 *
 *   WANTED -> GIVEN -> RIGHT | WRONG | HELD | BUSY
 *
 * What a client gives is looked at in the listener's users-file as it is by then. Mostly the verdict
 * is known from before; else it comes from the thread of verify.h, and the client waits.
 */
#ifndef TRAFFIC_LOGIN_H
#define TRAFFIC_LOGIN_H

#include "config/config.h"
#include "proto/http.h"
#include "traffic/worker.h"

struct logins;
struct inquiry;

enum login_state {
    LOGIN_WANTED, /* nothing has been given */
    LOGIN_GIVEN,  /* a name and a password */
    LOGIN_RIGHT,
    LOGIN_WRONG,
    LOGIN_HELD, /* not looked at: too many tries have failed at that address */
    LOGIN_BUSY  /* not looked at: too many others wait, or there is no memory */
};

struct login {
    enum login_state state;
    size_t user_len, password_len;
    char user[CONF_USER_MAX + 1], password[CONF_USER_MAX + 1]; /* with a NUL behind */
    const struct conf_pool *pool; /* RIGHT, until the loop turns: the user's own; NULL: none */
    /* While it is being looked at. */
    struct worker *worker;
    const char *listener;
    uint64_t source;
    struct io_timer wait;
    struct inquiry *inquiry;
    struct login *next, **prev; /* of those who wait for the same */
    void (*over)(struct login *l, void *ctx);
    void *ctx;
};

struct login *login_new(void); /* NULL: out of memory */
/* Whatever is under way goes on without it. Wipes the password. NULL is fine. */
void login_free(struct login *l);

/* Takes name and password over: GIVEN. False: they are longer than any could be. */
bool login_give(struct login *l, struct dp_str user, struct dp_str password);

/* Looks for the only Proxy-Authorization of a request, and in it for Basic (RFC 7617): GIVEN, or
 * false. */
bool login_give_http(struct login *l, const struct http_request *request);

/* Asks for a verdict on what was given by a client of `listener`, whose name must last as long as the
 * login. Returns true if it is there, in l->state; else over() is called, later, unless the login is
 * freed before. It does not wait for its turn beyond latest_ns. [worker] */
bool login_ask(struct login *l, struct worker *w, const char *listener,
               const struct dp_addr *client, int64_t latest_ns,
               void (*over)(struct login *l, void *ctx), void *ctx);

/* What the log says of a client whose login is not RIGHT. */
const char *login_why(enum login_state state);

/* ---- what all workers share, and the desk of each ---- */

struct logins *logins_new(unsigned n_workers, int64_t now_ns); /* NULL, and errno: cannot */
/* Ends the thread; before workers are freed. What they are still sent comes to nothing. */
void logins_stop(struct logins *all);
void logins_free(struct logins *all); /* stopped, and workers freed; NULL is fine */

#endif
