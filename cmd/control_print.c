/* cmd/control_print.c: what people see of each method's result, and which results are a "no".
 *
 * Columns are zeekctl's where it has the same table (Name Type Host Status Pid Started); what Main adds stands behind them, and
 * a column in which nothing stands is left out. Members that are missing (an older Main) are empty cells.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

/* Is there a member in the list whose flag is not set? */
static bool is_any_not(const struct core_json_tree *list, const char *flag) {
    for (const struct core_json_tree *item = list == NULL ? NULL : list->first; item != NULL; item = item->next) {
        if (!core_json_tree_is_true(item, flag)) {
            return true;
        }
    }
    return false;
}

static bool is_empty(const struct core_json_tree *list) {
    return list == NULL || list->first == NULL;
}

static void tell_none(const struct core_json_tree *list, const char *text) {
    if (is_empty(list)) {
        (void)fprintf(stderr, "%s\n", text);
    }
}

/* ---- status, nodes ----------------------------------------------------------------------------------------------------------------- */

/* When the process that runs now was started, not when it got into its state. */
static void started_text(const struct core_json_tree *node, char *out, size_t out_len) {
    int64_t uptime_ns = core_json_tree_integer(node, "uptime_ns", 0);
    time_t started = (time_t)((core_now_ns() - uptime_ns) / CORE_NS_PER_S);
    struct tm tm;
    if (uptime_ns > 0 && (localtime_r(&started, &tm) == NULL || strftime(out, out_len, "%d %b %H:%M:%S", &tm) == 0)) {
        out[0] = '\0';
    }
}

static bool is_up(const struct core_json_tree *node) {
    struct core_span state = core_json_tree_text(node, "state");
    return core_span_is(state, "up") || core_span_is(state, "ready");
}

static void note_add(char *out, size_t out_len, const char *text) {
    size_t len = strlen(out);
    (void)snprintf(out + len, out_len - len, "%s%s", len == 0 ? "" : "; ", text);
}

/* What a person should know beyond the state. */
static void note_text(const struct core_json_tree *node, char *out, size_t out_len) {
    char reason[CONTROL_CELL_BYTES / 2];
    char end[64];
    char deaths[128];
    control_text_of(node, "reason", CONTROL_TEXT, reason, sizeof(reason));
    control_text_of(node, "last_end", CONTROL_TEXT, end, sizeof(end));
    if (!is_up(node) && reason[0] != '\0') {
        note_add(out, out_len, reason);
    }
    if (core_json_tree_integer(node, "deaths", 0) > 0) {
        int64_t len = core_json_tree_integer(node, "deaths", 0);
        (void)snprintf(deaths, sizeof(deaths), "died %" PRId64 " time%s%s%s", len, len == 1 ? "" : "s",
                       end[0] == '\0' ? "" : ", last: ", end);
        note_add(out, out_len, deaths);
    }
    if (core_json_tree_is_true(node, "is_changed")) {
        note_add(out, out_len, "runs with its former settings until it is restarted");
    }
    if (core_json_tree_get(node, "is_deployed") != NULL && !core_json_tree_is_true(node, "is_deployed")) {
        note_add(out, out_len, "not deployed");
    }
}

static const struct control_column status_columns[] = {
    {.title = "Name", .member = "name"},
    {.title = "Type", .member = "type"},
    {.title = "Host", .member = "host"},
    {.title = "Status", .member = "state", .form = CONTROL_STATE},
    {.title = "Pid", .member = "pid", .form = CONTROL_NUMBER, .is_right = true},
    {.title = "Started", .text = started_text},
    {.title = "Note", .text = note_text},
};
/* Without the host, so that it fits. */
static const struct control_column status_long_columns[] = {
    {.title = "Name", .member = "name"},
    {.title = "Status", .member = "state", .form = CONTROL_STATE},
    {.title = "Pid", .member = "pid", .form = CONTROL_NUMBER, .is_right = true},
    {.title = "Started", .text = started_text},
    {.title = "CPU s", .member = "cpu_seconds", .form = CONTROL_DECIMAL, .is_right = true},
    {.title = "Memory", .member = "rss_bytes", .form = CONTROL_BYTES, .is_right = true},
    {.title = "Threads", .member = "threads", .form = CONTROL_NUMBER, .is_right = true},
    {.title = "Starts", .member = "starts", .form = CONTROL_NUMBER, .is_right = true},
    {.title = "Deaths", .member = "deaths", .form = CONTROL_NUMBER, .is_right = true},
    {.title = "Note", .text = note_text},
};

void control_print_status(const struct control_call *call, const struct core_json_tree *result) {
    bool is_long = control_value(call, "long") != NULL;
    const struct core_json_tree *nodes = core_json_tree_get(result, "nodes");
    tell_none(nodes, "tapline status: nothing is deployed, so nothing runs: tapline deploy");
    control_table_print(nodes, is_long ? status_long_columns : status_columns,
                        is_long ? LEN(status_long_columns) : LEN(status_columns));
}

int control_judge_status(const struct core_json_tree *result) {
    const struct core_json_tree *nodes = core_json_tree_get(result, "nodes");
    for (const struct core_json_tree *node = nodes == NULL ? NULL : nodes->first; node != NULL; node = node->next) {
        if (!is_up(node)) {
            return CORE_EXIT_NO;
        }
    }
    return nodes == NULL || nodes->first == NULL ? CORE_EXIT_NO : CORE_EXIT_DONE;
}

void control_print_nodes(const struct control_call *call CORE_UNUSED, const struct core_json_tree *result) {
    static const struct control_column columns[] = {
        {.title = "Name", .member = "name"},           {.title = "Type", .member = "type"},
        {.title = "Host", .member = "host"},           {.title = "Interface", .member = "interface"},
        {.title = "Group", .member = "group"},         {.title = "Order", .member = "order", .is_right = true},
        {.title = "Directory", .member = "directory"},
    };
    const struct core_json_tree *nodes = core_json_tree_get(result, "nodes");
    tell_none(nodes, "tapline nodes: nothing is deployed: tapline deploy");
    control_table_print(nodes, columns, LEN(columns));
}

/* ---- start, stop, restart, kill ------------------------------------------------------------------------------------------------------ */

static const struct control_column done_columns[] = {
    {.title = "Name", .member = "name"},
    {.title = "Status", .member = "state", .form = CONTROL_STATE},
    {.title = "Done", .member = "ok", .form = CONTROL_YES},
    {.title = "Reason", .member = "reason"},
};

void control_print_done(const struct control_call *call CORE_UNUSED, const struct core_json_tree *result) {
    control_table_print(core_json_tree_get(result, "nodes"), done_columns, LEN(done_columns));
}

int control_judge_done(const struct core_json_tree *result) {
    return is_any_not(core_json_tree_get(result, "nodes"), "ok") ? CORE_EXIT_NO : CORE_EXIT_DONE;
}

/* ---- check, deploy -------------------------------------------------------------------------------------------------------------------- */

/* A text of several lines, each indented. */
static void block_print(struct core_span text) {
    while (text.len > 0) {
        const char *end = core_span_chr(text, '\n');
        struct core_span line = {text.ptr, end == NULL ? text.len : (size_t)(end - text.ptr)};
        size_t taken = line.len + (end == NULL ? 0 : 1);
        (void)fputs("    ", stdout);
        control_text_print(line);
        (void)fputc('\n', stdout);
        text = (struct core_span){text.ptr + taken, text.len - taken};
    }
}

/* What was checked, then what the programs say of what is wrong, whole. */
static void checks_print(const struct core_json_tree *checks) {
    static const struct control_column columns[] = {
        {.title = "Checked", .member = "program"},
        {.title = "Fine", .member = "ok", .form = CONTROL_YES},
        {.title = "For", .member = "name"},
    };
    control_table_print(checks, columns, LEN(columns));
    for (const struct core_json_tree *check = checks == NULL ? NULL : checks->first; check != NULL;
         check = check->next) {
        char program[CONTROL_CELL_BYTES];
        char nodes[CONTROL_CELL_BYTES];
        if (!core_json_tree_is_true(check, "ok")) {
            control_text_of(check, "program", CONTROL_TEXT, program, sizeof(program));
            control_text_of(check, "name", CONTROL_TEXT, nodes, sizeof(nodes));
            (void)printf("\n%s, for %s:\n", program, nodes);
            block_print(core_json_tree_text(check, "text"));
        }
    }
}

void control_print_check(const struct control_call *call CORE_UNUSED, const struct core_json_tree *result) {
    const struct core_json_tree *checks = core_json_tree_get(result, "checks");
    tell_none(checks, "tapline check: none of these nodes has a program that could check its scripts or rules");
    checks_print(checks);
}

int control_judge_check(const struct core_json_tree *result) {
    return core_json_tree_is_true(result, "ok") ? CORE_EXIT_DONE : CORE_EXIT_NO;
}

/* What differs, what was found wrong, what became of it. */
void control_print_deploy(const struct control_call *call, const struct core_json_tree *result) {
    static const struct control_column change_columns[] = {
        {.title = "Name", .member = "name"},
        {.title = "Change", .member = "change"},
        {.title = "Differs in", .member = "why"},
    };
    static const struct control_column file_columns[] = {
        {.title = "Change", .member = "change"},
        {.title = "File", .member = "path"},
    };
    const struct core_json_tree *changes = core_json_tree_get(result, "changes");
    const struct core_json_tree *files = core_json_tree_get(result, "files");
    const struct core_json_tree *checks = core_json_tree_get(result, "checks");
    const struct core_json_tree *warnings = core_json_tree_get(result, "warnings");
    struct core_span text = core_json_tree_text(result, "text");
    if (is_empty(changes) && is_empty(files)) {
        (void)printf("nothing differs from what is deployed\n");
    }
    control_table_print(changes, change_columns, LEN(change_columns));
    control_table_print(files, file_columns, LEN(file_columns));
    if (is_any_not(checks, "ok")) {
        checks_print(checks);
    }
    control_print_done(call, result);
    for (const struct core_json_tree *item = is_empty(warnings) ? NULL : warnings->first; item != NULL;
         item = item->next) {
        (void)fputs("warning: ", stdout);
        control_text_print(item->text);
        (void)fputc('\n', stdout);
    }
    if (text.len > 0) {
        control_text_print(text);
        (void)fputs(text.ptr[text.len - 1] == '\n' ? "" : "\n", stdout);
    }
}

int control_judge_deploy(const struct core_json_tree *result) {
    return control_judge_check(result);
}

/* ---- netstats, capstats, df ------------------------------------------------------------------------------------------------------------ */

void control_print_netstats(const struct control_call *call CORE_UNUSED, const struct core_json_tree *result) {
    static const struct control_column columns[] = {
        {.title = "Name", .member = "name"},
        {.title = "Received", .member = "received", .form = CONTROL_NUMBER, .is_right = true},
        {.title = "Dropped", .member = "dropped", .form = CONTROL_NUMBER, .is_right = true},
        {.title = "Link", .member = "link", .form = CONTROL_NUMBER, .is_right = true},
        {.title = "Lost", .member = "dropped_percent", .form = CONTROL_PERCENT, .is_right = true},
        {.title = "Rate", .member = "received_per_s", .form = CONTROL_PER_S, .is_right = true},
        {.title = "Gaps", .member = "capture_loss_percent", .form = CONTROL_PERCENT, .is_right = true},
        {.title = "From", .member = "source"},
        {.title = "Note", .member = "reason"},
    };
    const struct core_json_tree *nodes = core_json_tree_get(result, "nodes");
    control_table_print(nodes, columns, LEN(columns));
    tell_none(nodes, "tapline netstats: none of these nodes is a sensor");
}

void control_print_capstats(const struct control_call *call CORE_UNUSED, const struct core_json_tree *result) {
    static const struct control_column columns[] = {
        {.title = "Interface", .member = "interface"},
        {.title = "Packets", .member = "packets_per_s", .form = CONTROL_PER_S, .is_right = true},
        {.title = "Bits", .member = "bits_per_s", .form = CONTROL_PER_S, .is_right = true},
        {.title = "Dropped", .member = "dropped_per_s", .form = CONTROL_PER_S, .is_right = true},
        {.title = "Nodes", .member = "nodes"},
        {.title = "Note", .member = "reason"},
    };
    const struct core_json_tree *interfaces = core_json_tree_get(result, "interfaces");
    control_table_print(interfaces, columns, LEN(columns));
    tell_none(interfaces, "tapline capstats: none of these nodes listens on an interface");
}

void control_print_df(const struct control_call *call CORE_UNUSED, const struct core_json_tree *result) {
    static const struct control_column columns[] = {
        {.title = "Path", .member = "path"},
        {.title = "Size", .member = "size_bytes", .form = CONTROL_BYTES, .is_right = true},
        {.title = "Used", .member = "used_bytes", .form = CONTROL_BYTES, .is_right = true},
        {.title = "Free", .member = "free_bytes", .form = CONTROL_BYTES, .is_right = true},
        {.title = "Full", .member = "used_percent", .form = CONTROL_PERCENT, .is_right = true},
        {.title = "Inodes free", .member = "inodes_free", .form = CONTROL_NUMBER, .is_right = true},
        {.title = "What for", .member = "what"},
        {.title = "Note", .member = "reason"},
    };
    control_table_print(core_json_tree_get(result, "filesystems"), columns, LEN(columns));
}
