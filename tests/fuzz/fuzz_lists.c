/* SPDX-License-Identifier: MIT
 * fuzz_lists.c: the files that a configuration names: users, and lists of hosts, domains and
 * networks. The first byte says which. It has mistakes, or all that is in it is found.
 */
#include "fuzz/target.h"
#include "lib/source_fake.h"
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { USERS, HOSTS, DOMAINS, NETWORKS, KINDS };

static const char *const keys[KINDS] = {"users-file", "host-file", "domain-file", "network-file"};

static int file_make(const uint8_t *data, size_t len)
{
    int fd = memfd_create("list", MFD_CLOEXEC);
    require(fd >= 0 && fchmod(fd, 0600) == 0);
    require(write(fd, data, len) == (ssize_t)len);
    return fd;
}

static struct config *load(int kind, int fd, struct conf_errors *errors)
{
    char text[400], users[60] = "", rule[100] = "";
    if (kind == USERS)
        snprintf(users, sizeof users, ", users-file: /proc/self/fd/%d", fd);
    else
        snprintf(rule, sizeof rule, "rules: [{%s: /proc/self/fd/%d, action: deny}]\n", keys[kind],
                 fd);
    int n = snprintf(text, sizeof text,
                     "links: {a: {interface: a}}\npools: {all: {}, cheap: {}}\n"
                     "listeners: {main: {listen: 127.0.0.1:1080, pool: all%s}}\n%s",
                     users, rule);
    return config_parse("fuzz.yaml", text, (size_t)n, NULL, 0, &fake_source, errors);
}

/* ---- what is found ---- */

static void check_user(const struct config *config, const char *line, size_t len)
{
    const struct conf_users *users = config->listener[0].users;
    size_t name_len = (size_t)((const char *)memchr(line, ':', len) - line);
    const struct conf_user *user = conf_user_find(users, line, name_len);
    require(user && user->name.len == name_len && memcmp(user->name.p, line, name_len) == 0);
    size_t hash_len = strlen(user->hash);
    require(len > name_len + hash_len && hash_len <= CONF_HASH_MAX);
    require(memcmp(line + name_len + 1, user->hash, hash_len) == 0);
    require(!!user->pool == (len > name_len + hash_len + 1));
}

/* `*.name` stands for what is below. */
static void check_host(const struct host_set *set, const char *line, size_t len)
{
    char name[300] = "x.";
    int star = line[0] == '*';
    require(len - (size_t)star < 260);
    memcpy(name + 1, line + star, len - (size_t)star);
    if (!star)
        require(host_set_has(set, line, len));
    else if (len <= 255)
        require(host_set_has(set, name, len));
}

static void check_line(const struct config *config, int kind, const char *line, size_t len)
{
    struct addr_net net;
    const struct conf_rule *rule = config->rule;
    switch (kind) {
    case USERS:
        check_user(config, line, len);
        break;
    case HOSTS:
        check_host(rule->host, line, len);
        break;
    case DOMAINS:
        check_host(rule->domain, line, len);
        break;
    default:
        require(addr_parse_net(&net, line, len) == 0);
        require(net_set_has(rule->network, &net.addr));
    }
}

static int is_blank(const char *p, const char *end)
{
    while (p < end && strchr(" \t\r", *p))
        p++;
    return p == end;
}

/* Blanks around a line and a comment count for nothing; of users a comment is a line of its own,
 * and a blank part of a name; but one CR at the end is nobody's. */
static void check_lines(const struct config *config, int kind, const char *p, const char *end)
{
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        const char *to = lf ? lf : end, *comment = memchr(p, '#', (size_t)(to - p));
        const char *next = to + 1, *line = p;
        if (kind == USERS && to > line && to[-1] == '\r')
            to--;
        if (comment && (kind != USERS || comment == line))
            to = comment;
        while (to > line && strchr(" \t\r", to[-1]) && (kind != USERS || is_blank(line, to)))
            to--;
        while (kind != USERS && line < to && strchr(" \t", *line))
            line++;
        if (to > line)
            check_line(config, kind, line, (size_t)(to - line));
        p = next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 1)
        return 0;
    int kind = data[0] % KINDS, fd = file_make(data + 1, len - 1);
    struct conf_errors errors = {0};
    struct config *config = load(kind, fd, &errors);
    require(config ? errors.n == 0 : errors.n > 0);
    if (config)
        check_lines(config, kind, (const char *)data + 1, (const char *)data + len);
    config_free(config);
    conf_errors_free(&errors);
    close(fd);
    return 0;
}
