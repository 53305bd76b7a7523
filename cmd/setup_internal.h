/* cmd/setup_internal.h: what the parts of `tapline setup` share: the run and what is told of each thing (setup.c), questions
 * to servers that speak HTTP and JSON (setup_http.c), and the parts: Kafka's topics (setup_kafka.c), the search engine's
 * templates (setup_engine.c) and life-cycle (setup_life.c), Kibana's objects (setup_kibana.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_SETUP_INTERNAL_H
#define TAPLINE_CMD_SETUP_INTERNAL_H

#include "cmd/cmd.h"
#include "cmd/config.h"
#include "core/http.h"
#include "core/json_tree.h"

enum setup_mode { SETUP_INSTALL, SETUP_CHECK, SETUP_REMOVE };

/* What came of a thing. */
enum setup_result {
    SETUP_SAME,     /* it is there, as it should be */
    SETUP_CREATED,  /* it was not there */
    SETUP_UPGRADED, /* an older version was there */
    SETUP_CHANGED,  /* the same version was there, with other content */
    SETUP_REMOVED,
    SETUP_MISSING, /* --check: it is not there */
    SETUP_DIFFERS, /* --check: it is there, and not as it should be */
    SETUP_LEFT,    /* it is not as it should be, or not wanted, and a person has to decide */
    SETUP_SKIPPED, /* this server has no such thing */
    SETUP_FAILED,
    SETUP_RESULT__MAX
};

/* One command at work. */
struct setup {
    const struct cmd *cmd;
    struct cmd_args args;
    struct config *config;
    struct normalize_maps *maps;
    enum setup_mode mode;
    bool is_json;
    bool is_forced;
    uint64_t version; /* ours, as templates carry it */
    size_t counts[SETUP_RESULT__MAX];
    int exit_code; /* of what failed so far */
};

/* Something that is set up. Texts live during the call. */
struct setup_thing {
    const char *part; /* "kafka", "elasticsearch", "opensearch", "kibana", "dashboards" */
    const char *kind; /* "topic", "index template" … */
    const char *name;
};

/* Tell what came of a thing on stdout; why may be NULL. */
void setup_tell(struct setup *setup, const struct setup_thing *thing, enum setup_result result, const char *why);
/* The same of one that failed; the exit code follows from fail->err. */
void setup_tell_failed(struct setup *setup, const struct setup_thing *thing, const struct core_fail *fail);
/* What --check says, and an installation does, of a thing that is not as it should be. */
enum setup_result setup_result_of(const struct setup *setup, bool is_there, bool is_older);

/* ---- HTTP (setup_http.c) ------------------------------------------------------------------------------------------------- */

#define SETUP_ANSWER_BYTES_MAX (8 * CORE_MIB) /* all our templates have half a MiB */
#define SETUP_HEADERS_MAX 8

/* One server. Texts are the caller's. */
struct setup_http {
    const char *base; /* "https://es:9200/path", without a / at its end is not required */
    struct core_http_header headers[SETUP_HEADERS_MAX];
    size_t headers_len;
    const char *secret;
    const char *ca_file;
    const char *cert_file;
    const char *key_file;
    int timeout_ms;
    bool ignores_bodies; /* only the status is of interest */
    struct core_http_session *session;
    struct core_arena arena; /* of answers, until setup_http_forget() */
};

struct setup_reply {
    int status;                        /* 0: none came */
    const struct core_json_tree *json; /* NULL: the answer is no JSON, or an error's; in the arena */
    char product[64];                  /* of X-Elastic-Product, kbn-name or osd-name: "NAME: value"; "" */
};

void setup_http_open(struct setup_http *http);
void setup_http_close(struct setup_http *http);
void setup_http_forget(struct setup_http *http);
void setup_http_header(struct setup_http *http, const char *name, const char *value);
/* Ask, body NULL: none; it is JSON unless the header Content-Type was given. Errors: as core_http_send(), with status if an
 * answer came; CORE_BAD it is no JSON. */
CORE_CHECKED enum core_err setup_http_ask(struct setup_http *http, const char *method, const char *path,
                                          struct core_span body, struct setup_reply *reply, struct core_fail *fail);
/* "Basic …" for a user and a password. Owns: free(). */
char *setup_http_basic(const char *username, const char *password);
/* "ApiKey …". Owns: free(). */
char *setup_http_api_key(const char *api_key);

/* ---- parts ---------------------------------------------------------------------------------------------------------------- */

#define SETUP_OWNER NORMALIZE_EXPORT_OWNER

enum setup_product { SETUP_ELASTICSEARCH, SETUP_OPENSEARCH };

/* The search engine that is spoken to. */
struct setup_engine {
    struct setup_http http;
    enum setup_product product;
    const char *word; /* "elasticsearch", "opensearch" */
    bool is_data_stream;
    const void *sink_conf;
};

/* Which policies remove indices; names as templates carry them, NULL: none does. */
struct setup_policies {
    const char *day;
    const char *month;
};

void setup_kafka(struct setup *setup);
void setup_engine(struct setup *setup);
void setup_kibana(struct setup *setup);
/* The life-cycle, before the templates that name it; or, to remove, behind them. Returns false if it failed, said. */
bool setup_life(struct setup *setup, struct setup_engine *engine, struct setup_policies *out);
/* Has the dataset's index a day? Behind setup_engine.sink_conf. */
bool setup_is_daily(void *sink_conf, const char *dataset);
/* configs/kibana's objects on stdout. Returns the exit code. */
int setup_kibana_print(void);

#endif
