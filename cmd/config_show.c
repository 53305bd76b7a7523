/* cmd/config_show.c: `tapline config show`: what the configuration means, key by key, and where each value comes from.
 *
 * The output is YAML that means the same as the file, with every default written out and the origin behind each value as
 * a comment. Secrets are never shown: *** stands for what came from an @/path file, for every row that is a secret, and
 * for any librdkafka property whose name says so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/config.h"
#include "core/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define SHOW_NAME_BYTES_MAX 512

static const struct cmd_option options[] = {
    {"config", 'c', "FILE", "The configuration to show."},
    {"json", 0, NULL, "As one JSON object: each key with its value and its origin."},
    {0},
};

/* Where a section of one mapping lies in struct config. */
static const struct {
    const char *name;
    size_t offset;
    bool is_optional; /* shown only if the file has it: its required keys have no default */
} show_places[] = {
    {"node", offsetof(struct config, node), false},         {"ingest", offsetof(struct config, ingest), false},
    {"spool", offsetof(struct config, spool), false},       {"normalize", offsetof(struct config, normalize), false},
    {"pipeline", offsetof(struct config, pipeline), false}, {"feed", offsetof(struct config, feed), true},
    {"serve", offsetof(struct config, serve), true},        {"health", offsetof(struct config, health), true},
    {"log", offsetof(struct config, log), false},
};

struct show {
    const struct config *config;
    bool is_json;
    bool is_first;    /* of the JSON members */
    const char *lead; /* white space before a key, in YAML */
};

/* ---- one value as text ------------------------------------------------------------------------------------------------ */

static const char *show_unit(uint64_t value, bool is_duration, char *out, size_t out_len) {
    static const struct {
        const char *name;
        uint64_t factor;
        bool is_duration;
    } units[] = {
        {"d", UINT64_C(86400000000000), true},
        {"h", UINT64_C(3600000000000), true},
        {"m", UINT64_C(60000000000), true},
        {"s", 1000000000, true},
        {"ms", 1000000, true},
        {"us", 1000, true},
        {"ns", 1, true},
        {"GiB", UINT64_C(1) << 30, false},
        {"MiB", UINT64_C(1) << 20, false},
        {"KiB", UINT64_C(1) << 10, false},
        {"B", 1, false},
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && value != 0; i++) {
        if (units[i].is_duration == is_duration && value % units[i].factor == 0) {
            (void)snprintf(out, out_len, "%llu%s", (unsigned long long)(value / units[i].factor), units[i].name);
            return out;
        }
    }
    return "0";
}

/* A scalar's text; NULL for a string that is not set. */
static const char *show_scalar(const struct core_opt *opt, const void *field, char *out, size_t out_len) {
    switch (opt->type) {
    case CORE_OPT_STRING: {
        const char *text = *(char *const *)field;
        return text != NULL && opt->is_secret ? "***" : text;
    }
    case CORE_OPT_BOOL:
        return *(const bool *)field ? "true" : "false";
    case CORE_OPT_UINT:
        (void)snprintf(out, out_len, "%llu", (unsigned long long)*(const uint64_t *)field);
        return out;
    case CORE_OPT_DURATION:
        return show_unit((uint64_t) * (const int64_t *)field, true, out, out_len);
    case CORE_OPT_SIZE:
        return show_unit(*(const uint64_t *)field, false, out, out_len);
    case CORE_OPT_ENUM:
        return opt->choices[*(const int *)field];
    case CORE_OPT_STRINGS:
    case CORE_OPT_PAIRS:
    case CORE_OPT_SECTION:
        break;
    }
    MUST(!"a scalar's row");
    return NULL;
}

static bool show_name_is_secret(const char *key) {
    static const char *const words[] = {"password", "secret", "token", "key.pem", "jaas", "credential"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasestr(key, words[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static const char *show_item(const struct core_opt *opt, const struct core_conf_item *item) {
    bool is_hidden = item->is_secret || (opt->is_secret && (item->key == NULL || show_name_is_secret(item->key)));
    return is_hidden ? "***" : item->value;
}

/* ---- printing ---------------------------------------------------------------------------------------------------------- */

/* JSON's strings are YAML's double-quoted ones. */
static void show_string(const char *text) {
    if (text == NULL) {
        (void)fputs("null", stdout);
    } else {
        cmd_print_json_string(stdout, core_span_of(text));
    }
}

/* Only rows that hold text are quoted; YAML and JSON both know numbers, and true and false. */
static bool show_is_bare(const struct core_opt *opt, bool is_json) {
    return opt->type == CORE_OPT_BOOL || opt->type == CORE_OPT_UINT || (!is_json && opt->type != CORE_OPT_STRING);
}

static void show_value(const struct show *show, const struct core_opt *opt, const void *field) {
    char text[64];
    if (opt->type == CORE_OPT_STRINGS) {
        const struct core_conf_list *list = field;
        (void)fputs("[", stdout);
        for (size_t i = 0; i < list->len; i++) {
            (void)fputs(i == 0 ? "" : ", ", stdout);
            show_string(show_item(opt, &list->items[i]));
        }
        (void)fputs("]", stdout);
    } else if (opt->type == CORE_OPT_PAIRS) {
        const struct core_conf_list *list = field;
        (void)fputs("{", stdout);
        for (size_t i = 0; i < list->len; i++) {
            const char *value = show_item(opt, &list->items[i]);
            (void)fputs(i == 0 ? "" : ", ", stdout);
            show_string(list->items[i].key);
            (void)fputs(": ", stdout);
            if (list->items[i].is_number && value == list->items[i].value) {
                (void)fputs(value, stdout);
            } else {
                show_string(value);
            }
        }
        (void)fputs("}", stdout);
    } else {
        const char *value = show_scalar(opt, field, text, sizeof(text));
        if (value != NULL && show_is_bare(opt, show->is_json)) {
            (void)fputs(value, stdout);
        } else {
            show_string(value);
        }
    }
}

/* "file:line:column" of the value, "default", or "not set". */
static void show_origin(const struct show *show, const struct core_conf_node *section, const struct core_opt *opt,
                        const void *field, char *out, size_t out_len) {
    const struct core_conf_node *node = core_conf_get(section, opt->key);
    bool is_text = opt->type == CORE_OPT_STRING;
    bool is_list = opt->type == CORE_OPT_STRINGS || opt->type == CORE_OPT_PAIRS;
    if (!core_conf_is_null(node)) {
        core_conf_where(show->config->file, node, out, out_len);
    } else if ((is_text && *(char *const *)field == NULL) || (is_list && opt->def == NULL)) {
        (void)snprintf(out, out_len, "not set");
    } else {
        (void)snprintf(out, out_len, "default");
    }
}

static void show_section(struct show *show, const char *name, const struct core_conf_node *node,
                         const struct core_opt *opts, size_t opts_len, const void *conf) {
    for (size_t i = 0; i < opts_len; i++) {
        const void *field = (const char *)conf + opts[i].offset;
        char origin[SHOW_NAME_BYTES_MAX];
        show_origin(show, node, &opts[i], field, origin, sizeof(origin));
        if (show->is_json) {
            char key[SHOW_NAME_BYTES_MAX];
            (void)snprintf(key, sizeof(key), "%s.%s", name, opts[i].key);
            (void)fputs(show->is_first ? "{" : ",\n ", stdout);
            show_string(key);
            (void)fputs(": {\"value\": ", stdout);
            show_value(show, &opts[i], field);
            (void)fputs(", \"origin\": ", stdout);
            show_string(origin);
            (void)fputs("}", stdout);
        } else {
            printf("%s%s%s: ", show->is_first ? "" : show->lead, show->is_first ? "" : "  ", opts[i].key);
            show_value(show, &opts[i], field);
            printf("  # %s\n", origin);
        }
        show->is_first = false;
    }
}

static void show_inputs(struct show *show) {
    const struct config *config = show->config;
    const struct core_conf_node *list = core_conf_get(core_conf_root(config->file), "inputs");
    (void)fputs(show->is_json || config->inputs_len == 0 ? "" : "inputs:\n", stdout); /* none: nothing but intel */
    show->lead = "  ";
    for (size_t i = 0; i < config->inputs_len; i++) {
        char name[SHOW_NAME_BYTES_MAX];
        (void)snprintf(name, sizeof(name), "inputs[%zu]", i);
        if (!show->is_json) {
            (void)fputs("  - ", stdout);
            show->is_first = true; /* stands behind the dash */
        }
        show_section(show, name, core_conf_item(list, i), ingest_input_opts, ingest_input_opts_len, &config->inputs[i]);
    }
}

static void show_intel(struct show *show) {
    const struct config_intel *intel = &show->config->intel;
    const struct core_conf_node *node = core_conf_get(core_conf_root(show->config->file), "intel");
    const struct core_conf_node *feeds = core_conf_get(node, "feeds");
    (void)fputs(show->is_json ? "" : "intel:\n", stdout);
    show->lead = "";
    show_section(show, "intel", node, enrich_opts, enrich_opts_len, &intel->conf);
    (void)fputs(show->is_json ? "" : "  redis:\n", stdout);
    show->lead = "  ";
    show_section(show, "intel.redis", core_conf_get(node, "redis"), enrich_redis_opts, enrich_redis_opts_len,
                 &intel->redis);
    (void)fputs(show->is_json ? "" : "  lookback:\n", stdout);
    show_section(show, "intel.lookback", core_conf_get(node, "lookback"), enrich_lookback_opts,
                 enrich_lookback_opts_len, &intel->conf.lookback);
    if (!show->is_json) {
        printf("  feeds:%s\n", intel->feeds_len == 0 ? " []" : "");
    }
    show->lead = "    ";
    for (size_t i = 0; i < intel->feeds_len; i++) {
        char name[SHOW_NAME_BYTES_MAX];
        (void)snprintf(name, sizeof(name), "intel.feeds[%zu]", i);
        if (!show->is_json) {
            (void)fputs("    - ", stdout);
            show->is_first = true; /* stands behind the dash */
        }
        show_section(show, name, core_conf_item(feeds, i), enrich_feed_opts, enrich_feed_opts_len, &intel->feeds[i]);
    }
}

static void show_sensors(struct show *show) {
    const struct sensors_conf *sensors = &show->config->sensors;
    const struct core_conf_node *node = core_conf_get(core_conf_root(show->config->file), "sensors");
    if (node == NULL) {
        return;
    }
    (void)fputs(show->is_json ? "" : "sensors:\n", stdout);
    show->lead = "";
    show_section(show, "sensors", node, sensors_opts, sensors_opts_len, sensors);
    if (!show->is_json) {
        printf("  nodes:%s\n", sensors->nodes_len == 0 ? " []" : "");
    }
    show->lead = "    ";
    for (size_t i = 0; i < sensors->nodes_len; i++) {
        char name[SHOW_NAME_BYTES_MAX];
        (void)snprintf(name, sizeof(name), "sensors.nodes[%zu]", i);
        if (!show->is_json) {
            (void)fputs("    - ", stdout);
            show->is_first = true; /* stands behind the dash */
        }
        show_section(show, name, sensors->nodes[i].node, sensor_opts, sensor_opts_len, &sensors->nodes[i]);
    }
}

static void show_sinks(struct show *show) {
    const struct config *config = show->config;
    (void)fputs(show->is_json || config->sinks_len == 0 ? "" : "sinks:\n", stdout);
    show->lead = "  ";
    for (size_t i = 0; i < config->sinks_len; i++) {
        const struct config_sink *sink = &config->sinks[i];
        char name[SHOW_NAME_BYTES_MAX];
        (void)snprintf(name, sizeof(name), "sinks.%s", sink->ops->name);
        if (!show->is_json) {
            printf("  %s:%s\n", sink->ops->name, sink->ops->opts_len == 0 ? " {}" : "");
        }
        show_section(show, name, sink->node, sink->ops->opts, sink->ops->opts_len, sink->conf);
    }
}

static void show_config(struct show *show) {
    size_t sections_len = 0;
    const struct config_section *sections = config_sections(&sections_len);
    const struct core_conf_node *root = core_conf_root(show->config->file);
    show->is_first = show->is_json;
    for (size_t i = 0; i < sections_len; i++) {
        const struct config_section *section = &sections[i];
        for (size_t k = 0; k < sizeof(show_places) / sizeof(show_places[0]); k++) {
            const struct core_conf_node *node = core_conf_get(root, section->name);
            if (strcmp(section->name, show_places[k].name) != 0 || (show_places[k].is_optional && node == NULL)) {
                continue;
            }
            if (!show->is_json) {
                printf("%s:\n", section->name);
            }
            show->lead = "";
            show_section(show, section->name, node, section->opts, section->opts_len,
                         (const char *)show->config + show_places[k].offset);
        }
        if (strcmp(section->name, "inputs[]") == 0) {
            show_inputs(show);
        }
    }
    show_intel(show);
    show_sensors(show);
    show_sinks(show);
    (void)fputs(show->is_json ? "}\n" : "", stdout);
}

static int config_show_run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    int code = CORE_EXIT_DONE;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    const char *path = cmd_value(cmd, &args, "config");
    if (path == NULL) {
        fprintf(stderr, "tapline config show: -c FILE is missing: which configuration?\n");
        return CORE_EXIT_USAGE;
    }
    struct config *config = NULL;
    struct core_conf_mistakes *mistakes = calloc(1, sizeof(*mistakes));
    MUST(mistakes != NULL);
    if (config_load_any(&config, path, mistakes) == CORE_OK) {
        struct show show = {.config = config, .is_json = cmd_value(cmd, &args, "json") != NULL};
        show_config(&show);
    } else {
        for (size_t i = 0; i < mistakes->len; i++) {
            fprintf(stderr, "%s: %s\n", mistakes->fails[i].where, mistakes->fails[i].text);
        }
        code = CORE_EXIT_USAGE;
    }
    config_free(config);
    free(mistakes);
    return code;
}

const struct cmd cmd_config_show = {
    .name = "config show",
    .summary = "print the configuration with its defaults, and where each value comes from",
    .args = "",
    .about =
        "Prints the whole configuration as tapline understands it: every key of every section, the defaults too, "
        "each with its origin (file:line:column, or default). Secrets are shown as ***. The output is YAML that can "
        "be used as a configuration, once the secrets are put back.",
    .example = "tapline config show -c /etc/tapline/tapline.yml\ntapline config show -c tapline.yml --json",
    .options = options,
    .run = config_show_run,
};
