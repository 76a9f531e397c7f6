/* SPDX-License-Identifier: MIT
 * listen.c: the keys `listen` and `mode`: an address, a unix socket, or one that the service manager
 * has opened.
 */
#include "config/build.h"
#include "config/type.h"

#include <string.h>

#define DEFAULT "127.0.0.1:8080"
#define UNIX "unix:"
#define HANDED "fd:"
#define HANDED_MAX 255 /* sd_listen_fds_with_names(3) */

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool listen_unix(const struct option_scope *scope, const struct tree_node *node,
                        struct dp_addr *listen)
{
    const char *path = node->text + strlen(UNIX);
    if (*path == '@') {
        option_error(scope, node, "listen",
                     "a name without a file (@...) is anybody's to connect to: give a path; "
                     "./@... is a file");
        return false;
    }
    if (*path && strlen(node->text) == node->len)
        path = option_path(scope, path);
    if (path && *path && addr_from_path(listen, path) == 0)
        return true;
    option_error(scope, node, "listen",
                 "a path of 1 to %d bytes is expected, as unix:/run/dispatch/main.sock",
                 ADDR_PATH_MAX);
    return false;
}

static bool listen_handed(const struct option_scope *scope, const struct tree_node *node,
                          struct conf_listener *listener)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@";
    const char *name = node->text + strlen(HANDED);
    size_t len = node->len - strlen(HANDED);
    bool sound = len > 0 && len <= HANDED_MAX && strspn(name, letters) == len;
    if (sound)
        listener->handed = name;
    else
        option_error(scope, node, "listen",
                     "the name or number of a socket is expected, as fd:web or fd:3");
    return sound;
}

static bool listen_on(const struct option_scope *scope, struct conf_listener *listener)
{
    static const struct dp_opt endpoint = {.type = DP_ENDPOINT};
    const struct tree_node *node = tree_find(scope->map, "listen");
    if (!node)
        return addr_parse_endpoint(&listener->listen, DEFAULT, strlen(DEFAULT)) == 0;
    if (node->kind == TREE_VALUE && starts_with(node->text, UNIX))
        return listen_unix(scope, node, &listener->listen);
    if (node->kind == TREE_VALUE && starts_with(node->text, HANDED))
        return listen_handed(scope, node, listener);
    const struct type_value v = {scope, &endpoint, "listen", node};
    if (!type_find(DP_ENDPOINT)->parse(&v, &listener->listen))
        return false;
    if (!listener->listen.salen)
        option_error(scope, node, "listen",
                     "an address is expected, not a name, as 127.0.0.1:8080");
    return listener->listen.salen;
}

/* `0660`, in octal digits as chmod(1) has them. */
static void listen_mode(const struct option_scope *scope, const struct dp_str *text,
                        struct conf_listener *listener)
{
    const struct tree_node *node = tree_find(scope->map, "mode");
    uint32_t mode = 0;
    if (!text->p)
        return;
    for (uint32_t i = 0; i < text->len; i++)
        mode = mode * 8 + (uint32_t)(text->p[i] - '0');
    bool octal = strspn(text->p, "01234567") == text->len;
    if (!conf_listens_unix(listener))
        option_error(scope, node, "mode", "is for unix sockets, as listen: unix:/run/x.sock");
    else if (text->len < 3 || text->len > 4 || !octal || mode == 0 || mode > 0777)
        option_error(scope, node, "mode", "permissions of a file are expected, as 0660");
    else
        listener->mode = mode;
}

bool build_listen(const struct option_scope *scope, const struct dp_str *mode,
                  struct conf_listener *listener)
{
    if (!listen_on(scope, listener))
        return false;
    listen_mode(scope, mode, listener);
    return true;
}
