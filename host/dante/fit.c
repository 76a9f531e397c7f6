/* SPDX-License-Identifier: MIT
 * fit.c: what of a configuration danted's processes cannot do.
 */
#include "dante/fit.h"
#include "config/option.h"

#include <string.h>

/* Options of dialers that mark packets, which takes CAP_NET_ADMIN at each connection. danted connects
 * as its unprivileged user, so each would fail. */
static const char *const marking[] = {"mark", "table", "gateway"};

/* Numbers and lists, of those a dialer may have: both begin with a number that is not 0. */
static bool is_given(const struct conf_instance *dialer, const char *name)
{
    const struct option_table table = option_table_of(dialer->plugin);
    struct dp_opt opt;
    uint32_t first;
    if (!option_find(&table, name, &opt) || (opt.type != DP_U32 && opt.type != DP_LIST))
        return false;
    memcpy(&first, (const char *)dialer->conf + opt.offset, sizeof first);
    return first != 0;
}

bool config_fits(const struct config *config, const char *file, struct conf_errors *errors)
{
    bool fits = true;
    for (size_t i = 0; i < config->n_links; i++) {
        const struct conf_link *link = &config->link[i];
        for (size_t j = 0; j < sizeof marking / sizeof *marking; j++) {
            if (!is_given(&link->dialer, marking[j]))
                continue;
            conf_error(errors, NULL,
                       "%s: link \"%s\": %s: not in danted, whose processes have no privilege to "
                       "mark packets: dispatch-dante(8) says what to do instead",
                       file, link->name, marking[j]);
            fits = false;
        }
    }
    return fits;
}
