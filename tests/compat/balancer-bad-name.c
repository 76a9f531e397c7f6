/* SPDX-License-Identifier: MIT
 * balancer-bad-name.c: its file was renamed.
 */
#define NAME "another"
#include "bad.h"
