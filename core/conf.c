/* core/conf.c: tapline.yml as a tree of nodes that know their line and column. The one wrapper of libfyaml.
 *
 * libfyaml's events, not its documents, are the source: an event knows where it begins even if it is a mapping, and
 * this file decides about what YAML leaves open, so that an operator reads one language of mistakes:
 *   - a key twice in one mapping is refused (the second one is named, and where the first stands);
 *   - one document a file; no tags; keys are plain scalars;
 *   - `&anchor`, `*alias` and the merge key `<<` work; aliased nodes are shared, so aliases of aliases cannot grow.
 * libfyaml's own complaints are collected and passed on with their place; nothing is printed. The whole tree lives in
 * one arena and dies with the file. Sizes and depths have maxima (conf_internal.h).
 * Thread: any, one file at a time; a finished tree is read-only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/conf_internal.h"
#include "core/json.h"

#include <errno.h>
#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>

struct conf_anchor {
    const char *name;
    struct core_conf_node *node;
    struct conf_anchor *next; /* older ones; the newest of a name counts */
};

/* What is open while a file is read. */
struct conf_build {
    struct core_conf_file *file;
    struct core_fail *fail;
    struct core_conf_node *stack[CONF_DEPTH_MAX];
    size_t depth;
    const char *key; /* read, its value not yet */
    int key_line;
    int key_column;
    int line; /* of the event before */
    int column;
    struct conf_anchor *anchors;
    int documents;
};

static enum core_err conf_refuse(const struct conf_build *build, int line, int column, const char *text,
                                 const char *detail) {
    char where[sizeof(build->fail->where)];
    (void)snprintf(where, sizeof(where), "%s:%d:%d", build->file->path, line, column);
    return core_fail_set(build->fail, CORE_BAD, where, "%s%s", text, detail);
}

static enum core_err conf_full(const struct conf_build *build) {
    return core_fail_set(build->fail, CORE_BAD, build->file->path,
                         "too large for a configuration: more than %d values or %zu MiB of text", CONF_NODES_MAX,
                         CONF_ARENA_BYTES / CORE_MIB);
}

/* A copy in the arena; bytes of a NUL are refused because every text here ends with one. */
static enum core_err conf_text(struct conf_build *build, struct fy_token *token, int line, int column,
                               const char **out) {
    size_t len = 0;
    const char *text = token == NULL ? "" : fy_token_get_text(token, &len);
    if (text == NULL) {
        return conf_full(build);
    }
    if (len > 0 && memchr(text, '\0', len) != NULL) {
        return conf_refuse(build, line, column, "a NUL byte is not allowed in a text", "");
    }
    *out = core_arena_copy(&build->file->arena, (struct core_span){.ptr = text, .len = len});
    return *out == NULL ? conf_full(build) : CORE_OK;
}

static bool conf_text_is_null(const char *text) {
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static struct core_conf_node *conf_node_new(struct conf_build *build, enum conf_node_type type, int line, int column) {
    if (build->file->nodes_len >= CONF_NODES_MAX) {
        return NULL;
    }
    struct core_conf_node *node = core_arena_alloc(&build->file->arena, sizeof(*node));
    if (node == NULL) {
        return NULL;
    }
    build->file->nodes_len++;
    *node = (struct core_conf_node){.magic = CONF_NODE_MAGIC, .type = type, .text = "", .line = line, .column = column};
    return node;
}

static struct conf_member *conf_member_find(const struct core_conf_node *node, const char *key) {
    for (struct conf_member *member = node->first; member != NULL; member = member->next) {
        if (member->key != NULL && strcmp(member->key, key) == 0) {
            return member;
        }
    }
    return NULL;
}

static enum core_err conf_member_add(struct conf_build *build, struct core_conf_node *parent,
                                     const struct conf_member *like) {
    if (build->file->nodes_len >= CONF_NODES_MAX) {
        return conf_full(build);
    }
    struct conf_member *member = core_arena_alloc(&build->file->arena, sizeof(*member));
    if (member == NULL) {
        return conf_full(build);
    }
    build->file->nodes_len++;
    *member = *like;
    member->next = NULL;
    if (parent->last == NULL) {
        parent->first = member;
    } else {
        parent->last->next = member;
    }
    parent->last = member;
    parent->len++;
    return CORE_OK;
}

/* `<<: *defaults`: the members of a mapping (or of each of a list of them) that are not there yet. */
static enum core_err conf_merge(struct conf_build *build, struct core_conf_node *parent,
                                const struct core_conf_node *from) {
    if (from->is_open) { /* written out here: its members are not read yet */
        return conf_refuse(build, build->key_line, build->key_column, "\"<<\" takes an alias, such as *defaults", "");
    }
    if (from->type == CONF_NODE_SEQUENCE) {
        for (const struct conf_member *item = from->first; item != NULL; item = item->next) {
            if (item->value->type != CONF_NODE_MAP) {
                return conf_refuse(build, build->key_line, build->key_column, "\"<<\" takes mappings only", "");
            }
            enum core_err err = conf_merge(build, parent, item->value);
            if (err != CORE_OK) {
                return err;
            }
        }
        return CORE_OK;
    }
    if (from->type != CONF_NODE_MAP) {
        return conf_refuse(build, build->key_line, build->key_column, "\"<<\" takes a mapping or a list of them", "");
    }
    for (const struct conf_member *member = from->first; member != NULL; member = member->next) {
        if (conf_member_find(parent, member->key) != NULL) {
            continue;
        }
        struct conf_member merged = *member;
        merged.is_merged = true;
        enum core_err err = conf_member_add(build, parent, &merged);
        if (err != CORE_OK) {
            return err;
        }
    }
    return CORE_OK;
}

/* Hang a value below its mapping, under the key read before it. */
static enum core_err conf_put_member(struct conf_build *build, struct core_conf_node *parent,
                                     struct core_conf_node *node) {
    MUST(build->key != NULL);
    const struct conf_member member = {
        .key = build->key, .line = build->key_line, .column = build->key_column, .value = node};
    build->key = NULL;
    if (strcmp(member.key, "<<") == 0) {
        return conf_merge(build, parent, node);
    }
    struct conf_member *there = conf_member_find(parent, member.key);
    if (there == NULL) {
        return conf_member_add(build, parent, &member);
    }
    if (there->is_merged) {
        struct conf_member *next = there->next;
        *there = member;
        there->next = next;
        return CORE_OK;
    }
    char text[256];
    (void)snprintf(text, sizeof(text), "key \"%.160s\" is there twice, first in line %d: ", member.key, there->line);
    return conf_refuse(build, member.line, member.column, text, "keep one");
}

static enum core_err conf_put(struct conf_build *build, struct core_conf_node *node) {
    if (build->depth == 0) {
        MUST(build->file->root == NULL);
        build->file->root = node;
        return CORE_OK;
    }
    struct core_conf_node *parent = build->stack[build->depth - 1];
    if (parent->type == CONF_NODE_MAP) {
        return conf_put_member(build, parent, node);
    }
    MUST(parent->type == CONF_NODE_SEQUENCE);
    return conf_member_add(build, parent,
                           &(struct conf_member){.line = node->line, .column = node->column, .value = node});
}

/* Is the next node a key? Then only a scalar will do. */
static bool conf_wants_key(const struct conf_build *build) {
    return build->depth > 0 && build->stack[build->depth - 1]->type == CONF_NODE_MAP && build->key == NULL;
}

static enum core_err conf_take_key(struct conf_build *build, const char *text, int line, int column) {
    if (text[0] == '\0') {
        return conf_refuse(build, line, column, "a key is missing before \":\"", "");
    }
    build->key = text;
    build->key_line = line;
    build->key_column = column;
    return CORE_OK;
}

static enum core_err conf_anchor_add(struct conf_build *build, struct fy_token *token, struct core_conf_node *node) {
    if (token == NULL) {
        return CORE_OK;
    }
    struct conf_anchor *anchor = core_arena_alloc(&build->file->arena, sizeof(*anchor));
    if (anchor == NULL) {
        return conf_full(build);
    }
    *anchor = (struct conf_anchor){.node = node, .next = build->anchors};
    build->anchors = anchor;
    return conf_text(build, token, node->line, node->column, &anchor->name);
}

static enum core_err conf_on_scalar(struct conf_build *build, const struct fy_event *event, int line, int column) {
    const char *text = NULL;
    enum core_err err = conf_text(build, event->scalar.value, line, column, &text);
    if (err != CORE_OK) {
        return err;
    }
    if (conf_wants_key(build)) {
        return conf_take_key(build, text, line, column);
    }
    bool is_plain = event->scalar.value == NULL || fy_scalar_token_get_style(event->scalar.value) == FYSS_PLAIN;
    bool is_null = is_plain && conf_text_is_null(text);
    struct core_conf_node *node = conf_node_new(build, is_null ? CONF_NODE_NULL : CONF_NODE_SCALAR, line, column);
    if (node == NULL) {
        return conf_full(build);
    }
    node->text = text;
    node->is_plain = is_plain;
    err = conf_anchor_add(build, event->scalar.anchor, node);
    return err != CORE_OK ? err : conf_put(build, node);
}

static enum core_err conf_on_start(struct conf_build *build, enum conf_node_type type, struct fy_token *anchor,
                                   int line, int column) {
    if (conf_wants_key(build)) {
        return conf_refuse(build, line, column, "a key must be a word, not a list or a mapping", "");
    }
    if (build->depth == CONF_DEPTH_MAX) {
        return conf_refuse(build, line, column, "nested too deeply for a configuration", "");
    }
    struct core_conf_node *node = conf_node_new(build, type, line, column);
    if (node == NULL) {
        return conf_full(build);
    }
    node->is_open = true;
    enum core_err err = conf_anchor_add(build, anchor, node);
    if (err == CORE_OK) {
        err = conf_put(build, node);
    }
    build->stack[build->depth++] = node;
    return err;
}

static enum core_err conf_on_alias(struct conf_build *build, const struct fy_event *event, int line, int column) {
    const char *name = NULL;
    enum core_err err = conf_text(build, event->alias.anchor, line, column, &name);
    if (err != CORE_OK) {
        return err;
    }
    const struct conf_anchor *anchor = build->anchors;
    while (anchor != NULL && strcmp(anchor->name, name) != 0) {
        anchor = anchor->next;
    }
    if (anchor == NULL) {
        char text[256];
        (void)snprintf(text, sizeof(text), "no anchor stands above for the alias *%.160s; ", name);
        return conf_refuse(build, line, column, text, "a text that begins with * needs quotes");
    }
    if (anchor->node->is_open) {
        return conf_refuse(build, line, column, "a value cannot contain itself: alias *", name);
    }
    if (!conf_wants_key(build)) {
        return conf_put(build, anchor->node);
    }
    if (anchor->node->type != CONF_NODE_SCALAR) {
        return conf_refuse(build, line, column, "a key must be a word, not a list or a mapping", "");
    }
    return conf_take_key(build, anchor->node->text, line, column);
}

static bool conf_event_has_tag(const struct fy_event *event) {
    return (event->type == FYET_SCALAR && event->scalar.tag != NULL) ||
           (event->type == FYET_MAPPING_START && event->mapping_start.tag != NULL) ||
           (event->type == FYET_SEQUENCE_START && event->sequence_start.tag != NULL);
}

static bool conf_event_is_quoted(const struct fy_event *event) {
    if (event->type != FYET_SCALAR || event->scalar.value == NULL) {
        return false;
    }
    enum fy_scalar_style style = fy_scalar_token_get_style(event->scalar.value);
    return style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED;
}

static enum core_err conf_on_event(struct conf_build *build, struct fy_event *event) {
    /* What is empty has no token and so no place of its own: that of what stands before it will do. */
    const struct fy_mark *mark = fy_event_start_mark(event);
    int line = mark != NULL ? mark->line + 1 : build->line;
    int column = mark != NULL ? mark->column + 1 : build->column;
    build->line = line;
    build->column = column;
    if (mark != NULL && conf_event_is_quoted(event)) {
        column--; /* libfyaml's mark is behind the quote */
    }
    if (conf_event_has_tag(event)) {
        return conf_refuse(build, line, column, "YAML tags (\"!…\") are not used here: leave it out", "");
    }
    switch (event->type) {
    case FYET_DOCUMENT_START:
        return build->documents++ == 0 ? CORE_OK
                                       : conf_refuse(build, line, column,
                                                     "a second document (\"---\") in one file: "
                                                     "only one configuration a file",
                                                     "");
    case FYET_SCALAR:
        return conf_on_scalar(build, event, line, column);
    case FYET_ALIAS:
        return conf_on_alias(build, event, line, column);
    case FYET_MAPPING_START:
        return conf_on_start(build, CONF_NODE_MAP, event->mapping_start.anchor, line, column);
    case FYET_SEQUENCE_START:
        return conf_on_start(build, CONF_NODE_SEQUENCE, event->sequence_start.anchor, line, column);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        MUST(build->depth > 0);
        build->stack[--build->depth]->is_open = false;
        return CORE_OK;
    default:
        return CORE_OK;
    }
}

/* Does line n (from 1) begin with white space that has a tab in it? */
static bool conf_line_has_tab(const struct core_conf_file *file, int n) {
    const char *at = file->bytes;
    const char *end = file->bytes + file->bytes_len;
    for (int i = 1; i < n && at != NULL && at < end; i++) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at == NULL ? NULL : at + 1;
    }
    while (at != NULL && at < end && *at == ' ') {
        at++;
    }
    return at != NULL && at < end && *at == '\t';
}

/* libfyaml's first complaint, and what people usually have to do about it. */
static enum core_err conf_parse_failed(struct conf_build *build, struct fy_diag *diag) {
    void *cursor = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(diag, &cursor);
    if (error == NULL || error->msg == NULL) {
        return core_fail_set(build->fail, CORE_BAD, build->file->path, "is not YAML; the parser does not say why");
    }
    const char *hint = "";
    if (conf_line_has_tab(build->file, error->line) || conf_line_has_tab(build->file, error->line + 1)) {
        hint = ": a tab is used to indent; YAML takes spaces only";
    } else if (strstr(error->msg, "cannot start with") != NULL) {
        hint = ": put the value in quotes";
    }
    return conf_refuse(build, error->line, error->column, error->msg, hint);
}

/* What libfyaml must not see: bytes that are no UTF-8, which it does not always refuse; a NUL byte, which it takes for the end of the text, so that what follows would be lost
 * without a word; and a directive (a line that begins with %), on some of which 0.7.12 never comes back. */
static enum core_err conf_refuse_raw(struct conf_build *build) {
    const struct core_conf_file *file = build->file;
    int line = 1;
    const char *start = file->bytes;
    const char *end = file->bytes + file->bytes_len;
    bool is_utf8 = core_utf8_is_valid((struct core_span){file->bytes, file->bytes_len});
    for (const char *at = file->bytes; at < end; at++) {
        if (*at == '\0') {
            return conf_refuse(build, line, (int)(at - start) + 1, "a NUL byte is not allowed in a configuration", "");
        }
        if (*at == '%' && at == start) {
            return conf_refuse(build, line, 1, "a line that begins with % is a YAML directive",
                               ": a configuration needs none, leave it out (or quote the text it belongs to)");
        }
        if (*at == '\n' || at + 1 == end) {
            struct core_span text = {start, (size_t)(at + 1 - start)};
            if (!is_utf8 && !core_utf8_is_valid(text)) {
                while (!core_utf8_is_valid(text)) {
                    text.len--; /* down to the last whole character before the byte */
                }
                return conf_refuse(build, line, (int)text.len + 1, "a byte that is no UTF-8",
                                   ": save the file as UTF-8");
            }
            line++;
            start = at + 1;
        }
    }
    return CORE_OK;
}

static enum core_err conf_build_tree(struct conf_build *build) {
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    diag_cfg.level = FYET_ERROR;
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    MUST(diag != NULL);
    fy_diag_set_collect_errors(diag, true);
    const struct fy_parse_cfg cfg = {
        .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE, .diag = diag};
    struct fy_parser *parser = fy_parser_create(&cfg);
    MUST(parser != NULL);
    enum core_err err = CORE_OK;
    if (fy_parser_set_string(parser, build->file->bytes, build->file->bytes_len) != 0) {
        err = core_fail_set(build->fail, CORE_IO, build->file->path, "the YAML parser does not take the text");
    }
    while (err == CORE_OK) {
        struct fy_event *event = fy_parser_parse(parser);
        if (event == NULL) {
            break;
        }
        err = conf_on_event(build, event);
        fy_parser_event_free(parser, event);
    }
    if (err == CORE_OK && fy_parser_get_stream_error(parser)) {
        err = conf_parse_failed(build, diag);
    }
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    return err;
}

/* A file that says nothing is a mapping without members; anything but a mapping is a mistake. */
static enum core_err conf_finish(struct conf_build *build) {
    struct core_conf_node *root = build->file->root;
    if (root == NULL || root->type == CONF_NODE_NULL) {
        build->file->root = conf_node_new(build, CONF_NODE_MAP, 1, 1);
        return build->file->root == NULL ? conf_full(build) : CORE_OK;
    }
    if (root->type != CONF_NODE_MAP) {
        return conf_refuse(build, root->line, root->column, "expected keys and values (\"key: value\") here", "");
    }
    return CORE_OK;
}

/* The whole file. One byte more than the maximum is asked for, so that a longer one is noticed whatever its kind. */
static enum core_err conf_read(struct core_conf_file *file, struct core_fail *fail) {
    file->bytes = malloc(CONF_FILE_BYTES_MAX + 1);
    MUST(file->bytes != NULL);
    FILE *in = fopen(file->path, "re");
    if (in == NULL) {
        return core_fail_errno(fail, file->path, "cannot open the configuration");
    }
    errno = 0;
    file->bytes_len = fread(file->bytes, 1, CONF_FILE_BYTES_MAX + 1, in);
    enum core_err err = CORE_OK;
    if (ferror(in) != 0) {
        err = core_fail_errno(fail, file->path, "cannot read the configuration");
    } else if (file->bytes_len > CONF_FILE_BYTES_MAX) {
        err = core_fail_set(fail, CORE_BAD, file->path, "longer than %zu MiB: that is no configuration",
                            CONF_FILE_BYTES_MAX / CORE_MIB);
    }
    (void)fclose(in);
    return err;
}

enum core_err core_conf_open(struct core_conf_file **out, const char *path, struct core_fail *fail) {
    MUST(out != NULL);
    MUST(path != NULL);
    struct core_fail ignored;
    struct core_conf_file *file = calloc(1, sizeof(*file));
    MUST(file != NULL);
    file->path = strdup(path);
    MUST(file->path != NULL);
    struct conf_build build = {.file = file, .fail = fail != NULL ? fail : &ignored, .line = 1, .column = 1};
    enum core_err err = core_arena_init(&file->arena, CONF_ARENA_BYTES, build.fail);
    if (err == CORE_OK) {
        err = conf_read(file, build.fail);
    }
    if (err == CORE_OK) {
        err = conf_refuse_raw(&build);
    }
    if (err == CORE_OK) {
        err = conf_build_tree(&build);
    }
    if (err == CORE_OK) {
        err = conf_finish(&build);
    }
    free(file->bytes);
    file->bytes = NULL;
    if (err != CORE_OK) {
        core_conf_close(file);
        file = NULL;
    }
    *out = file;
    return err;
}

void core_conf_close(struct core_conf_file *file) {
    if (file == NULL) {
        return;
    }
    core_arena_destroy(&file->arena);
    free(file->bytes);
    free(file->path);
    free(file);
}

const char *core_conf_path(const struct core_conf_file *file) {
    MUST(file != NULL);
    return file->path;
}

const struct core_conf_node *core_conf_root(const struct core_conf_file *file) {
    MUST(file != NULL);
    return file->root;
}

const struct core_conf_node *core_conf_get(const struct core_conf_node *node, const char *key) {
    if (node == NULL || node->type != CONF_NODE_MAP) {
        return NULL;
    }
    const struct conf_member *member = conf_member_find(node, key);
    return member == NULL ? NULL : member->value;
}

bool core_conf_is_map(const struct core_conf_node *node) {
    return node != NULL && node->type == CONF_NODE_MAP;
}

bool core_conf_is_sequence(const struct core_conf_node *node) {
    return node != NULL && node->type == CONF_NODE_SEQUENCE;
}

bool core_conf_is_null(const struct core_conf_node *node) {
    return node == NULL || node->type == CONF_NODE_NULL;
}

size_t core_conf_len(const struct core_conf_node *node) {
    return node == NULL ? 0 : node->len;
}

static const struct conf_member *conf_member_at(const struct core_conf_node *node, size_t i) {
    MUST(node != NULL);
    MUST(i < node->len);
    const struct conf_member *member = node->first;
    for (; i > 0; i--) {
        member = member->next;
    }
    return member;
}

const struct core_conf_node *core_conf_item(const struct core_conf_node *node, size_t i) {
    return conf_member_at(node, i)->value;
}

const char *core_conf_member(const struct core_conf_node *node, size_t i, const struct core_conf_node **value) {
    const struct conf_member *member = conf_member_at(node, i);
    *value = member->value;
    return member->key;
}

void core_conf_where(const struct core_conf_file *file, const struct core_conf_node *node, char *out, size_t out_len) {
    MUST(file != NULL);
    if (node == NULL) {
        (void)snprintf(out, out_len, "%s", file->path);
        return;
    }
    MUST(node->magic == CONF_NODE_MAGIC);
    (void)snprintf(out, out_len, "%s:%d:%d", file->path, node->line, node->column);
}

static void conf_mistake_add(const struct core_conf_file *file, int line, int column,
                             struct core_conf_mistakes *mistakes, const char *fmt, va_list args) {
    MUST(mistakes != NULL);
    if (mistakes->len == sizeof(mistakes->fails) / sizeof(mistakes->fails[0])) {
        return;
    }
    struct core_fail *fail = &mistakes->fails[mistakes->len++];
    char text[sizeof(fail->text)];
    char where[sizeof(fail->where)];
    (void)vsnprintf(text, sizeof(text), fmt, args);
    if (line > 0) {
        (void)snprintf(where, sizeof(where), "%s:%d:%d", file->path, line, column);
    } else {
        (void)snprintf(where, sizeof(where), "%s", file->path);
    }
    (void)core_fail_set(fail, CORE_BAD, where, "%s", text);
}

void conf_mistake_at(const struct core_conf_file *file, int line, int column, struct core_conf_mistakes *mistakes,
                     const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    conf_mistake_add(file, line, column, mistakes, fmt, args);
    va_end(args);
}

void core_conf_mistake(const struct core_conf_file *file, const struct core_conf_node *node,
                       struct core_conf_mistakes *mistakes, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    conf_mistake_add(file, node == NULL ? 0 : node->line, node == NULL ? 0 : node->column, mistakes, fmt, args);
    va_end(args);
}
