/* enrich/source_stix.c: STIX 2.0 and 2.1: bundles, TAXII's envelopes ({"objects": …}), or an object by itself.
 *
 * Indicators are the objects of type indicator; what their patterns name is stix_pattern.c's. Observables (ipv4-addr, file …)
 * are what somebody saw, not what is bad: they are refused unless the option `observables` says otherwise. Other objects tell
 * about these: identities (the provider), marking definitions (TLP).
 *
 * Kept: name and description (description), created_by_ref's name (provider), id, valid_from (first seen), valid_until
 * (expiry), confidence (0 to 100), labels and indicator_types (tags), object_marking_refs (TLP 1 and 2), the first external
 * reference with a URL (reference). What is revoked or no longer valid is refused.
 * SPDX-License-Identifier: Apache-2.0
 * Source: OASIS STIX 2.0 and 2.1; the extension definition of TLP 2.0 (cti-stix-common-objects). */
#include "core/json_tree.h"
#include "enrich/stix_pattern.h"

#include <stdlib.h>

#define NAMED_MAX 4096

/* An object that others point to. */
struct named {
    struct core_span id;
    struct core_span text; /* an identity's name, a marking's TLP */
};

struct reading {
    const struct enrich_feed_conf *feed;
    const struct enrich_read_calls *calls;
    struct core_arena arena; /* of one object */
    struct named *named;     /* identities and markings */
    size_t named_len;
    struct stix_terms terms;
    bool is_split;
    bool wants_observables;
    bool goes_on;
    uint64_t object;
};

static int stix_looks(struct core_span head) {
    static const char *const marks[] = {"\"spec_version\"", "\"bundle--", "\"indicator--", "\"pattern\"",
                                        "\"marking-definition--"};
    struct core_span text = core_span_trim(head);
    if (text.len == 0 || text.ptr[0] != '{') {
        return 0;
    }
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        if (memmem(text.ptr, text.len, marks[i], strlen(marks[i])) != NULL) {
            return 90;
        }
    }
    return 0;
}

/* ---- what objects say of others ------------------------------------------------------------------------------------------------ */

static void named_add(struct reading *reading, const struct core_json_tree *object) {
    struct core_span type = core_json_tree_text(object, "type");
    struct core_span text = core_json_tree_text(object, "name");
    if (core_span_is(type, "marking-definition")) {
        struct core_span tlp = core_json_tree_text(core_json_tree_get(object, "definition"), "tlp");
        text = tlp.len > 0 ? tlp : text; /* TLP 2's have the name TLP:CLEAR */
    } else if (!core_span_is(type, "identity")) {
        return;
    }
    if (reading->named_len < NAMED_MAX) {
        reading->named[reading->named_len++] = (struct named){core_json_tree_text(object, "id"), text};
    }
}

static struct core_span name_of(const struct reading *reading, struct core_span id) {
    for (size_t i = 0; i < reading->named_len; i++) {
        if (core_span_eq(reading->named[i].id, id)) {
            return reading->named[i].text;
        }
    }
    return (struct core_span){"", 0};
}

/* The markings that everybody has under the same id, so that they need not be in the bundle. */
static const char *tlp_of_id(struct core_span id) {
    static const char *const ids[][2] = {
        {"marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9", "CLEAR"}, /* TLP 1 */
        {"marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da", "GREEN"},
        {"marking-definition--f88d31f6-486f-44da-b317-01333bde0b82", "AMBER"},
        {"marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", "RED"},
        {"marking-definition--826578e1-40ad-459f-bc73-ede076f81f37", "AMBER+STRICT"}, /* OpenCTI's, before TLP 2 */
        {"marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487", "CLEAR"},        /* TLP 2 */
        {"marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb", "GREEN"},
        {"marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421", "AMBER"},
        {"marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003", "AMBER+STRICT"},
        {"marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1", "RED"},
    };
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        if (core_span_is(id, ids[i][0])) {
            return ids[i][1];
        }
    }
    return NULL;
}

static const char *tlp_of(const struct reading *reading, const struct core_json_tree *object) {
    const struct core_json_tree *refs = core_json_tree_get(object, "object_marking_refs");
    const char *tlp = NULL;
    for (const struct core_json_tree *ref = refs == NULL ? NULL : refs->first; ref != NULL && tlp == NULL;
         ref = ref->next) {
        tlp = tlp_of_id(ref->text);
        tlp = tlp == NULL ? source_tlp(name_of(reading, ref->text)) : tlp;
    }
    return tlp;
}

static void words_add(struct core_buf *buf, const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *list = core_json_tree_get(object, key);
    for (const struct core_json_tree *word = list == NULL ? NULL : list->first; word != NULL; word = word->next) {
        if (word->kind != CORE_JSON_STRING || word->text.len == 0 ||
            (size_t)(buf->end - buf->pos) < word->text.len + 1) {
            continue;
        }
        core_buf_put(buf, ",", buf->pos > buf->start);
        for (size_t i = 0; i < word->text.len; i++) {
            core_buf_char(buf, word->text.ptr[i] == ',' ? ' ' : word->text.ptr[i]);
        }
    }
}

static const char *link_of(struct core_arena *arena, const struct core_json_tree *object) {
    const struct core_json_tree *list = core_json_tree_get(object, "external_references");
    for (const struct core_json_tree *one = list == NULL ? NULL : list->first; one != NULL; one = one->next) {
        if (core_json_tree_text(one, "url").len > 0) {
            return source_text(arena, core_json_tree_text(one, "url"));
        }
    }
    return NULL;
}

static struct enrich_provider said_of(struct reading *reading, const struct core_json_tree *object) {
    char room[ENRICH_TEXT_BYTES_MAX];
    struct core_buf tags = {.start = room, .pos = room, .end = room + sizeof(room)};
    struct core_arena *arena = &reading->arena;
    const struct core_json_tree *confidence = core_json_tree_get(object, "confidence");
    struct enrich_provider said = source_item(CORE_INDICATOR_NONE, (struct core_span){0}).said;
    words_add(&tags, object, "indicator_types");
    words_add(&tags, object, "labels");
    said.tags = source_text(arena, core_buf_written(&tags));
    said.description = source_join(arena, source_text(arena, core_json_tree_text(object, "name")), ": ",
                                   source_text(arena, core_json_tree_text(object, "description")));
    said.provider = source_text(arena, name_of(reading, core_json_tree_text(object, "created_by_ref")));
    said.reference = link_of(arena, object);
    said.id = source_text(arena, core_json_tree_text(object, "id"));
    said.tlp = tlp_of(reading, object);
    said.first_seen = source_time(core_json_tree_text(object, "valid_from"));
    said.expires = source_time(core_json_tree_text(object, "valid_until"));
    if (confidence != NULL && confidence->kind == CORE_JSON_NUMBER) {
        said.confidence_tenths = source_confidence(confidence->text, 100);
    }
    return said;
}

/* ---- indicators ------------------------------------------------------------------------------------------------------------------ */

static void indicator_read(struct reading *reading, const struct core_json_tree *object) {
    struct core_span pattern = core_json_tree_text(object, "pattern");
    struct core_span language = core_json_tree_text(object, "pattern_type"); /* 2.1; 2.0 knows only one */
    const struct core_json_tree *revoked = core_json_tree_get(object, "revoked");
    const char *why = NULL;
    core_arena_reset(&reading->arena, 64 * CORE_KIB);
    bool is_revoked = revoked != NULL && core_span_is(revoked->text, "true");
    if (language.len > 0 && !core_span_is(language, "stix")) {
        why = "its pattern is in another language than STIX's (pattern_type)";
    } else if (!stix_pattern_read(&reading->arena, pattern, reading->is_split, &reading->terms, &why)) {
        MUST(why != NULL);
    }
    if (is_revoked && (why != NULL || reading->calls->on_gone == NULL)) {
        why = "it is revoked";
    }
    if (why != NULL) {
        source_refuse(reading->calls, reading->object, pattern, why);
        return;
    }
    struct enrich_provider said = said_of(reading, object);
    for (size_t i = 0; i < reading->terms.len && reading->goes_on; i++) {
        const struct stix_term *term = &reading->terms.terms[i];
        if (term->why != NULL) {
            source_refuse(reading->calls, reading->object, term->value, term->why);
            continue;
        }
        struct enrich_item item = source_item(term->type, term->value);
        item.said = said;
        reading->goes_on = is_revoked
                               ? source_gone(reading->calls, reading->feed, reading->object, &item, "it is revoked")
                               : source_give(reading->calls, reading->feed, reading->object, &item);
    }
}

/* ---- observables ----------------------------------------------------------------------------------------------------------------- */

static void observable_give(struct reading *reading, const struct core_json_tree *object, struct core_span path,
                            struct core_span value) {
    enum core_indicator type;
    if (!reading->goes_on || !stix_property(core_json_tree_text(object, "type"), path, &type)) {
        return;
    }
    if (!reading->wants_observables) {
        source_refuse(reading->calls, reading->object, value, "it is an observable, no indicator (option observables)");
        return;
    }
    core_arena_reset(&reading->arena, 64 * CORE_KIB);
    struct enrich_item item = source_item(type, value);
    item.said = said_of(reading, object);
    reading->goes_on = source_give(reading->calls, reading->feed, reading->object, &item);
}

/* Its own properties, and its hashes. */
static void observable_read(struct reading *reading, const struct core_json_tree *object) {
    bool has_hash = core_json_tree_get(object, "hashes") != NULL;
    for (const struct core_json_tree *member = object->first; member != NULL; member = member->next) {
        bool is_name_of_hashed = has_hash && core_span_is(member->key, "name");
        if (member->kind == CORE_JSON_STRING && !is_name_of_hashed) {
            observable_give(reading, object, member->key, member->text);
        }
    }
    const struct core_json_tree *hashes = core_json_tree_get(object, "hashes");
    bool has_names = hashes != NULL && hashes->kind == CORE_JSON_OBJECT;
    for (const struct core_json_tree *hash = has_names ? hashes->first : NULL; hash != NULL; hash = hash->next) {
        char path[64];
        struct core_buf buf = {.start = path, .pos = path, .end = path + sizeof(path)};
        core_buf_span(&buf, CORE_SPAN("hashes."));
        core_buf_span(&buf, hash->key);
        if (!buf.is_full && hash->kind == CORE_JSON_STRING) {
            observable_give(reading, object, core_buf_written(&buf), hash->text);
        }
    }
}

/* ---- the file -------------------------------------------------------------------------------------------------------------------- */

static void object_read(struct reading *reading, const struct core_json_tree *object) {
    reading->object++;
    if (object->kind != CORE_JSON_OBJECT) {
        return;
    }
    if (core_span_is(core_json_tree_text(object, "type"), "indicator")) {
        indicator_read(reading, object);
    } else {
        observable_read(reading, object);
    }
}

static enum core_err tree_read(struct reading *reading, const struct core_json_tree *tree, const char *path,
                               struct core_fail *fail) {
    const struct core_json_tree *objects = core_json_tree_get(tree, "objects");
    bool is_alone = core_json_tree_text(tree, "type").len > 0 && core_json_tree_text(tree, "id").len > 0;
    bool is_bundle = core_span_is(core_json_tree_text(tree, "type"), "bundle");
    bool is_observed = core_span_is(core_json_tree_text(tree, "type"), "observed-data");
    bool is_envelope =
        core_json_tree_get(tree, "more") != NULL || (tree->kind == CORE_JSON_OBJECT && tree->first == NULL);
    if (objects != NULL && objects->kind == CORE_JSON_ARRAY && !is_observed) {
        for (const struct core_json_tree *one = objects->first; one != NULL; one = one->next) {
            named_add(reading, one);
        }
        for (const struct core_json_tree *one = objects->first; one != NULL && reading->goes_on; one = one->next) {
            object_read(reading, one);
        }
    } else if (is_alone && !is_bundle) {
        object_read(reading, tree);
    } else if (!is_bundle && !is_envelope) { /* these two may be empty */
        return core_fail_set(fail, CORE_BAD, path, "there is no object of STIX 2 in it");
    }
    return reading->goes_on ? CORE_OK : CORE_AGAIN;
}

static enum core_err stix_read(struct core_span text, const char *path, const struct enrich_feed_conf *feed,
                               const struct enrich_read_calls *calls, struct core_fail *fail) {
    struct core_arena tree_arena = {0};
    struct core_json_tree *tree = NULL;
    if (text.len > SOURCE_JSON_BYTES_MAX) {
        return core_fail_set(fail, CORE_LIMIT, path, "it is longer than JSON may be here (256 MiB); split it");
    }
    struct reading *reading = calloc(1, sizeof(*reading));
    MUST(reading != NULL);
    reading->named = calloc(NAMED_MAX, sizeof(*reading->named));
    MUST(reading->named != NULL);
    reading->feed = feed;
    reading->calls = calls;
    reading->is_split = source_option_is(feed, "split");
    reading->wants_observables = source_option_is(feed, "observables");
    reading->goes_on = true;
    enum core_err err =
        core_arena_init(&tree_arena, text.len * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN, fail);
    if (err == CORE_OK) {
        err = core_arena_init(&reading->arena, 2 * text.len + CORE_MIB, fail);
    }
    if (err == CORE_OK) {
        err = core_json_tree_read(&tree_arena, text, &tree, fail);
        if (err == CORE_BAD && fail != NULL) {
            struct core_fail inner = *fail;
            err = core_fail_set(fail, CORE_BAD, path, "it is no JSON: %s", inner.text);
        }
    }
    if (err == CORE_OK) {
        err = tree_read(reading, tree, path, fail);
    }
    core_arena_destroy(&reading->arena);
    core_arena_destroy(&tree_arena);
    free(reading->named);
    free(reading);
    return err;
}

static const struct source_option stix_options[] = {
    {"split", "true: each part of an AND, and what is qualified (REPEATS, WITHIN), counts by itself."},
    {"observables", "true: observables (ipv4-addr, file …) count as indicators, too."},
    {0},
};

const struct source_ops source_stix = {
    .name = "stix",
    .summary = "STIX 2.0 and 2.1 as JSON: a bundle, TAXII's envelope, or an object",
    .options = stix_options,
    .looks = stix_looks,
    .read = stix_read,
    .tells_all = true,
    .counts = "item",
};
