/* SPDX-License-Identifier: MIT
 * access.c: Dante's rules as networks of clients.
 *
 * Of the rules the first that matches decides, and who matches none is blocked. A pass rule counts
 * if it lets its clients do everything; a block rule takes its clients away even if it is about a
 * part of what they do. So nobody can do here what he cannot do there.
 */
#include "access.h"

#include <string.h>

/* What a rule is about, of all that its clients can ask of dispatch-host. */
enum reach { REACH_NOTHING, REACH_PART, REACH_ALL };

/* Of a listener: far more than anybody writes down. */
#define NETS_MAX 1024

static const char no_rules[] =
    "destinations are not translated: dispatch.yaml has `rules:` for them";

static const char *join(const struct access *access, const char *why, const char *so)
{
    return memory_printf(access->memory, "%s; so %s", why, so);
}

/* ---- one rule ---- */

/* NULL, or which of its conditions cannot be asked for. */
static const char *rule_condition(const struct dante_item *rule)
{
    for (const struct dante_item *i = rule->child; i; i = i->next)
        if (i->key == KEY_CONDITION)
            return i->why;
    const struct place *from = dante_child(rule, KEY_FROM)->place;
    if (from->named)
        return "clients are not told apart by name here";
    return ports_all(&from->ports) ? NULL : "clients are not told apart by port here";
}

/* Methods of a rule, or else those of the whole file; without either, what Dante takes it for. */
static bool needs_login(const struct dante_item *rule, enum key key,
                        const struct dante_item *otherwise, bool without)
{
    if (dante_child(rule, key))
        return !dante_lists(rule, key, "none");
    return otherwise ? !dante_has(otherwise, "none") : without;
}

static const char no_login[] = "logins are not translated: a listener has a `users-file` for them";

/* NULL, or why its clients cannot be served as they come. */
static const char *rule_login(const struct access *access, const struct dante_item *rule)
{
    const struct dante_item *methods = access->socks_methods;
    if (needs_login(rule, KEY_CLIENTMETHOD, access->client_methods, false))
        return no_login;
    if (rule->kind == DANTE_CLIENT)
        return needs_login(rule, KEY_SOCKSMETHOD, NULL, false) ? no_login : NULL;
    if (!needs_login(rule, KEY_SOCKSMETHOD, methods, true))
        return NULL;
    return methods || dante_child(rule, KEY_SOCKSMETHOD)
               ? no_login
               : "without `socksmethod:` Dante serves nobody";
}

static bool rule_has(const struct dante_item *rule, enum key key, const char *word)
{
    return !dante_child(rule, key) || dante_lists(rule, key, word);
}

/* CONNECT is all that can be asked of dispatch-host; where rules tell SOCKS4 from SOCKS5, only
 * SOCKS5 is spoken. */
static bool is_about_connect(const struct dante_item *rule)
{
    return rule_has(rule, KEY_COMMAND, "connect") && rule_has(rule, KEY_PROTOCOL, "tcp") &&
           rule_has(rule, KEY_PROXYPROTOCOL, "socks_v5");
}

static bool is_loopback_only(const struct place *place)
{
    for (size_t i = 0; i < place->nets.n; i++) {
        const struct addr_net *net = &place->nets.net[i];
        unsigned least = addr_family(&net->addr) == AF_INET ? 8 : 128;
        if (net->bits < least || !addr_is_loopback(&net->addr))
            return false;
    }
    return place->nets.n > 0;
}

/* No connection goes to this machine's loopback, whoever asks for it. */
static bool holds_anyway(const struct access *access, const struct dante_item *rule)
{
    return !rule->pass && !access->loopback && is_loopback_only(dante_child(rule, KEY_TO)->place);
}

static enum reach socks_reach(const struct access *access, const struct dante_item *rule,
                              const char **why)
{
    const struct place *to = dante_child(rule, KEY_TO)->place;
    const struct addr_net ipv4 = net_all(AF_INET);
    if (!is_about_connect(rule) || holds_anyway(access, rule))
        return REACH_NOTHING;
    if (!ports_all(&to->ports) || !nets_cover(&to->nets, &ipv4))
        *why = no_rules;
    return *why ? REACH_PART : REACH_ALL;
}

/* Client rules name the listener by `to`. */
static enum reach client_reach(const struct dante_item *rule, const struct dp_addr *listen,
                               const char **why)
{
    const struct place *to = dante_child(rule, KEY_TO)->place;
    struct addr_net net = net_of(listen, addr_family(listen) == AF_INET ? 32 : 128);
    if (addr_is_any(listen))
        net = net_all(addr_family(listen));
    if (to->named)
        *why = "listeners are not told apart by name here";
    else if (!nets_touch(&to->nets, &net) || !ports_have(&to->ports, listen->port))
        return REACH_NOTHING;
    else if (!nets_cover(&to->nets, &net))
        *why = "it is about some addresses of a listener";
    return *why ? REACH_PART : REACH_ALL;
}

static enum reach rule_reach(const struct access *access, const struct dante_item *rule,
                             const struct dp_addr *listen, const char **why)
{
    *why = rule_condition(rule);
    if (!*why)
        *why = rule_login(access, rule);
    return rule->kind == DANTE_CLIENT ? client_reach(rule, listen, why)
                                      : socks_reach(access, rule, why);
}

/* ---- all rules of a kind ---- */

static bool is_time_limit(enum key key)
{
    return key == KEY_TIMEOUT_CONNECT || key == KEY_TIMEOUT_IO || key == KEY_TIMEOUT_NEGOTIATE;
}

static bool is_narrower(const struct access *access, const struct dante_item *rule)
{
    const struct addr_net ipv6 = net_all(AF_INET6);
    return rule->kind == DANTE_SOCKS && rule->pass && access->ipv6 &&
           !nets_cover(&dante_child(rule, KEY_TO)->place->nets, &ipv6);
}

static void rule_taken(const struct access *access, struct dante_item *rule)
{
    rule->taken = true;
    if (is_narrower(access, rule))
        rule->why = "wider here: IPv6 destinations are reached too, where a link leads there";
    for (struct dante_item *i = rule->child; i; i = i->next)
        i->taken |= i->key != KEY_LOST && i->key != KEY_CONDITION && !is_time_limit(i->key);
}

/* A client by a name might be anybody. */
static const struct nets *rule_clients(const struct dante_item *rule, const struct nets *everybody)
{
    const struct place *from = dante_child(rule, KEY_FROM)->place;
    return from->named ? everybody : &from->nets;
}

/* Those whom no rule so far has decided on, and those let in. */
struct verdict {
    struct nets everybody, left, in;
};

static void verdict_start(const struct access *access, const struct dp_addr *listen,
                          struct verdict *v)
{
    struct addr_net family = net_all(addr_family(listen));
    *v = (struct verdict){0};
    nets_add(access->memory, &v->everybody, &family);
    nets_add(access->memory, &v->left, &family);
}

static void rule_apply(const struct access *access, struct dante_item *rule, struct verdict *v)
{
    const struct nets *clients = rule_clients(rule, &v->everybody);
    if (rule->pass)
        nets_add_common(access->memory, &v->in, &v->left, clients);
    for (size_t i = 0; i < clients->n; i++)
        nets_subtract(access->memory, &v->left, &clients->net[i]);
    if (v->left.n <= NETS_MAX && v->in.n <= NETS_MAX)
        return;
    rule->why = "too many networks come of it; so nobody after it is let in";
    rule->taken = false;
    v->left.n = 0;
    v->in.n = v->in.n < NETS_MAX ? v->in.n : NETS_MAX;
}

static struct nets passed(struct access *access, enum dante_kind kind, const struct dp_addr *listen)
{
    struct verdict v;
    verdict_start(access, listen, &v);
    for (struct dante_item *rule = access->file->child; rule; rule = rule->next) {
        const char *why;
        if (rule->kind != kind)
            continue;
        enum reach reach = rule_reach(access, rule, listen, &why);
        if (reach == REACH_PART)
            rule->why =
                join(access, why,
                     rule->pass ? "it lets nobody in here" : "its clients are not served at all");
        if (reach == REACH_ALL)
            rule_taken(access, rule);
        if (reach == REACH_ALL || (reach == REACH_PART && !rule->pass))
            rule_apply(access, rule, &v);
    }
    return v.in;
}

struct nets access_clients(struct access *access, const struct dp_addr *listen)
{
    struct nets clients = passed(access, DANTE_CLIENT, listen);
    nets_sort(&clients);
    return clients;
}

struct nets access_allow(struct access *access, const struct dp_addr *listen)
{
    const struct nets clients = passed(access, DANTE_CLIENT, listen);
    const struct nets socks = passed(access, DANTE_SOCKS, listen);
    struct nets both = {0};
    if (!access->closed)
        nets_add_common(access->memory, &both, &clients, &socks);
    nets_sort(&both);
    return both;
}

/* ---- the file ---- */

static void close_for(struct access *access, struct dante_item *item, const char *why)
{
    access->closed = true;
    item->why = join(access, why, "nobody is served");
}

static void methods_judge(const struct access *access, struct dante_item *item)
{
    const struct dante_item *last =
        item->key == KEY_CLIENTMETHOD ? access->client_methods : access->socks_methods;
    if (item != last) {
        item->why = memory_printf(access->memory, "line %u overrules it", last->line);
        return;
    }
    item->taken = dante_has(item, "none");
    if (!item->taken)
        item->why = join(access, no_login, "rules that leave it at this let nobody in");
    else if (strcmp(item->value, "none") != 0)
        item->why = "clients come in without a login, as they may there; no other is offered";
}

static void setting_judge(struct access *access, struct dante_item *item)
{
    switch (item->key) {
    case KEY_CLIENTMETHOD:
    case KEY_SOCKSMETHOD:
        methods_judge(access, item);
        break;
    case KEY_HOSTS_ACCESS:
        item->taken = dante_has(item, "no");
        if (!item->taken)
            close_for(access, item, item->why);
        break;
    case KEY_SRCHOST:
        if (dante_has(item, "nodnsmismatch") || dante_has(item, "nodnsunknown"))
            close_for(access, item, item->why);
        else
            item->why = "BIND and UDP are not served here";
        break;
    default:
        break;
    }
}

static void socks_judge(struct access *access, struct dante_item *rule)
{
    bool connect = is_about_connect(rule);
    if (connect && !holds_anyway(access, rule))
        return;
    if (connect)
        access->keeps_out = rule;
    rule->taken = !rule->pass;
    rule->why = connect ? "no connection leads to this machine's loopback here"
                        : "only CONNECT is served here, and where rules tell protocols apart, "
                          "SOCKS5";
}

static void rule_judge(struct access *access, struct dante_item *rule)
{
    for (struct dante_item *i = rule->child; i; i = i->next)
        if (is_time_limit(i->key))
            i->why = "no rule has time limits of its own here";
    if (rule->kind == DANTE_HOSTID)
        close_for(access, rule, "host ids are not read here");
    else if (rule->kind == DANTE_MONITOR)
        rule->why = "there are no alarms here";
    else if (rule->kind == DANTE_SOCKS)
        socks_judge(access, rule);
}

/* Rules that tell protocols apart must not be got round by another one, HTTP included. */
static void protocols_judge(struct access *access, const struct dante_item *rule)
{
    static const char socks5[] = "[socks5]", both[] = "[socks4, socks5]";
    if (!dante_child(rule, KEY_PROXYPROTOCOL))
        return;
    bool apart = !dante_lists(rule, KEY_PROXYPROTOCOL, "socks_v4") ||
                 !dante_lists(rule, KEY_PROXYPROTOCOL, "socks_v5");
    if (apart)
        access->speaks = socks5;
    else if (!access->speaks)
        access->speaks = both;
}

void access_judge(struct access *access)
{
    access->client_methods = dante_child(access->file, KEY_CLIENTMETHOD);
    access->socks_methods = dante_child(access->file, KEY_SOCKSMETHOD);
    for (struct dante_item *i = access->file->child; i; i = i->next) {
        if (i->kind == DANTE_SETTING)
            setting_judge(access, i);
        else if (i->kind != DANTE_ROUTE)
            rule_judge(access, i);
        if (i->kind == DANTE_CLIENT || i->kind == DANTE_SOCKS)
            protocols_judge(access, i);
    }
}

void access_finish(struct access *access)
{
    for (struct dante_item *i = access->file->child; i; i = i->next)
        if (i->kind == DANTE_CLIENT && !i->taken && !i->why)
            i->why = "it is about no listener here";
}
