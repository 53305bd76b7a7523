/* tests/unit/cmd_replay_test.c: recorded logs written out again (cmd/replay.c, cmd/replay_file.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADER "#separator \\x09\n#path\tconn\n"
#define FIELDS "#fields\tts\tuid\n#types\ttime\tstring\n"

static char dir[] = "/tmp/cmd_replay_test.XXXXXX";
static char text[1 << 20];

static const char *in_dir(const char *name) {
    static char paths[4][512];
    static int at;
    at = (at + 1) % 4;
    (void)snprintf(paths[at], sizeof(paths[at]), "%s/%s", dir, name);
    return paths[at];
}

static void put(const char *name, const char *bytes) {
    FILE *file = fopen(in_dir(name), "we");
    assert_non_null(file);
    assert_true(fputs(bytes, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static const char *get(const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fail_msg("%s is not there", path);
    }
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    (void)fclose(file);
    return text;
}

/* The files that match, in order of name. */
static size_t match(const char *pattern, glob_t *found) {
    int rc = glob(in_dir(pattern), 0, NULL, found);
    return rc == 0 ? found->gl_pathc : 0;
}

static int replay(const char *const *options) {
    char *argv[16] = {(char *)(uintptr_t) "replay"};
    int n = 1;
    for (size_t i = 0; options[i] != NULL; i++) {
        argv[n++] = (char *)(uintptr_t)options[i];
    }
    return cmd_replay.run(&cmd_replay, n, argv);
}
#define REPLAY(...) replay((const char *const[]){__VA_ARGS__, NULL})

static int setup(void **state) {
    (void)state;
    char line[600];
    (void)snprintf(line, sizeof(line), "rm -rf %s/out %s/in && mkdir %s/in", dir, dir, dir);
    return system(line);
}

/* The time in `#open` and `#close` is now's, the rest is as it was. */
static void test_tsv_header(void **state) {
    (void)state;
    put("in/conn.log", HEADER "#open\t2001-01-01-00-00-00\n" FIELDS "1.0\ta\n2.0\tb\n#close\t2001-01-01-01-00-00\n");
    assert_int_equal(REPLAY("--rate", "max", "--to", in_dir("out"), in_dir("in/conn.log")), CORE_EXIT_DONE);
    const char *got = get(in_dir("out/conn.log"));
    const char *open = strstr(got, "\n#open\t2");
    const char *close = strstr(got, "\n#close\t2");
    assert_non_null(open);
    assert_non_null(close);
    assert_null(strstr(got, "2001-"));
    assert_int_equal(strncmp(got, HEADER "#open\t", strlen(HEADER "#open\t")), 0);
    assert_int_equal(strncmp(open + strlen("\n#open\t2026-11-21-00-00-00"), "\n" FIELDS "1.0\ta\n2.0\tb\n#close\t",
                             strlen("\n" FIELDS "1.0\ta\n2.0\tb\n#close\t")),
                     0);
    assert_string_equal(close + strlen("\n#close\t2026-11-21-00-00-00"), "\n");
}

static void test_rotate_lines(void **state) {
    (void)state;
    char body[4096] = HEADER "#open\t2001-01-01-00-00-00\n" FIELDS;
    for (int i = 0; i < 25; i++) {
        (void)snprintf(body + strlen(body), sizeof(body) - strlen(body), "%d.0\tx\n", i);
    }
    put("in/conn.2026-01-01-00-00-00.log", body); /* an archive's name: the sensor wrote conn.log */
    assert_int_equal(
        REPLAY("--rate=max", "--rotate-lines", "10", "--to", in_dir("out"), in_dir("in/conn.2026-01-01-00-00-00.log")),
        CORE_EXIT_DONE);
    glob_t found = {0};
    assert_int_equal(match("out/conn.2*.log", &found), 2);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *got = get(found.gl_pathv[i]);
        assert_non_null(strstr(got, "#open\t"));
        assert_non_null(strstr(got, "\n#close\t"));
    }
    globfree(&found);
    const char *last = get(in_dir("out/conn.log"));
    assert_null(strstr(last, "19.0\tx"));
    assert_non_null(strstr(last, FIELDS "20.0\tx\n21.0\tx\n22.0\tx\n23.0\tx\n24.0\tx\n#close\t"));
}

/* A header that is another one: Zeek had rotated there. The same header again: it had not. */
static void test_header_in_the_middle(void **state) {
    (void)state;
    put("in/conn.log", HEADER "#open\t2001-01-01-00-00-00\n" FIELDS "1.0\ta\n#close\t2001-01-01-00-00-00\n" HEADER
                              "#open\t2001-01-02-00-00-00\n" FIELDS "2.0\tb\n" HEADER
                              "#open\t2001-01-03-00-00-00\n#fields\tuid\n#types\tstring\nc\n");
    assert_int_equal(REPLAY("--rate=max", "--to", in_dir("out"), in_dir("in/conn.log")), CORE_EXIT_DONE);
    glob_t found = {0};
    assert_int_equal(match("out/conn.2*.log", &found), 1);
    assert_non_null(strstr(get(found.gl_pathv[0]), FIELDS "1.0\ta\n2.0\tb\n#close\t"));
    globfree(&found);
    assert_non_null(strstr(get(in_dir("out/conn.log")), "#fields\tuid\n#types\tstring\nc\n#close\t"));
}

static void test_plain_files_are_appended_to(void **state) {
    (void)state;
    put("in/alert_fast.txt", "one\ntwo\n");
    put("in/x.json.log", "{\"a\":1}\n");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            REPLAY("-r", "max", "--to", in_dir("out"), in_dir("in/alert_fast.txt"), in_dir("in/x.json.log")),
            CORE_EXIT_DONE);
    }
    assert_string_equal(get(in_dir("out/alert_fast.txt")), "one\ntwo\none\ntwo\n");
    assert_string_equal(get(in_dir("out/x.json.log")), "{\"a\":1}\n");
    glob_t found = {0};
    assert_int_equal(match("out/x.json.2*.log", &found), 1); /* what the first one left */
    globfree(&found);
    assert_int_equal(
        REPLAY("-r", "max", "--rotate-lines=2", "--loop=2", "--to", in_dir("out2"), in_dir("in/alert_fast.txt")),
        CORE_EXIT_DONE);
    assert_int_equal(match("out2/alert_fast.txt.[0-9]*", &found), 1);
    assert_string_equal(get(found.gl_pathv[0]), "one\ntwo\n");
    globfree(&found);
    assert_string_equal(get(in_dir("out2/alert_fast.txt")), "one\ntwo\n");
}

/* Records of several lines and binary ones come out as they went in. */
static void test_records_of_many_lines(void **state) {
    (void)state;
    static const char full[] = "[**] [1:1:1] \"a\" [**]\n[Priority: 3] \n11/21-02:58:39.1 10.0.0.1 -> 10.0.0.2\n\n"
                               "[**] [1:2:1] \"rebuilt\" [**]\n11/21-02:58:39.2 \n"
                               "[**] [1:3:1] \"c\" [**]\n11/21-02:58:39.3 10.0.0.1 -> 10.0.0.2\n\n";
    char binary[2 * (8 + 60)] = {0};
    for (size_t i = 0; i < sizeof(binary); i += 8 + 60) {
        binary[i + 3] = 104;
        binary[i + 7] = 60;
        binary[i + 8 + 7] = (char)(1 + i / 68); /* the event's number */
        binary[i + 30] = '\n';
    }
    put("in/alert_full.txt", full);
    FILE *file = fopen(in_dir("in/unified2.log"), "we");
    assert_non_null(file);
    assert_int_equal(fwrite(binary, 1, sizeof(binary), file), sizeof(binary));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(replay((const char *const[]){"--rate", "max", "--to", in_dir("out"), in_dir("in/alert_full.txt"),
                                                  in_dir("in/unified2.log"), NULL}),
                     0);
    assert_string_equal(get(in_dir("out/alert_full.txt")), full);
    (void)get(in_dir("out/unified2.log"));
    assert_memory_equal(text, binary, sizeof(binary));
    assert_int_equal(text[sizeof(binary)], '\0');
}

static void test_gz_and_loop(void **state) {
    (void)state;
    char line[600];
    put("in/dns.log", "{\"a\":1}\n{\"a\":2}\n");
    (void)snprintf(line, sizeof(line), "gzip %s", in_dir("in/dns.log"));
    assert_int_equal(system(line), 0);
    assert_int_equal(REPLAY("-rmax", "--loop", "3", "--to", in_dir("out"), in_dir("in/dns.log.gz")), CORE_EXIT_DONE);
    assert_string_equal(get(in_dir("out/dns.log")),
                        "{\"a\":1}\n{\"a\":2}\n{\"a\":1}\n{\"a\":2}\n{\"a\":1}\n{\"a\":2}\n");
}

/* A file that ends in the middle of its gzip stream: what is whole is written, and the exit code says it. */
static void test_damaged_gz(void **state) {
    (void)state;
    char line[1200];
    put("in/other.log", "{\"a\":1}\n");
    (void)snprintf(line, sizeof(line), "seq 1 100000 | gzip | head -c 20000 >%s", in_dir("in/cut.log.gz"));
    assert_int_equal(system(line), 0);
    assert_int_equal(REPLAY("-rmax", "--to", in_dir("out"), in_dir("in/cut.log.gz")), CORE_EXIT_SYSTEM);
    assert_int_equal(strncmp(get(in_dir("out/cut.log")), "1\n2\n3\n", 6), 0);
}

static void test_rate_is_kept(void **state) {
    (void)state;
    char body[8192] = "";
    for (int i = 0; i < 300; i++) {
        strcat(body, "line\n");
    }
    put("in/a.txt", body);
    put("in/b.txt", "x\ny\nz\n");
    int64_t start = core_tick_ns();
    assert_int_equal(REPLAY("--rate", "606/s", "--to", in_dir("out"), in_dir("in/a.txt"), in_dir("in/b.txt")),
                     CORE_EXIT_DONE);
    int64_t took = core_tick_ns() - start;
    assert_true(took > 490 * CORE_NS_PER_MS); /* 303 records at 606/s */
    assert_true(took < 30 * CORE_NS_PER_S);
    assert_string_equal(get(in_dir("out/a.txt")), body);
    assert_string_equal(get(in_dir("out/b.txt")), "x\ny\nz\n");
}

/* SIGTERM in the middle: whole lines, `#close`, exit 0. */
static void test_sigterm(void **state) {
    (void)state;
    char body[65536] = HEADER "#open\t2001-01-01-00-00-00\n" FIELDS;
    for (int i = 0; i < 3000; i++) {
        strcat(body, "1.0\tx\n");
    }
    put("in/conn.log", body);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(REPLAY("--rate", "500", "--loop", "0", "--rotate", "1s", "--to", in_dir("out"), in_dir("in/conn.log")));
    }
    glob_t found = {0};
    for (int i = 0; i < 6000 && match("out/conn*.log", &found) < 2; i++) { /* until one second has passed */
        globfree(&found);
        (void)usleep(10000);
    }
    globfree(&found);
    assert_int_equal(kill(pid, SIGTERM), 0);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CORE_EXIT_DONE);
    assert_true(match("out/conn*.log", &found) >= 2);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *got = get(found.gl_pathv[i]);
        const char *close = strstr(got, "\n#close\t");
        assert_non_null(close);
        assert_string_equal(close + strlen("\n#close\t2026-11-21-00-00-00"), "\n");
    }
    globfree(&found);
}

static void test_wrong(void **state) {
    (void)state;
    put("in/a.log", "x\n");
    put("in/b.log", "x\n");
    (void)mkdir(in_dir("in/sub"), 0755);
    put("in/sub/a.log", "x\n");
    const char *out = in_dir("out");
    const char *a = in_dir("in/a.log");
    assert_int_equal(REPLAY(a), CORE_EXIT_USAGE);
    assert_int_equal(REPLAY("--to", out), CORE_EXIT_USAGE);
    assert_int_equal(REPLAY("--to", out, "-"), CORE_EXIT_USAGE);
    static const char *const rates[] = {"0", "x", "-5", "5/m", "", "/s", "99999999999"};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        assert_int_equal(REPLAY("--to", out, "--rate", rates[i], a), CORE_EXIT_USAGE);
    }
    assert_int_equal(REPLAY("--to", out, "--rotate", "5", a), CORE_EXIT_USAGE);
    assert_int_equal(REPLAY("--to", out, "--rotate", "1ms", a), CORE_EXIT_USAGE);
    assert_int_equal(REPLAY("--to", out, "--rotate-lines", "0", a), CORE_EXIT_USAGE);
    assert_int_equal(REPLAY("--to", out, "--loop", "x", a), CORE_EXIT_USAGE);
    assert_int_equal(REPLAY("--to", out, a, in_dir("in/sub/a.log")), CORE_EXIT_USAGE);
    assert_int_equal(REPLAY("--to", in_dir("in"), a), CORE_EXIT_USAGE); /* onto itself */
    assert_string_equal(get(in_dir("in/a.log")), "x\n");
    assert_int_equal(REPLAY("--to", "/nonexistent/a/b", a), CORE_EXIT_SYSTEM);
    assert_int_equal(REPLAY("--to", out, in_dir("in/nothing.log")), CORE_EXIT_SYSTEM);
}

int main(void) {
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_tsv_header, setup),
        cmocka_unit_test_setup(test_rotate_lines, setup),
        cmocka_unit_test_setup(test_header_in_the_middle, setup),
        cmocka_unit_test_setup(test_plain_files_are_appended_to, setup),
        cmocka_unit_test_setup(test_records_of_many_lines, setup),
        cmocka_unit_test_setup(test_gz_and_loop, setup),
        cmocka_unit_test_setup(test_damaged_gz, setup),
        cmocka_unit_test_setup(test_rate_is_kept, setup),
        cmocka_unit_test_setup(test_sigterm, setup),
        cmocka_unit_test_setup(test_wrong, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char line[600];
    (void)snprintf(line, sizeof(line), "rm -rf %s", dir);
    return failed + (system(line) != 0 ? 1 : 0);
}
