/* SPDX-License-Identifier: MIT
 * args.c: the configuration from a command line in the style of go-dispatch-proxy.
 *
 * The words become the tree that a file would have given, and go the same way from there. A node
 * made from a word carries it as its place, so that mistakes name it; without its password.
 */
#include "config/build.h"

#include <ifaddrs.h>
#include <string.h>
#include <strings.h>

struct args {
    struct build *b;
    const struct conf_command_line *line;
    struct tree_node *links;
};

/* A link's word, cut up. */
struct word {
    const char *scheme_end; /* behind `socks5://`; NULL: none */
    const char *user, *password;
    size_t user_len, password_len;
    const char *rest; /* the address, name or host:port */
    size_t rest_len;
    const char *weight; /* NULL: none */
};

static struct tree_node *add_text(struct args *a, struct tree_node *map, const char *key,
                                  const char *text, size_t len)
{
    return tree_add(a->b->memory, map, key, tree_value(a->b->memory, map, text, len));
}

/* ---- links ---- */

static size_t without_slash(const char *text, size_t len)
{
    return len && text[len - 1] == '/' ? len - 1 : len;
}

/* In a URL an @ may also end user and password. It begins a weight if digits follow and another @
 * or a whole HOST:PORT comes before: a password is never taken for a host, and shown as one. */
static bool is_weight(const struct word *w, const char *at)
{
    struct dp_addr addr;
    size_t before = (size_t)(at - w->rest), digits = strspn(at + 1, "0123456789");
    if (!w->scheme_end)
        return true;
    if (digits == 0 || at[1 + digits] != '\0')
        return false;
    return memchr(w->rest, '@', before) ||
           addr_parse_endpoint(&addr, w->rest, without_slash(w->rest, before)) == 0;
}

static void cut_weight(struct word *w)
{
    const char *at = memrchr(w->rest, '@', w->rest_len);
    if (!at || !is_weight(w, at))
        return;
    w->weight = at + 1;
    w->rest_len = (size_t)(at - w->rest);
}

static void cut_user(struct word *w)
{
    const char *at = memrchr(w->rest, '@', w->rest_len);
    if (!at)
        return;
    w->user = w->rest;
    w->user_len = (size_t)(at - w->rest);
    w->rest_len -= w->user_len + 1;
    w->rest = at + 1;
    const char *colon = memchr(w->user, ':', w->user_len);
    if (!colon)
        return;
    w->password = colon + 1;
    w->password_len = w->user_len - (size_t)(colon + 1 - w->user);
    w->user_len = (size_t)(colon - w->user);
}

static struct word word_cut(const char *text)
{
    struct word w = {.rest = text};
    const char *scheme = strstr(text, "://");
    if (scheme)
        w.rest = w.scheme_end = scheme + 3;
    w.rest_len = strlen(w.rest);
    cut_weight(&w);
    if (!scheme)
        return w;
    cut_user(&w);
    w.rest_len = without_slash(w.rest, w.rest_len);
    return w;
}

/* The word as it may be shown. */
static const char *word_text(const struct args *a, const char *text, const struct word *w)
{
    if (!w->user)
        return memory_text(a->b->memory, text, strlen(text));
    return memory_printf(a->b->memory, "%.*s***@%s", (int)(w->scheme_end - text), text, w->rest);
}

static bool name_taken(const struct args *a, const char *name)
{
    for (size_t i = 0; i < a->links->n; i++)
        if (strcmp(a->links->item[i]->key, name) == 0)
            return true;
    return false;
}

/* Without weight, user and password; with a number behind if the name is taken. */
static const char *link_name(const struct args *a, const char *text, const struct word *w)
{
    int scheme_len = w->scheme_end ? (int)(w->scheme_end - text) : 0, rest_len = (int)w->rest_len;
    char *name = memory_printf(a->b->memory, "%.*s%.*s", scheme_len, text, rest_len, w->rest);
    for (unsigned n = 2; name && name_taken(a, name); n++)
        name = memory_printf(a->b->memory, "%.*s%.*s#%u", scheme_len, text, rest_len, w->rest, n);
    return name;
}

static int hex(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) % 16 : -1;
}

/* Undoes percent-encoding (RFC 3986, section 2.1) in place. Returns the length; -1: it is none, or
 * holds what has no place in a name or password. */
static ssize_t percent_decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        int c = (unsigned char)*in;
        if (c == '%') {
            int high = hex(in[1]), low = high < 0 ? -1 : hex(in[2]);
            if (low < 0)
                return -1;
            c = high * 16 + low;
            in += 2;
        }
        if (c < ' ' || c == 0x7f)
            return -1;
        *out++ = (char)c;
    }
    *out = '\0';
    return out - text;
}

static void add_decoded(struct args *a, struct tree_node *link, const char *key, const char *text,
                        size_t len)
{
    char *copy = len ? memory_text(a->b->memory, text, len) : NULL;
    if (!copy)
        return;
    ssize_t decoded = percent_decode(copy);
    if (decoded < 0)
        conf_error(a->b->errors, link,
                   "%s: a %% stands before two hexadecimal digits, and control characters are not "
                   "allowed",
                   key);
    else
        add_text(a, link, key, copy, (size_t)decoded);
}

/* What the schemes of URLs mean. A name goes to the server in any case, so an `h` says nothing new. */
static const struct scheme {
    const char *text, *dialer, *version; /* NULL: the dialer's default */
} schemes[] = {
    {"socks5://", "socks", NULL},  {"socks5h://", "socks", NULL}, {"socks4://", "socks", "4"},
    {"socks4a://", "socks", "4a"}, {"http://", "http", NULL},
};

/* NULL: no such scheme. */
static const struct scheme *scheme_find(const char *text, const struct word *w)
{
    size_t len = (size_t)(w->scheme_end - text);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strlen(schemes[i].text) == len && strncasecmp(schemes[i].text, text, len) == 0)
            return &schemes[i];
    return NULL;
}

static void add_server(struct args *a, struct tree_node *link, const struct scheme *scheme,
                       const struct word *w)
{
    add_text(a, link, "dialer", scheme->dialer, strlen(scheme->dialer));
    if (scheme->version)
        add_text(a, link, "version", scheme->version, strlen(scheme->version));
    add_text(a, link, "server", w->rest, w->rest_len);
    add_decoded(a, link, "username", w->user, w->user_len);
    add_decoded(a, link, "password", w->password, w->password_len);
}

/* Digits and dots, or a colon: meant as an address. Else the name of an interface. */
static void add_local(struct args *a, struct tree_node *link, const struct word *w)
{
    struct dp_addr addr;
    bool is_addr = addr_parse_ip(&addr, w->rest, w->rest_len) == 0;
    bool wrong = !is_addr && (strspn(w->rest, "0123456789.@") >= w->rest_len ||
                              memchr(w->rest, ':', w->rest_len));
    add_text(a, link, "dialer", "iface", 5);
    if (wrong) {
        conf_error(a->b->errors, link, "\"%.*s\" is not an IP address", (int)w->rest_len, w->rest);
        add_text(a, link, "interface", "lo", 2); /* one mistake is one message */
        return;
    }
    add_text(a, link, is_addr ? "address" : "interface", w->rest, w->rest_len);
}

static void add_link(struct args *a, const char *text)
{
    const struct word w = word_cut(text);
    const struct tree_node at = {.file = word_text(a, text, &w)};
    if (w.rest_len == 0) {
        conf_error(a->b->errors, *text ? &at : NULL,
                   "a link needs an address, an interface or a "
                   "server");
        return;
    }
    const struct scheme *scheme = w.scheme_end ? scheme_find(text, &w) : NULL;
    if (w.scheme_end && (a->line->tunnel || !scheme)) {
        conf_error(a->b->errors, &at,
                   a->line->tunnel ? "with -tunnel a link is HOST:PORT"
                                   : "a URL is socks5://, socks5h://, socks4://, socks4a:// or "
                                     "http:// in this version");
        return;
    }
    struct tree_node *link = tree_new(a->b->memory, &at, TREE_MAP);
    if (!link)
        return;
    if (w.weight)
        add_text(a, link, "weight", w.weight, strlen(w.weight));
    if (scheme || a->line->tunnel)
        add_server(a, link, scheme ? scheme : &schemes[0], &w);
    else
        add_local(a, link, &w);
    tree_close(a->b->memory, a->b->errors, link);
    const char *name = link_name(a, text, &w);
    if (name)
        tree_add(a->b->memory, a->links, name, link);
}

/* ---- the listener ---- */

static const uint8_t *ip_bytes(const struct sockaddr *sa, unsigned *len)
{
    *len = sa->sa_family == AF_INET ? 4 : 16;
    if (sa->sa_family == AF_INET)
        return (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
    return (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
}

static bool is_ip(const struct ifaddrs *i)
{
    return i->ifa_addr && i->ifa_netmask &&
           (i->ifa_addr->sa_family == AF_INET || i->ifa_addr->sa_family == AF_INET6);
}

/* Adds the subnet an interface's address lies in. */
static void add_subnet(struct args *a, struct tree_node *allow, const struct ifaddrs *i)
{
    unsigned len, bits = 0;
    uint8_t net[16];
    const uint8_t *ip = ip_bytes(i->ifa_addr, &len), *mask = ip_bytes(i->ifa_netmask, &len);
    for (unsigned k = 0; k < len; k++) {
        net[k] = ip[k] & mask[k];
        bits += (unsigned)__builtin_popcount(mask[k]);
    }
    struct dp_addr addr;
    char text[ADDR_TEXT];
    addr_from_ip(&addr, i->ifa_addr->sa_family, net, 0);
    const char *subnet = memory_printf(a->b->memory, "%s/%u", addr_ip_text(&addr, text), bits);
    if (subnet)
        add_text(a, allow, NULL, subnet, strlen(subnet));
}

static const char *interface_of(const struct ifaddrs *list, const struct dp_addr *host)
{
    for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
        struct dp_addr addr;
        if (!is_ip(i))
            continue;
        addr_from_sockaddr(&addr, i->ifa_addr, sizeof(struct sockaddr_in6));
        if (addr_same_ip(&addr, host))
            return i->ifa_name;
    }
    return NULL;
}

/* Beyond loopback the user's consent covers the neighbours: the subnets of the interface that has
 * the address, of all interfaces where the address stands for all. The address itself is always in
 * the list, so that it is never empty, which would mean everybody. */
static void add_allow(struct args *a, struct tree_node *listener, const struct dp_addr *host)
{
    char text[ADDR_TEXT];
    struct tree_node *allow = tree_new(a->b->memory, listener, TREE_LIST);
    addr_ip_text(host, text);
    add_text(a, allow, NULL, text, strlen(text));
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) < 0)
        list = NULL;
    const char *name = interface_of(list, host);
    for (const struct ifaddrs *i = list; i; i = i->ifa_next)
        if (is_ip(i) && (addr_is_any(host) || (name && strcmp(name, i->ifa_name) == 0)))
            add_subnet(a, allow, i);
    freeifaddrs(list);
    tree_add(a->b->memory, listener, "allow", allow);
}

static void add_listener(struct args *a, struct tree_node *listeners)
{
    const char *lhost = a->line->lhost ? a->line->lhost : "127.0.0.1";
    struct dp_addr host;
    if (addr_parse_ip(&host, lhost, strlen(lhost)) < 0) {
        conf_error(a->b->errors, NULL, "-lhost %s: an IP address is expected", lhost);
        return;
    }
    struct tree_node *listener = tree_new(a->b->memory, NULL, TREE_MAP);
    bool bare_v6 = addr_family(&host) == AF_INET6 && lhost[0] != '[';
    const char *listen = memory_printf(a->b->memory, "%s%s%s:%u", bare_v6 ? "[" : "", lhost,
                                       bare_v6 ? "]" : "", a->line->lport);
    if (listen)
        add_text(a, listener, "listen", listen, strlen(listen));
    if (a->line->tunnel)
        add_text(a, listener, "protocols", "raw", 3);
    if (!addr_is_loopback(&host))
        add_allow(a, listener, &host);
    tree_close(a->b->memory, a->b->errors, listener);
    tree_add(a->b->memory, listeners, "main", listener);
}

/* ---- the whole ---- */

static struct tree_node *add_section(struct args *a, struct tree_node *root, const char *key)
{
    return tree_add(a->b->memory, root, key, tree_new(a->b->memory, NULL, TREE_MAP));
}

/* There is no file, so there is no plugin folder beside it either. */
static struct tree_node *args_tree(struct args *a)
{
    struct conf_memory *memory = a->b->memory;
    struct tree_node *root = tree_new(memory, NULL, TREE_MAP);
    tree_add(memory, root, "plugin-path", tree_new(memory, NULL, TREE_LIST));
    struct tree_node *listeners = add_section(a, root, "listeners");
    struct tree_node *pools = add_section(a, root, "pools");
    struct tree_node *all = pools ? add_section(a, pools, "all") : NULL;
    a->links = add_section(a, root, "links");
    if (!listeners || !all || !a->links)
        return NULL;
    add_listener(a, listeners);
    add_text(a, all, "balancer", "rr", 2);
    add_text(a, all, "order", "block", 5); /* A A A B B, as go-dispatch-proxy does */
    for (size_t i = 0; i < a->line->n_links; i++)
        add_link(a, a->line->link[i]);
    struct tree_node *const maps[] = {listeners, all, pools, a->links, root};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        tree_close(memory, a->b->errors, maps[i]);
    return memory_failed(memory) ? NULL : root;
}

struct config *config_from_args(const struct conf_command_line *line,
                                const char *const *fallback_path, size_t n_fallback,
                                const struct plugin_source *plugins, struct conf_errors *errors)
{
    struct build b = {.errors = errors, .plugins = plugins, .folder = ".", .any_name = true};
    struct args args = {.b = &b, .line = line};
    if (!build_begin(&b))
        return build_end(&b);
    if (line->n_links == 0) {
        conf_error(errors, NULL, "no links: name at least one address, interface or server");
        return build_end(&b);
    }
    const struct tree_node *root = args_tree(&args);
    if (root && args.links->n > 0) /* none: all of them were mistakes */
        build_config(&b, root, fallback_path, n_fallback);
    return build_end(&b);
}
