/* SPDX-License-Identifier: MIT
 * race_inbox.c: 4 threads send messages to 2 workers, which send half of them on to each other: each
 * is run once, in the right thread, in the order of sending, and no wake-up is lost.
 */
#include "base/clock.h"
#include "traffic/worker.h"

#include <stdio.h>
#include <stdlib.h>

enum { WORKERS = 2, SENDERS = 4, BATCH = 25, BATCHES = 400, HOPS = 4 };

struct parcel {
    struct message message;
    unsigned sender, number, hops;
};

static struct worker workers[WORKERS];
static struct budget budget;

/* Of each worker; written by its thread alone. */
static struct seen {
    uint32_t run, strayed, disordered;
    uint32_t next[SENDERS]; /* the least number that may come from there */
} seen[WORKERS];

/* Of each sender: what has come to its end. Atomic. */
static uint32_t arrived[SENDERS];

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    printf("Bail out! %s\n", what);
    exit(1);
}

static void parcel_run(struct worker *w, struct message *m)
{
    struct parcel *p = (struct parcel *)m;
    struct seen *s = &seen[w - workers];
    s->run++;
    s->strayed += !pthread_equal(pthread_self(), w->thread);
    if (p->hops == 0) { /* straight from its sender */
        s->disordered += p->number < s->next[p->sender];
        s->next[p->sender] = p->number + 1;
    }
    if (p->number % 2 && p->hops++ < HOPS)
        worker_send(&workers[1 - (w - workers)], m);
    else
        __atomic_fetch_add(&arrived[p->sender], 1, __ATOMIC_RELEASE);
}

static void stop_run(struct worker *w, struct message *m)
{
    (void)m;
    worker_stop(w);
}

/* Were one wake-up lost, this would take for ever. */
static void wait_arrived(unsigned sender, uint32_t n)
{
    int64_t until = clock_now_ns() + 60 * NS_PER_S;
    while (__atomic_load_n(&arrived[sender], __ATOMIC_ACQUIRE) < n) {
        check(clock_now_ns() < until, "a message has not been run");
        sched_yield();
    }
}

/* A batch at a time, so that the workers' loops sleep now and then. */
static void *send_all(void *arg)
{
    unsigned sender = (unsigned)(uintptr_t)arg;
    static struct parcel all[SENDERS][BATCH];
    for (unsigned b = 0; b < BATCHES; b++) {
        for (unsigned i = 0; i < BATCH; i++) {
            struct parcel *p = &all[sender][i];
            *p = (struct parcel){
                .message.run = parcel_run, .sender = sender, .number = b * BATCH + i};
            worker_send(&workers[i * 7 / 3 % WORKERS], &p->message);
        }
        wait_arrived(sender, (b + 1) * BATCH);
    }
    return NULL;
}

static void workers_start(void)
{
    for (int i = 0; i < WORKERS; i++) {
        workers[i].all = workers;
        workers[i].n_all = WORKERS;
        workers[i].budget = &budget;
        check(worker_start(&workers[i]) == 0, "worker_start");
    }
}

static void workers_end(void)
{
    struct message stop[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        stop[i].run = stop_run;
        worker_send(&workers[i], &stop[i]);
    }
    for (int i = 0; i < WORKERS; i++)
        worker_join(&workers[i]);
    for (int i = 0; i < WORKERS; i++)
        worker_free(&workers[i]);
}

static int n_cases;

static int result(bool ok, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", ++n_cases, what);
    return !ok;
}

int main(void)
{
    pthread_t id[SENDERS];
    uint32_t sent = SENDERS * BATCH * BATCHES, odd = 0;
    for (unsigned i = 0; i < BATCH * BATCHES; i++)
        odd += i % 2;
    printf("1..3\n");
    workers_start();
    for (unsigned i = 0; i < SENDERS; i++)
        check(pthread_create(&id[i], NULL, send_all, (void *)(uintptr_t)i) == 0, "pthread_create");
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(id[i], NULL);
    workers_end();

    const struct seen *a = &seen[0], *b = &seen[1];
    int failed = result(a->run + b->run == sent + SENDERS * odd * HOPS, "each message is run once");
    failed |= result(a->strayed + b->strayed == 0, "by the worker it was sent to");
    failed |= result(a->disordered + b->disordered == 0, "in the order of sending");
    printf("# %u and %u runs\n", a->run, b->run);
    return failed;
}
