/* SPDX-License-Identifier: MIT
 * note.h: what a plugin is being asked to do just now, so that a crash in it can be told.
 */
#ifndef PLUGIN_NOTE_H
#define PLUGIN_NOTE_H

#define PLUGIN_NOTE_MAX 512

/* Where notes go: PLUGIN_NOTE_MAX bytes, perhaps shared with another process; NULL: nowhere. */
void plugin_note_to(char *memory);

/* "loading /path/dialer-x.so", "create() of link \"wifi\"". */
__attribute__((format(printf, 1, 2))) void plugin_note(const char *fmt, ...);

#endif
