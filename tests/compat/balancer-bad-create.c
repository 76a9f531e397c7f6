/* SPDX-License-Identifier: MIT
 * balancer-bad-create.c: it refuses its options, with a reason.
 */
#define NAME "bad-create"
#define CREATE(host) (host)->fail((host), "number", "this number brings bad luck")
#include "bad.h"
