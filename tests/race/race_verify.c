/* SPDX-License-Identifier: MIT
 * race_verify.c: 2 workers ask the verifier, forget half of their questions, and end while some are
 * open: each question is answered once, in the worker that asked, and rightly unless forgotten.
 * Beside them threads fail by one address, which then waits.
 */
#include "base/clock.h"
#include "traffic/throttle.h"
#include "traffic/verify.h"

#include <crypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 2, ROUNDS = 40, EACH = 20, FAILERS = 4, FAILURES = 20000 };

struct ask {
    struct question question;
    bool right;
};

static struct worker workers[WORKERS];
static struct budget budget;
static struct verifier *verifier;
static char hash[CRYPT_OUTPUT_SIZE];

/* Of each worker; written by its thread alone, but for `answers`. */
static struct seen {
    uint32_t asked, strayed, wrong, unlooked;
    uint32_t answers; /* atomic */
    struct ask ask[EACH];
} seen[WORKERS];

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    printf("Bail out! %s\n", what);
    exit(1);
}

static void answered(struct worker *w, struct message *m)
{
    struct ask *a = (struct ask *)((char *)m - offsetof(struct ask, question.answer));
    struct seen *s = &seen[w - workers];
    bool forgotten = __atomic_load_n(&a->question.forgotten, __ATOMIC_RELAXED);
    s->strayed += a->question.worker != w;
    s->unlooked += a->question.verdict == VERDICT_NONE;
    if (a->question.verdict == VERDICT_NONE)
        s->wrong += !forgotten;
    else
        s->wrong += (a->question.verdict == VERDICT_RIGHT) != a->right;
    __atomic_fetch_add(&s->answers, 1, __ATOMIC_RELEASE);
}

/* In the worker: asks EACH questions, every third of them right, and forgets every second. */
static void ask_run(struct worker *w, struct message *m)
{
    struct seen *s = &seen[w - workers];
    (void)m;
    for (int i = 0; i < EACH; i++) {
        struct ask *a = &s->ask[i];
        a->right = i % 3 == 0;
        a->question = (struct question){.answer.run = answered,
                                        .worker = w,
                                        .hash = hash,
                                        .password = a->right ? "secret" : "secre",
                                        .password_len = a->right ? 6 : 5,
                                        .source = (uint64_t)i % 3};
        check(verifier_ask(verifier, &a->question), "the queue is full");
        if (i % 2)
            __atomic_store_n(&a->question.forgotten, true, __ATOMIC_RELAXED);
        s->asked++;
    }
}

static void stop_run(struct worker *w, struct message *m)
{
    (void)m;
    worker_stop(w);
}

static uint32_t answers(int i)
{
    return __atomic_load_n(&seen[i].answers, __ATOMIC_ACQUIRE);
}

static void wait_answers(uint32_t n)
{
    int64_t until = clock_now_ns() + 60 * NS_PER_S;
    for (int i = 0; i < WORKERS; i++)
        while (answers(i) < n) {
            check(clock_now_ns() < until, "a question has not been answered");
            sched_yield();
        }
}

static void ask_round(struct message ask[WORKERS])
{
    for (int i = 0; i < WORKERS; i++) {
        ask[i].run = ask_run;
        worker_send(&workers[i], &ask[i]);
    }
}

/* The last round is still open when everything ends, in the order of server.c. */
static void run_all(void)
{
    struct message ask[WORKERS], stop[WORKERS];
    for (uint32_t round = 0; round < ROUNDS; round++) {
        ask_round(ask);
        wait_answers((round + 1) * EACH);
    }
    ask_round(ask);
    for (int i = 0; i < WORKERS; i++) {
        stop[i].run = stop_run;
        worker_send(&workers[i], &stop[i]);
    }
    for (int i = 0; i < WORKERS; i++)
        worker_join(&workers[i]);
    for (int i = 0; i < WORKERS; i++) /* what nobody waits for any more */
        for (int k = 0; k < EACH; k++)
            __atomic_store_n(&seen[i].ask[k].question.forgotten, true, __ATOMIC_RELAXED);
    verifier_stop(verifier);
    for (int i = 0; i < WORKERS; i++)
        worker_free(&workers[i]);
    verifier_free(verifier);
}

/* ---- the throttle ---- */

static struct throttle *throttle;

static void *fail_all(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < FAILURES; i++) {
        int64_t at;
        throttle_admit(throttle, i % 64 << 40, 0, NS_PER_S, &at);
        throttle_told(throttle, i % 64 << 40, i % 64 == 1, 0);
    }
    return NULL;
}

/* 63 addresses share the places of 8: they take them from each other. The one that is always right
 * must not wait. */
static bool throttle_race(void)
{
    pthread_t id[FAILERS];
    int64_t at;
    throttle = throttle_new(0);
    check(throttle != NULL, "throttle_new");
    for (int i = 0; i < FAILERS; i++)
        check(pthread_create(&id[i], NULL, fail_all, NULL) == 0, "pthread_create");
    for (int i = 0; i < FAILERS; i++)
        pthread_join(id[i], NULL);
    bool ok = throttle_admit(throttle, UINT64_C(1) << 40, 0, NS_PER_S, &at) && at == 0;
    for (int i = 0; i < 5; i++)
        throttle_told(throttle, UINT64_C(2) << 40, false, 0);
    ok &= throttle_admit(throttle, UINT64_C(2) << 40, 0, 100 * NS_PER_S, &at) && at > 0;
    throttle_free(throttle);
    return ok;
}

static int n_cases;

static int result(bool ok, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", ++n_cases, what);
    return !ok;
}

int main(void)
{
    struct crypt_data *data = calloc(1, sizeof *data);
    const char *made = crypt_r("secret", "$5$rounds=1000$salt", data);
    check(made && made[0] == '$', "crypt_r");
    snprintf(hash, sizeof hash, "%s", made);
    free(data);
    printf("1..4\n");
    verifier = verifier_new();
    check(verifier != NULL, "verifier_new");
    for (int i = 0; i < WORKERS; i++) {
        workers[i].all = workers;
        workers[i].n_all = WORKERS;
        workers[i].budget = &budget;
        check(worker_start(&workers[i]) == 0, "worker_start");
    }
    run_all();
    int failed = result(answers(0) == seen[0].asked && answers(1) == seen[1].asked &&
                            seen[0].asked == (ROUNDS + 1) * EACH,
                        "each question is answered once");
    failed |= result(seen[0].strayed + seen[1].strayed == 0, "where it was asked");
    failed |= result(seen[0].wrong + seen[1].wrong == 0, "rightly, unless nobody waits for it");
    failed |= result(throttle_race(), "failures by many threads");
    printf("# %u and %u not looked at\n", seen[0].unlooked, seen[1].unlooked);
    return failed;
}
