/* SPDX-License-Identifier: MIT
 * balancer-bad-null-op.c: it cannot pick.
 */
#define NAME "bad-null-op"
#define PICK NULL
#include "bad.h"
