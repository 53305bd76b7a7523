/* enrich/stix_pattern.c: what a STIX pattern names, one thing at a time.
 *
 * A pattern is a condition on what is observed together: [file:name = 'a.exe' AND file:size = 7] FOLLOWEDBY [...]. What we
 * look for is single things. So the pattern is read whole, by its grammar, and each comparison in it becomes a term that is
 * either an indicator or has a reason why not:
 *   - = and IN of a text with a property that a log of the network can show, and ISSUBSET of an address, are indicators;
 *   - of an OR each side is one by itself;
 *   - of an AND none is: each alone would be a false alarm. But a hash names its file whatever else is said of it, so beside
 *     hashes a file's name and further hashes are no condition of their own; neither is *_ref.type;
 *   - NOT, other comparisons, and qualifiers (REPEATS, WITHIN, START) make none.
 * With is_split each part of an AND, and what is qualified, counts by itself: the operator's choice.
 * SPDX-License-Identifier: Apache-2.0
 * Source: OASIS STIX 2.1, section 9 (patterning). */
#include "enrich/stix_pattern.h"

#include <ctype.h>

#define DEPTH_MAX 64
#define WORD_BYTES_MAX 256

static const char why_and[] = "it is one condition of several (AND): alone it would be a false alarm";
static const char why_sequence[] = "it counts only together with other observations (AND, FOLLOWEDBY)";
static const char why_qualified[] = "it counts only so often, or at certain times (REPEATS, WITHIN, START)";

struct parser {
    struct core_span text;
    size_t at;
    struct core_arena *arena;
    struct stix_term *terms;
    size_t terms_max;
    size_t len;
    bool is_split;
    int depth;
    const char *why; /* of a mistake in the grammar */
};

/* ---- signs and words ---------------------------------------------------------------------------------------------------------- */

static void skip_blanks(struct parser *parser) {
    while (parser->at < parser->text.len && isspace((unsigned char)parser->text.ptr[parser->at])) {
        parser->at++;
    }
}

static bool take(struct parser *parser, const char *sign) {
    size_t len = strlen(sign);
    skip_blanks(parser);
    if (parser->text.len - parser->at < len || memcmp(parser->text.ptr + parser->at, sign, len) != 0) {
        return false;
    }
    parser->at += len;
    return true;
}

static bool is_word_char(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

static struct core_span peek_word(struct parser *parser) {
    skip_blanks(parser);
    size_t end = parser->at;
    while (end < parser->text.len && is_word_char(parser->text.ptr[end])) {
        end++;
    }
    return (struct core_span){parser->text.ptr + parser->at, end - parser->at};
}

static bool take_word(struct parser *parser, const char *word) {
    struct core_span have = peek_word(parser);
    if (!core_span_is(have, word)) {
        return false;
    }
    parser->at += have.len;
    return true;
}

static bool wrong(struct parser *parser, const char *why) {
    if (parser->why == NULL) {
        parser->why = why;
    }
    return false;
}

/* 'it\'s': *out lies in the arena if there is a backslash. */
static bool take_quoted(struct parser *parser, struct core_span *out) {
    if (!take(parser, "'")) {
        return wrong(parser, "its pattern is wrong: a text in quotes is missing");
    }
    size_t from = parser->at;
    bool has_escape = false;
    while (parser->at < parser->text.len && parser->text.ptr[parser->at] != '\'') {
        bool is_escape = parser->text.ptr[parser->at] == '\\';
        has_escape = has_escape || is_escape;
        parser->at += is_escape ? 2 : 1;
    }
    if (parser->at >= parser->text.len) {
        parser->at = parser->text.len;
        return wrong(parser, "its pattern is wrong: a quote is not closed");
    }
    *out = (struct core_span){parser->text.ptr + from, parser->at - from};
    parser->at++;
    if (has_escape) {
        char *copy = core_arena_copy(parser->arena, *out);
        size_t len = 0;
        if (copy == NULL) {
            return wrong(parser, "its pattern is too long");
        }
        for (size_t i = 0; i < out->len; i++) {
            i += copy[i] == '\\' && i + 1 < out->len ? 1 : 0;
            copy[len++] = copy[i];
        }
        *out = (struct core_span){copy, len};
    }
    return true;
}

/* A text, or a number, a time, true …: then *is_text is false. */
static bool take_literal(struct parser *parser, struct core_span *out, bool *is_text) {
    skip_blanks(parser);
    *is_text = parser->at < parser->text.len && parser->text.ptr[parser->at] == '\'';
    if (*is_text) {
        return take_quoted(parser, out);
    }
    size_t from = parser->at;
    while (parser->at < parser->text.len &&
           (is_word_char(parser->text.ptr[parser->at]) || strchr("+.", parser->text.ptr[parser->at]) != NULL) &&
           parser->text.ptr[parser->at] != '\0') {
        parser->at++;
    }
    *out = (struct core_span){parser->text.ptr + from, parser->at - from};
    if (out->len == 1 && strchr("thb", out->ptr[0]) != NULL && parser->at < parser->text.len &&
        parser->text.ptr[parser->at] == '\'') {
        return take_quoted(parser, out);
    }
    return out->len > 0 || wrong(parser, "its pattern is wrong: a value is missing");
}

/* ---- object paths -------------------------------------------------------------------------------------------------------------- */

/* "file:hashes.'SHA-256'", "email-message:body_multipart[*].body_raw_ref.name": without quotes and indexes. */
static bool take_path(struct parser *parser, struct core_span *object, struct core_span *path) {
    char room[WORD_BYTES_MAX];
    size_t len = 0;
    *object = peek_word(parser);
    parser->at += object->len;
    if (object->len == 0 || !take(parser, ":")) {
        return wrong(parser, "its pattern is wrong: a type and a property (type:property) are missing");
    }
    for (;;) {
        struct core_span step = peek_word(parser);
        bool is_quoted = step.len == 0;
        if (is_quoted && !take_quoted(parser, &step)) {
            return false;
        }
        parser->at += is_quoted ? 0 : step.len;
        if (step.len + 1 > sizeof(room) - len) {
            return wrong(parser, "its pattern is wrong: a property's name is too long");
        }
        memcpy(room + len, step.ptr, step.len);
        len += step.len;
        while (take(parser, "[")) {
            while (parser->at < parser->text.len && parser->text.ptr[parser->at] != ']') {
                parser->at++;
            }
            if (!take(parser, "]")) {
                return wrong(parser, "its pattern is wrong: an index is not closed");
            }
        }
        if (!take(parser, ".")) {
            break;
        }
        room[len++] = '.';
    }
    path->ptr = core_arena_copy(parser->arena, (struct core_span){room, len});
    path->len = len;
    return path->ptr != NULL || wrong(parser, "its pattern is too long");
}

static bool ends_with(struct core_span text, const char *end) {
    size_t len = strlen(end);
    return text.len >= len && memcmp(text.ptr + text.len - len, end, len) == 0;
}

static bool is_hash_we_know(struct core_span path) {
    static const char *const names[] = {"hashes.MD5",     "hashes.md5",     "hashes.SHA-1",  "hashes.SHA1",
                                        "hashes.sha1",    "hashes.SHA-256", "hashes.SHA256", "hashes.sha256",
                                        "hashes.SHA-512", "hashes.SHA512",  "hashes.sha512"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (ends_with(path, names[i])) {
            return true;
        }
    }
    return false;
}

bool stix_property(struct core_span object, struct core_span path, enum core_indicator *type) {
    static const struct {
        const char *object;
        const char *path;
        enum core_indicator type; /* NONE: an address or a name, told by the value */
    } table[] = {
        {"ipv4-addr", "value", CORE_INDICATOR_IP},
        {"ipv6-addr", "value", CORE_INDICATOR_IP},
        {"domain-name", "value", CORE_INDICATOR_DOMAIN},
        {"domain-name", "resolves_to_refs.value", CORE_INDICATOR_NONE},
        {"url", "value", CORE_INDICATOR_URL},
        {"email-addr", "value", CORE_INDICATOR_EMAIL},
        {"email-message", "from_ref.value", CORE_INDICATOR_EMAIL},
        {"email-message", "sender_ref.value", CORE_INDICATOR_EMAIL},
        {"email-message", "body_multipart.body_raw_ref.name", CORE_INDICATOR_FILE_NAME},
        {"file", "name", CORE_INDICATOR_FILE_NAME},
        {"network-traffic", "src_ref.value", CORE_INDICATOR_NONE},
        {"network-traffic", "dst_ref.value", CORE_INDICATOR_NONE},
        {"network-traffic", "extensions.http-request-ext.request_header.User-Agent", CORE_INDICATOR_SOFTWARE},
        {"network-traffic", "extensions.http-request-ext.request_header.Host", CORE_INDICATOR_DOMAIN},
        {"user-account", "user_id", CORE_INDICATOR_USER},
        {"user-account", "account_login", CORE_INDICATOR_USER},
        {"software", "name", CORE_INDICATOR_SOFTWARE},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (core_span_is(object, table[i].object) && core_span_is(path, table[i].path)) {
            *type = table[i].type;
            return true;
        }
    }
    bool is_cert = core_span_is(object, "x509-certificate");
    bool is_file =
        core_span_is(object, "file") || core_span_is(object, "artifact") || core_span_is(object, "email-message");
    bool is_hash = (is_cert || is_file) && is_hash_we_know(path);
    *type = !is_hash ? CORE_INDICATOR_NONE : is_cert ? CORE_INDICATOR_CERT_HASH : CORE_INDICATOR_FILE_HASH;
    return is_hash;
}

/* ---- comparisons --------------------------------------------------------------------------------------------------------------- */

static bool term_add(struct parser *parser, struct stix_term term) {
    if (parser->len == parser->terms_max) {
        return wrong(parser, "its pattern has too many comparisons");
    }
    parser->terms[parser->len++] = term;
    return true;
}

enum operation { OPERATION_IS, OPERATION_IN, OPERATION_SUBSET, OPERATION_OTHER, OPERATION__NONE };

static enum operation take_operation(struct parser *parser) {
    static const struct {
        const char *sign;
        enum operation operation;
    } signs[] = {{"!=", OPERATION_OTHER}, {"<>", OPERATION_OTHER}, {"<=", OPERATION_OTHER}, {">=", OPERATION_OTHER},
                 {"==", OPERATION_IS},    {"=", OPERATION_IS},     {"<", OPERATION_OTHER},  {">", OPERATION_OTHER}};
    static const struct {
        const char *word;
        enum operation operation;
    } words[] = {{"IN", OPERATION_IN},
                 {"ISSUBSET", OPERATION_SUBSET},
                 {"ISSUPERSET", OPERATION_OTHER},
                 {"LIKE", OPERATION_OTHER},
                 {"MATCHES", OPERATION_OTHER}};
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        if (take(parser, signs[i].sign)) {
            return signs[i].operation;
        }
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (take_word(parser, words[i].word)) {
            return words[i].operation;
        }
    }
    return OPERATION__NONE;
}

/* One value of a comparison, whose property and reason the term has already. */
static bool value_read(struct parser *parser, struct stix_term term) {
    bool is_text;
    if (!take_literal(parser, &term.value, &is_text)) {
        return false;
    }
    if (!is_text && term.why == NULL) {
        term.why = "its value is no text";
    }
    return term_add(parser, term);
}

static bool comparison_read(struct parser *parser) {
    struct stix_term term = {0};
    struct core_span path;
    if (take_word(parser, "EXISTS")) {
        term.why = "that something exists (EXISTS) is no indicator";
        return take_path(parser, &term.value, &path) && term_add(parser, term);
    }
    bool is_not = take_word(parser, "NOT");
    if (!take_path(parser, &term.object, &path)) {
        return false;
    }
    is_not = take_word(parser, "NOT") || is_not;
    enum operation operation = take_operation(parser);
    if (operation == OPERATION__NONE) {
        return wrong(parser, "its pattern is wrong: a comparison (=, IN …) is missing");
    }
    term.is_type = ends_with(path, "_ref.type") || ends_with(path, "_refs.type");
    if (!stix_property(term.object, path, &term.type)) {
        term.why = "what it compares is nothing that a log of the network can show";
    }
    bool is_address = term.type == CORE_INDICATOR_IP || term.type == CORE_INDICATOR_NONE;
    if (is_not) {
        term.why = "it says what is not (NOT)";
    } else if (operation == OPERATION_OTHER || (operation == OPERATION_SUBSET && !is_address)) {
        term.why = "it compares by another rule than = and IN";
    }
    term.is_file = term.type == CORE_INDICATOR_FILE_HASH || core_span_is(term.object, "file");
    if (operation != OPERATION_IN) {
        return value_read(parser, term);
    }
    if (!take(parser, "(")) {
        return wrong(parser, "its pattern is wrong: IN without its list");
    }
    do {
        if (!value_read(parser, term)) {
            return false;
        }
    } while (take(parser, ","));
    return take(parser, ")") || wrong(parser, "its pattern is wrong: a list is not closed");
}

/* ---- AND and OR ------------------------------------------------------------------------------------------------------------------ */

static void drop(struct parser *parser, size_t at) {
    memmove(parser->terms + at, parser->terms + at + 1, (--parser->len - at) * sizeof(parser->terms[0]));
}

static void spoil(struct parser *parser, size_t from, const char *why) {
    for (size_t i = from; i < parser->len && !parser->is_split; i++) {
        parser->terms[i].why = parser->terms[i].why == NULL ? why : parser->terms[i].why;
    }
}

/* The terms from `from` on are conditions of one observation: keep what names the thing by itself. */
static void conjoin(struct parser *parser, size_t from, size_t operands) {
    bool has_hash = false;
    bool is_one_file = true;
    size_t real = operands;
    for (size_t i = from; i < parser->len;) {
        if (parser->terms[i].is_type && operands > 1) {
            drop(parser, i);
            real--;
            continue;
        }
        const struct stix_term *term = &parser->terms[i++];
        has_hash = has_hash || (term->type == CORE_INDICATOR_FILE_HASH && term->why == NULL);
        is_one_file = is_one_file && term->is_file;
    }
    if (real < 2 || parser->is_split) {
        return;
    }
    if (!has_hash || !is_one_file) {
        spoil(parser, from, why_and);
        return;
    }
    for (size_t i = from; i < parser->len;) {
        if (parser->terms[i].type == CORE_INDICATOR_FILE_HASH && parser->terms[i].why == NULL) {
            i++;
        } else {
            drop(parser, i);
        }
    }
}

static bool either_read(struct parser *parser);

static bool operand_read(struct parser *parser) {
    if (!take(parser, "(")) {
        return comparison_read(parser);
    }
    if (++parser->depth > DEPTH_MAX) {
        return wrong(parser, "its pattern is nested too deep");
    }
    bool is_good = either_read(parser) && (take(parser, ")") || wrong(parser, "its pattern is wrong: a ) is missing"));
    parser->depth--;
    return is_good;
}

static bool both_read(struct parser *parser) {
    size_t from = parser->len;
    size_t operands = 0;
    do {
        if (!operand_read(parser)) {
            return false;
        }
        operands++;
    } while (take_word(parser, "AND"));
    conjoin(parser, from, operands);
    return true;
}

static bool either_read(struct parser *parser) {
    do {
        if (!both_read(parser)) {
            return false;
        }
    } while (take_word(parser, "OR"));
    return true;
}

/* ---- observations ----------------------------------------------------------------------------------------------------------------- */

static bool qualifiers_read(struct parser *parser, size_t from) {
    struct core_span value;
    bool is_text;
    for (;;) {
        if (take_word(parser, "WITHIN")) {
            if (!take_literal(parser, &value, &is_text) || !take_word(parser, "SECONDS")) {
                return wrong(parser, "its pattern is wrong: WITHIN n SECONDS");
            }
        } else if (take_word(parser, "REPEATS")) {
            if (!take_literal(parser, &value, &is_text) || !take_word(parser, "TIMES")) {
                return wrong(parser, "its pattern is wrong: REPEATS n TIMES");
            }
        } else if (take_word(parser, "START")) {
            if (!take_literal(parser, &value, &is_text) || !take_word(parser, "STOP") ||
                !take_literal(parser, &value, &is_text)) {
                return wrong(parser, "its pattern is wrong: START t STOP t");
            }
        } else {
            return true;
        }
        spoil(parser, from, why_qualified);
    }
}

static bool observations_read(struct parser *parser);

static bool observation_read(struct parser *parser) {
    size_t from = parser->len;
    if (take(parser, "[")) {
        if (!either_read(parser)) {
            return false;
        }
        if (!take(parser, "]")) {
            return wrong(parser, "its pattern is wrong: a ] is missing");
        }
        return qualifiers_read(parser, from);
    }
    if (!take(parser, "(")) {
        return wrong(parser, "its pattern is wrong: it begins with no [");
    }
    if (++parser->depth > DEPTH_MAX) {
        return wrong(parser, "its pattern is nested too deep");
    }
    bool is_good =
        observations_read(parser) && (take(parser, ")") || wrong(parser, "its pattern is wrong: a ) is missing"));
    parser->depth--;
    return is_good && qualifiers_read(parser, from);
}

/* FOLLOWEDBY binds least, then OR, then AND; OR alone lets each side count by itself. */
static bool observations_read(struct parser *parser) {
    size_t from_all = parser->len;
    bool is_sequence = false;
    do {
        do {
            size_t from = parser->len;
            size_t operands = 0;
            do {
                if (!observation_read(parser)) {
                    return false;
                }
                operands++;
            } while (take_word(parser, "AND"));
            if (operands > 1) {
                spoil(parser, from, why_sequence);
            }
        } while (take_word(parser, "OR"));
        is_sequence = is_sequence || core_span_is(peek_word(parser), "FOLLOWEDBY");
    } while (take_word(parser, "FOLLOWEDBY"));
    if (is_sequence) {
        spoil(parser, from_all, why_sequence);
    }
    return true;
}

bool stix_pattern_read(struct core_arena *arena, struct core_span pattern, bool is_split, struct stix_terms *out,
                       const char **why) {
    struct parser parser = {.text = pattern, .arena = arena, .terms = out->terms, .is_split = is_split};
    parser.terms_max = STIX_TERMS_MAX;
    bool is_good = observations_read(&parser);
    skip_blanks(&parser);
    if (is_good && parser.at != pattern.len) {
        is_good = wrong(&parser, "its pattern is wrong: something follows its end");
    }
    out->len = is_good ? parser.len : 0;
    *why = parser.why;
    return is_good;
}
