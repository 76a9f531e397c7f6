/* SPDX-License-Identifier: MIT
 * type.c: what an option's type means: its values read, compared and printed.
 */
#include "config/type.h"
#include "base/addr.h"
#include "config/hash.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#define value_error(v, ...) option_error((v)->scope, (v)->node, (v)->name, __VA_ARGS__)

static bool unbounded(const struct dp_opt *opt)
{
    return opt->min == 0 && opt->max == 0;
}

static bool parse_scalar(const struct type_value *v)
{
    if (v->node->kind != TREE_VALUE)
        value_error(v, "one value is expected, not a list or map");
    else if (v->node->plain && v->node->len == 0)
        value_error(v, "no value is given");
    else
        return true;
    return false;
}

static bool range_error(const struct type_value *v)
{
    char min[UNITS_TEXT], max[UNITS_TEXT];
    const struct type *type = type_find(v->opt->type);
    value_error(v, "must be %s to %s", type->bound(v->opt->min, min),
                type->bound(v->opt->max, max));
    return false;
}

static bool in_range(const struct type_value *v, int64_t n)
{
    return unbounded(v->opt) || (n >= v->opt->min && n <= v->opt->max);
}

/* ---- BOOL, U32, ENUM ---- */

static bool parse_bool(const struct type_value *v, void *out)
{
    static const char *const word[] = {"no", "yes", "false", "true", "off", "on"};
    if (!parse_scalar(v))
        return false;
    for (unsigned i = 0; i < sizeof word / sizeof *word; i++)
        if (strcasecmp(v->node->text, word[i]) == 0) {
            *(uint8_t *)out = i % 2;
            return true;
        }
    value_error(v, "must be yes or no");
    return false;
}

static bool equal_bool(const void *a, const void *b)
{
    return *(const uint8_t *)a == *(const uint8_t *)b;
}

static void print_bool(const struct dp_opt *opt, const void *value, FILE *out)
{
    (void)opt;
    fputs(*(const uint8_t *)value ? "yes" : "no", out);
}

static bool parse_u32(const struct type_value *v, void *out)
{
    if (!parse_scalar(v))
        return false;
    uint64_t n = 0;
    int err = units_number(&n, v->node->text);
    if (err == -1)
        value_error(v, "a whole number is expected");
    else if (err < 0 || n > UINT32_MAX || !in_range(v, (int64_t)n)) {
        if (!unbounded(v->opt))
            return range_error(v);
        value_error(v, "larger than %" PRIu32, UINT32_MAX);
    } else {
        *(uint32_t *)out = (uint32_t)n;
        return true;
    }
    return false;
}

static bool equal_u32(const void *a, const void *b)
{
    return *(const uint32_t *)a == *(const uint32_t *)b;
}

static void print_u32(const struct dp_opt *opt, const void *value, FILE *out)
{
    (void)opt;
    fprintf(out, "%" PRIu32, *(const uint32_t *)value);
}

static const char *number_bound(int64_t bound, char buf[UNITS_TEXT])
{
    snprintf(buf, UNITS_TEXT, "%" PRId64, bound);
    return buf;
}

/* The length of the first word of `one|two|three`. */
static size_t choice_len(const char *choices)
{
    return strcspn(choices, "|");
}

static bool parse_enum(const struct type_value *v, void *out)
{
    if (!parse_scalar(v))
        return false;
    uint32_t index = 0;
    for (const char *c = v->opt->choices; *c; index++) {
        size_t len = choice_len(c);
        if (len == v->node->len && memcmp(c, v->node->text, len) == 0) {
            *(uint32_t *)out = index;
            return true;
        }
        c += len + (c[len] == '|');
    }
    value_error(v, "must be one of %s", v->opt->choices);
    return false;
}

static void print_enum(const struct dp_opt *opt, const void *value, FILE *out)
{
    const char *c = opt->choices;
    for (uint32_t index = *(const uint32_t *)value; index > 0; index--) {
        c += choice_len(c);
        c += *c == '|';
    }
    fprintf(out, "%.*s", (int)choice_len(c), c);
}

/* ---- DURATION, SIZE ---- */

static bool parse_duration(const struct type_value *v, void *out)
{
    int64_t ns;
    if (!parse_scalar(v))
        return false;
    int err = units_duration(&ns, v->node->text);
    if (err == -1)
        value_error(v, "a whole number with its unit (ns, us, ms, s, m, h, d) is expected, as 10s");
    else if ((err == -2 || !in_range(v, ns)) && !unbounded(v->opt))
        return range_error(v);
    else if (err == -2)
        value_error(v, "longer than 292 years");
    else
        *(int64_t *)out = ns;
    return err == 0;
}

static bool equal_duration(const void *a, const void *b)
{
    return *(const int64_t *)a == *(const int64_t *)b;
}

static void print_duration(const struct dp_opt *opt, const void *value, FILE *out)
{
    (void)opt;
    char text[UNITS_TEXT];
    fputs(units_duration_text(*(const int64_t *)value, text), out);
}

static bool parse_size(const struct type_value *v, void *out)
{
    uint64_t bytes;
    if (!parse_scalar(v))
        return false;
    int err = units_size(&bytes, v->node->text);
    bool fits = err == 0 && (unbounded(v->opt) || (bytes <= INT64_MAX && in_range(v, bytes)));
    if (err == -1)
        value_error(v, "a whole number with its unit (B, kB, KiB, MB, MiB, GB, GiB) is expected, "
                       "as 64KiB");
    else if (!fits && !unbounded(v->opt))
        return range_error(v);
    else if (!fits)
        value_error(v, "larger than 64 bits hold");
    else
        *(uint64_t *)out = bytes;
    return fits;
}

static bool equal_size(const void *a, const void *b)
{
    return *(const uint64_t *)a == *(const uint64_t *)b;
}

static void print_size(const struct dp_opt *opt, const void *value, FILE *out)
{
    (void)opt;
    char text[UNITS_TEXT];
    fputs(units_size_text(*(const uint64_t *)value, text), out);
}

static const char *size_bound(int64_t bound, char buf[UNITS_TEXT])
{
    return units_size_text((uint64_t)bound, buf);
}

/* ---- STRING, SECRET, DEVICE ---- */

static bool parse_string(const struct type_value *v, void *out)
{
    if (!parse_scalar(v))
        return false;
    if (!in_range(v, (int64_t)v->node->len)) {
        value_error(v, "must be %" PRId64 " to %" PRId64 " bytes long", v->opt->min, v->opt->max);
        return false;
    }
    *(struct dp_str *)out = (struct dp_str){v->node->text, (uint32_t)v->node->len};
    return true;
}

static bool equal_string(const void *a, const void *b)
{
    const struct dp_str *x = a, *y = b;
    return x->len == y->len && !x->p == !y->p && (!x->len || memcmp(x->p, y->p, x->len) == 0);
}

static void print_string(const struct dp_opt *opt, const void *value, FILE *out)
{
    (void)opt;
    const struct dp_str *s = value;
    tree_print(out, s->p, s->len);
}

static void print_secret(const struct dp_opt *opt, const void *value, FILE *out)
{
    (void)opt;
    (void)value;
    fputs("\"***\"", out);
}

/* As the kernel does (dev_valid_name): at most 15 bytes, no slash, colon or space. */
static bool parse_device(const struct type_value *v, void *out)
{
    if (!parse_scalar(v))
        return false;
    const char *name = v->node->text;
    size_t len = v->node->len;
    if (len < 1 || len > 15 || strpbrk(name, "/: \t\n") || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0) {
        value_error(v, "\"%s\" cannot be the name of a network interface", name);
        return false;
    }
    *(struct dp_str *)out = (struct dp_str){name, (uint32_t)len};
    return true;
}

/* ---- ENDPOINT, ADDRESS ---- */

static bool parse_endpoint(const struct type_value *v, void *out)
{
    struct dp_addr addr;
    if (!parse_scalar(v))
        return false;
    const char *text = v->node->text;
    if (v->node->len > 0 && strspn(text, "0123456789") == v->node->len)
        value_error(v, "an address belongs before the port, as 127.0.0.1:%s", text);
    else if (addr_parse_endpoint(&addr, text, v->node->len) < 0)
        value_error(v, "host:port is expected, as 192.0.2.1:1080, [2001:db8::1]:1080 or "
                       "proxy.example:1080");
    else {
        *(struct dp_addr *)out = addr;
        return true;
    }
    return false;
}

static bool parse_address(const struct type_value *v, void *out)
{
    struct dp_addr addr;
    if (!parse_scalar(v))
        return false;
    if (addr_parse_ip(&addr, v->node->text, v->node->len) < 0) {
        value_error(v, "an IPv4 or IPv6 address is expected");
        return false;
    }
    *(struct dp_addr *)out = addr;
    return true;
}

static bool equal_addr(const void *a, const void *b)
{
    const struct dp_addr *x = a, *y = b;
    bool x_set = x->salen || x->name, y_set = y->salen || y->name;
    return x_set == y_set && (!x_set || addr_equal(x, y));
}

static void print_endpoint(const struct dp_opt *opt, const void *value, FILE *out)
{
    (void)opt;
    const struct dp_addr *addr = value;
    char text[ADDR_TEXT];
    if (addr->salen) /* a name as it is: addr_text() has it for people */
        addr_text(addr, text);
    else
        snprintf(text, sizeof text, "%.*s:%u", (int)addr->name_len, addr->name, addr->port);
    tree_print(out, text, strlen(text));
}

static void print_address(const struct dp_opt *opt, const void *value, FILE *out)
{
    (void)opt;
    char text[ADDR_TEXT];
    addr_ip_text(value, text);
    tree_print(out, text, strlen(text));
}

/* ---- LIST ---- */

static bool parse_item(const struct type_value *v, size_t i, struct dp_str *out)
{
    const struct dp_opt any = {.type = DP_STRING};
    const struct type_value item = {v->scope, &any, v->name, tree_item(v->node, i)};
    return parse_string(&item, out);
}

static bool parse_list(const struct type_value *v, void *out)
{
    if (v->node->kind == TREE_MAP) {
        value_error(v, "a list is expected");
        return false;
    }
    size_t n = tree_items(v->node);
    if (!in_range(v, (int64_t)n)) {
        value_error(v, n ? "too many values" : "the list is empty");
        return false;
    }
    struct dp_str *item = memory_alloc(v->scope->memory, n * sizeof *item);
    for (size_t i = 0; i < n; i++)
        if (!item || !parse_item(v, i, &item[i]))
            return false;
    *(struct dp_list *)out = (struct dp_list){(uint32_t)n, item};
    return true;
}

static bool equal_list(const void *a, const void *b)
{
    const struct dp_list *x = a, *y = b;
    if (x->n != y->n)
        return false;
    for (uint32_t i = 0; i < x->n; i++)
        if (!equal_string(&x->item[i], &y->item[i]))
            return false;
    return true;
}

static void print_list(const struct dp_opt *opt, const void *value, FILE *out)
{
    const struct dp_list *list = value;
    fputc('[', out);
    for (uint32_t i = 0; i < list->n; i++) {
        fputs(i ? ", " : "", out);
        print_string(opt, &list->item[i], out);
    }
    fputc(']', out);
}

/* ---- the host's own ---- */

static bool parse_map(const struct type_value *v, void *out)
{
    (void)out;
    if (v->node->kind == TREE_MAP)
        return true;
    value_error(v, "keys and values are expected");
    return false;
}

static bool parse_any(const struct type_value *v, void *out)
{
    (void)v, (void)out;
    return true;
}

static bool parse_own_list(const struct type_value *v, void *out)
{
    (void)out;
    if (v->node->kind == TREE_LIST)
        return true;
    value_error(v, "a list is expected");
    return false;
}

static bool parse_later(const struct type_value *v, void *out)
{
    (void)out;
    value_error(v, "not in this version");
    return false;
}

static const struct type types[] = {
    [DP_BOOL] = {"bool", sizeof(uint8_t), parse_bool, equal_bool, NULL, print_bool, NULL},
    [DP_U32] = {"number", sizeof(uint32_t), parse_u32, equal_u32, NULL, print_u32, number_bound},
    [DP_DURATION] = {"duration", sizeof(int64_t), parse_duration, equal_duration, NULL,
                     print_duration, units_duration_text},
    [DP_SIZE] = {"size", sizeof(uint64_t), parse_size, equal_size, NULL, print_size, size_bound},
    [DP_STRING] = {"string", sizeof(struct dp_str), parse_string, equal_string, hash_str,
                   print_string, number_bound},
    [DP_SECRET] = {"secret", sizeof(struct dp_str), parse_string, equal_string, hash_str,
                   print_secret, number_bound},
    [DP_ENUM] = {"enum", sizeof(uint32_t), parse_enum, equal_u32, NULL, print_enum, NULL},
    [DP_ENDPOINT] = {"endpoint", sizeof(struct dp_addr), parse_endpoint, equal_addr, hash_addr,
                     print_endpoint, NULL},
    [DP_ADDRESS] = {"address", sizeof(struct dp_addr), parse_address, equal_addr, hash_addr,
                    print_address, NULL},
    [DP_DEVICE] = {"device", sizeof(struct dp_str), parse_device, equal_string, hash_str,
                   print_string, NULL},
    [DP_LIST] = {"list", sizeof(struct dp_list), parse_list, equal_list, hash_list, print_list,
                 number_bound},
};

static const struct type map_type = {.name = "map", .parse = parse_map};
static const struct type any_type = {.name = "any", .parse = parse_any};
static const struct type own_list_type = {.name = "list", .parse = parse_own_list};
static const struct type later_type = {.name = "later", .parse = parse_later};

const struct type *type_find(uint32_t type)
{
    if (type == OPTION_MAP)
        return &map_type;
    if (type == OPTION_ANY)
        return &any_type;
    if (type == OPTION_LIST)
        return &own_list_type;
    if (type == OPTION_LATER)
        return &later_type;
    if (type >= sizeof types / sizeof *types || !types[type].name)
        return NULL;
    return &types[type];
}
