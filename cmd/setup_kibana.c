/* cmd/setup_kibana.c: the dashboards, saved searches and data views of configs/kibana in Kibana 8 or OpenSearch Dashboards, by
 * the saved objects' API.
 *
 * Kibana changes objects as it takes them (it migrates them to its own version), so what is there cannot be compared with
 * what was given. The first dashboard says in its description which version of tapline put it there, and a hash of all that
 * came with it; that is compared, and that no object is missing. What a user has changed since stays until there is something
 * new. Objects are read by _export and written by _import, the two requests that no version has given up.
 *
 * OpenSearch Dashboards forked from Kibana 7.10: it takes objects that do not say which Kibana they are of.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/json_tree.h"
#include "cmd/setup_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_BYTES_MAX (16 * CORE_MIB)
#define LANDING_ID "tapline-start"
#define LANDING_TYPE "dashboard"
#define MARK "[tapline "
#define BOUNDARY "----tapline-saved-objects-7d1f0c5a"
#define KIBANA_MIN 8
#define PREFIX_BYTES_MAX 128
#define PATH_BYTES_MAX 1024

/* The objects: a line of JSON each. */
struct objects {
    char *text; /* with the mark */
    size_t len;
    struct core_arena arena;
    struct core_json_tree **lines;
    size_t lines_len;
    struct core_span description; /* of the landing dashboard, with the mark */
};

struct kibana {
    struct setup *setup;
    struct setup_http http;
    bool is_dashboards; /* OpenSearch's */
    const char *word;
    char prefix[PREFIX_BYTES_MAX]; /* of paths: the space */
    char name[64];                 /* what is told: "375 objects" */
    struct objects objects;
    struct core_span description; /* of the landing dashboard there; len 0: it is not */
    bool is_whole;                /* all objects are there */
};

/* ---- the file --------------------------------------------------------------------------------------------------------------- */

static enum core_err file_read(const char *path, char **text, size_t *len, struct core_fail *fail) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return core_fail_errno(fail, path, "the dashboards cannot be read; are they installed beside the maps?");
    }
    enum core_err err = CORE_OK;
    *text = malloc(FILE_BYTES_MAX);
    MUST(*text != NULL);
    *len = fread(*text, 1, FILE_BYTES_MAX - 1, file);
    if (ferror(file) != 0 || *len == FILE_BYTES_MAX - 1) {
        err = core_fail_set(fail, CORE_IO, path, "cannot be read whole; it may have up to %zu bytes", FILE_BYTES_MAX);
    }
    (*text)[*len] = '\0';
    (void)fclose(file); /* it was only read */
    return err;
}

/* Where in the landing dashboard's line its description ends. NULL: there is none. */
static const char *description_end(const char *text) {
    const char *line = strstr(text, "\"id\":\"" LANDING_ID "\"");
    while (line != NULL && line > text && line[-1] != '\n') {
        line--;
    }
    const char *at = line == NULL ? NULL : strstr(line, "\"description\":\"");
    if (at == NULL || at > line + strcspn(line, "\n")) {
        return NULL;
    }
    for (at += strlen("\"description\":\""); *at != '"' && *at != '\0'; at++) {
        at += *at == '\\' && at[1] != '\0' ? 1 : 0;
    }
    return at;
}

static enum core_err mark_put(struct objects *objects, const char *path, struct core_fail *fail) {
    const char *end = description_end(objects->text);
    char *marked = NULL;
    if (end == NULL) {
        return core_fail_set(fail, CORE_BAD, path,
                             "has no dashboard " LANDING_ID " with a description; it is not the one we made");
    }
    int len = asprintf(&marked, "%.*s " MARK "%s %016llx]%s", (int)(end - objects->text), objects->text,
                       TAPLINE_VERSION, (unsigned long long)core_hash64(objects->text, objects->len, 0), end);
    MUST(len > 0);
    free(objects->text);
    objects->text = marked;
    objects->len = (size_t)len;
    return CORE_OK;
}

static enum core_err lines_read(struct objects *objects, const char *path, struct core_fail *fail) {
    enum core_err err = core_arena_init(&objects->arena, (objects->len + CORE_MIB) * CORE_JSON_TREE_PER_BYTE, fail);
    size_t number = 0;
    for (const char *line = objects->text; err == CORE_OK && *line != '\0';) {
        size_t len = strcspn(line, "\n");
        struct core_fail why = {0};
        objects->lines = realloc(objects->lines, (objects->lines_len + 1) * sizeof(*objects->lines));
        MUST(objects->lines != NULL);
        struct core_json_tree **tree = &objects->lines[objects->lines_len];
        number++;
        if (core_json_tree_read(&objects->arena, (struct core_span){line, len}, tree, &why) != CORE_OK ||
            !core_span_starts(core_json_tree_text(*tree, "id"), CORE_SPAN("tapline-"))) {
            err = core_fail_set(fail, CORE_BAD, path, "line %zu is no saved object of ours: %s", number,
                                why.text[0] == '\0' ? "its id does not begin with tapline-" : why.text);
            break;
        }
        if (core_span_is(core_json_tree_text(*tree, "id"), LANDING_ID)) {
            objects->description = core_json_tree_text(core_json_tree_get(*tree, "attributes"), "description");
        }
        objects->lines_len++;
        line += len + (line[len] == '\n' ? 1 : 0);
    }
    return err;
}

/* Owns: objects_free(), also after an error. */
static enum core_err objects_read(struct objects *objects, const struct normalize_conf *conf, struct core_fail *fail) {
    char path[PATH_MAX];
    const struct normalize_conf filled = cmd_normalize_conf(conf);
    *objects = (struct objects){0};
    int len = snprintf(path, sizeof(path), "%s/kibana/tapline.ndjson", filled.maps);
    if (len > 0 && (size_t)len < sizeof(path) && access(path, F_OK) != 0) { /* a site's own maps come without it */
        len = snprintf(path, sizeof(path), "%s/kibana/tapline.ndjson", cmd_maps_dir());
    }
    MUST(len > 0 && (size_t)len < sizeof(path));
    enum core_err err = file_read(path, &objects->text, &objects->len, fail);
    if (err == CORE_OK) {
        err = mark_put(objects, path, fail);
    }
    return err == CORE_OK ? lines_read(objects, path, fail) : err;
}

static void objects_free(struct objects *objects) {
    free(objects->text);
    free(objects->lines);
    core_arena_destroy(&objects->arena);
}

int setup_kibana_print(void) {
    struct objects objects;
    struct core_fail fail = {0};
    int code = CORE_EXIT_DONE;
    if (objects_read(&objects, NULL, &fail) == CORE_OK) {
        (void)fwrite(objects.text, 1, objects.len, stdout); /* main() looks at the stream's error at the end */
    } else {
        (void)fprintf(stderr, "tapline setup: %s: %s\n", fail.where, fail.text);
        code = CORE_EXIT_SYSTEM;
    }
    objects_free(&objects);
    return code;
}

/* ---- what is there ---------------------------------------------------------------------------------------------------------- */

static enum core_err product_ask(struct kibana *kibana, struct core_fail *fail) {
    struct setup_reply reply;
    enum core_err err = setup_http_ask(&kibana->http, "GET", "/api/status", (struct core_span){0}, &reply, fail);
    if (err != CORE_OK) {
        return err;
    }
    struct core_span number = core_json_tree_text(core_json_tree_get(reply.json, "version"), "number");
    char text[32];
    (void)snprintf(text, sizeof(text), "%.*s", (int)(number.len < 31 ? number.len : 31), number.ptr);
    unsigned long major = strtoul(text, NULL, 10);
    if (number.len == 0) {
        return core_fail_set(fail, CORE_BAD, kibana->http.base,
                             "it does not say its version; is this Kibana, and are the credentials right?");
    }
    kibana->is_dashboards = strncmp(reply.product, "osd-name", strlen("osd-name")) == 0 || major < 6;
    kibana->word = kibana->is_dashboards ? "dashboards" : "kibana";
    if (!kibana->is_dashboards && major < KIBANA_MIN) {
        return core_fail_set(fail, CORE_BAD, kibana->http.base, "this is Kibana %s; tapline needs version %d or newer",
                             text, KIBANA_MIN);
    }
    const char *space = kibana->setup->config->kibana.space;
    bool is_default = strcmp(space, "default") == 0;
    if (kibana->is_dashboards && !is_default) {
        return core_fail_set(fail, CORE_BAD, kibana->http.base,
                             "OpenSearch Dashboards has no spaces: leave kibana.space out");
    }
    (void)snprintf(kibana->prefix, sizeof(kibana->prefix), "%s%s/api/saved_objects", is_default ? "" : "/s/",
                   is_default ? "" : space);
    setup_http_forget(&kibana->http);
    return CORE_OK;
}

static void object_name_print(FILE *out, const struct core_json_tree *object) {
    (void)fprintf(out, "{\"type\":");
    cmd_print_json_string(out, core_json_tree_text(object, "type"));
    (void)fprintf(out, ",\"id\":");
    cmd_print_json_string(out, core_json_tree_text(object, "id"));
    (void)fprintf(out, "}");
}

/* Ask for objects; is_landing: of the first dashboard alone, and its description is taken. Kibana answers with 400 if one of
 * them is not there. */
static enum core_err export_ask(struct kibana *kibana, bool is_landing, bool *is_there, struct core_fail *fail) {
    char path[PATH_BYTES_MAX];
    struct setup_reply reply;
    char *body = NULL;
    size_t body_len = 0;
    FILE *out = open_memstream(&body, &body_len);
    MUST(out != NULL);
    (void)fprintf(out, "{\"objects\":[");
    bool is_first = true;
    for (size_t i = 0; i < kibana->objects.lines_len; i++) {
        const struct core_json_tree *object = kibana->objects.lines[i];
        if (!is_landing || core_span_is(core_json_tree_text(object, "id"), LANDING_ID)) {
            (void)fputs(is_first ? "" : ",", out);
            object_name_print(out, object);
            is_first = false;
        }
    }
    (void)fprintf(out, "],\"includeReferencesDeep\":false,\"excludeExportDetails\":true}");
    MUST(fclose(out) == 0); /* it writes to memory */
    (void)snprintf(path, sizeof(path), "%s/_export", kibana->prefix);
    kibana->http.ignores_bodies = !is_landing; /* a line of JSON an object */
    enum core_err err = setup_http_ask(&kibana->http, "POST", path, (struct core_span){body, body_len}, &reply, fail);
    kibana->http.ignores_bodies = false;
    free(body);
    *is_there = err == CORE_OK;
    if (err == CORE_OK && is_landing) {
        kibana->description = core_json_tree_text(core_json_tree_get(reply.json, "attributes"), "description");
    }
    return reply.status == 400 ? CORE_OK : err;
}

/* The version in a description's mark; 0: it has none. */
static uint64_t mark_version(struct core_span description) {
    const char *at = description.len == 0 ? NULL : strstr(description.ptr, MARK);
    return at == NULL ? 0 : normalize_export_version(at + strlen(MARK));
}

/* ---- what is done ------------------------------------------------------------------------------------------------------------ */

/* The objects as this server takes them. */
static void objects_print(const struct kibana *kibana, FILE *out) {
    if (!kibana->is_dashboards) {
        (void)fwrite(kibana->objects.text, 1, kibana->objects.len, out); /* to memory */
        return;
    }
    for (size_t i = 0; i < kibana->objects.lines_len; i++) {
        const char *before = "{";
        for (const struct core_json_tree *one = kibana->objects.lines[i]->first; one != NULL; one = one->next) {
            if (core_span_is(one->key, "migrationVersion") || core_span_is(one->key, "coreMigrationVersion")) {
                continue;
            }
            (void)fputs(before, out);
            cmd_print_json_string(out, one->key);
            (void)fputs(":", out);
            json_tree_print(out, one);
            before = ",";
        }
        (void)fputs("}\n", out);
    }
}

static enum core_err import_judge(const struct kibana *kibana, const struct core_json_tree *json,
                                  struct core_fail *fail) {
    const struct core_json_tree *success = core_json_tree_get(json, "success");
    if (success != NULL && core_span_is(success->text, "true")) {
        return CORE_OK;
    }
    const struct core_json_tree *errors = core_json_tree_get(json, "errors");
    const struct core_json_tree *first = errors == NULL ? NULL : errors->first;
    const struct core_json_tree *error = core_json_tree_get(first, "error");
    struct core_span id = core_json_tree_text(first, "id");
    struct core_span type = core_json_tree_text(error, "type");
    struct core_span message = core_json_tree_text(error, "message");
    return core_fail_set(fail, CORE_BAD, kibana->http.base, "not all objects were taken; the first: %.*s: %.*s %.*s",
                         (int)id.len, id.ptr, (int)type.len, type.ptr, (int)message.len, message.ptr);
}

static enum core_err import_do(struct kibana *kibana, struct core_fail *fail) {
    char path[PATH_BYTES_MAX];
    struct setup_reply reply;
    char *body = NULL;
    size_t body_len = 0;
    FILE *out = open_memstream(&body, &body_len);
    MUST(out != NULL);
    (void)fprintf(out,
                  "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"tapline.ndjson\"\r\n"
                  "Content-Type: application/ndjson\r\n\r\n");
    objects_print(kibana, out);
    (void)fprintf(out, "\r\n--" BOUNDARY "--\r\n");
    MUST(fclose(out) == 0); /* it writes to memory */
    (void)snprintf(path, sizeof(path), "%s/_import?overwrite=true", kibana->prefix);
    size_t headers_len = kibana->http.headers_len;
    setup_http_header(&kibana->http, "Content-Type", "multipart/form-data; boundary=" BOUNDARY);
    enum core_err err = setup_http_ask(&kibana->http, "POST", path, (struct core_span){body, body_len}, &reply, fail);
    kibana->http.headers_len = headers_len;
    free(body);
    return err == CORE_OK ? import_judge(kibana, reply.json, fail) : err;
}

static enum core_err install(struct kibana *kibana, struct core_fail *fail) {
    const struct setup_thing thing = {kibana->word, "saved objects", kibana->name};
    bool is_there = kibana->description.len > 0;
    uint64_t version = mark_version(kibana->description);
    if (is_there && kibana->is_whole && core_span_eq(kibana->description, kibana->objects.description)) {
        setup_tell(kibana->setup, &thing, SETUP_SAME, NULL);
        return CORE_OK;
    }
    if (version > kibana->setup->version && !kibana->setup->is_forced && kibana->setup->mode == SETUP_INSTALL) {
        return core_fail_set(
            fail, CORE_BAD, kibana->http.base,
            "a newer tapline has put its dashboards there, and this is %s: nothing is changed; use that "
            "version, or --force",
            TAPLINE_VERSION);
    }
    enum core_err err = kibana->setup->mode == SETUP_INSTALL ? import_do(kibana, fail) : CORE_OK;
    if (err == CORE_OK) {
        setup_tell(kibana->setup, &thing, setup_result_of(kibana->setup, is_there, version < kibana->setup->version),
                   is_there && !kibana->is_whole ? "some were missing" : NULL);
    }
    return err;
}

static enum core_err remove_all(struct kibana *kibana, struct core_fail *fail) {
    const struct setup_thing thing = {kibana->word, "saved objects", kibana->name};
    if (kibana->description.len == 0) {
        return CORE_OK;
    }
    if (mark_version(kibana->description) == 0) {
        setup_tell(kibana->setup, &thing, SETUP_LEFT, "the dashboard " LANDING_ID " does not say that tapline made it");
        return CORE_OK;
    }
    for (size_t i = 0; i < kibana->objects.lines_len; i++) {
        char path[PATH_BYTES_MAX];
        struct setup_reply reply;
        struct core_span type = core_json_tree_text(kibana->objects.lines[i], "type");
        struct core_span id = core_json_tree_text(kibana->objects.lines[i], "id");
        (void)snprintf(path, sizeof(path), "%s/%.*s/%.*s%s", kibana->prefix, (int)type.len, type.ptr, (int)id.len,
                       id.ptr, kibana->is_dashboards ? "" : "?force=true");
        enum core_err err = setup_http_ask(&kibana->http, "DELETE", path, (struct core_span){0}, &reply, fail);
        if (err != CORE_OK && reply.status != 404) {
            return err;
        }
        setup_http_forget(&kibana->http);
    }
    setup_tell(kibana->setup, &thing, SETUP_REMOVED, NULL);
    return CORE_OK;
}

/* Returns the header's value for these credentials, or NULL. Owns: free(). */
static char *credentials_set(struct kibana *kibana) {
    const struct kibana_conf *conf = &kibana->setup->config->kibana;
    char *value = conf->api_key != NULL    ? setup_http_api_key(conf->api_key)
                  : conf->username != NULL ? setup_http_basic(conf->username, conf->password)
                                           : NULL;
    if (value != NULL) {
        setup_http_header(&kibana->http, "Authorization", value);
    }
    kibana->http.secret = conf->api_key != NULL ? conf->api_key : conf->password;
    return value;
}

void setup_kibana(struct setup *setup) {
    const struct kibana_conf *conf = &setup->config->kibana;
    struct kibana kibana = {.setup = setup, .word = "kibana"};
    struct core_fail fail = {0};
    kibana.http = (struct setup_http){.base = conf->url,
                                      .ca_file = conf->ca_file,
                                      .cert_file = conf->cert_file,
                                      .key_file = conf->key_file,
                                      .timeout_ms = (int)(conf->timeout_ns / CORE_NS_PER_MS)};
    setup_http_open(&kibana.http);
    setup_http_header(&kibana.http, "kbn-xsrf", "tapline");
    setup_http_header(&kibana.http, "osd-xsrf", "tapline");
    char *authorization = credentials_set(&kibana);
    enum core_err err = objects_read(&kibana.objects, &setup->config->normalize, &fail);
    (void)snprintf(kibana.name, sizeof(kibana.name), "tapline-* (%zu)", kibana.objects.lines_len);
    bool is_there = false;
    if (err == CORE_OK) {
        err = product_ask(&kibana, &fail);
    }
    if (err == CORE_OK) {
        err = export_ask(&kibana, true, &is_there, &fail);
    }
    if (err == CORE_OK && is_there && setup->mode != SETUP_REMOVE) {
        err = export_ask(&kibana, false, &kibana.is_whole, &fail);
    }
    if (err == CORE_OK) {
        err = (setup->mode == SETUP_REMOVE ? remove_all : install)(&kibana, &fail);
    }
    if (err != CORE_OK) {
        setup_tell_failed(setup, &(struct setup_thing){kibana.word, "saved objects", "tapline-*"}, &fail);
    }
    objects_free(&kibana.objects);
    setup_http_close(&kibana.http);
    free(authorization);
}
