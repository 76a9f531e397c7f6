/* SPDX-License-Identifier: MIT
 * host.c: the host of a request as clients write it.
 */
#include "proto/host.h"
#include "base/addr.h"

#include <string.h>

#define NAME_LEN_MAX 255

/* A host name may hold bytes beyond ASCII, but no NUL, control byte or blank: those cut names short
 * or smuggle lines elsewhere. */
static bool name_is_sane(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
            return false;
    return len > 0 && len <= NAME_LEN_MAX;
}

/* `127.1`, `0177.0.0.1`, `2130706433`, `0x7f000001`: no domain ends in a number. */
static bool name_ends_in_number(const char *name, size_t len)
{
    size_t end = len, start;
    if (end > 1 && name[end - 1] == '.')
        end--;
    for (start = end; start > 0 && name[start - 1] != '.';)
        start--;
    size_t digits = start;
    while (digits < end && name[digits] >= '0' && name[digits] <= '9')
        digits++;
    bool hex = end - start > 2 && name[start] == '0' && (name[start + 1] | 32) == 'x';
    return (digits == end && end > start) || hex;
}

int host_read(struct dp_addr *to, const char *s, size_t len, uint16_t port)
{
    if (!name_is_sane(s, len))
        return -1;
    if (addr_parse_ip(to, s, len) == 0) {
        addr_set_port(to, port);
        addr_unmap(to);
        return 0;
    }
    if (memchr(s, ':', len) || name_ends_in_number(s, len)) /* others may read it as an address */
        return -1;
    addr_from_name(to, s, len, port);
    return 0;
}
