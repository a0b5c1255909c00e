/* SPDX-License-Identifier: MIT */
/* submission - the blocking part of accepting a run; see submission.h */
#include "runs/submission.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/source.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/unowed.h"
#include "store/manifest.h"
#include "store/store.h"

static int check_script(
	const struct run_request *request, const struct source *source, struct error *err)
{
	mode_t mode;
	int r;

	if (!request->script)
		return 0;
	r = source_look(source, request->script, &mode);
	if (r < 0)
		return error_set(err, r, "script", "script: no \"%s\" in %s (%s)", request->script,
			request->source_directory, strerror(-r));
	if (!S_ISREG(mode))
		return error_set(
			err, -EINVAL, "script", "script: \"%s\" is not a file", request->script);
	return 0;
}

/* "a/./b" and "./a" name a/b and a in a manifest. */
static char *normal_relative(const char *path)
{
	_cleanup_(freep) char *rooted = mem_printf("/%s", path);
	_cleanup_(freep) char *normal = path_absolute(rooted);

	return mem_strdup(normal + 1);
}

/* Is the script, or a link above it, among what was kept? */
static bool manifest_holds(const char *data, size_t size, const char *path)
{
	struct manifest_reader reader;
	struct manifest_entry entry;

	if (manifest_open(&reader, data, size) < 0)
		return false;
	while (manifest_next(&reader, &entry) > 0) {
		size_t length = strlen(entry.path);

		if (entry.type != MANIFEST_DIRECTORY && !strncmp(entry.path, path, length) &&
			(!path[length] || (path[length] == '/' && entry.type == MANIFEST_LINK)))
			return true;
	}
	return false;
}

static int check_script_kept(const struct submission *submission, struct error *err)
{
	_cleanup_(freep) char *data = NULL;
	_cleanup_(freep) char *path = NULL;
	size_t size;
	int r;

	if (!submission->request.script)
		return 0;
	r = store_read(
		submission->store, &submission->snapshot.id, SNAPSHOT_MANIFEST_MAX, &data, &size);
	if (r < 0)
		return error_ours(err, r, NULL, "cannot read the snapshot back");
	path = normal_relative(submission->request.script);
	if (manifest_holds(data, size, path))
		return 0;
	return error_set(err, -EINVAL, "script",
		"script: \"%s\" is left out of the snapshot by the ignore files; take it out of .amlignore "
		"(or .gitignore)",
		path);
}

static void *read_git(void *data)
{
	struct submission *submission = data;

	git_info_read(submission->git_helper, submission->as, submission->request.source_directory,
		submission->request.submit_environment, &submission->git);
	return NULL;
}

static int take_snapshot(
	struct submission *submission, const struct source *source, struct error *err)
{
	pthread_t thread;
	bool beside = pthread_create(&thread, NULL, read_git, submission) == 0;
	int r = snapshot_take(submission->store, submission->index_dir, source, submission->limits,
		&submission->snapshot, err);

	if (beside)
		pthread_join(thread, NULL);
	else
		read_git(submission);
	return error_default(err, r, "cannot take the snapshot");
}

static int store_patch(struct submission *submission, struct error *err)
{
	_cleanup_(store_batch_abortp) struct store_batch *batch = NULL;
	int r;

	if (!submission->git.patch)
		return 0;
	r = store_batch_begin(submission->store, &batch);
	if (r >= 0)
		r = store_batch_put(batch, submission->git.patch, submission->git.patch_size,
			&submission->patch_digest);
	if (r >= 0)
		r = store_batch_commit(TAKE(batch));
	return r < 0 ? error_ours(err, r, NULL, "cannot store the git patch") : 0;
}

static int write_environment(int dirfd, char *const *environment)
{
	_cleanup_(closep) int fd = -EBADF;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r;

	for (size_t i = 0; environment && environment[i]; i++)
		strbuf_add(&text, environment[i], strlen(environment[i]) + 1);
	if (environment && !text.size) /* one without variables is one all the same */
		strbuf_add(&text, "", 1);
	fd = openat(dirfd, UNOWED_MARK, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = file_write_all(fd, text.data, text.size);
	return r < 0 ? r : file_fsync(fd);
}

/* Another user's run goes into a folder that he may go through, and no more. */
static int make_dir(int runs_fd, const char *name, const struct identity *as)
{
	if (mkdirat(runs_fd, name, 0700) < 0)
		return -errno;
	if (!as)
		return 0;
	return fchownat(runs_fd, name, (uid_t)-1, as->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
			       fchmodat(runs_fd, name, 0710, 0) < 0
		       ? -errno
		       : 0;
}

static int write_limits(int dirfd, const struct run_limits *limits)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	run_limits_format(limits, &text);
	return text.size ? file_replace(
				   dirfd, RUN_LIMITS_FILE, text.data, text.size, 0600, FILE_NO_SYNC)
			 : 0;
}

static int sync_names(int dirfd, int runs_fd)
{
	int r = file_fsync(dirfd);

	return r < 0 ? r : file_fsync(runs_fd);
}

static int make_run_dir(const struct submission *submission)
{
	_cleanup_(closep) int runs = open(submission->runs_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closep) int dir = -EBADF;
	_cleanup_(freep) char *path = path_join(submission->runs_dir, submission->run_id);
	int r;

	if (runs < 0)
		return -errno;
	r = FAIL_POINT(FAIL_SUBMIT_MAKE_DIR, make_dir(runs, submission->run_id, submission->as));
	if (r < 0)
		return r;
	dir = openat(runs, submission->run_id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir < 0 ? -errno
		    : FAIL_POINT(FAIL_SUBMIT_ENVIRONMENT,
			      write_environment(dir, submission->request.submit_environment));
	if (r >= 0)
		r = write_limits(dir, &submission->run_limits);
	if (r >= 0)
		r = FAIL_POINT(FAIL_SUBMIT_SYNC_DIR, sync_names(dir, runs));
	if (r < 0)
		(void)unowed_remove(path);
	return r;
}

int submission_carry_out(struct submission *submission, struct error *err)
{
	_cleanup_(source_close) struct source source = SOURCE_INIT;
	int r = source_open(submission->as, submission->request.source_directory, &source, err);

	if (r >= 0)
		r = check_script(&submission->request, &source, err);
	if (r >= 0)
		r = take_snapshot(submission, &source, err);
	if (r >= 0)
		r = check_script_kept(submission, err);
	if (r >= 0)
		r = store_patch(submission, err);
	if (r < 0)
		return r;
	r = make_run_dir(submission);
	return r < 0 ? error_ours(err, r, NULL, "cannot make the run's folder in %s",
			       submission->runs_dir)
		     : 0;
}

int submission_accept(const char *run_dir)
{
	return unowed_become(run_dir, SUBMISSION_ENVIRONMENT);
}

void submission_release(struct submission *submission)
{
	run_request_release(&submission->request);
	snapshot_release(&submission->snapshot);
	git_info_release(&submission->git);
	free(submission->run_id);
	submission->run_id = NULL;
}
