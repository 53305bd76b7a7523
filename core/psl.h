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

/* Is the name a public suffix itself? All rules of the list count, those of companies too ("github.io"); a name that none
 * fits has its last label as its suffix.
 * Shape: name is NUL-terminated, in lower case, without a dot at either end. */
CORE_CHECKED bool core_psl_is_suffix(const struct core_psl *psl, const char *name);
/* Where the name's suffix begins: that of "a.b.example.co.uk" is "co.uk", and the name registered below it "example.co.uk".
 * The suffix of a name that is none itself is that of what stands behind its first dot.
 * Shape: as above; *suffix_at is bytes from the name's start. Errors: false: it has none. */
CORE_CHECKED bool core_psl_suffix(const struct core_psl *psl, const char *name, size_t *suffix_at);

#endif
