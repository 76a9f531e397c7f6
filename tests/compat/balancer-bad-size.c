/* SPDX-License-Identifier: MIT
 * balancer-bad-size.c: its description is shorter than the first header had it.
 */
#define NAME "bad-size"
#define SIZE offsetof(struct dp_plugin, ops)
#include "bad.h"
