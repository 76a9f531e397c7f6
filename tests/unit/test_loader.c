/* SPDX-License-Identifier: MIT
 * test_loader.c: plugins found, trusted, checked and made to work: the built ones of tests/compat,
 * copied into folders of the test's own, and descriptions made by hand.
 */
#include "base/log.h"
#include "plugin/check.h"
#include "plugin/instance.h"
#include "plugin/loader.h"
#include "plugin/note.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

/* ---- folders ---- */

static char top[] = "/tmp/dispatch-loader.XXXXXX";
static char first[PATH_MAX], second[PATH_MAX];

static void copy(const char *from, const char *to)
{
    static char buf[1 << 22];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    cr_assert(in >= 0, "%s is not built", from);
    cr_assert(out >= 0, "%s", to);
    for (ssize_t n; (n = read(in, buf, sizeof buf)) > 0;)
        cr_assert(eq(i64, write(out, buf, (size_t)n), n));
    close(in);
    close(out);
}

static const char *in(const char *folder, const char *file)
{
    static char path[4][PATH_MAX + 100];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, file);
    return p;
}

/* Puts a plugin of tests/compat into a folder, perhaps under another name. */
static const char *put(const char *file, const char *folder, const char *as)
{
    char from[PATH_MAX];
    const char *build = getenv("BUILDDIR");
    snprintf(from, sizeof from, "%s/tests/compat/.libs/%s", build ? build : ".", file);
    copy(from, in(folder, as));
    return in(folder, as);
}

static void folders_make(void)
{
    umask(022);
    cr_assert(mkdtemp(top) != NULL);
    snprintf(first, sizeof first, "%s/first", top);
    snprintf(second, sizeof second, "%s/second", top);
    mkdir(first, 0755);
    mkdir(second, 0755);
    log_set_level(LOG_ERROR);
}

static void folders_remove(void)
{
    char command[PATH_MAX + 20];
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    cr_assert(eq(int, system(command), 0));
}

TestSuite(loader, .init = folders_make, .fini = folders_remove);

static char why[1000];

static const struct dp_plugin *find(uint32_t kind, const char *name)
{
    const char *path[] = {first, second};
    why[0] = '\0';
    return loader_source.find(loader_source.ctx, kind, name, path, 2, why, sizeof why);
}

static void expect_refused(const char *name, const char *text)
{
    cr_expect(find(DP_BALANCER, name) == NULL, "%s", name);
    cr_expect(strstr(why, text) != NULL, "%s: \"%s\", not \"%s\"", name, why, text);
    cr_expect(strchr(why, '\n') == NULL, "%s: one line", name);
}

/* ---- what is refused, and why ---- */

Test(loader, each_fault_has_its_sentence)
{
    static const struct {
        const char *name, *text;
    } table[] = {
        {"bad-abi", "it was built for plugin ABI 99 and this host has ABI 1"},
        {"bad-kind", "its file name says balancer, but it is not one"},
        {"bad-name", "it calls itself \"another\": its file name must say the same"},
        {"bad-size", "its dp_plugin is incomplete"},
        {"bad-opt-size", "its option table is broken"},
        {"bad-opt-type", "its option \"number\" needs a newer host"},
        {"bad-opt-offset", "its option \"number\" does not fit its conf"},
        {"bad-null-op", "it has no pick()"},
        {"bad-unresolved", "nobody_has_this_function"},
        {"bad-symbol", "is not a dispatch plugin: it has no object dp_plugin"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        char file[100];
        snprintf(file, sizeof file, "balancer-%s.so", table[i].name);
        const char *path = put(file, first, file);
        expect_refused(table[i].name, table[i].text);
        cr_expect(strstr(why, path) != NULL, "the path is told: %s", why);
        expect_refused(table[i].name, table[i].text); /* the second time too */
    }
}

Test(loader, what_is_no_plugin_file)
{
    FILE *f = fopen(in(first, "balancer-text.so"), "w");
    fputs("this is not a shared object\n", f);
    fclose(f);
    close(open(in(first, "balancer-empty.so"), O_CREAT | O_WRONLY, 0644));
    mkdir(in(first, "balancer-folder.so"), 0755);
    mkfifo(in(first, "balancer-fifo.so"), 0644);
    cr_assert(eq(int, symlink("nowhere", in(first, "balancer-dangling.so")), 0));
    put("balancer-old.so", second, "balancer-text.so");

    expect_refused("text", "balancer-text.so"); /* the first folder wins, though it is broken */
    expect_refused("empty", "balancer-empty.so");
    expect_refused("folder", "balancer-folder.so is not a file");
    expect_refused("fifo", "balancer-fifo.so is not a file");
    expect_refused("dangling", "No such file");
    expect_refused("no-such", "no file balancer-no-such.so in ");
    cr_expect(strstr(why, first) && strstr(why, second), "both folders: %s", why);
    expect_refused("", "a plugin's name is not empty");
    expect_refused("../first/balancer-old", "has no slash");
    put("dialer-old.so", first, "dialer-old.so");
    expect_refused("old", "no file balancer-old.so in ");

    char long_name[5000];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    cr_expect(find(DP_BALANCER, long_name) == NULL);
    cr_expect(why[0] != '\0', "a reason, cut to fit");
}

Test(loader, who_could_have_written_it)
{
    static const struct {
        mode_t folder, file;
        bool taken;
    } table[] = {
        {0755, 0644, true},   {0700, 0400, true},   {0755, 0755, true},  {0755, 0664, false},
        {0755, 0646, false},  {0755, 0666, false},  {0775, 0644, false}, {0757, 0644, false},
        {01777, 0644, false}, {02755, 04755, true},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        char folder[PATH_MAX + 20];
        snprintf(folder, sizeof folder, "%s/modes%zu", top, i);
        const char *path[] = {folder};
        mkdir(folder, 0755);
        const char *file = put("balancer-old.so", folder, "balancer-old.so");
        chmod(file, table[i].file);
        chmod(folder, table[i].folder);
        bool taken = loader_source.find(NULL, DP_BALANCER, "old", path, 1, why, sizeof why) != NULL;
        cr_expect(eq(int, taken, table[i].taken), "%o/%o: %s", table[i].folder, table[i].file, why);
        cr_expect(taken || strstr(why, "can be written by others"), "%s", why);
        cr_expect(taken || strstr(why, table[i].folder & 022 ? folder : file), "which: %s", why);
    }
    if (geteuid() != 0)
        return;
    const char *file = put("balancer-old.so", first, "balancer-old.so");
    cr_assert(eq(int, chown(file, 12345, 0), 0));
    expect_refused("old", "belongs to another user (uid 12345)");
    cr_assert(eq(int, chown(file, 0, 0) | chown(first, 12345, 0), 0));
    expect_refused("old", "belongs to another user (uid 12345)");
    cr_assert(eq(int, chown(first, 0, 12345), 0));
    cr_expect(find(DP_BALANCER, "old") != NULL, "a group that may not write: %s", why);
}

/* ---- what is taken ---- */

Test(loader, the_first_folder_wins_and_twice_is_once)
{
    put("balancer-old.so", second, "balancer-old.so");
    const struct dp_plugin *in_second = find(DP_BALANCER, "old");
    put("balancer-old.so", first, "balancer-old.so");
    const struct dp_plugin *in_first = find(DP_BALANCER, "old");
    cr_assert(in_first != NULL && in_second != NULL);
    cr_expect(in_first != in_second);
    cr_expect(eq(ptr, (void *)find(DP_BALANCER, "old"), (void *)in_first));
    const char *file = in(first, "balancer-old.so");
    rename(put("balancer-new.so", first, "other"), file); /* replaced: not before the next start */
    cr_expect(eq(ptr, (void *)find(DP_BALANCER, "old"), (void *)in_first));
    unlink(file);
    cr_expect(eq(ptr, (void *)find(DP_BALANCER, "old"), (void *)in_second));
}

Test(loader, older_and_newer_headers)
{
    put("balancer-old.so", first, "balancer-old.so");
    put("balancer-new.so", first, "balancer-new.so");
    put("dialer-old.so", first, "dialer-old.so");
    const struct dp_plugin *old = find(DP_BALANCER, "old"), *new = find(DP_BALANCER, "new"),
                           *dialer = find(DP_DIALER, "old");
    cr_assert(old && new &&dialer);

    const struct dp_balancer_ops *ops = old->ops;
    cr_expect(ops->create && ops->pick, "it keeps what it had");
    cr_expect(ops->done == NULL, "and has not what came later");
    const struct dp_dialer_ops *dialer_ops = dialer->ops;
    cr_expect(dialer_ops->prepare != NULL);
    cr_expect(not(dialer_ops->hop || dialer_ops->start || dialer_ops->step || dialer_ops->end));

    cr_expect(new->opt_size > sizeof(struct dp_opt), "its rows are longer");
    const struct dp_opt *row = (const struct dp_opt *)((const char *)new->opts + new->opt_size);
    cr_expect(eq(str, (char *)row->name, "first"));
}

/* ---- instances ---- */

static struct config config = {.refs = 1000};

static struct instance *instance(const struct dp_plugin *plugin, const void *conf,
                                 struct trash *trash, struct conf_errors *errors)
{
    struct conf_instance ci = {.plugin = plugin, .conf = conf};
    return instance_new(&config, &ci, plugin->kind == DP_DIALER ? "link" : "pool", "mine", trash,
                        errors);
}

Test(loader, instances_that_refuse)
{
    static const struct {
        uint32_t kind;
        const char *name, *text;
    } table[] = {
        {DP_BALANCER, "bad-create", "pool \"mine\": number: this number brings bad luck"},
        {DP_BALANCER, "bad-silent-create", "refused to start and gave no reason"},
        {DP_DIALER, "bad-cap", "needs a newer host"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        char file[100];
        struct trash trash = {0};
        struct conf_errors errors = {0};
        uint32_t number = 13;
        snprintf(file, sizeof file, "%s-%s.so", table[i].kind == DP_DIALER ? "dialer" : "balancer",
                 table[i].name);
        put(file, first, file);
        const struct dp_plugin *plugin = find(table[i].kind, table[i].name);
        cr_assert(plugin != NULL, "%s", why);
        cr_expect(eq(ptr, instance(plugin, &number, &trash, &errors), NULL));
        cr_assert(eq(sz, errors.n, 1), "%s", file);
        cr_expect(strstr(errors.line[0], table[i].text) != NULL, "%s", errors.line[0]);
        trash_empty(&trash);
        conf_errors_free(&errors);
        cr_expect(eq(u32, config.refs, 1000), "it lets go of the configuration");
    }
}

static const struct dp_host *seen_host;
static unsigned destroyed;

static int spy_create(const struct dp_host *host, const void *conf, void **self)
{
    seen_host = host;
    *self = (void *)conf;
    return DP_OK;
}

static void spy_destroy(void *self)
{
    destroyed += self != NULL;
}

static uint32_t spy_pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    (void)pool, (void)flow, (void)seen;
    return 0;
}

static struct dp_balancer_ops spy_ops = {
    .create = spy_create, .destroy = spy_destroy, .pick = spy_pick};
static struct dp_plugin spy = {.size = sizeof spy,
                               .abi = DP_ABI,
                               .kind = DP_BALANCER,
                               .ops_size = sizeof spy_ops,
                               .name = "spy",
                               .version = "1",
                               .summary = "looks around",
                               .ops = &spy_ops};

/* Standard error into text until `release`. */
static int stderr_was = -1, captured = -1;

static void capture(void)
{
    int fd[2];
    cr_assert(eq(int, pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0));
    stderr_was = dup(STDERR_FILENO);
    dup2(fd[1], STDERR_FILENO);
    close(fd[1]);
    captured = fd[0];
}

static void release(char *text, size_t size)
{
    dup2(stderr_was, STDERR_FILENO);
    close(stderr_was);
    ssize_t n = read(captured, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    close(captured);
}

Test(loader, what_an_instance_is_given)
{
    struct trash trash = {0};
    struct conf_errors errors = {0};
    uint32_t conf = 1;
    char text[4096], name[] = "mine";
    log_set_level(LOG_INFO);
    struct conf_instance ci = {.plugin = &spy, .conf = &conf};
    struct instance *i = instance_new(&config, &ci, "pool", name, &trash, &errors);
    cr_assert(i != NULL);
    memset(name, 'x', 4); /* it has a copy */
    cr_expect(eq(str, (char *)seen_host->name, "mine"));
    cr_expect(eq(u32, seen_host->abi, DP_ABI));
    cr_expect(eq(u32, seen_host->size, sizeof *seen_host));
    cr_expect(eq(str, (char *)seen_host->version, PACKAGE_VERSION));
    cr_expect(eq(ptr, i->self, &conf));

    capture();
    dp_logf(seen_host, DP_LOG_WARN, "%s\n%d", "two lines", 1);
    seen_host->log(seen_host, DP_LOG_DEBUG, "not wanted");
    seen_host->log(seen_host, 99, "an odd level");
    seen_host->log(seen_host, DP_LOG_ERROR, "100%s");
    release(text, sizeof text);
    cr_expect(eq(int, strncmp(text, "warn mine: two lines", 20), 0), "%s", text);
    cr_expect(strstr(text, "info mine: an odd level\nerror mine: 100%s\n") != NULL, "%s", text);
    cr_expect(strstr(text, "not wanted") == NULL);

    cr_expect(seen_host->fail(seen_host, "x", "too late") < 0, "outside create() it only fails");
    cr_expect(eq(sz, errors.n, 0));
    ref_drop(&i->ref);
    cr_expect(eq(u32, destroyed, 0));
    trash_empty(&trash);
    cr_expect(eq(u32, destroyed, 1));
    cr_expect(eq(u32, config.refs, 1000));
}

/* What is written down before a plugin is called, so that a crash in it can be told. */
Test(loader, notes)
{
    char note[PLUGIN_NOTE_MAX] = "", note_was[PLUGIN_NOTE_MAX];
    struct trash trash = {0};
    struct conf_errors errors = {0};
    plugin_note_to(note);
    const char *file = put("balancer-old.so", first, "balancer-old.so");
    const struct dp_plugin *plugin = find(DP_BALANCER, "old");
    cr_assert(plugin != NULL);
    cr_expect(strstr(note, file) != NULL, "%s", note);
    struct instance *i = instance(plugin, NULL, &trash, &errors);
    cr_assert(i != NULL);
    cr_expect(strstr(note, "create() of pool \"mine\"") != NULL, "%s", note);
    memcpy(note_was, note, sizeof note);
    plugin_note_to(NULL);
    plugin_note("%s", "nowhere");
    cr_expect(eq(str, note, note_was));
    ref_drop(&i->ref);
    trash_empty(&trash);
}

/* ---- descriptions made by hand ---- */

static int d_prepare(const void *self, int fd, int family, int type, struct dp_addr *local)
{
    (void)self, (void)fd, (void)family, (void)type, (void)local;
    return DP_OK;
}
static int d_hop(const void *self, struct dp_addr *addr)
{
    (void)self, (void)addr;
    return DP_OK;
}
static int d_start(const void *self, void *dial, const struct dp_dial_req *req,
                   struct dp_want *want, struct dp_conn *conn)
{
    (void)self, (void)dial, (void)req, (void)want, (void)conn;
    return DP_OK;
}
static int d_step(void *dial, struct dp_want *want, struct dp_conn *conn)
{
    (void)dial, (void)want, (void)conn;
    return DP_OK;
}
static int b_build(const void *self, const struct dp_view *view, void **picker)
{
    (void)self, (void)view, (void)picker;
    return DP_OK;
}

Test(loader, shapes_of_dialers)
{
    enum { PREPARE = 1, HOP = 2, START = 4, STEP = 8, END = 16, CREATE = 32 };
    for (int bits = 0; bits < 64; bits++) {
        struct dp_dialer_ops ops = {.create = bits & CREATE ? spy_create : NULL,
                                    .prepare = bits & PREPARE ? d_prepare : NULL,
                                    .hop = bits & HOP ? d_hop : NULL,
                                    .start = bits & START ? d_start : NULL,
                                    .step = bits & STEP ? d_step : NULL,
                                    .end = bits & END ? spy_destroy : NULL};
        struct dp_plugin p = spy;
        p.kind = DP_DIALER;
        p.ops = &ops;
        int shape = bits & (PREPARE | HOP | START | STEP);
        bool fits = shape == PREPARE || shape == (HOP | START | STEP) ||
                    (shape == (START | STEP) && bits & END);
        bool taken = plugin_check_body(&p, why, sizeof why) == 0;
        cr_expect(eq(int, taken, fits &&bits &CREATE), "%#x: %s", (unsigned)bits, why);
    }
}

Test(loader, parts_of_a_balancer)
{
    enum { CREATE = 1, PICK = 2, BUILD = 4, DROP = 8 };
    for (int bits = 0; bits < 16; bits++) {
        struct dp_balancer_ops ops = {.create = bits & CREATE ? spy_create : NULL,
                                      .pick = bits & PICK ? spy_pick : NULL,
                                      .build = bits & BUILD ? b_build : NULL,
                                      .drop = bits & DROP ? spy_destroy : NULL};
        struct dp_plugin p = spy;
        p.ops = &ops;
        bool fits = bits & CREATE && bits & PICK && !(bits & BUILD) == !(bits & DROP);
        cr_expect(eq(int, plugin_check_body(&p, why, sizeof why) == 0, fits), "%d", bits);
    }
}

Test(loader, sizes_beyond_reason)
{
    const struct dp_dialer_ops dial = {
        .create = spy_create, .dial_size = UINT32_MAX, .prepare = d_prepare};
    const struct dp_balancer_ops pool = {
        .create = spy_create, .pick = spy_pick, .pool_state = UINT32_MAX};
    const struct dp_balancer_ops slot = {
        .create = spy_create, .pick = spy_pick, .slot_state = UINT32_MAX};
    struct dp_plugin p = spy;
    p.kind = DP_DIALER;
    p.ops = &dial;
    cr_expect(eq(int, plugin_check_body(&p, why, sizeof why), -1), "dial_size");
    p.kind = DP_BALANCER;
    p.ops = &pool;
    cr_expect(eq(int, plugin_check_body(&p, why, sizeof why), -1), "pool_state");
    p.ops = &slot;
    cr_expect(eq(int, plugin_check_body(&p, why, sizeof why), -1), "slot_state");
    p.ops = &spy_ops;
    cr_expect(eq(int, plugin_check_body(&p, why, sizeof why), 0));
    p.conf_size = UINT32_MAX;
    cr_expect(eq(int, plugin_check_body(&p, why, sizeof why), -1), "conf_size without options");
}

Test(loader, option_tables)
{
    static const struct dp_opt good = {
        .name = "number", .type = DP_U32, .offset = 4, .help = "any number"};
    struct {
        const char *what;
        struct dp_opt opt;
        uint32_t n, size, conf_size;
        bool null, fits;
    } table[] = {
        {"as it should be", good, 1, sizeof good, 8, false, true},
        {"no table", good, 1, sizeof good, 8, true, false},
        {"too many", good, 100000, sizeof good, 8, false, false},
        {"short rows", good, 1, sizeof good - 1, 8, false, false},
        {"no rows", good, 1, 0, 8, false, false},
        {"huge conf", good, 1, sizeof good, UINT32_MAX, false, false},
        {"conf too short", good, 1, sizeof good, 7, false, false},
        {"no conf", good, 1, sizeof good, 0, false, false},
        {"no name", good, 1, sizeof good, 8, false, false},
        {"no help", good, 1, sizeof good, 8, false, false},
        {"type 0", good, 1, sizeof good, 8, false, false},
        {"type 12", good, 1, sizeof good, 8, false, false},
        {"type of all bits", good, 1, sizeof good, 8, false, false},
        {"a flag of the future", good, 1, sizeof good, 8, false, false},
        {"offset past the end", good, 1, sizeof good, 8, false, false},
        {"an offset that wraps", good, 1, sizeof good, 8, false, false},
        {"an enum without choices", good, 1, sizeof good, 8, false, false},
        {"an address in 8 bytes", good, 1, sizeof good, 8, false, false},
        {"a number askew", good, 1, sizeof good, 8, false, false},
    };
    table[8].opt.name = NULL;
    table[9].opt.help = NULL;
    table[10].opt.type = 0;
    table[11].opt.type = DP_LIST + 1;
    table[12].opt.type = UINT32_MAX;
    table[13].opt.flags = 2;
    table[14].opt.offset = 5;
    table[15].opt.offset = UINT32_MAX - 1;
    table[16].opt.type = DP_ENUM;
    table[17].opt.type = DP_ADDRESS;
    table[18].opt.offset = 1;
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct dp_plugin p = spy;
        p.opts = table[i].null ? NULL : &table[i].opt;
        p.n_opts = table[i].n;
        p.opt_size = table[i].size;
        p.conf_size = table[i].conf_size;
        why[0] = '\0';
        int result = plugin_check_body(&p, why, sizeof why);
        cr_expect(eq(int, result, table[i].fits ? 0 : -1), "%s", table[i].what);
        cr_expect(eq(int, why[0] == '\0', table[i].fits), "%s: %s", table[i].what, why);
    }
}

/* ---- lists ---- */

Test(loader, the_fallback_path)
{
    setenv("DISPATCH_PLUGIN_PATH", "/one::/two/three:", 1);
    const char *const *path, *const *again;
    size_t n = loader_fallback_path(&path);
    cr_assert(eq(sz, n, 3));
    cr_expect(eq(str, (char *)path[0], "/one"));
    cr_expect(eq(str, (char *)path[1], "/two/three"));
    cr_expect(eq(str, (char *)path[2], DISPATCH_PLUGINDIR));
    cr_expect(eq(sz, loader_fallback_path(&again), n));
    cr_expect(eq(ptr, (void *)again, (void *)path));
}

Test(loader, list)
{
    const char *path[] = {first, second, "/nowhere"};
    char *text = NULL;
    size_t size;
    put("balancer-old.so", first, "balancer-old.so");
    put("dialer-old.so", first, "dialer-old.so");
    put("balancer-bad-abi.so", first, "balancer-bad-abi.so");
    put("balancer-old.so", first, "balancer-old.so.bak");
    put("balancer-old.so", first, ".balancer-old.so");
    put("balancer-old.so", first, "balancer-.so");
    put("balancer-old.so", first, "libother.so");
    put("balancer-new.so", second, "balancer-new.so");
    FILE *out = open_memstream(&text, &size);
    int bad = loader_list(path, 3, out);
    fclose(out);
    cr_expect(eq(int, bad, 1));
    int lines = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    cr_expect(eq(int, lines, 4), "%s", text);
    cr_expect(strstr(text, "balancer  bad-abi") != NULL, "%s", text);
    cr_expect(strstr(text, "plugin ABI 99") != NULL, "%s", text);
    cr_expect(strstr(text, in(second, "balancer-new.so")) != NULL, "%s", text);
    cr_expect(strstr(text, "from an address (test)") != NULL, "%s", text);
    free(text);
}
