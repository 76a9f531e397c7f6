/* SPDX-License-Identifier: MIT
 * fuzz_config.c: a whole configuration, with plugins that have options of every type. It has
 * mistakes, or what is printed of it is read as the same.
 */
#include "fuzz/target.h"
#include "lib/source_fake.h"

static struct config *parse(const char *text, size_t len, struct conf_errors *errors)
{
    struct config *config = config_parse("fuzz.yaml", text, len, NULL, 0, &fake_source, errors);
    require(config ? errors->n == 0 : errors->n > 0);
    for (size_t i = 0; i < errors->n; i++)
        require(*errors->line[i] && !strchr(errors->line[i], '\n'));
    return config;
}

static char *written(const struct config *config, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    require(out != NULL);
    config_write(config, out);
    require(fclose(out) == 0);
    return text;
}

/* Who may use a listener is not written, and without users it may be one that must not be open. */
static int has_users(const struct config *config)
{
    for (size_t i = 0; i < config->n_listeners; i++)
        if (config->listener[i].users)
            return 1;
    return 0;
}

static void require_same(const struct config *a, const struct config *b)
{
    require(a->n_links == b->n_links && a->n_pools == b->n_pools && a->n_rules == b->n_rules);
    require(a->n_listeners == b->n_listeners && a->n_backups == b->n_backups);
    for (size_t i = 0; i < a->n_links; i++) {
        const struct conf_link *x = &a->link[i], *y = &b->link[i];
        require(conf_link_hash(x) == conf_link_hash(y) && x->weight == y->weight);
        require(x->max_connections == y->max_connections && x->keep == y->keep);
    }
    for (size_t i = 0; i < a->n_pools; i++) {
        const struct conf_pool *x = &a->pool[i], *y = &b->pool[i];
        require(conf_pool_hash(x) == conf_pool_hash(y) && x->n_members == y->n_members);
        require(x->weight == y->weight && x->retries == y->retries && x->refuse == y->refuse);
    }
    require(memcmp(&a->timeouts, &b->timeouts, sizeof a->timeouts) == 0);
}

static void check_written(const struct config *config)
{
    struct conf_errors errors = {0};
    size_t len, again_len;
    char *text = written(config, &len);
    struct config *again = parse(text, len, &errors);
    require(again || has_users(config) || len > 1024 * 1024);
    if (again) {
        char *once_more = written(again, &again_len);
        require_same(config, again);
        require(len == again_len && memcmp(text, once_more, len) == 0);
        free(once_more);
    }
    free(text);
    config_free(again);
    conf_errors_free(&errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct conf_errors errors = {0};
    struct config *config = parse((const char *)data, len, &errors);
    if (config)
        check_written(config);
    config_free(config);
    conf_errors_free(&errors);
    return 0;
}
