/* cmd/map_export.c: `tapline map export WHAT`: what maps say about the documents they make, for those who store or read
 * them: templates for a search engine, a JSON Schema for each topic, tables of fields.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/config.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

static const struct cmd_option options[] = {
    {"config", 'c', "FILE", "Take the maps' directories and the inputs' own fields from this configuration."},
    {"to", 't', "DIR", "Write files there, and say which (default: all of it to stdout)."},
    {"maps", 0, "DIR", "Directory with logs.table, schema.tsv and maps/."},
    {"site-maps", 0, "DIR", "Directory of your own maps, which come before those."},
    {0},
};

struct export {
    const char *dir; /* NULL: stdout */
    bool is_first;
    bool is_failed;
};

/* ---- where it goes ----------------------------------------------------------------------------------------------------- */

static void export_fail(struct export *export, const char *path) {
    (void)fprintf(stderr, "tapline map export: %s: cannot be written: %s\n", path, strerror(errno));
    export->is_failed = true;
}

/* The directories of the path behind `from` bytes of it, as mkdir -p. */
static void dirs_make(char *path, size_t from) {
    for (char *slash = strchr(path + from, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0755); /* what is wrong shows when the file is opened */
        *slash = '/';
    }
}

static void file_write(struct export *export, const char *name, struct core_span text) {
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/%s", export->dir, name);
    if (len < 0 || (size_t)len >= sizeof(path)) {
        errno = ENAMETOOLONG;
        export_fail(export, export->dir);
        return;
    }
    dirs_make(path, 1);
    FILE *out = fopen(path, "we");
    bool is_written = out != NULL && fwrite(text.ptr, 1, text.len, out) == text.len;
    is_written = out != NULL && fclose(out) == 0 && is_written;
    if (!is_written) {
        export_fail(export, path);
        return;
    }
    printf("%s\n", path);
}

/* Files on stdout are members of one JSON object. */
static void on_file(void *ctx, const char *name, struct core_span text) {
    struct export *export = ctx;
    if (export->is_failed) {
        return;
    }
    if (export->dir != NULL) {
        file_write(export, name, text);
        return;
    }
    (void)fputs(export->is_first ? "{\n" : ",\n", stdout);
    cmd_print_json_string(stdout, core_span_of(name));
    (void)fputs(": ", stdout);
    (void)fwrite(text.ptr, 1, text.len - 1, stdout); /* its last byte is a newline */
    export->is_first = false;
}

/* ---- tables ------------------------------------------------------------------------------------------------------------ */

static void on_field(void *ctx, const struct normalize_field *field) {
    (void)fprintf(ctx, "%s\t%s\t%s\t%s\t%s\t%s\n", field->name, field->is_own ? "own" : "ecs", field->type, field->many,
                  field->datasets, field->meaning);
}

/* A row for each field of ECS that the dataset fills. */
static void on_dataset(void *ctx, const char *dataset, const char *ecs_fields) {
    while (*ecs_fields != '\0') {
        size_t len = strcspn(ecs_fields, " ");
        (void)fprintf(ctx, "%s\t%.*s\n", dataset, (int)len, ecs_fields);
        ecs_fields += len + (ecs_fields[len] == ' ' ? 1 : 0);
    }
}

static void on_mark(void *ctx, const char *field, const char *type, const char *datasets) {
    (void)fprintf(ctx, "%s\t%s\t%s\n", field, type, datasets);
}

static void table_export(struct export *export, const struct normalize_maps *maps, const char *what) {
    char name[32];
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    MUST(out != NULL);
    if (strcmp(what, "coverage") == 0) {
        (void)fputs("dataset\tfield\n", out);
        normalize_datasets_walk(maps, on_dataset, out);
    } else if (strcmp(what, "observables") == 0) {
        (void)fputs("field\ttype\tdatasets\n", out);
        normalize_observables_walk(maps, on_mark, out);
    } else {
        (void)fputs("field\tof\ttype\tmany\tdatasets\tmeaning\n", out);
        normalize_fields_walk(maps, on_field, out);
    }
    MUST(fclose(out) == 0); /* it writes to memory */
    (void)snprintf(name, sizeof(name), "%s.tsv", what);
    if (export->dir != NULL) {
        file_write(export, name, (struct core_span){text, len});
    } else {
        (void)fwrite(text, 1, len, stdout);
    }
    free(text);
}

/* ---- command ----------------------------------------------------------------------------------------------------------- */

struct wants {
    const char *what;
    bool is_table;
    enum normalize_export_kind kind;
};

static const struct wants *wants_find(const char *word) {
    static const struct wants rows[] = {
        {"elasticsearch", false, NORMALIZE_EXPORT_ELASTICSEARCH},
        {"opensearch", false, NORMALIZE_EXPORT_OPENSEARCH},
        {"json-schema", false, NORMALIZE_EXPORT_JSON_SCHEMA},
        {"fields", true, 0},
        {"coverage", true, 0},
        {"observables", true, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].what, word) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* The names that inputs' `fields:` add. Owns: free(); the names live as long as the config. */
static const char **open_fields(const struct config *config, size_t *len) {
    size_t all = 0;
    *len = 0;
    for (size_t i = 0; config != NULL && i < config->inputs_len; i++) {
        all += config->inputs[i].fields.len;
    }
    const char **names = calloc(all + 1, sizeof(*names));
    MUST(names != NULL);
    for (size_t i = 0; config != NULL && i < config->inputs_len; i++) {
        for (size_t f = 0; f < config->inputs[i].fields.len; f++) {
            names[(*len)++] = config->inputs[i].fields.items[f].key;
        }
    }
    return names;
}

static void export_run(const struct wants *wants, struct export *export, const struct normalize_maps *maps,
                       const struct config *config) {
    if (wants->is_table) {
        table_export(export, maps, wants->what);
        return;
    }
    size_t open_len;
    const char **open = open_fields(config, &open_len);
    const struct normalize_export_site site = {.shards = 1, .replicas = 1, .version = TAPLINE_VERSION};
    struct normalize_export_request request = {.kind = wants->kind,
                                               .site = &site,
                                               .open_fields = open,
                                               .open_fields_len = open_len,
                                               .file = on_file,
                                               .ctx = export};
    normalize_export(maps, &request);
    if (export->dir == NULL) {
        (void)fputs("\n}\n", stdout);
    }
    free(open);
}

static int run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    struct core_conf_mistakes mistakes = {0};
    struct normalize_maps *maps = NULL;
    struct config *config = NULL;
    int code;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    const struct wants *wants = args.files_len == 1 ? wants_find(args.files[0]) : NULL;
    const char *path = cmd_value(cmd, &args, "config");
    if (wants == NULL) {
        (void)fprintf(stderr,
                      "tapline map export: say one of elasticsearch, opensearch, json-schema, fields, coverage, "
                      "observables\n");
        return CORE_EXIT_USAGE;
    }
    if (path != NULL && config_load(&config, path, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    struct normalize_conf conf = cmd_maps_conf(cmd, &args);
    if (config != NULL) {
        bool is_named = cmd_value(cmd, &args, "maps") != NULL;
        conf.maps = is_named || config->normalize.maps == NULL ? conf.maps : config->normalize.maps;
        conf.site_maps = conf.site_maps == NULL ? config->normalize.site_maps : conf.site_maps;
    }
    code = CORE_EXIT_USAGE;
    if (normalize_maps_open(&maps, &conf, NULL, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
    } else {
        struct export export = {.dir = cmd_value(cmd, &args, "to"), .is_first = true};
        export_run(wants, &export, maps, config);
        code = export.is_failed ? CORE_EXIT_SYSTEM : CORE_EXIT_DONE;
    }
    normalize_maps_close(maps);
    config_free(config);
    return code;
}

const struct cmd cmd_map_export = {
    .name = "map export",
    .summary = "print what maps say about documents: templates, schemas, tables",
    .args = "elasticsearch|opensearch|json-schema|fields|coverage|observables",
    .about =
        "elasticsearch and opensearch are the templates that `tapline setup` installs, with one shard, one replica and "
        "no "
        "life-cycle: component templates (ECS's fields, settings), and an index template for each dataset and one for "
        "any "
        "other; each file is the body of a PUT to the path that it has below --to, without .json. json-schema is "
        "one JSON Schema (2020-12) for each topic, and index.json, which says whose is which. fields is a table of all "
        "fields with their type, meaning and the datasets that have them; coverage a table of the ECS fields of each "
        "dataset; observables one of what intelligence is asked about, and as what; all are separated by tabs. Without "
        "--to, files come as one JSON object, name by name. The same maps "
        "always give the same bytes.",
    .example = "tapline map export --to templates elasticsearch\n"
               "tapline map export json-schema | jq '.[\"tapline.zeek.dns.schema.json\"]'",
    .options = options,
    .run = run,
};
