/* SPDX-License-Identifier: MIT
 * hosts.c: the names of hosts(5), looked up without reading the file each time.
 *
 * The text itself is kept, and a table of places in it: a list of 200,000 blocked names is some
 * megabytes, and takes some milliseconds to read.
 */
#include "base/hosts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const char SPACE[] = " \t\r";

static size_t place_of(const struct hosts *h, const char *name)
{
    return XXH64(name, strlen(name), 0) & h->mask;
}

/* Those of one name lie in the order in which they came. */
static void add(struct hosts *h, const char *name, const char *ip)
{
    size_t i = place_of(h, name);
    while (h->place[i].name)
        i = (i + 1) & h->mask;
    h->place[i] = (struct hosts_name){name, ip};
    h->n++;
}

/* An address, then its names; `#` ends it. */
static void add_line(struct hosts *h, char *line)
{
    char *rest = line, *name;
    struct dp_addr addr;
    line[strcspn(line, "#")] = '\0';
    const char *ip = strtok_r(line, SPACE, &rest);
    if (!ip || addr_parse_ip(&addr, ip, strlen(ip)) < 0)
        return;
    while ((name = strtok_r(NULL, SPACE, &rest))) {
        for (char *c = name; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        add(h, name, ip);
    }
}

/* At most one name for two bytes; the table is never more than half full. */
static size_t words_count(const char *text)
{
    size_t n = 0;
    for (const char *p = text; *p; n++) {
        p += strspn(p, " \t\r\n");
        p += strcspn(p, " \t\r\n");
    }
    return n;
}

static void hosts_read(struct hosts *h)
{
    char *rest = h->file.text, *line;
    size_t size = 16;
    free(h->place);
    h->n = 0;
    h->place = NULL;
    if (!h->file.text)
        return;
    for (size_t words = words_count(h->file.text); size < 2 * words;)
        size *= 2;
    h->mask = size - 1;
    h->place = calloc(size, sizeof *h->place);
    h->file.looked = h->place != NULL; /* else again the next time */
    while (h->place && (line = strsep(&rest, "\n")))
        add_line(h, line);
}

void hosts_refresh(struct hosts *h)
{
    if (textfile_refresh(&h->file))
        hosts_read(h);
}

size_t hosts_find(const struct hosts *h, const char *name, struct dp_addr *addr, size_t max)
{
    size_t n = 0;
    if (h->n == 0)
        return 0;
    for (size_t i = place_of(h, name); h->place[i].name && n < max; i = (i + 1) & h->mask)
        if (strcmp(h->place[i].name, name) == 0 &&
            addr_parse_ip(&addr[n], h->place[i].ip, strlen(h->place[i].ip)) == 0)
            n++;
    return n;
}

void hosts_deinit(struct hosts *h)
{
    free(h->place);
    h->place = NULL;
    h->n = 0;
    textfile_deinit(&h->file);
}
