/* SPDX-License-Identifier: MIT
 * balancer-bad-pick.c: it picks a member that does not exist.
 */
#define NAME "bad-pick"
#define INDEX 1000
#include "bad.h"
