/* core/indicator.c: the words for kinds of indicators.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/batch.h"

static const char *const words[CORE_INDICATOR__MAX] = {
    [CORE_INDICATOR_NONE] = "",
    [CORE_INDICATOR_IP] = "ip",
    [CORE_INDICATOR_CIDR] = "cidr",
    [CORE_INDICATOR_DOMAIN] = "domain",
    [CORE_INDICATOR_URL] = "url",
    [CORE_INDICATOR_EMAIL] = "email",
    [CORE_INDICATOR_FILE_HASH] = "file_hash",
    [CORE_INDICATOR_CERT_HASH] = "cert_hash",
    [CORE_INDICATOR_PUBKEY_HASH] = "pubkey_hash",
    [CORE_INDICATOR_USER] = "user",
    [CORE_INDICATOR_FILE_NAME] = "file_name",
    [CORE_INDICATOR_SOFTWARE] = "software",
    [CORE_INDICATOR_JA3] = "ja3",
};

const char *core_indicator_word(enum core_indicator type) {
    MUST(type >= CORE_INDICATOR_NONE && type < CORE_INDICATOR__MAX);
    return words[type];
}

enum core_indicator core_indicator_of(struct core_span word) {
    for (int type = CORE_INDICATOR_IP; type < CORE_INDICATOR__MAX; type++) {
        if (core_span_eq(word, (struct core_span){words[type], strlen(words[type])})) {
            return (enum core_indicator)type;
        }
    }
    return CORE_INDICATOR_NONE;
}
