/* SPDX-License-Identifier: MIT
 * load.c: the benchmark's load generator: client and server of one run, and its figures as JSON.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bytes.h"
#include "runs.h"

static const char usage[] =
    "usage: load RUN --server ADDRESS:PORT [OPTION]...\n"
    "\n"
    "Opens streams from a client to a server, both of them in this process, and checks every\n"
    "byte that comes. Prints one line of JSON; exits 1 at the first thing that is wrong.\n"
    "\n"
    "  bulk    as much as goes through, on --streams for --seconds\n"
    "  conn    --count connections, --streams at once, --rate a second (0: flat out)\n"
    "  msg     64-byte messages and answers, --rate a second (0: flat out) on --streams\n"
    "  idle    holds as many connections as each of --steps, and waits for a line after each\n"
    "\n"
    "  --server ADDRESS:PORT     the server listens here\n"
    "  --server-ns FILE          in this network namespace\n"
    "  --through ADDRESS:PORT    the client connects here (default: the server)\n"
    "  --socks                   and speaks SOCKS5 there,\n"
    "  --connect                 or asks for a tunnel by HTTP,\n"
    "  --get                     or for documents by plain HTTP, which bulk cannot do\n"
    "  --host NAME               asking for this name, not for the server's address\n"
    "  --body N                  bytes of a document (default 64)\n"
    "  --streams N               connections at once (default 1)\n"
    "  --way down|up|both        of bulk (default down)\n"
    "  --seconds S               of bulk and msg (default 1)\n"
    "  --count N                 of conn (default 1000)\n"
    "  --rate N                  of msg and conn (default 0)\n"
    "  --steps N[,N]...          of idle (default 100)\n"
    "  --patience S              gives up when nothing has moved for so long (default 5)\n";

static void usage_fail(const char *text)
{
    fprintf(stderr, "load: %s\n%s", text, usage);
    exit(2);
}

static struct sockaddr_in address_read(const char *text)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN] = "";
    const char *colon = strchr(text, ':');
    if (colon && (size_t)(colon - text) < sizeof host)
        memcpy(host, text, (size_t)(colon - text));
    unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;
    if (inet_pton(AF_INET, host, &addr.sin_addr) != 1 || port == 0 || port > 65535)
        usage_fail("an address is 192.0.2.1:1080");
    addr.sin_port = htons((uint16_t)port);
    return addr;
}

static double number_read(const char *text, double min, double max)
{
    char *end;
    double n = strtod(text, &end);
    if (end == text || *end || !(n >= min && n <= max))
        usage_fail("a number is out of range");
    return n;
}

static const char *host_read(const char *text)
{
    if (strlen(text) == 0 || strlen(text) > 255)
        usage_fail("a name has 1 to 255 bytes");
    return text;
}

static const char *way_read(const char *text)
{
    if (strcmp(text, "down") != 0 && strcmp(text, "up") != 0 && strcmp(text, "both") != 0)
        usage_fail("--way is down, up or both");
    return text;
}

/* One option of the command line. */
static void option_take(struct plan *plan, int option)
{
    switch (option) {
    case 's':
        plan->server = address_read(optarg);
        break;
    case 'n':
        plan->server_ns = optarg;
        break;
    case 't':
        plan->through = address_read(optarg);
        break;
    case 'S':
        plan->speech = SPEAK_SOCKS;
        break;
    case 'C':
        plan->speech = SPEAK_CONNECT;
        break;
    case 'g':
        plan->speech = SPEAK_GET;
        break;
    case 'H':
        plan->host = host_read(optarg);
        break;
    case 'b':
        plan->body_len = (uint64_t)number_read(optarg, 1, 1e12);
        break;
    case 'c':
        plan->streams = (uint32_t)number_read(optarg, 1, 1000000);
        break;
    case 'w':
        plan->way = way_read(optarg);
        break;
    case 'd':
        plan->seconds = number_read(optarg, 0.01, 3600);
        break;
    case 'N':
        plan->count = (uint64_t)number_read(optarg, 1, 1e9);
        break;
    case 'r':
        plan->rate = (uint64_t)number_read(optarg, 0, 1e7);
        break;
    case 'i':
        plan->steps = optarg;
        break;
    case 'p':
        plan->patience = number_read(optarg, 0.1, 3600);
        break;
    }
}

static struct plan plan_read(int argc, char **argv)
{
    static const struct option options[] = {
        {"server", required_argument, NULL, 's'},
        {"server-ns", required_argument, NULL, 'n'},
        {"through", required_argument, NULL, 't'},
        {"socks", no_argument, NULL, 'S'},
        {"connect", no_argument, NULL, 'C'},
        {"get", no_argument, NULL, 'g'},
        {"host", required_argument, NULL, 'H'},
        {"body", required_argument, NULL, 'b'},
        {"streams", required_argument, NULL, 'c'},
        {"way", required_argument, NULL, 'w'},
        {"seconds", required_argument, NULL, 'd'},
        {"count", required_argument, NULL, 'N'},
        {"rate", required_argument, NULL, 'r'},
        {"steps", required_argument, NULL, 'i'},
        {"patience", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct plan plan = {.streams = 1,
                        .body_len = MESSAGE_LEN,
                        .way = "down",
                        .seconds = 1,
                        .count = 1000,
                        .steps = "100",
                        .patience = 5};
    int c;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c == '?')
            exit(2);
        if (c == 'h') {
            fputs(usage, stdout);
            exit(0);
        }
        option_take(&plan, c);
    }
    if (plan.server.sin_port == 0)
        usage_fail("--server is missing");
    if (plan.through.sin_port == 0)
        plan.through = plan.server;
    return plan;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* Two descriptors a stream. */
static void descriptors_raise(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const struct plan *plan);
    } runs[] = {{"bulk", bulk_run}, {"conn", conn_run}, {"msg", msg_run}, {"idle", idle_run}};

    struct plan plan = plan_read(argc, argv);
    if (optind + 1 != argc)
        usage_fail("one run is wanted");
    if (strcmp(argv[optind], "bulk") == 0 && plan.speech == SPEAK_GET)
        usage_fail("bulk wants streams: --get has none");
    descriptors_raise();
    bytes_init();
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        if (strcmp(argv[optind], runs[i].name) != 0)
            continue;
        runs[i].run(&plan);
        printf(", \"cpu\": %.6f}\n", cpu_seconds());
        return fflush(stdout) == 0 ? 0 : 1;
    }
    usage_fail("there is no such run");
}
