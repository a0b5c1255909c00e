/* SPDX-License-Identifier: MIT */
/*
 * git_main - amlagent-git-info DIR: which commit a directory is at, for the daemon; see git_info.h
 *
 * The answer (git_answer.h) is written step by step, the quick things first. What cannot be read is
 * a warning in it; the exit status is 0 but for wrong usage and a stdout that is gone.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "capture/git_answer.h"
#include "capture/git_info.h"
#include "capture/git_read.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"

/* A repository from anywhere is about to be parsed: whatever it does to us, it writes no file. */
static void give_up_rights(void)
{
	static const struct rlimit none = { 0, 0 };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &none);
	setrlimit(RLIMIT_CORE, &none);
}

static int flush(struct strbuf *answer)
{
	int r = file_write_all(STDOUT_FILENO, answer->data, answer->size);

	strbuf_clear(answer);
	return r;
}

static void warn(struct strbuf *answer, const struct error *err)
{
	_cleanup_(freep) char *text = mem_printf("git: %s", err->message);

	git_answer_add(answer, "warning", text);
}

static void tell_commit(struct git_read *read, struct strbuf *answer)
{
	_cleanup_(freep) char *uri = git_read_repository_uri(read);
	_cleanup_(freep) char *branch = git_read_branch(read);
	_cleanup_(freep) char *commit = git_read_commit(read);

	git_answer_add(answer, "repository_uri", uri);
	git_answer_add(answer, "branch", branch);
	git_answer_add(answer, "commit", commit);
}

static bool tell_dirty(struct git_read *read, struct strbuf *answer)
{
	struct error err = ERROR_INIT;
	bool dirty = false;

	if (git_read_is_dirty(read, &dirty, &err) < 0)
		warn(answer, &err);
	else
		git_answer_add(answer, "dirty", dirty ? "True" : "False");
	return dirty;
}

static void tell_patch(struct git_read *read, struct strbuf *answer)
{
	_cleanup_(strbuf_release) struct strbuf patch = STRBUF_INIT;
	_cleanup_(strv_freep) char **warnings = NULL;
	struct error err = ERROR_INIT;

	if (git_read_patch(read, GIT_PATCH_MAX, &patch, &warnings, &err) < 0)
		warn(answer, &err);
	for (size_t i = 0; warnings && warnings[i] && i < GIT_ANSWER_WARNINGS_MAX; i++)
		git_answer_add(answer, "warning", warnings[i]);
	if (patch.size)
		git_answer_add_patch(answer, patch.data, patch.size);
}

/* A directory that the user who asks may not read is his to be told of. */
static int open_repository(const char *source_dir, struct git_read **ret, struct error *err)
{
	_cleanup_(freep) char *dir = realpath(source_dir, NULL);

	if (!dir)
		return error_errno(err, -errno, NULL, "%s", source_dir);
	return git_read_open(dir, ret, err);
}

static int tell(const char *dir)
{
	_cleanup_(strbuf_release) struct strbuf answer = STRBUF_INIT;
	_cleanup_(git_read_closep) struct git_read *read = NULL;
	struct error err = ERROR_INIT;
	bool dirty = false;
	int r;

	git_answer_begin(&answer);
	if (open_repository(dir, &read, &err) < 0)
		warn(&answer, &err);
	if (read)
		tell_commit(read, &answer);
	r = flush(&answer);
	if (read && r >= 0) {
		dirty = tell_dirty(read, &answer);
		r = flush(&answer);
	}
	if (dirty && r >= 0)
		tell_patch(read, &answer);
	git_answer_end(&answer);
	return r < 0 ? r : flush(&answer);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	give_up_rights();
	return tell(argv[1]) < 0 ? 1 : 0;
}
