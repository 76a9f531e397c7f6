/* SPDX-License-Identifier: MIT
 * verify.h: one thread that looks at passwords, for a look takes longer than a loop may wait.
 */
#ifndef TRAFFIC_VERIFY_H
#define TRAFFIC_VERIFY_H

#include "traffic/worker.h"

#include <stddef.h>

struct verifier;

/* At once, of all workers. A look at a hash of yescrypt takes 25 ms: the last has 6 s to wait. */
#define QUESTIONS_MAX 256
/* Of them of one client address. */
#define QUESTIONS_PER_SOURCE 64

enum verdict_of { VERDICT_RIGHT, VERDICT_WRONG, VERDICT_NONE /* could not look */ };

/* A password against a hash of crypt(5). Embedded in its owner, who wipes it. */
struct question {
    struct message
        answer; /* its run() is called in the worker's thread, when the verdict is there */
    struct worker *worker;
    const char *hash;
    const char *password; /* with a NUL behind; one within is part of it, and makes it wrong */
    size_t password_len;
    uint64_t source; /* the client's address, as a hash */
    unsigned turn;   /* the verifier's: so many of that address were open when it came */
    bool forgotten;  /* atomic: nobody waits for it any more, so that it need not be looked at */
    enum verdict_of verdict;
    struct question *next; /* in the queue */
};

struct verifier *verifier_new(void); /* NULL, and errno: cannot */

/* The question is the verifier's until its answer is run. False: there are too many. [any thread] */
bool verifier_ask(struct verifier *v, struct question *q);

/* Ends the thread. A question still open is answered, unlooked at, as all are by worker_send(): its
 * answer runs when its worker is freed at the latest. */
void verifier_stop(struct verifier *v);
void verifier_free(struct verifier *v); /* stopped; NULL is fine */

#endif
