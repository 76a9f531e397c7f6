/* SPDX-License-Identifier: MIT
 * handshake.h: what is said to a SOCKS server, and what its answers mean. No I/O.
 */
#ifndef DIALER_SOCKS_HANDSHAKE_H
#define DIALER_SOCKS_HANDSHAKE_H

#include <dispatch-plugin.h>

enum { REMOTE, LOCAL };                    /* the choices of `resolve` */
enum { VERSION_5, VERSION_4A, VERSION_4 }; /* the choices of `version` */

struct conf {
    struct dp_addr server;
    struct dp_str username, password;
    uint32_t resolve, version;
};

#define OUT_MAX (8 + 256 + 256) /* the longest message sent: of SOCKS4a, with a user and a name */
#define IN_MAX (255 + 2)        /* the longest piece read: a host name and a port */

/* What is in `out` is sent first, then `need` bytes are read, not one more; the function of the
 * state looks at them, fills `out` and `need`, and returns the next state or an error.
 *
 *   METHOD --02--> LOGIN --00--> REPLY --ATYP 1, 4-----------> BOUND --> DONE
 *      |__________00______________^ |____ATYP 3___> NAME_LEN ___^
 *   REPLY_4 --90--> DONE
 */
enum state { METHOD, LOGIN, REPLY, NAME_LEN, BOUND, REPLY_4, DONE };

struct handshake {
    const struct conf *conf;
    const struct dp_addr *to;
    const char *complaint; /* what to tell the user of an error; NULL: nothing */
    enum state state;
    uint8_t atyp; /* of the address in the reply */
    uint16_t out_len, need;
    uint8_t out[OUT_MAX], in[IN_MAX];
};

/* Fills `out` and `need` for the first time in a handshake that is all zero; `conf` and `to` must
 * live as long. Returns 0, or DP_ERR_FAMILY if that version cannot ask for such a destination. */
int handshake_begin(struct handshake *h, const struct conf *conf, const struct dp_addr *to);

/* `out` is sent and `in` has what was needed. Returns DP_OK at the end, with `bound` filled if the
 * server has said it (a name lies in `in`); DP_AGAIN if there is more; or an error. */
int handshake_next(struct handshake *h, struct dp_addr *bound);

#endif
