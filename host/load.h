/* SPDX-License-Identifier: MIT
 * load.h: the configuration that dispatch-host was asked for.
 */
#ifndef HOST_LOAD_H
#define HOST_LOAD_H

#include "options.h"

#include <stdbool.h>

/* A file's, that of the words, or one of all links of this machine. NULL: see errors. */
struct config *load_config(const struct options *options, struct conf_errors *errors);

/* The same with the sockets of the service manager, but for a command, which has its own. */
struct config *load_served(const struct options *options, struct conf_errors *errors);

/* Tries it out in a child with its plugins, prints the mistakes. Returns the exit status. */
int load_check(const struct options *options);

/* The same of a daemon that is to go on by it: mistakes are logged. */
bool load_check_again(const struct options *options);

void errors_print(const struct conf_errors *errors);
void errors_log(const struct conf_errors *errors);

#endif
