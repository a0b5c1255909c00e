/* SPDX-License-Identifier: MIT */
/* test_snapshot_restore - a snapshot laid out, or as a tar, is the folder it was taken of */
#include "snapshot_fixture.h"

#include <sys/wait.h>

#include "capture/tree_link.h"
#include "common/digest.h"
#include "store/manifest.h"

/* ---- comparing ---- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void assert_same_bytes(int a, int b, const char *name)
{
	_cleanup_(strbuf_release) struct strbuf from = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf to = STRBUF_INIT;

	assert_int_equal(file_read(a, name, 1 << 24, &from), 0);
	assert_int_equal(file_read(b, name, 1 << 24, &to), 0);
	assert_int_equal(from.size, to.size);
	assert_memory_equal(from.data, to.data, from.size);
}

static void assert_same_link(int a, int b, const char *name)
{
	char from[4096] = "", to[4096] = "";

	assert_true(readlinkat(a, name, from, sizeof(from) - 1) > 0);
	assert_true(readlinkat(b, name, to, sizeof(to) - 1) > 0);
	assert_string_equal(from, to);
}

static void assert_same_tree(int a, int b);

static void assert_same_entry(int a, int b, const char *name)
{
	struct stat from, to;

	assert_int_equal(fstatat(a, name, &from, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(fstatat(b, name, &to, AT_SYMLINK_NOFOLLOW), 0);
	if (from.st_mode != to.st_mode)
		fail_msg("%s: mode %o and %o", name, from.st_mode, to.st_mode);
	if (S_ISREG(from.st_mode))
		assert_same_bytes(a, b, name);
	if (S_ISLNK(from.st_mode))
		assert_same_link(a, b, name);
	if (S_ISDIR(from.st_mode)) {
		_cleanup_(closep) int a_below = openat(a, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		_cleanup_(closep) int b_below = openat(b, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		assert_true(a_below >= 0 && b_below >= 0);
		assert_same_tree(a_below, b_below);
	}
}

static void assert_same_tree(int a, int b)
{
	struct dirent **from, **to;
	int count = scandirat(a, ".", &from, NULL, by_name);

	assert_int_equal(scandirat(b, ".", &to, NULL, by_name), count);
	for (int i = 0; i < count; i++) {
		assert_string_equal(from[i]->d_name, to[i]->d_name);
		if (strcmp(from[i]->d_name, ".") && strcmp(from[i]->d_name, ".."))
			assert_same_entry(a, b, from[i]->d_name);
		free(from[i]);
		free(to[i]);
	}
	free(from);
	free(to);
}

/* ---- a folder with all that there is ---- */

static void put_long_names(struct fixture *f)
{
	char name[256], target[1500];

	memset(name, 'n', 255);
	name[255] = '\0';
	put(f, name, "long");
	name[99] = '\0';
	put(f, name, "99");
	name[99] = 'n';
	name[100] = '\0';
	put(f, name, "100");
	name[100] = 'n';
	name[101] = '\0';
	put(f, name, "101");
	memset(target, 't', sizeof(target) - 1);
	for (size_t i = 200; i < sizeof(target); i += 200)
		target[i] = '/';
	target[sizeof(target) - 1] = '\0';
	put_link(f, "long-target", target);
}

static void put_everything(struct fixture *f)
{
	_cleanup_(freep) char *big = mem_alloc(3000000);

	for (size_t i = 0; i < 3000000; i++)
		big[i] = (char)(i * i >> 7);
	put_bytes(f->fd, "big", big, 3000000, 0600);
	put_bytes(f->fd, "block", big, 512, 0644);
	put_bytes(f->fd, "empty", "", 0, 0644);
	put_bytes(f->fd, "run.sh", "#!/bin/sh\n", 10, 0755);
	put_bytes(f->fd, "read-only", "x", 1, 0444);
	put_bytes(f->fd, "group", "x", 1, 0664);
	put(f, "a b\t\n\"'\\*", "odd");
	put(f, "\xff\xfe-no-utf8", "bytes");
	put(f, "-rf", "dash");
	put_dir(f, "dir");
	put_dir(f, "dir/empty");
	put(f, "dir/x", "1");
	put(f, "dir.txt", "2");
	put_link(f, "inside", "dir/x");
	put_link(f, "dangling", "nowhere/at all");
	put_link(f, "absolute", "/etc/hostname");
	put_long_names(f);
	put_dir(f, "closed");
	put(f, "closed/x", "1");
	assert_int_equal(fchmodat(f->fd, "closed", 0555, 0), 0);
	assert_int_equal(fchmodat(f->fd, "dir/empty", 0700, 0), 0);
}

static int open_out(struct fixture *f, const char *name)
{
	_cleanup_(freep) char *out = path_join(f->dir, name);
	int fd;

	assert_int_equal(mkdir(out, 0700), 0);
	fd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static int try_lay_out(struct fixture *f, int fd)
{
	return snapshot_lay_out(f->store, &f->snapshot.id, f->source, fd, &f->err);
}

/* ---- laid out ---- */

static void laid_out_is_what_it_was(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int out = open_out(f, "out");
	mode_t before = umask(077);

	put_everything(f);
	take(f);
	assert_int_equal(try_lay_out(f, out), 0);
	umask(before);
	assert_same_tree(f->fd, out);
}

static void thousands_of_files_are_laid_out_as_they_were(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int out = open_out(f, "out");
	char path[64];

	for (int i = 0; i < 3000; i++) {
		/* One of them large: its entries are looked at in pieces. */
		snprintf(path, sizeof(path), "d%d", i % 30);
		if (i < 30)
			put_dir(f, path);
		snprintf(path, sizeof(path), "d%d/file%d", i < 1500 ? 0 : i % 30, i);
		put(f, path, path);
	}
	take(f);
	assert_int_equal(try_lay_out(f, out), 0);
	assert_same_tree(f->fd, out);
}

static void links_still_lead_where_they_led(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int out = open_out(f, "elsewhere");
	_cleanup_(closep) int plain = open_out(f, "plain");
	struct stat from, to;

	put_bytes(f->fd, "../outside", "x", 1, 0644);
	put_dir(f, "sub");
	put_link(f, "sub/out", "../../outside");
	put_link(f, "sub/around", "../sub/../../outside");
	put_link(f, "sub/in", "../sub");
	take(f);
	assert_int_equal(try_lay_out(f, out), 0);
	assert_int_equal(fstatat(f->fd, "sub/out", &from, 0), 0);
	assert_int_equal(fstatat(out, "sub/out", &to, 0), 0);
	assert_int_equal(from.st_ino, to.st_ino);
	assert_int_equal(fstatat(out, "sub/around", &to, 0), 0);
	assert_int_equal(from.st_ino, to.st_ino);
	assert_same_link(f->fd, out, "sub/in");

	assert_int_equal(snapshot_lay_out(f->store, &f->snapshot.id, NULL, plain, NULL), 0);
	assert_same_tree(f->fd, plain);
}

static void which_links_lead_out(void **state)
{
	(void)state;
	assert_true(tree_link_leads_out("a", "/x"));
	assert_true(tree_link_leads_out("a", ".."));
	assert_true(tree_link_leads_out("a/b", "../../a/b"));
	assert_true(tree_link_leads_out("a/b", "x/.././/..//../y"));
	assert_false(tree_link_leads_out("a", "."));
	assert_false(tree_link_leads_out("a", "b/../c"));
	assert_false(tree_link_leads_out("a/b", ".."));
	assert_false(tree_link_leads_out("a/b/c", "./../../x"));
	assert_false(tree_link_leads_out("a", "..x"));
}

static void absolute_targets(void **state)
{
	static const char *const cases[][3] = {
		{ "l", "../x", "/r/../x" },
		{ "a/l", "../../x", "/r/../x" },
		{ "a/b/l", ".././../../../x", "/r/../../x" },
		{ "a/b/l", "c/../../../../x", "/r/a/b/c/../../../../x" },
		{ "a/l", "../..", "/r/.." },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(freep) char *found = tree_link_absolute("/r", cases[i][0], cases[i][1]);

		assert_string_equal(found, cases[i][2]);
	}
}

static char *blob_path(struct fixture *f, const char *text)
{
	char hex[DIGEST_HEX_SIZE + 1];
	struct digest digest;

	digest_of(text, strlen(text), &digest);
	digest_format(&digest, hex);
	return mem_printf("%s/state/blobs/sha256/%.2s/%s", f->dir, hex, hex);
}

static void assert_empty(struct fixture *f, const char *name)
{
	_cleanup_(freep) char *out = path_join(f->dir, name);

	assert_int_equal(rmdir(out), 0);
}

static void damaged_bytes_are_named_and_nothing_stays(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int out = open_out(f, "out");
	_cleanup_(freep) char *blob = blob_path(f, "good");

	put_dir(f, "sub");
	put(f, "sub/a", "good");
	put(f, "sub/b", "fine");
	take(f);
	assert_int_equal(unlink(blob), 0);
	put_bytes(AT_FDCWD, blob, "evil", 4, 0444);
	assert_int_equal(try_lay_out(f, out), -EBADMSG);
	assert_string_equal(f->err.target, "sub/a");
	assert_empty(f, "out");
}

static void missing_bytes_are_named(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int out = open_out(f, "out");
	_cleanup_(freep) char *blob = blob_path(f, "good");

	put(f, "a", "good");
	take(f);
	assert_int_equal(unlink(blob), 0);
	assert_int_equal(try_lay_out(f, out), -ENOENT);
	assert_string_equal(f->err.target, "a");
	assert_empty(f, "out");
}

static void unknown_snapshot_is_an_error(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int out = open_out(f, "out");
	struct snapshot_tar *tar;

	digest_of("none", 4, &f->snapshot.id);
	assert_int_equal(try_lay_out(f, out), -ENOENT);
	assert_int_equal(snapshot_tar_open(f->store, &f->snapshot.id, &tar), -ENOENT);
}

static void folder_that_is_not_empty_is_left_alone(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int out = open_out(f, "out");
	struct stat st;

	put(f, "a", "x");
	take(f);
	put_bytes(out, "mine", "x", 1, 0644);
	assert_int_equal(try_lay_out(f, out), -ENOTEMPTY);
	assert_int_equal(fstatat(out, "mine", &st, 0), 0);
}

/* ---- tar ---- */

static char *write_tar(struct fixture *f, const char *name, size_t piece)
{
	_cleanup_(freep) char *buffer = mem_alloc(piece);
	_cleanup_(freep) char *path = path_join(f->dir, name);
	_cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct snapshot_tar *tar;
	ssize_t n;

	assert_int_equal(snapshot_tar_open(f->store, &f->snapshot.id, &tar), 0);
	while ((n = snapshot_tar_read(tar, buffer, piece)) > 0)
		assert_int_equal(file_write_all(fd, buffer, (size_t)n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(snapshot_tar_read(tar, buffer, piece), 0);
	snapshot_tar_close(tar);
	return TAKE(path);
}

static void run_program(char *const argv[])
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void tar_restores_what_it_was(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int gnu = open_out(f, "gnu");
	_cleanup_(closep) int python = open_out(f, "python");
	_cleanup_(freep) char *gnu_dir = path_join(f->dir, "gnu");
	_cleanup_(freep) char *python_dir = path_join(f->dir, "python");
	_cleanup_(freep) char *tar = NULL;

	put_everything(f);
	take(f);
	tar = write_tar(f, "tar", 65536);
	run_program((char *[]){ "tar", "-x", "-p", "-f", tar, "-C", gnu_dir, NULL });
	assert_same_tree(f->fd, gnu);
	run_program((char *[]){ "python3", "-c",
		"import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])", tar,
		python_dir, NULL });
	assert_same_tree(f->fd, python);
}

static void tar_is_the_same_in_pieces_of_any_size(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *whole = NULL;
	_cleanup_(freep) char *pieces = NULL;

	put(f, "a", "text");
	put_dir(f, "d");
	put_long_names(f);
	take(f);
	whole = write_tar(f, "whole", 1 << 20);
	pieces = write_tar(f, "pieces", 7);
	run_program((char *[]){ "cmp", whole, pieces, NULL });
}

static void tar_of_an_empty_folder(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *path = NULL;
	struct stat st;

	take(f);
	path = write_tar(f, "tar", 100);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 1024);
	run_program((char *[]){ "tar", "-t", "-f", path, NULL });
}

static void tar_with_damaged_bytes_does_not_end_well(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *blob = blob_path(f, "good");
	struct snapshot_tar *tar;
	char buffer[4096];
	ssize_t n;

	put(f, "a", "good");
	take(f);
	assert_int_equal(unlink(blob), 0);
	put_bytes(AT_FDCWD, blob, "evil", 4, 0444);
	assert_int_equal(snapshot_tar_open(f->store, &f->snapshot.id, &tar), 0);
	while ((n = snapshot_tar_read(tar, buffer, sizeof(buffer))) > 0)
		;
	assert_int_equal(n, -EBADMSG);
	assert_int_equal(snapshot_tar_read(tar, buffer, sizeof(buffer)), -EBADMSG);
	snapshot_tar_close(tar);
}

/* 9 GiB that nobody reads: the header alone is looked at. */
static void tar_says_large_sizes_in_base_256(void **state)
{
	static const unsigned char size[12] = { 0x80, 0, 0, 0, 0, 0, 0, 2, 0x40 };
	struct fixture *f = *state;
	_cleanup_(freep) char *blob = blob_path(f, "huge");
	_cleanup_(strbuf_release) struct strbuf manifest = STRBUF_INIT;
	struct manifest_entry entry = {
		.type = MANIFEST_FILE, .mode = 0644, .size = UINT64_C(9) << 30, .path = "huge"
	};
	struct store_batch *batch;
	struct snapshot_tar *tar;
	char header[512];

	put_bytes(AT_FDCWD, blob, "", 0, 0644);
	assert_int_equal(truncate(blob, INT64_C(9) << 30), 0);
	digest_of("huge", 4, &entry.digest);
	manifest_begin(&manifest);
	manifest_add(&manifest, &entry);
	assert_int_equal(store_batch_begin(f->store, &batch), 0);
	assert_int_equal(store_batch_put(batch, manifest.data, manifest.size, &f->snapshot.id), 0);
	assert_int_equal(store_batch_commit(batch), 0);
	assert_int_equal(snapshot_tar_open(f->store, &f->snapshot.id, &tar), 0);
	assert_int_equal(snapshot_tar_read(tar, header, sizeof(header)), sizeof(header));
	assert_memory_equal(header + 124, size, sizeof(size));
	snapshot_tar_close(tar);
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
		TEST(laid_out_is_what_it_was),
		TEST(thousands_of_files_are_laid_out_as_they_were),
		TEST(links_still_lead_where_they_led),
		TEST(which_links_lead_out),
		TEST(absolute_targets),
		TEST(damaged_bytes_are_named_and_nothing_stays),
		TEST(missing_bytes_are_named),
		TEST(unknown_snapshot_is_an_error),
		TEST(folder_that_is_not_empty_is_left_alone),
		TEST(tar_restores_what_it_was),
		TEST(tar_is_the_same_in_pieces_of_any_size),
		TEST(tar_of_an_empty_folder),
		TEST(tar_with_damaged_bytes_does_not_end_well),
		TEST(tar_says_large_sizes_in_base_256),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
