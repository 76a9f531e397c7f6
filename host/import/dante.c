/* SPDX-License-Identifier: MIT
 * dante.c: the parser of Dante's configuration.
 */
#include "dante.h"
#include "scan.h"

#include <string.h>

struct parser {
    struct conf_memory *memory;
    struct scan s;
    struct dante_error *error;
};

static int fail(struct parser *p, unsigned line, const char *text)
{
    *p->error = (struct dante_error){line, text};
    return -1;
}

static char *name_copy(struct parser *p, size_t len)
{
    char *name = memory_text(p->memory, p->s.at, len);
    for (char *blank = name; blank && (blank = strpbrk(blank, "\t\r\\\n"));)
        *blank = ' ';
    return name;
}

static unsigned where_of(const struct dante_item *block)
{
    if (!block)
        return IN_FILE;
    if (block->kind == DANTE_ROUTE)
        return IN_ROUTE;
    return block->kind == DANTE_MONITOR ? IN_MONITOR : IN_RULE;
}

/* Before 1.4 both kinds of method had one name. */
static enum key key_of(const struct keyword *keyword, const struct dante_item *block)
{
    if (keyword->key != KEY_METHOD || (block && block->kind == DANTE_ROUTE))
        return keyword->key;
    return block && block->kind == DANTE_CLIENT ? KEY_CLIENTMETHOD : KEY_SOCKSMETHOD;
}

/* ---- settings ---- */

static char *words_take(struct parser *p)
{
    struct scan ahead = p->s;
    char *value = memory_alloc(p->memory, scan_value(&ahead, NULL) + 1);
    scan_value(&p->s, value);
    return value;
}

/* What libwrap is told is the whole rest of the line, whatever is in it. */
static char *line_take(struct parser *p)
{
    size_t len = 0;
    scan_blanks(&p->s);
    while (p->s.at + len < p->s.end && p->s.at[len] != '\n')
        len++;
    p->s.at += len;
    return memory_text(p->memory, p->s.at - len, len);
}

static bool is_place(enum key key)
{
    return key == KEY_FROM || key == KEY_TO || key == KEY_VIA || key == KEY_INTERNAL ||
           key == KEY_EXTERNAL;
}

static int place_take(struct parser *p, struct dante_item *item)
{
    const char *why = NULL;
    item->place = memory_alloc(p->memory, sizeof *item->place);
    if (!item->place || !item->value)
        return fail(p, 0, NULL);
    return place_parse(p->memory, item->value, item->place, &why) < 0 ? fail(p, item->line, why)
                                                                      : 0;
}

static bool is_listed(const char *words, const char *word, size_t len)
{
    for (; *words; words += strspn(words, " ")) {
        size_t n = strcspn(words, " ");
        if (n == len && memcmp(words, word, len) == 0)
            return true;
        words += n;
    }
    return false;
}

/* A word that is misspelt must not become a rule about something else. */
static int words_check(struct parser *p, const struct keyword *keyword,
                       const struct dante_item *item)
{
    for (const char *at = item->value; keyword->words && *at; at += strspn(at, " ")) {
        size_t len = strcspn(at, " ");
        if (!is_listed(keyword->words, at, len))
            return fail(p, item->line,
                        memory_printf(p->memory, "%s: \"%.*s\" is none of %s", keyword->name,
                                      (int)len, at, keyword->words));
        at += len;
    }
    return 0;
}

static int setting_take(struct parser *p, const struct dante_item *block, size_t len, size_t behind,
                        struct dante_item *item)
{
    const struct keyword *keyword = keyword_find(p->s.at, len);
    const char *name = name_copy(p, len);
    if (!keyword)
        return fail(p, p->s.line, memory_printf(p->memory, "unknown keyword \"%s\"", name));
    if (!(keyword->where & where_of(block)))
        return fail(p, p->s.line, memory_printf(p->memory, "%s does not belong here", name));
    item->line = p->s.line;
    item->key = key_of(keyword, block);
    item->why = keyword->why;
    p->s.at += behind;
    item->value = strcmp(keyword->name, "libwrap") == 0 ? line_take(p) : words_take(p);
    if (!item->value)
        return fail(p, 0, NULL);
    if (behind == len)
        item->text = name;
    else if (!*item->value)
        return fail(p, item->line, memory_printf(p->memory, "%s has no value", name));
    else
        item->text = memory_printf(p->memory, "%s: %s", name, item->value);
    return is_place(item->key) ? place_take(p, item) : words_check(p, keyword, item);
}

/* ---- blocks ---- */

/* Takes a word if it is that one, and what parts it from the next. */
static bool word_take(struct parser *p, const char *word)
{
    size_t len = scan_name(&p->s);
    if (!scan_is(&p->s, len, word))
        return false;
    p->s.at += len;
    scan_blanks(&p->s);
    return true;
}

/* `client pass`; without a first word a verdict is one of a socks rule. */
static bool header_take(struct parser *p, struct dante_item *block)
{
    bool rule = true;
    block->kind = DANTE_SOCKS;
    if (word_take(p, "client"))
        block->kind = DANTE_CLIENT;
    else if (word_take(p, "hostid"))
        block->kind = DANTE_HOSTID;
    else if (word_take(p, "monitor"))
        block->kind = DANTE_MONITOR, rule = false;
    else if (word_take(p, "route"))
        block->kind = DANTE_ROUTE, rule = false;
    else
        word_take(p, "socks");
    if (rule)
        block->pass = word_take(p, "pass");
    if (rule && !block->pass && !word_take(p, "block"))
        return false;
    scan_lines(&p->s);
    if (scan_peek(&p->s, 0) != '{')
        return false;
    p->s.at++;
    return true;
}

static const char *block_name(const struct dante_item *block)
{
    static const char *const names[] = {"", "client ", "hostid ", "socks ", "monitor", "route"};
    return names[block->kind];
}

static const char *verdict_name(const struct dante_item *block)
{
    if (block->kind == DANTE_MONITOR || block->kind == DANTE_ROUTE)
        return "";
    return block->pass ? "pass" : "block";
}

/* The whole block, as one line. */
static const char *block_text(struct parser *p, const struct dante_item *block)
{
    const char *verdict = verdict_name(block), *name = block_name(block);
    size_t len = strlen(name) + strlen(verdict) + sizeof " { }";
    for (const struct dante_item *i = block->child; i; i = i->next)
        len += i->text ? strlen(i->text) + 1 : 0;
    char *text = memory_alloc(p->memory, len), *at = text;
    if (!text)
        return NULL;
    at = stpcpy(stpcpy(stpcpy(at, name), verdict), " {");
    for (const struct dante_item *i = block->child; i; i = i->next)
        at = stpcpy(stpcpy(at, " "), i->text ? i->text : "");
    stpcpy(at, " }");
    return text;
}

static int block_check(struct parser *p, const struct dante_item *block)
{
    static const enum key needed[] = {KEY_FROM, KEY_TO, KEY_VIA};
    size_t n = block->kind == DANTE_ROUTE ? 3 : 2;
    for (size_t i = 0; i < n; i++) {
        size_t seen = 0;
        for (const struct dante_item *c = block->child; c; c = c->next)
            seen += c->key == needed[i];
        if (seen != 1)
            return fail(p, block->line,
                        n == 3 ? "a route needs `from:`, `to:` and `via:`, once each"
                               : "a rule needs `from:` and `to:`, once each");
    }
    return 0;
}

static int items_take(struct parser *p, struct dante_item *block, struct dante_item **first);

static int block_take(struct parser *p, const struct dante_item *outer, struct dante_item *block)
{
    block->line = p->s.line;
    if (outer || !header_take(p, block))
        return fail(p, block->line,
                    outer ? "a keyword and a colon are expected"
                          : "a keyword and a colon are expected, or a block: `client pass {`, "
                            "`client block {`, `socks pass {`, `socks block {`, `route {`");
    if (items_take(p, block, &block->child) < 0)
        return -1;
    block->text = block_text(p, block);
    return block_check(p, block);
}

/* The items of the file, or those of a block and its end. */
static int items_take(struct parser *p, struct dante_item *block, struct dante_item **first)
{
    for (struct dante_item **last = first;; last = &(*last)->next) {
        size_t behind, len;
        scan_lines(&p->s);
        if (p->s.at == p->s.end)
            return block ? fail(p, block->line, "this block is not closed") : 0;
        if (*p->s.at == '}' && block) {
            p->s.at++;
            return 0;
        }
        *last = memory_alloc(p->memory, sizeof **last);
        if (!*last)
            return fail(p, p->s.line, NULL);
        len = scan_keyword(&p->s, &behind);
        if ((len ? setting_take(p, block, len, behind, *last) : block_take(p, block, *last)) < 0)
            return -1;
    }
}

int dante_parse(struct conf_memory *memory, const char *text, size_t len, struct dante_item **first,
                struct dante_error *error)
{
    struct parser p = {memory, {text, text + len, 1}, error};
    const char *nul = memchr(text, '\0', len);
    *first = NULL;
    if (nul)
        return fail(&p, 1, "this is no text: it has a zero byte");
    if (items_take(&p, NULL, first) < 0)
        return -1;
    return memory_failed(memory) ? fail(&p, 0, NULL) : 0;
}

/* ---- what is asked of items ---- */

struct dante_item *dante_child(const struct dante_item *block, enum key key)
{
    struct dante_item *found = NULL;
    for (struct dante_item *i = block->child; i; i = i->next)
        if (i->kind == DANTE_SETTING && i->key == key)
            found = i;
    return found;
}

bool dante_has(const struct dante_item *setting, const char *word)
{
    return is_listed(setting->value, word, strlen(word));
}

bool dante_lists(const struct dante_item *block, enum key key, const char *word)
{
    for (const struct dante_item *i = block->child; i; i = i->next)
        if (i->kind == DANTE_SETTING && i->key == key && dante_has(i, word))
            return true;
    return false;
}
