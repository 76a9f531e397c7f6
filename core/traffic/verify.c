/* SPDX-License-Identifier: MIT
 * verify.c: one thread that looks at passwords.
 */
#include "traffic/verify.h"
#include "traffic/mac.h"

#include <crypt.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct verifier {
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t more;
    struct question *first; /* by their turns */
    unsigned n;
    bool stopping;
    struct crypt_data data; /* the thread's: large */
};

static enum verdict_of look(const struct question *q, struct crypt_data *data)
{
    const char *made = crypt_r(q->password, q->hash, data);
    size_t len = strlen(q->hash);
    enum verdict_of verdict = VERDICT_NONE;
    if (made && made[0] != '*') { /* which is how it says that it failed */
        bool same = strlen(made) == len && mac_same(made, q->hash, len);
        bool whole = strlen(q->password) == q->password_len;
        verdict = same && whole ? VERDICT_RIGHT : VERDICT_WRONG;
    }
    explicit_bzero(data, sizeof *data);
    return verdict;
}

/* Waits for the next; NULL: none will come. */
static struct question *question_take(struct verifier *v)
{
    pthread_mutex_lock(&v->lock);
    while (!v->first && !v->stopping)
        pthread_cond_wait(&v->more, &v->lock);
    struct question *q = v->first;
    if (q) {
        v->first = q->next;
        v->n--;
    }
    pthread_mutex_unlock(&v->lock);
    return q;
}

static bool worth_a_look(struct verifier *v, const struct question *q)
{
    pthread_mutex_lock(&v->lock);
    bool stopping = v->stopping;
    pthread_mutex_unlock(&v->lock);
    return !stopping && !__atomic_load_n(&q->forgotten, __ATOMIC_RELAXED);
}

static void *verifier_main(void *ctx)
{
    struct verifier *v = ctx;
    for (struct question *q; (q = question_take(v));) {
        q->verdict = worth_a_look(v, q) ? look(q, &v->data) : VERDICT_NONE;
        worker_send(q->worker, &q->answer);
    }
    return NULL;
}

static unsigned questions_of(const struct verifier *v, uint64_t source)
{
    unsigned n = 0;
    for (const struct question *q = v->first; q; q = q->next)
        n += q->source == source;
    return n;
}

/* Who asks for much waits behind who asks for little. */
static void question_put(struct verifier *v, struct question *q)
{
    struct question **at = &v->first;
    while (*at && (*at)->turn <= q->turn)
        at = &(*at)->next;
    q->next = *at;
    *at = q;
    v->n++;
}

bool verifier_ask(struct verifier *v, struct question *q)
{
    pthread_mutex_lock(&v->lock);
    q->turn = questions_of(v, q->source);
    bool room = v->n < QUESTIONS_MAX && q->turn < QUESTIONS_PER_SOURCE && !v->stopping;
    if (room) {
        question_put(v, q);
        pthread_cond_signal(&v->more);
    }
    pthread_mutex_unlock(&v->lock);
    return room;
}

/* Signals are for the main thread. */
static int thread_start(struct verifier *v)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int err = pthread_create(&v->thread, NULL, verifier_main, v);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

struct verifier *verifier_new(void)
{
    struct verifier *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->more, NULL);
    int err = thread_start(v);
    if (!err)
        return v;
    verifier_free(v);
    errno = err;
    return NULL;
}

void verifier_stop(struct verifier *v)
{
    pthread_mutex_lock(&v->lock);
    v->stopping = true;
    pthread_cond_signal(&v->more);
    pthread_mutex_unlock(&v->lock);
    pthread_join(v->thread, NULL);
}

void verifier_free(struct verifier *v)
{
    if (!v)
        return;
    pthread_cond_destroy(&v->more);
    pthread_mutex_destroy(&v->lock);
    free(v);
}
