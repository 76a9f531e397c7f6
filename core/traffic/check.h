/* SPDX-License-Identifier: MIT
 * check.h: one health check of one link, through that link.
 */
#ifndef TRAFFIC_CHECK_H
#define TRAFFIC_CHECK_H

#include "route/env.h"
#include "route/link.h"

/* VOID: something of this machine's own was in the way, which says nothing of the link. */
enum check_verdict { CHECK_PASSED, CHECK_FAILED, CHECK_VOID };

struct check;

/* Starts one; env->resolver is of c-ares. over() is called once, not from inside this call, unless
 * the check is freed before; `why` says what has failed. Link and conf must outlive it. NULL: out
 * of memory. */
struct check *check_start(struct dial_env *env, struct link *link, const struct conf_check *conf,
                          void (*over)(void *ctx, enum check_verdict verdict, const char *why),
                          void *ctx);

/* Ends it. NULL is fine. */
void check_free(struct check *c);

#endif
