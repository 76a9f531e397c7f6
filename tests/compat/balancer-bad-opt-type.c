/* SPDX-License-Identifier: MIT
 * balancer-bad-opt-type.c: an option of a type that only a newer host knows.
 */
#define NAME "bad-opt-type"
#define OPT_TYPE 1000
#include "bad.h"
