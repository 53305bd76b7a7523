/* cmd/health_read.h: lines of health logs in the order of their times, and those that come.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_HEALTH_READ_H
#define TAPLINE_CMD_HEALTH_READ_H

#include "core/core.h"

struct health_reading;

/* Lines with an earlier @timestamp are left out. Owns: health_reading_free(). */
struct health_reading *health_reading_new(int64_t since_ns);
/* A file, or a directory whose health-*.ndjson are read, also those that come later. */
void health_reading_add(struct health_reading *reading, const char *path);
/* All whole lines that were not read yet, oldest first. on_line: without the newline, valid during the call. */
void health_read(struct health_reading *reading, void (*on_line)(void *ctx, struct core_span line), void *ctx);
size_t health_reading_files(const struct health_reading *reading); /* how many were there */
void health_reading_free(struct health_reading *reading);          /* takes NULL */

#endif
