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

bool core_psl_is_suffix(const struct core_psl *psl, const char *name) {
    return psl->list != NULL && psl_is_public_suffix(psl->list, name) != 0;
}

bool core_psl_suffix(const struct core_psl *psl, const char *name, size_t *suffix_at) {
    const char *suffix = psl->list == NULL ? NULL : psl_unregistrable_domain(psl->list, name);
    *suffix_at = suffix == NULL ? 0 : (size_t)(suffix - name);
    return suffix != NULL;
}
