/* SPDX-License-Identifier: MIT
 * balancer-bad-symbol.c: a shared object that is no plugin.
 */
extern const int dp_plug;
const int dp_plug = 1;
