/* SPDX-License-Identifier: MIT
 * balancer-bad-crash.c: it crashes while it is made.
 */
#include <stdlib.h>

#define NAME "bad-crash"
#define CREATE(host) (abort(), 0)
#include "bad.h"
