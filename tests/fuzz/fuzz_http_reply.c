/* SPDX-License-Identifier: MIT
 * fuzz_http_reply.c: the answer of an HTTP proxy. The first byte says how the rest is cut in pieces,
 * which must make no difference; and who reads it by lines must come to the same end.
 */
#include "dialer-http/reply.h"
#include "fuzz/target.h"

static size_t take_in_pieces(struct reply *r, const char *text, size_t len, unsigned seed)
{
    size_t used = 0;
    while (used < len && r->state < REPLY_DONE) {
        seed = seed * 1103515245 + 12345;
        size_t piece = 1 + (seed >> 16) % 9;
        used += reply_take(r, text + used, piece < len - used ? piece : len - used);
    }
    return used;
}

/* The status in a status line. */
static unsigned status_at(const char *line)
{
    return (unsigned)(line[9] - '0') * 100 + (unsigned)(line[10] - '0') * 10 +
           (unsigned)(line[11] - '0');
}

/* By lines: the first blank one that ends a head without 1xx ends the text, and no byte is left. */
static void check_end(const struct reply *r, const char *text, size_t used)
{
    size_t head = 0, line = 0;
    for (size_t i = 0; i < used; i++) {
        if (text[i] != '\n')
            continue;
        size_t len = i - line - (i > line && text[i - 1] == '\r');
        line = i + 1;
        if (len)
            continue;
        require(line - head > 12);
        unsigned status = status_at(text + head);
        if (status >= 200) {
            require(line == used && status == r->status);
            return;
        }
        head = line;
    }
    require(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 1)
        return 0;
    const char *text = (const char *)data + 1;
    struct reply whole = {0}, cut = {0};
    size_t used = reply_take(&whole, text, --len);
    require(take_in_pieces(&cut, text, len, data[0]) == used);
    require(cut.state == whole.state && cut.status == whole.status);
    require(cut.fields == whole.fields && cut.taken == whole.taken);
    require(used == len || whole.state >= REPLY_DONE);
    require(used <= REPLY_HEAD_MAX + 1);
    if (whole.state == REPLY_DONE)
        check_end(&whole, text, used);
    return 0;
}
