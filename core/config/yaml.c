/* SPDX-License-Identifier: MIT
 * yaml.c: YAML text to a tree, by libyaml's events.
 *
 * libyaml itself has no limit on nesting, takes keys twice and leaves aliases to its caller, so all
 * of that is bounded here, before anything grows. There is no recursion but over the bounded depth.
 */
#include "config/tree.h"

#include <string.h>
#include <yaml.h>

struct level {
    struct tree_node *node;
    const char *anchor; /* takes effect when the node is complete: no node holds itself */
    const char *key;    /* of a map: waits for its value */
    unsigned key_line, key_column;
};

struct anchor {
    const char *name;
    const struct tree_node *node;
};

struct parse {
    struct conf_memory *memory;
    struct conf_errors *errors;
    struct tree_node at; /* where the event in hand stands */
    struct level level[TREE_DEPTH_MAX];
    unsigned depth, documents;
    struct tree_node *root;
    size_t n_nodes, n_anchors;
    struct anchor anchor[TREE_ANCHORS_MAX];
};

/* All functions that take an event return 0, or -1 when there is no sense in going on. */

static int count_node(struct parse *p)
{
    if (p->n_nodes++ < TREE_NODES_MAX)
        return 0;
    conf_error(p->errors, &p->at, "more than %d values, aliases expanded", TREE_NODES_MAX);
    return -1;
}

static int check_depth(struct parse *p, unsigned depth)
{
    if (depth < TREE_DEPTH_MAX)
        return 0;
    conf_error(p->errors, &p->at, "nested deeper than %d levels", TREE_DEPTH_MAX);
    return -1;
}

static void check_tag(struct parse *p, const yaml_char_t *tag)
{
    if (tag)
        conf_error(p->errors, &p->at, "tags are not supported: %s", (const char *)tag);
}

/* Escapes in quotes and block scalars can bring in what plain text cannot hold. */
static void check_controls(struct parse *p, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            conf_error(p->errors, &p->at, "a control character (byte %d) in the text", text[i]);
            return;
        }
}

/* Does a key come next? */
static bool want_key(const struct parse *p)
{
    const struct level *top = p->depth ? &p->level[p->depth - 1] : NULL;
    return top && top->node->kind == TREE_MAP && !top->key;
}

static int refuse_key(struct parse *p)
{
    conf_error(p->errors, &p->at, "a key is a single word, not a list, map or alias");
    return -1;
}

static int set_anchor(struct parse *p, const char *name, const struct tree_node *node)
{
    if (!name)
        return 0;
    if (p->n_anchors == TREE_ANCHORS_MAX) {
        conf_error(p->errors, &p->at, "more than %d anchors", TREE_ANCHORS_MAX);
        return -1;
    }
    p->anchor[p->n_anchors++] = (struct anchor){name, node};
    return 0;
}

/* Puts a node where the document now is. In a map it stands where its key does. */
static int attach(struct parse *p, struct tree_node *node)
{
    if (!node)
        return -1;
    if (p->depth == 0) {
        p->root = node;
        return 0;
    }
    struct level *top = &p->level[p->depth - 1];
    if (top->key) {
        node->line = top->key_line;
        node->column = top->key_column;
    }
    node = tree_add(p->memory, top->node, top->key, node);
    top->key = NULL;
    return node ? 0 : -1;
}

static int on_key(struct parse *p, const char *key, size_t len)
{
    if (strcmp(key, "<<") == 0) {
        conf_error(p->errors, &p->at, "merge keys (<<) are not supported: write the keys out");
        return -1;
    }
    check_controls(p, key, len);
    struct level *top = &p->level[p->depth - 1];
    top->key = memory_text(p->memory, key, len);
    top->key_line = p->at.line;
    top->key_column = p->at.column;
    return top->key ? 0 : -1;
}

static int on_scalar(struct parse *p, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    check_tag(p, event->data.scalar.tag);
    if (want_key(p))
        return on_key(p, text, len);
    check_controls(p, text, len);
    struct tree_node *node = tree_value(p->memory, &p->at, text, len);
    if (!node)
        return -1;
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    const char *anchor = (const char *)event->data.scalar.anchor;
    if (anchor && !(anchor = memory_text(p->memory, anchor, strlen(anchor))))
        return -1;
    return set_anchor(p, anchor, node) < 0 ? -1 : attach(p, node);
}

static int on_start(struct parse *p, enum tree_kind kind, const yaml_char_t *anchor,
                    const yaml_char_t *tag)
{
    check_tag(p, tag);
    if (want_key(p))
        return refuse_key(p);
    if (check_depth(p, p->depth) < 0)
        return -1;
    struct level level = {.node = tree_new(p->memory, &p->at, kind)};
    const char *name = (const char *)anchor;
    if (name && !(level.anchor = memory_text(p->memory, name, strlen(name))))
        return -1;
    if (attach(p, level.node) < 0)
        return -1;
    p->level[p->depth++] = level;
    return 0;
}

static int on_end(struct parse *p)
{
    struct level *top = &p->level[--p->depth];
    if (top->node->kind == TREE_MAP)
        tree_close(p->memory, p->errors, top->node);
    return set_anchor(p, top->anchor, top->node);
}

/* A node of its own for each use, so that the tree stays a tree. */
static struct tree_node *copy_node(struct parse *p, const struct tree_node *from, unsigned depth)
{
    if (count_node(p) < 0 || (from->kind != TREE_VALUE && check_depth(p, depth) < 0))
        return NULL;
    struct tree_node *node = tree_new(p->memory, from, from->kind);
    if (!node)
        return NULL;
    node->plain = from->plain;
    node->text = from->text;
    node->len = from->len;
    for (size_t i = 0; i < from->n; i++) {
        struct tree_node *item = copy_node(p, from->item[i], depth + 1);
        if (!tree_add(p->memory, node, from->item[i]->key, item))
            return NULL;
    }
    if (from->kind == TREE_MAP) {
        struct conf_errors told = {0}; /* keys given twice: the anchor's own node had them too */
        tree_close(p->memory, &told, node);
        conf_errors_free(&told);
    }
    return node;
}

static int on_alias(struct parse *p, const char *name)
{
    if (want_key(p))
        return refuse_key(p);
    const struct tree_node *node = NULL;
    for (size_t i = p->n_anchors; i-- > 0 && !node;)
        if (strcmp(p->anchor[i].name, name) == 0)
            node = p->anchor[i].node;
    if (node)
        return attach(p, copy_node(p, node, p->depth));
    conf_error(p->errors, &p->at, "*%s: no value above is marked &%s", name, name);
    return -1;
}

static int on_document(struct parse *p)
{
    if (p->documents++ == 0)
        return 0;
    conf_error(p->errors, &p->at, "a second document: a file holds one");
    return -1;
}

static int on_event(struct parse *p, const yaml_event_t *event)
{
    p->at.line = (unsigned)event->start_mark.line + 1;
    p->at.column = (unsigned)event->start_mark.column + 1;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return on_document(p);
    case YAML_ALIAS_EVENT:
        return on_alias(p, (const char *)event->data.alias.anchor);
    case YAML_SCALAR_EVENT:
        return count_node(p) < 0 ? -1 : on_scalar(p, event);
    case YAML_SEQUENCE_START_EVENT:
        return count_node(p) < 0 ? -1
                                 : on_start(p, TREE_LIST, event->data.sequence_start.anchor,
                                            event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return count_node(p) < 0 ? -1
                                 : on_start(p, TREE_MAP, event->data.mapping_start.anchor,
                                            event->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_end(p);
    default:
        return 0;
    }
}

/* libyaml's reader knows only the offset of a byte it cannot read; its parser knows line and
 * column. */
static void report_syntax(struct parse *p, const yaml_parser_t *yaml, const char *text, size_t len)
{
    const char *problem = yaml->problem ? yaml->problem : "out of memory";
    p->at.line = (unsigned)yaml->problem_mark.line + 1;
    p->at.column = (unsigned)yaml->problem_mark.column + 1;
    if (yaml->error == YAML_READER_ERROR) {
        p->at.line = p->at.column = 1;
        for (size_t i = 0; i < len && i < yaml->problem_offset; i++) {
            p->at.line += text[i] == '\n';
            p->at.column = text[i] == '\n' ? 1 : p->at.column + 1;
        }
    }
    conf_error(p->errors, &p->at, "not YAML: %s", problem);
}

static int parse_events(struct parse *p, yaml_parser_t *yaml, const char *text, size_t len)
{
    yaml_event_type_t type;
    do {
        yaml_event_t event;
        if (!yaml_parser_parse(yaml, &event)) {
            report_syntax(p, yaml, text, len);
            return -1;
        }
        type = event.type;
        int err = on_event(p, &event);
        yaml_event_delete(&event);
        if (err < 0)
            return -1;
    } while (type != YAML_STREAM_END_EVENT);
    return 0;
}

struct tree_node *tree_parse(struct conf_memory *memory, struct conf_errors *errors,
                             const char *file, const char *text, size_t len)
{
    struct parse *p = memory_alloc(memory, sizeof *p);
    yaml_parser_t yaml;
    if (!p)
        return NULL;
    p->memory = memory;
    p->errors = errors;
    p->at = (struct tree_node){.file = file, .line = 1, .column = 1};
    if (!yaml_parser_initialize(&yaml)) {
        conf_error(errors, &p->at, "out of memory");
        return NULL;
    }
    yaml_parser_set_encoding(&yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&yaml, (const unsigned char *)text, len);
    int err = parse_events(p, &yaml, text, len);
    yaml_parser_delete(&yaml);
    if (err < 0)
        return NULL;
    if (!p->root) {
        p->at.line = p->at.column = 1;
        p->root = tree_new(memory, &p->at, TREE_MAP);
    }
    return p->root;
}
