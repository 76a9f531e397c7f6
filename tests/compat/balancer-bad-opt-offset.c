/* SPDX-License-Identifier: MIT
 * balancer-bad-opt-offset.c: an option that lies beyond its conf.
 */
#define NAME "bad-opt-offset"
#define OPT_OFFSET sizeof(struct conf)
#include "bad.h"
