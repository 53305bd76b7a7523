/* core/psl.h: the public suffix list (publicsuffix.org): where a registered name begins in a host name. By libpsl.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_PSL_H
#define TAPLINE_CORE_PSL_H

#include "core/core.h"

struct core_psl;

/* The newer of the system's list and the one compiled into libpsl.
 * Owns: core_psl_close(). Never fails: there is always the compiled one.
 * Thread: any; the list is read-only then. */
struct core_psl *core_psl_open(void);
void core_psl_close(struct core_psl *psl); /* takes NULL */

/* Where the parts of a name begin: "a.b.example.co.uk" has its suffix at "co.uk" and its registered name at
 * "example.co.uk". All rules of the list count, those of companies too ("github.io"); a name that none fits has its last
 * label as its suffix.
 * Shape: name is NUL-terminated, in lower case, without a dot at either end. Positions are bytes from its start.
 * Errors: false: it is a public suffix itself, or nobody could register below it. */
CORE_CHECKED bool core_psl_split(const struct core_psl *psl, const char *name, size_t *suffix_at,
                                 size_t *registered_at);

#endif
