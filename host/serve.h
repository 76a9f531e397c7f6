/* SPDX-License-Identifier: MIT
 * serve.h: dispatch-host at work: from the first configuration to the last connection.
 */
#ifndef HOST_SERVE_H
#define HOST_SERVE_H

#include "options.h"

/* Serves until told to stop. Returns the exit status. */
int host_serve(const struct options *options);

#endif
