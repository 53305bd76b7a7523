/* supervisor/deploy_internal.h: between the files of a deploy.
 *
 *   deploy.c        what is asked for, and what survives Main           deploy_plan.c   plans as JSON, and what differs
 *   deploy_steps.c  its phases, one after the other, and the way back   deploy_apply.c  the files on the disk
 *   deploy_check.c  the sensors' own programs judge their scripts       deploy_tell.c   progress, events, answers
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SUPERVISOR_DEPLOY_INTERNAL_H
#define TAPLINE_SUPERVISOR_DEPLOY_INTERNAL_H

#include "supervisor/serve_internal.h"

#define DEPLOY_PLAN_BYTES_MAX (16 * CORE_MIB)   /* of a plan's file */
#define DEPLOY_ARENA_BYTES_MAX (512 * CORE_MIB) /* of its arena: address space; what it takes is some times its file */
#define DEPLOY_TEXT_BYTES 1024                  /* of what is said about a node */

/* ---- deploy_plan.c -------------------------------------------------------------------------------------------------------- */

enum deploy_change { DEPLOY_SAME, DEPLOY_ADDED, DEPLOY_CHANGED, DEPLOY_REMOVED };
extern const char *const deploy_change_names[];

struct deploy;

/* What becomes of a node. */
struct deploy_row {
    struct deploy *deploy;
    const char *name;
    const struct sensors_node *from; /* NULL: added */
    const struct sensors_node *to;   /* NULL: removed */
    enum deploy_change change;
    char members[256];            /* of its spec, that differ, and "files": with blanks between */
    bool has_other_files;         /* "files" is one of them */
    bool was_wanted;              /* its process, before */
    bool is_touched;              /* was started, restarted or stopped by this deploy */
    bool is_pending;              /* its process runs with another spec than it has now */
    bool is_waited;               /* has to become ready, or, if it is to be removed, to go down */
    bool needs_start;             /* … and only a start since it was asked for counts */
    bool is_started;              /* since it was asked for */
    bool is_set;                  /* the Supervisor has it by this deploy */
    bool is_failed;               /* did not */
    uint64_t starts;              /* of its process, when it was asked for */
    int64_t pid;                  /* the same */
    enum supervisor_state state;  /* as it was seen last */
    char text[DEPLOY_TEXT_BYTES]; /* what became of it */
};

/* A plan as JSON, whole, and back. unwanted: names with blanks between, of nodes that were not to run when the plan was made
 * ("": none). Owns: what is read lies in the arena; unwanted may be NULL. Errors: CORE_GONE no such file · CORE_BAD with where
 * (a path) · CORE_LIMIT · CORE_IO. */
CORE_CHECKED enum core_err deploy_plan_save(const struct sensors_plan *plan, const char *unwanted, const char *path,
                                            struct core_fail *fail);
CORE_CHECKED enum core_err deploy_plan_load(const char *path, struct core_arena *arena, struct sensors_plan *out,
                                            const char **unwanted, struct core_fail *fail);
/* Is the name one of those in the text, which has blanks between? */
CORE_CHECKED bool deploy_names_have(const char *names, const char *name);
/* Nodes that no word means stay as they are in `from`, with the files that only they need. Words NULL: all are meant.
 * Owns: all of `to` but its warnings lies in the arena afterwards. False: the arena is full. */
CORE_CHECKED bool deploy_plan_narrow(struct core_arena *arena, const struct sensors_plan *from, struct sensors_plan *to,
                                     const struct core_json_tree *words);
/* A row for each node of both, in the order of `to`, removed ones last. is_forced: the same counts as changed.
 * Owns: *rows lies in the arena. False: the arena is full. */
CORE_CHECKED bool deploy_compare(struct core_arena *arena, const struct sensors_plan *from,
                                 const struct sensors_plan *to, bool is_forced, struct deploy_row **rows,
                                 size_t *rows_len);
const struct sensors_file *deploy_file_find(const struct sensors_plan *plan, const char *path);

/* ---- deploy_check.c --------------------------------------------------------------------------------------------------------- */

struct deploy_check;
/* Run the checks of the plan's nodes that is_meant (NULL: all), those with the same key once, on a copy of the plan's files
 * beside the real ones. on_done is called from the loop when all have ended, or at once from there if there are none. */
struct deploy_check *deploy_check_start(struct serve *serve, const struct sensors_plan *plan,
                                        bool (*is_meant)(void *ctx, const struct sensors_node *node),
                                        void (*on_progress)(void *ctx, const char *nodes, bool is_ok),
                                        void (*on_done)(void *ctx), void *ctx);
bool deploy_check_is_ok(const struct deploy_check *check);
/* [{"name":"worker-1 worker-2","program":…,"ok":…,"text":…}, …] */
void deploy_check_put(const struct deploy_check *check, struct core_buf *out);
void deploy_check_free(struct deploy_check *check); /* takes NULL; on_done is not called any more */

/* ---- deploy_apply.c ------------------------------------------------------------------------------------------------------------ */

/* Write the files of `to` that differ from what is on the disk; remove those that only `from` has. */
CORE_CHECKED enum core_err deploy_files_write(const struct sensors_plan *from, const struct sensors_plan *to,
                                              struct core_fail *fail);
void deploy_files_remove(const struct sensors_plan *from, const struct sensors_plan *to);
/* A directory of rotated logs for each Zeek that writes some, its user's: Zeek would make one level, for itself alone. */
CORE_CHECKED enum core_err deploy_archives_make(const char *archive, const struct sensors_plan *plan,
                                                struct core_fail *fail);
/* A directory and those above it that are missing. */
CORE_CHECKED enum core_err deploy_directory_make(const char *path, struct core_fail *fail);

/* ---- deploy.c, deploy_steps.c, deploy_tell.c ------------------------------------------------------------------------------------ */

enum deploy_phase { DEPLOY_CHECKING, DEPLOY_STOPPING, DEPLOY_SETTING, DEPLOY_STARTING };

struct deploy {
    struct serve *serve;
    struct core_rpc_request *request; /* NULL: nobody asked */
    struct core_arena arena;          /* of `to`, and of everything here */
    struct sensors_plan from;         /* what is deployed; its texts are serve->deployed's */
    struct sensors_plan to;
    struct deploy_row *rows;
    size_t rows_len;
    struct deploy_check *check;
    enum deploy_phase phase;
    size_t asked; /* answers of the Supervisor that are still to come */
    struct core_timer timer;
    bool is_check_only;
    bool is_dry;
    bool is_turning;  /* has failed: on the way back from the next step on */
    bool is_given_up; /* has failed before any process was touched, and there is nothing to go back to */
    bool is_back;     /* on the way back */
    bool is_cut;      /* the line broke: the next one begins the way back */
    bool resumes;     /* … at once, when all answers are there */
    bool keeps_mark;  /* the way back was not gone to its end: the next Main is to try it again */
    bool has_failed;
    const struct core_json_tree *words;        /* of `check`: which nodes */
    char failed[DEPLOY_TEXT_BYTES + 256];      /* why it has failed */
    char back_failed[DEPLOY_TEXT_BYTES + 256]; /* why not all is as it was; "": it is */
};

/* What the row's node is to be now: NULL: nothing. */
const struct sensors_node *deploy_target(const struct deploy *deploy, const struct deploy_row *row);
/* <state>/name. */
void deploy_state_path(const struct serve *serve, const char *name, char *out, size_t room);
/* "deploy.pending": the mark of a deploy under way. */
void deploy_mark_remove(struct serve *serve);
void deploy_free(struct deploy *deploy);
/* All is checked and compared, or was when the mark was made: from here on things are touched. deploy is freed when it is over. */
void deploy_steps_begin(struct deploy *deploy);
/* It ends here and now; what is half done is put back when the Supervisor is there again. Frees deploy. */
void deploy_cut(struct deploy *deploy);
void deploy_progress(struct deploy *deploy, const char *name, const char *state, const char *reason);
void deploy_event_tell(struct deploy *deploy, const char *text);
void deploy_answer(struct deploy *deploy); /* nobody asked: nothing is done */

#endif
