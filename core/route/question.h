/* SPDX-License-Identifier: MIT
 * question.h: one name in one family, asked of the name servers of a link until there is an answer.
 */
#ifndef ROUTE_QUESTION_H
#define ROUTE_QUESTION_H

#include "route/dns_answer.h"
#include "route/name_servers.h"

struct question;

/* What becomes of it is told to its owner. */
struct question_ops {
    /* Once, also from inside question_start(); the question is gone then. */
    void (*over)(void *owner, const struct dns_answer *answer);
    /* Does somebody still wait? Else it ends, when it would ask again. */
    bool (*wanted)(void *owner);
};

/* Takes over a use of `servers`. `system` must outlive it. *question is set before over() can be
 * called. Returns 0, or -1 when out of memory: then over() is not called. */
int question_start(struct name_servers *servers, const struct system_names *system,
                   const char *name, int family, const struct question_ops *ops, void *owner,
                   struct question **question);

/* Ends it without a word. */
void question_cancel(struct question *q);

#endif
