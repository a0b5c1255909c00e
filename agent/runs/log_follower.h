/* SPDX-License-Identifier: MIT */
/*
 * log_follower - a growing log of a live run, in pieces, to its end
 *
 * Reads the file that the run itself writes; nothing passes through the daemon before it is asked
 * for. log_follower_read() gives bytes while there are some; at the file's end it gives -EAGAIN and
 * arms a one-shot watch: `wake` is called when there may be more. Once the run's end is durable and
 * the last byte was read it gives 0. A log that is not there yet is waited for.
 *
 * Threads: the loop's. Errors: -ENOENT when the run is not live or the name is not a log's; -ERANGE,
 * when it is opened or later, when the log is shorter than the offset: it was truncated.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct log_follower;
struct run_manager;
struct watch;

struct log_follower_options {
	struct run_manager *manager;
	struct watch *watch;
	const char *run_id;
	const char *name; /* below logs/ or user_logs/ */
	/* The log, open already; taken over, also by a failure. Negative: it is opened by its name, in
	 * folders that nobody else could have made (capture/collect.h). */
	int fd;
	uint64_t offset;
	bool follow; /* else what is there now */
	void (*wake)(void *data);
	void *data;
};

int log_follower_open(const struct log_follower_options *options, struct log_follower **ret);
ssize_t log_follower_read(struct log_follower *follower, char *to, size_t size);
void log_follower_close(struct log_follower *follower);
