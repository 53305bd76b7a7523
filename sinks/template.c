/* sinks/template.c: names of topics and files with %{event.dataset} in them.
 *
 * A dataset can come out of a log's own header, so it is data, not trusted: whatever could leave a folder, or is no legal
 * character of a Kafka topic, becomes '_'.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/sinks_internal.h"

#define VARIABLE "%{event.dataset}"
#define VARIABLE_LEN (sizeof VARIABLE - 1)

bool sink_template_check(const char *text, const char **wrong) {
    MUST(text != NULL);
    for (const char *at = strstr(text, "%{"); at != NULL; at = strstr(at + 1, "%{")) {
        if (strncmp(at, VARIABLE, VARIABLE_LEN) != 0) {
            *wrong = at;
            return false;
        }
    }
    return true;
}

bool sink_template_has_dataset(const char *text) {
    MUST(text != NULL);
    return strstr(text, VARIABLE) != NULL;
}

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

bool sink_template_expand(const char *text, const char *dataset, char *out, size_t out_len) {
    MUST(dataset != NULL);
    MUST(out_len > 0);
    size_t at = 0;
    while (*text != '\0' && at < out_len - 1) {
        if (strncmp(text, VARIABLE, VARIABLE_LEN) != 0) {
            out[at++] = *text++;
            continue;
        }
        const char *from = dataset;
        for (; *from != '\0' && at < out_len - 1; from++) {
            bool is_legal = is_name_char(*from) && !(*from == '.' && from == dataset);
            out[at++] = is_legal ? *from : '_';
        }
        if (*from != '\0') {
            break;
        }
        text += VARIABLE_LEN;
    }
    out[at] = '\0';
    return *text == '\0';
}

/* A variable stands for one legal character or more. */
bool sink_topic_fits(const char *template_text, const char *name) {
    MUST(template_text != NULL && name != NULL);
    if (*template_text == '\0') {
        return *name == '\0';
    }
    if (strncmp(template_text, VARIABLE, VARIABLE_LEN) != 0) {
        return *template_text == *name && sink_topic_fits(template_text + 1, name + 1);
    }
    for (; *name != '\0' && is_name_char(*name); name++) {
        if (sink_topic_fits(template_text + VARIABLE_LEN, name + 1)) {
            return true;
        }
    }
    return false;
}
