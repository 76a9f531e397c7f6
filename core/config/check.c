/* SPDX-License-Identifier: MIT
 * check.c: the key `health-check`, of a link, of a pool and of all: the nearest counts.
 */
#include "config/build.h"
#include "config/type.h"

#include <string.h>
#include <strings.h>

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define HTTP_PORT "80"
#define URL_MAX 1024
#define LABEL_MAX 63 /* RFC 1035, section 2.3.4 */
#define NAME_MAX 253
#define STATUS_LEAST 100
#define STATUS_MOST 599

struct check_keys {
    struct dp_str http, dns, status;
    struct dp_addr tcp;
    int64_t interval, timeout;
    uint32_t rise, fall;
};

static const struct dp_opt check_opts[] = {
    {.name = "tcp", .type = DP_ENDPOINT, .offset = offsetof(struct check_keys, tcp)},
    {.name = "http",
     .type = DP_STRING,
     .offset = offsetof(struct check_keys, http),
     .min = 1,
     .max = URL_MAX},
    {.name = "dns",
     .type = DP_STRING,
     .offset = offsetof(struct check_keys, dns),
     .min = 1,
     .max = NAME_MAX},
    {.name = "status",
     .type = DP_STRING,
     .offset = offsetof(struct check_keys, status),
     .dflt = "200-299"},
    {.name = "interval",
     .type = DP_DURATION,
     .offset = offsetof(struct check_keys, interval),
     .min = 100 * MS,
     .max = 24 * 3600 * SECOND,
     .dflt = "10s"},
    {.name = "timeout",
     .type = DP_DURATION,
     .offset = offsetof(struct check_keys, timeout),
     .min = 100 * MS,
     .max = 60 * SECOND,
     .dflt = "3s"},
    {.name = "rise",
     .type = DP_U32,
     .offset = offsetof(struct check_keys, rise),
     .min = 1,
     .max = 100,
     .dflt = "2"},
    {.name = "fall",
     .type = DP_U32,
     .offset = offsetof(struct check_keys, fall),
     .min = 1,
     .max = 100,
     .dflt = "3"},
};
static const struct option_table check_table = OPTION_TABLE(check_opts);

/* What `no` stands for. */
static const struct conf_check check_none = {.kind = CHECK_NONE};

/* ---- what is checked ---- */

static bool kind_tcp(const struct option_scope *scope, const struct check_keys *keys,
                     struct conf_check *check)
{
    const struct tree_node *node = tree_find(scope->map, "tcp");
    check->kind = CHECK_TCP;
    check->target = node->text;
    check->to = keys->tcp;
    if (keys->tcp.port)
        return true;
    option_error(scope, node, "tcp", "nobody listens at port 0");
    return false;
}

/* Host and port, from the text after `http://`; the rest begins at *path. */
static bool url_read(const struct option_scope *scope, const char *text, struct conf_check *check)
{
    size_t len = strcspn(text, "/?");
    const char *rest = text + len;
    const char *host = memory_text(scope->memory, text, len);
    if (!host)
        return false;
    const char *colon = strrchr(host, ':');
    bool has_port = colon && !strchr(colon, ']');
    const char *at = has_port ? host : memory_printf(scope->memory, "%s:%s", host, HTTP_PORT);
    check->host = host;
    check->path = *rest == '/' ? rest : memory_printf(scope->memory, "/%s", rest);
    return at && check->path && addr_parse_endpoint(&check->to, at, strlen(at)) == 0 &&
           check->to.port;
}

/* No blank, no control byte: it stands in a request as it is. A fragment is not for servers. */
static bool url_is_sound(const struct dp_str *url)
{
    for (uint32_t i = 0; i < url->len; i++)
        if (url->p[i] <= ' ' || url->p[i] > '~' || url->p[i] == '#')
            return false;
    return true;
}

static bool kind_http(const struct option_scope *scope, const struct check_keys *keys,
                      struct conf_check *check)
{
    static const char scheme[] = "http://";
    const struct tree_node *node = tree_find(scope->map, "http");
    const char *text = keys->http.p;
    check->kind = CHECK_HTTP;
    check->target = text;
    if (strncasecmp(text, "https:", strlen("https:")) == 0)
        option_error(scope, node, "http", "https: not in this version, use tcp:");
    else if (strncasecmp(text, scheme, strlen(scheme)) == 0 && url_is_sound(&keys->http) &&
             url_read(scope, text + strlen(scheme), check))
        return true;
    else if (!memory_failed(scope->memory))
        option_error(scope, node, "http", "\"%s\" is not a URL, as http://example.com/generate_204",
                     text);
    return false;
}

/* One or more labels of letters, digits, `-` and `_`, with or without a dot at the end. */
static bool name_is_sound(const struct dp_str *text)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const char *name = text->p;
    while (*name) {
        size_t len = strspn(name, letters);
        if (len == 0 || len > LABEL_MAX || (name[len] && name[len] != '.'))
            return false;
        name += len + (name[len] == '.');
    }
    return name == text->p + text->len;
}

static bool kind_dns(const struct option_scope *scope, const struct check_keys *keys,
                     struct conf_check *check)
{
    const char *text = keys->dns.p;
    struct dp_addr addr;
    check->kind = CHECK_DNS;
    check->target = text;
    if (name_is_sound(&keys->dns) && addr_parse_ip(&addr, text, keys->dns.len) < 0) {
        bool dot = text[keys->dns.len - 1] == '.';
        check->name = memory_printf(scope->memory, "%s%s", text, dot ? "" : ".");
        return check->name;
    }
    option_error(scope, tree_find(scope->map, "dns"), "dns",
                 "\"%s\" is not a name to ask for, as example.com", text);
    return false;
}

/* Exactly one of the three. */
static bool check_kind(const struct option_scope *scope, const struct check_keys *keys,
                       struct conf_check *check)
{
    bool (*const read[])(const struct option_scope *scope, const struct check_keys *keys,
                         struct conf_check *check) = {kind_tcp, kind_http, kind_dns};
    const bool given[] = {tree_find(scope->map, "tcp"), tree_find(scope->map, "http"),
                          tree_find(scope->map, "dns")};
    const bool bound[] = {keys->tcp.salen || keys->tcp.name, keys->http.p, keys->dns.p};
    int n = given[0] + given[1] + given[2];
    if (n != 1)
        option_error(scope, NULL, NULL, "exactly one of tcp, http and dns says what is checked");
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        if (n == 1 && bound[i])
            return read[i](scope, keys, check);
    return false;
}

/* ---- the rest of it ---- */

/* `204` or `200-299`. */
static void check_status(const struct option_scope *scope, const struct check_keys *keys,
                         struct conf_check *check)
{
    const struct tree_node *node = tree_find(scope->map, "status");
    uint64_t least, most;
    if (!keys->status.p)
        return;
    if (node && !tree_find(scope->map, "http"))
        option_error(scope, node, "status", "is for http");
    const char *dash = strchr(keys->status.p, '-');
    const char *text =
        dash ? memory_text(scope->memory, keys->status.p, (size_t)(dash - keys->status.p))
             : keys->status.p;
    if (!text)
        return;
    if (units_number(&least, text) < 0 || units_number(&most, dash ? dash + 1 : text) < 0 ||
        least < STATUS_LEAST || least > most || most > STATUS_MOST)
        option_error(scope, node, "status", "must be %d to %d, as 204 or 200-299", STATUS_LEAST,
                     STATUS_MOST);
    else {
        check->status_min = (uint32_t)least;
        check->status_max = (uint32_t)most;
    }
}

/* NULL: a mistake, reported. */
static const struct conf_check *check_bind(const struct option_scope *scope)
{
    const struct check_keys *keys = option_bind(scope, &check_table, sizeof *keys);
    struct conf_check *check = memory_alloc(scope->memory, sizeof *check);
    if (!keys || !check)
        return NULL;
    option_unknown(scope, &check_table, 1);
    check_status(scope, keys, check);
    check->interval = keys->interval;
    check->timeout = keys->timeout;
    check->rise = keys->rise;
    check->fall = keys->fall;
    check->node = scope->map;
    return check_kind(scope, keys, check) ? check : NULL;
}

static const struct conf_check *check_off(const struct option_scope *section,
                                          const struct tree_node *node)
{
    static const struct dp_opt yes_or_no = {.type = DP_BOOL};
    const struct type_value v = {section, &yes_or_no, "health-check", node};
    uint8_t yes;
    if (!type_find(DP_BOOL)->parse(&v, &yes))
        return NULL;
    if (!yes)
        return &check_none;
    option_error(section, node, "health-check",
                 "say what is checked, as {tcp: \"192.0.2.1:443\"}, or no");
    return NULL;
}

/* What a section says: a check, `no` (check_none), or nothing: NULL, also after a mistake. */
static const struct conf_check *check_said(const struct option_scope *section)
{
    const struct tree_node *node = tree_find(section->map, "health-check");
    if (!node)
        return NULL;
    if (node->kind != TREE_MAP)
        return check_off(section, node);
    struct option_scope scope = *section;
    scope.map = node;
    scope.what = memory_printf(section->memory, "%shealth-check: ", section->what);
    return scope.what ? check_bind(&scope) : NULL;
}

bool conf_check_equal(const struct conf_check *a, const struct conf_check *b)
{
    return a->kind == b->kind && strcmp(a->target, b->target) == 0 &&
           a->status_min == b->status_min && a->status_max == b->status_max &&
           a->interval == b->interval && a->timeout == b->timeout && a->rise == b->rise &&
           a->fall == b->fall;
}

/* ---- whose it is ---- */

/* Of a pool: for its links, and those of pools in it to this depth, that say nothing themselves, nor
 * a pool before it for them. */
static void pool_checks(struct build *b, const struct conf_pool *pool,
                        const struct conf_check *check, unsigned depth)
{
    for (size_t i = 0; i < pool->n_members; i++) {
        const struct conf_member *m = &pool->member[i];
        struct conf_link *link = m->link ? &b->link[m->link - b->link] : NULL;
        if (link && !link->check)
            link->check = check;
        if (m->pool && depth > 0)
            pool_checks(b, m->pool, check, depth - 1);
    }
    if (pool->backup)
        pool_checks(b, pool->backup, check, depth);
}

/* Names that a link looks up leave by its sockets, or by those of another link below it. */
static void suit_check(struct build *b, const struct conf_link *link)
{
    const struct dp_plugin *dialer = link->dialer.plugin;
    if (!link->check || link->check->kind != CHECK_DNS || !dialer)
        return;
    const struct dp_dialer_ops *ops = dialer->ops;
    if (!ops->prepare)
        conf_error(b->errors, link->check->node,
                   "link \"%s\": health-check: dns asks name servers, which dialer %s does not "
                   "lead to: tcp or http can check this link, or \"health-check: no\" in it",
                   link->name, dialer->name);
}

static const struct conf_check *entry_said(struct build *b, const char *kind,
                                           const struct tree_node *entry)
{
    struct option_scope scope;
    if (entry->kind != TREE_MAP || !build_scope(b, kind, entry, &scope))
        return NULL;
    return check_said(&scope);
}

static const struct conf_check *real_check(const struct conf_check *said)
{
    return said && said->kind != CHECK_NONE ? said : NULL;
}

/* What a pool says is nearer to its links than what one around it does. */
static void pools_checks(struct build *b)
{
    size_t n = b->pools->n;
    const struct conf_check **said = memory_alloc(b->memory, n * sizeof *said);
    for (size_t i = 0; said && i < n; i++)
        said[i] = entry_said(b, "pool", b->pools->item[i]);
    for (unsigned depth = 0; said && depth < CONF_POOL_DEPTH; depth++)
        for (size_t i = 0; i < n; i++)
            if (said[i])
                pool_checks(b, &b->pool[i], said[i], depth);
}

void build_checks(struct build *b, const struct option_scope *top)
{
    for (size_t i = 0; i < b->links->n; i++)
        b->link[i].check = entry_said(b, "link", b->links->item[i]);
    pools_checks(b);
    const struct conf_check *all = real_check(check_said(top));
    b->config->check = all;
    for (size_t i = 0; i < b->links->n; i++) {
        struct conf_link *link = &b->link[i];
        link->check = link->check ? real_check(link->check) : all;
        suit_check(b, link);
    }
}
