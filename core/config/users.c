/* SPDX-License-Identifier: MIT
 * users.c: the file of those who may use a listener: lines `name:HASH` or `name:HASH:pool`.
 */
#include "config/build.h"
#include "config/file.h"

#include <stdlib.h>
#include <string.h>

#define USERS_SIZE_MAX (16 * 1024 * 1024)
#define USERS_MAX 100000

struct entry {
    struct conf_user user;
    unsigned line;
};

/* The file being read. */
struct reading {
    const struct build *b;
    const struct option_scope *scope;
    struct tree_node at; /* the line, for messages */
    struct entry *entry;
    size_t n;
};

#define line_error(r, ...) conf_error((r)->scope->errors, &(r)->at, __VA_ARGS__)

/* ---- hashes ---- */

/* What stands behind the method must be something to begin with, or nobody could ever log in. */

static const char digits64[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* Its parameters, and a salt. */
static bool is_yescrypt(const char *text)
{
    size_t n = strspn(text, digits64);
    return n > 0 && text[n] == '$' && strchr(text + n + 1, '$');
}

/* Perhaps a number of rounds, from 1000 to 999,999,999. */
static bool is_sha(const char *text)
{
    static const char key[] = "rounds=";
    const char *number = text + strlen(key);
    if (strncmp(text, key, strlen(key)) != 0)
        return true;
    size_t n = strspn(number, "0123456789");
    return n >= 4 && n <= 9 && number[0] != '0' && number[n] == '$';
}

/* Two digits for the number of rounds, 04 to 31. */
static bool is_bcrypt(const char *text)
{
    int cost = strspn(text, "0123456789") == 2 ? (text[0] - '0') * 10 + text[1] - '0' : 0;
    return cost >= 4 && cost <= 31 && strrchr(text, '$') == text + 2;
}

/* Those of crypt(5) that are strong enough, with the length of what stands behind the last `$`. */
static const struct {
    const char *prefix;
    size_t tail_len;
    bool (*is_sound)(const char *text);
} methods[] = {
    {"$y$", 43, is_yescrypt}, {"$6$", 86, is_sha},     {"$5$", 43, is_sha},
    {"$2b$", 53, is_bcrypt},  {"$2y$", 53, is_bcrypt},
};

static bool is_hash(const char *text)
{
    const char *tail = strrchr(text, '$');
    if (strlen(text) > CONF_HASH_MAX)
        return false;
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || strchr("*!;\\", *c))
            return false;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        size_t len = strlen(methods[i].prefix), tail_len = methods[i].tail_len;
        if (strncmp(text, methods[i].prefix, len) == 0)
            return tail >= text + len && strlen(tail + 1) == tail_len &&
                   strspn(tail + 1, digits64) == tail_len && methods[i].is_sound(text + len);
    }
    return false;
}

/* ---- lines ---- */

static bool is_name(const char *text)
{
    size_t len = strlen(text);
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return false;
    return len >= 1 && len <= CONF_USER_MAX;
}

/* What stands before the next colon, which ends it; *rest is NULL behind the last. */
static char *field_cut(char **rest)
{
    char *field = *rest, *colon = strchr(field, ':');
    if (colon)
        *colon = '\0';
    *rest = colon ? colon + 1 : NULL;
    return field;
}

static const struct conf_pool *pool_find(const struct reading *r, const char *name)
{
    const struct option_scope scope = {.errors = r->scope->errors, .map = &r->at, .what = ""};
    const struct tree_node *entry = build_find(&scope, r->b->pools, "pool", &r->at, "pool", name);
    return entry ? &r->b->pool[entry->index] : NULL;
}

/* A line is never repeated in a message: who mistook the format may have written a password. */
static void line_read(struct reading *r, char *line)
{
    char *rest = line, *name = field_cut(&rest);
    const char *hash = rest ? field_cut(&rest) : NULL;
    const char *pool = rest ? field_cut(&rest) : NULL;
    struct conf_user *user = &r->entry[r->n].user;
    if (!hash || rest) {
        line_error(r, "name:HASH or name:HASH:pool is expected");
    } else if (!is_name(name)) {
        line_error(r, "a name is 1 to %d bytes, none of them a control character", CONF_USER_MAX);
    } else if (!is_hash(hash)) {
        line_error(r, "the second field is no hash of crypt(5) by yescrypt, SHA-512, SHA-256 or "
                      "bcrypt, as `openssl passwd -6` prints one");
    } else if (!pool || (user->pool = pool_find(r, pool))) {
        struct conf_memory *memory = r->scope->memory;
        user->name.p = memory_text(memory, name, strlen(name));
        user->name.len = (uint32_t)strlen(name);
        user->hash = memory_text(memory, hash, strlen(hash));
        r->entry[r->n++].line = r->at.line;
    }
}

static bool is_blank(const char *line)
{
    return line[0] == '#' || line[strspn(line, " \t")] == '\0';
}

/* Ends the line with NUL in place, be it LF or CR LF that has ended it. Returns the next, or NULL. */
static char *line_cut(char *line)
{
    char *lf = strchr(line, '\n');
    char *end = lf ? lf : line + strlen(line);
    *end = '\0';
    if (end > line && end[-1] == '\r')
        end[-1] = '\0';
    return lf ? lf + 1 : NULL;
}

static void lines_read(struct reading *r, char *text)
{
    for (char *line = text, *next; line; line = next) {
        next = line_cut(line);
        r->at.line++;
        if (is_blank(line))
            continue;
        if (r->n == USERS_MAX) {
            line_error(r, "more than %d users", USERS_MAX);
            return;
        }
        line_read(r, line);
    }
}

/* ---- names ---- */

static int name_compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

const struct conf_user *conf_user_find(const struct conf_users *users, const void *name, size_t len)
{
    size_t from = 0, to = users->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        const struct conf_user *user = &users->user[middle];
        int order = name_compare(name, len, user->name.p, user->name.len);
        if (order == 0)
            return user;
        if (order < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return NULL;
}

static int entry_compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = name_compare(x->user.name.p, x->user.name.len, y->user.name.p, y->user.name.len);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static void entries_sort(struct reading *r)
{
    qsort(r->entry, r->n, sizeof *r->entry, entry_compare);
    for (size_t i = 1; i < r->n; i++) {
        const struct entry *e = &r->entry[i], *before = e - 1;
        const struct dp_str *name = &e->user.name, *other = &before->user.name;
        if (name_compare(name->p, name->len, other->p, other->len) != 0)
            continue;
        r->at.line = e->line;
        line_error(r, "\"%s\" stands in line %u already", name->p, before->line);
    }
}

/* ---- the file ---- */

static const struct conf_users *users_make(const struct reading *r)
{
    struct conf_memory *memory = r->scope->memory;
    struct conf_users *users = memory_alloc(memory, sizeof *users);
    struct conf_user *user = memory_alloc(memory, r->n * sizeof *user);
    if (!users || !user)
        return NULL;
    for (size_t i = 0; i < r->n; i++)
        user[i] = r->entry[i].user;
    *users = (struct conf_users){.file = r->at.file, .user = user, .n = r->n};
    return users;
}

/* Of text with a NUL at its end. */
static const struct conf_users *users_parse(struct reading *r, char *text)
{
    size_t before = r->scope->errors->n + r->scope->errors->n_more;
    r->entry = calloc(USERS_MAX, sizeof *r->entry); /* only touched pages cost memory */
    if (!r->entry) {
        line_error(r, "out of memory");
        return NULL;
    }
    lines_read(r, text);
    if (!memory_failed(r->scope->memory))
        entries_sort(r);
    bool sound = r->scope->errors->n + r->scope->errors->n_more == before;
    r->at.line = 0;
    if (sound && r->n == 0)
        line_error(r, "there is no user in it: nobody could log in");
    const struct conf_users *users = sound && r->n > 0 ? users_make(r) : NULL;
    free(r->entry);
    return users;
}

const struct conf_users *build_users(const struct build *b, const struct option_scope *scope,
                                     const char *path)
{
    static const char key[] = "users-file";
    struct reading r = {.b = b, .scope = scope, .at = {.file = option_path(scope, path)}};
    const struct tree_node *node = tree_find(scope->map, key);
    char why[FILE_WHY];
    size_t len;
    if (!r.at.file)
        return NULL;
    char *text = file_read_guarded(r.at.file, USERS_SIZE_MAX, &len, why);
    if (!text) {
        option_error(scope, node, key, "cannot read %s: %s", r.at.file, why);
        return NULL;
    }
    const struct conf_users *users = NULL;
    text[len] = '\0'; /* there is room for one more than it may hold */
    if (memchr(text, '\0', len))
        option_error(scope, node, key, "%s holds a NUL byte", r.at.file);
    else
        users = users_parse(&r, text);
    explicit_bzero(text, len);
    free(text);
    return users;
}
