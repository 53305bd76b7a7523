/* tests/unit/core_log_test.c: what reaches stderr: one line each, repeats folded, nothing hidden for good.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"
#include "core/json_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char captured[CORE_MIB];

/* stderr of what runs between begin and end, as one string. */
static int saved_fd;
static FILE *taken;

static void capture_begin(void) {
    taken = tmpfile();
    assert_non_null(taken);
    saved_fd = dup(STDERR_FILENO);
    assert_true(dup2(fileno(taken), STDERR_FILENO) >= 0);
}

static void capture_end(void) {
    assert_true(dup2(saved_fd, STDERR_FILENO) >= 0);
    close(saved_fd);
    rewind(taken);
    size_t len = fread(captured, 1, sizeof captured - 1, taken);
    captured[len] = '\0';
    fclose(taken);
}

static size_t count_of(const char *part) {
    size_t count = 0;
    for (const char *at = strstr(captured, part); at != NULL; at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

static void test_a_line(void **state) {
    (void)state;
    capture_begin();
    core_log(CORE_LEVEL_WARN, "test", "a thing happened", "path=\"%s\" n=%d", "/x\ny", 3);
    capture_end();
    assert_int_equal(strlen(captured), 28 + strlen("warn test \"a thing happened\" path=\"/x?y\" n=3\n"));
    assert_string_equal(captured + 28, "warn test \"a thing happened\" path=\"/x?y\" n=3\n");
    assert_int_equal(captured[26], 'Z');
}

static void test_levels(void **state) {
    (void)state;
    capture_begin();
    core_log(CORE_LEVEL_DEBUG, "test", "unseen", "n=%d", 1);
    core_log_level(CORE_LEVEL_ERROR);
    core_log(CORE_LEVEL_WARN, "test", "unseen", "n=%d", 2);
    core_log(CORE_LEVEL_ERROR, "test", "seen", "n=%d", 3);
    core_log_level(CORE_LEVEL_INFO);
    capture_end();
    assert_int_equal(count_of("unseen"), 0);
    assert_int_equal(count_of("error test \"seen\" n=3\n"), 1);
}

static void test_the_same_words_are_folded(void **state) {
    (void)state;
    capture_begin();
    for (int i = 0; i < 1000; i++) {
        core_log(CORE_LEVEL_WARN, "test", "again", "file=%s", "a");
    }
    core_log_flush();
    core_log_flush();
    capture_end();
    assert_int_equal(count_of("\n"), 2);
    assert_int_equal(count_of("\"again\" file=a folded=999\n"), 1);
}

static void test_other_words_are_seen_a_few_times(void **state) {
    (void)state;
    capture_begin();
    for (int i = 0; i < 100; i++) {
        core_log(CORE_LEVEL_WARN, "test", "differs", "n=%d", i);
    }
    core_log(CORE_LEVEL_WARN, "test", "another heading", "n=%d", 1);
    core_log_flush();
    capture_end();
    assert_int_equal(count_of("\"differs\" n="), 6);
    assert_int_equal(count_of("\"differs\" n=4\n"), 1);
    assert_int_equal(count_of("\"differs\" n=99 folded=95\n"), 1);
    assert_int_equal(count_of("another heading"), 1);
}

/* More headings than rows: the oldest row says what it folded before it is used for another. */
static void test_no_row_is_lost(void **state) {
    (void)state;
    capture_begin();
    for (int i = 0; i < 300; i++) {
        char what[32];
        snprintf(what, sizeof what, "heading %d", i);
        core_log(CORE_LEVEL_INFO, "test", what, "x=%d", 1);
        core_log(CORE_LEVEL_INFO, "test", what, "x=%d", 1);
    }
    core_log_flush();
    capture_end();
    assert_int_equal(count_of("folded=1\n"), 300);
    assert_int_equal(count_of("\n"), 600);
}

static void test_a_failure(void **state) {
    (void)state;
    struct core_fail fail;
    capture_begin();
    assert_int_equal(core_fail_set(&fail, CORE_IO, "/a \"b\"", "no %s", "room"), CORE_IO);
    core_log_fail(CORE_LEVEL_ERROR, "test", "not written", &fail);
    capture_end();
    assert_int_equal(count_of("error test \"not written\" where=\"/a \\\"b\\\"\" reason=\"no room\"\n"), 1);
}

static void *shout(void *arg) {
    for (int i = 0; i < 2000; i++) {
        core_log(CORE_LEVEL_INFO, arg, "from many threads", "n=%d", i);
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    static char names[4][2] = {"a", "b", "c", "d"};
    pthread_t threads[4];
    capture_begin();
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, shout, names[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    core_log_flush();
    capture_end();
    assert_int_equal(count_of("\n"), 4 * 6);
    assert_int_equal(count_of(" folded=1995\n"), 4);
}

/* Nothing else is logged: the tick alone tells what was folded, and not before the window is over. */
static int64_t skipped_ns; /* the clock is ahead by so much */
int64_t __real_core_tick_ns(void);
int64_t __wrap_core_tick_ns(void);
int64_t __wrap_core_tick_ns(void) {
    return __real_core_tick_ns() + skipped_ns;
}

static void test_the_tick_tells_what_was_folded(void **state) {
    (void)state;
    capture_begin();
    for (int i = 0; i < 30; i++) {
        core_log(CORE_LEVEL_WARN, "test", "ticks", "file=%s", "a");
    }
    core_log_tick();
    capture_end();
    assert_int_equal(count_of("\n"), 1);
    skipped_ns = 9 * CORE_NS_PER_S;
    capture_begin();
    core_log_tick();
    capture_end();
    assert_int_equal(count_of("\n"), 0);
    skipped_ns = 11 * CORE_NS_PER_S;
    capture_begin();
    core_log_tick();
    core_log_tick();
    capture_end();
    assert_int_equal(count_of("\n"), 1);
    assert_int_equal(count_of("warn test \"ticks\" file=a folded=29\n"), 1);
    capture_begin();
    core_log(CORE_LEVEL_WARN, "test", "ticks", "file=%s", "a"); /* a new window */
    capture_end();
    assert_int_equal(count_of("warn test \"ticks\" file=a\n"), 1);
}

static void test_levels_at_run_time(void **state) {
    (void)state;
    struct core_fail fail;
    char text[256];
    core_log_level(CORE_LEVEL_WARN);
    assert_int_equal(core_log_level_now("loud", CORE_LEVEL_DEBUG, &fail), CORE_OK);
    assert_int_equal(core_log_level_now("quiet", CORE_LEVEL_ERROR, &fail), CORE_OK);
    core_log_level_text(text, sizeof text);
    assert_string_equal(text, "warn, loud=debug, quiet=error");
    capture_begin();
    core_log(CORE_LEVEL_DEBUG, "loud", "seen 1", "n=%d", 1);
    core_log(CORE_LEVEL_INFO, "other", "unseen 1", "n=%d", 1);
    core_log(CORE_LEVEL_WARN, "other", "seen 2", "n=%d", 1);
    core_log(CORE_LEVEL_WARN, "quiet", "unseen 2", "n=%d", 1);
    core_log(CORE_LEVEL_ERROR, "quiet", "seen 3", "n=%d", 1);
    assert_int_equal(core_log_level_now(NULL, CORE_LEVEL_INFO, &fail), CORE_OK); /* all, and none of its own */
    core_log(CORE_LEVEL_DEBUG, "loud", "unseen 3", "n=%d", 1);
    core_log(CORE_LEVEL_INFO, "quiet", "seen 4", "n=%d", 1);
    core_log_level_reset();
    core_log(CORE_LEVEL_INFO, "quiet", "unseen 4", "n=%d", 1);
    capture_end();
    assert_int_equal(count_of("\"seen "), 4);
    assert_int_equal(count_of("unseen"), 0);
    core_log_level_text(text, sizeof text);
    assert_string_equal(text, "warn");
    for (int i = 0; i < CORE_LOG_STAGES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        assert_int_equal(core_log_level_now(name, CORE_LEVEL_ERROR, &fail), CORE_OK);
        assert_int_equal(core_log_level_now(name, CORE_LEVEL_INFO, &fail), CORE_OK); /* the same one again */
    }
    assert_int_equal(core_log_level_now("one more", CORE_LEVEL_INFO, &fail), CORE_LIMIT);
    core_log_level(CORE_LEVEL_INFO);
    core_log_level_text(text, sizeof text);
    assert_string_equal(text, "info");
}

/* ---- ECS: each line is one JSON object ------------------------------------------------------------------------------ */

static struct core_arena ecs_arena;

/* The only line, without its first part: the stamp. */
static const struct core_json_tree *ecs_line(void) {
    struct core_fail fail;
    struct core_span line = core_span_of(captured);
    struct core_json_tree *tree = NULL;
    assert_int_equal(count_of("\n"), 1);
    assert_int_equal(line.ptr[line.len - 1], '\n');
    line.len--;
    core_arena_reset(&ecs_arena, CORE_KIB);
    assert_int_equal(core_json_tree_read(&ecs_arena, line, &tree, &fail), CORE_OK);
    return tree;
}

static void assert_member(const struct core_json_tree *object, const char *key, const char *text) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    assert_non_null(member);
    assert_int_equal(member->text.len, strlen(text));
    assert_memory_equal(member->text.ptr, text, member->text.len);
}

static void ecs_begin(void) {
    struct core_fail fail;
    assert_int_equal(core_arena_init(&ecs_arena, CORE_MIB, &fail), CORE_OK);
    core_log_format(CORE_LOG_ECS, "tapline-test");
    assert_int_equal(core_log_format_now(), CORE_LOG_ECS);
}

static void ecs_end(void) {
    core_log_format(CORE_LOG_LOGFMT, "tapline");
    core_arena_destroy(&ecs_arena);
}

static void test_ecs(void **state) {
    (void)state;
    ecs_begin();
    capture_begin();
    core_log(CORE_LEVEL_WARN, "ingest", "ecs \"quoted\"",
             "path=\"/a \\\"b\\\\\" n=%d; a sentence, with \"words\". N.x=y; n=2 more why=no=room", 3);
    capture_end();
    const struct core_json_tree *line = ecs_line();
    const struct core_json_tree *labels = core_json_tree_get(line, "labels");
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    assert_int_equal(core_json_tree_text(line, "@timestamp").len, 27);
    assert_member(line, "log.level", "warn");
    assert_member(line, "message", "ecs \"quoted\"");
    assert_member(line, "ecs.version", CORE_ECS_VERSION);
    assert_member(line, "service.name", "tapline-test");
    assert_member(line, "event.dataset", "tapline.log");
    assert_member(line, "log.logger", "ingest");
    assert_member(line, "process.pid", pid);
    assert_member(core_json_tree_get(line, "error"), "message", "no=room");
    assert_null(core_json_tree_get(line, "tapline"));
    assert_member(labels, "path", "/a \"b\\");
    assert_member(labels, "n", "3");
    assert_member(labels, "__x", "y");
    assert_member(labels, "text", "a sentence, with \"words\".");
    assert_member(labels, "n_2", "2");
    assert_member(labels, "text_2", "more");
    assert_member(labels, "why", "no=room");
    capture_begin();
    for (int i = 0; i < 5; i++) {
        core_log(CORE_LEVEL_ERROR, "ingest", "ecs folds", "%s", "");
    }
    capture_end();
    line = ecs_line();
    assert_null(core_json_tree_get(line, "labels"));
    capture_begin();
    core_log_flush();
    capture_end();
    line = ecs_line();
    assert_member(core_json_tree_get(line, "tapline"), "folded", "4");
    ecs_end();
}

/* Whatever the bytes, and however many: one line, valid JSON, no member twice, and the end of the text is still there. */
static void test_ecs_of_any_bytes(void **state) {
    (void)state;
    static const char pieces[][8] = {"\"",   "\\",           " ", "=",    "a=",   "\n", "\x01", "\xff",
                                     "\xc3", "\xe2\x82\xac", "b", "x=\"", "\x7f", ","};
    unsigned seed = 7;
    ecs_begin();
    for (int round = 0; round < 3000; round++) {
        char text[1500] = "";
        char what[64];
        size_t len = 0;
        int parts = rand_r(&seed) % (round % 2 == 0 ? 40 : 1400);
        for (int i = 0; i < parts && len + 8 < sizeof text; i++) {
            const char *piece = pieces[(size_t)rand_r(&seed) % (sizeof pieces / sizeof pieces[0])];
            len += (size_t)snprintf(text + len, sizeof text - len, "%s", piece);
        }
        snprintf(what, sizeof what, "any %d %.20s", round, text);
        capture_begin();
        core_log(CORE_LEVEL_INFO, "test", what, "%s", text);
        capture_end();
        const struct core_json_tree *line = ecs_line();
        const struct core_json_tree *labels = core_json_tree_get(line, "labels");
        assert_int_equal(labels == NULL, strspn(text, " ") == strlen(text));
        for (const struct core_json_tree *a = labels == NULL ? NULL : labels->first; a != NULL; a = a->next) {
            for (const struct core_json_tree *b = a->next; b != NULL; b = b->next) {
                assert_false(a->key.len == b->key.len && memcmp(a->key.ptr, b->key.ptr, a->key.len) == 0);
            }
        }
    }
    char many[1200] = "";
    for (size_t i = 0, len = 0; i < 60; i++) {
        len += (size_t)snprintf(many + len, sizeof many - len, "k%zu=v%zu ", i, i);
    }
    capture_begin();
    core_log(CORE_LEVEL_INFO, "test", "many pairs", "%s", many);
    capture_end();
    assert_member(core_json_tree_get(ecs_line(), "labels"), "k22", "v22");
    assert_int_equal(count_of("k59=v59"), 1);
    ecs_end();
}

/* A bug's last words are JSON too, where lines are. */
static void test_ecs_of_a_bug(void **state) {
    (void)state;
    ecs_begin();
    capture_begin();
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        MUST(1 + 1 == 3);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    capture_end();
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_member(ecs_line(), "log.level", "error");
    assert_int_equal(count_of("core_log_test.c:"), 1);
    assert_int_equal(count_of("MUST(1 + 1 == 3): a bug in tapline"), 1);
    ecs_end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_the_same_words_are_folded),
        cmocka_unit_test(test_other_words_are_seen_a_few_times),
        cmocka_unit_test(test_no_row_is_lost),
        cmocka_unit_test(test_a_failure),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_the_tick_tells_what_was_folded),
        cmocka_unit_test(test_levels_at_run_time),
        cmocka_unit_test(test_ecs),
        cmocka_unit_test(test_ecs_of_any_bytes),
        cmocka_unit_test(test_ecs_of_a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
