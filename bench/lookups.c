/* SPDX-License-Identifier: MIT
 * lookups.c: how long it takes to find the rule for a destination, and how many have one.
 *
 *   lookups CONFIG FILE ROUNDS     FILE: destinations as `www.example.com:443`, one a line
 */
#include "plugin/loader.h"
#include "route/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct dests {
    char *text; /* names point into it */
    struct dp_addr *dest;
    size_t n;
};

static _Noreturn void fail(const char *what, const char *text)
{
    fprintf(stderr, "lookups: %s: %s\n", what, text);
    exit(1);
}

static struct config *config_read(const char *file)
{
    const char *const *path;
    struct conf_errors errors = {0};
    size_t n = loader_fallback_path(&path);
    struct config *config = config_load(file, path, n, &loader_source, &errors);
    if (!config)
        fail(file, errors.n ? errors.line[0] : "out of memory");
    return config;
}

static struct dests dests_read(const char *file)
{
    struct dests d = {0};
    size_t size = 0, room = 0;
    FILE *f = fopen(file, "r");
    if (!f || getdelim(&d.text, &size, 0, f) < 0)
        fail(file, "cannot be read");
    fclose(f);
    for (char *save = NULL, *line = strtok_r(d.text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        if (d.n == room) {
            room = room ? 2 * room : 1024;
            d.dest = reallocarray(d.dest, room, sizeof *d.dest);
        }
        if (!d.dest || addr_parse_endpoint(&d.dest[d.n++], line, strlen(line)) < 0)
            fail(file, line);
    }
    return d;
}

/* One function by itself, so that a profiler can be told to count nothing else. */
static __attribute__((noinline)) size_t look_up_all(const struct config *config,
                                                    const struct dests *d)
{
    size_t held = 0;
    struct rule_flow flow = {.listener = "main", .protocol = PROTO_SOCKS5, .client = &d->dest[0]};
    for (size_t i = 0; i < d->n; i++) {
        flow.dest = &d->dest[i];
        held += rules_find(config, &flow) != NULL;
    }
    return held;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        fail("usage", "lookups CONFIG FILE ROUNDS");
    size_t held = 0, rounds = strtoul(argv[3], NULL, 10);
    struct config *config = config_read(argv[1]);
    struct dests dests = dests_read(argv[2]);
    double start = cpu_s();
    for (size_t i = 0; i < rounds; i++)
        held += look_up_all(config, &dests);
    printf("{\"count\": %zu, \"held\": %zu, \"seconds\": %.9f}\n", rounds * dests.n, held,
           cpu_s() - start);
    config_free(config);
    free(dests.dest);
    free(dests.text);
    return fflush(stdout) == 0 ? 0 : 1;
}
