/* SPDX-License-Identifier: MIT */
/* state_lock - one daemon per state folder; see state_lock.h */
#include "state_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "ending.h"

#define LOCK_NAME "lock"
/* A daemon that was killed a moment ago may have had a child between fork and exec, which holds the
 * lock a little longer. */
#define WAIT_MS 1000
/* Of one that ends: all the time that it has, and that moment. */
#define WAIT_ENDING_MS (ENDING_SECONDS * 1000 + WAIT_MS)
#define PAUSE_MS 20

/* Of the holder's record lock. */
#define SERVES F_RDLCK
#define ENDS F_WRLCK

static void say_of_us(int fd, short what)
{
	struct flock lock = { .l_type = what, .l_whence = SEEK_SET, .l_len = 1 };

	/* Whoever cannot read it waits for a moment, as if we served. */
	(void)fcntl(fd, F_SETLK, &lock);
}

/* What the holder says: l_type F_UNLCK is nothing; l_pid 0: it is not to be seen from here. */
static struct flock ask_holder(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };

	if (fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		lock = (struct flock){ .l_type = F_UNLCK };
	return lock;
}

static bool await(int fd, struct flock *holder)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000 };

	for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += PAUSE_MS) {
		bool ends;

		*holder = ask_holder(fd);
		ends = holder->l_type == ENDS;
		if (waited >= (ends ? WAIT_ENDING_MS : WAIT_MS))
			return false;
		if (ends && waited == WAIT_MS)
			log_info("waiting for the end of amlagentd (pid %d), which has this state "
				 "folder still",
				(int)holder->l_pid);
		nanosleep(&pause, NULL);
	}
	return true;
}

static int used(const char *dir, const struct flock *holder, struct error *err)
{
	if (!holder->l_pid)
		return error_set(
			err, -EBUSY, dir, "another amlagentd uses the state folder %s", dir);
	return error_set(err, -EBUSY, dir, "another amlagentd (pid %d) uses the state folder %s",
		(int)holder->l_pid, dir);
}

bool state_lock_is_held(const char *state_dir)
{
	_cleanup_(freep) char *path = path_join(state_dir, LOCK_NAME);
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

int state_lock_take(const char *state_dir, struct error *err)
{
	_cleanup_(freep) char *path = path_join(state_dir, LOCK_NAME);
	_cleanup_(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct flock holder = { .l_type = F_UNLCK };

	if (fd < 0)
		return error_errno(err, -errno, path, "cannot open %s", path);
	if (!await(fd, &holder))
		return used(state_dir, &holder, err);
	say_of_us(fd, SERVES);
	return TAKE_FD(fd);
}

void state_lock_ending(int fd)
{
	say_of_us(fd, ENDS);
}
