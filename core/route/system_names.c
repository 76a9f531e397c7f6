/* SPDX-License-Identifier: MIT
 * system_names.c: what the system says of names: hosts(5), and the servers and domains of
 * resolv.conf(5).
 */
#include "route/system_names.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CHECK_NS NS_PER_S
#define HOSTS_MAX (16 << 20) /* lists of blocked names have 5 MB */
#define RESOLV_MAX (64 << 10)
#define NDOTS_MAX 15 /* as elsewhere */
#define DNS_PORT 53

static const char SPACE[] = " \t\r";

void system_names_init(struct system_names *s)
{
    memset(s, 0, sizeof *s);
    s->hosts.file = (struct textfile){.path = "/etc/hosts", .max = HOSTS_MAX};
    s->resolv = (struct textfile){.path = "/etc/resolv.conf", .max = RESOLV_MAX};
    s->resolved = (struct textfile){.path = "/run/systemd/resolve/resolv.conf", .max = RESOLV_MAX};
}

void system_names_deinit(struct system_names *s)
{
    hosts_deinit(&s->hosts);
    textfile_deinit(&s->resolv);
    textfile_deinit(&s->resolved);
}

/* ---- resolv.conf ---- */

static void add_server(struct system_names *s, const char *text)
{
    struct dp_addr addr;
    if (!text || s->n_servers == SYSTEM_SERVERS_MAX || addr_parse_ip(&addr, text, strlen(text)) < 0)
        return;
    addr_set_port(&addr, DNS_PORT);
    s->server[s->n_servers++] = addr;
}

/* Of several such lines the last counts. */
static void set_domains(struct system_names *s, char **rest)
{
    const char *word;
    s->n_domains = 0;
    while (s->n_domains < SYSTEM_DOMAINS_MAX && (word = strtok_r(NULL, SPACE, rest)))
        if (strcmp(word, ".") != 0) /* the name itself */
            snprintf(s->domain[s->n_domains++], NAME_SIZE, "%s", word);
}

static void set_options(struct system_names *s, char **rest)
{
    static const char ndots[] = "ndots:";
    const char *word;
    while ((word = strtok_r(NULL, SPACE, rest)))
        if (strncmp(word, ndots, sizeof ndots - 1) == 0) {
            unsigned long n = strtoul(word + sizeof ndots - 1, NULL, 10);
            s->ndots = n < NDOTS_MAX ? (unsigned)n : NDOTS_MAX;
        }
}

static void read_line(struct system_names *s, char *line)
{
    char *rest = line;
    line[strcspn(line, "#;")] = '\0';
    const char *key = strtok_r(line, SPACE, &rest);
    if (!key)
        return;
    if (strcmp(key, "nameserver") == 0)
        add_server(s, strtok_r(NULL, SPACE, &rest));
    else if (strcmp(key, "search") == 0 || strcmp(key, "domain") == 0)
        set_domains(s, &rest);
    else if (strcmp(key, "options") == 0)
        set_options(s, &rest);
}

/* Line by line in a copy, for one file may be read again when the other has changed. */
static void read_text(struct system_names *s, const char *text)
{
    char line[1024];
    for (size_t len; text && *text; text += len + (text[len] == '\n')) {
        len = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)len, text);
        read_line(s, line);
    }
}

/* 127.0.0.53 and 127.0.0.54, systemd-resolved(8): the machine's own, which knows the links' servers
 * but asks by the machine's own route. */
static bool is_resolved(const struct dp_addr *a)
{
    static const uint8_t ip[2][4] = {{127, 0, 0, 53}, {127, 0, 0, 54}};
    struct dp_addr stub[2];
    for (int i = 0; i < 2; i++)
        addr_from_ip(&stub[i], AF_INET, ip[i], 0);
    return addr_same_ip(a, &stub[0]) || addr_same_ip(a, &stub[1]);
}

/* The servers that systemd-resolved has from all links come first, and it itself is the last resort.
 * A server that does not answer by a link is asked last there, so each link finds its own. */
static void add_resolved(struct system_names *s)
{
    struct dp_addr stub = s->server[0];
    if (s->n_servers != 1 || !is_resolved(&stub) || !s->resolved.text)
        return;
    s->n_servers = 0;
    read_text(s, s->resolved.text);
    if (s->n_servers == SYSTEM_SERVERS_MAX)
        s->n_servers--;
    s->server[s->n_servers++] = stub;
}

static void hash_add(struct system_names *s, const void *data, size_t len)
{
    s->hash = XXH64(data, len, s->hash);
}

static void read_files(struct system_names *s)
{
    static const uint8_t loopback[4] = {127, 0, 0, 1};
    s->n_servers = 0;
    s->n_domains = 0;
    s->ndots = 1;
    read_text(s, s->resolv.text);
    add_resolved(s);
    if (s->n_servers == 0) /* resolv.conf(5) */
        addr_from_ip(&s->server[s->n_servers++], AF_INET, loopback, DNS_PORT);
    s->hash = s->ndots;
    for (size_t i = 0; i < s->n_servers; i++)
        hash_add(s, &s->server[i].sa, s->server[i].salen);
    for (size_t i = 0; i < s->n_domains; i++)
        hash_add(s, s->domain[i], strlen(s->domain[i]));
}

void system_names_refresh(struct system_names *s, int64_t now_ns)
{
    if (s->checked_ns && now_ns - s->checked_ns < CHECK_NS)
        return;
    s->checked_ns = now_ns;
    hosts_refresh(&s->hosts);
    bool resolv = textfile_refresh(&s->resolv), resolved = textfile_refresh(&s->resolved);
    if (resolv || resolved)
        read_files(s);
}

/* ---- domains ---- */

/* A name with dots enough, or one at its end, is asked for as it is, and its failure tells no domain
 * what was asked for; any other with each domain first. */
bool system_names_candidate(const struct system_names *s, const char *name, unsigned nth,
                            char out[NAME_SIZE])
{
    size_t len = strlen(name), dots = 0;
    for (const char *p = name; *p; p++)
        dots += *p == '.';
    size_t n_domains = dots >= s->ndots || (len && name[len - 1] == '.') ? 0 : s->n_domains;
    int n = nth < n_domains    ? snprintf(out, NAME_SIZE, "%s.%s", name, s->domain[nth])
            : nth == n_domains ? snprintf(out, NAME_SIZE, "%s", name)
                               : -1;
    if (n >= NAME_SIZE)
        out[0] = '\0'; /* longer than a name can be: nobody has it */
    return n >= 0;
}
