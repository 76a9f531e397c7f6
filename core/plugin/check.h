/* SPDX-License-Identifier: MIT
 * check.h: does what a plugin hands over fit this host?
 */
#ifndef PLUGIN_CHECK_H
#define PLUGIN_CHECK_H

#include <dispatch-plugin.h>

/* What must hold before the plugin's structs may be copied: ABI, sizes, kind, name. Both return 0,
 * or -1 with one sentence. */
int plugin_check_head(const struct dp_plugin *p, uint32_t kind, const char *name, char *why,
                      size_t why_len);

/* What must hold of the copy: operations that belong together, an option table inside conf. */
int plugin_check_body(const struct dp_plugin *p, char *why, size_t why_len);

#endif
