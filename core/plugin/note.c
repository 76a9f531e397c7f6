/* SPDX-License-Identifier: MIT
 * note.c: what a plugin is being asked to do just now.
 */
#include "plugin/note.h"

#include <stdarg.h>
#include <stdio.h>

static char *note; /* [main] */

void plugin_note_to(char *memory)
{
    note = memory;
}

void plugin_note(const char *fmt, ...)
{
    if (!note)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(note, PLUGIN_NOTE_MAX, fmt, ap);
    va_end(ap);
}
