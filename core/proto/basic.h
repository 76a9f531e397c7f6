/* SPDX-License-Identifier: MIT
 * basic.h: a name and a password as HTTP has them (RFC 7617, RFC 4648).
 */
#ifndef PROTO_BASIC_H
#define PROTO_BASIC_H

#include <dispatch-plugin.h>
#include <stdbool.h>
#include <stdint.h>

#define BASIC_MAX 511 /* of name, colon and password */

/* Reads `Basic BASE64` strictly. Name and password are put into `out`, which the caller wipes. */
bool basic_read(struct dp_str value, uint8_t out[BASIC_MAX], struct dp_str *user,
                struct dp_str *password);

#endif
