/* SPDX-License-Identifier: MIT
 * place.c: addresses of Dante's configuration: host or network, and ports.
 */
#include "place.h"
#include "machine.h"

#include <ctype.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

/* ---- ports ---- */

bool ports_all(const struct ports *ports)
{
    return !ports->except && ports->low <= 1 && ports->high == 65535;
}

bool ports_have(const struct ports *ports, unsigned port)
{
    return (port >= ports->low && port <= ports->high) != ports->except;
}

uint16_t ports_one(const struct ports *ports)
{
    return !ports->except && ports->low == ports->high ? ports->low : 0;
}

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " ");
}

/* Digits, up to `max`. */
static int number_take(const char **at, unsigned long max, unsigned long *number)
{
    char *end;
    if (!isdigit((unsigned char)**at))
        return -1;
    *number = strtoul(*at, &end, 10);
    *at = end;
    return *number <= max ? 0 : -1;
}

/* A number, or a service as /etc/services names it. */
static int port_take(const char **at, uint16_t *port)
{
    unsigned long number;
    char name[64];
    if (isdigit((unsigned char)**at)) {
        int bad = number_take(at, 65535, &number);
        *port = (uint16_t)number;
        return bad;
    }
    size_t len = strcspn(*at, " ");
    if (len == 0 || len >= sizeof name)
        return -1;
    memcpy(name, *at, len);
    name[len] = '\0';
    *at += len;
    const struct servent *service = getservbyname(name, "tcp");
    if (service)
        *port = ntohs((uint16_t)service->s_port);
    else if (strcmp(name, "socks") == 0)
        *port = 1080; /* Dante knows this one itself */
    else
        return -1;
    return 0;
}

enum relation { EQUAL, UNEQUAL, AT_LEAST, AT_MOST, ABOVE, BELOW };

static enum relation relation_take(const char **at)
{
    static const struct {
        const char *text;
        enum relation meaning;
    } known[] = {
        {"!=", UNEQUAL},  {">=", AT_LEAST}, {"<=", AT_MOST}, {"=", EQUAL},     {":", EQUAL},
        {">", ABOVE},     {"<", BELOW},     {"eq ", EQUAL},  {"ne ", UNEQUAL}, {"ge ", AT_LEAST},
        {"le ", AT_MOST}, {"gt ", ABOVE},   {"lt ", BELOW},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i].text);
        if (strncmp(*at, known[i].text, len) == 0) {
            *at = skip_blanks(*at + len);
            return known[i].meaning;
        }
    }
    return EQUAL;
}

/* Above the last port, or below the first, there is none: a range from high to low has nobody. */
static struct ports ports_of(enum relation relation, uint16_t port)
{
    switch (relation) {
    case UNEQUAL:
        return (struct ports){true, port, port};
    case AT_LEAST:
        return (struct ports){false, port, 65535};
    case AT_MOST:
        return (struct ports){false, 0, port};
    case ABOVE:
        return port == 65535 ? (struct ports){false, 1, 0}
                             : (struct ports){false, (uint16_t)(port + 1), 65535};
    case BELOW:
        return port == 0 ? (struct ports){false, 1, 0}
                         : (struct ports){false, 0, (uint16_t)(port - 1)};
    default:
        return (struct ports){false, port, port};
    }
}

/* `port = 1080`, `port gt 1023`, `port 1-65535`. */
static int ports_parse(const char *text, struct ports *ports)
{
    uint16_t port;
    const char *at = skip_blanks(text);
    enum relation relation = relation_take(&at);
    if (port_take(&at, &port) < 0)
        return -1;
    *ports = ports_of(relation, port);
    at = skip_blanks(at);
    if (relation == EQUAL && *at == '-') {
        at = skip_blanks(at + 1);
        if (port_take(&at, &ports->high) < 0 || ports->high < ports->low)
            return -1;
        at = skip_blanks(at);
    }
    return *at ? -1 : 0;
}

/* ---- hosts and networks ---- */

/* The bits of a netmask in dots; -1: not one. */
static int mask_bits(const char *mask)
{
    struct dp_addr addr;
    if (addr_parse_ip(&addr, mask, strlen(mask)) < 0 || addr_family(&addr) != AF_INET)
        return -1;
    uint32_t bits = ntohl(((const struct sockaddr_in *)&addr.sa)->sin_addr.s_addr);
    int n = 0;
    while (bits & 0x80000000u) {
        bits <<= 1;
        n++;
    }
    return bits ? -1 : n;
}

static int net_bits(const char *mask, int family)
{
    unsigned long bits;
    const char *at = mask;
    if (strchr(mask, '.'))
        return family == AF_INET ? mask_bits(mask) : -1;
    if (number_take(&at, family == AF_INET ? 32 : 128, &bits) < 0 || *at)
        return -1;
    return (int)bits;
}

static int net_parse(struct conf_memory *memory, struct place *place, const struct dp_addr *addr,
                     const char *mask)
{
    int family = addr_family(addr);
    int bits = mask ? net_bits(mask, family) : family == AF_INET ? 32 : 128;
    if (bits < 0)
        return -1;
    struct addr_net net = net_of(addr, (unsigned)bits);
    nets_add(memory, &place->nets, &net);
    return 0;
}

/* `0/0`: whoever it is. */
static void net_everybody(struct conf_memory *memory, struct place *place)
{
    struct addr_net ipv4 = net_all(AF_INET), ipv6 = net_all(AF_INET6);
    nets_add(memory, &place->nets, &ipv4);
    nets_add(memory, &place->nets, &ipv6);
}

static int host_parse(struct conf_memory *memory, struct place *place, const char *mask)
{
    struct dp_addr addr;
    if (strcmp(place->host, "0") == 0 && mask && strcmp(mask, "0") == 0) {
        net_everybody(memory, place);
        return 0;
    }
    if (addr_parse_ip(&addr, place->host, strlen(place->host)) == 0)
        return net_parse(memory, place, &addr, mask);
    if (mask)
        return -1;
    place->interface = machine_interface(memory, place->host, &place->own);
    place->named = !place->interface;
    for (size_t i = 0; i < place->own.n; i++)
        nets_join(memory, &place->nets, &place->own.net[i]);
    return 0;
}

/* Cuts the first word off, at a blank or one of `ends`, and skips blanks. */
static char *word_take(char **at, const char *ends)
{
    char *word = *at;
    size_t len = strcspn(word, ends);
    *at = word + len + strspn(word + len, " ");
    return word;
}

/* Parts `HOST[/MASK] [port ...]`; *mask and *port stay NULL if not there. */
static int place_split(char *text, char **host, char **mask, char **port)
{
    char *at = text;
    *host = word_take(&at, " /");
    size_t host_len = strcspn(*host, " /");
    if (*at == '/') {
        at += 1 + strspn(at + 1, " ");
        *mask = word_take(&at, " ");
        (*mask)[strcspn(*mask, " ")] = '\0';
    }
    if (strncmp(at, "port", 4) == 0 && strspn(at + 4, " :=!<>"))
        *port = at + 4;
    else if (*at)
        return -1;
    (*host)[host_len] = '\0';
    return host_len ? 0 : -1;
}

/* An address of UPnP keeps its slashes. */
static bool is_url(const char *text)
{
    return strncmp(text, "http://", 7) == 0 || strncmp(text, "ftp://", 6) == 0;
}

int place_parse(struct conf_memory *memory, const char *text, struct place *place, const char **why)
{
    char *host = memory_text(memory, text, strlen(text)), *mask = NULL, *port = NULL;
    *place = (struct place){.host = host, .ports = {false, 0, 65535}};
    if (!host)
        return 0;
    if (is_url(text)) {
        place->named = true;
        return 0;
    }
    *why = "an address is expected, as 10.0.0.0/8, with or without `port = NUMBER`";
    if (place_split(host, &host, &mask, &port) < 0 || host_parse(memory, place, mask) < 0)
        return -1;
    place->port_given = port != NULL;
    *why = "a port is expected, as `port = 1080`, `port 1-1023` or `port gt 1023`";
    return port ? ports_parse(port, &place->ports) : 0;
}

const struct dp_addr *place_address(const struct place *place)
{
    if (place->named || place->interface || place->nets.n != 1)
        return NULL;
    const struct addr_net *net = &place->nets.net[0];
    return net->bits == (addr_family(&net->addr) == AF_INET ? 32 : 128) ? &net->addr : NULL;
}
