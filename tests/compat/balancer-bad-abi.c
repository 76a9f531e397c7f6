/* SPDX-License-Identifier: MIT
 * balancer-bad-abi.c: made for an ABI that is not this host's.
 */
#define NAME "bad-abi"
#define ABI 99
#include "bad.h"
