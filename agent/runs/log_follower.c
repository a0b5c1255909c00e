/* SPDX-License-Identifier: MIT */
/* log_follower - a growing log of a live run, in pieces; see log_follower.h */
#include "runs/log_follower.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/collect.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "runs/run_manager.h"
#include "runs/watch.h"

struct log_follower {
	struct log_follower_options options;
	char *name;
	int dirfd; /* the run directory; its name may go, what we hold stays */
	int fd;    /* negative until the log is there */
	bool over; /* the run's end is durable */
	struct run_waiter waiter;
	struct watch_item *item; /* armed: there was nothing to read */
};

static void on_run_changed(struct run_waiter *waiter, bool over)
{
	struct log_follower *follower = container_of(waiter, struct log_follower, waiter);

	follower->over |= over;
	follower->options.wake(follower->options.data);
}

static void on_file_changed(void *data, const struct inotify_event *event)
{
	struct log_follower *follower = data;

	(void)event;
	follower->item = NULL; /* it was for one time */
	follower->options.wake(follower->options.data);
}

static int open_log(struct log_follower *follower)
{
	if (follower->fd >= 0)
		return 0;
	return collect_open_live(&(struct collect_options){ .run_dirfd = follower->dirfd },
		follower->name, &follower->fd);
}

/* The run may have emptied it. What it has printed past the offset by now looks like all the rest:
 * that is not noticed, nor does `tail -F`. */
static int check_size(const struct log_follower *follower)
{
	struct stat st = { 0 };

	if (follower->fd >= 0 && fstat(follower->fd, &st) < 0)
		return -errno;
	return (uint64_t)st.st_size < follower->options.offset ? -ERANGE : 0;
}

int log_follower_open(const struct log_follower_options *options, struct log_follower **ret)
{
	struct log_follower *follower = NEW(struct log_follower);
	int r;

	follower->options = *options;
	follower->name = mem_strdup(options->name);
	follower->fd = options->fd;
	follower->dirfd = run_manager_open_dir(options->manager, options->run_id);
	r = follower->dirfd < 0 ? follower->dirfd : 0;
	if (r >= 0)
		r = open_log(follower);
	/* The run's own log comes when it starts; any other is there or is not. */
	if (r == -ENOENT && follower->dirfd >= 0 && !strcmp(options->name, RUN_LOG_ARTIFACT))
		r = 0;
	if (r >= 0)
		r = check_size(follower);
	if (r >= 0)
		r = run_waiter_start(
			options->manager, options->run_id, &follower->waiter, on_run_changed);
	if (r < 0) {
		log_follower_close(follower);
		return r;
	}
	*ret = follower;
	return 0;
}

static ssize_t read_piece(struct log_follower *follower, char *to, size_t size)
{
	ssize_t n;
	int r = open_log(follower);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	do
		n = pread(follower->fd, to, size, (off_t)follower->options.offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	follower->options.offset += (uint64_t)n;
	return n ? n : check_size(follower);
}

/* By way of the descriptor: the watch is on this very file, whatever its name is now. */
static int arm(struct log_follower *follower)
{
	char path[32];

	if (follower->item || follower->fd < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", follower->fd);
	return watch_add(follower->options.watch, path, IN_MODIFY | IN_ONESHOT, on_file_changed,
		follower, &follower->item);
}

ssize_t log_follower_read(struct log_follower *follower, char *to, size_t size)
{
	/* Asked first: all that was written before the end is then seen by the read after it. */
	bool last = follower->over || !follower->options.follow;
	ssize_t n = read_piece(follower, to, size);
	int r;

	if (n || last)
		return n;
	r = arm(follower);
	if (r < 0)
		return r;
	/* What came between the read and the watch has woken nobody. */
	n = read_piece(follower, to, size);
	return n ? n : -EAGAIN;
}

void log_follower_close(struct log_follower *follower)
{
	run_waiter_stop(&follower->waiter);
	if (follower->item)
		watch_remove(follower->options.watch, follower->item);
	fd_close(follower->fd);
	fd_close(follower->dirfd);
	free(follower->name);
	free(follower);
}
