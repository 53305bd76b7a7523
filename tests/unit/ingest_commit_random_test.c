/* tests/unit/ingest_commit_random_test.c: writers, rotations, truncations, commits, aborts, kills and lost checkpoints in
 * random order: in the end every record is committed once, in the order of its file, and the accounts say so.
 *
 * A record is "w<file>-<serial>"; one that begins with '~' is dropped by rule.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ingest_keeper.h"

#include <zlib.h>

#define WRITERS 4
#define FILES_MAX 256
#define SEEDS 30
#define STEPS 400

/* What a sensor has open, or had. */
struct writer {
    char name[32];
    unsigned file; /* its number, over all rotations */
    bool is_partial;
};

static struct rig rig;
static struct keeper keeper;
static struct writer writers[WRITERS];
static unsigned written[FILES_MAX]; /* serials of each file */
static unsigned files;
static uint32_t seed;
static unsigned kills, aborts, commits, lost_checkpoints, truncations, deletions, compressions;

static uint32_t next_random(uint32_t below) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static void new_file(struct writer *writer) {
    assert_true(files < FILES_MAX);
    writer->file = files++;
    written[writer->file] = 0;
    writer->is_partial = false;
    rig_append(&rig, writer->name, "#fields\tname\n");
}

static void end_line(struct writer *writer) {
    if (writer->is_partial) {
        rig_append(&rig, writer->name, "\n");
        writer->is_partial = false;
    }
}

static void append(struct writer *writer) {
    char text[64];
    end_line(writer);
    for (uint32_t n = next_random(40) + 1; n > 0; n--) {
        const bool is_dropped = next_random(5) == 0;
        if (next_random(20) == 0) {
            rig_append(&rig, writer->name, "#comment\n");
        }
        writer->is_partial = n == 1 && next_random(3) == 0;
        (void)snprintf(text, sizeof(text), "%sw%u-%u%s", is_dropped ? "~" : "", writer->file, written[writer->file],
                       writer->is_partial ? "" : "\n");
        written[writer->file] += is_dropped ? 0 : 1;
        rig_append(&rig, writer->name, text);
    }
}

static void rotate(struct writer *writer) {
    char old[64];
    end_line(writer);
    (void)snprintf(old, sizeof(old), "old-%u.log", writer->file);
    rig_rename(&rig, writer->name, old);
    new_file(writer);
}

/* In place, once all of it is committed: what is not would be lost at the source. */
static void truncate_and_go_on(struct writer *writer) {
    end_line(writer);
    keeper_settle(&keeper);
    truncations++;
    rig_write(&rig, writer->name, O_TRUNC, "", 0);
    new_file(writer);
}

/* A rotated file, once all of it is committed. */
static void delete_rotated(void) {
    char name[64];
    char path[192];
    (void)snprintf(name, sizeof(name), "old-%u.log", next_random(files));
    rig_path(&rig, name, path);
    if (access(path, F_OK) == 0) {
        keeper_settle(&keeper);
        assert_int_equal(unlink(path), 0);
        deletions++;
    }
}

/* A rotated file, whatever of it is committed: X becomes X.gz, and is deleted. */
static void compress_rotated(void) {
    char name[64];
    char path[192];
    char bytes[65536];
    (void)snprintf(name, sizeof(name), "old-%u.log", next_random(files));
    rig_path(&rig, name, path);
    const int fd = open(path, O_RDONLY);
    if (fd < 0) {
        return;
    }
    const ssize_t len = read(fd, bytes, sizeof(bytes));
    assert_true(len > 0 && (size_t)len < sizeof(bytes));
    close(fd);
    (void)snprintf(name + strlen(name), sizeof(name) - strlen(name), ".gz.tmp");
    rig_path(&rig, name, path);
    gzFile gz = gzopen(path, "wb6");
    assert_non_null(gz);
    assert_int_equal(gzwrite(gz, bytes, (unsigned)len), (int)len);
    assert_int_equal(gzclose(gz), Z_OK);
    char whole[64];
    (void)snprintf(whole, sizeof(whole), "%.*s", (int)(strlen(name) - strlen(".tmp")), name);
    rig_rename(&rig, name, whole);
    whole[strlen(whole) - strlen(".gz")] = '\0';
    rig_unlink(&rig, whole);
    compressions++;
}

static void lose_checkpoint(void) {
    char path[192];
    rig_path(&rig, "state/checkpoint", path);
    lost_checkpoints += unlink(path) == 0 ? 1 : 0;
}

static void kill_and_start(void) {
    kills++;
    if (next_random(3) == 0) {
        lose_checkpoint();
    }
    if (next_random(2) == 0) {
        keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
        return;
    }
    keeper_kill(&keeper, CORE_COMMIT_WAITS);
    rig_turn(&rig);
    keeper_hand_over(&keeper);
    atomic_store(&keeper.commit.state, CORE_COMMIT_RECOVERED);
}

static void step(void) {
    struct writer *writer = &writers[next_random(WRITERS)];
    const uint32_t what = next_random(100);
    if (what < 25) {
        append(writer);
    } else if (what < 29 && files < FILES_MAX) {
        rotate(writer);
    } else if (what < 31 && files < FILES_MAX) {
        truncate_and_go_on(writer);
    } else if (what < 33) {
        delete_rotated();
    } else if (what < 36) {
        compress_rotated();
    } else if (what < 60) {
        rig.ingest->scan_tick = next_random(2) == 0 ? 0 : rig.ingest->scan_tick;
        rig_turn(&rig);
    } else if (what < 80) {
        keeper_send(&keeper, next_random(5));
    } else if (what < 90) {
        commits++;
        keeper_commit(&keeper);
    } else if (what < 96) {
        aborts++;
        keeper_abort(&keeper);
    } else if (what < 99) {
        kill_and_start();
    } else {
        keeper_stop(&keeper);
        keeper_start(&keeper, CORE_COMMIT_RECOVERED);
        rig_open(&rig);
    }
}

static void assert_each_once_and_in_order(void) {
    unsigned next[FILES_MAX] = {0};
    for (size_t i = 0; i < keeper.done.records_len; i++) {
        unsigned file = 0;
        unsigned serial = 0;
        assert_int_equal(sscanf(keeper.done.records[i].text, "w%u-%u", &file, &serial), 2);
        assert_true(file < files);
        assert_int_equal(serial, next[file]);
        next[file]++;
    }
    for (unsigned i = 0; i < files; i++) {
        assert_int_equal(next[i], written[i]);
    }
}

static void run(uint32_t with) {
    seed = with;
    files = 0;
    rig_setup(&rig, 3 + with % 6);
    rig.conf.checkpoint_interval_ns = with % 2 == 0 ? 0 : 20 * CORE_NS_PER_MS;
    rig.conf.remember_ns = 3600 * CORE_NS_PER_S;
    rig.conf.files_max = with % 3 == 0 ? 3 : 64;
    rig_glob(&rig, 1, "*.gz");
    keeper_setup(&keeper, &rig);
    for (size_t i = 0; i < WRITERS; i++) {
        (void)snprintf(writers[i].name, sizeof(writers[i].name), "w%zu.log", i);
        new_file(&writers[i]);
    }
    rig_open(&rig);
    for (int i = 0; i < STEPS; i++) {
        step();
    }
    for (size_t i = 0; i < WRITERS; i++) {
        end_line(&writers[i]);
    }
    keeper_settle(&keeper);
    assert_each_once_and_in_order();
    keeper_assert_joined(&keeper);
    keeper_stop(&keeper);
    keeper_teardown(&keeper, &rig);
}

static void every_record_is_committed_once(void **state) {
    (void)state;
    const char *only = getenv("TAPLINE_TEST_SEED");
    for (uint32_t i = 1; i <= (only == NULL ? SEEDS : 1); i++) {
        const uint32_t with = only == NULL ? i : (uint32_t)strtoul(only, NULL, 10);
        print_message("seed %u\n", with);
        run(with);
    }
    print_message(
        "%u kills, %u aborts, %u commits, %u checkpoints lost, %u truncations, %u deletions, %u compressions\n", kills,
        aborts, commits, lost_checkpoints, truncations, deletions, compressions);
    const bool is_enough = kills > SEEDS && aborts > SEEDS && commits > SEEDS && truncations > SEEDS;
    assert_true(only != NULL || (is_enough && lost_checkpoints > 0 && deletions > 0 && compressions > 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_record_is_committed_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
