/* core/psl.c: wraps libpsl. The list is read once; looking up neither allocates nor locks for ASCII names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/psl.h"

#include <libpsl.h>
#include <stdlib.h>

struct core_psl {
    psl_ctx_t *own; /* NULL: the compiled one is in use */
    const psl_ctx_t *list;
};

struct core_psl *core_psl_open(void) {
    struct core_psl *psl = calloc(1, sizeof(*psl));
    MUST(psl != NULL);
    psl->own = psl_latest(NULL);
    psl->list = psl->own != NULL ? psl->own : psl_builtin();
    return psl;
}

void core_psl_close(struct core_psl *psl) {
    if (psl != NULL) {
        psl_free(psl->own); /* takes NULL, and the compiled list */
        free(psl);
    }
}

bool core_psl_split(const struct core_psl *psl, const char *name, size_t *suffix_at, size_t *registered_at) {
    const char *suffix = psl->list == NULL ? NULL : psl_unregistrable_domain(psl->list, name);
    if (suffix == NULL || suffix <= name + 1) {
        return false;
    }
    const char *registered = suffix - 1; /* its dot */
    while (registered > name && registered[-1] != '.') {
        registered--;
    }
    *suffix_at = (size_t)(suffix - name);
    *registered_at = (size_t)(registered - name);
    return true;
}
