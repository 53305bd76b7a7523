/* Where core files are looked for: kernel.core_pattern and the directory of the process, up to the longest.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define GUARD '#'

/* What follows the glob in memory: not a byte of it may be touched. */
struct place {
    char glob[SERVE_PATH_BYTES_MAX];
    char guard[16];
};

static bool glob_of(const char *pattern, const char *cwd, struct place *place, char why[256]) {
    memset(place, GUARD, sizeof(*place));
    bool is_known = serve_core_glob(pattern, cwd, place->glob, why);
    for (size_t i = 0; i < sizeof(place->guard); i++) {
        assert_int_equal(place->guard[i], GUARD);
    }
    assert_true(!is_known || memchr(place->glob, '\0', sizeof(place->glob)) != NULL);
    return is_known;
}

static void patterns_become_globs(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        const char *glob; /* NULL: another program has the core */
    } rows[] = {
        {"core", "/run/zeek/core*"},
        {"core.%p", "/run/zeek/core.*"},
        {"/cores/%e.%p", "/cores/*.*"},
        {"100%%.%p", "/run/zeek/100%.*"},
        {"core%", "/run/zeek/core%"},
        {"|/lib/systemd/systemd-coredump %P", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct place place;
        char why[256] = "";
        assert_int_equal(glob_of(rows[i].pattern, "/run/zeek", &place, why), rows[i].glob != NULL);
        assert_int_equal(why[0] == '\0', rows[i].glob != NULL);
        if (rows[i].glob != NULL) {
            assert_string_equal(place.glob, rows[i].glob);
        }
    }
}

/* A directory may be as long as a path can be: then there is no room for the name of a core, and none is written. */
static void the_longest_directories(void **state) {
    (void)state;
    static const char *const patterns[] = {"core", "core.%p", "%p", "c", "%", "/core"};
    char cwd[SERVE_PATH_BYTES_MAX];
    for (size_t len = sizeof(cwd) - 16; len < sizeof(cwd); len++) {
        memset(cwd, 'd', len);
        cwd[0] = '/';
        cwd[len] = '\0';
        for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
            struct place place;
            char why[256] = "";
            size_t star_len = strchr(patterns[i], '%') == NULL ? 1 : 0;
            size_t name_len = strlen(patterns[i]) - (strstr(patterns[i], "%p") != NULL ? 1 : 0);
            bool fits = patterns[i][0] == '/' || len + 1 + name_len + 1 < sizeof(place.glob); /* always with a star */
            assert_int_equal(glob_of(patterns[i], cwd, &place, why), fits);
            assert_int_equal(why[0] == '\0', fits);
            assert_true(!fits || patterns[i][0] == '/' || strlen(place.glob) == len + 1 + name_len + star_len);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_become_globs),
        cmocka_unit_test(the_longest_directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
