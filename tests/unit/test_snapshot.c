/* SPDX-License-Identifier: MIT */
/* test_snapshot - what a snapshot takes, leaves out, remembers and refuses */
#include "snapshot_fixture.h"

#include <grp.h>
#include <sys/wait.h>

#include "store/manifest.h"

/* ---- what was taken ---- */

static char *manifest_of(struct fixture *f, size_t *ret_size)
{
	char *data;

	assert_int_equal(
		store_read(f->store, &f->snapshot.id, SNAPSHOT_MANIFEST_MAX, &data, ret_size), 0);
	return data;
}

/* The paths, with a space between them. */
static char *paths_of(struct fixture *f)
{
	size_t size;
	_cleanup_(freep) char *data = manifest_of(f, &size);
	struct strbuf paths = STRBUF_INIT;
	struct manifest_reader reader;
	struct manifest_entry entry;
	int r;

	assert_int_equal(manifest_open(&reader, data, size), 0);
	while ((r = manifest_next(&reader, &entry)) > 0)
		strbuf_addf(&paths, "%s%s", paths.size ? " " : "", entry.path);
	assert_int_equal(r, 0);
	return strbuf_steal(&paths);
}

static void assert_takes(struct fixture *f, const char *paths)
{
	_cleanup_(freep) char *found = NULL;

	take(f);
	found = paths_of(f);
	assert_string_equal(found, paths);
}

static bool warns_of(const struct fixture *f, const char *text)
{
	for (char **w = f->snapshot.warnings; w && *w; w++)
		if (strstr(*w, text))
			return true;
	return false;
}

static void assert_refused(struct fixture *f, int r, const char *text)
{
	assert_int_equal(try_take(f), r);
	assert_int_equal(f->err.code, r);
	if (!strstr(f->err.message, text))
		fail_msg("\"%s\" does not say \"%s\"", f->err.message, text);
}

/* ---- content ---- */

static void everything_is_listed_in_order(void **state)
{
	struct fixture *f = *state;

	put_dir(f, "a");
	put(f, "a/x", "1");
	put(f, "a.txt", "2");
	put(f, "a-b", "3");
	put_dir(f, "empty");
	put_link(f, "link", "a/x");
	assert_takes(f, "a a/x a-b a.txt empty link");
	assert_int_equal(f->snapshot.files, 4);
	assert_int_equal(f->snapshot.bytes, 3);
	assert_int_equal(f->snapshot.files_read, 3);
	assert_null(f->snapshot.warnings);
}

static void empty_folder_is_a_snapshot(void **state)
{
	struct fixture *f = *state;

	assert_takes(f, "");
	assert_int_equal(f->snapshot.files, 0);
	assert_same_id(take(f), f->snapshot.id);
}

static void same_content_has_the_same_id_elsewhere(void **state)
{
	struct fixture *f = *state;
	struct fixture g;

	fixture_init(&g);
	put(f, "a", "text");
	put(f, "b", "more");
	put(&g, "b", "more");
	put(&g, "a", "text");
	assert_same_id(take(f), take(&g));
	assert_int_equal(fchmodat(g.fd, "a", 0755, 0), 0);
	assert_other_id(f->snapshot.id, take(&g));
	fixture_release(&g);
}

static void setuid_is_no_content(void **state)
{
	struct fixture *f = *state;
	struct digest id;

	put_bytes(f->fd, "a", "x", 1, 0755);
	id = take(f);
	assert_int_equal(fchmodat(f->fd, "a", 06755, 0), 0);
	assert_same_id(take(f), id);
}

static void source_may_be_reached_by_a_link(void **state)
{
	struct fixture *f = *state;
	struct digest id;

	put(f, "a", "x");
	id = take_until_known(f);
	free(f->source);
	f->source = path_join(f->dir, "link");
	assert_int_equal(symlink("source", f->source), 0);
	assert_same_id(take(f), id);
	assert_int_equal(f->snapshot.files_read, 0);
}

static void deep_and_long_paths_are_taken(void **state)
{
	struct fixture *f = *state;
	int fd = dup(f->fd);
	char name[200];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (int i = 0; i < 40; i++) {
		int below;

		assert_int_equal(mkdirat(fd, name, 0755), 0);
		below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(below >= 0);
		close(fd);
		fd = below;
	}
	put_bytes(fd, "deep", "x", 1, 0644);
	close(fd);
	take(f);
	assert_int_equal(f->snapshot.files_read, 1);
}

static void folders_that_nest_too_deep_are_named(void **state)
{
	struct fixture *f = *state;
	int fd = dup(f->fd);

	for (int i = 0; i < 300; i++) {
		int below;

		assert_int_equal(mkdirat(fd, "d", 0755), 0);
		below = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = below;
	}
	close(fd);
	assert_refused(f, -EFBIG, "nest more than 256 deep: \"d/d/d/");
}

/* ---- left out ---- */

static void git_folders_and_files_are_never_taken(void **state)
{
	struct fixture *f = *state;

	put_dir(f, ".git");
	put(f, ".git/config", "x");
	put_dir(f, "sub");
	put(f, "sub/.git", "gitdir: elsewhere");
	put(f, "sub/.gitx", "x");
	put(f, ".amlignore", "!.git\n");
	assert_takes(f, ".amlignore sub sub/.gitx");
}

static void gitignore_rules_at_every_level(void **state)
{
	struct fixture *f = *state;

	put(f, ".gitignore", "*.log\n/build/\n");
	put(f, "a.log", "x");
	put_dir(f, "build");
	put(f, "build/x", "x");
	put_dir(f, "sub");
	put(f, "sub/.gitignore", "!keep.log\n*.tmp\n");
	put(f, "sub/a.log", "x");
	put(f, "sub/keep.log", "x");
	put(f, "sub/a.tmp", "x");
	put_dir(f, "sub/build");
	put(f, "sub/build/a.tmp", "x");
	put(f, "sub/build/y", "x");
	put(f, "b.tmp", "x");
	assert_takes(f, ".gitignore b.tmp sub sub/.gitignore sub/build sub/build/y sub/keep.log");
}

static void amlignore_at_the_root_puts_gitignore_out_of_force(void **state)
{
	struct fixture *f = *state;

	put(f, ".amlignore", "*.big\n");
	put(f, ".gitignore", "*.log\n");
	put(f, "a.big", "x");
	put(f, "a.log", "x");
	put_dir(f, "sub");
	put(f, "sub/.amlignore", "secret\n");
	put(f, "sub/.gitignore", "*\n");
	put(f, "sub/a.big", "x");
	put(f, "sub/a.log", "x");
	put(f, "sub/secret", "x");
	assert_takes(f, ".amlignore .gitignore a.log sub sub/.amlignore sub/.gitignore sub/a.log");
}

static void amlignore_below_the_root_alone_is_content(void **state)
{
	struct fixture *f = *state;

	put(f, ".gitignore", "*.log\n");
	put(f, "a.log", "x");
	put_dir(f, "sub");
	put(f, "sub/.amlignore", "*\n");
	put(f, "sub/x", "x");
	assert_takes(f, ".gitignore sub sub/.amlignore sub/x");
}

static void what_is_ignored_need_not_be_readable(void **state)
{
	struct fixture *f = *state;

	put(f, ".gitignore", "pipe\n");
	assert_int_equal(mkfifoat(f->fd, "pipe", 0600), 0);
	assert_takes(f, ".gitignore");
	assert_null(f->snapshot.warnings);
}

static void rules_that_are_a_link_are_not_read(void **state)
{
	struct fixture *f = *state;

	put(f, "rules", "*\n");
	put_link(f, ".gitignore", "rules");
	assert_takes(f, ".gitignore rules");
	assert_true(warns_of(f, "not read as rules: .gitignore"));
}

static void enormous_rules_are_refused(void **state)
{
	struct fixture *f = *state;

	put_size(f, ".amlignore", 2 << 20);
	assert_refused(f, -EFBIG, ".amlignore");
}

static void special_files_are_left_out_with_a_warning(void **state)
{
	struct fixture *f = *state;
	char name[32];

	for (int i = 0; i < 7; i++) {
		snprintf(name, sizeof(name), "pipe\n%d", i);
		assert_int_equal(mkfifoat(f->fd, name, 0600), 0);
	}
	assert_takes(f, "");
	assert_true(warns_of(f, ": pipe?0, pipe?1, pipe?2, pipe?3, pipe?4 and 2 more"));
	assert_null(f->snapshot.warnings[1]);
}

static void links_that_lead_out_are_kept_with_a_warning(void **state)
{
	struct fixture *f = *state;

	put_dir(f, "sub");
	put_link(f, "sub/in", "../sub/in");
	put_link(f, "sub/out", "../../x");
	put_link(f, "abs", "/etc/passwd");
	for (int i = 0; i < 2; i++) {
		assert_takes(f, "abs sub sub/in sub/out");
		assert_true(warns_of(f, ": abs -> /etc/passwd, sub/out -> ../../x"));
		assert_null(f->snapshot.warnings[1]);
	}
}

static void own_state_is_left_out_with_a_warning(void **state)
{
	struct fixture *f = *state;

	put(f, "a", "x");
	take(f);
	free(f->source);
	f->source = mem_strdup(f->dir);
	assert_takes(f, "source source/a");
	assert_true(warns_of(f, "state"));
}

/* ---- refusals ---- */

static void bad_source_folders_are_named(void **state)
{
	struct fixture *f = *state;

	put(f, "file", "x");
	free(f->source);
	f->source = mem_strdup("");
	assert_refused(f, -EINVAL, "empty");
	free(f->source);
	f->source = path_join(f->dir, "none");
	assert_refused(f, -ENOENT, f->source);
	free(f->source);
	f->source = path_join(f->dir, "source/file");
	assert_refused(f, -ENOTDIR, f->source);
	assert_string_equal(f->err.target, "source_directory");
}

static void too_many_files_are_refused_by_folder(void **state)
{
	struct fixture *f = *state;
	char path[32];

	f->limits.max_files = 50;
	put_dir(f, "data");
	for (int i = 0; i < 60; i++) {
		snprintf(path, sizeof(path), "data/%d", i);
		put_dir(f, path);
		snprintf(path, sizeof(path), "data/%d/x", i);
		put(f, path, "x");
	}
	put(f, "train.py", "x");
	assert_refused(f, -EFBIG, "61 files, more than 50");
	assert_non_null(
		strstr(f->err.message, "; the largest: data/ (60 B in 60 files); list what the "
				       "run does not need in .amlignore"));
	assert_string_equal(f->err.target, "source_directory");
}

static void too_many_bytes_are_refused_by_file_and_folder(void **state)
{
	struct fixture *f = *state;
	char path[32];

	f->limits.max_bytes = 100000;
	put_size(f, "big", 80000);
	put_dir(f, "many");
	for (int i = 0; i < 30; i++) {
		snprintf(path, sizeof(path), "many/%d", i);
		put_size(f, path, 1000);
	}
	put(f, ".gitignore", "");
	assert_refused(f, -EFBIG,
		"holds 107 KiB, more than 97.7 KiB; the largest: big (78.1 KiB), "
		"many/ (29.3 KiB in 30 files);");
	assert_non_null(strstr(f->err.message, "in .gitignore (or in an .amlignore"));
}

static void too_many_folders_are_refused(void **state)
{
	struct fixture *f = *state;
	char path[32];

	f->limits.max_files = 10;
	for (int i = 0; i < 12; i++) {
		snprintf(path, sizeof(path), "%d", i);
		put_dir(f, path);
	}
	assert_refused(f, -EFBIG, "12 folders, more than 10");
}

static void walk_ends_far_above_the_limit(void **state)
{
	struct fixture *f = *state;
	char path[32];

	f->limits.max_files = 2;
	put_dir(f, "data");
	for (int i = 0; i < 50; i++) {
		snprintf(path, sizeof(path), "data/%d", i);
		put(f, path, "x");
	}
	assert_refused(f, -EFBIG, "at least 9 files, more than 2; the largest: data/ (");
}

static void refused_snapshot_stores_nothing(void **state)
{
	struct fixture *f = *state;
	struct digest digest;

	put(f, "a", "some text");
	put_size(f, "big", 1000);
	f->limits.max_bytes = 1000;
	assert_refused(f, -EFBIG, "big");
	digest_of("some text", 9, &digest);
	assert_false(store_has(f->store, &digest));
	f->limits.max_bytes = 1009;
	take(f);
	assert_true(store_has(f->store, &digest));
}

static void warnings_name_the_largest_and_go_on(void **state)
{
	struct fixture *f = *state;

	f->limits.warn_bytes = 1000;
	f->limits.warn_files = 1;
	put_size(f, "model.bin", 2000);
	put(f, "a", "x");
	assert_takes(f, "a model.bin");
	assert_true(warns_of(f, "2.0 KiB, more than 1000 B; the largest: model.bin (2.0 KiB);"));
	assert_true(warns_of(f, "2 files, more than 1; the largest: files at the top"));
}

/* Root may read anything: let somebody else try. */
static int take_as_nobody(struct fixture *f)
{
	_cleanup_(freep) char *blobs = path_join(f->dir, "nobody");
	struct store *store = NULL;
	int r;

	if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0))
		return 1;
	if (store_open(blobs, &store) < 0)
		return 2;
	r = take_from(f, store, blobs);
	store_close(store);
	if (r != -EACCES || !strstr(f->err.message, "list it in .amlignore"))
		return 3;
	return strcmp(f->err.target, "sub/secret") == 0 ? 0 : 4;
}

static void assert_secret_is_named(struct fixture *f)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0)
		_exit(take_as_nobody(f));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void unreadable_files_and_folders_are_named(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(chmod(f->dir, 0777), 0);
	put_dir(f, "sub");
	put_bytes(f->fd, "sub/secret", "x", 1, 0);
	assert_secret_is_named(f);
	assert_int_equal(unlinkat(f->fd, "sub/secret", 0), 0);
	assert_int_equal(mkdirat(f->fd, "sub/secret", 0), 0);
	assert_secret_is_named(f);
	put(f, ".gitignore", "secret\n");
	take(f);
}

/* What these files say of their size is never what they hold. */
static void file_that_does_not_hold_still_is_named(void **state)
{
	struct fixture *f = *state;

	if (access("/proc/sys/kernel/random/boot_id", R_OK) < 0)
		skip();
	free(f->source);
	f->source = mem_strdup("/proc/sys/kernel/random");
	assert_refused(f, -EBUSY, "\"boot_id\" changes all the time");
}

static int setup(void **state)
{
	static struct fixture fixture;

	alarm(120);
	fixture_init(&fixture);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	fixture_release(*state);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_is_listed_in_order),
		TEST(empty_folder_is_a_snapshot),
		TEST(same_content_has_the_same_id_elsewhere),
		TEST(setuid_is_no_content),
		TEST(source_may_be_reached_by_a_link),
		TEST(deep_and_long_paths_are_taken),
		TEST(folders_that_nest_too_deep_are_named),
		TEST(git_folders_and_files_are_never_taken),
		TEST(gitignore_rules_at_every_level),
		TEST(amlignore_at_the_root_puts_gitignore_out_of_force),
		TEST(amlignore_below_the_root_alone_is_content),
		TEST(what_is_ignored_need_not_be_readable),
		TEST(rules_that_are_a_link_are_not_read),
		TEST(enormous_rules_are_refused),
		TEST(special_files_are_left_out_with_a_warning),
		TEST(links_that_lead_out_are_kept_with_a_warning),
		TEST(own_state_is_left_out_with_a_warning),
		TEST(bad_source_folders_are_named),
		TEST(too_many_files_are_refused_by_folder),
		TEST(too_many_bytes_are_refused_by_file_and_folder),
		TEST(too_many_folders_are_refused),
		TEST(walk_ends_far_above_the_limit),
		TEST(refused_snapshot_stores_nothing),
		TEST(warnings_name_the_largest_and_go_on),
		TEST(unreadable_files_and_folders_are_named),
		TEST(file_that_does_not_hold_still_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
