/* core/conf_bind.c: option rows give a section of tapline.yml its meaning.
 *
 * The default of a row goes through the same parser as what a person writes, so a wrong default cannot hide (MUST).
 * Binding does not stop at a mistake: each is added, with its place, so that one `tapline check` shows them all.
 * The only thing touched in the world is the file behind `@/path`, for rows that hold secrets.
 * Thread: any; nothing is shared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/conf_internal.h"
#include "core/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

#define CONF_SECRET_BYTES_MAX (64 * CORE_KIB)
#define CONF_DOTTED_BYTES_MAX 512
#define CONF_WORD_BYTES_MAX 64
#define CONF_NEAREST_WORDS_MAX 128

/* One bind: everything the value readers need to say where and why. */
struct conf_bind {
    const struct core_conf_file *file; /* NULL while a default is read */
    const char *prefix;
    struct core_conf_mistakes *mistakes;
    bool failed;
};

/* One value as text, with its place. */
struct conf_value {
    const char *text;
    bool is_plain;
    int line;
    int column;
};

CORE_PRINTF(3, 4)
static void conf_refuse_value(struct conf_bind *bind, const struct conf_value *value, const char *fmt, ...) {
    MUST(bind->file != NULL); /* else a default is wrong: our bug */
    char text[sizeof(((struct core_fail *)0)->text)];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    conf_mistake_at(bind->file, value->line, value->column, bind->mistakes, "%s", text);
    bind->failed = true;
}

/* "ingest.poll_interval", in a buffer of the caller's. */
static const char *conf_key_name(const struct conf_bind *bind, const char *key, char *out, size_t out_len) {
    const char *dot = bind->prefix[0] == '\0' ? "" : ".";
    (void)snprintf(out, out_len, "%s%s%s", bind->prefix, dot, key);
    return out;
}

/* ---- text to value --------------------------------------------------------------------------------------------------- */

struct conf_unit {
    const char *name;
    uint64_t factor;
};

/* "1.5h" with a table of units: digits, perhaps a fraction, perhaps one space, a unit. A bare 0 needs none.
 * Exact: the fraction must come out whole in the smallest unit. Errors: false; *needs_unit if only that is missing. */
static bool conf_parse_with_unit(const char *text, const struct conf_unit *units, uint64_t *out, bool *needs_unit) {
    *needs_unit = false;
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    uint64_t whole = 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(*text - '0'), &whole)) {
            return false;
        }
    }
    uint64_t fraction = 0;
    uint64_t scale = 1;
    if (*text == '.' && text[1] >= '0' && text[1] <= '9') {
        for (text++; *text >= '0' && *text <= '9'; text++) {
            if (scale > UINT64_C(100000000)) {
                return false;
            }
            fraction = fraction * 10 + (uint64_t)(*text - '0');
            scale *= 10;
        }
    }
    if (*text == ' ') {
        text++;
    }
    if (*text == '\0') {
        *out = 0;
        *needs_unit = whole != 0 || fraction != 0;
        return !*needs_unit;
    }
    while (units->name != NULL && strcmp(units->name, text) != 0) {
        units++;
    }
    uint64_t part = 0;
    if (units->name == NULL || __builtin_mul_overflow(whole, units->factor, &whole) ||
        __builtin_mul_overflow(fraction, units->factor, &part) || part % scale != 0) {
        return false;
    }
    return !__builtin_add_overflow(whole, part / scale, out);
}

static const struct conf_unit conf_duration_units[] = {
    {"ns", 1},
    {"us", 1000},
    {"ms", 1000 * 1000},
    {"s", UINT64_C(1000) * 1000 * 1000},
    {"m", UINT64_C(60) * 1000 * 1000 * 1000},
    {"h", UINT64_C(3600) * 1000 * 1000 * 1000},
    {"d", UINT64_C(86400) * 1000 * 1000 * 1000},
    {NULL, 0},
};

static const struct conf_unit conf_size_units[] = {
    {"B", 1},     {"KiB", UINT64_C(1) << 10}, {"MiB", UINT64_C(1) << 20}, {"GiB", UINT64_C(1) << 30},
    {"kB", 1000}, {"MB", 1000 * 1000},        {"GB", 1000 * 1000 * 1000}, {NULL, 0},
};

bool core_parse_duration(const char *text, int64_t *ns) {
    MUST(text != NULL);
    uint64_t value = 0;
    bool needs_unit = false;
    if (!conf_parse_with_unit(text, conf_duration_units, &value, &needs_unit) || value > INT64_MAX) {
        return false;
    }
    *ns = (int64_t)value;
    return true;
}

bool core_parse_size(const char *text, uint64_t *bytes) {
    MUST(text != NULL);
    bool needs_unit = false;
    return conf_parse_with_unit(text, conf_size_units, bytes, &needs_unit);
}

static bool conf_parse_uint(const char *text, uint64_t *out) {
    if (text[0] == '\0') {
        return false;
    }
    *out = 0;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*text - '0'), out)) {
            return false;
        }
    }
    return true;
}

static bool conf_parse_bool(const char *text, bool *out) {
    static const char *const words[][2] = {{"false", "true"}, {"no", "yes"}, {"off", "on"}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        for (size_t b = 0; b < 2; b++) {
            if (strcasecmp(words[i][b], text) == 0) {
                *out = b == 1;
                return true;
            }
        }
    }
    return false;
}

/* ---- the nearest word ------------------------------------------------------------------------------------------------ */

/* Edits (insert, delete, replace, swap two neighbours) from a to b; both at most CONF_WORD_BYTES_MAX long.
 * Source: the restricted Damerau-Levenshtein distance ("optimal string alignment"). */
static size_t conf_distance(const char *a, const char *b) {
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    size_t rows[3][CONF_WORD_BYTES_MAX + 1];
    size_t *before = rows[0];
    size_t *last = rows[1];
    size_t *now = rows[2];
    MUST(a_len <= CONF_WORD_BYTES_MAX);
    MUST(b_len <= CONF_WORD_BYTES_MAX);
    memset(rows, 0, sizeof(rows));
    for (size_t j = 0; j <= b_len; j++) {
        last[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            now[j] = best;
        }
        size_t *oldest = before;
        before = last;
        last = now;
        now = oldest;
    }
    return last[b_len];
}

const char *core_conf_nearest(const char *word, const char *const *words, size_t words_len) {
    MUST(word != NULL);
    const char *nearest = NULL;
    size_t word_len = strlen(word);
    if (word_len > CONF_WORD_BYTES_MAX) {
        return NULL;
    }
    /* A third of its length, but one edit is near for the shortest words too. */
    size_t distance_max = word_len < 3 ? 1 : word_len / 3;
    for (size_t i = 0; i < words_len; i++) {
        if (strlen(words[i]) > CONF_WORD_BYTES_MAX) {
            continue;
        }
        size_t distance = conf_distance(word, words[i]);
        if (distance <= distance_max && distance < strlen(words[i])) {
            nearest = words[i];
            if (distance == 0) {
                break;
            }
            distance_max = distance - 1;
        }
    }
    return nearest;
}

/* ---- one row ---------------------------------------------------------------------------------------------------------- */

static void *conf_field(const struct core_opt *opt, void *dst) {
    return (char *)dst + opt->offset;
}

static const void *conf_field_const(const struct core_opt *opt, const void *dst) {
    return (const char *)dst + opt->offset;
}

/* malloc'ed copy of value's text, or the first line of the file behind `@/path`; NULL after a mistake. */
static char *conf_secret(struct conf_bind *bind, const char *key, const struct conf_value *value) {
    const char *path = value->text + 1;
    char line[CONF_SECRET_BYTES_MAX + 1];
    struct stat st;
    FILE *in = fopen(path, "re");
    if (in == NULL || fstat(fileno(in), &st) != 0) {
        conf_refuse_value(bind, value, "the secret of \"%s\" is in %s, which cannot be read: %s", key, path,
                          strerror(errno));
        if (in != NULL) {
            (void)fclose(in);
        }
        return NULL;
    }
    errno = 0;
    size_t len = fread(line, 1, sizeof(line) - 1, in);
    int read_errno = ferror(in) != 0 ? errno : 0;
    (void)fclose(in);
    line[len] = '\0';
    size_t line_len = strcspn(line, "\n");
    const char *wrong = NULL;
    if (read_errno != 0) {
        wrong = strerror(read_errno);
    } else if (line_len < len && line[line_len] == '\0') {
        wrong = "its first line has a NUL byte";
    } else if (len == CONF_SECRET_BYTES_MAX && line_len == len) {
        wrong = "its first line is longer than 64 KiB";
    } else if (line_len == 0 || (line_len == 1 && line[0] == '\r')) {
        wrong = "its first line is empty";
    }
    char *copy = NULL;
    if (wrong != NULL) {
        conf_refuse_value(bind, value, "the secret of \"%s\" is in %s, which cannot be used: %s", key, path, wrong);
    } else {
        line_len -= line[line_len - 1] == '\r' ? 1 : 0;
        copy = strndup(line, line_len);
        MUST(copy != NULL);
    }
    explicit_bzero(line, sizeof(line));
    if (copy != NULL && (st.st_mode & S_IROTH) != 0) {
        core_log(CORE_LEVEL_WARN, "config", "everybody on this host can read a secret's file",
                 "key=%s path=%s advice=\"chmod o-r\"", key, path);
    }
    return copy;
}

static bool conf_is_secret_path(const struct core_opt *opt, const char *text) {
    return opt->is_secret && text[0] == '@' && text[1] == '/';
}

static void conf_set_string(struct conf_bind *bind, const struct core_opt *opt, const struct conf_value *value,
                            char **out) {
    char name[CONF_DOTTED_BYTES_MAX];
    free(*out);
    if (conf_is_secret_path(opt, value->text)) {
        *out = conf_secret(bind, conf_key_name(bind, opt->key, name, sizeof(name)), value);
        return;
    }
    *out = strdup(value->text);
    MUST(*out != NULL);
}

/* Why a number with a unit was not understood. */
static void conf_refuse_unit(struct conf_bind *bind, const struct core_opt *opt, const struct conf_value *value) {
    const char *text = value->text;
    bool is_duration = opt->type == CORE_OPT_DURATION;
    uint64_t ignored = 0;
    bool needs_unit = false;
    (void)conf_parse_with_unit(text, is_duration ? conf_duration_units : conf_size_units, &ignored, &needs_unit);
    if (needs_unit && is_duration) {
        conf_refuse_value(bind, value, "\"%s\" needs a unit: is it %sms, %ss, %sm, %sh or %sd?", opt->key, text, text,
                          text, text, text);
    } else if (needs_unit) {
        conf_refuse_value(bind, value, "\"%s\" needs a unit: is it %sB, %sKiB, %sMiB or %sGiB?", opt->key, text, text,
                          text, text);
    } else if (is_duration) {
        conf_refuse_value(bind, value, "\"%s\" is no duration for \"%s\": write a number with ms, s, m, h or d", text,
                          opt->key);
    } else {
        conf_refuse_value(bind, value,
                          "\"%s\" is no size for \"%s\": write a number with B, KiB, MiB, GiB, kB, MB or GB", text,
                          opt->key);
    }
}

static bool conf_parse_number(const struct core_opt *opt, const char *text, uint64_t *out) {
    int64_t ns = 0;
    switch (opt->type) {
    case CORE_OPT_UINT:
        return conf_parse_uint(text, out);
    case CORE_OPT_SIZE:
        return core_parse_size(text, out);
    case CORE_OPT_DURATION:
        if (!core_parse_duration(text, &ns)) {
            return false;
        }
        *out = (uint64_t)ns;
        return true;
    default:
        MUST(!"a type with numbers");
        return false;
    }
}

static void conf_set_number(struct conf_bind *bind, const struct core_opt *opt, const struct conf_value *value,
                            void *field) {
    uint64_t number = 0;
    if (!conf_parse_number(opt, value->text, &number)) {
        if (opt->type == CORE_OPT_UINT) {
            conf_refuse_value(bind, value, "\"%s\" is no whole number for \"%s\"", value->text, opt->key);
        } else {
            conf_refuse_unit(bind, opt, value);
        }
        return;
    }
    uint64_t bound = 0;
    if (opt->min != NULL) {
        MUST(conf_parse_number(opt, opt->min, &bound));
        if (number < bound) {
            conf_refuse_value(bind, value, "\"%s\" is %s, but at least %s is needed", opt->key, value->text, opt->min);
            return;
        }
    }
    if (opt->max != NULL) {
        MUST(conf_parse_number(opt, opt->max, &bound));
        if (number > bound) {
            conf_refuse_value(bind, value, "\"%s\" is %s, but at most %s is possible", opt->key, value->text, opt->max);
            return;
        }
    }
    memcpy(field, &number, sizeof(number)); /* uint64_t, or int64_t of the same size */
}

static void conf_set_enum(struct conf_bind *bind, const struct core_opt *opt, const struct conf_value *value,
                          int *out) {
    size_t len = 0;
    char all[256] = "";
    size_t used = 0;
    for (; opt->choices[len] != NULL; len++) {
        if (strcmp(opt->choices[len], value->text) == 0) {
            *out = (int)len;
            return;
        }
        int n = snprintf(all + used, sizeof(all) - used, "%s%s", len == 0 ? "" : ", ", opt->choices[len]);
        used = n < 0 || used + (size_t)n >= sizeof(all) ? sizeof(all) - 1 : used + (size_t)n;
    }
    const char *near = core_conf_nearest(value->text, opt->choices, len);
    if (near != NULL) {
        conf_refuse_value(bind, value, "\"%s\" cannot be \"%s\", did you mean \"%s\"? (one of: %s)", opt->key,
                          value->text, near, all);
    } else {
        conf_refuse_value(bind, value, "\"%s\" cannot be \"%s\"; it is one of: %s", opt->key, value->text, all);
    }
}

static void conf_list_add(struct core_conf_list *list, const struct core_conf_item *item) {
    struct core_conf_item *items = reallocarray(list->items, list->len + 1, sizeof(*items));
    MUST(items != NULL);
    list->items = items;
    items[list->len++] = *item;
}

static void conf_list_release(struct core_conf_list *list) {
    for (size_t i = 0; i < list->len; i++) {
        if (list->items[i].value != NULL && list->items[i].is_secret) {
            explicit_bzero(list->items[i].value, strlen(list->items[i].value));
        }
        free(list->items[i].key);
        free(list->items[i].value);
    }
    free(list->items);
    *list = (struct core_conf_list){0};
}

static void conf_set_scalar(struct conf_bind *bind, const struct core_opt *opt, const struct conf_value *value,
                            void *field) {
    switch (opt->type) {
    case CORE_OPT_STRING:
        conf_set_string(bind, opt, value, field);
        break;
    case CORE_OPT_BOOL:
        if (!conf_parse_bool(value->text, field)) {
            conf_refuse_value(bind, value, "\"%s\" is yes or no, not \"%s\"", opt->key, value->text);
        }
        break;
    case CORE_OPT_UINT:
    case CORE_OPT_DURATION:
    case CORE_OPT_SIZE:
        conf_set_number(bind, opt, value, field);
        break;
    case CORE_OPT_ENUM:
        conf_set_enum(bind, opt, value, field);
        break;
    case CORE_OPT_STRINGS: {
        char *copy = NULL;
        conf_set_string(bind, opt, value, &copy);
        if (copy != NULL) {
            conf_list_add(field, &(struct core_conf_item){.value = copy,
                                                          .is_secret = conf_is_secret_path(opt, value->text),
                                                          .line = value->line,
                                                          .column = value->column});
        }
        break;
    }
    case CORE_OPT_PAIRS:
        conf_refuse_value(bind, value, "\"%s\" needs keys and values (\"%s: {key: value}\"), not \"%s\"", opt->key,
                          opt->key, value->text);
        break;
    case CORE_OPT_SECTION: /* its owner refuses what is wrong */
        break;
    }
}

static struct conf_value conf_value_of(const struct core_conf_node *node) {
    return (struct conf_value){
        .text = node->text, .is_plain = node->is_plain, .line = node->line, .column = node->column};
}

static void conf_set_strings(struct conf_bind *bind, const struct core_opt *opt, const struct core_conf_node *node,
                             void *field) {
    for (const struct conf_member *item = node->first; item != NULL; item = item->next) {
        struct conf_value value = conf_value_of(item->value);
        if (item->value->type == CONF_NODE_SCALAR) {
            conf_set_scalar(bind, opt, &value, field);
        } else {
            value.line = value.line > 0 ? value.line : item->line;
            conf_refuse_value(bind, &value, "\"%s\" is a list of texts; this item is %s", opt->key,
                              item->value->type == CONF_NODE_NULL ? "empty" : "a list or a mapping");
        }
    }
}

/* Numbers and bools keep their type if a document may show them as they are written. */
static bool conf_pair_is_number(const struct conf_value *value) {
    return value->is_plain && (core_json_is_number(core_span_of(value->text)) || strcmp(value->text, "true") == 0 ||
                               strcmp(value->text, "false") == 0);
}

static void conf_set_pairs(struct conf_bind *bind, const struct core_opt *opt, const struct core_conf_node *node,
                           const char *dotted, struct core_conf_list *list) {
    for (const struct conf_member *member = node->first; member != NULL; member = member->next) {
        struct conf_value value = conf_value_of(member->value);
        char key[CONF_DOTTED_BYTES_MAX];
        int n = snprintf(key, sizeof(key), "%s%s%s", dotted, dotted[0] == '\0' ? "" : ".", member->key);
        if (n < 0 || (size_t)n >= sizeof(key)) {
            conf_refuse_value(bind, &value, "a key below \"%s\" is longer than %d bytes", opt->key,
                              CONF_DOTTED_BYTES_MAX);
            continue;
        }
        if (member->value->type == CONF_NODE_MAP) {
            conf_set_pairs(bind, opt, member->value, key, list);
            continue;
        }
        if (member->value->type != CONF_NODE_SCALAR) {
            conf_refuse_value(bind, &value, "\"%s\" below \"%s\" %s", key, opt->key,
                              member->value->type == CONF_NODE_NULL ? "has no value" : "needs one value, not a list");
            continue;
        }
        struct core_conf_item item = {.is_number = conf_pair_is_number(&value),
                                      .is_secret = conf_is_secret_path(opt, value.text),
                                      .line = value.line,
                                      .column = value.column};
        item.value = item.is_secret ? conf_secret(bind, key, &value) : strdup(value.text);
        if (item.value != NULL) {
            item.key = strdup(key);
            MUST(item.key != NULL);
            conf_list_add(list, &item);
        }
    }
}

static void conf_set_node(struct conf_bind *bind, const struct core_opt *opt, const struct conf_member *member,
                          void *field) {
    const struct core_conf_node *node = member->value;
    struct conf_value value = conf_value_of(node);
    if (opt->type == CORE_OPT_SECTION) {
        return;
    }
    if (node->type == CONF_NODE_SCALAR) {
        conf_set_scalar(bind, opt, &value, field);
    } else if (node->type == CONF_NODE_SEQUENCE && opt->type == CORE_OPT_STRINGS) {
        conf_set_strings(bind, opt, node, field);
        const struct core_conf_list *list = field;
        if (opt->is_required && list->len == 0 && !bind->failed) {
            conf_refuse_value(bind, &value, "\"%s\" is an empty list; it needs at least one item", opt->key);
        }
    } else if (node->type == CONF_NODE_MAP && opt->type == CORE_OPT_PAIRS) {
        conf_set_pairs(bind, opt, node, "", field);
    } else {
        conf_refuse_value(bind, &value, "\"%s\" needs %s, not a %s", opt->key,
                          opt->type == CORE_OPT_PAIRS ? "keys and values" : "one value",
                          node->type == CONF_NODE_MAP ? "mapping" : "list");
    }
}

/* ---- a section -------------------------------------------------------------------------------------------------------- */

static const struct core_opt *conf_opt_find(const struct core_opt *opts, size_t opts_len, const char *key) {
    for (size_t i = 0; i < opts_len; i++) {
        if (strcmp(opts[i].key, key) == 0) {
            return &opts[i];
        }
    }
    return NULL;
}

static void conf_refuse_key(struct conf_bind *bind, const struct conf_member *member, const struct core_opt *opts,
                            size_t opts_len) {
    const char *words[CONF_NEAREST_WORDS_MAX];
    MUST(opts_len <= CONF_NEAREST_WORDS_MAX);
    for (size_t i = 0; i < opts_len; i++) {
        words[i] = opts[i].key;
    }
    const char *near = core_conf_nearest(member->key, words, opts_len);
    const struct conf_value at = {.line = member->line, .column = member->column};
    const char *in = bind->prefix[0] == '\0' ? "" : " in ";
    if (near != NULL) {
        conf_refuse_value(bind, &at, "unknown key \"%s\"%s%s, did you mean \"%s\"?", member->key, in, bind->prefix,
                          near);
    } else {
        conf_refuse_value(bind, &at, "unknown key \"%s\"%s%s; `tapline reference options` lists what there is",
                          member->key, in, bind->prefix);
    }
}

static void conf_set_default(const struct core_opt *opt, const char *prefix, void *field) {
    if (opt->def == NULL) {
        return;
    }
    /* No file: a mistake in a default is ours, and conf_refuse_value says so. */
    struct conf_bind bind = {.prefix = prefix};
    const struct conf_value value = {.text = opt->def, .is_plain = true};
    conf_set_scalar(&bind, opt, &value, field);
}

enum core_err core_conf_bind(const struct core_conf_file *file, const struct core_conf_node *node, const char *prefix,
                             const struct core_opt *opts, size_t opts_len, void *dst,
                             struct core_conf_mistakes *mistakes) {
    MUST(file != NULL);
    MUST(prefix != NULL);
    MUST(dst != NULL);
    struct conf_bind bind = {.file = file, .prefix = prefix, .mistakes = mistakes};
    const struct conf_value at = {.line = node == NULL ? 0 : node->line, .column = node == NULL ? 0 : node->column};
    bool is_map = core_conf_is_map(node);
    if (!is_map && !core_conf_is_null(node)) {
        conf_refuse_value(&bind, &at, "\"%s\" needs keys and values here", prefix);
    }
    for (const struct conf_member *member = is_map ? node->first : NULL; member != NULL; member = member->next) {
        if (conf_opt_find(opts, opts_len, member->key) == NULL) {
            conf_refuse_key(&bind, member, opts, opts_len);
        }
    }
    for (size_t i = 0; i < opts_len; i++) {
        const struct conf_member *member = NULL;
        for (member = is_map ? node->first : NULL; member != NULL; member = member->next) {
            if (strcmp(member->key, opts[i].key) == 0) {
                break;
            }
        }
        if (member != NULL && member->value->type != CONF_NODE_NULL) {
            struct conf_bind one = {.file = file, .prefix = prefix, .mistakes = mistakes};
            conf_set_node(&one, &opts[i], member, conf_field(&opts[i], dst));
            bind.failed = bind.failed || one.failed;
        } else if (opts[i].is_required) {
            char name[CONF_DOTTED_BYTES_MAX];
            conf_refuse_value(&bind, &at, "\"%s\" is missing: %s",
                              conf_key_name(&bind, opts[i].key, name, sizeof(name)), opts[i].help);
        } else {
            conf_set_default(&opts[i], prefix, conf_field(&opts[i], dst));
        }
    }
    return bind.failed ? CORE_BAD : CORE_OK;
}

void core_conf_release(const struct core_opt *opts, size_t opts_len, void *dst) {
    if (dst == NULL) {
        return;
    }
    for (size_t i = 0; i < opts_len; i++) {
        if (opts[i].type == CORE_OPT_STRING) {
            char **text = conf_field(&opts[i], dst);
            if (*text != NULL && opts[i].is_secret) {
                explicit_bzero(*text, strlen(*text));
            }
            free(*text);
            *text = NULL;
        } else if (opts[i].type == CORE_OPT_STRINGS || opts[i].type == CORE_OPT_PAIRS) {
            conf_list_release(conf_field(&opts[i], dst));
        }
    }
}

static bool conf_texts_are_same(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool conf_lists_are_same(const struct core_conf_list *a, const struct core_conf_list *b) {
    bool same = a->len == b->len;
    for (size_t i = 0; same && i < a->len; i++) {
        same = conf_texts_are_same(a->items[i].key, b->items[i].key) &&
               conf_texts_are_same(a->items[i].value, b->items[i].value) &&
               a->items[i].is_number == b->items[i].is_number;
    }
    return same;
}

static bool conf_fields_are_same(const struct core_opt *opt, const void *a, const void *b) {
    const void *left = conf_field_const(opt, a);
    const void *right = conf_field_const(opt, b);
    switch (opt->type) {
    case CORE_OPT_STRING:
        return conf_texts_are_same(*(char *const *)left, *(char *const *)right);
    case CORE_OPT_STRINGS:
    case CORE_OPT_PAIRS:
        return conf_lists_are_same(left, right);
    case CORE_OPT_BOOL:
        return *(const bool *)left == *(const bool *)right;
    case CORE_OPT_ENUM:
        return *(const int *)left == *(const int *)right;
    case CORE_OPT_UINT:
    case CORE_OPT_DURATION:
    case CORE_OPT_SIZE:
        return memcmp(left, right, sizeof(uint64_t)) == 0;
    case CORE_OPT_SECTION:
        return true;
    }
    MUST(!"a known type");
    return false;
}

bool core_conf_same_restart(const struct core_opt *opts, size_t opts_len, const void *a, const void *b,
                            const char **key) {
    MUST(key != NULL);
    for (size_t i = 0; i < opts_len; i++) {
        if (opts[i].needs_restart && !conf_fields_are_same(&opts[i], a, b)) {
            *key = opts[i].key;
            return false;
        }
    }
    return true;
}
