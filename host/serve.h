/* SPDX-License-Identifier: MIT
 * serve.h: dispatch-host at work: from the first configuration to the last connection.
 */
#ifndef HOST_SERVE_H
#define HOST_SERVE_H

#include "options.h"

/* The configuration that the options ask for. NULL: see errors. */
struct config *host_config(const struct options *options, struct conf_errors *errors);

/* Serves until told to stop. Returns the exit status. */
int host_serve(const struct options *options);

/* Checks the configuration with its plugins, prints the mistakes. Returns the exit status. */
int host_check(const struct options *options);

#endif
