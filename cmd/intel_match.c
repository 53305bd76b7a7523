/* cmd/intel_match.c: `tapline intel match`: what a value would match, and why.
 *
 * The same is asked of the store as for a document's observables, but without the filter in front, and of everything that the
 * value could be: the text as each type that it can be, the networks of an address, the parents of a name, the host of a URL
 * or of an e-mail address.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/intel.h"

#include <stdio.h>
#include <stdlib.h>

#define ASKED_MAX (2 * INTEL_FORMS_MAX * ENRICH_PROBES_MAX)

struct asked {
    struct enrich_found found;
    const char *how;
    bool is_parent;
    size_t seen; /* which of the things that the value is */
};

struct allowed {
    enum core_indicator type;
    struct core_span value;
};

struct matching {
    struct intel intel;
    struct asked asked[ASKED_MAX];
    size_t asked_len;
    size_t seen_len;
    struct allowed *allowed;
    size_t allowed_len;
    size_t allowed_max;
    struct core_arena allowed_arena;
    uint64_t matched;
};

static const struct cmd_option match_options[] = {
    INTEL_CONFIG_OPTION,
    {.name = "type",
     .letter = 't',
     .arg = "TYPE",
     .help = "As what the values are seen: ip, domain, url, email, file_hash, cert_hash, pubkey_hash, user, file_name, "
             "software or ja3 (default: as all that they can be)."},
    {.name = "json", .help = "Print one JSON object a line, a value each."},
    {0},
};

/* ---- what is asked ------------------------------------------------------------------------------------------------------------------- */

static const char *how_of(enum core_indicator seen, const struct enrich_probe *probe, bool is_host) {
    if (probe->is_parent) {
        return is_host ? "parent domain of its host" : "parent domain";
    }
    if (probe->type == CORE_INDICATOR_CIDR) {
        return is_host ? "network of its host" : "network";
    }
    MUST(probe->type == seen || seen == CORE_INDICATOR_DOMAIN || seen == CORE_INDICATOR_IP);
    return is_host ? "its host" : "exact";
}

static bool is_asked(const struct matching *matching, const struct enrich_probe *probe) {
    for (size_t i = 0; i < matching->asked_len; i++) {
        const struct asked *asked = &matching->asked[i];
        if (asked->found.type == probe->type && asked->is_parent == probe->is_parent &&
            core_span_eq(asked->found.value, probe->value)) {
            return true;
        }
    }
    return false;
}

static void ask(struct matching *matching, enum core_indicator type, struct core_span value, bool is_host) {
    struct enrich_probe probes[ENRICH_PROBES_MAX];
    size_t len = enrich_probes(type, value, &matching->intel.arena, probes);
    for (size_t i = 0; i < len && matching->asked_len < ASKED_MAX; i++) {
        if (is_asked(matching, &probes[i])) { /* the host of a name as a URL is the name */
            continue;
        }
        matching->asked[matching->asked_len++] =
            (struct asked){.found = {.type = probes[i].type, .value = probes[i].value},
                           .how = how_of(type, &probes[i], is_host),
                           .is_parent = probes[i].is_parent,
                           .seen = matching->seen_len};
    }
    matching->seen_len++;
}

/* The host of a canonical URL or e-mail address: a name, or an address without its brackets. */
static bool host_of(const struct intel_form *form, struct core_span *host) {
    struct core_span value = form->value;
    if (form->type == CORE_INDICATOR_EMAIL) {
        const char *at = memrchr(value.ptr, '@', value.len);
        MUST(at != NULL);
        *host = (struct core_span){at + 1, value.len - (size_t)(at + 1 - value.ptr)};
        return true;
    }
    if (form->type != CORE_INDICATOR_URL) {
        return false;
    }
    bool has_brackets = value.ptr[0] == '[';
    size_t from = has_brackets ? 1 : 0;
    size_t to = from;
    while (to < value.len && (has_brackets ? value.ptr[to] != ']' : value.ptr[to] != '/' && value.ptr[to] != ':')) {
        to++;
    }
    *host = (struct core_span){value.ptr + from, to - from};
    return true;
}

static int value_ask(struct matching *matching, const char *text) {
    struct intel *intel = &matching->intel;
    struct intel_form forms[INTEL_FORMS_MAX];
    enum core_indicator type;
    const char *why = NULL;
    struct core_span host;
    if (!intel_type(intel, &type)) {
        return CORE_EXIT_USAGE;
    }
    size_t len = intel_forms(intel, type, text, forms, &why);
    if (len == 0) {
        return intel_wrong(intel, "\"%s\": %s", text, why);
    }
    matching->asked_len = 0;
    matching->seen_len = 0;
    for (size_t i = 0; i < len; i++) {
        if (forms[i].type != CORE_INDICATOR_CIDR) { /* what is seen is never a network */
            ask(matching, forms[i].type, forms[i].value, false);
        }
    }
    for (size_t i = 0; i < len; i++) {
        if (host_of(&forms[i], &host)) {
            ask(matching, CORE_INDICATOR_DOMAIN, host, true);
        }
    }
    return matching->asked_len > 0 ? CORE_EXIT_DONE
                                   : intel_wrong(intel, "\"%s\" is a network: what is seen is an address", text);
}

/* ---- the allow-list ------------------------------------------------------------------------------------------------------------------- */

static bool on_allowed(void *ctx, enum core_indicator type, struct core_span value) {
    struct matching *matching = ctx;
    const char *copy = core_arena_copy(&matching->allowed_arena, value);
    if (copy == NULL) {
        return false;
    }
    if (matching->allowed_len == matching->allowed_max) {
        matching->allowed_max = matching->allowed_max == 0 ? 256 : matching->allowed_max * 2;
        matching->allowed = realloc(matching->allowed, matching->allowed_max * sizeof(*matching->allowed));
        MUST(matching->allowed != NULL);
    }
    matching->allowed[matching->allowed_len++] = (struct allowed){type, {copy, value.len}};
    return true;
}

/* The item of the allow-list that silences a thing that was seen: what is on it, an address in or a name below what is on it.
 * So a URL is not silenced by its host, but its host is, as in documents. */
static const struct allowed *allowed_of(const struct matching *matching, size_t seen) {
    for (size_t i = 0; i < matching->asked_len; i++) {
        const struct enrich_found *found = &matching->asked[i].found;
        for (size_t a = 0; a < matching->allowed_len && matching->asked[i].seen == seen; a++) {
            if (matching->allowed[a].type == found->type && core_span_eq(matching->allowed[a].value, found->value)) {
                return &matching->allowed[a];
            }
        }
    }
    return NULL;
}

/* ---- the answer ----------------------------------------------------------------------------------------------------------------------- */

/* Who says it of this; of a parent only those who mean subdomains. */
static struct enrich_found who_says(const struct asked *asked, struct enrich_provider *room) {
    struct enrich_found out = {asked->found.type, asked->found.value, room, 0};
    for (size_t i = 0; i < asked->found.providers_len && out.providers_len < ENRICH_PROVIDERS_MAX; i++) {
        if (!asked->is_parent || asked->found.providers[i].subdomains) {
            room[out.providers_len++] = asked->found.providers[i];
        }
    }
    return out;
}

static void allowed_json(const struct allowed *allowed) {
    if (allowed == NULL) {
        printf("null");
        return;
    }
    printf("{\"type\":\"%s\",\"value\":", core_indicator_word(allowed->type));
    cmd_print_json_string(stdout, allowed->value);
    printf("}");
}

static void hit_json(const struct asked *asked, const struct enrich_found *hit, const struct allowed *allowed) {
    printf("{\"how\":\"%s\",\"type\":\"%s\",\"value\":", asked->how, core_indicator_word(hit->type));
    cmd_print_json_string(stdout, hit->value);
    printf(",\"providers\":[");
    for (size_t i = 0; i < hit->providers_len; i++) {
        printf("%s", i == 0 ? "" : ",");
        intel_print_provider(&hit->providers[i]);
    }
    printf("],\"allowed\":");
    allowed_json(allowed);
    printf("}");
}

static void hit_text(const char *text, const struct asked *asked, const struct enrich_found *hit,
                     const struct allowed *allowed) {
    for (size_t i = 0; i < hit->providers_len; i++) {
        const struct enrich_provider *said = &hit->providers[i];
        bool has_name = strcmp(said->provider, said->feed) != 0;
        printf("%s: %s%s %.*s (%s), feed %s%s%s%s%s\n", text,
               allowed == NULL ? "" : "silenced: ", core_indicator_word(hit->type), (int)hit->value.len, hit->value.ptr,
               asked->how, said->feed, has_name ? ", " : "", has_name ? said->provider : "",
               said->description == NULL ? "" : ": ", said->description == NULL ? "" : said->description);
    }
}

/* Each hit, silenced or not. Returns how many are not; *silencer gets what silences the others. */
static size_t hits_say(const struct matching *matching, const char *text, const struct allowed **silencer) {
    struct enrich_provider room[ENRICH_PROVIDERS_MAX];
    const struct allowed *allowed = NULL;
    size_t hits = 0;
    size_t said = 0;
    for (size_t i = 0; i < matching->asked_len; i++) {
        const struct asked *asked = &matching->asked[i];
        if (i == 0 || asked->seen != asked[-1].seen) { /* what is asked of one thing stands together */
            allowed = allowed_of(matching, asked->seen);
        }
        struct enrich_found hit = who_says(asked, room);
        *silencer = *silencer == NULL ? allowed : *silencer;
        if (hit.providers_len == 0) {
            continue;
        }
        if (matching->intel.is_json) {
            printf("%s", said == 0 ? "" : ",");
            hit_json(asked, &hit, allowed);
        } else {
            hit_text(text, asked, &hit, allowed);
        }
        said++;
        hits += allowed == NULL ? 1 : 0;
    }
    return hits;
}

static void value_say(struct matching *matching, const char *text) {
    const struct allowed *silencer = NULL;
    bool is_json = matching->intel.is_json;
    if (is_json) {
        printf("{\"asked\":");
        cmd_print_json_string(stdout, core_span_of(text));
        printf(",\"hits\":[");
    }
    size_t hits = hits_say(matching, text, &silencer);
    if (is_json) {
        printf("],\"allowed\":");
        allowed_json(silencer);
        printf(",\"is_match\":%s}\n", hits > 0 ? "true" : "false");
    } else if (hits == 0 && silencer != NULL) {
        printf("%s: no match: %s %.*s is allowed\n", text, core_indicator_word(silencer->type),
               (int)silencer->value.len, silencer->value.ptr);
    } else if (hits == 0) {
        printf("%s: no match\n", text);
    }
    matching->matched += hits > 0 ? 1 : 0;
}

static int value_match(struct matching *matching, const char *text) {
    struct core_fail fail = {0};
    core_arena_reset(&matching->intel.arena, CORE_MIB);
    int code = value_ask(matching, text);
    if (code != CORE_EXIT_DONE) {
        return code;
    }
    MUST(matching->asked_len > 0);
    struct enrich_found *found = calloc(matching->asked_len, sizeof(*found));
    MUST(found != NULL);
    for (size_t i = 0; i < matching->asked_len; i++) {
        found[i] = matching->asked[i].found;
    }
    enum core_err err = enrich_store_get(matching->intel.store, found, matching->asked_len, &matching->intel.arena,
                                         INTEL_TIMEOUT_MS, &fail);
    for (size_t i = 0; i < matching->asked_len; i++) {
        matching->asked[i].found = found[i];
    }
    free(found);
    if (err != CORE_OK) {
        return intel_failed(&matching->intel, err, &fail);
    }
    value_say(matching, text);
    return CORE_EXIT_DONE;
}

static int match_values(struct matching *matching) {
    struct core_fail fail = {0};
    const struct cmd_args *args = &matching->intel.args;
    if (args->files_len == 0) {
        return intel_wrong(&matching->intel, "which values?");
    }
    enum core_err err = core_arena_init(&matching->allowed_arena, INTEL_ARENA_BYTES, &fail);
    err = err == CORE_OK ? enrich_store_allowed(matching->intel.store, on_allowed, matching, &fail) : err;
    int code = err == CORE_OK ? CORE_EXIT_DONE : intel_failed(&matching->intel, err, &fail);
    for (int i = 0; i < args->files_len && code == CORE_EXIT_DONE; i++) {
        code = value_match(matching, args->files[i]);
    }
    return code == CORE_EXIT_DONE && matching->matched == 0 ? CORE_EXIT_NO : code;
}

static int match_main(const struct cmd *cmd, int argc, char **argv) {
    struct matching *matching = calloc(1, sizeof(*matching));
    int code = CORE_EXIT_DONE;
    MUST(matching != NULL);
    if (intel_parse(&matching->intel, cmd, argc, argv, &code) && intel_open(&matching->intel, INTEL_READS, &code)) {
        code = match_values(matching);
    }
    intel_close(&matching->intel);
    core_arena_destroy(&matching->allowed_arena);
    free(matching->allowed);
    free(matching);
    return code;
}

const struct cmd cmd_intel_match = {
    .name = "intel match",
    .summary = "what a value would match in a record, and why",
    .args = "VALUE…",
    .about = "Says which indicators would be found if a record had this value: the indicator itself, networks that an "
             "address is in, parent domains whose indicator means subdomains, the host of a URL or e-mail address; who "
             "says so; and whether the allow-list silences it. Ends with 1 if no value matches.",
    .example = "tapline intel match -c /etc/tapline/tapline.yml www.evil.example\n"
               "tapline intel match -c tapline.yml --json 192.0.2.7 http://evil.example/a",
    .options = match_options,
    .run = match_main,
};
