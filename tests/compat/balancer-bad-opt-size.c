/* SPDX-License-Identifier: MIT
 * balancer-bad-opt-size.c: rows of its option table are shorter than the first header had them.
 */
#define NAME "bad-opt-size"
#define OPT_SIZE offsetof(struct dp_opt, dflt)
#include "bad.h"
