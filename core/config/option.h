/* SPDX-License-Identifier: MIT
 * option.h: a map of the tree against an option table: values checked and put into a conf block.
 *
 * One mechanism for the host's own sections and for plugins.
 */
#ifndef CONFIG_OPTION_H
#define CONFIG_OPTION_H

#include "config/tree.h"
#include <dispatch-plugin.h>

/* In the host's own tables only: a key whose map, or list, the caller binds; one of which the caller
 * reads whatever is there; a key of a later version. */
enum { OPTION_MAP = 0x10000, OPTION_LIST, OPTION_ANY, OPTION_LATER };

struct option_table {
    const struct dp_opt *opts;
    uint32_t n, stride; /* bytes from one to the next: a plugin's may be shorter or longer */
};
#define OPTION_TABLE(opts)                                         \
    {                                                              \
        opts, sizeof(opts) / sizeof *(opts), sizeof(struct dp_opt) \
    }

/* One map being bound. */
struct option_scope {
    struct conf_memory *memory;
    struct conf_errors *errors;
    const struct tree_node *map;
    const char *what;   /* before each mistake: `link "vps": `, or "" */
    const char *folder; /* paths are relative to it */
};

/* The i-th option, as much of it as the table has. */
struct dp_opt option_at(const struct option_table *table, uint32_t i);
struct option_table option_table_of(const struct dp_plugin *plugin);

/* A mistake at `node` (NULL: the map) in option `name` (NULL: in none). */
__attribute__((format(printf, 4, 5))) //
void option_error(const struct option_scope *scope, const struct tree_node *node, const char *name,
                  const char *fmt, ...);

/* A path of the file's, from the root if the folder is; NULL only without memory. */
const char *option_path(const struct option_scope *scope, const char *path);

/* Returns conf_size bytes in the scope's memory, zero where a value is not given or wrong; NULL
 * only without memory. A list has min to max items. */
void *option_bind(const struct option_scope *scope, const struct option_table *table,
                  size_t conf_size);
/* Reports the keys that none of the n tables has. */
void option_unknown(const struct option_scope *scope, const struct option_table *tables, size_t n);
/* The option a key belongs to, also as `X-file` or `X-hex`; false: none in this table. */
bool option_find(const struct option_table *table, const char *key, struct dp_opt *opt);

bool option_equal(const struct option_table *table, const void *a, const void *b);
void option_hash(const struct option_table *table, const void *conf, uint64_t *hash);
/* Prints `key: value` lines as in the file, without what is not set. */
void option_print(const struct option_table *table, const void *conf, const char *indent,
                  bool secrets, FILE *out);

#endif
