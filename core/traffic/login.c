/* SPDX-License-Identifier: MIT
 * login.c: a client's name and password on their way to a verdict.
 *
 * A name that no user has is looked at like any other, against the hash of some user, which always is
 * the same for the name: so the time an answer takes does not tell who has an account.
 */
#include "traffic/login.h"
#include "base/clock.h"
#include "proto/basic.h"
#include "traffic/throttle.h"
#include "traffic/verdicts.h"
#include "traffic/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How long a verdict is good for, unless the file says otherwise before: the hash is part of it. */
#define KEEP_NS (300 * NS_PER_S)

/* One question to the verifier, and all who wait for its answer. */
struct inquiry {
    struct question question;     /* its source is whose failure it is: of who asked first */
    struct inquiry *next, **prev; /* in the desk's list */
    struct login *waiting;
    struct mac mac;
    bool known; /* there is such a user */
    char hash[CONF_HASH_MAX + 1], password[CONF_USER_MAX + 1];
};

/* A worker's alone. */
struct desk {
    struct inquiry *inquiries;
    struct verdicts verdicts;
};

struct logins {
    struct mac_key *key;
    struct throttle *throttle;
    struct verifier *verifier;
    struct desk *desk; /* of each worker */
};

static struct logins *logins_of(const struct worker *w)
{
    return w->service->logins;
}

static struct desk *desk_of(const struct worker *w)
{
    return &logins_of(w)->desk[w - w->all];
}

/* ---- what is given ---- */

struct login *login_new(void)
{
    return calloc(1, sizeof(struct login));
}

static bool take(char to[CONF_USER_MAX + 1], size_t *len, struct dp_str from)
{
    if (from.len > CONF_USER_MAX)
        return false;
    memset(to, 0, CONF_USER_MAX + 1);
    if (from.len)
        memcpy(to, from.p, from.len);
    *len = from.len;
    return true;
}

bool login_give(struct login *l, struct dp_str user, struct dp_str password)
{
    if (!take(l->user, &l->user_len, user) || !take(l->password, &l->password_len, password))
        return false;
    l->state = LOGIN_GIVEN;
    return true;
}

bool login_give_http(struct login *l, const struct http_request *request)
{
    const struct http_field *field = http_field(&request->fields, "Proxy-Authorization");
    struct dp_str user, password;
    uint8_t text[BASIC_MAX];
    bool given =
        field && basic_read(field->value, text, &user, &password) && login_give(l, user, password);
    explicit_bzero(text, sizeof text);
    return given;
}

const char *login_why(enum login_state state)
{
    switch (state) {
    case LOGIN_WRONG:
        return "gives a wrong user name or password";
    case LOGIN_HELD:
        return "has given wrong passwords too often, and must wait";
    case LOGIN_BUSY:
        return "cannot log in: too many try just now, or memory is short";
    default:
        return "does not log in";
    }
}

/* ---- users ---- */

/* As they are now; NULL: the listener has gone, or wants no login any more. */
static const struct conf_users *users_of(const struct login *l)
{
    const struct config *config = l->worker->service->router->config;
    for (size_t i = 0; i < config->n_listeners; i++)
        if (strcmp(config->listener[i].name, l->listener) == 0)
            return config->listener[i].users;
    return NULL;
}

static const struct conf_user *user_of(const struct login *l)
{
    const struct conf_users *users = users_of(l);
    return users ? conf_user_find(users, l->user, l->user_len) : NULL;
}

/* Whose hash is looked at for a name that nobody has. */
static const struct conf_user *stand_in(const struct login *l, const struct conf_users *users)
{
    const struct mac_part name = {l->user, l->user_len};
    struct mac mac;
    uint64_t n;
    mac_make(logins_of(l->worker)->key, &name, 1, &mac);
    memcpy(&n, mac.bytes, sizeof n);
    return &users->user[n % users->n];
}

static void mac_of(const struct login *l, const char *hash, bool known, struct mac *mac)
{
    const size_t len[] = {known, l->user_len, strlen(hash)};
    const struct mac_part part[] = {{len, sizeof len},
                                    {l->user, l->user_len},
                                    {hash, strlen(hash)},
                                    {l->password, l->password_len}};
    mac_make(logins_of(l->worker)->key, part, sizeof part / sizeof *part, mac);
}

/* ---- verdicts ---- */

/* `hash` is what the password has fitted. Returns true, for callers whose login is over. */
static bool settle(struct login *l, enum login_state state, const char *hash)
{
    const struct conf_user *user = state == LOGIN_RIGHT ? user_of(l) : NULL;
    if (state == LOGIN_RIGHT && (!user || strcmp(user->hash, hash) != 0))
        state = LOGIN_WRONG; /* the file has changed meanwhile */
    l->state = state;
    l->pool = state == LOGIN_RIGHT ? user->pool : NULL;
    explicit_bzero(l->password, sizeof l->password);
    l->password_len = 0;
    return true;
}

static void inquiry_join(struct inquiry *in, struct login *l)
{
    l->inquiry = in;
    l->prev = &in->waiting;
    l->next = in->waiting;
    if (l->next)
        l->next->prev = &l->next;
    in->waiting = l;
}

static void inquiry_leave(struct login *l)
{
    if (!l->inquiry)
        return;
    *l->prev = l->next;
    if (l->next)
        l->next->prev = l->prev;
    if (!l->inquiry->waiting)
        __atomic_store_n(&l->inquiry->question.forgotten, true, __ATOMIC_RELAXED);
    l->inquiry = NULL;
}

static void inquiry_free(struct inquiry *in)
{
    *in->prev = in->next;
    if (in->next)
        in->next->prev = in->prev;
    explicit_bzero(in, sizeof *in);
    free(in);
}

static enum login_state outcome(const struct inquiry *in)
{
    if (in->question.verdict == VERDICT_NONE)
        return LOGIN_BUSY;
    return in->known && in->question.verdict == VERDICT_RIGHT ? LOGIN_RIGHT : LOGIN_WRONG;
}

static void answered(struct worker *w, struct message *m)
{
    struct inquiry *in = (struct inquiry *)((char *)m - offsetof(struct inquiry, question.answer));
    enum login_state state = outcome(in);
    int64_t now = io_now(w->io);
    if (state == LOGIN_RIGHT)
        verdicts_keep(&desk_of(w)->verdicts, &in->mac, now + KEEP_NS);
    if (state != LOGIN_BUSY)
        throttle_told(logins_of(w)->throttle, in->question.source, state == LOGIN_RIGHT, now);
    for (struct login *l; (l = in->waiting);) {
        inquiry_leave(l);
        settle(l, state, in->hash);
        l->over(l, l->ctx);
    }
    inquiry_free(in);
}

/* ---- asking ---- */

/* The one that is under way for the same, or NULL. */
static struct inquiry *inquiry_find(const struct desk *desk, const struct mac *mac)
{
    struct inquiry *in = desk->inquiries;
    while (in && !(in->waiting && mac_same(&in->mac, mac, sizeof *mac)))
        in = in->next;
    return in;
}

static struct inquiry *inquiry_new(const struct login *l, const char *hash, bool known,
                                   const struct mac *mac)
{
    struct desk *desk = desk_of(l->worker);
    struct inquiry *in = calloc(1, sizeof *in);
    if (!in)
        return NULL;
    memcpy(in->hash, hash, strlen(hash)); /* conf has none longer */
    memcpy(in->password, l->password, sizeof in->password);
    in->mac = *mac;
    in->known = known;
    in->question = (struct question){.answer.run = answered,
                                     .worker = l->worker,
                                     .hash = in->hash,
                                     .password = in->password,
                                     .password_len = l->password_len,
                                     .source = l->source};
    in->prev = &desk->inquiries;
    in->next = desk->inquiries;
    if (in->next)
        in->next->prev = &in->next;
    desk->inquiries = in;
    return in;
}

static struct inquiry *inquiry_begin(const struct login *l, const char *hash, bool known,
                                     const struct mac *mac)
{
    struct inquiry *in = inquiry_new(l, hash, known, mac);
    if (!in || verifier_ask(logins_of(l->worker)->verifier, &in->question))
        return in;
    inquiry_free(in);
    return NULL;
}

/* Returns whether the verdict is there. */
static bool inquire(struct login *l, const char *hash, bool known, const struct mac *mac)
{
    struct inquiry *in = inquiry_find(desk_of(l->worker), mac);
    if (!in)
        in = inquiry_begin(l, hash, known, mac);
    if (!in)
        return settle(l, LOGIN_BUSY, NULL);
    inquiry_join(in, l);
    explicit_bzero(l->password, sizeof l->password);
    return false;
}

static bool look(struct login *l)
{
    const struct conf_users *users = users_of(l);
    struct logins *all = logins_of(l->worker);
    int64_t now = io_now(l->worker->io);
    struct mac mac;
    if (!users)
        return settle(l, LOGIN_BUSY, NULL);
    const struct conf_user *user = user_of(l);
    const char *hash = user ? user->hash : stand_in(l, users)->hash;
    mac_of(l, hash, user != NULL, &mac);
    if (!user || !verdicts_know(&desk_of(l->worker)->verdicts, &mac, now))
        return inquire(l, hash, user != NULL, &mac);
    throttle_told(all->throttle, l->source, true, now);
    return settle(l, LOGIN_RIGHT, hash);
}

static void wait_over(struct io_timer *t)
{
    struct login *l = (struct login *)((char *)t - offsetof(struct login, wait));
    if (look(l))
        l->over(l, l->ctx);
}

bool login_ask(struct login *l, struct worker *w, const char *listener,
               const struct dp_addr *client, int64_t latest_ns,
               void (*over)(struct login *l, void *ctx), void *ctx)
{
    struct throttle *throttle = logins_of(w)->throttle;
    int64_t now = io_now(w->io), at;
    l->worker = w;
    l->listener = listener;
    l->over = over;
    l->ctx = ctx;
    l->source = throttle_source(throttle, client);
    if (!throttle_admit(throttle, l->source, now, latest_ns, &at))
        return settle(l, LOGIN_HELD, NULL);
    if (at <= now)
        return look(l);
    l->wait.fire = wait_over;
    io_timer(w->io, &l->wait, at);
    return false;
}

void login_free(struct login *l)
{
    if (!l)
        return;
    inquiry_leave(l);
    if (l->worker)
        io_timer(l->worker->io, &l->wait, 0);
    explicit_bzero(l, sizeof *l);
    free(l);
}

/* ---- all of them ---- */

struct logins *logins_new(unsigned n_workers, int64_t now_ns)
{
    struct logins *all = calloc(1, sizeof *all);
    if (!all)
        return NULL;
    all->key = mac_key_new();
    all->throttle = throttle_new(now_ns);
    all->desk = calloc(n_workers, sizeof *all->desk); /* only touched pages cost memory */
    if (all->key && all->throttle && all->desk && (all->verifier = verifier_new()))
        return all;
    int err = errno;
    logins_free(all);
    errno = err;
    return NULL;
}

void logins_stop(struct logins *all)
{
    verifier_stop(all->verifier);
}

void logins_free(struct logins *all)
{
    if (!all)
        return;
    verifier_free(all->verifier);
    throttle_free(all->throttle);
    mac_key_free(all->key);
    free(all->desk);
    free(all);
}
