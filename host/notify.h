/* SPDX-License-Identifier: MIT
 * notify.h: the service manager is told how things stand, by the protocol of sd_notify(3).
 *
 * Where none has asked for it, by the variable NOTIFY_SOCKET, all of these do nothing. In the main
 * thread alone.
 */
#ifndef HOST_NOTIFY_H
#define HOST_NOTIFY_H

#include <sys/types.h>

void notify_ready(void); /* also when a reload is over, whatever has come of it */
void notify_reloading(void);
void notify_stopping(void);
/* The service is another process from now on; what becomes of this one is not told. */
void notify_handed_over(pid_t pid);

#endif
