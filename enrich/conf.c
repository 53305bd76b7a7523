/* enrich/conf.c: the keys of `intel:`, `intel.redis:` and of an item of `intel.feeds:`.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/enrich_internal.h"

static const char *const on_unavailable_choices[] = {"pass", "wait", NULL};

const struct core_opt enrich_opts[] = {
    {.key = "files",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct enrich_conf, files),
     .help =
         "Files of indicators (globs), told by content, that this process holds itself: for a sensor without Redis. "
         "Read again when they change."},
    {.key = "on_unavailable",
     .type = CORE_OPT_ENUM,
     .offset = offsetof(struct enrich_conf, on_unavailable),
     .def = "pass",
     .choices = on_unavailable_choices,
     .help =
         "When intelligence cannot be asked: pass lets events go on with labels.intel: unavailable, wait holds them."},
    {.key = "timeout",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct enrich_conf, timeout_ns),
     .def = "200ms",
     .min = "1ms",
     .max = "1m",
     .help = "How long a batch's question to Redis may take."},
    {.key = "stale_after",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct enrich_conf, stale_after_ns),
     .def = "30s",
     .min = "1s",
     .max = "1d",
     .help = "Changes not followed for so long: what the filter says is not trusted, and all events count as not "
             "looked at."},
};
const size_t enrich_opts_len = sizeof(enrich_opts) / sizeof(enrich_opts[0]);
