/* What a test has started ends with it, also when the test has failed in the middle.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_SUPERVISOR_CHILDREN_H
#define TAPLINE_TESTS_SUPERVISOR_CHILDREN_H

#include <dirent.h>
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

/* Kill and reap all there are, until there are none. (/proc/PID/task/TID/children is not in every kernel.) */
static inline void children_end(void) {
    while (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD) {
        DIR *proc = opendir("/proc");
        const struct dirent *row;
        while (proc != NULL && (row = readdir(proc)) != NULL) {
            char path[300];
            int pid;
            int parent;
            snprintf(path, sizeof path, "/proc/%s/stat", row->d_name);
            FILE *in = fopen(path, "re");
            if (in != NULL && fscanf(in, "%d (%*[^)]) %*c %d", &pid, &parent) == 2 && parent == (int)getpid()) {
                kill(pid, SIGKILL);
            }
            if (in != NULL) {
                fclose(in);
            }
        }
        if (proc != NULL) {
            closedir(proc);
        }
        usleep(1000);
    }
}

#endif
