/* What a test has started ends with it, also when the test has failed in the middle.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_SUPERVISOR_CHILDREN_H
#define TAPLINE_TESTS_SUPERVISOR_CHILDREN_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Before the first: orphans become children of the test. */
static inline int children_adopt(void) {
    return prctl(PR_SET_CHILD_SUBREAPER, 1L);
}

/* Kill and reap all there are, until there are none. */
static inline void children_end(void) {
    for (;;) {
        char path[64];
        int pid;
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
        FILE *in = fopen(path, "re");
        while (in != NULL && fscanf(in, "%d", &pid) == 1) {
            kill(pid, SIGKILL);
        }
        if (in != NULL) {
            fclose(in);
        }
        if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD) {
            return;
        }
    }
}

#endif
