/* SPDX-License-Identifier: MIT
 * options.c: the command line of dispatch-host.
 *
 * Long options take one dash or two, and a value behind `=` or as the next word, as the Go tool's do.
 */
#include "options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PORT 8080

enum {
    OPT_LHOST = 256,
    OPT_LPORT,
    OPT_LIST,
    OPT_TUNNEL,
    OPT_QUIET,
    OPT_AUTO,
    OPT_CHECK,
    OPT_DUMP_CONFIG,
    OPT_LIST_PLUGINS,
    OPT_DUMP_PLUGIN,
    OPT_DANTE_STATE,
    OPT_IMPORT_DANTE,
    OPT_RUN,
    OPT_VERSION,
    OPT_HELP
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"lhost", required_argument, NULL, OPT_LHOST},
    {"lport", required_argument, NULL, OPT_LPORT},
    {"list", optional_argument, NULL, OPT_LIST},
    {"tunnel", optional_argument, NULL, OPT_TUNNEL},
    {"quiet", optional_argument, NULL, OPT_QUIET},
    {"auto", no_argument, NULL, OPT_AUTO},
    {"check", no_argument, NULL, OPT_CHECK},
    {"dump-config", no_argument, NULL, OPT_DUMP_CONFIG},
    {"list-plugins", no_argument, NULL, OPT_LIST_PLUGINS},
    {"dump-plugin", required_argument, NULL, OPT_DUMP_PLUGIN},
    {"dante-state", required_argument, NULL, OPT_DANTE_STATE},
    {"import-dante", required_argument, NULL, OPT_IMPORT_DANTE},
    {"run", no_argument, NULL, OPT_RUN},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

void options_help(FILE *out)
{
    fputs(
        "Usage:\n"
        "  dispatch-host -c FILE                    serve what a YAML file says\n"
        "  dispatch-host [-lhost H] [-lport P] LINK[@WEIGHT]...\n"
        "                                           serve these links, as go-dispatch-proxy does\n"
        "  dispatch-host -tunnel HOST:PORT[@WEIGHT]...\n"
        "                                           pass connections untouched to these proxies\n"
        "  dispatch-host --auto                     find the links: every interface with a way "
        "out\n"
        "  dispatch-host ... --run CMD [ARG...]     run a command by way of these links\n"
        "\n"
        "A LINK is an address of this machine (10.0.0.1), an interface (eth0), or an upstream\n"
        "proxy (socks5:// or http://[user:password@]host:port, socks4a:// or socks4://host:port).\n"
        "\n"
        "  -c, --config FILE    the configuration, see dispatch.yaml(5)\n"
        "  -lhost HOST          listen on this address (default 127.0.0.1)\n"
        "  -lport PORT          listen on this port (default 8080)\n"
        "  -list                print the addresses that can be used as links\n"
        "  -tunnel              the links are proxies the clients speak to themselves\n"
        "  -q, -quiet           after the start, print errors only\n"
        "  -v                   print more: each connection's end, plugins loaded\n"
        "      --auto           use every interface that is up and has a default route\n"
        "      --check          check the configuration, and do nothing else\n"
        "      --dump-config    print the configuration in use, with all defaults\n"
        "      --list-plugins   print the plugins that are there\n"
        "      --dump-plugin NAME\n"
        "                       print a plugin's options (NAME as in dialer-socks)\n"
        "      --dante-state FILE\n"
        "                       print what dispatch-dante in a danted does, see dispatch-dante(8)\n"
        "      --import-dante FILE\n"
        "                       print what a danted.conf is as a configuration\n"
        "      --run CMD [ARG...]\n"
        "                       run a command by way of the proxy, and end with it\n"
        "      --version        print the version\n"
        "  -h, --help           print this\n"
        "\n"
        "Without any: " DISPATCH_SYSCONF_FILE " if there is one, else --auto.\n"
        "Exit status: 0 ended as asked, 1 failure, 2 usage, 78 configuration; with --run CMD's.\n",
        out);
}

static int usage(const char *text, const char *word)
{
    fprintf(stderr, "dispatch-host: %s%s\nTry: dispatch-host --help\n", text, word);
    return 2;
}

/* `-quiet` or `-quiet=true`; returns -1 for any other value. */
static int flag_value(const char *value)
{
    if (!value || strcmp(value, "true") == 0 || strcmp(value, "1") == 0)
        return 1;
    return strcmp(value, "false") == 0 || strcmp(value, "0") == 0 ? 0 : -1;
}

static int flag_set(const char *name, const char *value, bool *flag)
{
    int v = flag_value(value);
    if (v < 0)
        return usage("true or false is meant for ", name);
    *flag = v;
    return 0;
}

static int port_set(struct options *o, const char *value)
{
    char *end;
    long port = strtol(value, &end, 10);
    if (end == value || *end || port < 1 || port > 65535)
        return usage("-lport needs a port from 1 to 65535, not ", value);
    o->words.lport = (uint16_t)port;
    return 0;
}

static int list_set(struct options *o, const char *value)
{
    bool list = false;
    int bad = flag_set("-list", value, &list);
    if (list)
        o->action = ACTION_LIST_ADDRESSES;
    return bad;
}

static int option_take(struct options *o, int option, bool *automatic)
{
    switch (option) {
    case 'c':
        o->source = FROM_FILE;
        o->file = optarg;
        return 0;
    case OPT_LHOST:
        o->words.lhost = optarg;
        o->lhost_given = true;
        return 0;
    case OPT_LPORT:
        return port_set(o, optarg);
    case OPT_LIST:
        return list_set(o, optarg);
    case OPT_TUNNEL:
        return flag_set("-tunnel", optarg, &o->words.tunnel);
    case 'q':
    case OPT_QUIET:
        return flag_set("-quiet", optarg, &o->quiet);
    case 'v':
        o->verbose = true;
        return 0;
    case OPT_AUTO:
        *automatic = true;
        return 0;
    case OPT_CHECK:
        o->action = ACTION_CHECK;
        return 0;
    case OPT_DUMP_CONFIG:
        o->action = ACTION_DUMP_CONFIG;
        return 0;
    case OPT_LIST_PLUGINS:
        o->action = ACTION_LIST_PLUGINS;
        return 0;
    case OPT_DUMP_PLUGIN:
        o->action = ACTION_DUMP_PLUGIN;
        o->plugin = optarg;
        return 0;
    case OPT_DANTE_STATE:
        o->action = ACTION_DANTE_STATE;
        o->dante_state = optarg;
        return 0;
    case OPT_IMPORT_DANTE:
        o->action = ACTION_IMPORT_DANTE;
        o->dante = optarg;
        return 0;
    case OPT_VERSION:
        o->action = ACTION_VERSION;
        return 0;
    case 'h':
    case OPT_HELP:
        o->action = ACTION_HELP;
        return 0;
    default:
        fputs("Try: dispatch-host --help\n", stderr); /* getopt has said what is wrong */
        return 2;
    }
}

/* The words behind --run are the command's: getopt is not to see them. */
static int command_take(struct options *o, int *argc, char **argv)
{
    if (optind == *argc)
        return usage("--run needs a command", "");
    o->command = argv + optind;
    *argc = optind;
    return 0;
}

static int command_check(const struct options *o)
{
    if (o->command && o->action != ACTION_SERVE)
        return usage("--run runs a command: leave out options that only print something", "");
    if (o->command && (o->lhost_given || o->words.lport))
        return usage("--run listens on a free port of its own: leave out -lhost and -lport", "");
    return 0;
}

/* A file, words, or neither: one of them says where the configuration comes from. */
static int source_settle(struct options *o, bool automatic)
{
    bool words = o->words.n_links > 0 || o->words.tunnel;
    if (o->file && (words || automatic || o->lhost_given || o->words.lport))
        return usage("-c FILE says it all: leave out links, -lhost, -lport, -tunnel and --auto",
                     "");
    if (automatic && words)
        return usage("--auto finds the links itself: leave out ", "links and -tunnel");
    bool used = o->action <= ACTION_DUMP_CONFIG; /* the others print something else */
    if (used && o->words.tunnel && o->words.n_links == 0)
        return usage("-tunnel needs at least one HOST:PORT", "");
    if (o->file)
        return 0;
    bool plain = !automatic && !o->lhost_given && !o->words.lport;
    if (words) {
        o->source = FROM_WORDS;
    } else if (plain && access(DISPATCH_SYSCONF_FILE, F_OK) == 0) {
        o->source = FROM_FILE;
        o->file = DISPATCH_SYSCONF_FILE;
    } else {
        o->source = FROM_AUTO;
    }
    if (!o->words.lport)
        o->words.lport = DEFAULT_PORT;
    return 0;
}

int options_parse(struct options *o, int argc, char **argv)
{
    bool automatic = false;
    int option;
    static char name[] = "dispatch-host"; /* what getopt's messages begin with */
    *o = (struct options){.action = ACTION_SERVE, .argv = argv};
    argv[0] = name;
    while ((option = getopt_long_only(argc, argv, "c:qvh", long_options, NULL)) != -1) {
        int bad =
            option == OPT_RUN ? command_take(o, &argc, argv) : option_take(o, option, &automatic);
        if (bad)
            return bad;
    }
    o->words.link = (const char *const *)argv + optind;
    o->words.n_links = (size_t)(argc - optind);
    int bad = command_check(o);
    return bad ? bad : source_settle(o, automatic);
}
