/* SPDX-License-Identifier: MIT */
/* git_patch - what is not committed, as a patch; see git_read.h */
#include <git2/sys/mempack.h>
#include <git2/sys/odb_backend.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/git_read.h"
#include "capture/git_read_private.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"

/* Changed files are held in memory, and there may be a data set among them. */
#define SOURCE_FACTOR 4
#define CHANGES_MAX 20000
/* A patch that was stopped because of its size; no code of libgit2. */
#define TOO_LARGE (-1000)

/* A patch in the making. */
struct patch {
	struct git_read *read;
	git_index *index; /* as it would be after `git add -A`; in memory only */
	size_t max;
	size_t source_size; /* of the files it is made from */
	struct strbuf *out;
	char ***warnings;
};

/*
 * What is added to the index is kept in memory. Objects that are there already would get a new time
 * stamp ("freshen"), and we change nothing: libgit2 just looks for them where it cannot do that.
 */
static int keep_objects_in_memory(git_repository *repo)
{
	_cleanup_(git_odb_freep) git_odb *odb = NULL;
	git_odb_backend *backend;
	size_t count;
	int r = git_repository_odb(&odb, repo);

	if (r < 0)
		return r;
	count = git_odb_num_backends(odb);
	for (size_t i = 0; i < count; i++)
		if (git_odb_get_backend(&backend, odb, i) == 0)
			backend->freshen = NULL;
	r = git_mempack_new(&backend);
	return r < 0 ? r : git_odb_add_backend(odb, backend, INT_MAX);
}

/* Its commit is what a patch can tell of a submodule. */
static int stage_submodule(struct patch *patch, const char *path)
{
	const char *why = "is a repository of its own inside the work tree";
	unsigned state;

	if (git_read_submodule_state(patch->read, path, &state)) {
		if (state & GIT_SUBMODULE_STATUS_WD_MODIFIED)
			git_index_add_bypath(patch->index, path);
		if (!GIT_SUBMODULE_STATUS_IS_WD_DIRTY(state))
			return 0;
		why = "is a submodule with changes of its own";
	}
	strv_addf(patch->warnings, "git: %s %s: its files are not part of the patch", path, why);
	return 0;
}

/* By a program, which we do not run. */
static bool is_filtered(struct patch *patch, const char *path)
{
	const char *value = NULL;

	return git_attr_get(&value, patch->read->repo, GIT_ATTR_CHECK_FILE_THEN_INDEX, path,
		       "filter") == 0 &&
	       git_attr_value(value) == GIT_ATTR_VALUE_STRING;
}

static int stage_file(struct patch *patch, const char *path)
{
	_cleanup_(freep) char *full = path_join(patch->read->root, path);
	size_t size = strlen(path);
	struct stat st;

	if (lstat(full, &st) < 0)
		return 0; /* deleted, or gone meanwhile */
	if (S_ISDIR(st.st_mode)) {
		_cleanup_(freep) char *name = mem_strndup(path, size - (path[size - 1] == '/'));

		return stage_submodule(patch, name);
	}
	if (is_filtered(patch, path)) {
		strv_addf(patch->warnings,
			"git: %s is converted by a filter program: its changes "
			"are not part of the patch",
			path);
		return 0;
	}
	patch->source_size += (size_t)st.st_size;
	if (patch->source_size > patch->max * SOURCE_FACTOR)
		return TOO_LARGE;
	return git_index_add_bypath(patch->index, path);
}

#define WORK_TREE_CHANGES \
	(GIT_STATUS_WT_NEW | GIT_STATUS_WT_MODIFIED | GIT_STATUS_WT_TYPECHANGE | \
		GIT_STATUS_CONFLICTED)

/* Deletions first: a file may have become a folder. */
static int stage_all(struct patch *patch, git_status_list *changes)
{
	size_t count = git_status_list_entrycount(changes);
	int r = 0;

	if (count > CHANGES_MAX)
		return TOO_LARGE;
	for (size_t i = 0; i < count; i++) {
		const git_status_entry *entry = git_status_byindex(changes, i);

		if ((entry->status & (GIT_STATUS_WT_DELETED | GIT_STATUS_CONFLICTED)) &&
			git_read_counts(patch->read, patch->index, entry))
			git_index_remove_bypath(patch->index, git_read_path(entry));
	}
	for (size_t i = 0; i < count && r >= 0; i++) {
		const git_status_entry *entry = git_status_byindex(changes, i);

		if ((entry->status & WORK_TREE_CHANGES) &&
			git_read_counts(patch->read, patch->index, entry))
			r = stage_file(patch, git_read_path(entry));
	}
	return r;
}

static size_t object_size(git_odb *odb, const git_diff_file *file)
{
	git_object_t type;
	size_t size = 0;

	if (file->mode == GIT_FILEMODE_COMMIT || git_oid_is_zero(&file->id) ||
		git_odb_read_header(&size, &type, odb, &file->id) < 0)
		return 0;
	return size;
}

/* Deleted and staged files count too. */
static int check_size(struct patch *patch, git_diff *diff)
{
	_cleanup_(git_odb_freep) git_odb *odb = NULL;
	size_t count = git_diff_num_deltas(diff);
	size_t total = 0;
	int r = git_repository_odb(&odb, patch->read->repo);

	for (size_t i = 0; r >= 0 && i < count; i++) {
		const git_diff_delta *delta = git_diff_get_delta(diff, i);

		total += object_size(odb, &delta->old_file) + object_size(odb, &delta->new_file);
		if (total > patch->max * SOURCE_FACTOR)
			r = TOO_LARGE;
	}
	return r;
}

static int print_line(const git_diff_delta *delta, const git_diff_hunk *hunk,
	const git_diff_line *line, void *arg)
{
	struct patch *patch = arg;

	(void)hunk;
	/* libgit2 says "Binary files differ" of a binary file that only changed its mode. */
	if (line->origin == GIT_DIFF_LINE_BINARY &&
		git_oid_equal(&delta->old_file.id, &delta->new_file.id))
		return 0;
	if (patch->out->size + line->content_len + 1 > patch->max)
		return TOO_LARGE;
	if (line->origin == GIT_DIFF_LINE_CONTEXT || line->origin == GIT_DIFF_LINE_ADDITION ||
		line->origin == GIT_DIFF_LINE_DELETION)
		strbuf_addc(patch->out, line->origin);
	strbuf_add(patch->out, line->content, line->content_len);
	return 0;
}

/* All that a user's configuration could change is given: `git apply` must take it. */
static int print_patch(struct patch *patch, git_tree *tree)
{
	git_diff_options options = GIT_DIFF_OPTIONS_INIT;
	_cleanup_(git_diff_freep) git_diff *diff = NULL;
	int r;

	options.flags = GIT_DIFF_SHOW_BINARY | GIT_DIFF_DISABLE_PATHSPEC_MATCH;
	options.old_prefix = "a/";
	options.new_prefix = "b/";
	options.id_abbrev = GIT_OID_HEXSZ;
	if (*patch->read->scope)
		options.pathspec = (git_strarray){ &patch->read->scope, 1 };
	r = git_diff_tree_to_index(&diff, patch->read->repo, tree, patch->index, &options);
	if (r >= 0)
		r = check_size(patch, diff);
	return r < 0 ? r : git_diff_print(diff, GIT_DIFF_FORMAT_PATCH, print_line, patch);
}

static int make_patch(struct patch *patch, const git_oid *commit_id)
{
	_cleanup_(git_status_list_freep) git_status_list *changes = NULL;
	_cleanup_(git_commit_freep) git_commit *commit = NULL;
	_cleanup_(git_tree_freep) git_tree *tree = NULL;
	int r = git_commit_lookup(&commit, patch->read->repo, commit_id);

	if (r >= 0)
		r = git_commit_tree(&tree, commit);
	if (r >= 0)
		r = git_read_changes(patch->read, GIT_STATUS_OPT_RECURSE_UNTRACKED_DIRS, &changes);
	if (r >= 0)
		r = keep_objects_in_memory(patch->read->repo);
	if (r >= 0)
		r = stage_all(patch, changes);
	return r < 0 ? r : print_patch(patch, tree);
}

int git_read_patch(
	struct git_read *read, size_t max, struct strbuf *ret, char ***warnings, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	_cleanup_(git_index_freep) git_index *index = NULL;
	struct patch patch = { .read = read, .max = max, .out = &out, .warnings = warnings };
	git_oid commit;
	int r;

	if (git_reference_name_to_id(&commit, read->repo, "HEAD") < 0)
		return 0;
	if (git_repository_index(&index, read->repo) < 0)
		return git_read_fault(err, "the index cannot be read");
	patch.index = index;
	r = make_patch(&patch, &commit);
	if (r == TOO_LARGE) {
		strv_addf(warnings,
			"git: the uncommitted changes are more than %zu MB: they are not "
			"kept as a patch",
			max >> 20);
		return 0;
	}
	if (r < 0)
		return git_read_fault(err, "the uncommitted changes cannot be read");
	strbuf_add(ret, out.data, out.size);
	return 0;
}
