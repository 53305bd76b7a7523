/* tests/unit/ingest_frames_test.c: records of several lines and binary ones: where they begin and end, byte by byte, across
 * restarts, at the ends of files that grow, stand still, go away or are broken.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ingest_rig.h"

#include "core/unified2.h"

static struct core_pool pool;
static struct core_counters counters;
static char path[] = "/tmp/tapline-frames-XXXXXX";

/* ---- samples ---------------------------------------------------------------------------------------------------------- */

#define FULL_1 "[**] [1:1:1] \"one\" [**]\n[Priority: 3] \n11/21-02:58:39.101903 10.0.0.1 -> 10.0.0.2\nICMP TTL:64\n"
#define FULL_2 "[**] [112:1:1] \"two, rebuilt\" [**]\n11/21-02:58:44.340179 \n"
#define FULL_3 "[**] [1:3:1] \"three\" [**]\r\n[Priority: 2] \r\n11/21-02:58:45.0 10.0.0.1 -> 10.0.0.2\r\n"
#define FAST(n) "11/21-02:58:39.10190" n " [**] [1:" n ":1] \"m\" [**] [Priority: 3] {ICMP} 10.0.0.1 -> 10.0.0.2\n"
#define CMG_BODY                                                                                                       \
    "02:00:00:00:00:02 -> 02:00:00:00:00:10 type:0x800 len:0x62\n\nsnort.raw[3]:\n- - -\n31 32 2F   12/\n- - -\n\n"

struct sample {
    const char *name;
    enum core_format format;
    const char *bytes;
    size_t len;
    struct {
        size_t at; /* of the text */
        size_t text_len;
        size_t end;
    } records[16];
    size_t records_len;
};

static char u2_bytes[4096];
static size_t u2_len;

static void put32(uint32_t v) {
    for (int i = 3; i >= 0; i--) {
        u2_bytes[u2_len++] = (char)(v >> (8 * i));
    }
}

/* A record of this type whose event number is id. */
static void put_record(uint32_t type, uint32_t bytes, uint32_t id) {
    const struct core_u2_type *known = core_u2_find(type);
    put32(type);
    put32(bytes);
    memset(u2_bytes + u2_len, 0x11, bytes);
    if (known != NULL) {
        const size_t end = u2_len + bytes;
        u2_len += known->id_at;
        put32(id);
        u2_len = end;
    } else {
        u2_len += bytes;
    }
}

static void add_record(struct sample *sample, size_t at, size_t text_len, size_t end) {
    sample->records[sample->records_len].at = at;
    sample->records[sample->records_len].text_len = text_len;
    sample->records[sample->records_len++].end = end;
}

/* Texts, one after another: text without its blank end, and with it. */
static void add_texts(struct sample *sample, const char *const *texts, size_t len, char *room) {
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        const size_t n = strlen(texts[i]);
        size_t text_len = n;
        memcpy(room + at, texts[i], n);
        while (text_len > 0 && (texts[i][text_len - 1] == '\n' || texts[i][text_len - 1] == '\r')) {
            text_len--;
        }
        size_t lead = 0;
        while (texts[i][lead] == '\n') {
            lead++;
        }
        if (text_len > 0) {
            add_record(sample, at + lead, text_len - lead, at + n);
        }
        at += n;
    }
    sample->bytes = room;
    sample->len = at;
}

/* Events with what belongs to them and what does not, bytes out of step, a type from later, and a broken end. */
static void make_unified2(struct sample *sample) {
    u2_len = 0;
    static const struct {
        uint32_t type, bytes, id;
        bool is_begin;
    } rows[] = {
        {104, 60, 1, true}, {2, 40, 1, false},  {110, 36, 1, false}, {114, 1032, 2, true},
        {2, 28, 1, true},   {7, 52, 3, true},   {3, 30, 3, false},   {113, 12, 0, true},
        {72, 76, 4, true},  {105, 84, 5, true}, {2, 60, 5, false},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].is_begin && i > 0) {
            add_record(sample, at, u2_len - at, u2_len);
            at = u2_len;
        }
        put_record(rows[i].type, rows[i].bytes, rows[i].id);
    }
    add_record(sample, at, u2_len - at, u2_len);
    at = u2_len;
    memcpy(u2_bytes + u2_len, "\xffgarbage!\x01\x02", 11);
    u2_len += 11;
    add_record(sample, at, 11, u2_len);
    at = u2_len;
    put_record(104, 60, 6);
    put_record(2, 33, 6);
    add_record(sample, at, u2_len - at, u2_len);
    at = u2_len;
    put_record(104, 60, 7);
    u2_len -= 13; /* the writer died */
    add_record(sample, at, u2_len - at, u2_len);
    sample->bytes = u2_bytes;
    sample->len = u2_len;
}

static struct sample samples[6];
static size_t samples_len;

static struct sample *sample_new(const char *name, enum core_format format) {
    samples[samples_len] = (struct sample){.name = name, .format = format};
    return &samples[samples_len++];
}

static int setup(void **state) {
    (void)state;
    struct core_fail fail = {0};
    static char rooms[3][4096];
    static const char *const full[] = {FULL_1 "\n", FULL_2, FULL_2, FULL_3 "\r\n", "\n" FULL_1 "\n", FULL_2};
    static const char *const cmg[] = {FAST("1") CMG_BODY, FAST("2"), FAST("3") CMG_BODY, FAST("4") CMG_BODY "\n"};
    static const char *const junk[] = {"Snort says hello\n\n", "\n" FULL_1 "\n", "one line\nand one more\n",
                                       FULL_2 "11/21 no alert\n"};
    core_log_level(CORE_LEVEL_ERROR);
    samples_len = 0;
    add_texts(sample_new("full", CORE_FORMAT_AUTO), full, 6, rooms[0]);
    add_texts(sample_new("cmg", CORE_FORMAT_AUTO), cmg, 4, rooms[1]);
    add_texts(sample_new("junk", CORE_FORMAT_SNORT_FULL), junk, 4, rooms[2]);
    make_unified2(sample_new("unified2", CORE_FORMAT_AUTO));
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return core_pool_init(&pool, 2, &fail) == CORE_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    core_pool_destroy(&pool);
    unlink(path);
    return 0;
}

/* ---- a cutter on a file that grows ---------------------------------------------------------------------------------------- */

struct cut {
    struct ingest_source source;
    struct ingest_cutter cutter;
    const struct sample *sample;
    size_t seen; /* records */
    uint64_t gen;
};

static void write_bytes(const char *bytes, size_t len, int flags) {
    const int fd = open(path, O_WRONLY | flags);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

static void cut_open(struct cut *cut, const struct sample *sample, const struct ingest_mark *mark,
                     const struct ingest_first *first) {
    const struct core_origin origin = {.format = sample->format};
    struct core_fail fail = {0};
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    *cut = (struct cut){.sample = sample};
    assert_int_equal(ingest_source_open(&cut->source, fd, path, false, &fail), CORE_OK);
    ingest_cutter_init(&cut->cutter, "node", path, &counters, mark, first);
    cut->cutter.kind = ingest_kind_of(&origin);
}

static void cut_close(struct cut *cut) {
    ingest_source_close(&cut->source);
    ingest_cutter_release(&cut->cutter);
}

/* All that can be had now; each record must be the next one of the sample. */
static enum core_err cut_fill(struct cut *cut) {
    for (;;) {
        struct core_fail fail = {0};
        struct core_batch *batch = core_pool_take(&pool);
        const enum core_err err = ingest_cutter_fill(&cut->cutter, &cut->source, batch, UINT64_MAX, &fail);
        for (uint32_t i = 0; i < batch->lines_len; i++) {
            const struct core_line *line = &batch->lines[i];
            const struct sample *sample = cut->sample;
            assert_true(cut->seen < sample->records_len);
            const uint64_t start = cut->seen == 0 ? 0 : sample->records[cut->seen - 1].end;
            assert_int_equal(line->start, start);
            assert_int_equal(line->end, sample->records[cut->seen].end);
            assert_int_equal(line->text.len, sample->records[cut->seen].text_len);
            assert_memory_equal(line->text.ptr, sample->bytes + sample->records[cut->seen].at, line->text.len);
            cut->seen++;
        }
        core_pool_give(&pool, batch);
        if (err != CORE_OK) {
            cut->gen = cut->cutter.gen;
            return err;
        }
        if (!cut->cutter.is_more && !cut->cutter.is_end_final) {
            cut->gen = cut->cutter.gen;
            return CORE_AGAIN;
        }
    }
}

static void finish(struct cut *cut) {
    cut->cutter.is_end_final = true;
    assert_int_equal(cut_fill(cut), CORE_GONE);
    assert_int_equal(cut->seen, cut->sample->records_len);
}

/* Whatever the bytes come in, the records are the same. */
static void any_split_gives_the_same_records(void **state) {
    (void)state;
    for (size_t s = 0; s < samples_len; s++) {
        const struct sample *sample = &samples[s];
        uint64_t gen = 0;
        for (size_t at = 0; at <= sample->len; at++) {
            struct cut cut;
            write_bytes(sample->bytes, at, O_TRUNC);
            cut_open(&cut, sample, NULL, NULL);
            assert_int_equal(cut_fill(&cut), CORE_AGAIN);
            write_bytes(sample->bytes + at, sample->len - at, O_APPEND);
            finish(&cut);
            assert_true(gen == 0 || gen == cut.gen);
            gen = cut.gen;
            cut_close(&cut);
        }
        assert_int_not_equal(gen, 0);
    }
}

static void byte_by_byte(void **state) {
    (void)state;
    for (size_t s = 0; s < samples_len; s++) {
        const struct sample *sample = &samples[s];
        struct cut cut;
        write_bytes("", 0, O_TRUNC);
        cut_open(&cut, sample, NULL, NULL);
        for (size_t at = 0; at < sample->len; at++) {
            write_bytes(sample->bytes + at, 1, O_APPEND);
            assert_int_equal(cut_fill(&cut), CORE_AGAIN);
        }
        assert_true(cut.seen >= sample->records_len - 3); /* the last ones wait for what follows */
        finish(&cut);
        cut_close(&cut);
    }
}

/* A process that begins behind any record goes on with the next, though the file was cut anywhere when it was killed. */
static void a_restart_behind_any_record(void **state) {
    (void)state;
    for (size_t s = 0; s < samples_len; s++) {
        const struct sample *sample = &samples[s];
        write_bytes(sample->bytes, sample->len, O_TRUNC);
        for (size_t stop = 1; stop < sample->records_len; stop++) {
            struct sample head = *sample;
            struct cut cut;
            write_bytes(sample->bytes, sample->records[stop - 1].end, O_TRUNC);
            head.records_len = stop;
            cut_open(&cut, &head, NULL, NULL);
            finish(&cut);
            const struct ingest_mark mark = cut.cutter.last;
            const struct ingest_first first = cut.cutter.first;
            const enum ingest_kind kind = cut.cutter.kind;
            const uint64_t gen = cut.gen;
            cut_close(&cut);
            assert_int_equal(mark.pos, sample->records[stop - 1].end);
            write_bytes(sample->bytes, sample->len, O_TRUNC);
            cut_open(&cut, sample, &mark, &first);
            /* As ingest does: the first record tells the kind. */
            const struct ingest_view view = {.ptr = sample->bytes + first.at, .len = first.len, .is_final = true};
            cut.cutter.kind = cut.cutter.kind == INGEST_KIND_UNKNOWN ? ingest_kind_sniff(&view) : cut.cutter.kind;
            assert_int_equal(cut.cutter.kind, kind);
            cut.cutter.gen = gen;
            cut.seen = stop;
            finish(&cut);
            cut_close(&cut);
        }
    }
}

static void stillness_ends_what_is_whole(void **state) {
    (void)state;
    static const struct {
        struct core_span bytes;
        size_t records; /* when it has stood still */
    } cases[] = {
        {CORE_SPAN(FULL_1), 1},
        {CORE_SPAN(FULL_1 "[**] [1:2"), 1},
        {CORE_SPAN(FULL_2 FULL_2), 2},
        {CORE_SPAN("[**] [1:1"), 0},
        {CORE_SPAN(FAST("1")), 1},
        {CORE_SPAN(FAST("1") "0"), 1},
        {CORE_SPAN(FAST("1") CMG_BODY), 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct sample any = {.records_len = 0};
        struct cut cut;
        struct core_fail fail = {0};
        struct core_batch *batch = core_pool_take(&pool);
        write_bytes(cases[i].bytes.ptr, cases[i].bytes.len, O_TRUNC);
        cut_open(&cut, &any, NULL, NULL);
        enum core_err err = ingest_cutter_fill(&cut.cutter, &cut.source, batch, UINT64_MAX, &fail);
        size_t records = batch->lines_len;
        assert_true(err == CORE_OK || err == CORE_AGAIN);
        assert_true(cut.cutter.is_pending);
        core_pool_give(&pool, batch);
        batch = core_pool_take(&pool);
        cut.cutter.is_still = true;
        err = ingest_cutter_fill(&cut.cutter, &cut.source, batch, UINT64_MAX, &fail);
        records += batch->lines_len;
        assert_int_equal(err, batch->lines_len > 0 ? CORE_OK : CORE_AGAIN);
        assert_int_equal(records, cases[i].records);
        core_pool_give(&pool, batch);
        cut_close(&cut);
    }
}

/* ---- what a file is --------------------------------------------------------------------------------------------------------- */

static void a_file_tells_its_kind(void **state) {
    (void)state;
    static const struct {
        struct core_span bytes;
        enum ingest_kind kind;       /* as far as it is there */
        enum ingest_kind kind_final; /* if that is all */
    } cases[] = {
        {CORE_SPAN("#separator \\x09\n"), INGEST_KIND_LINES, INGEST_KIND_LINES},
        {CORE_SPAN("{\"ts\":1}\n"), INGEST_KIND_LINES, INGEST_KIND_LINES},
        {CORE_SPAN("{"), INGEST_KIND_LINES, INGEST_KIND_LINES},
        {CORE_SPAN("1795229910.5\tCuid\t"), INGEST_KIND_LINES, INGEST_KIND_LINES},
        {CORE_SPAN("[**] [1:"), INGEST_KIND_FULL, INGEST_KIND_FULL},
        {CORE_SPAN("\n\r\n[**] [1:"), INGEST_KIND_FULL, INGEST_KIND_FULL},
        {CORE_SPAN("[**"), INGEST_KIND_UNKNOWN, INGEST_KIND_LINES},
        {CORE_SPAN("[{\"a\":1}]\n"), INGEST_KIND_LINES, INGEST_KIND_LINES},
        {CORE_SPAN("11/2"), INGEST_KIND_UNKNOWN, INGEST_KIND_LINES},
        {CORE_SPAN(FAST("1")), INGEST_KIND_UNKNOWN, INGEST_KIND_LINES},
        {CORE_SPAN(FAST("1") FAST("2")), INGEST_KIND_LINES, INGEST_KIND_LINES},
        {CORE_SPAN(FAST("1") "broken\n"), INGEST_KIND_LINES, INGEST_KIND_LINES},
        {CORE_SPAN(FAST("1") CMG_BODY), INGEST_KIND_CMG, INGEST_KIND_CMG},
        {CORE_SPAN(FAST("1") "\nstream_tcp.raw[3]:\n"), INGEST_KIND_CMG, INGEST_KIND_CMG},
        {CORE_SPAN("11/21/2026-02:58:39.101903  [**] [1:1:1] m [**] x\n" FAST("2")), INGEST_KIND_LINES,
         INGEST_KIND_LINES},
        {CORE_SPAN("11/21/26-02:58:39.1,1,2,3,\"m [**] [\"\n"), INGEST_KIND_LINES, INGEST_KIND_LINES},
        {CORE_SPAN("\0\0\0"), INGEST_KIND_UNKNOWN, INGEST_KIND_LINES},
        {CORE_SPAN("\0\0\0\0\0\0\0\0\0\0{}\n"), INGEST_KIND_LINES, INGEST_KIND_LINES}, /* truncated in place */
        {CORE_SPAN("\0\0\0{\"ts\":1}\n"), INGEST_KIND_LINES, INGEST_KIND_LINES},
        {CORE_SPAN("\0\0\0h\"a\":1}\n"), INGEST_KIND_LINES, INGEST_KIND_LINES}, /* 104, but a length of letters */
        {CORE_SPAN("\0\0\0h\0\0\0<"), INGEST_KIND_UNIFIED2, INGEST_KIND_UNIFIED2},
        {CORE_SPAN("\0\0\0h\0\0\0;"), INGEST_KIND_LINES, INGEST_KIND_LINES}, /* no event is so short */
        {CORE_SPAN("\0\0\0h\0\0"), INGEST_KIND_UNKNOWN, INGEST_KIND_UNIFIED2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ingest_view view = {.ptr = cases[i].bytes.ptr, .len = cases[i].bytes.len};
        assert_int_equal(ingest_kind_sniff(&view), cases[i].kind);
        view.is_final = true;
        assert_int_equal(ingest_kind_sniff(&view), cases[i].kind_final);
    }
    const struct core_origin zeek = {.type = CORE_ORIGIN_ZEEK};
    const struct core_origin fast = {.type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_FAST};
    const struct core_origin full = {.type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_FULL};
    assert_int_equal(ingest_kind_of(&zeek), INGEST_KIND_LINES);
    assert_int_equal(ingest_kind_of(&fast), INGEST_KIND_LINES);
    assert_int_equal(ingest_kind_of(&full), INGEST_KIND_FULL);
    assert_int_equal(ingest_kind_of(NULL), INGEST_KIND_UNKNOWN);
}

/* However many blank lines stand behind the first alert. */
static void a_megabyte_of_blank_lines_is_passed_over(void **state) {
    (void)state;
    static const struct core_span begin = CORE_SPAN(FAST("1"));
    static const struct core_span ends[] = {CORE_SPAN(FAST("2")), CORE_SPAN("stream_tcp.raw[3]:\n")};
    for (size_t i = 0; i < 2; i++) {
        struct ingest_view view = {.len = begin.len + CORE_MIB + ends[i].len, .is_final = true};
        char *bytes = malloc(view.len);
        assert_non_null(bytes);
        memset(bytes, '\n', view.len);
        memcpy(bytes, begin.ptr, begin.len);
        memcpy(bytes + begin.len + CORE_MIB, ends[i].ptr, ends[i].len);
        view.ptr = bytes;
        assert_int_equal(ingest_kind_sniff(&view), i == 0 ? INGEST_KIND_LINES : INGEST_KIND_CMG);
        free(bytes);
    }
}

/* ---- limits ----------------------------------------------------------------------------------------------------------------- */

/* Records of a big file: without a gap, none too long. Returns how many; *dead: of these, cut or out of step. */
static size_t walk(enum core_format format, size_t len, size_t *longest) {
    const struct core_origin origin = {.format = format};
    struct core_fail fail = {0};
    struct ingest_reader *reader = NULL;
    uint64_t end = 0;
    size_t n = 0;
    *longest = 0;
    assert_int_equal(ingest_reader_open(&reader, path, "node", &origin, &counters, &fail), CORE_OK);
    for (enum core_err err = CORE_OK; err == CORE_OK;) {
        struct core_batch *batch = core_pool_take(&pool);
        err = ingest_reader_next(reader, batch, &fail);
        for (uint32_t i = 0; i < batch->lines_len; i++, n++) {
            assert_int_equal(batch->lines[i].start, end);
            assert_true(batch->lines[i].text.len <= CORE_LINE_BYTES_MAX);
            const size_t bytes = (size_t)(batch->lines[i].end - end);
            *longest = bytes > *longest ? bytes : *longest;
            end = batch->lines[i].end;
        }
        core_pool_give(&pool, batch);
    }
    assert_int_equal(end, len);
    ingest_reader_close(reader);
    return n;
}

static void nothing_is_longer_than_the_maximum(void **state) {
    (void)state;
    const size_t len = 3 * CORE_LINE_BYTES_MAX + 12345;
    size_t longest = 0;
    char *big = malloc(len);
    assert_non_null(big);
    memset(big, 'x', len); /* no line end at all */
    memcpy(big, "[**] [1:1:1]", 12);
    write_bytes(big, len, O_TRUNC);
    assert_int_equal(walk(CORE_FORMAT_AUTO, len, &longest), 4);
    assert_true(longest <= CORE_LINE_BYTES_MAX);
    for (size_t i = 99; i < len; i += 100) {
        big[i] = '\n';
    }
    write_bytes(big, len, O_TRUNC);
    assert_int_equal(walk(CORE_FORMAT_AUTO, len, &longest), 4);
    assert_true(longest <= CORE_LINE_BYTES_MAX);
    memset(big, '\xa5', len); /* nothing of unified2 */
    write_bytes(big, len, O_TRUNC);
    assert_int_equal(walk(CORE_FORMAT_UNIFIED2, len, &longest), 4);
    assert_true(longest <= CORE_LINE_BYTES_MAX);
    /* An event with more packets than fit: those behind are records of their own. */
    u2_len = 0;
    put_record(104, 60, 9);
    write_bytes(u2_bytes, u2_len, O_TRUNC);
    size_t all = u2_len;
    u2_len = 0;
    put_record(2, 1000, 9);
    const size_t packets = 2000;
    for (size_t i = 0; i < packets; i++) {
        write_bytes(u2_bytes, u2_len, O_APPEND);
        all += u2_len;
    }
    const size_t joined = (CORE_LINE_BYTES_MAX - 68) / 1008;
    assert_int_equal(walk(CORE_FORMAT_AUTO, all, &longest), 1 + packets - joined);
    assert_true(longest <= CORE_LINE_BYTES_MAX);
    free(big);
}

/* ---- under ingest ---------------------------------------------------------------------------------------------------------------- */

static void rig_still(struct rig *rig, size_t records) {
    const int64_t begun = core_tick_ns();
    while (rig_records(rig) < records) {
        rig_turn(rig);
        assert_true(core_tick_ns() - begun < 60 * CORE_NS_PER_S);
    }
    rig_settle(rig);
    assert_int_equal(rig_records(rig), records);
}

/* How long a file must stand still, from now on. */
static void rig_wait_for_growth(struct rig *rig, int64_t ns) {
    rig->ingest->conf.record_wait_ns = ns;
    rig->ingest->still_due = 0;
}

static void a_growing_file_ends_its_last_record_when_it_stands_still(void **state) {
    (void)state;
    struct rig rig;
    rig_setup(&rig, 4);
    rig.conf.record_wait_ns = 3600 * CORE_NS_PER_S; /* a busy machine may stand still itself, for a second */
    rig_open(&rig);
    u2_len = 0;
    put_record(104, 60, 1);
    put_record(2, 40, 1);
    rig_write(&rig, "u.log", O_APPEND, u2_bytes, 68);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 0); /* its packet may follow */
    rig_write(&rig, "u.log", O_APPEND, u2_bytes + 68, 20);
    rig_settle(&rig);
    rig_wait_for_growth(&rig, CORE_NS_PER_S);
    usleep(1200000);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 0); /* and has begun to: half a record is waited for */
    rig_wait_for_growth(&rig, 3600 * CORE_NS_PER_S);
    rig_write(&rig, "u.log", O_APPEND, u2_bytes + 88, u2_len - 88);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 0);
    rig_wait_for_growth(&rig, CORE_NS_PER_S);
    rig_still(&rig, 1);
    assert_int_equal(rig.seen[0].end, u2_len);
    assert_int_equal(rig.seen[0].flags, CORE_LINE_UNIFIED2);
    /* A log of lines does not wait. */
    rig_wait_for_growth(&rig, 3600 * CORE_NS_PER_S);
    rig_append(&rig, "z.log", "{\"a\":1}\n");
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 2);
    rig_teardown(&rig);
}

static void killed_in_the_middle_of_a_record(void **state) {
    (void)state;
    struct rig rig;
    rig_setup(&rig, 4);
    rig_open(&rig);
    u2_len = 0;
    for (uint32_t i = 1; i <= 4; i++) {
        put_record(105, 84, i);
        put_record(2, 50, i);
    }
    const size_t one = u2_len / 4;
    rig_write(&rig, "u.log", O_APPEND, u2_bytes, 2 * one + 100); /* two, and a piece of the third */
    rig_settle(&rig);
    rig_still(&rig, 2);
    const uint64_t gen = rig.seen[0].gen;
    rig_turn(&rig); /* the checkpoint has them */
    rig_kill(&rig);
    rig_write(&rig, "u.log", O_APPEND, u2_bytes + 2 * one + 100, u2_len - 2 * one - 100);
    rig_open(&rig);
    rig_still(&rig, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(rig.seen[i].gen, gen);
        assert_int_equal(rig.seen[i].start, i * one);
        assert_int_equal(rig.seen[i].end, (i + 1) * one);
    }
    rig_teardown(&rig);
}

static void a_deleted_file_gives_its_broken_end(void **state) {
    (void)state;
    struct rig rig;
    rig_setup(&rig, 4);
    rig_open(&rig);
    u2_len = 0;
    put_record(104, 60, 1);
    put_record(104, 60, 2);
    rig_write(&rig, "u.log", O_APPEND, u2_bytes, 68 + 30);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 1);
    rig_unlink(&rig, "u.log");
    rig_still(&rig, 2);
    assert_int_equal(rig.seen[1].start, 68);
    assert_int_equal(rig.seen[1].end, 98);
    for (int i = 0; rig.ingest->open_len > 0; i++) {
        assert_true(i < 1000);
        rig.ingest->scan_tick = 0;
        rig_turn(&rig);
    }
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
    rig_teardown(&rig);
}

static void from_the_end_means_behind_the_last_whole_record(void **state) {
    (void)state;
    struct rig rig;
    rig_setup(&rig, 4);
    rig.input.start = INGEST_START_END;
    u2_len = 0;
    for (uint32_t i = 1; i <= 3; i++) {
        put_record(104, 60, i);
        put_record(2, 50, i);
    }
    const size_t one = u2_len / 3;
    rig_write(&rig, "u.log", O_APPEND, u2_bytes, one + 80); /* the second is being written */
    rig_append(&rig, "f.log", FULL_1 "\n" FULL_2);
    rig_open(&rig);
    rig_settle(&rig);
    usleep(100000);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 0);
    rig_write(&rig, "u.log", O_APPEND, u2_bytes + one + 80, u2_len - one - 80);
    rig_append(&rig, "f.log", FULL_3 "\n");
    rig_still(&rig, 3);
    size_t binary = 0;
    for (size_t i = 0; i < 3; i++) {
        binary += rig.seen[i].flags == CORE_LINE_UNIFIED2 && rig.seen[i].start == (1 + binary) * one;
    }
    assert_int_equal(binary, 2);
    rig_teardown(&rig);
}

static void once_takes_the_last_record_and_leaves_half_ones(void **state) {
    (void)state;
    struct rig rig;
    rig_setup(&rig, 4);
    rig.conf.record_wait_ns = 3600 * CORE_NS_PER_S;
    rig_append(&rig, "f.log", FULL_1 "\n" FULL_2);
    rig_append(&rig, "l.log", FAST("1"));
    u2_len = 0;
    put_record(104, 60, 1);
    put_record(104, 60, 2);
    rig_write(&rig, "u.log", O_APPEND, u2_bytes, 68 + 30);
    rig_open(&rig);
    ingest_set_once(rig.ingest);
    for (int i = 0; !ingest_is_drained(rig.ingest); i++) {
        assert_true(i < 1000);
        rig_turn(&rig);
    }
    assert_int_equal(rig_records(&rig), 2 + 1 + 1);
    rig_teardown(&rig);
}

static void a_reload_names_the_format(void **state) {
    (void)state;
    struct rig rig;
    struct core_fail fail = {0};
    rig_setup(&rig, 4);
    rig.input.origin = (struct core_origin){.type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_FAST};
    rig_append(&rig, "f.log", FULL_2);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 2); /* lines, as it was told */
    rig.input.origin.format = CORE_FORMAT_SNORT_FULL;
    const struct ingest_env env = rig_env(&rig);
    assert_int_equal(ingest_reload(rig.ingest, &env, &fail), CORE_OK);
    rig_settle(&rig);
    rig_append(&rig, "f.log", FULL_1 "\n" FULL_2);
    rig_still(&rig, 4);
    assert_int_equal(rig.seen[2].start, strlen(FULL_2));
    assert_int_equal(rig.seen[2].end, strlen(FULL_2 FULL_1 "\n"));
    rig_teardown(&rig);
}

/* A pipe that stays open gives what it has had for a second. */
static void a_quiet_pipe_ends_its_last_record(void **state) {
    (void)state;
    static const struct core_origin origin = {.type = CORE_ORIGIN_SNORT};
    struct core_fail fail = {0};
    struct ingest_reader *reader = NULL;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    const int saved = dup(STDIN_FILENO);
    assert_int_equal(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
    close(fds[0]);
    assert_int_equal(write(fds[1], FULL_2, strlen(FULL_2)), strlen(FULL_2));
    assert_int_equal(ingest_reader_open(&reader, "-", "node", &origin, &counters, &fail), CORE_OK);
    struct core_batch *batch = core_pool_take(&pool);
    assert_int_equal(ingest_reader_next(reader, batch, &fail), CORE_OK);
    assert_int_equal(batch->lines_len, 1);
    assert_int_equal(batch->lines[0].end, strlen(FULL_2));
    core_pool_give(&pool, batch);
    close(fds[1]);
    batch = core_pool_take(&pool);
    assert_int_equal(ingest_reader_next(reader, batch, &fail), CORE_GONE);
    core_pool_give(&pool, batch);
    ingest_reader_close(reader);
    assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
    close(saved);
}

/* Names above a CSV are context, and are shown again after a restart. */
static void the_names_of_a_csv(void **state) {
    (void)state;
    struct rig rig;
    rig_setup(&rig, 4);
    rig_append(&rig, "a.log", "timestamp, gid, sid\n11/21-02:58:39.1, 1, 2\ntimestamp, gid, sid\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "timestamp, gid, sid|11/21-02:58:39.1, 1, 2|timestamp, gid, sid|");
    assert_int_equal(rig.seen[0].flags, CORE_LINE_CONTEXT);
    assert_int_equal(rig_records(&rig), 2); /* only at the top are they names */
    rig_turn(&rig);
    rig_kill(&rig);
    rig_forget(&rig);
    rig_append(&rig, "a.log", "11/21-02:58:40.1, 1, 3\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "timestamp, gid, sid|11/21-02:58:40.1, 1, 3|");
    assert_int_equal(rig.seen[0].flags, CORE_LINE_CONTEXT | CORE_LINE_REPLAYED);
    rig_teardown(&rig);
}

/* A CSV whose first column is a word of the sensor's, as its action: what looks like a name is a record all the same. */
static void a_record_is_no_name(void **state) {
    (void)state;
    static const struct {
        const char *csv_fields;
        const char *first;
        bool is_context;
    } cases[] = {
        {NULL, "allow, TCP, 10.20.0.2\n", false},
        {NULL, "allow,tcp,3\n", false},
        {NULL, "allow,tcp,\n", false},
        {NULL, "timestamp,the sid\n", false},
        {NULL, "action,proto\n", true},
        {NULL, "\"action\", \"src_addr\", gid2\n", true},
        {"action,proto,msg", "allow,tcp,raw\n", false},
        {"action,proto,msg", "timestamp,tcp,raw\n", false},
        {"action,proto,msg", "action,proto,msg\n", true},
        {"action,proto,msg", "\"action\" , proto, msg\r\n", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[PATH_MAX];
        const struct core_origin origin = {
            .type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_CSV, .csv_fields = cases[i].csv_fields};
        struct rig rig;
        struct core_fail fail = {0};
        struct ingest_reader *reader = NULL;
        rig_setup(&rig, 1);
        rig_append(&rig, "a.csv", cases[i].first);
        rig_append(&rig, "a.csv", "drop,udp,1\n");
        snprintf(name, sizeof(name), "%s/a.csv", rig.dir);
        assert_int_equal(ingest_reader_open(&reader, name, "n", &origin, &rig.counters, &fail), CORE_OK);
        struct core_batch *batch = core_pool_take(&pool);
        assert_int_equal(ingest_reader_next(reader, batch, &fail), CORE_OK);
        assert_int_equal(batch->lines_len, 2);
        if ((batch->lines[0].flags == CORE_LINE_CONTEXT) != cases[i].is_context) {
            fail_msg("taken for the wrong thing: %s", cases[i].first);
        }
        core_pool_give(&pool, batch);
        ingest_reader_close(reader);
        rig_teardown(&rig);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_gives_the_same_records),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(a_restart_behind_any_record),
        cmocka_unit_test(stillness_ends_what_is_whole),
        cmocka_unit_test(a_file_tells_its_kind),
        cmocka_unit_test(a_megabyte_of_blank_lines_is_passed_over),
        cmocka_unit_test(nothing_is_longer_than_the_maximum),
        cmocka_unit_test(a_growing_file_ends_its_last_record_when_it_stands_still),
        cmocka_unit_test(killed_in_the_middle_of_a_record),
        cmocka_unit_test(a_deleted_file_gives_its_broken_end),
        cmocka_unit_test(from_the_end_means_behind_the_last_whole_record),
        cmocka_unit_test(once_takes_the_last_record_and_leaves_half_ones),
        cmocka_unit_test(a_reload_names_the_format),
        cmocka_unit_test(a_quiet_pipe_ends_its_last_record),
        cmocka_unit_test(the_names_of_a_csv),
        cmocka_unit_test(a_record_is_no_name),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
