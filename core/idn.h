/* core/idn.h: host names with letters outside ASCII, as DNS asks for them ("xn--…"). By libidn2.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_IDN_H
#define TAPLINE_CORE_IDN_H

#include "core/core.h"

#define CORE_IDN_BYTES_MAX 1024 /* of a name in UTF-8; 253 characters need no more */

/* Write the name in ASCII, in lower case: UTS #46, non-transitional, as browsers do.
 * Shape: name is UTF-8; out gets *len bytes, no NUL. libidn2 allocates during the call.
 * Errors: false: no UTF-8, no such name, or longer than out_max or CORE_IDN_BYTES_MAX. Thread: any.
 * Source: RFC 5891, UTS #46. */
CORE_CHECKED bool core_idn_ascii(struct core_span name, char *out, size_t out_max, size_t *len);

#endif
