/* cmd/intel_list.c: `tapline intel list`, `stats`, `export`: all of the store, walked through once.
 *
 * A walk of Redis is no snapshot: what changes meanwhile may be in it or not, and may be in it twice.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/intel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SECONDS_PER_DAY 86400
#define FEEDS_MAX 1024

/* ---- list ----------------------------------------------------------------------------------------------------------------------------- */

struct filter {
    enum core_indicator type;
    const char *feed;
};

/* Leave of found what the filter lets through; room has ENRICH_PROVIDERS_MAX. */
static struct enrich_found filtered(const struct filter *filter, const struct enrich_found *found,
                                    struct enrich_provider *room) {
    struct enrich_found out = {found->type, found->value, room, 0};
    bool is_type = filter->type == CORE_INDICATOR_NONE || filter->type == found->type;
    for (size_t i = 0; i < found->providers_len && is_type && out.providers_len < ENRICH_PROVIDERS_MAX; i++) {
        if (filter->feed == NULL || strcmp(filter->feed, found->providers[i].feed) == 0) {
            room[out.providers_len++] = found->providers[i];
        }
    }
    return out;
}

static const struct cmd_option list_options[] = {
    INTEL_CONFIG_OPTION,
    INTEL_TYPE_OPTION,
    {.name = "feed", .letter = 'f', .arg = "NAME", .help = "Only what this feed says."},
    {.name = "json", .help = "Print one JSON object a line, an indicator each."},
    {0},
};

struct listing {
    struct intel intel;
    struct filter filter;
    uint64_t listed;
};

static bool list_found(void *ctx, const struct enrich_found *found) {
    struct listing *listing = ctx;
    struct enrich_provider room[ENRICH_PROVIDERS_MAX];
    struct enrich_found shown = filtered(&listing->filter, found, room);
    if (shown.providers_len > 0) {
        intel_print(&listing->intel, &shown);
        listing->listed++;
    }
    return ferror(stdout) == 0;
}

static int list_main(const struct cmd *cmd, int argc, char **argv) {
    struct listing listing = {0};
    struct core_fail fail = {0};
    int code = CORE_EXIT_DONE;
    if (intel_parse(&listing.intel, cmd, argc, argv, &code)) {
        listing.filter.feed = intel_value(&listing.intel, "feed");
        if (!intel_type(&listing.intel, &listing.filter.type)) {
            code = CORE_EXIT_USAGE;
        } else if (intel_open(&listing.intel, INTEL_READS, &code)) {
            const struct intel_walk walk = {"listing", true, list_found, &listing};
            enum core_err err = intel_walk_all(&listing.intel, &walk, &fail);
            code = err == CORE_OK ? CORE_EXIT_DONE : intel_failed(&listing.intel, err, &fail);
            code = code == CORE_EXIT_DONE && listing.listed == 0 ? CORE_EXIT_NO : code;
        }
    }
    intel_close(&listing.intel);
    return code;
}

const struct cmd cmd_intel_list = {
    .name = "intel list",
    .summary = "print the indicators of the store",
    .args = "",
    .about =
        "Prints all indicators of the store, or those of a type or a feed, in no order: a line for each provider, "
        "with the columns type, value, feed, provider, confidence, TLP, tags, subdomains, description. What changes "
        "meanwhile may be missing or come twice. Ends with 1 if there is none.",
    .example = "tapline intel list -c /etc/tapline/tapline.yml --type domain --feed corp | sort\n"
               "tapline intel list -c tapline.yml --json | jq -r .value",
    .options = list_options,
    .run = list_main,
};

/* ---- stats ---------------------------------------------------------------------------------------------------------------------------- */

static const struct cmd_option stats_options[] = {
    INTEL_CONFIG_OPTION, {.name = "json", .help = "Print one JSON object."}, {0}};

enum age { AGE_DAY, AGE_WEEK, AGE_MONTH, AGE_YEAR, AGE_OLDER, AGE_UNKNOWN, AGE__MAX };
static const char *const age_names[AGE__MAX] = {"day", "week", "month", "year", "older", "unknown"};

struct feed_count {
    char name[ENRICH_FEED_NAME_BYTES_MAX + 1];
    uint64_t count;
    uint64_t expiring; /* that have an end */
};

struct stats {
    struct intel intel;
    int64_t now;
    uint64_t indicators;
    uint64_t said; /* by providers */
    uint64_t types[CORE_INDICATOR__MAX];
    uint64_t ages[AGE__MAX];
    struct feed_count feeds[FEEDS_MAX];
    size_t feeds_len;
    uint64_t allowed;
    struct intel_seen *seen; /* by sensors */
};

/* By when it was last seen, or else first. */
static enum age age_of(int64_t now, const struct enrich_provider *said) {
    static const int64_t days[] = {1, 7, 30, 365};
    int64_t seen = said->last_seen != 0 ? said->last_seen : said->first_seen;
    if (seen == 0) {
        return AGE_UNKNOWN;
    }
    for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
        if (now - seen <= days[i] * SECONDS_PER_DAY) {
            return (enum age)i;
        }
    }
    return AGE_OLDER;
}

static struct feed_count *feed_of(struct stats *stats, const char *name) {
    for (size_t i = 0; i < stats->feeds_len; i++) {
        if (strcmp(stats->feeds[i].name, name) == 0) {
            return &stats->feeds[i];
        }
    }
    if (stats->feeds_len == FEEDS_MAX) {
        return &stats->feeds[FEEDS_MAX - 1]; /* with the last one; there are 256 in a configuration */
    }
    struct feed_count *feed = &stats->feeds[stats->feeds_len++];
    (void)snprintf(feed->name, sizeof(feed->name), "%s", name);
    return feed;
}

static bool stats_found(void *ctx, const struct enrich_found *found) {
    struct stats *stats = ctx;
    stats->indicators++;
    stats->types[found->type]++;
    for (size_t i = 0; i < found->providers_len; i++) {
        const struct enrich_provider *said = &found->providers[i];
        struct feed_count *feed = feed_of(stats, said->feed);
        stats->said++;
        feed->count++;
        feed->expiring += said->expires != 0 ? 1 : 0;
        stats->ages[age_of(stats->now, said)]++;
    }
    return true;
}

static bool stats_allowed(void *ctx, enum core_indicator type CORE_UNUSED, struct core_span value CORE_UNUSED) {
    struct stats *stats = ctx;
    stats->allowed++;
    return true;
}

static int by_count(const void *a, const void *b) {
    const struct feed_count *left = a;
    const struct feed_count *right = b;
    if (left->count != right->count) {
        return left->count < right->count ? 1 : -1;
    }
    return strcmp(left->name, right->name);
}

static void stats_json(const struct stats *stats) {
    const char *between = "";
    printf("{\"indicators\":%" PRIu64 ",\"said\":%" PRIu64 ",\"allowed\":%" PRIu64 ",\"types\":{", stats->indicators,
           stats->said, stats->allowed);
    for (int type = CORE_INDICATOR_IP; type < CORE_INDICATOR__MAX; type++) {
        if (stats->types[type] > 0) {
            printf("%s\"%s\":%" PRIu64, between, core_indicator_word((enum core_indicator)type), stats->types[type]);
            between = ",";
        }
    }
    printf("},\"feeds\":{");
    for (size_t i = 0; i < stats->feeds_len; i++) {
        printf("%s", i == 0 ? "" : ",");
        cmd_print_json_string(stdout, core_span_of(stats->feeds[i].name));
        printf(":{\"said\":%" PRIu64 ",\"expiring\":%" PRIu64 "}", stats->feeds[i].count, stats->feeds[i].expiring);
    }
    printf("},\"last_seen\":{");
    for (size_t i = 0; i < AGE__MAX; i++) {
        printf("%s\"%s\":%" PRIu64, i == 0 ? "" : ",", age_names[i], stats->ages[i]);
    }
    printf("}");
    intel_seen_json(stats->seen);
    printf("}\n");
}

static void stats_text(const struct stats *stats) {
    printf("indicators %" PRIu64 ", said by providers %" PRIu64 ", allowed %" PRIu64 "\n\n", stats->indicators,
           stats->said, stats->allowed);
    for (int type = CORE_INDICATOR_IP; type < CORE_INDICATOR__MAX; type++) {
        if (stats->types[type] > 0) {
            printf("%12" PRIu64 "  %s\n", stats->types[type], core_indicator_word((enum core_indicator)type));
        }
    }
    printf("\n");
    for (size_t i = 0; i < stats->feeds_len; i++) {
        printf("%12" PRIu64 "  feed %s (%" PRIu64 " of them with an end)\n", stats->feeds[i].count,
               stats->feeds[i].name, stats->feeds[i].expiring);
    }
    printf("\n");
    for (size_t i = 0; i < AGE__MAX; i++) {
        printf("%12" PRIu64 "  last seen %s%s\n", stats->ages[i], i <= AGE_YEAR ? "within a " : "", age_names[i]);
    }
    intel_seen_text(stats->seen);
}

static int stats_main(const struct cmd *cmd, int argc, char **argv) {
    struct stats *stats = calloc(1, sizeof(*stats));
    struct core_fail fail = {0};
    int code = CORE_EXIT_DONE;
    MUST(stats != NULL);
    stats->now = core_now_ns() / CORE_NS_PER_S;
    if (intel_parse(&stats->intel, cmd, argc, argv, &code) && intel_open(&stats->intel, INTEL_READS, &code)) {
        const struct intel_walk walk = {"counting", false, stats_found, stats};
        enum core_err err = intel_walk_all(&stats->intel, &walk, &fail);
        err = err == CORE_OK ? enrich_store_allowed(stats->intel.store, stats_allowed, stats, &fail) : err;
        if (err != CORE_OK) {
            code = intel_failed(&stats->intel, err, &fail);
        } else {
            qsort(stats->feeds, stats->feeds_len, sizeof(stats->feeds[0]), by_count);
            stats->seen = intel_seen_read(&stats->intel);
            (stats->intel.is_json ? stats_json : stats_text)(stats);
        }
    }
    intel_seen_free(stats->seen);
    intel_close(&stats->intel);
    free(stats);
    return code;
}

const struct cmd cmd_intel_stats = {
    .name = "intel stats",
    .summary = "how many indicators there are, by type, feed and age",
    .args = "",
    .about =
        "Counts the indicators of the store by type, and what providers say of them by feed and by how long ago they "
        "were last seen (or first, where nothing else is said). With Redis, how often sensors saw what indicators "
        "name, "
        "each of the last seven days, and which ones most.",
    .example = "tapline intel stats -c /etc/tapline/tapline.yml\ntapline intel stats -c tapline.yml --json",
    .options = stats_options,
    .run = stats_main,
};

/* ---- export --------------------------------------------------------------------------------------------------------------------------- */

static const struct cmd_option export_options[] = {
    INTEL_CONFIG_OPTION,
    INTEL_TYPE_OPTION,
    {.name = "feed", .letter = 'f', .arg = "NAME", .help = "Only what this feed says."},
    {.name = "zeek", .help = "As a file of Zeek's intelligence framework."},
    {.name = "ja3", .help = "With --zeek: JA3, too, for a Zeek that has the type Intel::JA3 by a package."},
    {.name = "json", .help = "As one JSON object a line, an indicator each, as intel list prints them."},
    {0},
};

struct exporting {
    struct intel intel;
    struct filter filter;
    bool wants_ja3;
    uint64_t lines;
    uint64_t ja3_left;
    uint64_t subdomains; /* of which Zeek will only see the domain itself */
};

static const char *zeek_type(enum core_indicator type) {
    static const char *const types[CORE_INDICATOR__MAX] = {
        [CORE_INDICATOR_IP] = "Intel::ADDR",
        [CORE_INDICATOR_CIDR] = "Intel::SUBNET",
        [CORE_INDICATOR_DOMAIN] = "Intel::DOMAIN",
        [CORE_INDICATOR_URL] = "Intel::URL",
        [CORE_INDICATOR_EMAIL] = "Intel::EMAIL",
        [CORE_INDICATOR_FILE_HASH] = "Intel::FILE_HASH",
        [CORE_INDICATOR_CERT_HASH] = "Intel::CERT_HASH",
        [CORE_INDICATOR_PUBKEY_HASH] = "Intel::PUBKEY_HASH",
        [CORE_INDICATOR_USER] = "Intel::USER_NAME",
        [CORE_INDICATOR_FILE_NAME] = "Intel::FILE_NAME",
        [CORE_INDICATOR_SOFTWARE] = "Intel::SOFTWARE",
        [CORE_INDICATOR_JA3] = "Intel::JA3",
    };
    MUST(types[type] != NULL);
    return types[type];
}

/* A field of Zeek's: what would end it, or be taken for a sign of its own, is written \xNN. Nothing is "-". */
static void zeek_field(struct core_span text, bool is_first) {
    printf("%s", is_first ? "" : "\t");
    bool is_sign = core_span_is(text, "-") || core_span_is(text, "(empty)");
    if (text.len == 0) {
        (void)fputc('-', stdout);
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool is_escape = c < ' ' || c == 0x7f || (c == '\\' && i + 1 < text.len && text.ptr[i + 1] == 'x') ||
                         (i == 0 && (is_sign || (is_first && c == '#')));
        if (is_escape) {
            printf("\\x%02x", c);
        } else {
            (void)fputc(c, stdout);
        }
    }
}

static void zeek_text(const char *text) {
    zeek_field(core_span_of(text == NULL ? "" : text), false);
}

static void zeek_time(int64_t seconds) {
    char text[32] = "";
    if (seconds != 0) {
        intel_time(seconds, text);
    }
    zeek_text(text);
}

/* The columns of Zeek and of its policy script integration/collective-intel. */
static const char zeek_header[] =
    "#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\tmeta.url\tmeta.do_notice\t"
    "meta.cif_tags\tmeta.cif_confidence\tmeta.cif_source\tmeta.cif_description\t"
    "meta.cif_firstseen\tmeta.cif_lastseen\n";

static void zeek_line(const struct enrich_found *found, const struct enrich_provider *said) {
    char confidence[8] = "";
    if (said->confidence_tenths != ENRICH_CONFIDENCE_NONE) {
        (void)snprintf(confidence, sizeof(confidence), "%d", said->confidence_tenths); /* Zeek's go to 100 */
    }
    zeek_field(found->value, true);
    zeek_text(zeek_type(found->type));
    zeek_text(said->provider);
    zeek_text(said->description);
    zeek_text(said->reference);
    zeek_text("F");
    zeek_text(said->tags);
    zeek_text(confidence);
    zeek_text(said->feed);
    zeek_text(said->description);
    zeek_time(said->first_seen);
    zeek_time(said->last_seen);
    (void)fputc('\n', stdout);
}

static bool export_found(void *ctx, const struct enrich_found *found) {
    struct exporting *exporting = ctx;
    struct enrich_provider room[ENRICH_PROVIDERS_MAX];
    struct enrich_found shown = filtered(&exporting->filter, found, room);
    if (exporting->intel.is_json) {
        if (shown.providers_len > 0) {
            intel_print(&exporting->intel, &shown);
            exporting->lines++;
        }
        return ferror(stdout) == 0;
    }
    if (found->type == CORE_INDICATOR_JA3 && !exporting->wants_ja3) {
        exporting->ja3_left += shown.providers_len > 0 ? 1 : 0;
        return true;
    }
    bool subdomains = false;
    for (size_t i = 0; i < shown.providers_len; i++) {
        zeek_line(&shown, &shown.providers[i]);
        exporting->lines++;
        subdomains = subdomains || shown.providers[i].subdomains;
    }
    exporting->subdomains += subdomains ? 1 : 0;
    return ferror(stdout) == 0;
}

static void export_say(const struct exporting *exporting) {
    (void)fprintf(stderr, "%" PRIu64 " lines\n", exporting->lines);
    if (exporting->subdomains > 0) {
        (void)fprintf(stderr, "%" PRIu64 " domains mean their subdomains, too: Zeek looks for the domain itself only\n",
                      exporting->subdomains);
    }
    if (exporting->ja3_left > 0) {
        (void)fprintf(stderr, "%" PRIu64 " JA3 left out: Zeek has no such type of its own; --ja3 writes them\n",
                      exporting->ja3_left);
    }
}

static int export_main(const struct cmd *cmd, int argc, char **argv) {
    struct exporting exporting = {0};
    struct core_fail fail = {0};
    int code = CORE_EXIT_DONE;
    if (intel_parse(&exporting.intel, cmd, argc, argv, &code)) {
        exporting.filter.feed = intel_value(&exporting.intel, "feed");
        exporting.wants_ja3 = intel_value(&exporting.intel, "ja3") != NULL;
        if ((intel_value(&exporting.intel, "zeek") != NULL) == exporting.intel.is_json) {
            code = intel_wrong(&exporting.intel, "as what? --zeek or --json, one of them");
        } else if (!intel_type(&exporting.intel, &exporting.filter.type)) {
            code = CORE_EXIT_USAGE;
        } else if (intel_open(&exporting.intel, INTEL_READS, &code)) {
            const struct intel_walk walk = {"exporting", true, export_found, &exporting};
            printf("%s", exporting.intel.is_json ? "" : zeek_header);
            enum core_err err = intel_walk_all(&exporting.intel, &walk, &fail);
            code = err == CORE_OK ? CORE_EXIT_DONE : intel_failed(&exporting.intel, err, &fail);
            export_say(&exporting);
        }
    }
    intel_close(&exporting.intel);
    return code;
}

const struct cmd cmd_intel_export = {
    .name = "intel export",
    .summary = "write the store's indicators as a file for Zeek, or as JSON",
    .args = "",
    .about =
        "Writes the indicators to stdout. With --zeek as a file that Zeek's intelligence framework reads, with the "
        "columns of its "
        "policy script integration/collective-intel: a line for each provider, which is meta.source; the feed is "
        "meta.cif_source; networks are Intel::SUBNET; do_notice is F. So Zeek's own framework and tapline agree, but "
        "for subdomains and JA3, which Zeek does not know: how many these are is said on stderr. With --json as one "
        "JSON "
        "object a line, with all that is known.",
    .example = "tapline intel export -c /etc/tapline/tapline.yml --zeek >/opt/zeek/share/intel.dat.new && mv "
               "/opt/zeek/share/intel.dat.new /opt/zeek/share/intel.dat",
    .options = export_options,
    .run = export_main,
};
