/* SPDX-License-Identifier: MIT */
/* cmd_snapshot - amlctl snapshot: the source folder as it was when a run was submitted */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/record.h"
#include "common/file.h"
#include "common/mem.h"

struct snapshot_options {
	const char *folder;
};

static const struct option_spec options_table[] = {
	{ 'o', "output", "DIR", "a new or empty folder (default: one named like the run)",
		option_text, offsetof(struct snapshot_options, folder) },
};

static bool is_empty(DIR *dir)
{
	const struct dirent *entry;

	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			return false;
	return true;
}

/* *ret_new: it was not there before. */
static int prepare_folder(struct cli *cli, const char *folder, bool *ret_new)
{
	_cleanup_(closedirp) DIR *dir = opendir(folder);
	int r;

	*ret_new = !dir && errno == ENOENT;
	if (!dir && errno != ENOENT)
		return error_errno(&cli->err, -errno, folder, "cannot use the folder %s", folder);
	if (dir && !is_empty(dir))
		return error_set(&cli->err, -EEXIST, folder,
			"%s is not empty; name a new or empty folder with -o", folder);
	r = dir ? 0 : dir_make(folder, 0777);
	return r < 0 ? error_errno(&cli->err, r, folder, "cannot make the folder %s", folder) : 0;
}

/* What a failure leaves is nothing: the folder goes, or is empty again when it was there before. */
static void undo(const char *folder, bool was_new)
{
	_cleanup_(closedirp) DIR *dir = was_new ? NULL : opendir(folder);
	const struct dirent *entry;

	if (was_new)
		tree_remove(AT_FDCWD, folder);
	while (dir && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			tree_remove(dirfd(dir), entry->d_name);
}

static int start_tar(struct cli *cli, const char *folder, pid_t *ret_pid, int *ret_input)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(&cli->err, -errno, NULL, "cannot make a pipe");
	pid = fork();
	if (pid == 0) {
		signal(SIGPIPE, SIG_DFL);
		if (dup2(ends[0], STDIN_FILENO) >= 0)
			execlp("tar", "tar", "-x", "-p", "-f", "-", "--no-same-owner", "-C", folder,
				NULL);
		_exit(127);
	}
	close(ends[0]);
	if (pid < 0) {
		int r = -errno;

		close(ends[1]);
		return error_errno(&cli->err, r, NULL, "cannot start tar");
	}
	*ret_pid = pid;
	*ret_input = ends[1];
	return 0;
}

/* The tar's bytes, as they come, to tar. */
static int feed(struct cli *cli, const char *target, int input)
{
	int r = client_send(&cli->client, "GET", target, NULL, &cli->err);

	if (r >= 0)
		r = client_head(&cli->client, &cli->err);
	while (r >= 0) {
		const char *piece = NULL;
		ssize_t n = client_body(&cli->client, &piece, &cli->err);

		if (n <= 0)
			return (int)n;
		r = interrupt_caught() ? error_set(&cli->err, -EINTR, NULL, "interrupted")
				       : file_write_all(input, piece, (size_t)n);
	}
	return r;
}

static int await_tar(struct cli *cli, pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_errno(&cli->err, -errno, "tar", "lost sight of tar");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (interrupt_caught())
		return error_set(&cli->err, -EINTR, NULL, "interrupted");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return error_set(&cli->err, -ENOENT, "tar", "cannot run tar; is it installed?");
	return error_set(&cli->err, -EIO, "tar", "tar could not lay the snapshot out");
}

static int unpack(struct cli *cli, const char *target, const char *folder)
{
	pid_t pid = -1;
	int input = -EBADF;
	int r = start_tar(cli, folder, &pid, &input);
	int tar;

	if (r < 0)
		return r;
	r = feed(cli, target, input);
	/* A cut stream must not look whole to tar: stop it before its input ends. */
	if (r < 0 && r != -EPIPE)
		kill(pid, SIGTERM);
	close(input);
	if (r < 0 && r != -EPIPE) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return r;
	}
	tar = await_tar(cli, pid);
	return tar < 0 ? tar : error_default(&cli->err, r, "cannot write to tar");
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct snapshot_options *options = data;
	_cleanup_(freep) char *record_target = run_target(operands[0], "%s", "");
	_cleanup_(json_freep) struct json *record = NULL;
	_cleanup_(freep) char *target = NULL;
	const char *folder;
	bool is_new = false;
	int r = client_get(&cli->client, record_target, &record, &cli->err);

	if (r < 0)
		return r;
	target = run_target(record_id(record), "/snapshot");
	folder = options->folder ? options->folder : record_id(record);
	r = prepare_folder(cli, folder, &is_new);
	if (r < 0)
		return r;
	interrupt_catch();
	signal(SIGPIPE, SIG_IGN);
	r = unpack(cli, target, folder);
	if (r < 0) {
		undo(folder, is_new);
		return r;
	}
	say("snapshot of %s is in %s", record_id(record), folder);
	return EXIT_OK;
}

const struct command cmd_snapshot = {
	.name = "snapshot",
	.synopsis = "RUN",
	.summary = "Lay out the source folder as it was when the run was submitted",
	.details = "The folder appears whole; after a failure nothing of it is left.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct snapshot_options),
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
