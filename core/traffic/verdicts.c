/* SPDX-License-Identifier: MIT
 * verdicts.c: names and passwords that were found right lately.
 *
 * Each has a few places. As the hash is keyed, nobody can choose which.
 */
#include "traffic/verdicts.h"

#include <string.h>

#define PLACES 8

static size_t first_place(const struct mac *mac)
{
    uint32_t n;
    memcpy(&n, mac->bytes, sizeof n);
    return n % (VERDICTS / PLACES) * PLACES;
}

bool verdicts_know(const struct verdicts *v, const struct mac *mac, int64_t now_ns)
{
    const struct verdict *first = &v->all[first_place(mac)];
    bool known = false;
    for (const struct verdict *at = first; at < first + PLACES; at++)
        if (mac_same(&at->mac, mac, sizeof *mac) && now_ns < at->until_ns)
            known = true;
    return known;
}

void verdicts_keep(struct verdicts *v, const struct mac *mac, int64_t until_ns)
{
    struct verdict *first = &v->all[first_place(mac)], *place = first;
    for (struct verdict *at = first; at < first + PLACES; at++) {
        if (mac_same(&at->mac, mac, sizeof *mac)) {
            place = at;
            break;
        }
        if (at->until_ns < place->until_ns)
            place = at;
    }
    *place = (struct verdict){.mac = *mac, .until_ns = until_ns};
}
