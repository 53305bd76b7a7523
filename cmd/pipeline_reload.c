/* cmd/pipeline_reload.c: SIGHUP: another config and other maps, whole or not at all, while batches are under way.
 *
 * Main loads both beside the old ones and refuses them with every reason if anything is wrong or needs a restart. Then
 * the steps of enum pipeline_reload_step hand them round: ingest takes the inputs (it keeps its own copy of what open
 * files need of them), then each worker the maps between two batches. When the last worker has them nobody can reach
 * the old ones, and main frees them. The sinks and intelligence stay as they are: their keys need a restart (but for
 * intel.feeds, of which a run knows nothing).
 * A crash in between is a crash like any other: the next start reads the config that is there then.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/pipeline_internal.h"

#include <stdio.h>

static void mistakes_log(const struct pipeline *pipeline, const struct core_conf_mistakes *mistakes, const char *what) {
    for (size_t i = 0; i < mistakes->len; i++) {
        char heading[sizeof(mistakes->fails[i].where) + 64]; /* one each: the log folds what looks the same */
        (void)snprintf(heading, sizeof(heading), "%s: %s", what, mistakes->fails[i].where);
        core_log(CORE_LEVEL_ERROR, pipeline->source->stage, heading, "error=\"%s\"", mistakes->fails[i].text);
    }
}

static void refused_tell(const struct pipeline *pipeline) {
    core_log(CORE_LEVEL_ERROR, pipeline->source->stage, "reload refused, the old config stays",
             "file=%s reload=%u hint=\"mend it, see it with tapline check -c %s, and send SIGHUP again\"",
             pipeline->options.config_path, pipeline->reload.number, pipeline->options.config_path);
}

/* Load config and maps into reload. Returns false if they are refused; it has said why. */
static bool reload_load(struct pipeline *pipeline) {
    struct pipeline_reload *reload = &pipeline->reload;
    struct core_conf_mistakes mistakes = {0};
    if (config_load_for(&reload->next_config, pipeline->options.config_path, pipeline->source->wants, &mistakes) !=
        CORE_OK) {
        mistakes_log(pipeline, &mistakes, "config refused");
        return false;
    }
    const char *key = "";
    if (!config_can_swap(pipeline->config, reload->next_config, &key)) {
        core_log(
            CORE_LEVEL_ERROR, pipeline->source->stage, "config refused",
            "key=%s error=\"this key changed and only a restart can change it\" hint=\"restart tapline: it goes on "
            "where it was\"",
            key);
        return false;
    }
    struct normalize_conf conf = cmd_normalize_conf(&reload->next_config->normalize);
    if (pipeline->source->has_workers &&
        normalize_maps_open(&reload->next_maps, &conf, pipeline->maps, &mistakes) != CORE_OK) {
        mistakes_log(pipeline, &mistakes, "config refused");
        return false;
    }
    return true;
}

void pipeline_reload_drop(struct pipeline *pipeline) {
    struct pipeline_reload *reload = &pipeline->reload;
    normalize_maps_close(reload->next_maps);
    config_free(reload->next_config);
    reload->next_maps = NULL;
    reload->next_config = NULL;
    atomic_store(&reload->step, RELOAD_NONE);
}

void pipeline_reload_start(struct pipeline *pipeline) {
    struct pipeline_reload *reload = &pipeline->reload;
    if (atomic_load(&reload->step) != RELOAD_NONE) {
        reload->is_wanted = true; /* the file may have changed since: load it again after this one */
        return;
    }
    reload->is_wanted = false;
    reload->number++;
    if (atomic_load(&pipeline->phase) != PIPELINE_RUNNING) {
        core_log(CORE_LEVEL_INFO, pipeline->source->stage, "reload ignored: stopping", "file=%s",
                 pipeline->options.config_path);
        return;
    }
    if (!reload_load(pipeline)) {
        refused_tell(pipeline);
        pipeline_reload_drop(pipeline);
        return;
    }
    atomic_store(&reload->step, RELOAD_INGEST);
    pipeline_poke(pipeline->ingest_thread.bell.fd);
}

static void reload_swap(struct pipeline *pipeline) {
    struct pipeline_reload *reload = &pipeline->reload;
    struct config *old_config = pipeline->config;
    struct normalize_maps *old_maps = pipeline->maps;
    /* The open sinks point into their part of the config they were opened with; the two parts are the same in every key,
     * so they change places and the old struct goes away with the copy that nobody uses. */
    for (size_t i = 0; i < old_config->sinks_len; i++) {
        void *conf = old_config->sinks[i].conf;
        old_config->sinks[i].conf = reload->next_config->sinks[i].conf;
        reload->next_config->sinks[i].conf = conf;
    }
    /* So do the keys of feed and intel, which an open source or stage knows by value: their texts stay. */
    struct feed_conf feed = old_config->feed;
    old_config->feed = reload->next_config->feed;
    reload->next_config->feed = feed;
    struct enrich_conf intel = old_config->intel.conf;
    struct enrich_redis_conf redis = old_config->intel.redis;
    old_config->intel.conf = reload->next_config->intel.conf;
    old_config->intel.redis = reload->next_config->intel.redis;
    reload->next_config->intel.conf = intel;
    reload->next_config->intel.redis = redis;
    pipeline->config = reload->next_config;
    pipeline->maps = reload->next_maps;
    reload->next_config = old_config;
    reload->next_maps = old_maps;
    core_log_level((enum core_level)pipeline->config->log.level);
    core_log_format((enum core_log_format)pipeline->config->log.format, pipeline->source->service);
    core_health_reload(pipeline->health, &pipeline->config->health);
    core_log(CORE_LEVEL_INFO, pipeline->source->stage, "config reloaded", "file=%s reload=%u inputs=%zu",
             pipeline->options.config_path, reload->number, pipeline->config->inputs_len);
    pipeline_reload_drop(pipeline);
    if (reload->is_wanted) {
        pipeline_reload_start(pipeline);
    }
}

static void reload_tell_workers(struct pipeline *pipeline) {
    struct pipeline_reload *reload = &pipeline->reload;
    if (pipeline->workers_len == 0) {
        reload_swap(pipeline); /* nobody else knows the old ones */
        return;
    }
    atomic_store(&reload->workers_left, pipeline->workers_len);
    atomic_store(&reload->step, RELOAD_WORKERS);
    for (uint32_t i = 0; i < pipeline->workers_len; i++) {
        atomic_store(&pipeline->workers[i].wants_maps, true);
        pipeline_poke(pipeline->workers[i].thread.bell.fd);
    }
}

void pipeline_reload_step(struct pipeline *pipeline) {
    struct pipeline_reload *reload = &pipeline->reload;
    switch ((enum pipeline_reload_step)atomic_load(&reload->step)) {
    case RELOAD_REFUSED:
        core_log_fail(CORE_LEVEL_ERROR, pipeline->source->stage, "config refused", &reload->fail);
        refused_tell(pipeline);
        pipeline_reload_drop(pipeline);
        break;
    case RELOAD_TAKEN:
        reload_tell_workers(pipeline);
        break;
    case RELOAD_DONE:
        reload_swap(pipeline);
        break;
    case RELOAD_NONE:
    case RELOAD_INGEST:
    case RELOAD_WORKERS:
        break; /* not main's turn */
    }
}
