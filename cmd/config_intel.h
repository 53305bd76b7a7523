/* cmd/config_intel.h: the section `intel:` of tapline.yml, with `redis:` and `feeds:` in it. By itself, too: a host that only
 * keeps the store up to date needs neither inputs nor sinks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_CONFIG_INTEL_H
#define TAPLINE_CMD_CONFIG_INTEL_H

#include "core/conf.h"
#include "enrich/enrich.h"

struct config_intel {
    struct enrich_conf conf;
    struct enrich_redis_conf redis; /* urls.len 0: there is no Redis */
    struct enrich_feed_conf *feeds;
    size_t feeds_len;
    bool says_lookback;  /* intel.lookback stands in the file */
    bool says_sightings; /* intel.sightings_every does */
};

extern const char config_intel_summary[], config_intel_redis_summary[], config_intel_feeds_summary[],
    config_intel_lookback_summary[];

/* Fill *out (zeroed by the caller); a file without the section gives the defaults. Mistakes are added to mistakes.
 * Owns: config_intel_release(), also after mistakes. */
void config_intel_load(struct config_intel *out, const struct core_conf_file *file,
                       struct core_conf_mistakes *mistakes);
void config_intel_release(struct config_intel *intel);
/* The feed of this name, or NULL. */
const struct enrich_feed_conf *config_intel_feed(const struct config_intel *intel, const char *name);

#endif
