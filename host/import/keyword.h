/* SPDX-License-Identifier: MIT
 * keyword.h: the keywords of Dante's configuration, and why those without a counterpart have none.
 */
#ifndef IMPORT_KEYWORD_H
#define IMPORT_KEYWORD_H

#include <stddef.h>

/* Those that are looked at one by one; of the others it is enough to know what losing them means. */
enum key {
    KEY_LOST,      /* has no counterpart, and lets nobody do more without it */
    KEY_CONDITION, /* of a rule: narrows what it is about */
    KEY_CLIENTMETHOD,
    KEY_COMMAND,
    KEY_EXTERNAL,
    KEY_EXTERNAL_PROTOCOL,
    KEY_FROM,
    KEY_HOSTS_ACCESS,
    KEY_INTERNAL,
    KEY_INTERNAL_PROTOCOL,
    KEY_METHOD, /* what it is of depends on where it stands */
    KEY_PROTOCOL,
    KEY_PROXYPROTOCOL,
    KEY_ROTATION,
    KEY_SOCKSMETHOD,
    KEY_SRCHOST,
    KEY_TIMEOUT_CONNECT,
    KEY_TIMEOUT_IO,
    KEY_TIMEOUT_NEGOTIATE,
    KEY_TO,
    KEY_VIA
};

enum { IN_FILE = 1, IN_RULE = 2, IN_ROUTE = 4, IN_MONITOR = 8 }; /* where a keyword may stand */

struct keyword {
    const char *name; /* one that ends with a dot stands for all that begin with it */
    enum key key;
    unsigned where;
    const char *why;   /* it cannot be translated, where that is known at once */
    const char *words; /* all that it may have, parted by blanks; NULL: anything */
};

/* NULL: Dante knows no such keyword. */
const struct keyword *keyword_find(const char *name, size_t len);

#endif
