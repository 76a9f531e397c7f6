/* SPDX-License-Identifier: MIT
 * fuzz_host_set.c: a set of names against the simplest one: a list. Lines before the first empty
 * one are patterns (behind a `+` domains), those behind it are looked up.
 */
#include "config/host_set.h"
#include "fuzz/target.h"

#include <string.h>
#include <strings.h>

#define PATTERNS_MAX 64
#define NAME_MAX_LEN 255

struct pattern {
    const char *name;
    size_t len;
    int itself, below;
};

struct list {
    size_t n;
    struct pattern pattern[PATTERNS_MAX];
};

static size_t without_dot(const char *name, size_t len)
{
    return len > 0 && name[len - 1] == '.' ? len - 1 : len;
}

static int ends_with(const char *name, size_t len, const struct pattern *p)
{
    if (len == p->len)
        return p->itself && strncasecmp(name, p->name, len) == 0;
    return p->below && len > p->len + 1 && name[len - p->len - 1] == '.' &&
           strncasecmp(name + len - p->len, p->name, p->len) == 0;
}

static int list_has(const struct list *list, const char *name, size_t len)
{
    len = without_dot(name, len);
    for (size_t i = 0; len <= NAME_MAX_LEN && i < list->n; i++)
        if (ends_with(name, len, &list->pattern[i]))
            return 1;
    return 0;
}

static void add(struct host_set *set, struct list *list, const char *text, size_t len)
{
    bool domain = text[0] == '+';
    text += domain;
    len -= domain;
    if (list->n == PATTERNS_MAX || host_set_add(set, text, len, domain) != HOST_SET_OK)
        return;
    size_t star = text[0] == '*' ? 2 : 0;
    list->pattern[list->n++] = (struct pattern){.name = text + star,
                                                .len = without_dot(text + star, len - star),
                                                .itself = domain || !star,
                                                .below = domain || star};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct conf_memory *memory = memory_new();
    struct host_set *set = host_set_new(memory, PATTERNS_MAX);
    struct list list = {0};
    const char *p = (const char *)data, *end = p + len;
    int adding = 1;
    require(set != NULL);
    for (const char *lf; p < end && (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1) {
        size_t n = (size_t)(lf - p);
        if (n == 0)
            adding = 0;
        else if (adding)
            add(set, &list, p, n);
        else
            require(host_set_has(set, p, n) == list_has(&list, p, n));
    }
    for (size_t i = 0; i < list.n; i++)
        require(host_set_has(set, list.pattern[i].name, list.pattern[i].len) ==
                list_has(&list, list.pattern[i].name, list.pattern[i].len));
    memory_free(memory);
    return 0;
}
