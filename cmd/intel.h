/* cmd/intel.h: what the commands `tapline intel …` share: the store of the configuration, indicators named on the command
 * line, and how an indicator is shown.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_INTEL_H
#define TAPLINE_CMD_INTEL_H

#include "cmd/cmd.h"
#include "cmd/config_intel.h"

#define INTEL_TIMEOUT_MS 10000 /* of a question to the store */
#define INTEL_ARENA_BYTES (64 * CORE_MIB)

/* One command at work. Zero it; intel_close() at the end. */
struct intel {
    const struct cmd *cmd;
    struct cmd_args args;
    struct core_conf_file *file;
    struct config_intel conf;
    struct enrich_store *store;
    struct core_arena arena;
    bool is_json;
};

enum intel_access { INTEL_CONFIG_ONLY, INTEL_READS, INTEL_WRITES };

/* Parse the command line. Returns false with *exit_code if the command is over: help, wrong usage. */
CORE_CHECKED bool intel_parse(struct intel *intel, const struct cmd *cmd, int argc, char **argv, int *exit_code);
/* Read -c FILE's section `intel` and open the store. Returns false with *exit_code if there is none, or Redis is away; said
 * on stderr. A writer needs Redis: files are written with an editor. INTEL_CONFIG_ONLY: no store, and -c may be left out. */
CORE_CHECKED bool intel_open(struct intel *intel, enum intel_access access, int *exit_code);
void intel_close(struct intel *intel);
/* Say a failure of the world; returns the exit code. */
int intel_failed(const struct intel *intel, enum core_err err, const struct core_fail *fail);
/* Say how the command was called wrongly; returns the exit code. */
int intel_wrong(const struct intel *intel, const char *fmt, ...) CORE_PRINTF(2, 3);
/* The option's value, or NULL. */
const char *intel_value(const struct intel *intel, const char *option);
/* The type that --type names. *type is NONE without the option. Returns false, said, if it is no type. */
CORE_CHECKED bool intel_type(const struct intel *intel, enum core_indicator *type);

/* All indicators that a text could be, each in its canonical form: of the type given, or of every type that it can be. */
#define INTEL_FORMS_MAX ((size_t)CORE_INDICATOR__MAX)
struct intel_form {
    enum core_indicator type;
    struct core_span value; /* in the arena */
};
/* Shape: returns how many, at most INTEL_FORMS_MAX; 0: none, *why says why not of the given or likeliest type. */
size_t intel_forms(struct intel *intel, enum core_indicator type, const char *text, struct intel_form *out,
                   const char **why);

/* One indicator on stdout: as a JSON object on a line, or as lines of text with tabs between, one a provider. */
void intel_print(const struct intel *intel, const struct enrich_found *found);
/* {"feed":…}: one provider. */
void intel_print_provider(const struct enrich_provider *said);
/* 85 → "8.5". Shape: NUL-terminated. */
void intel_confidence(int tenths, char out[8]);
/* "2026-11-21T03:04:05Z". */
void intel_time(int64_t seconds, char out[32]);

/* A bar on stderr while something takes its time; nothing if stderr is no terminal. */
struct intel_bar {
    bool is_shown;
    int64_t told_tick;
    const char *what; /* "loading"; may change */
};
struct intel_bar intel_bar_new(const char *what);
/* share: from 0 to 1; less than 0: not known. */
void intel_bar_tell(struct intel_bar *bar, double share, uint64_t items);
void intel_bar_end(struct intel_bar *bar);

/* enrich_store_walk() through all that is said, with a bar. */
struct intel_walk {
    const char *what; /* the bar's word */
    bool prints;      /* to stdout, meanwhile: no bar if that is a terminal, too */
    bool (*on_found)(void *ctx, const struct enrich_found *found);
    void *ctx;
};
CORE_CHECKED enum core_err intel_walk_all(struct intel *intel, const struct intel_walk *walk, struct core_fail *fail);

/* What sensors have seen, day by day (intel_seen.c). NULL: there is no Redis, or it does not say, which is said on stderr.
 * Owns: intel_seen_free(). */
struct intel_seen;
struct intel_seen *intel_seen_read(struct intel *intel);
void intel_seen_free(struct intel_seen *seen);       /* takes NULL */
void intel_seen_json(const struct intel_seen *seen); /* a member "sightings", with a comma before it; nothing of NULL */
void intel_seen_text(const struct intel_seen *seen); /* takes NULL */

/* Rows that most of the commands have. */
#define INTEL_CONFIG_OPTION                                                                                            \
    { .name = "config", .letter = 'c', .arg = "FILE", .help = "The configuration; its section intel names the store." }
#define INTEL_TYPE_OPTION                                                                                              \
    {                                                                                                                  \
        .name = "type", .letter = 't', .arg = "TYPE",                                                                  \
        .help = "ip, cidr, domain, url, email, file_hash, cert_hash, pubkey_hash, user, file_name, software or ja3."   \
    }

#endif
