/* SPDX-License-Identifier: MIT
 * machine.h: the addresses of this machine's interfaces, which Dante's names of them stand for.
 */
#ifndef IMPORT_MACHINE_H
#define IMPORT_MACHINE_H

#include "nets.h"

/* Is there such an interface? Then its addresses are in `out`, each with its network's bits. */
bool machine_interface(struct conf_memory *memory, const char *name, struct nets *out);
bool machine_has(const struct dp_addr *addr);

#endif
