/* SPDX-License-Identifier: MIT
 * fit.h: what of a configuration danted's processes cannot do.
 */
#ifndef HOST_DANTE_FIT_H
#define HOST_DANTE_FIT_H

#include "config/config.h"

/* False: errors say why. */
bool config_fits(const struct config *config, const char *file, struct conf_errors *errors);

#endif
