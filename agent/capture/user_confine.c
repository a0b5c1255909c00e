/* SPDX-License-Identifier: MIT */
/* user_confine - become a user, and nothing of it stays; see user_confine.h */
#include "capture/user_confine.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "common/cleanup.h"
#include "common/file.h"

/* Where memory is wanting it is not the daemon that has to go. */
#define OOM_SCORE_ADJ "500"
#define EXIT_NOT_CONFINED 1

static void offer_to_the_oom_killer(void)
{
	_cleanup_(closep) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)file_write_all(fd, OOM_SCORE_ADJ, sizeof(OOM_SCORE_ADJ) - 1);
}

int user_confine_wait(pid_t child)
{
	siginfo_t info;

	do {
		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED) < 0 && errno != EINTR)
			return EXIT_NOT_CONFINED;
	} while (info.si_pid != child);
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

int user_die_with_parent(void)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? -errno : 0;
}

/* Who should have told us of his end by then may have ended before: his end of the pipe tells. */
static int become(const struct identity *as, int alive_fd)
{
	char byte;
	int r = identity_assume(as);

	if (r >= 0)
		r = user_die_with_parent();
	if (r < 0)
		return r;
	if (fcntl(alive_fd, F_SETFL, O_NONBLOCK) < 0 || read(alive_fd, &byte, 1) == 0)
		return -ESRCH;
	return 0;
}

int user_confine(const struct identity *as)
{
	_cleanup_(closep) int alive_fd = -EBADF;
	int ends[2];
	pid_t pid;

	(void)user_die_with_parent();
	offer_to_the_oom_killer();
	if (unshare(CLONE_NEWPID) < 0) {
		int r = identity_assume(as);

		return r < 0 ? r : user_die_with_parent();
	}
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	alive_fd = ends[0];
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		return become(as, alive_fd);
	}
	if (pid < 0)
		return -errno;
	_exit(user_confine_wait(pid));
}
