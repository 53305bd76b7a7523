/* cmd/proof_report.c: findings in words and as JSON.
 *
 * A finding names the bytes of the file, so that a person can look whether the file still has them, and the records on
 * both sides with their topic, partition and offset, so that the place in Kafka can be looked at.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/proof.h"
#include "ingest/feed.h"

#include <inttypes.h>

static const char *const kind_words[PROOF_KINDS] = {
    [PROOF_GAP] = "MISSING",      [PROOF_NOT_JUDGED] = "not judged", [PROOF_DOUBLED] = "DOUBLED",
    [PROOF_OVERLAP] = "OVERLAP",  [PROOF_COUNT] = "COUNT",           [PROOF_LOST] = "LOST",
    [PROOF_IDENTITY] = "ACCOUNT",
};

static const char *const kind_plurals[PROOF_KINDS] = {
    [PROOF_GAP] = "missing",
    [PROOF_NOT_JUDGED] = "not judged",
    [PROOF_DOUBLED] = "doubled",
    [PROOF_OVERLAP] = "overlapping",
    [PROOF_COUNT] = "with another number of records",
    [PROOF_LOST] = "with lost records",
    [PROOF_IDENTITY] = "whose own account is wrong",
};

static void iso_put(int64_t timestamp_ms, char out[28]) {
    out[27] = '\0';
    if (feed_time_ms(timestamp_ms) == 0 || !core_time_iso(timestamp_ms * CORE_NS_PER_MS, out)) {
        (void)snprintf(out, 28, "unknown time");
    }
}

static void print_neighbour(FILE *out, const struct proof *proof, const char *side,
                            const struct proof_neighbour *neighbour) {
    char when[28];
    if (neighbour->is_there) {
        iso_put(neighbour->timestamp_ms, when);
        (void)fprintf(out, "  %s: %s partition %d offset %" PRId64 ", bytes %" PRIu64 "-%" PRIu64 ", produced %s\n",
                      side, proof->topics[neighbour->topic].name, neighbour->partition, neighbour->offset,
                      neighbour->start, neighbour->end, when);
    }
}

/* The bytes may still be in the file, which is then the way to them. */
static void print_where_to_look(FILE *out, const struct proof_finding *finding) {
    const char *path = finding->gen->path;
    size_t len = strlen(path);
    bool is_gz = len > 3 && strcmp(path + len - 3, ".gz") == 0;
    uint64_t first = finding->from + 1; /* tail counts from 1 */
    uint64_t bytes = finding->end - finding->from;
    if (is_gz) {
        (void)fprintf(
            out, "  the file, if it is still there, has them: zcat '%s' | tail -c +%" PRIu64 " | head -c %" PRIu64 "\n",
            path, first, bytes);
    } else {
        (void)fprintf(out,
                      "  the file, if it is still there, has them: tail -c +%" PRIu64 " '%s' | head -c %" PRIu64 "\n",
                      first, path, bytes);
    }
}

void proof_print_finding(FILE *out, const struct proof *proof, const struct proof_finding *finding) {
    const struct proof_gen *gen = finding->gen;
    const struct core_tally *tally = &gen->tally;
    (void)fprintf(out, "%s %s generation %016" PRIx64 " bytes %" PRIu64 "-%" PRIu64 " (%" PRIu64 " bytes",
                  kind_words[finding->kind], gen->path, gen->gen, finding->from, finding->end,
                  finding->end - finding->from);
    if (finding->records > 0) {
        (void)fprintf(out, ", %" PRIu64 " %s", finding->records, finding->records == 1 ? "record" : "records");
    }
    (void)fputs(")\n", out);
    switch (finding->kind) {
    case PROOF_GAP:
    case PROOF_NOT_JUDGED:
        print_neighbour(out, proof, "before it", &finding->before);
        print_neighbour(out, proof, "behind it", &finding->after);
        print_where_to_look(out, finding);
        break;
    case PROOF_DOUBLED:
        (void)fputs("  the same records, with the same ids, are there more than once: count each id once\n", out);
        break;
    case PROOF_OVERLAP:
        (void)fputs("  different records say that they have these bytes: was the topic written to by others, or the "
                    "node's state put back from a copy?\n",
                    out);
        break;
    case PROOF_COUNT:
        (void)fprintf(out,
                      "  the position says %" PRIu64 " documents and %" PRIu64 " dead letters, the topics hold %" PRIu64
                      " and %" PRIu64 ", though their bytes join\n",
                      tally->events, tally->dead, gen->events, gen->dead);
        break;
    case PROOF_LOST:
        (void)fputs("  refused by the broker even as dead letters; the node's log has their ids\n", out);
        break;
    case PROOF_IDENTITY:
        (void)fprintf(out,
                      "  %" PRIu64 " records were read, but %" PRIu64 " accepted + %" PRIu64 " dead letters + %" PRIu64
                      " dropped + %" PRIu64 " lost is another number: please report this, it is a fault of tapline\n",
                      tally->records, tally->events, tally->dead, tally->dropped, tally->lost);
        break;
    case PROOF_KINDS:
        MUST(!"a kind");
    }
}

void proof_say_counts(const struct proof_verdict *verdict, char *out, size_t len) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < PROOF_KINDS && at < len; i++) {
        if (verdict->count[i] > 0 && i != PROOF_NOT_JUDGED) {
            int put = snprintf(out + at, len - at, "%s%" PRIu64 " %s", at == 0 ? "" : ", ", verdict->count[i],
                               kind_plurals[i]);
            at += put > 0 ? (size_t)put : 0;
        }
    }
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------ */

static void json_neighbour(FILE *out, const struct proof *proof, const char *key,
                           const struct proof_neighbour *neighbour) {
    if (!neighbour->is_there) {
        return;
    }
    char when[28];
    iso_put(neighbour->timestamp_ms, when);
    (void)fprintf(out, ",\"%s\":{\"topic\":", key);
    cmd_print_json_string(out, core_span_of(proof->topics[neighbour->topic].name));
    (void)fprintf(
        out, ",\"partition\":%d,\"offset\":%" PRId64 ",\"start\":%" PRIu64 ",\"end\":%" PRIu64 ",\"produced\":\"%s\"}",
        neighbour->partition, neighbour->offset, neighbour->start, neighbour->end, when);
}

void proof_json_findings(FILE *out, const struct proof *proof, const struct proof_verdict *verdict) {
    (void)fputc('[', out);
    for (size_t i = 0; i < verdict->len; i++) {
        const struct proof_finding *finding = &verdict->findings[i];
        (void)fprintf(out, "%s{\"kind\":\"%s\",\"generation\":\"%016" PRIx64 "\",\"path\":", i == 0 ? "" : ",",
                      proof_kind_names[finding->kind], finding->gen->gen);
        cmd_print_json_string(out, core_span_of(finding->gen->path));
        (void)fprintf(out, ",\"from\":%" PRIu64 ",\"end\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"records\":%" PRIu64,
                      finding->from, finding->end, finding->end - finding->from, finding->records);
        json_neighbour(out, proof, "before", &finding->before);
        json_neighbour(out, proof, "after", &finding->after);
        (void)fputc('}', out);
    }
    (void)fputc(']', out);
}

void proof_json_counts(FILE *out, const struct proof_verdict *verdict) {
    for (size_t i = 0; i < PROOF_KINDS; i++) {
        (void)fprintf(out, "%s\"%s\":%" PRIu64, i == 0 ? "{" : ",", proof_kind_names[i], verdict->count[i]);
    }
    (void)fputc('}', out);
}
