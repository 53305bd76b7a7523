/* core/otlp_internal.h: between the files of OTLP: otlp.c sends, otlp_trace.c writes spans, otlp_metrics.c writes metrics.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_OTLP_INTERNAL_H
#define TAPLINE_CORE_OTLP_INTERNAL_H

#include "core/health_internal.h"
#include "core/otlp.h"

/* Spans as members of a "spans" array, commas between. */
void otlp_spans_write(struct core_buf *out, const struct core_otlp_span *spans, size_t len);
/* {"key":…,"value":{"stringValue":…}}, as all attributes are. */
void otlp_attribute_write(struct core_buf *out, const char *key, const char *text);
/* {"resource":{…},"scope…":[{"scope":{…}, up to where the array of spans or metrics begins. */
void otlp_head_write(struct core_buf *out, const struct core_health *health, const char *array, const char *scopes,
                     const char *items);
/* A whole request with all metrics that the board has now. */
void otlp_metrics_write(struct core_buf *out, const struct core_health *health);

#endif
