/* cmd/config_setup.h: the sections `setup:` and `kibana:`: what `tapline setup` puts where.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_CONFIG_SETUP_H
#define TAPLINE_CMD_CONFIG_SETUP_H

#include "core/conf.h"

struct setup_conf {
    int64_t retention_ns; /* 0: for ever */
    uint64_t shards;
    uint64_t replicas;
    bool makes_topics;
    uint64_t partitions;
    uint64_t replication_factor; /* 0: the broker's default */
    int64_t topic_retention_ns;  /* 0: for ever */
};
extern const struct core_opt setup_opts[];
extern const size_t setup_opts_len;
extern const char config_setup_summary[];

struct kibana_conf {
    char *url; /* NULL: the file has no section kibana */
    char *api_key;
    char *username;
    char *password;
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *space; /* default: "default" */
    int64_t timeout_ns;
};
extern const struct core_opt kibana_opts[];
extern const size_t kibana_opts_len;
extern const char config_kibana_summary[];

/* What the rows cannot say. Adds to mistakes. */
void config_setup_check(const struct setup_conf *setup, const struct kibana_conf *kibana,
                        const struct core_conf_file *file, struct core_conf_mistakes *mistakes);

#endif
