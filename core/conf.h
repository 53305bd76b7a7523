/* core/conf.h: tapline.yml. libfyaml reads it; option tables give it meaning.
 *
 * Each owner of a section declares its keys as rows: `static const struct core_opt opts[]`. From the rows come the
 * parser, `--help`, `tapline config show`, the man page and the reference. A key that no row has, a duration without a
 * unit, a value out of range: refused with `tapline.yml:12:8: unknown key "lingr_ms", did you mean "linger_ms"?`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_CONF_H
#define TAPLINE_CORE_CONF_H

#include "core/core.h"

enum core_opt_type {
    CORE_OPT_STRING,   /* char *; `@/path` is replaced by that file's first line when is_secret */
    CORE_OPT_BOOL,     /* bool; YAML 1.2's true/false, and yes/no/on/off as people write them */
    CORE_OPT_UINT,     /* uint64_t */
    CORE_OPT_DURATION, /* int64_t, ns; text needs a unit: ms s m h d (and us, ns); a bare 0 is fine */
    CORE_OPT_SIZE,     /* uint64_t, bytes; text needs a unit (B KiB MiB GiB, kB MB GB); a bare 0 is fine */
    CORE_OPT_ENUM,     /* int; index into `choices` */
    CORE_OPT_STRINGS,  /* struct core_conf_list: a sequence of strings (one string is a list of one) */
    CORE_OPT_PAIRS,    /* struct core_conf_list: a mapping of scalars, kept as text with the place of each value;
                        * a mapping in it becomes dotted keys (`{a: {b: 1}}` is `a.b`); `@/path` when is_secret */
    CORE_OPT_SECTION   /* nothing: a key below which is a section of its own, bound by its owner */
};

/* One key. offset is into the owner's struct. def, min and max are texts as a person would write them in YAML; NULL:
 * no default (the field stays zero) / no bound. */
struct core_opt {
    const char *key;
    enum core_opt_type type;
    size_t offset;
    const char *def;
    const char *min;
    const char *max;
    const char *const *choices; /* NULL-terminated, for ENUM */
    bool is_required;
    bool is_secret;     /* shown as *** ; takes @/path */
    bool needs_restart; /* a SIGHUP with another value is refused, and says so */
    const char *help;   /* one sentence: meaning and unit */
};

struct core_conf_item {
    char *key; /* NULL in a STRINGS list */
    char *value;
    bool is_number; /* plain (unquoted) number or bool in PAIRS: fields keep their type */
    bool is_secret; /* the text came from @/path */
    int line;
    int column;
};

struct core_conf_list {
    struct core_conf_item *items;
    size_t len;
};

/* A parsed file. Nodes are valid as long as the file is. */
struct core_conf_file;
struct core_conf_node;

/* Read a YAML file: one document, a mapping at its top (an empty file is an empty mapping), no key twice, no tags;
 * anchors, aliases and `<<: *alias` work.
 * Owns:    core_conf_close(*out); *out is NULL on an error.
 * Errors:  CORE_IO unreadable · CORE_BAD no YAML, with fail->where = "file:line:col" (the first mistake ends the read).
 * Thread:  any.        Source: YAML 1.2.2. */
CORE_CHECKED enum core_err core_conf_open(struct core_conf_file **out, const char *path, struct core_fail *fail);
void core_conf_close(struct core_conf_file *file); /* takes NULL */
const char *core_conf_path(const struct core_conf_file *file);

const struct core_conf_node *core_conf_root(const struct core_conf_file *file);
/* Member of a mapping, or NULL. */
const struct core_conf_node *core_conf_get(const struct core_conf_node *node, const char *key);
bool core_conf_is_map(const struct core_conf_node *node);
bool core_conf_is_sequence(const struct core_conf_node *node);
bool core_conf_is_null(const struct core_conf_node *node); /* not there, or `key:` without a value */
size_t core_conf_len(const struct core_conf_node *node);   /* items of a sequence, members of a mapping */
const struct core_conf_node *core_conf_item(const struct core_conf_node *node, size_t i);
/* Key and value of member i of a mapping; the key is NUL-terminated and lives as long as the file. */
const char *core_conf_member(const struct core_conf_node *node, size_t i, const struct core_conf_node **value);
/* "file:line:col" of a node. */
void core_conf_where(const struct core_conf_file *file, const struct core_conf_node *node, char *out, size_t out_len);

/* Collects mistakes, so that `check` can show all of them; those past the last slot are dropped. Zero it first. */
struct core_conf_mistakes {
    struct core_fail fails[128];
    size_t len;
};

/* Fill dst (zeroed by the caller) from a mapping node (NULL: only defaults) by the rows. A key without a value
 * (`topic:`) counts as not given. Every mistake is added to mistakes; the result is CORE_BAD if there was one. prefix is
 * the section's dotted name, for messages ("" for the top). A secret's file that others may read is a warning in the log.
 * Owns: strings and lists in dst are malloc'ed, also after CORE_BAD; free with core_conf_release(). */
CORE_CHECKED enum core_err core_conf_bind(const struct core_conf_file *file, const struct core_conf_node *node,
                                          const char *prefix, const struct core_opt *opts, size_t opts_len, void *dst,
                                          struct core_conf_mistakes *mistakes);
void core_conf_release(const struct core_opt *opts, size_t opts_len, void *dst);
/* Add a mistake at a node ("file:line:col"). */
void core_conf_mistake(const struct core_conf_file *file, const struct core_conf_node *node,
                       struct core_conf_mistakes *mistakes, const char *fmt, ...) CORE_PRINTF(4, 5);
/* The nearest of the words (Damerau-Levenshtein distance at most a third of its length), or NULL. */
const char *core_conf_nearest(const char *word, const char *const *words, size_t words_len);
/* Are two filled structs the same in every row with needs_restart? *key gets the first that differs. */
bool core_conf_same_restart(const struct core_opt *opts, size_t opts_len, const void *a, const void *b,
                            const char **key);

/* Text to value, as the parser does it; also for the command line. */
CORE_CHECKED bool core_parse_duration(const char *text, int64_t *ns);
CORE_CHECKED bool core_parse_size(const char *text, uint64_t *bytes);

#endif
