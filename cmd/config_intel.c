/* cmd/config_intel.c: the section `intel:` of tapline.yml.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/config_intel.h"

#include <stdio.h>
#include <stdlib.h>

#define INTEL_ROWS_MAX 64
#define FEEDS_MAX 256

const char config_intel_summary[] = "What is known of addresses, names and files, and is added to documents.";
const char config_intel_redis_summary[] = "The store of indicators that all sensors share.";
const char config_intel_feeds_summary[] = "Where indicators come from; a list, for tapline intel sync.";

const char config_intel_lookback_summary[] =
    "What a sensor keeps of what it saw, so that what becomes known later is found in it.";

/* The rows of `intel` and, for the parser alone, the keys that are sections of their own. */
static size_t rows_of(struct core_opt rows[INTEL_ROWS_MAX]) {
    size_t len = 0;
    MUST(enrich_opts_len + 3 <= INTEL_ROWS_MAX);
    for (; len < enrich_opts_len; len++) {
        rows[len] = enrich_opts[len];
    }
    rows[len++] = (struct core_opt){.key = "redis", .type = CORE_OPT_SECTION, .help = config_intel_redis_summary};
    rows[len++] = (struct core_opt){.key = "lookback", .type = CORE_OPT_SECTION, .help = config_intel_lookback_summary};
    rows[len++] = (struct core_opt){.key = "feeds", .type = CORE_OPT_SECTION, .help = config_intel_feeds_summary};
    return len;
}

static void load_feed(struct config_intel *intel, size_t i, const struct core_conf_file *file,
                      const struct core_conf_node *node, struct core_conf_mistakes *mistakes) {
    struct enrich_feed_conf *feed = &intel->feeds[i];
    char prefix[64];
    struct core_fail fail = {0};
    (void)snprintf(prefix, sizeof(prefix), "intel.feeds[%zu]", i);
    if (core_conf_bind(file, node, prefix, enrich_feed_opts, enrich_feed_opts_len, feed, mistakes) != CORE_OK) {
        return;
    }
    if (enrich_feed_check(feed, &fail) != CORE_OK) {
        const struct core_conf_node *key = core_conf_get(node, fail.where);
        core_conf_mistake(file, key != NULL ? key : node, mistakes, "%s.%s: %s", prefix, fail.where, fail.text);
    }
    for (size_t before = 0; before < i; before++) {
        const char *other = intel->feeds[before].name;
        if (other != NULL && feed->name != NULL && strcmp(other, feed->name) == 0) {
            core_conf_mistake(file, core_conf_get(node, "name"), mistakes,
                              "%s.name: there is a feed \"%s\" already: each needs a name of its own", prefix, other);
        }
    }
}

static void load_feeds(struct config_intel *intel, const struct core_conf_file *file, const struct core_conf_node *list,
                       struct core_conf_mistakes *mistakes) {
    if (core_conf_is_null(list)) {
        return;
    }
    if (!core_conf_is_sequence(list) || core_conf_len(list) > FEEDS_MAX) {
        core_conf_mistake(file, list, mistakes,
                          "intel.feeds is %s: up to %d items such as \"- {name: corp, type: zeek, "
                          "path: /etc/tapline/intel/*.dat}\" are",
                          core_conf_is_sequence(list) ? "too long" : "no list", FEEDS_MAX);
        return;
    }
    intel->feeds_len = core_conf_len(list);
    intel->feeds = calloc(intel->feeds_len > 0 ? intel->feeds_len : 1, sizeof(*intel->feeds));
    MUST(intel->feeds != NULL);
    for (size_t i = 0; i < intel->feeds_len; i++) {
        load_feed(intel, i, file, core_conf_item(list, i), mistakes);
    }
}

/* ---- what each key says ---------------------------------------------------------------------------------------------------- */

/* An item of a list of texts, which a person may also write as one text. */
static const struct core_conf_node *item_of(const struct core_conf_node *list, size_t at) {
    return core_conf_is_sequence(list) ? core_conf_item(list, at) : list;
}

/* Each url by itself, so that each has its place. */
static void check_urls(const struct config_intel *intel, const struct core_conf_file *file,
                       const struct core_conf_node *list, struct core_conf_mistakes *mistakes) {
    for (size_t i = 0; i < intel->redis.urls.len; i++) {
        struct enrich_redis_conf one = {.urls = {.items = &intel->redis.urls.items[i], .len = 1}};
        struct core_fail fail = {0};
        if (enrich_redis_check(&one, &fail) != CORE_OK) {
            core_conf_mistake(file, item_of(list, i), mistakes, "%s: %s", fail.where, fail.text);
        }
    }
}

static void check_allow(const struct config_intel *intel, const struct core_conf_file *file,
                        const struct core_conf_node *list, struct core_conf_mistakes *mistakes) {
    for (size_t i = 0; i < intel->conf.allow.len; i++) {
        char room[ENRICH_VALUE_BYTES_MAX];
        enum core_indicator type = CORE_INDICATOR_NONE;
        struct core_span value;
        const char *why;
        const char *text = intel->conf.allow.items[i].value;
        if (!enrich_allow_canonical(&type, core_span_of(text), room, &value, &why)) {
            core_conf_mistake(file, item_of(list, i), mistakes, "intel.allow: \"%s\": %s", text, why);
        }
    }
}

/* ---- what they say together ------------------------------------------------------------------------------------------------ */

/* Is a section other than its defaults, so that somebody wants something of it? key gets the first key that is. */
static bool says_more(const struct core_opt *opts, size_t opts_len, const void *conf, const void *defaults,
                      const char **key) {
    return !core_conf_same_restart(opts, opts_len, conf, defaults, key);
}

/* What sections would be that say nothing. */
static void defaults_load(struct config_intel *out, const struct core_conf_file *file) {
    struct core_conf_mistakes none = {0};
    MUST(core_conf_bind(file, NULL, "intel", enrich_opts, enrich_opts_len, &out->conf, &none) == CORE_OK);
    MUST(core_conf_bind(file, NULL, "intel.redis", enrich_redis_opts, enrich_redis_opts_len, &out->redis, &none) ==
         CORE_OK);
    MUST(core_conf_bind(file, NULL, "intel.lookback", enrich_lookback_opts, enrich_lookback_opts_len,
                        &out->conf.lookback, &none) == CORE_OK);
}

/* Keys about indicators, and no indicators. Looking back that is turned off says nothing about them. */
static void check_nothing(const struct config_intel *intel, const struct core_conf_file *file,
                          const struct core_conf_node *node, struct core_conf_mistakes *mistakes) {
    struct config_intel defaults = {0};
    const char *key = NULL;
    const char *section = "";
    defaults_load(&defaults, file);
    bool is_more = says_more(enrich_opts, enrich_opts_len, &intel->conf, &defaults.conf, &key);
    if (!is_more) {
        section = "redis";
        is_more = says_more(enrich_redis_opts, enrich_redis_opts_len, &intel->redis, &defaults.redis, &key);
    }
    if (!is_more && intel->conf.lookback.days > 0) {
        section = "lookback";
        is_more = says_more(enrich_lookback_opts, enrich_lookback_opts_len, &intel->conf.lookback,
                            &defaults.conf.lookback, &key);
    }
    if (is_more) {
        const struct core_conf_node *at = section[0] == '\0' ? node : core_conf_get(node, section);
        core_conf_mistake(file, core_conf_get(at, key), mistakes,
                          "intel.%s%s%s is given, but no indicators are: name a Redis in intel.redis.urls, or files in "
                          "intel.files",
                          section, section[0] == '\0' ? "" : ".", key);
    }
    config_intel_release(&defaults);
}

/* All that section says but the urls. */
static void check_redis(const struct config_intel *intel, const struct core_conf_file *file,
                        const struct core_conf_node *redis, struct core_conf_mistakes *mistakes) {
    struct enrich_redis_conf rest = intel->redis;
    struct core_fail fail = {0};
    rest.urls.len = 0;
    if (enrich_redis_check(&rest, &fail) != CORE_OK) {
        const char *dot = strrchr(fail.where, '.');
        MUST(dot != NULL);
        core_conf_mistake(file, core_conf_get(redis, dot + 1), mistakes, "%s: %s", fail.where, fail.text);
    }
}

static void check_together(const struct config_intel *intel, const struct core_conf_file *file,
                           const struct core_conf_node *node, struct core_conf_mistakes *mistakes) {
    if (intel->redis.urls.len == 0 && intel->conf.files.len == 0) {
        check_nothing(intel, file, node, mistakes);
    } else {
        check_redis(intel, file, core_conf_get(node, "redis"), mistakes);
    }
    if (intel->feeds_len > 0 && intel->redis.urls.len == 0) {
        core_conf_mistake(file, core_conf_get(node, "feeds"), mistakes,
                          "intel.feeds fill Redis, and no Redis is given: name it in intel.redis.urls");
    }
    if (intel->conf.allow.len > 0 && intel->redis.urls.len > 0) {
        core_conf_mistake(file, core_conf_get(node, "allow"), mistakes,
                          "intel.allow goes with intel.files; with Redis, the list is there, for all sensors: `tapline "
                          "intel allow VALUE`");
    }
    if (intel->conf.files.len > 0 && intel->redis.urls.len > 0) {
        core_conf_mistake(
            file, core_conf_get(node, "files"), mistakes,
            "intel.files and intel.redis.urls are both there: indicators are either in this process or in "
            "Redis; put the files into Redis with `tapline intel load`, or as feeds");
    }
}

void config_intel_load(struct config_intel *out, const struct core_conf_file *file,
                       struct core_conf_mistakes *mistakes) {
    struct core_opt rows[INTEL_ROWS_MAX];
    size_t rows_len = rows_of(rows);
    size_t mistakes_before = mistakes->len;
    const struct core_conf_node *node = core_conf_get(core_conf_root(file), "intel");
    const struct core_conf_node *redis = core_conf_get(node, "redis");
    /* what the results say, mistakes says too */
    enum core_err err CORE_UNUSED = core_conf_bind(file, node, "intel", rows, rows_len, &out->conf, mistakes);
    err = core_conf_bind(file, redis, "intel.redis", enrich_redis_opts, enrich_redis_opts_len, &out->redis, mistakes);
    err = core_conf_bind(file, core_conf_get(node, "lookback"), "intel.lookback", enrich_lookback_opts,
                         enrich_lookback_opts_len, &out->conf.lookback, mistakes);
    out->says_lookback = core_conf_get(node, "lookback") != NULL;
    out->says_sightings = core_conf_get(node, "sightings_every") != NULL;
    bool is_bound = mistakes->len == mistakes_before; /* else what was refused looks as if it were not there */
    load_feeds(out, file, core_conf_get(node, "feeds"), mistakes);
    check_urls(out, file, core_conf_get(redis, "urls"), mistakes);
    check_allow(out, file, core_conf_get(node, "allow"), mistakes);
    if (is_bound) {
        check_together(out, file, node, mistakes);
    }
}

void config_intel_release(struct config_intel *intel) {
    for (size_t i = 0; i < intel->feeds_len; i++) {
        core_conf_release(enrich_feed_opts, enrich_feed_opts_len, &intel->feeds[i]);
    }
    free(intel->feeds);
    core_conf_release(enrich_redis_opts, enrich_redis_opts_len, &intel->redis);
    core_conf_release(enrich_lookback_opts, enrich_lookback_opts_len, &intel->conf.lookback);
    core_conf_release(enrich_opts, enrich_opts_len, &intel->conf);
    *intel = (struct config_intel){0};
}

const struct enrich_feed_conf *config_intel_feed(const struct config_intel *intel, const char *name) {
    for (size_t i = 0; i < intel->feeds_len; i++) {
        if (strcmp(intel->feeds[i].name, name) == 0) {
            return &intel->feeds[i];
        }
    }
    return NULL;
}
