/* cmd/health.c: `tapline health`: the health logs of a host, as a person would read them: what changed, when, and what to do.
 *
 * Lines of all processes are put in the order of their times. What is shown are differences: a problem that came, a problem
 * that went, a start, an end; lines between say the same again and are read for what a full disk may have swallowed.
 * With -f files are looked at four times a second, also those that come later; one that was renamed is read to its end first.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/config.h"
#include "cmd/health_read.h"
#include "core/json_tree.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS (250 * CORE_NS_PER_MS)
#define KNOWN_MAX 128
#define PROBLEMS_MAX 256
#define TEXT_BYTES 1024
#define STATE_BYTES 16

static const struct cmd_option options[] = {
    {"config", 'c', "FILE",
     "Take health.log_dir, else node.state, of this configuration (default without files: the defaults)."},
    {"follow", 'f', NULL, "Go on with what is written from now on, until it is interrupted."},
    {"since", 0, "TIME", "Only what came since then: 2h (before now), 2026-11-21 or 2026-11-21T03:00:00Z."},
    {"json", 0, NULL, "The lines as they are, in the order of their times: one JSON object a line."},
    {0},
};

struct problem {
    char code[64];
    char component[TEXT_BYTES];
    bool is_there;
};
/* A process, as its last line left it. */
struct known {
    char name[128]; /* "run", "feed-1"; of another node "feed-1@node" */
    char state[STATE_BYTES];
    char time[32];
    bool has_ended;
    struct problem *problems;
    size_t problems_len;
};
struct telling {
    struct known known[KNOWN_MAX];
    size_t known_len;
    struct core_arena arena;
    bool is_json;
    bool is_coloured;
};

/* ---- texts ------------------------------------------------------------------------------------------------------------------- */

/* Paths and reasons come from elsewhere: nothing of them moves the cursor or colours the screen. */
static void print_text(struct core_span text) {
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool is_c1 = c == 0xc2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xa0;
        (void)putchar(c < 0x20 || c == 0x7f || is_c1 ? '?' : c);
        i += is_c1 ? 1 : 0;
    }
}

static void text_take(char *out, size_t out_len, struct core_span text) {
    struct core_span cut = core_utf8_cut(text, out_len - 1);
    memcpy(out, cut.ptr == NULL ? "" : cut.ptr, cut.len);
    out[cut.len] = '\0';
}

static const char *help_of(const char *code) {
    const char *name = NULL;
    const char *meaning = NULL;
    const char *help = NULL;
    enum core_health_severity severity = CORE_HEALTH_INFO;
    for (size_t i = 0; core_health_rule_at(i, &name, &severity, &meaning, &help); i++) {
        if (strcmp(name, code) == 0) {
            return help;
        }
    }
    return NULL; /* a line of another version */
}

/* "2026-11-22 08:51:07Z  run          failing   " */
static void print_head(const struct telling *telling, const struct known *known) {
    static const struct {
        const char *state;
        const char *colour;
    } colours[] = {{"failing", "\033[31m"}, {"degraded", "\033[33m"}, {"ok", "\033[32m"}};
    const char *colour = "";
    for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]) && telling->is_coloured; i++) {
        colour = strcmp(known->state, colours[i].state) == 0 ? colours[i].colour : colour;
    }
    (void)printf("%.10s %.8sZ  ", known->time, known->time + 11);
    print_text(core_span_of(known->name));
    (void)printf("%*s%s%-8s%s  ", (int)(strlen(known->name) < 12 ? 13 - strlen(known->name) : 1), "", colour,
                 known->state, colour[0] == '\0' ? "" : "\033[0m");
}

/* ---- what changed -------------------------------------------------------------------------------------------------------------- */

static struct known *known_of(struct telling *telling, const struct core_json_tree *line) {
    const struct core_json_tree *own = core_json_tree_get(core_json_tree_get(line, "tapline"), "health");
    const struct core_json_tree *service = core_json_tree_get(line, "service");
    struct core_span process = core_json_tree_text(own, "process");
    struct core_span node = core_json_tree_text(core_json_tree_get(service, "node"), "name");
    char name[128];
    int len = core_span_is(process, "feed")
                  ? snprintf(name, sizeof name, "feed-%lld@%.*s", (long long)core_json_tree_integer(own, "instance", 0),
                             node.len < 64 ? (int)node.len : 64, node.ptr)
                  : snprintf(name, sizeof name, "%.*s@%.*s", process.len < 32 ? (int)process.len : 32, process.ptr,
                             node.len < 64 ? (int)node.len : 64, node.ptr);
    MUST(len > 0 && (size_t)len < sizeof name);
    for (size_t i = 0; i < telling->known_len; i++) {
        if (strcmp(telling->known[i].name, name) == 0) {
            return &telling->known[i];
        }
    }
    if (telling->known_len == KNOWN_MAX) {
        return NULL;
    }
    struct known *known = &telling->known[telling->known_len++];
    *known = (struct known){.problems = calloc(PROBLEMS_MAX, sizeof(*known->problems))};
    MUST(known->problems != NULL);
    (void)snprintf(known->name, sizeof known->name, "%s", name);
    return known;
}

static struct problem *problem_find(struct known *known, struct core_span code, struct core_span component) {
    component = core_utf8_cut(component, TEXT_BYTES - 1);
    for (size_t i = 0; i < known->problems_len; i++) {
        if (core_span_is(code, known->problems[i].code) && core_span_is(component, known->problems[i].component)) {
            return &known->problems[i];
        }
    }
    return NULL;
}

static void problem_came(struct telling *telling, struct known *known, const struct core_json_tree *code,
                         const struct core_json_tree *component, const struct core_json_tree *text) {
    if (known->problems_len < PROBLEMS_MAX) {
        struct problem *problem = &known->problems[known->problems_len++];
        text_take(problem->code, sizeof problem->code, code->text);
        text_take(problem->component, sizeof problem->component, component->text);
        problem->is_there = true;
    }
    print_head(telling, known);
    print_text(component->text);
    (void)fputs(": ", stdout);
    print_text(text->text);
    (void)fputs(" [", stdout);
    print_text(code->text);
    (void)fputs("]\n", stdout);
    char name[64];
    text_take(name, sizeof name, code->text);
    const char *help = help_of(name);
    if (help != NULL) {
        (void)printf("%*s-> %s\n", 36, "", help);
    }
}

static void problems_compare(struct telling *telling, struct known *known, const struct core_json_tree *own) {
    const struct core_json_tree *problem = core_json_tree_get(own, "problem");
    const struct core_json_tree *code = core_json_tree_get(problem, "code");
    const struct core_json_tree *component = core_json_tree_get(problem, "component");
    const struct core_json_tree *text = core_json_tree_get(problem, "text");
    for (size_t i = 0; i < known->problems_len; i++) {
        known->problems[i].is_there = false;
    }
    code = code == NULL ? NULL : code->first;
    component = component == NULL ? NULL : component->first;
    text = text == NULL ? NULL : text->first;
    for (; code != NULL && component != NULL && text != NULL;
         code = code->next, component = component->next, text = text->next) {
        struct problem *found = problem_find(known, code->text, component->text);
        if (found != NULL) {
            found->is_there = true;
        } else {
            problem_came(telling, known, code, component, text);
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < known->problems_len; i++) {
        if (known->problems[i].is_there) {
            known->problems[kept++] = known->problems[i];
            continue;
        }
        print_head(telling, known);
        (void)fputs("over: ", stdout);
        print_text(core_span_of(known->problems[i].component));
        (void)printf(" [%s]\n", known->problems[i].code);
    }
    known->problems_len = kept;
}

static void line_tell(void *ctx, struct core_span line) {
    struct telling *telling = ctx;
    struct core_json_tree *tree = NULL;
    struct core_fail fail;
    if (telling->is_json) {
        (void)fwrite(line.ptr, 1, line.len, stdout);
        (void)putchar('\n');
        return;
    }
    core_arena_reset(&telling->arena, CORE_MIB);
    if (core_json_tree_read(&telling->arena, line, &tree, &fail) != CORE_OK) {
        return; /* cut off by a kill, or somebody else's */
    }
    const struct core_json_tree *own = core_json_tree_get(core_json_tree_get(tree, "tapline"), "health");
    struct known *known = own == NULL ? NULL : known_of(telling, tree);
    if (known == NULL) {
        return;
    }
    struct core_span why = core_json_tree_text(own, "line");
    bool is_first = known->time[0] == '\0';
    text_take(known->time, sizeof known->time, core_json_tree_text(tree, "@timestamp"));
    text_take(known->state, sizeof known->state, core_json_tree_text(core_json_tree_get(tree, "service"), "state"));
    known->has_ended = core_span_is(why, "stop");
    if (core_span_is(why, "start")) {
        known->problems_len = 0; /* another run's */
        print_head(telling, known);
        (void)fputs("started\n", stdout);
    } else if (is_first) {
        print_head(telling, known);
        (void)fputs("is the first that is known\n", stdout);
    }
    problems_compare(telling, known, own);
    if (known->has_ended) {
        print_head(telling, known);
        (void)fputs("ended\n", stdout);
    }
}

/* ---- the command ------------------------------------------------------------------------------------------------------------- */

static const struct config_section *section(const char *name) {
    size_t len = 0;
    const struct config_section *sections = config_sections(&len);
    size_t at = 0;
    while (at < len && strcmp(sections[at].name, name) != 0) {
        at++;
    }
    MUST(at < len);
    return &sections[at];
}

static void section_bind(const struct core_conf_file *file, const char *name, void *out) {
    const struct config_section *rows = section(name);
    struct core_conf_mistakes mistakes = {0}; /* not ours to tell: `tapline check` does */
    enum core_err wrong CORE_UNUSED = core_conf_bind(file, core_conf_get(core_conf_root(file), name), name, rows->opts,
                                                     rows->opts_len, out, &mistakes);
}

/* A path of the configuration: relative ones are to the working directory of who reads them, as everywhere. */
static void folder_add(struct health_reading *reading, const char *path) {
    if (path != NULL && path[0] != '\0') {
        health_reading_add(reading, path);
    }
}

/* health.log_dir, else node.state. No other section is looked at, and none of the processes has to be right. */
static enum core_err folders_of(const char *path, struct health_reading *reading, struct core_fail *fail) {
    struct core_conf_file *file = NULL;
    struct config_node node = {0};
    struct core_health_conf health = {0};
    enum core_err err = core_conf_open(&file, path == NULL ? "/dev/null" : path, fail);
    if (err != CORE_OK) {
        return err;
    }
    section_bind(file, "node", &node);
    section_bind(file, "health", &health);
    folder_add(reading, health.log_dir != NULL ? health.log_dir : node.state);
    core_conf_release(section("node")->opts, section("node")->opts_len, &node);
    core_conf_release(section("health")->opts, section("health")->opts_len, &health);
    core_conf_close(file);
    return CORE_OK;
}

static int go(struct telling *telling, struct health_reading *reading, bool is_following) {
    health_read(reading, line_tell, telling);
    if (health_reading_files(reading) == 0 && !is_following) {
        (void)fprintf(stderr,
                      "tapline health: there is no health log (health-*.ndjson) there; a process writes one if its "
                      "configuration has section health\n");
        return CORE_EXIT_NO;
    }
    while (is_following) {
        if (fflush(stdout) != 0) {
            return CORE_EXIT_SYSTEM; /* nobody reads any more */
        }
        struct timespec pause = {.tv_nsec = (long)LOOK_NS};
        (void)nanosleep(&pause, NULL);
        health_read(reading, line_tell, telling);
    }
    return fflush(stdout) == 0 ? CORE_EXIT_DONE : CORE_EXIT_SYSTEM;
}

static int health_run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args = {0};
    int exit_code = CORE_EXIT_DONE;
    int64_t since_ns = INT64_MIN;
    struct core_fail fail;
    if (!cmd_parse(cmd, argc, argv, &args, &exit_code)) {
        return exit_code;
    }
    const char *since = cmd_value(cmd, &args, "since");
    if (since != NULL && !cmd_since_parse(since, &since_ns)) {
        (void)fprintf(stderr, "tapline health: --since %s is no time; say 2h, 2026-11-21 or 2026-11-21T03:00:00Z\n",
                      since);
        return CORE_EXIT_USAGE;
    }
    struct telling *telling = calloc(1, sizeof(*telling));
    MUST(telling != NULL);
    MUST(core_arena_init(&telling->arena, 64 * CORE_MIB, &fail) == CORE_OK);
    telling->is_json = cmd_value(cmd, &args, "json") != NULL;
    telling->is_coloured = isatty(STDOUT_FILENO) == 1 && getenv("NO_COLOR") == NULL;
    struct health_reading *reading = health_reading_new(since_ns);
    const char *config = cmd_value(cmd, &args, "config");
    for (int i = 0; i < args.files_len; i++) {
        health_reading_add(reading, args.files[i]);
    }
    enum core_err err = args.files_len == 0 || config != NULL ? folders_of(config, reading, &fail) : CORE_OK;
    if (err != CORE_OK) {
        (void)fprintf(stderr, "tapline health: %s: %s\n", fail.where, fail.text);
        exit_code = err == CORE_BAD ? CORE_EXIT_USAGE : CORE_EXIT_SYSTEM;
    } else {
        exit_code = go(telling, reading, cmd_value(cmd, &args, "follow") != NULL);
    }
    health_reading_free(reading);
    for (size_t i = 0; i < telling->known_len; i++) {
        free(telling->known[i].problems);
    }
    core_arena_destroy(&telling->arena);
    free(telling);
    return exit_code;
}

const struct cmd cmd_health = {
    .name = "health",
    .summary = "read the health logs of this host: what went wrong, when, and what to do",
    .args = "[FILE|DIR…]",
    .about = "Processes with section health write health-<process>.ndjson: a line each health.interval and at each "
             "change. This shows\n"
             "the changes of all of them in the order of time: problems that came, with what a person can do, and that "
             "went.\n"
             "Without FILE or DIR they are where the configuration says. `tapline top` shows how things are now.",
    .example = "tapline health -c /etc/tapline/tapline.yml --since 24h\ntapline health -f /var/lib/tapline",
    .options = options,
    .run = health_run,
};
