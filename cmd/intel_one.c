/* cmd/intel_one.c: `tapline intel get`, `add`, `rm`, `allow`: one indicator, by hand.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/intel.h"

#include <stdio.h>
#include <stdlib.h>

/* The one argument of a command, or NULL, said. */
static const char *value_of(const struct intel *intel) {
    if (intel->args.files_len == 1) {
        return intel->args.files[0];
    }
    int code CORE_UNUSED = intel->args.files_len == 0
                               ? intel_wrong(intel, "which indicator?")
                               : intel_wrong(intel, "one indicator at a time, not %d", intel->args.files_len);
    return NULL;
}

/* What the store has of a text, in any form it can have. */
struct looked_up {
    struct enrich_found found[INTEL_FORMS_MAX];
    size_t len;
};

static int look_up(struct intel *intel, const char *text, struct looked_up *out) {
    struct intel_form forms[INTEL_FORMS_MAX];
    struct core_fail fail = {0};
    enum core_indicator type;
    const char *why = NULL;
    if (!intel_type(intel, &type)) {
        return CORE_EXIT_USAGE;
    }
    out->len = intel_forms(intel, type, text, forms, &why);
    if (out->len == 0) {
        return intel_wrong(intel, "\"%s\": %s", text, why);
    }
    for (size_t i = 0; i < out->len; i++) {
        out->found[i] = (struct enrich_found){.type = forms[i].type, .value = forms[i].value};
    }
    enum core_err err = enrich_store_get(intel->store, out->found, out->len, &intel->arena, INTEL_TIMEOUT_MS, &fail);
    return err == CORE_OK ? CORE_EXIT_DONE : intel_failed(intel, err, &fail);
}

/* ---- get ---------------------------------------------------------------------------------------------------------------------------- */

static const struct cmd_option get_options[] = {
    INTEL_CONFIG_OPTION, INTEL_TYPE_OPTION, {.name = "json", .help = "Print one JSON object a line."}, {0}};

static int get_value(struct intel *intel) {
    const char *text = value_of(intel);
    struct looked_up looked_up;
    size_t there = 0;
    int code = text == NULL ? CORE_EXIT_USAGE : look_up(intel, text, &looked_up);
    if (code != CORE_EXIT_DONE) {
        return code;
    }
    for (size_t i = 0; i < looked_up.len; i++) {
        if (looked_up.found[i].providers_len > 0) {
            intel_print(intel, &looked_up.found[i]);
            there++;
        }
    }
    if (there == 0) {
        (void)fprintf(stderr, "tapline %s: \"%s\" is no indicator in the store\n", intel->cmd->name, text);
    }
    return there > 0 ? CORE_EXIT_DONE : CORE_EXIT_NO;
}

static int get_main(const struct cmd *cmd, int argc, char **argv) {
    struct intel intel = {0};
    int code = CORE_EXIT_DONE;
    if (intel_parse(&intel, cmd, argc, argv, &code) && intel_open(&intel, INTEL_READS, &code)) {
        code = get_value(&intel);
    }
    intel_close(&intel);
    return code;
}

const struct cmd cmd_intel_get = {
    .name = "intel get",
    .summary = "what the store has of one indicator",
    .args = "VALUE",
    .about = "Prints what the store has of exactly this indicator, in any type that it can be, or of the type given: a "
             "line for each provider, with the columns type, value, feed, provider, confidence, TLP, tags, subdomains, "
             "description. Networks and parent domains are not asked: `tapline intel match` does. Ends with 1 if there "
             "is nothing.",
    .example =
        "tapline intel get -c /etc/tapline/tapline.yml evil.example\ntapline intel get -c tapline.yml --json 192.0.2.7",
    .options = get_options,
    .run = get_main,
};

/* ---- add ---------------------------------------------------------------------------------------------------------------------------- */

static const struct cmd_option add_options[] = {
    INTEL_CONFIG_OPTION,
    INTEL_TYPE_OPTION,
    {.name = "feed", .letter = 'f', .arg = "NAME", .help = "Under which feed (default: local)."},
    {.name = "provider", .arg = "NAME", .help = "Who says so, within the feed (default: the feed)."},
    {.name = "confidence", .arg = "NUMBER", .help = "From 0 to 10, e.g. 7.5."},
    {.name = "tlp", .arg = "WORD", .help = "CLEAR, GREEN, AMBER, AMBER+STRICT or RED."},
    {.name = "description", .letter = 'd', .arg = "TEXT", .help = "What it is."},
    {.name = "reference", .arg = "URL", .help = "Where more is said of it."},
    {.name = "tags", .arg = "TAGS", .help = "With commas between."},
    {.name = "expire-after", .arg = "TIME", .help = "How long it counts, e.g. 30d (default: for ever)."},
    {.name = "subdomains", .help = "Of a domain: what is below it is meant, too."},
    {.name = "json", .help = "Print what was put as one JSON object."},
    {0},
};

static void said_set(const struct intel *intel, struct enrich_provider *said) {
    said->feed = intel_value(intel, "feed") != NULL ? intel_value(intel, "feed") : "local";
    said->provider = intel_value(intel, "provider") != NULL ? intel_value(intel, "provider") : said->feed;
    said->description = intel_value(intel, "description");
    said->reference = intel_value(intel, "reference");
    said->tags = intel_value(intel, "tags");
    said->subdomains = intel_value(intel, "subdomains") != NULL;
    said->tlp = intel_value(intel, "tlp");
}

/* Checks what the command line says by the rules of a feed's section, and turns it into the provider's own. */
static int said_check(struct intel *intel, struct enrich_provider *said) {
    struct core_fail fail = {0};
    char *text[] = {(char *)said->feed, (char *)said->tlp, (char *)intel_value(intel, "confidence")}; /* read only */
    struct enrich_feed_conf feed = {
        .name = text[0], .path = (char[]){"-"}, .tlp = text[1], .confidence = text[2], .limit = 1};
    if (enrich_feed_check(&feed, &fail) != CORE_OK) {
        return intel_wrong(intel, "--%s: %s", strcmp(fail.where, "name") == 0 ? "feed" : fail.where, fail.text);
    }
    const char *const texts[] = {said->provider, said->description, said->reference, said->tags};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i] != NULL && (strlen(texts[i]) > ENRICH_TEXT_BYTES_MAX)) {
            return intel_wrong(intel, "a text is longer than %d bytes", ENRICH_TEXT_BYTES_MAX);
        }
    }
    said->tlp = enrich_tlp(said->tlp);
    said->confidence_tenths = enrich_confidence(text[2]);
    return CORE_EXIT_DONE;
}

/* "*.evil.example" means the subdomains, too. */
static const char *without_wildcard(const char *text, enum core_indicator type, bool *subdomains) {
    bool may_be_domain = type == CORE_INDICATOR_NONE || type == CORE_INDICATOR_DOMAIN;
    if (may_be_domain && strncmp(text, "*.", 2) == 0) {
        *subdomains = true;
        return text + 2;
    }
    return text;
}

static int add_value(struct intel *intel) {
    struct core_fail fail = {0};
    struct enrich_item item = {0};
    struct intel_form form;
    const char *text = value_of(intel);
    const char *expire = intel_value(intel, "expire-after");
    const char *why = NULL;
    int64_t expire_ns = 0;
    if (text == NULL || !intel_type(intel, &item.type)) {
        return CORE_EXIT_USAGE;
    }
    said_set(intel, &item.said);
    int code = said_check(intel, &item.said);
    if (code != CORE_EXIT_DONE) {
        return code;
    }
    if (expire != NULL && (!core_parse_duration(expire, &expire_ns) || expire_ns <= 0)) {
        return intel_wrong(intel, "--expire-after %s: a time with its unit is needed, e.g. 30d", expire);
    }
    text = without_wildcard(text, item.type, &item.said.subdomains);
    item.type = item.type == CORE_INDICATOR_NONE ? enrich_guess(core_span_of(text)) : item.type;
    if (item.type == CORE_INDICATOR_NONE) {
        return intel_wrong(intel, "of which type \"%s\" is cannot be told from it; say --type", text);
    }
    if (intel_forms(intel, item.type, text, &form, &why) == 0) {
        return intel_wrong(intel, "\"%s\" as %s: %s", text, core_indicator_word(item.type), why);
    }
    item.type = form.type;
    item.value = form.value;
    item.said.subdomains = item.said.subdomains && form.type == CORE_INDICATOR_DOMAIN;
    item.said.expires = expire_ns == 0 ? 0 : (core_now_ns() + expire_ns) / CORE_NS_PER_S;
    enum core_err err = enrich_store_put(intel->store, &item, &fail);
    err = err == CORE_OK ? enrich_store_flush(intel->store, &fail) : err;
    if (err != CORE_OK) {
        return intel_failed(intel, err, &fail);
    }
    intel_print(intel, &(struct enrich_found){item.type, item.value, &item.said, 1});
    return CORE_EXIT_DONE;
}

static int add_main(const struct cmd *cmd, int argc, char **argv) {
    struct intel intel = {0};
    int code = CORE_EXIT_DONE;
    if (intel_parse(&intel, cmd, argc, argv, &code) && intel_open(&intel, INTEL_WRITES, &code)) {
        code = add_value(&intel);
    }
    intel_close(&intel);
    return code;
}

const struct cmd cmd_intel_add = {
    .name = "intel add",
    .summary = "put one indicator into the store",
    .args = "VALUE",
    .about =
        "Puts one indicator into Redis; it is in effect on every sensor within seconds. Its type is guessed unless "
        "given. What the same provider of the same feed said of it before is replaced. *.evil.example means the "
        "subdomains, too. Prints what was put, in the form in which it is compared.",
    .example = "tapline intel add -c /etc/tapline/tapline.yml evil.example -d 'C2 of case 42' --confidence 8 "
               "--expire-after 30d\n"
               "tapline intel add -c tapline.yml --type user bob",
    .options = add_options,
    .run = add_main,
};

/* ---- rm ----------------------------------------------------------------------------------------------------------------------------- */

static const struct cmd_option rm_options[] = {
    INTEL_CONFIG_OPTION,
    INTEL_TYPE_OPTION,
    {.name = "feed", .letter = 'f', .arg = "NAME", .help = "Only what this feed says (default: all say)."},
    {.name = "provider", .arg = "NAME", .help = "Only what this provider says."},
    {.name = "json", .help = "Print what was taken back as one JSON object a line."},
    {0},
};

/* Take back what the options name. Returns how many providers, or -1 with fail. */
static int found_remove(struct intel *intel, const struct enrich_found *found, struct core_fail *fail) {
    const char *feed = intel_value(intel, "feed");
    const char *provider = intel_value(intel, "provider");
    int removed = 0;
    for (size_t i = 0; i < found->providers_len; i++) {
        const struct enrich_provider *said = &found->providers[i];
        if ((feed != NULL && strcmp(said->feed, feed) != 0) ||
            (provider != NULL && strcmp(said->provider, provider) != 0)) {
            continue;
        }
        if (enrich_store_remove(intel->store, found->type, found->value, said->feed, said->provider, fail) != CORE_OK) {
            return -1;
        }
        intel_print(intel, &(struct enrich_found){found->type, found->value, said, 1});
        removed++;
    }
    return removed;
}

static int rm_value(struct intel *intel) {
    const char *text = value_of(intel);
    struct core_fail fail = {0};
    struct looked_up looked_up;
    int removed = 0;
    int code = text == NULL ? CORE_EXIT_USAGE : look_up(intel, text, &looked_up);
    if (code != CORE_EXIT_DONE) {
        return code;
    }
    for (size_t i = 0; i < looked_up.len; i++) {
        int more = found_remove(intel, &looked_up.found[i], &fail);
        if (more < 0) {
            return intel_failed(intel, fail.err, &fail);
        }
        removed += more;
    }
    enum core_err err = enrich_store_flush(intel->store, &fail);
    if (err != CORE_OK) {
        return intel_failed(intel, err, &fail);
    }
    if (removed == 0) {
        (void)fprintf(stderr, "tapline %s: nobody says \"%s\" is an indicator\n", intel->cmd->name, text);
    }
    return removed > 0 ? CORE_EXIT_DONE : CORE_EXIT_NO;
}

static int rm_main(const struct cmd *cmd, int argc, char **argv) {
    struct intel intel = {0};
    int code = CORE_EXIT_DONE;
    if (intel_parse(&intel, cmd, argc, argv, &code) && intel_open(&intel, INTEL_WRITES, &code)) {
        code = rm_value(&intel);
    }
    intel_close(&intel);
    return code;
}

const struct cmd cmd_intel_rm = {
    .name = "intel rm",
    .summary = "take one indicator out of the store",
    .args = "VALUE",
    .about =
        "Takes back what all, one feed or one provider say of an indicator, in any type that it can be, or of the "
        "type given. Prints what was taken back; ends with 1 if there was nothing. A feed that still has it brings "
        "it back with the next `tapline intel sync`: `tapline intel allow` silences it for good, whatever it is.",
    .example = "tapline intel rm -c /etc/tapline/tapline.yml evil.example\n"
               "tapline intel rm -c tapline.yml --feed blocklist 192.0.2.7",
    .options = rm_options,
    .run = rm_main,
};

/* ---- allow -------------------------------------------------------------------------------------------------------------------------- */

static const struct cmd_option allow_options[] = {
    INTEL_CONFIG_OPTION,
    INTEL_TYPE_OPTION,
    {.name = "rm", .help = "Take it off the list."},
    {.name = "json", .help = "Print one JSON object a line."},
    {0},
};

static bool allowed_print(void *ctx, enum core_indicator type, struct core_span value) {
    const struct intel *intel = ctx;
    if (!intel->is_json) {
        printf("%s\t%.*s\n", core_indicator_word(type), (int)value.len, value.ptr);
        return true;
    }
    printf("{\"type\":\"%s\",\"value\":", core_indicator_word(type));
    cmd_print_json_string(stdout, value);
    printf("}\n");
    return true;
}

static int allow_one(struct intel *intel, const char *text) {
    struct core_fail fail = {0};
    char room[ENRICH_VALUE_BYTES_MAX];
    struct core_span value;
    const char *why = NULL;
    enum core_indicator type;
    if (!intel_type(intel, &type)) {
        return CORE_EXIT_USAGE;
    }
    if (!enrich_allow_canonical(&type, core_span_of(text), room, &value, &why)) {
        return intel_wrong(intel, "\"%s\": %s", text, why);
    }
    enum core_err err = enrich_store_allow(intel->store, type, value, intel_value(intel, "rm") == NULL, &fail);
    err = err == CORE_OK ? enrich_store_flush(intel->store, &fail) : err;
    if (err != CORE_OK) {
        return intel_failed(intel, err, &fail);
    }
    (void)allowed_print(intel, type, value);
    return CORE_EXIT_DONE;
}

static int allow_list(struct intel *intel) {
    struct core_fail fail = {0};
    if (intel_value(intel, "rm") != NULL) {
        return intel_wrong(intel, "--rm: which one?");
    }
    enum core_err err = enrich_store_allowed(intel->store, allowed_print, intel, &fail);
    return err == CORE_OK ? CORE_EXIT_DONE : intel_failed(intel, err, &fail);
}

static int allow_main(const struct cmd *cmd, int argc, char **argv) {
    struct intel intel = {0};
    int code = CORE_EXIT_DONE;
    if (intel_parse(&intel, cmd, argc, argv, &code)) {
        bool is_list = intel.args.files_len == 0;
        if (intel_open(&intel, is_list ? INTEL_READS : INTEL_WRITES, &code)) {
            code = is_list ? allow_list(&intel) : CORE_EXIT_DONE;
            for (int i = 0; i < intel.args.files_len && code == CORE_EXIT_DONE; i++) {
                code = allow_one(&intel, intel.args.files[i]);
            }
        }
    }
    intel_close(&intel);
    return code;
}

const struct cmd cmd_intel_allow = {
    .name = "intel allow",
    .summary = "what is never a match, whoever says so",
    .args = "[VALUE…]",
    .about =
        "Puts values on the allow-list, or takes them off: what a record has of them is never a match, whichever feed "
        "says so. A network silences its addresses, a domain what is below it; of a URL, a hash, an e-mail address or "
        "another text just this value is silenced, and a URL of an allowed domain is not. The type is guessed unless "
        "given, and printed. Without a value it prints the list.",
    .example = "tapline intel allow -c /etc/tapline/tapline.yml 10.0.0.0/8 example.org\n"
               "tapline intel allow -c tapline.yml --type cert_hash 395fb1ba6ceb1b8c6dbf4e8fb0ea7c3d1c8b4c2a\n"
               "tapline intel allow -c tapline.yml --rm example.org\n"
               "tapline intel allow -c tapline.yml",
    .options = allow_options,
    .run = allow_main,
};
