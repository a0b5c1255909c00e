/* SPDX-License-Identifier: MIT */
/* test_collect - what a run left, however it left it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "capture/collect.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"
#include "store/manifest.h"
#include "store/store.h"

#define NOBODY 65534

/* Stands before libc's: the flush of a commit can be made to fail. */
static bool flushes_fail;

int fsync(int fd)
{
	if (flushes_fail) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

struct fixture {
	char *dir;
	int run; /* the run directory */
	int work;
	struct store *store;
	struct artifacts list;
	char **warnings;
	struct error err;
};

static void write_file(int dirfd, const char *path, const void *data, size_t size)
{
	_cleanup_(closep) int fd =
		openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0644), 0);
	assert_int_equal(file_write_all(fd, data, size), 0);
}

static void put_text(int dirfd, const char *path, const char *text)
{
	write_file(dirfd, path, text, strlen(text));
}

static int set_up(void **state)
{
	struct fixture *fixture = NEW(struct fixture);
	const char *base = getenv("TMPDIR");
	_cleanup_(freep) char *blobs = NULL;
	int dirfd;

	fixture->dir = mem_printf("%s/test_collect.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(fixture->dir))
		return -1;
	*state = fixture;
	blobs = path_join(fixture->dir, "blobs");
	dirfd = open(fixture->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mkdirat(dirfd, "run", 0700);
	mkdirat(dirfd, "run/work", 0700);
	mkdirat(dirfd, "run/work/outputs", 0700);
	mkdirat(dirfd, "run/work/logs", 0700);
	mkdirat(dirfd, "run/work/user_logs", 0700);
	put_text(dirfd, "run/std_log.txt", "hello\n");
	linkat(dirfd, "run/std_log.txt", dirfd, "run/work/user_logs/std_log.txt", 0);
	fixture->run = openat(dirfd, "run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fixture->work = openat(dirfd, "run/work", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd_close(dirfd);
	return fixture->run < 0 || fixture->work < 0 ? -1 : store_open(blobs, &fixture->store);
}

static void forget(struct fixture *fixture)
{
	artifacts_release(&fixture->list);
	strv_free(fixture->warnings);
	fixture->warnings = NULL;
	fixture->err = (struct error)ERROR_INIT;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	flushes_fail = false;
	forget(fixture);
	store_close(fixture->store);
	fd_close(fixture->run);
	fd_close(fixture->work);
	tree_remove(AT_FDCWD, fixture->dir);
	free(fixture->dir);
	free(fixture);
	return 0;
}

static int try_collect(struct fixture *fixture, const struct digest *snapshot, bool move)
{
	struct collect_options options = {
		.run_dirfd = fixture->run,
		.snapshot_id = snapshot,
		.move = move,
	};

	forget(fixture);
	return collect_outputs(
		fixture->store, &options, &fixture->list, &fixture->warnings, &fixture->err);
}

static void collect(struct fixture *fixture, const struct digest *snapshot, bool move)
{
	if (try_collect(fixture, snapshot, move) < 0)
		fail_msg("%s", fixture->err.message);
}

static void assert_kept(struct fixture *fixture, const char *path, const void *data, size_t size)
{
	const struct artifact *artifact = artifacts_find(&fixture->list, path);
	_cleanup_(freep) char *found = NULL;
	size_t found_size;

	if (!artifact)
		fail_msg("no artifact %s", path);
	assert_int_equal(artifact->size, size);
	assert_int_equal(
		store_read(fixture->store, &artifact->digest, size, &found, &found_size), 0);
	assert_int_equal(found_size, size);
	assert_memory_equal(found, data, size);
}

static void assert_kept_text(struct fixture *fixture, const char *path, const char *text)
{
	assert_kept(fixture, path, text, strlen(text));
}

static bool warned_of(struct fixture *fixture, const char *text)
{
	for (char **warning = fixture->warnings; warning && *warning; warning++)
		if (strstr(*warning, text))
			return true;
	return false;
}

static struct stat stat_at(int dirfd, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void files_of_the_three_folders_are_kept(void **state)
{
	struct fixture *fixture = *state;
	struct timespec times[2] = { { 1, 0 }, { 1700000000, 123456000 } };

	mkdirat(fixture->work, "outputs/a", 0755);
	mkdirat(fixture->work, "outputs/empty", 0755);
	mkdirat(fixture->work, "other", 0755);
	put_text(fixture->work, "outputs/a/model", "weights");
	put_text(fixture->work, "outputs/empty file", "");
	put_text(fixture->work, "logs/train.log", "epoch 1");
	put_text(fixture->work, "user_logs/mine.txt", "mine");
	put_text(fixture->work, "other/file", "no");
	put_text(fixture->work, "train.py", "no");
	assert_int_equal(utimensat(fixture->work, "outputs/a/model", times, 0), 0);
	for (int move = 0; move < 2; move++) {
		collect(fixture, NULL, move);
		assert_int_equal(fixture->list.count, 5);
		assert_kept_text(fixture, "outputs/a/model", "weights");
		assert_kept_text(fixture, "outputs/empty file", "");
		assert_kept_text(fixture, "logs/train.log", "epoch 1");
		assert_kept_text(fixture, "user_logs/mine.txt", "mine");
		assert_kept_text(fixture, "user_logs/std_log.txt", "hello\n");
		assert_int_equal(artifacts_find(&fixture->list, "outputs/a/model")->modified_us,
			INT64_C(1700000000123456));
		assert_null(fixture->warnings);
		assert_string_equal(fixture->list.items[0].path, "logs/train.log");
	}
}

static void a_run_that_never_had_a_work_directory_has_its_log(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(tree_remove(fixture->run, "work"), 0);
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 1);
	assert_kept_text(fixture, "user_logs/std_log.txt", "hello\n");
	assert_int_equal(unlinkat(fixture->run, "std_log.txt", 0), 0);
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 0);
}

static void names_are_bytes(void **state)
{
	static const char *const names[] = { "outputs/with space", "outputs/new\nline",
		"outputs/quote\"'\\", "outputs/\xff\xfe", "outputs/-rf", "outputs/...",
		"outputs/\x01\x7f\t" };
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		put_text(fixture->work, names[i], names[i]);
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, ARRAY_SIZE(names) + 1);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_kept_text(fixture, names[i], names[i]);
}

static void make_socket(struct fixture *fixture, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* The path by descriptor: that of $TMPDIR may be too long for an address. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", fixture->work,
		name);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

static void what_is_no_file_is_named_and_not_opened(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(mkfifoat(fixture->work, "outputs/pipe", 0600), 0);
	make_socket(fixture, "outputs/socket");
	assert_int_equal(symlinkat("/etc/passwd", fixture->work, "outputs/passwd\n\xff"), 0);
	assert_int_equal(symlinkat("/etc", fixture->work, "outputs/etc"), 0);
	assert_int_equal(symlinkat("loop", fixture->work, "outputs/loop"), 0);
	assert_int_equal(symlinkat("..", fixture->work, "outputs/up"), 0);
	put_text(fixture->work, "outputs/file", "kept");
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 2);
	assert_kept_text(fixture, "outputs/file", "kept");
	assert_int_equal(strv_length(fixture->warnings), 6);
	assert_true(warned_of(fixture, "outputs/pipe (a named pipe)"));
	assert_true(warned_of(fixture, "outputs/socket (a socket)"));
	assert_true(warned_of(fixture, "outputs/passwd?\xef\xbf\xbd (a symbolic link)"));
	assert_true(warned_of(fixture, "outputs/up"));
}

static void devices_are_not_opened(void **state)
{
	struct fixture *fixture = *state;

	if (mknodat(fixture->work, "outputs/zero", S_IFCHR | 0600, 1 << 8 | 5) < 0)
		skip();
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 1);
	assert_true(warned_of(fixture, "outputs/zero (a device)"));
}

static void many_warnings_become_a_count(void **state)
{
	struct fixture *fixture = *state;

	for (int i = 0; i < 50; i++) {
		_cleanup_(freep) char *name = mem_printf("outputs/link%d", i);

		assert_int_equal(symlinkat("x", fixture->work, name), 0);
	}
	collect(fixture, NULL, true);
	assert_int_equal(strv_length(fixture->warnings), 21);
	assert_true(warned_of(fixture, "30 more"));
}

static void a_folder_that_is_a_link_or_a_file_is_not_entered(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(unlinkat(fixture->work, "outputs", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(fixture->work, "logs", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("/etc", fixture->work, "outputs"), 0);
	put_text(fixture->work, "logs", "a file");
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 1);
	assert_true(warned_of(fixture, "outputs (a symbolic link)"));
	assert_true(warned_of(fixture, "logs (a file, not a folder)"));
}

static void deep_nesting_is_bounded(void **state)
{
	struct fixture *fixture = *state;
	int fd = openat(fixture->work, "outputs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	put_text(fd, "top", "top");
	for (int i = 0; i < 3000; i++) {
		int below;

		assert_int_equal(mkdirat(fd, "d", 0755), 0);
		below = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(below >= 0);
		close(fd);
		fd = below;
	}
	close(fd);
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 2);
	assert_int_equal(strv_length(fixture->warnings), 1);
	assert_true(warned_of(fixture, "(nested too deeply)"));
}

/* Renames the innermost directories up, so that no walk has to be 3,000 deep to remove them. */
static int tear_down_deep(void **state)
{
	struct fixture *fixture = *state;

	for (int i = 0; i < 3000; i++) {
		if (renameat(fixture->work, "outputs/d/d", fixture->work, "outputs/e") < 0)
			break;
		unlinkat(fixture->work, "outputs/d", AT_REMOVEDIR);
		renameat(fixture->work, "outputs/e", fixture->work, "outputs/d");
	}
	return tear_down(state);
}

static void thousands_of_small_files_are_kept(void **state)
{
	struct fixture *fixture = *state;

	for (int i = 0; i < 3000; i++) {
		_cleanup_(freep) char *name = mem_printf("outputs/%d", i);

		put_text(fixture->work, name, name);
	}
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 3001);
	for (int i = 0; i < 3000; i += 100) {
		_cleanup_(freep) char *name = mem_printf("outputs/%d", i);

		assert_kept_text(fixture, name, name);
	}
}

static struct digest keep_manifest(struct fixture *fixture)
{
	struct manifest_entry entries[] = {
		{ .type = MANIFEST_DIRECTORY, .mode = 0755, .path = "logs" },
		{ .type = MANIFEST_FILE, .mode = 0644, .path = "logs/changed" },
		{ .type = MANIFEST_LINK, .path = "logs/link", .target = "changed" },
		{ .type = MANIFEST_DIRECTORY, .mode = 0755, .path = "outputs" },
		{ .type = MANIFEST_FILE, .mode = 0644, .path = "outputs/same" },
		{ .type = MANIFEST_FILE, .mode = 0644, .path = "train.py" },
	};
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	struct store_batch *batch;
	struct digest id;

	manifest_begin(&bytes);
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
		digest_of("as it was", 9, &entries[i].digest);
		entries[i].size = 9;
		manifest_add(&bytes, &entries[i]);
	}
	assert_int_equal(store_batch_begin(fixture->store, &batch), 0);
	assert_int_equal(store_batch_put(batch, "as it was", 9, &id), 0);
	assert_int_equal(store_batch_put(batch, bytes.data, bytes.size, &id), 0);
	assert_int_equal(store_batch_commit(batch), 0);
	return id;
}

static void unchanged_files_of_the_snapshot_are_left_out(void **state)
{
	struct fixture *fixture = *state;
	struct digest id = keep_manifest(fixture);

	put_text(fixture->work, "outputs/same", "as it was");
	put_text(fixture->work, "outputs/other", "as it was");
	put_text(fixture->work, "logs/changed", "as it is");
	put_text(fixture->work, "logs/link", "as it was");
	for (int move = 0; move < 2; move++) {
		collect(fixture, &id, move);
		assert_int_equal(fixture->list.count, 4);
		assert_null(artifacts_find(&fixture->list, "outputs/same"));
		assert_kept_text(fixture, "outputs/other", "as it was");
		assert_kept_text(fixture, "logs/changed", "as it is");
		assert_kept_text(fixture, "logs/link", "as it was");
		assert_null(fixture->warnings);
	}
}

static void without_its_manifest_all_counts_as_made_by_the_run(void **state)
{
	struct fixture *fixture = *state;
	struct digest absent;

	digest_of("absent", 6, &absent);
	put_text(fixture->work, "outputs/same", "as it was");
	collect(fixture, &absent, true);
	assert_kept_text(fixture, "outputs/same", "as it was");
	assert_int_equal(strv_length(fixture->warnings), 1);
	assert_true(warned_of(fixture, "snapshot"));
}

static void the_log_is_the_run_directorys(void **state)
{
	struct fixture *fixture = *state;

	unlinkat(fixture->work, "user_logs/std_log.txt", 0);
	put_text(fixture->work, "user_logs/std_log.txt", "forged");
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 1);
	assert_kept_text(fixture, "user_logs/std_log.txt", "hello\n");

	unlinkat(fixture->work, "user_logs/std_log.txt", 0);
	assert_int_equal(symlinkat("/etc/passwd", fixture->work, "user_logs/std_log.txt"), 0);
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 1);
	assert_kept_text(fixture, "user_logs/std_log.txt", "hello\n");

	unlinkat(fixture->work, "user_logs/std_log.txt", 0);
	mkdirat(fixture->work, "user_logs/std_log.txt", 0755);
	put_text(fixture->work, "user_logs/std_log.txt/below", "x");
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 1);
	assert_true(warned_of(fixture, "user_logs/std_log.txt (a directory)"));
}

static void moving_makes_the_file_the_blob(void **state)
{
	struct fixture *fixture = *state;

	put_text(fixture->work, "outputs/model", "weights");
	put_text(fixture->run, "elsewhere", "linked");
	linkat(fixture->run, "elsewhere", fixture->work, "outputs/linked", 0);
	collect(fixture, NULL, true);
	assert_kept_text(fixture, "outputs/model", "weights");
	assert_kept_text(fixture, "outputs/linked", "linked");
	assert_int_equal(stat_at(fixture->work, "outputs/model").st_nlink, 2);
	assert_int_equal(stat_at(fixture->run, "std_log.txt").st_nlink, 2);
	assert_int_equal(stat_at(fixture->run, "elsewhere").st_nlink, 2);
	/* The run directory goes, its files stay. */
	assert_int_equal(tree_remove(fixture->run, "work"), 0);
	assert_kept_text(fixture, "outputs/model", "weights");
}

static void copying_leaves_the_files_alone(void **state)
{
	struct fixture *fixture = *state;

	put_text(fixture->work, "outputs/model", "weights");
	collect(fixture, NULL, false);
	assert_int_equal(stat_at(fixture->work, "outputs/model").st_nlink, 1);
	assert_int_equal(stat_at(fixture->work, "outputs/model").st_mode & 0777, 0644);
	assert_int_equal(stat_at(fixture->work, "user_logs/std_log.txt").st_nlink, 2);
	put_text(fixture->work, "outputs/model", "other");
	assert_kept_text(fixture, "outputs/model", "weights");
}

static void it_can_be_done_again_after_a_crash(void **state)
{
	struct fixture *fixture = *state;

	put_text(fixture->work, "outputs/model", "weights");
	for (int i = 0; i < 3; i++) {
		collect(fixture, NULL, true);
		assert_int_equal(fixture->list.count, 2);
		assert_kept_text(fixture, "outputs/model", "weights");
		assert_kept_text(fixture, "user_logs/std_log.txt", "hello\n");
	}
}

static void a_failure_leaves_everything_where_it_was(void **state)
{
	struct fixture *fixture = *state;

	put_text(fixture->work, "outputs/model", "weights");
	flushes_fail = true;
	assert_int_equal(try_collect(fixture, NULL, true), -ENOSPC);
	flushes_fail = false;
	assert_non_null(strstr(fixture->err.message, "No space left"));
	assert_int_equal(fixture->list.count, 0);
	assert_int_equal(stat_at(fixture->work, "outputs/model").st_nlink, 1);
	assert_int_equal(stat_at(fixture->work, "user_logs/std_log.txt").st_nlink, 2);
	assert_int_equal(stat_at(fixture->work, "user_logs/std_log.txt").st_ino,
		stat_at(fixture->run, "std_log.txt").st_ino);
	collect(fixture, NULL, true);
	assert_int_equal(fixture->list.count, 2);
}

static int collect_as_nobody(struct fixture *fixture)
{
	if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
		return 100;
	for (int move = 0; move < 2; move++) {
		int r = try_collect(fixture, NULL, move);

		if (r < 0 || fixture->list.count != 3 || fixture->warnings)
			return 1;
	}
	return 0;
}

static void forbid(struct fixture *fixture)
{
	uid_t owner = geteuid() == 0 ? NOBODY : geteuid();
	static const char *const paths[] = { "outputs/secret", "outputs/locked/file",
		"outputs/locked", "outputs", "logs", "user_logs", "user_logs/std_log.txt" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(fchownat(fixture->work, paths[i], owner, (gid_t)-1, 0), 0);
	assert_int_equal(fchownat(fixture->run, "work", owner, (gid_t)-1, 0), 0);
	assert_int_equal(fchmodat(fixture->work, "outputs/secret", 0, 0), 0);
	assert_int_equal(fchmodat(fixture->work, "outputs/locked", 0, 0), 0);
}

/* Everything of the store, too: a daemon of that user's would have made it. */
static void give_away(const char *dir)
{
	_cleanup_(closedirp) DIR *stream = opendir(dir);

	assert_non_null(stream);
	assert_int_equal(chown(dir, NOBODY, (gid_t)-1), 0);
	for (struct dirent *entry; (entry = readdir(stream));) {
		_cleanup_(freep) char *path = path_join(dir, entry->d_name);

		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			give_away(path);
	}
}

static void what_the_script_made_unreadable_is_kept(void **state)
{
	struct fixture *fixture = *state;
	int status;
	pid_t pid;

	mkdirat(fixture->work, "outputs/locked", 0755);
	put_text(fixture->work, "outputs/locked/file", "locked");
	put_text(fixture->work, "outputs/secret", "secret");
	if (geteuid() == 0)
		give_away(fixture->dir);
	forbid(fixture);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(geteuid() == 0 ? collect_as_nobody(fixture)
				     : try_collect(fixture, NULL, true) < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_live_run_lists_its_logs(void **state)
{
	struct fixture *fixture = *state;

	mkdirat(fixture->work, "logs/sub", 0755);
	put_text(fixture->work, "logs/sub/train.log", "epoch");
	put_text(fixture->work, "outputs/model", "weights");
	assert_int_equal(mkfifoat(fixture->work, "logs/pipe", 0600), 0);
	assert_int_equal(symlinkat("/etc", fixture->work, "logs/etc"), 0);
	assert_int_equal(collect_list_live(&(struct collect_options){ .run_dirfd = fixture->run },
				 &fixture->list),
		0);
	assert_int_equal(fixture->list.count, 2);
	assert_int_equal(artifacts_find(&fixture->list, "logs/sub/train.log")->size, 5);
	assert_int_equal(artifacts_find(&fixture->list, "user_logs/std_log.txt")->size, 6);
	artifacts_release(&fixture->list);
	assert_int_equal(tree_remove(fixture->run, "work"), 0);
	assert_int_equal(collect_list_live(&(struct collect_options){ .run_dirfd = fixture->run },
				 &fixture->list),
		0);
	assert_int_equal(fixture->list.count, 1);
}

static void assert_opens(struct fixture *fixture, const char *path, const char *text)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	_cleanup_(closep) int fd = -EBADF;

	assert_int_equal(collect_open_live(
				 &(struct collect_options){ .run_dirfd = fixture->run }, path, &fd),
		0);
	assert_int_equal(file_read_fd(fd, 100, &bytes), 0);
	assert_string_equal(bytes.data, text);
}

static void a_file_of_a_live_run_is_opened_by_its_path(void **state)
{
	struct fixture *fixture = *state;

	mkdirat(fixture->work, "outputs/a", 0755);
	put_text(fixture->work, "outputs/a/b \xff\n", "deep");
	put_text(fixture->work, "logs/train.log", "epoch");
	unlinkat(fixture->work, "user_logs/std_log.txt", 0);
	assert_opens(fixture, "outputs/a/b \xff\n", "deep");
	assert_opens(fixture, "logs/train.log", "epoch");
	assert_opens(fixture, "user_logs/std_log.txt", "hello\n");
}

static void nothing_else_of_a_live_run_is_opened(void **state)
{
	static const char *const paths[] = { "", "outputs", "outputs/", "outputs/none", "train.py",
		"outputs/../train.py", "../std_log.txt", "/etc/passwd", "outputs//etc/passwd",
		"outputs/passwd", "outputs/etc/passwd", "outputs/pipe", "outputs/loop",
		"outputs/dir", "outputs/file/x", "logs/file" };
	struct fixture *fixture = *state;
	int fd = -EBADF;

	put_text(fixture->work, "train.py", "x");
	put_text(fixture->work, "outputs/file", "x");
	mkdirat(fixture->work, "outputs/dir", 0755);
	mkfifoat(fixture->work, "outputs/pipe", 0600);
	symlinkat("/etc/passwd", fixture->work, "outputs/passwd");
	symlinkat("/etc", fixture->work, "outputs/etc");
	symlinkat("loop", fixture->work, "outputs/loop");
	unlinkat(fixture->work, "logs", AT_REMOVEDIR);
	symlinkat("outputs", fixture->work, "logs");
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (collect_open_live(&(struct collect_options){ .run_dirfd = fixture->run },
			    paths[i], &fd) != -ENOENT)
			fail_msg("%s was opened", paths[i]);
	assert_int_equal(fd, -EBADF);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(files_of_the_three_folders_are_kept),
		TEST(a_run_that_never_had_a_work_directory_has_its_log),
		TEST(names_are_bytes),
		TEST(what_is_no_file_is_named_and_not_opened),
		TEST(devices_are_not_opened),
		TEST(many_warnings_become_a_count),
		TEST(a_folder_that_is_a_link_or_a_file_is_not_entered),
		cmocka_unit_test_setup_teardown(deep_nesting_is_bounded, set_up, tear_down_deep),
		TEST(thousands_of_small_files_are_kept),
		TEST(unchanged_files_of_the_snapshot_are_left_out),
		TEST(without_its_manifest_all_counts_as_made_by_the_run),
		TEST(the_log_is_the_run_directorys),
		TEST(moving_makes_the_file_the_blob),
		TEST(copying_leaves_the_files_alone),
		TEST(it_can_be_done_again_after_a_crash),
		TEST(a_failure_leaves_everything_where_it_was),
		TEST(what_the_script_made_unreadable_is_kept),
		TEST(a_live_run_lists_its_logs),
		TEST(a_file_of_a_live_run_is_opened_by_its_path),
		TEST(nothing_else_of_a_live_run_is_opened),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
