/* core/zone.h: civil time of a time zone to UTC, by the system's zone files.
 *
 * What a clock shows is not always one instant: in the hour that comes twice, the first of the two is meant (the one
 * before the clock went back); an hour that is skipped is read as if the clock had not been put forward yet, so 02:30
 * becomes what the clock showed as 03:30. A zone whose rules change twice within three days is not told apart there.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_ZONE_H
#define TAPLINE_CORE_ZONE_H

#include "core/core.h"

struct core_zone;

/* name: as the IANA database has it (America/Chicago, UTC, Etc/GMT-2).
 * Owns:    core_zone_close(zone).
 * Errors:  CORE_BAD there is no such zone on this system; nothing is allocated then.
 * Thread:  any; an open zone belongs to one thread, because it remembers where it looked last.
 * Source:  tzfile(5) through GLib's GTimeZone. */
CORE_CHECKED enum core_err core_zone_open(struct core_zone **out, const char *name, struct core_fail *fail);
void core_zone_close(struct core_zone *zone); /* takes NULL */

/* The instant at which the zone's clocks show this.
 * Units:   both ns; local_ns counts as if the date and time were UTC. Stamps of the same day cost no look-up. */
int64_t core_zone_to_utc(struct core_zone *zone, int64_t local_ns);

#endif
