/* SPDX-License-Identifier: MIT
 * plain.h: the head of a request as the simplest of readers has it, which knows one form of each
 * thing and takes no other. It shares no code with the parsers it judges.
 */
#ifndef FUZZ_PLAIN_H
#define FUZZ_PLAIN_H

#include "fuzz/target.h"
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

struct plain_head {
    unsigned hosts, lengths, codings;
    uint64_t length;
};

/* Takes what is there, or says that something is wrong. */
static inline const char *plain_expect(const char *p, const char *text)
{
    size_t len = strlen(text);
    require(strncmp(p, text, len) == 0);
    return p + len;
}

static inline const char *plain_token(const char *p)
{
    const char *start = p;
    while (isalnum((unsigned char)*p) || (*p && strchr("!#$%&'*+-.^_`|~", *p)))
        p++;
    require(p > start);
    return p;
}

/* No blank at either end. */
static inline const char *plain_value(const char *p)
{
    const char *start = p;
    while (*p == '\t' || (unsigned char)*p >= ' ')
        require(*p++ != 0x7f);
    require(p == start || (!isblank((unsigned char)*start) && !isblank((unsigned char)p[-1])));
    return p;
}

/* In any case; of names that gateways make the same variable of, the same. */
static inline bool plain_named(const char *p, const char *end, const char *name)
{
    if ((size_t)(end - p) != strlen(name))
        return false;
    for (; *name; p++, name++)
        if (tolower((unsigned char)*p) != *name && (isalnum((unsigned char)*p) || *name != '-'))
            return false;
    return true;
}

static inline const char *plain_field(const char *p, struct plain_head *head)
{
    const char *name = p, *colon = plain_token(p);
    const char *value = plain_expect(colon, ": "), *end = plain_value(value);
    head->hosts += plain_named(name, colon, "host");
    if (plain_named(name, colon, "content-length")) {
        require(name[7] == '-' && isdigit((unsigned char)*value));
        require(*value != '0' || end == value + 1);
        head->lengths++;
        char *rest;
        head->length = strtoull(value, &rest, 10);
        require(rest == end);
    }
    if (plain_named(name, colon, "transfer-encoding")) {
        require(name[8] == '-' && plain_expect(value, "chunked") == end);
        head->codings++;
    }
    return plain_expect(end, "\r\n");
}

/* `p` ends with the head, and a NUL. */
static inline struct plain_head plain_request(const char *p)
{
    struct plain_head head = {0};
    p = plain_expect(plain_token(p), " ");
    require(*p == '/' || strncmp(p, "* ", 2) == 0);
    while (*p > ' ' && *p < 0x7f)
        p++;
    p = plain_expect(p, " HTTP/1.1\r\n");
    while (*p != '\r')
        p = plain_field(p, &head);
    require(*plain_expect(p, "\r\n") == '\0');
    require(head.hosts == 1 && head.lengths + head.codings <= 1);
    return head;
}

#endif
