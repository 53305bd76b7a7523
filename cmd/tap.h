/* cmd/tap.h: what `tapline tap` (cmd/tap.c) and the pipeline that is watched (cmd/pipeline_tap.c) agree on: the stages' names and
 * what --match says.
 *
 * Control socket, method tap: {"stage":"event","dataset":"zeek.dns","match":["source.ip=10.0.0.1"],"rate":100,"count":10}; all but
 * stage may be left out. Progress, one for each thing shown:
 *   {"dataset":"zeek.dns","path":"/logs/dns.log","text":"…"}   text: the line, or the document's or record's JSON; "is_cut":true
 *                                                              if it is only the line's head
 *   {"left":N,"too_long":N}                                    each second in which it changed: how many fitted and were not
 *                                                              shown, all in all
 * The result comes when `count` were shown, or the process ends: {"shown":N,"left":N,"too_long":N}.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_TAP_H
#define TAPLINE_CMD_TAP_H

#include "core/json_tree.h"

#define TAP_MATCHES_MAX 16
#define TAP_RATE_DEFAULT 100
#define TAP_RATE_MAX 100000
#define TAP_TEXT_BYTES_MAX (128 * CORE_KIB) /* a longer line is cut; a longer document is counted and not shown */

enum tap_stage { TAP_RAW, TAP_RECORD, TAP_EVENT, TAP_ENRICHED, TAP_SENT, TAP_DEAD, TAP_STAGE__MAX };
extern const char *const tap_stages[TAP_STAGE__MAX];
CORE_CHECKED bool tap_stage_of(struct core_span word, enum tap_stage *out);

/* "source.ip=10.0.0.1": the member of that dotted name is this text, number or truth value, or a list that holds it. Of a raw
 * line: any text that stands in it. */
struct tap_match {
    char *text;             /* as it was given, NUL-terminated */
    struct core_span field; /* empty: of a raw line */
    struct core_span value;
    bool is_plain; /* the value stands in any JSON text as it is here: no need to look into one that does not hold it */
};
/* Read what was given. Owns: tap_match_free(). Errors: false, and why. */
CORE_CHECKED bool tap_match_read(struct tap_match *match, struct core_span text, enum tap_stage stage,
                                 struct core_fail *fail);
void tap_match_free(struct tap_match *match); /* takes a zeroed one */

/* Could it fit a text that these bytes are, or were made of? is_binary: nothing can be told from them. */
bool tap_match_may_fit(const struct tap_match *match, struct core_span bytes, bool is_binary);
/* Does it fit this document? */
bool tap_match_fits(const struct tap_match *match, const struct core_json_tree *document);

#endif
