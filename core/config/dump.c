/* SPDX-License-Identifier: MIT
 * dump.c: a configuration printed as a file that gives the same; a plugin's options for people.
 */
#include "config/build.h"
#include "config/type.h"

#include <inttypes.h>
#include <string.h>
#include <sys/un.h>

#define COLUMN_GAP 2

/* ---- --dump-config ---- */

struct dump {
    const struct config *config;
    FILE *out;
    /* A name from the command line may be one that a file may not use (`socks5://host:1080`). Then
     * all links are numbered, which cannot clash, and their names stand behind as comments. */
    bool numbered;
    bool secrets; /* as they are; for config_write() */
};

static void print_text(const char *text, FILE *out)
{
    tree_print(out, text, strlen(text));
}

static void print_link_name(const struct dump *d, const struct conf_link *link)
{
    if (d->numbered)
        fprintf(d->out, "link-%zu", (size_t)(link - d->config->link) + 1);
    else
        print_text(link->name, d->out);
}

static void print_addr(const struct dp_addr *addr, FILE *out)
{
    char text[ADDR_TEXT];
    print_text(addr_text(addr, text), out);
}

static void print_options(const struct dump *d, const struct conf_instance *instance)
{
    const struct option_table table = option_table_of(instance->plugin);
    option_print(&table, instance->conf, "    ", d->secrets, d->out);
}

static void dump_check(const struct conf_check *check, const char *indent, FILE *out)
{
    static const char *const kind[] = {
        [CHECK_TCP] = "tcp", [CHECK_HTTP] = "http", [CHECK_DNS] = "dns"};
    char interval[UNITS_TEXT], timeout[UNITS_TEXT];
    fprintf(out, "%shealth-check:%s\n", indent, check ? "" : " no");
    if (!check)
        return;
    fprintf(out, "%s  %s: ", indent, kind[check->kind]);
    print_text(check->target, out);
    if (check->kind == CHECK_HTTP)
        fprintf(out, "\n%s  status: %" PRIu32 "-%" PRIu32, indent, check->status_min,
                check->status_max);
    fprintf(out, "\n%s  interval: %s\n", indent, units_duration_text(check->interval, interval));
    fprintf(out, "%s  timeout: %s\n", indent, units_duration_text(check->timeout, timeout));
    fprintf(out, "%s  rise: %" PRIu32 "\n%s  fall: %" PRIu32 "\n", indent, check->rise, indent,
            check->fall);
}

static void dump_top(const struct config *config, FILE *out)
{
    fprintf(out, "workers: %" PRIu32 "\nplugin-path: [", config->workers);
    for (size_t i = 0; i < config->n_own_path; i++) {
        fputs(i ? ", " : "", out);
        print_text(config->plugin_path[i], out);
    }
    fputs("]\n", out);
    dump_check(config->check, "", out);
}

static void dump_networks(const char *key, const struct addr_net *net, size_t n, bool unix_too,
                          FILE *out)
{
    char text[ADDR_TEXT];
    fprintf(out, "    %s: [%s", key, unix_too ? n ? "unix, " : "unix" : "");
    for (size_t i = 0; i < n; i++) {
        addr_ip_text(&net[i].addr, text);
        fprintf(out, "%s\"%s/%u\"", i ? ", " : "", text, net[i].bits);
    }
    fputs("]\n", out);
}

/* As it is: for people it would be escaped. */
static void print_path(const struct dp_addr *listen, FILE *out)
{
    char text[sizeof "unix:" + ADDR_PATH_MAX];
    snprintf(text, sizeof text, "unix:%s", ((const struct sockaddr_un *)&listen->sa)->sun_path);
    print_text(text, out);
}

static void dump_listen(const struct conf_listener *listener, FILE *out)
{
    if (listener->handed)
        fprintf(out, "\"fd:%s\"", listener->handed);
    else if (conf_listens_unix(listener))
        print_path(&listener->listen, out);
    else
        print_addr(&listener->listen, out);
    if (listener->mode)
        fprintf(out, "\n    mode: \"%04" PRIo32 "\"", listener->mode);
}

/* Does a file have to say so? */
static bool is_open(const struct conf_listener *listener, bool has_users)
{
    if (listener->handed)
        return listener->open;
    return !has_users && !conf_listens_unix(listener) && !addr_is_loopback(&listener->listen);
}

static void dump_listener(const struct dump *d, const struct conf_listener *listener)
{
    const char *users = listener->users && !d->secrets ? listener->users->file : NULL;
    FILE *out = d->out;
    char protocols[CONF_PROTOCOLS_TEXT], size[UNITS_TEXT];
    fputs("  ", out);
    print_text(listener->name, out);
    fputs(":\n    listen: ", out);
    dump_listen(listener, out);
    fputs("\n    pool: ", out);
    print_text(listener->pool->name, out);
    fprintf(out, "\n    protocols: [%s]\n", conf_protocols_text(listener->protocols, protocols));
    if (listener->n_allow)
        dump_networks("allow", listener->allow, listener->n_allow, false, out);
    else if (is_open(listener, users != NULL))
        fputs("    open: yes\n", out);
    if (listener->n_proxies || listener->unix_proxies)
        dump_networks("proxy-protocol", listener->proxies, listener->n_proxies,
                      listener->unix_proxies, out);
    if (users) {
        fputs("    users-file: ", out);
        print_text(users, out);
        fputc('\n', out);
    }
    fprintf(out, "    early-reply: %s\n", listener->early_reply ? "yes" : "no");
    fprintf(out, "    max-connections-per-client: %" PRIu32 "\n", listener->max_per_client);
    fprintf(out, "    max-request-body: %s\n", units_size_text(listener->max_request_body, size));
}

static void dump_dns(const struct conf_link *link, FILE *out)
{
    fputs("    dns: [", out);
    for (size_t i = 0; i < link->n_dns; i++) {
        fputs(i ? ", " : "", out);
        print_addr(&link->dns[i], out);
    }
    fputs("]\n", out);
}

static void dump_link(const struct dump *d, const struct conf_link *link)
{
    static const char *const send_proxy[] = {"no", "v1", "v2"};
    char slow_start[UNITS_TEXT];
    fputs("  ", d->out);
    print_link_name(d, link);
    if (d->numbered)
        fprintf(d->out, ": # %s\n", link->name);
    else
        fputs(":\n", d->out);
    fputs("    dialer: ", d->out);
    print_text(link->dialer.plugin->name, d->out);
    fprintf(d->out, "\n    weight: %" PRIu32 "\n    max-connections: %" PRIu32 "\n", link->weight,
            link->max_connections);
    fprintf(d->out, "    max-per-destination: %" PRIu32 "\n", link->max_per_dest);
    fprintf(d->out, "    fast-open: %s\n", link->fast_open ? "yes" : "no");
    fprintf(d->out, "    on-down: %s\n", link->keep ? "keep" : "reset");
    fprintf(d->out, "    send-proxy: %s\n", send_proxy[link->send_proxy]);
    fprintf(d->out, "    slow-start: %s\n", units_duration_text(link->slow_start, slow_start));
    if (link->via) {
        fputs("    via: ", d->out);
        print_link_name(d, link->via);
        fputc('\n', d->out);
    }
    if (link->n_dns)
        dump_dns(link, d->out);
    if (link->check != d->config->check)
        dump_check(link->check, "    ", d->out);
    print_options(d, &link->dialer);
}

static void dump_sticky(const struct conf_sticky *sticky, FILE *out)
{
    static const char *const by[] = {"", "client", "host", "client, host"};
    char ttl[UNITS_TEXT];
    fprintf(out, "    sticky: {by: [%s], ttl: %s}\n", by[sticky->by],
            units_duration_text(sticky->ttl, ttl));
}

static void dump_members(const struct dump *d, const char *key, const struct conf_pool *pool)
{
    fprintf(d->out, "    %s: [", key);
    for (size_t i = 0; i < pool->n_members; i++) {
        fputs(i ? ", " : "", d->out);
        if (pool->member[i].pool)
            print_text(pool->member[i].pool->name, d->out);
        else
            print_link_name(d, pool->member[i].link);
    }
    fputs("]\n", d->out);
}

static void dump_pool(const struct dump *d, const struct conf_pool *pool)
{
    fputs("  ", d->out);
    print_text(pool->name, d->out);
    fputs(":\n    balancer: ", d->out);
    print_text(pool->balancer.plugin->name, d->out);
    fputc('\n', d->out);
    dump_members(d, "links", pool);
    if (pool->backup)
        dump_members(d, "backup", pool->backup);
    fprintf(d->out, "    weight: %" PRIu32 "\n    retries: %" PRIu32 "\n", pool->weight,
            pool->retries);
    fprintf(d->out, "    when-all-down: %s\n", pool->refuse ? "refuse" : "try");
    if (pool->sticky.by)
        dump_sticky(&pool->sticky, d->out);
    print_options(d, &pool->balancer);
}

static void dump_timeouts(const struct conf_timeouts *timeouts, FILE *out)
{
    const struct {
        const char *key;
        int64_t ns;
    } line[] = {
        {"handshake", timeouts->handshake}, {"connect", timeouts->connect},
        {"attempt", timeouts->attempt},     {"idle", timeouts->idle},
        {"drain", timeouts->drain},
    };
    char text[UNITS_TEXT];
    for (size_t i = 0; i < sizeof line / sizeof *line; i++)
        fprintf(out, "  %s: %s\n", line[i].key, units_duration_text(line[i].ns, text));
}

static void dump_dante(const struct conf_dante *dante, FILE *out)
{
    char text[ADDR_TEXT];
    fputs("dante:\n  anchors: [", out);
    for (size_t i = 0; i < dante->n_anchors; i++) {
        fputs(i ? ", " : "", out);
        print_text(addr_ip_text(&dante->anchor[i], text), out);
    }
    fputs("]\n  pool: ", out);
    print_text(dante->pool->name, out);
    if (dante->state) {
        fputs("\n  state: ", out);
        print_text(dante->state, out);
    }
    fputc('\n', out);
}

static void dump_config(const struct config *config, bool secrets, FILE *out)
{
    struct dump d = {.config = config, .out = out, .secrets = secrets};
    for (size_t i = 0; i < config->n_links; i++)
        d.numbered |= !name_ok(config->link[i].name);
    dump_top(config, out);
    fputs("listeners:\n", out);
    for (size_t i = 0; i < config->n_listeners; i++)
        dump_listener(&d, &config->listener[i]);
    fputs("links:\n", out);
    for (size_t i = 0; i < config->n_links; i++)
        if (!config->link[i].implicit)
            dump_link(&d, &config->link[i]);
    fputs("pools:\n", out);
    for (size_t i = 0; i < config->n_pools; i++)
        if (!config->pool[i].implicit)
            dump_pool(&d, &config->pool[i]);
    if (config->n_rules)
        fputs("rules:\n", out);
    for (size_t i = 0; i < config->n_rules; i++)
        print_rule(&config->rule[i], out);
    fputs("timeouts:\n", out);
    dump_timeouts(&config->timeouts, out);
    if (config->dante)
        dump_dante(config->dante, out);
}

void config_dump(const struct config *config, FILE *out)
{
    dump_config(config, false, out);
}

void config_write(const struct config *config, FILE *out)
{
    dump_config(config, true, out);
}

/* ---- --dump-plugin ---- */

#define CELL_TEXT 160

static bool has_range(const struct dp_opt *opt, const struct type *type)
{
    return type->bound && (opt->min || opt->max);
}

/* `enum smooth|block`, `number 1..65535`, `string 0..255 bytes` */
static void type_cell(const struct dp_opt *opt, char cell[CELL_TEXT])
{
    const struct type *type = type_find(opt->type);
    char min[UNITS_TEXT], max[UNITS_TEXT];
    const char *unit = opt->type == DP_STRING || opt->type == DP_SECRET ? " bytes"
                       : opt->type == DP_LIST                           ? " items"
                                                                        : "";
    if (opt->type == DP_ENUM)
        snprintf(cell, CELL_TEXT, "%s %s", type->name, opt->choices);
    else if (has_range(opt, type))
        snprintf(cell, CELL_TEXT, "%s %s..%s%s", type->name, type->bound(opt->min, min),
                 type->bound(opt->max, max), unit);
    else
        snprintf(cell, CELL_TEXT, "%s", type->name);
}

static void default_cell(const struct dp_opt *opt, char cell[CELL_TEXT])
{
    if (opt->dflt)
        snprintf(cell, CELL_TEXT, "default %s", opt->dflt);
    else
        snprintf(cell, CELL_TEXT, "%s", opt->flags & DP_REQUIRED ? "required" : "optional");
}

struct widths {
    int name, type, dflt;
};

static int wider(int width, const char *cell)
{
    int len = (int)strlen(cell) + COLUMN_GAP;
    return len > width ? len : width;
}

static struct widths column_widths(const struct option_table *table)
{
    struct widths w = {0};
    char cell[CELL_TEXT];
    for (uint32_t i = 0; i < table->n; i++) {
        struct dp_opt opt = option_at(table, i);
        w.name = wider(w.name, opt.name);
        type_cell(&opt, cell);
        w.type = wider(w.type, cell);
        default_cell(&opt, cell);
        w.dflt = wider(w.dflt, cell);
    }
    return w;
}

/* One line an option; two spaces or more part the columns: name, type and range or choices,
 * default, help. */
void config_dump_plugin(const struct dp_plugin *plugin, FILE *out)
{
    const struct option_table table = option_table_of(plugin);
    const struct widths w = column_widths(&table);
    fprintf(out, "name: %s\nkind: %s\nversion: %s\nsummary: %s\noptions: %" PRIu32 "\n",
            plugin->name, plugin->kind == DP_DIALER ? "dialer" : "balancer", plugin->version,
            plugin->summary, table.n);
    for (uint32_t i = 0; i < table.n; i++) {
        struct dp_opt opt = option_at(&table, i);
        char type[CELL_TEXT], dflt[CELL_TEXT];
        type_cell(&opt, type);
        default_cell(&opt, dflt);
        fprintf(out, "  %-*s%-*s%-*s%s", w.name, opt.name, w.type, type, w.dflt, dflt, opt.help);
        if (opt.type == DP_SECRET)
            fprintf(out, " (%s-file: from a file)", opt.name);
        fputc('\n', out);
    }
}
