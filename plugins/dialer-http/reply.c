/* SPDX-License-Identifier: MIT
 * reply.c: the head of an HTTP/1 server's answer, one function a state.
 */
#include "reply.h"

#include <stdbool.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_visible(char c)
{
    return c > ' ' && c < 0x7f;
}

static enum reply_state on_version(struct reply *r, char c)
{
    static const char version[] = "HTTP/1.";
    if (c != version[r->at++])
        return REPLY_BROKEN;
    return version[r->at] ? REPLY_VERSION : REPLY_MINOR;
}

static enum reply_state on_minor(struct reply *r, char c)
{
    r->at = 0;
    return is_digit(c) ? REPLY_GAP : REPLY_BROKEN;
}

static enum reply_state on_gap(struct reply *r, char c)
{
    (void)r;
    return c == ' ' ? REPLY_CODE : REPLY_BROKEN;
}

static enum reply_state on_code(struct reply *r, char c)
{
    if (!is_digit(c) || (r->at == 0 && c == '0'))
        return REPLY_BROKEN;
    r->status = (uint16_t)(r->status * 10 + (c - '0'));
    return ++r->at < 3 ? REPLY_CODE : REPLY_CODE_END;
}

/* Bytes beyond ASCII have always been allowed (RFC 9110, section 5.5: obs-text). A bare CR has not:
 * two readers would find two ends of the head. */
static enum reply_state on_text(struct reply *r, char c)
{
    (void)r;
    if (c == '\r')
        return REPLY_LINE_END;
    if (c == '\n')
        return REPLY_LINE;
    return is_blank(c) || is_visible(c) || (c & 0x80) ? REPLY_TEXT : REPLY_BROKEN;
}

/* Some servers leave out the reason with the space before it. */
static enum reply_state on_code_end(struct reply *r, char c)
{
    return c == ' ' || c == '\r' || c == '\n' ? on_text(r, c) : REPLY_BROKEN;
}

static enum reply_state on_line_end(struct reply *r, char c)
{
    (void)r;
    return c == '\n' ? REPLY_LINE : REPLY_BROKEN;
}

/* Interim answers come before the final one (RFC 9110, section 15.2). 101 would end HTTP for a
 * protocol that nobody has asked for. */
static enum reply_state head_end(struct reply *r)
{
    if (r->status == 101)
        return REPLY_BROKEN;
    if (r->status >= 200)
        return REPLY_DONE;
    r->at = 0;
    r->status = r->fields = 0;
    return REPLY_VERSION;
}

static enum reply_state on_head_end(struct reply *r, char c)
{
    return c == '\n' ? head_end(r) : REPLY_BROKEN;
}

/* White space before the colon, and inside a name, does no harm here: nobody is told. */
static enum reply_state on_name(struct reply *r, char c)
{
    (void)r;
    if (c == ':')
        return REPLY_TEXT;
    return is_visible(c) || is_blank(c) ? REPLY_NAME : REPLY_BROKEN;
}

static enum reply_state on_line(struct reply *r, char c)
{
    if (c == '\r')
        return REPLY_HEAD_END;
    if (c == '\n')
        return head_end(r);
    if (is_blank(c))
        return REPLY_TEXT;
    if (r->fields++ == REPLY_FIELDS_MAX)
        return REPLY_TOO_LONG;
    return c == ':' ? REPLY_BROKEN : on_name(r, c);
}

static enum reply_state next(struct reply *r, char c)
{
    static enum reply_state (*const on[])(struct reply *, char) = {
        [REPLY_VERSION] = on_version,   [REPLY_MINOR] = on_minor, [REPLY_GAP] = on_gap,
        [REPLY_CODE] = on_code,         [REPLY_TEXT] = on_text,   [REPLY_CODE_END] = on_code_end,
        [REPLY_LINE_END] = on_line_end, [REPLY_LINE] = on_line,   [REPLY_NAME] = on_name,
        [REPLY_HEAD_END] = on_head_end,
    };
    return r->taken++ == REPLY_HEAD_MAX ? REPLY_TOO_LONG : on[r->state](r, c);
}

size_t reply_take(struct reply *r, const char *data, size_t len)
{
    size_t used = 0;
    while (used < len && r->state < REPLY_DONE)
        r->state = next(r, data[used++]);
    return used;
}
