/* SPDX-License-Identifier: MIT
 * loader.c: plugins found in folders, checked, and loaded once for the life of the process.
 *
 * What a plugin hands over is copied into structs of this host's size, the tail zeroed, so that the
 * rest of the host never has to ask which header a plugin was built with.
 */
#include "plugin/loader.h"
#include "base/log.h"
#include "plugin/check.h"
#include "plugin/note.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

struct loaded {
    struct loaded *next;
    char *path;
    dev_t dev;
    ino_t ino;
    struct timespec mtime;
    struct dp_plugin plugin;
    union {
        struct dp_dialer_ops dialer;
        struct dp_balancer_ops balancer;
    } ops;
};

static struct loaded *loaded_list; /* [main] */

static const char *kind_name(uint32_t kind)
{
    return kind == DP_DIALER ? "dialer" : "balancer";
}

/* Is `path` (the plugin's file or its folder) root's or ours, and writable by nobody else? Code from
 * it will run as us. */
static int trust_check(const char *plugin, const char *path, const struct stat *st, char *why,
                       size_t why_len)
{
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        snprintf(why, why_len, "%s is not loaded: %s belongs to another user (uid %u)", plugin,
                 path, (unsigned)st->st_uid);
        return -1;
    }
    if (st->st_mode & (S_IWGRP | S_IWOTH)) {
        snprintf(why, why_len, "%s is not loaded: %s can be written by others: chmod go-w %s",
                 plugin, path, path);
        return -1;
    }
    return 0;
}

static int file_check(const char *folder, const char *path, struct stat *st, char *why,
                      size_t why_len)
{
    struct stat folder_st;
    if (stat(folder, &folder_st) < 0 || stat(path, st) < 0) {
        snprintf(why, why_len, "%s: %s", path, strerror(errno));
        return -1;
    }
    if (!S_ISREG(st->st_mode)) {
        snprintf(why, why_len, "%s is not a file", path);
        return -1;
    }
    if (trust_check(path, folder, &folder_st, why, why_len) < 0 ||
        trust_check(path, path, st, why, why_len) < 0)
        return -1;
    /* A link's target can be replaced by whoever may write where it lies. */
    char real[PATH_MAX];
    if (!realpath(path, real) || stat(dirname(real), &folder_st) < 0) {
        snprintf(why, why_len, "%s: %s", path, strerror(errno));
        return -1;
    }
    return trust_check(path, real, &folder_st, why, why_len);
}

static struct loaded *loaded_find(const char *path, const struct stat *st)
{
    for (struct loaded *l = loaded_list; l; l = l->next) {
        if (strcmp(l->path, path) != 0)
            continue;
        if (l->dev != st->st_dev || l->ino != st->st_ino || l->mtime.tv_sec != st->st_mtim.tv_sec ||
            l->mtime.tv_nsec != st->st_mtim.tv_nsec)
            log_line(LOG_WARN, "plugin",
                     "%s has been replaced: the loaded one stays in use until "
                     "the next start",
                     path);
        return l;
    }
    return NULL;
}

/* The plugin's own description, or NULL with the reason. */
static const struct dp_plugin *symbol_open(const char *path, char *why, size_t why_len)
{
    plugin_note("loading %s", path);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) {
        snprintf(why, why_len, "cannot load it: %s", dlerror());
        return NULL;
    }
    const struct dp_plugin *given = dlsym(handle, "dp_plugin");
    if (!given)
        snprintf(why, why_len, "%s is not a dispatch plugin: it has no object dp_plugin", path);
    return given;
}

static void *copy_up_to(void *to, size_t to_size, const void *from, size_t from_size)
{
    memset(to, 0, to_size);
    return memcpy(to, from, from_size < to_size ? from_size : to_size);
}

static struct loaded *plugin_load(const char *path, const struct stat *st, uint32_t kind,
                                  const char *name, char *why, size_t why_len)
{
    const struct dp_plugin *given = symbol_open(path, why, why_len);
    if (!given)
        return NULL;
    char reason[256];
    if (plugin_check_head(given, kind, name, reason, sizeof reason) < 0) {
        snprintf(why, why_len, "%s: %s", path, reason);
        return NULL;
    }
    struct loaded *l = calloc(1, sizeof *l);
    if (!l || !(l->path = strdup(path))) {
        free(l);
        snprintf(why, why_len, "out of memory");
        return NULL;
    }
    copy_up_to(&l->plugin, sizeof l->plugin, given, given->size);
    copy_up_to(&l->ops, kind == DP_DIALER ? sizeof l->ops.dialer : sizeof l->ops.balancer,
               given->ops, given->ops_size);
    l->plugin.ops = &l->ops;
    if (plugin_check_body(&l->plugin, reason, sizeof reason) < 0) {
        snprintf(why, why_len, "%s: %s", path, reason);
        free(l->path);
        free(l);
        return NULL;
    }
    l->dev = st->st_dev;
    l->ino = st->st_ino;
    l->mtime = st->st_mtim;
    l->next = loaded_list;
    loaded_list = l;
    log_line(LOG_DEBUG, "plugin", "loaded %s", path);
    return l;
}

/* NULL with an empty `why`: this folder has no such file. */
static const struct dp_plugin *folder_find(const char *folder, uint32_t kind, const char *name,
                                           char *why, size_t why_len)
{
    char path[PATH_MAX];
    struct stat st;
    why[0] = '\0';
    int len = snprintf(path, sizeof path, "%s/%s-%s.so", folder, kind_name(kind), name);
    if (len < 0 || (size_t)len >= sizeof path || lstat(path, &st) < 0)
        return NULL;
    if (file_check(folder, path, &st, why, why_len) < 0)
        return NULL;
    struct loaded *l = loaded_find(path, &st);
    if (!l)
        l = plugin_load(path, &st, kind, name, why, why_len);
    return l ? &l->plugin : NULL;
}

static void why_missing(uint32_t kind, const char *name, const char *const *path, size_t n,
                        char *why, size_t why_len)
{
    size_t len = (size_t)snprintf(why, why_len, "no file %s-%s.so in", kind_name(kind), name);
    for (size_t i = 0; i < n && len < why_len; i++)
        len += (size_t)snprintf(why + len, why_len - len, "%s %s", i ? "," : "", path[i]);
    if (len < why_len)
        snprintf(why + len, why_len - len, " (--list-plugins shows what there is)");
}

static const struct dp_plugin *loader_find(void *ctx, uint32_t kind, const char *name,
                                           const char *const *path, size_t n, char *why,
                                           size_t why_len)
{
    (void)ctx;
    if (!*name || strchr(name, '/')) {
        snprintf(why, why_len, "a plugin's name is not empty and has no slash");
        return NULL;
    }
    size_t first = getauxval(AT_SECURE) && n > 0 ? n - 1 : 0; /* the installed one is last */
    for (size_t i = first; i < n; i++) {
        const struct dp_plugin *plugin = folder_find(path[i], kind, name, why, why_len);
        if (plugin || why[0])
            return plugin;
    }
    why_missing(kind, name, path + first, n - first, why, why_len);
    return NULL;
}

const char *loader_path(const struct dp_plugin *plugin)
{
    for (const struct loaded *l = loaded_list; l; l = l->next)
        if (&l->plugin == plugin)
            return l->path;
    return "";
}

const struct plugin_source loader_source = {.find = loader_find};

size_t loader_fallback_path(const char *const **path)
{
    static const char **folders;
    static size_t n;
    *path = folders;
    if (n)
        return n;
    const char *env = secure_getenv("DISPATCH_PLUGIN_PATH");
    char *copy = strdup(env ? env : "");
    folders = calloc((copy ? strlen(copy) : 0) + 2, sizeof *folders);
    if (!copy || !folders)
        abort(); /* at start, before anything is served */
    for (char *save = NULL, *s = strtok_r(copy, ":", &save); s; s = strtok_r(NULL, ":", &save))
        folders[n++] = s;
    folders[n++] = DISPATCH_PLUGINDIR;
    if (n == 1)
        free(copy);
    *path = folders;
    return n;
}

/* `dialer-socks.so` -> DP_DIALER and "socks"; 0 for any other file. */
static uint32_t file_kind(const char *file, char *name, size_t size)
{
    uint32_t kind = strncmp(file, "dialer-", 7) == 0     ? DP_DIALER
                    : strncmp(file, "balancer-", 9) == 0 ? DP_BALANCER
                                                         : 0;
    if (!kind)
        return 0;
    const char *start = strchr(file, '-') + 1;
    const char *dot = strrchr(start, '.');
    if (!dot || dot == start || strcmp(dot, ".so") != 0 || (size_t)(dot - start) >= size)
        return 0;
    memcpy(name, start, (size_t)(dot - start));
    name[dot - start] = '\0';
    return kind;
}

static int not_hidden(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int folder_list(const char *folder, FILE *out)
{
    struct dirent **entry;
    int bad = 0, n = scandir(folder, &entry, not_hidden, alphasort);
    for (int i = 0; i < n; i++) {
        char name[NAME_MAX + 1], why[512];
        uint32_t kind = file_kind(entry[i]->d_name, name, sizeof name);
        if (kind) {
            const struct dp_plugin *p = folder_find(folder, kind, name, why, sizeof why);
            if (p)
                fprintf(out, "%-8s  %-12s  %-8s  %s/%s  %s\n", kind_name(kind), name, p->version,
                        folder, entry[i]->d_name, p->summary);
            else
                fprintf(out, "%-8s  %-12s  not usable: %s\n", kind_name(kind), name, why);
            bad += !p;
        }
        free(entry[i]);
    }
    if (n >= 0)
        free(entry);
    return bad;
}

int loader_list(const char *const *path, size_t n, FILE *out)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++)
        bad += folder_list(path[i], out);
    return bad;
}
