/* enrich/view.c: how the follower hands filter, use and allow-list to the enrich thread, and when an old one may go.
 *
 * The enrich thread writes down which view it holds, then looks whether that is still the current one; the follower puts up
 * the new one, then looks which one is held. Whichever of the two was first, the other sees it (all four are sequentially
 * consistent), so a view that is held is never freed. Neither waits for the other: what is still held stays on a short list
 * and is looked at again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#include <stdlib.h>

const struct view *view_take(struct view_door *door) {
    struct view *view = atomic_load(&door->current);
    for (;
         ;) { /* goes round again only if the follower published just now, which it does at most a few times a second */
        atomic_store(&door->held, view);
        struct view *now = atomic_load(&door->current);
        if (now == view) {
            return view;
        }
        view = now;
    }
}

void view_leave(struct view_door *door) {
    atomic_store(&door->held, NULL);
}

/* What the other view does not use. */
static void view_free(struct view *view, const struct view *other) {
    if (view == NULL) {
        return;
    }
    if (other == NULL || other->filter != view->filter) {
        filter_free(view->filter);
        free(view->use);
    }
    if (other == NULL || other->allow != view->allow) {
        allow_free((struct allow *)view->allow);
    }
    free(view);
}

/* Views share what they have with neighbours only, and go in the order in which they were published: what the next one has,
 * too, lives on. */
void view_sweep(struct view_door *door) {
    const struct view *held = atomic_load(&door->held);
    while (door->retired_len > 0 && door->retired[0] != held) {
        const struct view *next = door->retired_len > 1 ? door->retired[1] : atomic_load(&door->current);
        view_free(door->retired[0], next);
        door->retired_len--;
        memmove(&door->retired[0], &door->retired[1], door->retired_len * sizeof(door->retired[0]));
    }
}

bool view_has_room(const struct view_door *door) {
    return door->retired_len < VIEWS_RETIRED_MAX;
}

void view_publish(struct view_door *door, struct view *view) {
    MUST(view != NULL && view->filter != NULL);
    MUST(view_has_room(door));
    struct view *old = atomic_exchange(&door->current, view);
    if (old != NULL) {
        door->retired[door->retired_len++] = old;
    }
    view_sweep(door);
}

void view_close(struct view_door *door) {
    MUST(atomic_load(&door->held) == NULL);
    view_sweep(door);
    MUST(door->retired_len == 0);
    view_free(atomic_load(&door->current), NULL);
    atomic_store(&door->current, NULL);
}
