/* SPDX-License-Identifier: MIT
 * balancer-bad-kind.c: a dialer by its own word, a balancer by its file's name.
 */
#define NAME "bad-kind"
#define KIND DP_DIALER
#include "bad.h"
