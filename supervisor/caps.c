/* supervisor/caps.c: capabilities of processes, over libcap.
 *
 * A process whose spec names capabilities, or a user, has what the spec names and can never get more: all others leave its
 * bounding set, which no setuid program and no file capability gets around. What it has is ambient, so it is still there
 * after exec of a program that knows nothing of capabilities: Zeek as an unprivileged user with CAP_NET_RAW.
 *
 * no_new_privs is not set, on purpose. It would add that a setuid program runs as its caller; but Zeek's notices go out through
 * sendmail, which is setgid on most systems, and a Supervisor that is not root lives of the capabilities of Zeek's file.
 *
 * A Supervisor that has not itself what is asked for may still start a program whose file has it (setcap); then the kernel
 * gives it at exec, and nothing is done here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <errno.h>
#include <sys/capability.h>
#include <sys/prctl.h>

/* Those in the flag's set of caps, as a mask. */
static uint64_t mask_of(cap_t caps, cap_flag_t flag) {
    uint64_t mask = 0;
    for (int cap = 0; caps != NULL && cap < cap_max_bits(); cap++) {
        cap_flag_value_t is_set = CAP_CLEAR;
        if (cap_get_flag(caps, cap, flag, &is_set) == 0 && is_set == CAP_SET) {
            mask |= UINT64_C(1) << cap;
        }
    }
    return mask;
}

static uint64_t own_mask(cap_flag_t flag) {
    cap_t caps = cap_get_proc();
    uint64_t mask = mask_of(caps, flag);
    cap_free(caps);
    return mask;
}

static uint64_t file_mask(const char *program) {
    cap_t caps = cap_get_file(program);
    uint64_t mask = mask_of(caps, CAP_PERMITTED);
    if (caps != NULL) {
        cap_free(caps);
    }
    return mask;
}

enum core_err supervisor_caps_wanted(const struct supervisor_spec *spec, const char *program, uint64_t *mask,
                                     bool *is_kept, struct core_fail *fail) {
    MUST(spec != NULL);
    *mask = 0;
    *is_kept = spec->capabilities == NULL && spec->user == NULL;
    if (spec->capabilities == NULL) {
        return CORE_OK;
    }
    uint64_t had = own_mask(CAP_PERMITTED);
    uint64_t of_file = (had & UINT64_C(1) << CAP_SETFCAP) != 0 ? 0 : file_mask(program); /* root needs no file's */
    for (size_t i = 0; spec->capabilities[i] != NULL; i++) {
        const char *name = spec->capabilities[i];
        cap_value_t cap;
        if (cap_from_name(name, &cap) != 0 || cap < 0 || cap >= cap_max_bits()) {
            return core_fail_set(
                fail, CORE_BAD, spec->name,
                "there is no capability \"%s\" here; they are named as in capabilities(7), e.g. cap_net_raw", name);
        }
        if (((had | of_file) & UINT64_C(1) << cap) == 0) {
            return core_fail_set(
                fail, CORE_BAD, spec->name,
                "cannot give it %s: the Supervisor has not got it itself. Run the Supervisor as root, give "
                "it the capability (AmbientCapabilities= of its unit), or give it to the program's file: "
                "setcap %s+eip %s",
                name, name, program);
        }
        *mask |= UINT64_C(1) << cap;
    }
    return CORE_OK;
}

bool supervisor_caps_bound(uint64_t mask) {
    if ((own_mask(CAP_EFFECTIVE) & UINT64_C(1) << CAP_SETPCAP) == 0) {
        return true; /* not ours to reduce; who has nothing gives nothing */
    }
    for (int cap = 0; cap < cap_max_bits(); cap++) {
        if ((mask & UINT64_C(1) << cap) == 0 && cap_get_bound(cap) == 1 && cap_drop_bound(cap) != 0) {
            return false;
        }
    }
    return true;
}

bool supervisor_caps_take(uint64_t mask) {
    static const cap_flag_t flags[] = {CAP_PERMITTED, CAP_EFFECTIVE, CAP_INHERITABLE};
    mask &= own_mask(CAP_PERMITTED);
    cap_t caps = cap_init();
    if (caps == NULL) {
        return false;
    }
    bool is_done = cap_reset_ambient() == 0;
    for (int cap = 0; is_done && cap < cap_max_bits(); cap++) {
        for (size_t i = 0; (mask & UINT64_C(1) << cap) != 0 && i < sizeof flags / sizeof flags[0]; i++) {
            is_done = cap_set_flag(caps, flags[i], 1, &cap, CAP_SET) == 0 && is_done;
        }
    }
    is_done = is_done && cap_set_proc(caps) == 0;
    for (int cap = 0; is_done && cap < cap_max_bits(); cap++) {
        is_done = (mask & UINT64_C(1) << cap) == 0 || cap_set_ambient(cap, CAP_SET) == 0;
    }
    int number = errno;
    cap_free(caps);
    errno = number;
    return is_done;
}
