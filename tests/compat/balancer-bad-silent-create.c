/* SPDX-License-Identifier: MIT
 * balancer-bad-silent-create.c: it refuses its options, without a reason.
 */
#define NAME "bad-silent-create"
#define CREATE(host) DP_ERR_LOCAL
#include "bad.h"
