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

const struct core_opt enrich_redis_opts[] = {
    {.key = "urls",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct enrich_redis_conf, urls),
     .help =
         "Where Redis is: redis://host:port/db, rediss://host:port/db (TLS), unix:///path/of/socket?db=0; the primary "
         "first, then its replicas, which sensors ask when the primary is gone."},
    {.key = "username",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct enrich_redis_conf, username),
     .help = "ACL user. Without it, the password is the default user's."},
    {.key = "password",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct enrich_redis_conf, password),
     .is_secret = true,
     .help = "Its password; @/path takes it from a file."},
    {.key = "ca_file",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct enrich_redis_conf, ca_file),
     .help =
         "PEM file of the authorities that may have signed Redis's certificate (rediss://); default: the system's."},
    {.key = "cert_file",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct enrich_redis_conf, cert_file),
     .help = "PEM file of our certificate, where Redis asks for one (tls-auth-clients)."},
    {.key = "key_file",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct enrich_redis_conf, key_file),
     .help = "PEM file of its private key."},
    {.key = "prefix",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct enrich_redis_conf, prefix),
     .def = "intel:",
     .help = "What the name of every key begins with, so that others can use the same database."},
    {.key = "connect_timeout",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct enrich_redis_conf, connect_timeout_ns),
     .def = "2s",
     .min = "10ms",
     .max = "1m",
     .help = "How long one of the urls may take, from the first packet to being logged in, before the next is tried."},
};
const size_t enrich_redis_opts_len = sizeof(enrich_redis_opts) / sizeof(enrich_redis_opts[0]);
