/* SPDX-License-Identifier: MIT
 * loader.h: plugins found in folders, checked, and loaded once for the life of the process.
 */
#ifndef PLUGIN_LOADER_H
#define PLUGIN_LOADER_H

#include "config/config.h"

/* The loader as config sees it. Plugins are never unloaded; a plugin found twice is the same
 * pointer. [main] */
extern const struct plugin_source loader_source;

/* The file a plugin came from; "" if it was not loaded from one. */
const char *loader_path(const struct dp_plugin *plugin);

/* The folders searched after the configuration's own: those in $DISPATCH_PLUGIN_PATH (separated by
 * colons; ignored when the program runs with raised privilege), then the installed one. Returns
 * their number; the array lives until the process ends. */
size_t loader_fallback_path(const char *const **path);

/* Loads every plugin in these folders and prints a line each: kind, name, version, file, summary;
 * one that cannot be loaded is printed with the reason. Returns how many could not. */
int loader_list(const char *const *path, size_t n, FILE *out);

#endif
