/* SPDX-License-Identifier: MIT */
/* git_read - a repository's commit, branch, remote, and state; see git_read.h */
#include "capture/git_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "capture/git_read_private.h"
#include "common/mem.h"

int git_read_fault(struct error *err, const char *what)
{
	const git_error *last = git_error_last();

	return error_set(err, -EIO, NULL, "%s: %s", what,
		last && last->message ? last->message : "unknown error");
}

/*
 * libgit2 reads and parses the machine's TLS certificates when it starts, which takes longer than
 * all else here and which nobody needs: we connect to nothing. It goes without them when the file
 * cannot be opened, so for that moment no file can.
 */
static void start_library(void)
{
	struct rlimit usual, none;
	bool limited = getrlimit(RLIMIT_NOFILE, &usual) == 0;

	if (limited) {
		none = (struct rlimit){ 0, usual.rlim_max };
		limited = setrlimit(RLIMIT_NOFILE, &none) == 0;
	}
	git_libgit2_init();
	if (limited)
		setrlimit(RLIMIT_NOFILE, &usual);
}

/*
 * Extensions of the format that do not change what is read here. Without them libgit2 refuses
 * repositories with a sparse checkout or a partial clone.
 */
static void set_up_library(void)
{
	static const char *extensions[] = { "worktreeconfig", "partialclone", "preciousobjects",
		"relativeworktrees" };

	start_library();
	git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
	git_libgit2_opts(GIT_OPT_SET_EXTENSIONS, extensions, ARRAY_SIZE(extensions));
}

/* The rest of path behind prefix, which ends in '/'; "" when they are the same; NULL: not below. */
static const char *below(const char *path, const char *prefix)
{
	size_t size = prefix ? strlen(prefix) : 0;

	if (!size)
		return NULL;
	if (!strncmp(path, prefix, size))
		return path + size;
	return strlen(path) == size - 1 && !strncmp(path, prefix, size - 1) ? "" : NULL;
}

/* False: no work tree that holds dir. */
static bool find_scope(struct git_read *read, const char *dir)
{
	const char *root = git_repository_workdir(read->repo);
	const char *scope = below(dir, root);

	if (!scope || below(dir, git_repository_path(read->repo)) ||
		below(dir, git_repository_commondir(read->repo)))
		return false;
	read->root = mem_strdup(root);
	read->scope = mem_strdup(scope);
	return true;
}

int git_read_open(const char *dir, struct git_read **ret, struct error *err)
{
	_cleanup_(freep) char *real = realpath(dir, NULL);
	_cleanup_(git_read_closep) struct git_read *read = NULL;
	int r;

	if (!real)
		return error_errno(err, -errno, NULL, "%s", dir);
	read = NEW(struct git_read);
	set_up_library();
	r = git_repository_open_ext(&read->repo, real, 0, NULL);
	if (r < 0 && r != GIT_ENOTFOUND)
		return git_read_fault(err, "the repository cannot be opened");
	if (r < 0 || !find_scope(read, real)) {
		*ret = NULL;
		return 0;
	}
	git_repository_config_snapshot(&read->config, read->repo);
	*ret = TAKE(read);
	return 0;
}

void git_read_close(struct git_read *read)
{
	if (!read)
		return;
	git_config_free(read->config);
	git_repository_free(read->repo);
	free(read->root);
	free(read->scope);
	free(read);
}

static bool has_commit(struct git_read *read, git_oid *ret)
{
	return git_reference_name_to_id(ret, read->repo, "HEAD") == 0;
}

char *git_read_commit(struct git_read *read)
{
	char text[GIT_OID_HEXSZ + 1];
	git_oid id;

	return has_commit(read, &id) ? mem_strdup(git_oid_tostr(text, sizeof(text), &id)) : NULL;
}

/* "refs/heads/main"; NULL when detached. */
static char *head_name(struct git_read *read)
{
	_cleanup_(git_reference_freep) git_reference *head = NULL;
	const char *target;

	if (git_reference_lookup(&head, read->repo, "HEAD") < 0)
		return NULL;
	target = git_reference_symbolic_target(head);
	return target && !strncmp(target, "refs/heads/", 11) ? mem_strdup(target) : NULL;
}

char *git_read_branch(struct git_read *read)
{
	_cleanup_(freep) char *name = head_name(read);

	return name ? mem_strdup(name + strlen("refs/heads/")) : NULL;
}

static int take_first(const git_config_entry *entry, void *arg)
{
	*(char **)arg = mem_strdup(entry->value);
	return GIT_EUSER; /* enough */
}

/* git fetches from the first of a remote's URLs; libgit2 would take the last. */
static char *url_of(struct git_read *read, const char *remote)
{
	_cleanup_(freep) char *key = mem_printf("remote.%s.url", remote);
	char *url = NULL;

	if (read->config)
		git_config_get_multivar_foreach(read->config, key, NULL, take_first, &url);
	return url;
}

/* The remote that the current branch follows; also a URL may stand there. */
static char *upstream_url(struct git_read *read)
{
	_cleanup_(freep) char *branch = head_name(read);
	git_buf name = { 0 };
	char *url = NULL;

	if (!branch || git_branch_upstream_remote(&name, read->repo, branch) < 0)
		return NULL;
	if (strcmp(name.ptr, ".") != 0) {
		url = url_of(read, name.ptr);
		if (!url && strpbrk(name.ptr, ":/"))
			url = mem_strdup(name.ptr);
	}
	git_buf_dispose(&name);
	return url;
}

static char *only_url(struct git_read *read)
{
	git_strarray names = { 0 };
	char *url = NULL;

	if (git_remote_list(&names, read->repo) < 0)
		return NULL;
	if (names.count == 1)
		url = url_of(read, names.strings[0]);
	git_strarray_dispose(&names);
	return url;
}

char *git_read_repository_uri(struct git_read *read)
{
	_cleanup_(git_remote_freep) git_remote *remote = NULL;
	_cleanup_(freep) char *url = upstream_url(read);

	if (!url)
		url = url_of(read, "origin");
	if (!url)
		url = only_url(read);
	/* An anonymous remote is how libgit2 applies url.*.insteadOf. */
	if (!url || git_remote_create_anonymous(&remote, read->repo, url) < 0)
		return TAKE(url);
	return mem_strdup(git_remote_url(remote));
}

/* `git status` obeys it, so we do. */
static bool shows_untracked(const struct git_read *read)
{
	const char *value = NULL;
	int set = 1;

	if (!read->config ||
		git_config_get_string(&value, read->config, "status.showUntrackedFiles") < 0 ||
		!value)
		return true;
	return strcmp(value, "no") != 0 && (git_config_parse_bool(&set, value) < 0 || set);
}

int git_read_changes(struct git_read *read, unsigned flags, git_status_list **ret)
{
	git_status_options options = GIT_STATUS_OPTIONS_INIT;

	options.show = GIT_STATUS_SHOW_INDEX_AND_WORKDIR;
	options.flags = GIT_STATUS_OPT_DISABLE_PATHSPEC_MATCH | flags;
	if (shows_untracked(read))
		options.flags |= GIT_STATUS_OPT_INCLUDE_UNTRACKED;
	if (*read->scope)
		options.pathspec = (git_strarray){ &read->scope, 1 };
	return git_status_list_new(ret, read->repo, &options);
}

const char *git_read_path(const git_status_entry *entry)
{
	const git_diff_delta *delta =
		entry->index_to_workdir ? entry->index_to_workdir : entry->head_to_index;

	return delta->new_file.path ? delta->new_file.path : delta->old_file.path;
}

/* Left out of the work tree by a sparse checkout, and not deleted. */
static bool is_sparse(git_index *index, const git_status_entry *entry)
{
	const git_index_entry *known = git_index_get_bypath(index, git_read_path(entry), 0);

	return entry->status == GIT_STATUS_WT_DELETED && known &&
	       (known->flags_extended & GIT_INDEX_ENTRY_SKIP_WORKTREE);
}

/* submodule.NAME.ignore, else diff.ignoreSubmodules; libgit2 knows .gitmodules alone. */
static git_submodule_ignore_t configured_ignore(const struct git_read *read, const char *name)
{
	static const git_configmap map[] = {
		{ GIT_CONFIGMAP_STRING, "none", GIT_SUBMODULE_IGNORE_NONE },
		{ GIT_CONFIGMAP_STRING, "untracked", GIT_SUBMODULE_IGNORE_UNTRACKED },
		{ GIT_CONFIGMAP_STRING, "dirty", GIT_SUBMODULE_IGNORE_DIRTY },
		{ GIT_CONFIGMAP_STRING, "all", GIT_SUBMODULE_IGNORE_ALL },
	};
	_cleanup_(freep) char *key = mem_printf("submodule.%s.ignore", name);
	int value = GIT_SUBMODULE_IGNORE_UNSPECIFIED;

	if (read->config &&
		git_config_get_mapped(&value, read->config, key, map, ARRAY_SIZE(map)) < 0)
		git_config_get_mapped(
			&value, read->config, "diff.ignoreSubmodules", map, ARRAY_SIZE(map));
	return (git_submodule_ignore_t)value;
}

bool git_read_submodule_state(const struct git_read *read, const char *path, unsigned *ret)
{
	_cleanup_(git_submodule_freep) git_submodule *submodule = NULL;
	const char *name;

	if (git_submodule_lookup(&submodule, read->repo, path) < 0)
		return false;
	name = git_submodule_name(submodule);
	return git_submodule_status(ret, read->repo, name, configured_ignore(read, name)) == 0;
}

/* A submodule whose changes the user does not want to see. */
static bool is_ignored_submodule(const struct git_read *read, const git_status_entry *entry)
{
	unsigned state;

	return entry->status == GIT_STATUS_WT_MODIFIED &&
	       entry->index_to_workdir->old_file.mode == GIT_FILEMODE_COMMIT &&
	       git_read_submodule_state(read, git_read_path(entry), &state) &&
	       GIT_SUBMODULE_STATUS_IS_UNMODIFIED(state);
}

bool git_read_counts(const struct git_read *read, git_index *index, const git_status_entry *entry)
{
	return !is_sparse(index, entry) && !is_ignored_submodule(read, entry);
}

int git_read_is_dirty(struct git_read *read, bool *ret, struct error *err)
{
	_cleanup_(git_status_list_freep) git_status_list *changes = NULL;
	_cleanup_(git_index_freep) git_index *index = NULL;
	bool dirty = false;
	size_t count;

	if (git_read_changes(read, 0, &changes) < 0 || git_repository_index(&index, read->repo) < 0)
		return git_read_fault(err, "the state of the work tree cannot be read");
	count = git_status_list_entrycount(changes);
	for (size_t i = 0; i < count && !dirty; i++)
		dirty = git_read_counts(read, index, git_status_byindex(changes, i));
	*ret = dirty;
	return 0;
}
