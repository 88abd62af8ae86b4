/* assert_stops(statement): it ends the process, as a CHECK does that fails. Tried in a child whose last words nobody
 * hears. */
#ifndef TESTS_UNIT_STOPS_H
#define TESTS_UNIT_STOPS_H

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static inline bool child_stopped(pid_t child) {
    int status;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

#define assert_stops(statement)                                              \
    do {                                                                     \
        fflush(NULL);                                                        \
        pid_t child_ = fork();                                               \
        if (child_ == 0) {                                                   \
            fclose(stderr);                                                  \
            signal(SIGABRT, SIG_DFL);                                        \
            statement;                                                       \
            _exit(0);                                                        \
        }                                                                    \
        if (!child_stopped(child_)) fail_msg("%s goes through", #statement); \
    } while (0)

#endif
