/* cmd/reference.c: `tapline reference`: the reference part of the documentation, printed from the tables that the program
 * itself works with, as reStructuredText. docs/conf.py calls it; so can anybody who has only the program.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/config.h"
#include "supervisor/serve.h"

#include <stdio.h>
#include <stdlib.h>

#define REFERENCE_COLUMNS_MAX 5

static const struct cmd_option options[] = {
    {"maps", 0, "DIR", "For fields and coverage: the directory with logs.table, schema.tsv and maps/."},
    {"site-maps", 0, "DIR", "For fields and coverage: a directory of your own maps."},
    {0},
};

/* ---- reStructuredText --------------------------------------------------------------------------------------------------- */

/* Text in which `this` becomes ``this`` and nothing else has a meaning. */
static void rst_text(const char *text) {
    bool is_literal = false;
    for (; *text != '\0'; text++) {
        if (*text == '`' && (is_literal || strchr(text + 1, '`') != NULL)) {
            is_literal = !is_literal;
            (void)fputs("``", stdout);
        } else {
            if (!is_literal && strchr("\\*`|_", *text) != NULL) {
                (void)fputc('\\', stdout);
            }
            (void)fputc(*text == '\n' ? ' ' : *text, stdout);
        }
    }
}

static void rst_title(const char *text, char line) {
    size_t columns = 0;
    for (const char *at = text; *at != '\0'; at++) {
        columns += (*at & 0xc0) != 0x80 ? 1 : 0; /* UTF-8: a character's first byte */
    }
    printf("%s\n", text);
    for (; columns > 0; columns--) {
        (void)fputc(line, stdout);
    }
    (void)fputs("\n\n", stdout);
}

static void rst_table(const char *widths, const char *const *names, size_t names_len) {
    MUST(names_len <= REFERENCE_COLUMNS_MAX);
    printf(".. list-table::\n   :header-rows: 1\n   :widths: %s\n\n", widths);
    for (size_t i = 0; i < names_len; i++) {
        printf("   %s - %s\n", i == 0 ? "*" : " ", names[i]);
    }
}

/* A cell; "literal" for names and values. An empty one stays empty. */
static void rst_cell(bool is_first, bool is_literal, const char *text) {
    printf("   %s -", is_first ? "*" : " ");
    if (text[0] != '\0' && is_literal) {
        printf(" ``%s``", text);
    } else if (text[0] != '\0') {
        (void)fputc(' ', stdout);
        rst_text(text);
    }
    (void)fputc('\n', stdout);
}

/* A literal block of whole lines. */
static void rst_block(const char *text) {
    (void)fputs("::\n\n", stdout);
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        printf("   %.*s\n", (int)len, text);
        text += len + (text[len] == '\n' ? 1 : 0);
    }
    (void)fputc('\n', stdout);
}

/* ---- options ------------------------------------------------------------------------------------------------------------- */

static void option_type(const struct core_opt *opt, char *out, size_t out_len) {
    static const char *const names[] = {
        [CORE_OPT_STRING] = "text",     [CORE_OPT_BOOL] = "yes or no",
        [CORE_OPT_UINT] = "number",     [CORE_OPT_DURATION] = "duration",
        [CORE_OPT_SIZE] = "size",       [CORE_OPT_ENUM] = "one of",
        [CORE_OPT_STRINGS] = "list",    [CORE_OPT_PAIRS] = "keys and values",
        [CORE_OPT_SECTION] = "section",
    };
    size_t used = (size_t)snprintf(out, out_len, "%s", names[opt->type]);
    for (size_t i = 0; opt->type == CORE_OPT_ENUM && opt->choices[i] != NULL && used < out_len; i++) {
        used += (size_t)snprintf(out + used, out_len - used, "%s %s", i == 0 ? "" : ",", opt->choices[i]);
    }
    if (opt->min != NULL && opt->max != NULL && used < out_len) {
        (void)snprintf(out + used, out_len - used, ", %s to %s", opt->min, opt->max);
    } else if (opt->min != NULL && used < out_len) {
        (void)snprintf(out + used, out_len - used, ", at least %s", opt->min);
    } else if (opt->max != NULL && used < out_len) {
        (void)snprintf(out + used, out_len - used, ", at most %s", opt->max);
    }
}

static void reference_options(void) {
    static const char *const names[] = {"Key", "Type", "Default", "Meaning"};
    size_t len = 0;
    const struct config_section *sections = config_sections(&len);
    for (size_t i = 0; i < len; i++) {
        rst_title(sections[i].name, '-');
        rst_text(sections[i].summary);
        (void)fputs("\n\n", stdout);
        if (sections[i].opts_len == 0) {
            (void)fputs("It has no keys.\n\n", stdout);
            continue;
        }
        rst_table("20 20 20 40", names, sizeof(names) / sizeof(names[0]));
        for (size_t k = 0; k < sections[i].opts_len; k++) {
            const struct core_opt *opt = &sections[i].opts[k];
            char type[256];
            option_type(opt, type, sizeof(type));
            rst_cell(true, true, opt->key);
            rst_cell(false, false, type);
            rst_cell(false, !opt->is_required, opt->is_required ? "required" : opt->def == NULL ? "" : opt->def);
            (void)fputs("     - ", stdout);
            rst_text(opt->help);
            (void)fputs(opt->is_secret ? " A value ``@/path`` is read from that file's first line." : "", stdout);
            (void)fputs(opt->needs_restart ? " A change needs a restart." : "", stdout);
            (void)fputc('\n', stdout);
        }
        (void)fputc('\n', stdout);
    }
}

/* ---- types of feeds ------------------------------------------------------------------------------------------------------ */

static void reference_feeds(void) {
    static const char *const names[] = {"Option", "Meaning"};
    for (int type = 0; enrich_feed_types[type] != NULL; type++) {
        const char *key = NULL;
        const char *help = NULL;
        rst_title(enrich_feed_types[type], '-');
        rst_text(enrich_feed_summary(type));
        (void)fputs(".\n\n", stdout);
        if (!enrich_feed_option(type, 0, &key, &help)) {
            (void)fputs("It has no options.\n\n", stdout);
            continue;
        }
        rst_table("25 75", names, sizeof(names) / sizeof(names[0]));
        for (size_t i = 0; enrich_feed_option(type, i, &key, &help); i++) {
            rst_cell(true, true, key);
            rst_cell(false, false, help);
        }
        (void)fputc('\n', stdout);
    }
}

/* ---- counters, fields ---------------------------------------------------------------------------------------------------- */

static void reference_counters(void) {
    static const char *const names[] = {"Counter", "Unit", "Meaning", "In /metrics"};
    rst_table("22 8 45 25", names, sizeof(names) / sizeof(names[0]));
    for (size_t i = 0; i < CORE_COUNT__MAX; i++) {
        char name[160];
        core_health_counter_name((enum core_counter)i, name);
        strncat(name, "_total", sizeof(name) - strlen(name) - 1);
        rst_cell(true, true, core_counter_table[i].name);
        rst_cell(false, false, core_counter_table[i].unit);
        rst_cell(false, false, core_counter_table[i].meaning);
        rst_cell(false, true, name);
    }
    (void)fputc('\n', stdout);
}

/* ---- rows of health, problems --------------------------------------------------------------------------------------------- */

static const char *unit_word(enum core_health_unit unit) {
    static const char *const words[] = {[CORE_UNIT_NUMBER] = "",
                                        [CORE_UNIT_BYTES] = "bytes",
                                        [CORE_UNIT_NS] = "seconds",
                                        [CORE_UNIT_TIME] = "time, seconds since 1970",
                                        [CORE_UNIT_SINCE] = "age, seconds",
                                        [CORE_UNIT_PPM] = "ratio, 0 to 1",
                                        [CORE_UNIT_FLAG] = "0 or 1"};
    return words[unit];
}

static void measure_row(enum core_health_measure measure) {
    const struct core_health_measure_info *info = &core_health_measures[measure];
    char member[64];
    char name[176];
    core_health_measure_name(measure, member);
    core_health_metric_name(measure, name);
    strncat(name, info->only_grows ? "_total" : "", sizeof(name) - strlen(name) - 1);
    rst_cell(true, true, member);
    rst_cell(false, false, unit_word(info->unit));
    rst_cell(false, false, info->meaning);
    rst_cell(false, true, name);
}

static void reference_metrics(void) {
    static const char *const names[] = {"Member", "Unit", "Meaning", "In /metrics"};
    for (int kind = 0; kind < CORE_HEALTH__MAX; kind++) {
        const struct core_health_kind_info *info = core_health_kind_info((enum core_health_kind)kind);
        rst_title(info->name, '^');
        rst_text(info->meaning);
        (void)fputs(info->label_names[0] == NULL ? ". There is one" : ". Labels:", stdout);
        for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && info->label_names[i] != NULL; i++) {
            printf("%s ``%s``", i == 0 ? "" : ",", info->label_names[i]);
        }
        (void)fputs(".\n\n", stdout);
        rst_table("22 8 45 25", names, sizeof(names) / sizeof(names[0]));
        for (int i = 0; i < info->measures_len; i++) {
            measure_row((enum core_health_measure)(info->first_measure + i));
        }
        if (info->histogram != NULL) {
            char name[160];
            core_health_histogram_name((enum core_health_kind)kind, name);
            rst_cell(true, true, info->histogram);
            rst_cell(false, false, "histogram, seconds");
            rst_cell(false, false, info->histogram_meaning);
            rst_cell(false, true, name);
        }
        (void)fputc('\n', stdout);
    }
}

static void reference_problems(void) {
    static const char *const names[] = {"Code", "Severity", "What it means", "What to do"};
    static const char *const words[] = {
        [CORE_HEALTH_INFO] = "info", [CORE_HEALTH_WARN] = "warn", [CORE_HEALTH_ERROR] = "error"};
    const char *code = NULL;
    const char *meaning = NULL;
    const char *help = NULL;
    enum core_health_severity severity = CORE_HEALTH_INFO;
    rst_table("18 8 34 40", names, sizeof(names) / sizeof(names[0]));
    for (size_t i = 0; core_health_rule_at(i, &code, &severity, &meaning, &help); i++) {
        rst_cell(true, true, code);
        rst_cell(false, false, words[severity]);
        rst_cell(false, false, meaning);
        rst_cell(false, false, help);
    }
    (void)fputc('\n', stdout);
}

#define REFERENCE_NAMED_MAX 6 /* more datasets than these are counted, not named */

static size_t words_len(const char *text) {
    size_t len = 0;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        text += word + (text[word] == ' ' ? 1 : 0);
        len++;
    }
    return len;
}

static void field_row(void *ctx, const struct normalize_field *field) {
    char text[256];
    (void)ctx;
    (void)snprintf(text, sizeof(text), "%s%s%s", field->type,
                   field->many[0] == '\0'               ? ""
                   : strcmp(field->many, "either") == 0 ? ", or a list of them"
                                                        : ", a ",
                   strcmp(field->many, "either") == 0 ? "" : field->many);
    rst_cell(true, true, field->name);
    rst_cell(false, false, text);
    rst_cell(false, false, field->meaning);
    size_t len = words_len(field->datasets);
    (void)snprintf(text, sizeof(text), "%zu datasets", len);
    rst_cell(false, false, len > REFERENCE_NAMED_MAX ? text : field->datasets);
}

static void dataset_row(void *ctx, const char *dataset, const char *ecs_fields) {
    char text[32];
    (void)ctx;
    (void)snprintf(text, sizeof(text), "%zu", words_len(ecs_fields));
    rst_cell(true, true, dataset);
    rst_cell(false, false, text);
    rst_cell(false, false, ecs_fields);
}

static void mark_row(void *ctx, const char *field, const char *type, const char *datasets) {
    char text[64];
    size_t len = words_len(datasets);
    (void)ctx;
    (void)snprintf(text, sizeof(text), "%zu datasets", len);
    rst_cell(true, true, field);
    rst_cell(false, false, type);
    rst_cell(false, false, len > REFERENCE_NAMED_MAX ? text : datasets);
}

static int reference_maps(const struct normalize_conf *conf, const char *what) {
    static const char *const fields[] = {"Field", "Type", "Meaning", "In"};
    static const char *const datasets[] = {"Dataset", "How many", "Fields of ECS"};
    static const char *const observables[] = {"Field", "Looked up as", "In"};
    struct core_conf_mistakes mistakes = {0};
    struct normalize_maps *maps = NULL;
    if (normalize_maps_open(&maps, conf, NULL, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    if (strcmp(what, "observables") == 0) {
        rst_table("40 15 45", observables, sizeof(observables) / sizeof(observables[0]));
        normalize_observables_walk(maps, mark_row, NULL);
    } else if (strcmp(what, "coverage") == 0) {
        rst_table("20 10 70", datasets, sizeof(datasets) / sizeof(datasets[0]));
        normalize_datasets_walk(maps, dataset_row, NULL);
    } else {
        rst_table("30 15 40 15", fields, sizeof(fields) / sizeof(fields[0]));
        normalize_fields_walk(maps, field_row, NULL);
    }
    (void)fputc('\n', stdout);
    normalize_maps_close(maps);
    return CORE_EXIT_DONE;
}

/* ---- methods of the control channel --------------------------------------------------------------------------------------- */

static const struct {
    const char *title;
    const char *about;
    bool (*at)(size_t i, const char **name, const char **summary);
} services[] = {
    {"Methods of Main",
     "What the command line does. `words` are names of nodes, groups, types in the plural (`workers`) or `all`.",
     serve_method_at},
    {"Methods of the Supervisor",
     "Every answer comes at once and says what is being done; that it was done is an event. `names` are names of "
     "processes.",
     supervisor_method_at},
};

static void reference_methods(void) {
    static const char *const columns[] = {"Method", "Meaning"};
    for (size_t k = 0; k < sizeof(services) / sizeof(services[0]); k++) {
        const char *name = NULL;
        const char *summary = NULL;
        rst_title(services[k].title, '-');
        rst_text(services[k].about);
        (void)fputs("\n\n", stdout);
        rst_table("20 80", columns, sizeof(columns) / sizeof(columns[0]));
        for (size_t i = 0; services[k].at(i, &name, &summary); i++) {
            rst_cell(true, true, name);
            rst_cell(false, false, summary);
        }
        (void)fputc('\n', stdout);
    }
}

/* ---- commands ------------------------------------------------------------------------------------------------------------ */

/* The parts of a command's page, under titles of this line. */
static void reference_command(const struct cmd *cmd, char line) {
    rst_title("Synopsis", line);
    printf("**tapline %s** [*OPTION*…]", cmd->name);
    if (cmd->args[0] != '\0') {
        (void)fputc(' ', stdout);
        rst_text(cmd->args);
    }
    (void)fputs("\n\n", stdout);
    rst_title("Description", line);
    rst_text(cmd->about);
    (void)fputs("\n\n", stdout);
    rst_title("Options", line);
    for (const struct cmd_option *option = cmd->options; option != NULL && option->name != NULL; option++) {
        if (option->letter != 0) {
            printf("``-%c``, ", option->letter);
        }
        printf("``--%s%s%s``\n    ", option->name, option->arg == NULL ? "" : " ",
               option->arg == NULL ? "" : option->arg);
        rst_text(option->help);
        (void)fputs("\n\n", stdout);
    }
    printf("``-h``, ``--help``\n    Print a short help and exit.\n\n");
    rst_title("Exit status", line);
    printf("0 done; 1 the answer is no; 100 called or configured wrongly, a restart does not help; "
           "111 the system failed, a restart may help.\n\n");
    rst_title("Example", line);
    rst_block(cmd->example);
}

static void reference_commands(void) {
    for (size_t i = 0; cmd_table[i] != NULL; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "tapline %s", cmd_table[i]->name);
        rst_title(name, '-');
        rst_text(cmd_table[i]->summary);
        (void)fputs("\n\n", stdout);
        reference_command(cmd_table[i], '^');
    }
}

/* "map-explain" or "map explain". */
static const struct cmd *reference_find(const char *name) {
    for (size_t i = 0; cmd_table[i] != NULL; i++) {
        const char *a = cmd_table[i]->name;
        const char *b = name;
        while (*a != '\0' && (*a == *b || (*a == ' ' && *b == '-'))) {
            a++;
            b++;
        }
        if (*a == '\0' && *b == '\0') {
            return cmd_table[i];
        }
    }
    return NULL;
}

/* A man page's body; without a name, the names of all pages, one a line. */
static bool reference_man(const char *name) {
    if (name == NULL) {
        for (size_t i = 0; cmd_table[i] != NULL; i++) {
            for (const char *at = cmd_table[i]->name; *at != '\0'; at++) {
                (void)fputc(*at == ' ' ? '-' : *at, stdout);
            }
            printf("\t%s\n", cmd_table[i]->summary);
        }
        return true;
    }
    const struct cmd *cmd = reference_find(name);
    if (cmd == NULL) {
        fprintf(stderr, "tapline reference: no command is named \"%s\"; `tapline reference man` lists all\n", name);
        return false;
    }
    char title[64];
    (void)snprintf(title, sizeof(title), "tapline %s", cmd->name);
    rst_title(title, '=');
    reference_command(cmd, '-');
    return true;
}

static const struct {
    const char *name;
    void (*print)(void);
} parts[] = {
    {"options", reference_options},   {"feeds", reference_feeds},       {"counters", reference_counters},
    {"metrics", reference_metrics},   {"problems", reference_problems}, {"methods", reference_methods},
    {"commands", reference_commands},
};

static int reference_run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    int code = CORE_EXIT_DONE;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    const char *what = args.files_len > 0 ? args.files[0] : "";
    const char *name = args.files_len > 1 ? args.files[1] : NULL;
    struct normalize_conf conf = cmd_maps_conf(cmd, &args);
    if (args.files_len > 2 || (name != NULL && strcmp(what, "man") != 0)) {
        fprintf(stderr, "tapline reference: one part at a time; \"%s\" is too much\n", args.files[args.files_len - 1]);
        return CORE_EXIT_USAGE;
    }
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strcmp(what, parts[i].name) == 0) {
            parts[i].print();
            return CORE_EXIT_DONE;
        }
    }
    if (strcmp(what, "fields") == 0 || strcmp(what, "coverage") == 0 || strcmp(what, "observables") == 0) {
        return reference_maps(&conf, what);
    }
    if (strcmp(what, "man") == 0) {
        return reference_man(name) ? CORE_EXIT_DONE : CORE_EXIT_USAGE;
    }
    fprintf(stderr, "tapline reference: say which part: options, feeds, counters, metrics, problems, fields, coverage, "
                    "observables, methods, commands or man\n");
    return CORE_EXIT_USAGE;
}

const struct cmd cmd_reference = {
    .name = "reference",
    .summary = "print the reference of options, metrics, problems, fields, methods or commands",
    .args = "options|feeds|counters|metrics|problems|fields|coverage|observables|methods|commands|man [COMMAND]",
    .about =
        "Prints a part of the reference as reStructuredText, made from the tables that the program works with: every "
        "key of the configuration, every type of feeds, every counter, metric and problem, every field of the schema, "
        "the fields of each "
        "dataset, every "
        "observable, every method of the control channel, every command. With man, the page of one "
        "command, or the list of pages.",
    .example = "tapline reference options\ntapline reference man map-explain",
    .options = options,
    .run = reference_run,
};
