/* tests/unit/normalize_form_test.c: normalize/form.c: the first record of a form goes the long way, the others the short one:
 * both must write the same, and list the same observables. Every record of the sample logs is mapped by a worker that has seen none before it and by one
 * that has seen them all. SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

#include <glob.h>

#define TEXT_MAX (4 * CORE_MIB)

static char *file_read(const char *path) {
    FILE *in = fopen(path, "rb");
    char *text = malloc(TEXT_MAX + 1);
    assert_non_null(in);
    assert_non_null(text);
    size_t len = fread(text, 1, TEXT_MAX, in);
    assert_true(len > 0 && len < TEXT_MAX);
    text[len] = '\0';
    (void)fclose(in);
    return text;
}

/* Behind the document, what intelligence would be asked about. */
static size_t observables(const struct core_event *event, char *out, size_t size) {
    size_t len = 0;
    for (uint16_t i = 0; i < event->observables_len; i++) {
        const struct core_observable *one = &event->observables[i];
        assert_true(one->len > 0 && len + one->len + strlen(one->field) + 32 < size);
        len += (size_t)snprintf(out + len, size - len, "\n%s %s ", one->field,
                                core_indicator_word((enum core_indicator)one->type));
        memcpy(out + len, one->ptr, one->len);
        len += one->len;
    }
    return len;
}

/* What the record's event holds, but for the time at which a dead letter is made. */
static size_t document(const struct rig *rig, char *out, size_t size) {
    assert_int_equal(rig->batch->events_len, 1);
    const struct core_event *event = &rig->batch->events[0];
    struct core_span doc = event->doc;
    if (event->is_dead) { /* from its reason on */
        const char *reason = memmem(doc.ptr, doc.len, "\"error\"", 7);
        assert_non_null(reason);
        doc.len -= (size_t)(reason - doc.ptr);
        doc.ptr = reason;
    }
    assert_true(doc.len + event->key.len < size);
    memcpy(out, doc.ptr, doc.len);
    memcpy(out + doc.len, event->key.ptr, event->key.len);
    size_t len = doc.len + event->key.len;
    return len + observables(event, out + len, size - len);
}

/* Each record behind the `#` lines before it, so that all stand at the same position. Returns how many there were. */
static size_t records_compare(struct rig *fresh, struct rig *seen, const char *text, int pass) {
    static char one[CORE_SEGMENT_BYTES];
    static char documents[2][CORE_MIB];
    size_t header = 0;
    size_t records = 0;
    bool was_context = false;
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        const char *next = line + len + (line[len] == '\n');
        bool is_context = line[0] == '#';
        header = is_context && !was_context ? 0 : header;
        assert_true(header + len + 1 < sizeof(one));
        memcpy(one + header, line, len);
        one[header + len] = '\n';
        was_context = is_context;
        line = next;
        if (is_context || len == 0) {
            header += is_context ? len + 1 : 0;
            continue;
        }
        rig_run(seen, one, header + len);
        if (pass > 0) {
            normalize_worker_remap(fresh->worker, fresh->maps);
            rig_run(fresh, one, header + len);
            size_t lens[2] = {document(fresh, documents[0], CORE_MIB), document(seen, documents[1], CORE_MIB)};
            bool is_before_headers = header == 0 && fresh->batch->events[0].is_dead && seen->batch->events[0].is_dead;
            if (is_before_headers) {
                records++; /* one of the two knows of a header from the pass before, and says so */
                continue;
            }
            if (lens[0] != lens[1] || memcmp(documents[0], documents[1], lens[0]) != 0) {
                fail_msg("%.*s\nthe first time: %.*s\nand later: %.*s", (int)len, one + header, (int)lens[0],
                         documents[0], (int)lens[1], documents[1]);
            }
        }
        records++;
    }
    return records;
}

static void samples_compare(const char *pattern, size_t least) {
    glob_t found;
    size_t records = 0;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct rig fresh;
        struct rig seen;
        char *text = file_read(found.gl_pathv[i]);
        rig_open(&fresh, "configs", found.gl_pathv[i]);
        rig_open(&seen, "configs", found.gl_pathv[i]);
        normalize_worker_observe(fresh.worker, true);
        normalize_worker_observe(seen.worker, true);
        (void)records_compare(&fresh, &seen, text, 0);
        records += records_compare(&fresh, &seen, text, 1);
        rig_close(&fresh);
        rig_close(&seen);
        free(text);
    }
    globfree(&found);
    assert_true(records >= least);
}

static void test_tsv(void **state) {
    (void)state;
    samples_compare("tests/golden/zeek.*/*.log", 200);
}

static void test_other_formats(void **state) {
    (void)state;
    samples_compare("tests/golden/snort.alert*/*.log", 10);
    samples_compare("configs/samples/zeek-json/*.log", 100);
    samples_compare("tests/golden/suricata.*/*eve.json", 50);
}

/* Rows below a header, each between others and after itself. */
static void rows_compare(const char *path, const char *header, const char *const rows[], size_t rows_len) {
    struct rig fresh;
    struct rig seen;
    char text[64 * 1024];
    size_t len = (size_t)snprintf(text, sizeof(text), "%s", header);
    for (size_t i = 0; i < 3 * rows_len; i++) {
        size_t row = i * 7 % rows_len;
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n%s\n", rows[row], rows[0]);
    }
    rig_open(&fresh, "configs", path);
    rig_open(&seen, "configs", path);
    normalize_worker_observe(fresh.worker, true);
    normalize_worker_observe(seen.worker, true);
    (void)records_compare(&fresh, &seen, text, 0);
    assert_int_equal(records_compare(&fresh, &seen, text, 1), 2 * 3 * rows_len);
    rig_close(&fresh);
    rig_close(&seen);
}

/* Records that leave a form: a number that is none, an address that is none, a word that is too long, a text that needs
 * care, a text that is longer than usual. */
static void test_odd_ones(void **state) {
    (void)state;
    static const char header[] =
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
        "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\t"
        "orig_bytes\tresp_bytes\tconn_state\tlocal_orig\tlocal_resp\thistory\n"
        "#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\tcount\tstring\t"
        "bool\tbool\tstring\n";
    static const char *const rows[] = {
        "1.000001\tCa\t10.0.0.1\t1\t10.0.0.2\t53\ttcp\tdns\t0.000100\t1\t2\tSF\tT\tF\tShADadFf",
        "2.000001\tCb\t10.0.0.1\t99999999\t10.0.0.2\t53\ttcp\tdns\t10.000100\t0\t18446744073709551615\tSF\tT\tF\t-",
        "3.000001\tCc\tfd00::1\t1\tfd00::1\t53\ttcp\tdns,http\t0.000000\t01\t2\tSF\tT\tF\tShADadFf",
        "3.000001\tCc\tnone\t1\t10.0.0.2\t53\ttcp\tdns\t-1.500000\t1\t2\tSF\tT\tF\tShADadFf",
        "3.000001\tCd\t10.0.0.1\t1\t10.0.0.1\t53\ttcp\tdns\t0.100100\t1\t2\tA_STATE_OF_MANY_LETTERS\tT\tF\tx",
        "4.000001\tC\xc3\xa4\"e\t10.0.0.1\t1\t10.0.0.2\t53\tudp\tdns\t0.000100\t1\t2\tSF\tT\tF\tShADadFf",
        "5.000001\tC\\x22\t10.0.0.1\t1\t10.0.0.2\t53\ticmp\tdns\t0.000100\t1\t2\tSF\tT\tF\tShADadFf",
        "5.5\tCf\t10.0.0.1\t1\t10.0.0.2\t53\tTCP\t(empty)\t5\t1\t2\tS0\tF\tF\tShADadFfShADadFfShADadFfShADadFfShADadFf",
        "6.000001\tCg\t10.0.0.1\t8\t10.0.0.2\t0\ticmp\t-\t-\t-\t-\tOTH\tmaybe\tF\t-",
        "never\tCh\t10.0.0.1\t1\t10.0.0.2\t53\ttcp\tdns\t0.000100\t1\t2\tSF\tT\tF\tShADadFf",
        "7.000001\tCi\t1.2.3\t1\t10.0.0.256\t53\ttcp\tdns\t0.000100\t1\t*\tSF\tT\tF\tShADadFf"};
    rows_compare("conn.log", header, rows, sizeof(rows) / sizeof(rows[0]));
}

/* Of functions that a form settles: flags, an outcome, what an answer makes of a question; and answers that are written
 * another way than most. */
static void test_odd_answers(void **state) {
    (void)state;
    static const char header[] =
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n"
        "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tquery\t"
        "rcode_name\tAA\tTC\tRD\tRA\tanswers\tTTLs\n"
        "#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tstring\t"
        "bool\tbool\tbool\tbool\tvector[string]\tvector[interval]\n";
#define ENDS "\t10.0.0.1\t1\tfd00::2\t53\tudp\t"
    static const char *const rows[] = {
        "1.000001\tCa" ENDS
        "www.example.com\tNOERROR\tT\tF\tT\tF\t192.0.2.1,fd00::9,c.example.com\t5.000000,0.000000,1.5",
        "1.000002\tCb" ENDS "www.example.com\tNXDOMAIN\tF\tF\tF\tF\t-\t-",
        "1.000003\tCc" ENDS "WWW.Example.com\t(empty)\tT\tT\tT\tT\t10.0.0.1,10.0.0.1\t300.0000009,1.9999999",
        "1.000004\tCd" ENDS "-\t-\t-\t-\t-\t-\t(empty)\t(empty)",
        "1.000005\tCe" ENDS "caf\xc3\xa9.example.com\tNOERROR\tT\tF\tT\tF\t\"q\",::ffff:192.0.2.1\t007.5,-1.000000",
        "1.000006\tCf" ENDS "b.c.kobe.jp\tNOERROR\tT\tF\tmaybe\tF\t-\t-",
        "1.000007\tCg" ENDS "com\tNOERROR\tT\tF\tT\tF\tfd20:0000:0000:0000:0000:0000:0000:0010,-\t12,-",
        "1.000008\tCh" ENDS "b.example.com\tnoerror\tT\tF\tT\tF\t1:2:3:4:5:6:7:8,1::2::3,fd00::\t1.,0.5,9999999999.0"};
#undef ENDS
    rows_compare("dns.log", header, rows, sizeof(rows) / sizeof(rows[0]));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tsv), cmocka_unit_test(test_other_formats),
                                       cmocka_unit_test(test_odd_ones), cmocka_unit_test(test_odd_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
