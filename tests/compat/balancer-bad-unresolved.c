/* SPDX-License-Identifier: MIT
 * balancer-bad-unresolved.c: it needs a function that nobody has.
 */
int nobody_has_this_function(void);

#define NAME "bad-unresolved"
#define CREATE(host) nobody_has_this_function()
#include "bad.h"
