/* SPDX-License-Identifier: MIT */
/* test_snapshot_memory - what a snapshot reads again, and what it does while others are at work */
#include "snapshot_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "capture/snapshot_index.h"

static void unchanged_files_are_not_read_again(void **state)
{
	struct fixture *f = *state;
	struct digest id;

	put_dir(f, "a");
	put(f, "a/x", "1");
	put(f, "b", "2");
	put_link(f, "c", "b");
	id = take_until_known(f);
	assert_same_id(take(f), id);
	assert_int_equal(f->snapshot.files_read, 0);
	assert_int_equal(f->snapshot.files, 3);
	assert_int_equal(f->snapshot.bytes, 2);
	put(f, "new", "3");
	assert_other_id(take(f), id);
	assert_int_equal(f->snapshot.files_read, 1);
	assert_int_equal(unlinkat(f->fd, "new", 0), 0);
	assert_same_id(take(f), id);
	assert_int_equal(f->snapshot.files_read, 0);
}

static void unchanged_tree_writes_nothing(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closedirp) DIR *dir = NULL;
	struct stat before, after;
	struct dirent *entry;

	put(f, "a", "1");
	take_until_known(f);
	dir = opendir(f->index);
	while ((entry = readdir(dir)) && entry->d_name[0] == '.')
		;
	assert_non_null(entry);
	assert_int_equal(fstatat(dirfd(dir), entry->d_name, &before, 0), 0);
	take(f);
	assert_int_equal(fstatat(dirfd(dir), entry->d_name, &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
}

static void touched_file_is_read_and_has_the_same_id(void **state)
{
	struct fixture *f = *state;
	struct digest id;

	put(f, "a", "1");
	put(f, "b", "2");
	id = take_until_known(f);
	assert_int_equal(utimensat(f->fd, "a", NULL, 0), 0);
	assert_same_id(take(f), id);
	assert_int_equal(f->snapshot.files_read, 1);
}

static void change_of_same_size_and_mtime_is_seen(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	struct digest id;

	put(f, "a", "1");
	id = take_until_known(f);
	assert_int_equal(fstatat(f->fd, "a", &st, 0), 0);
	put(f, "a", "2");
	assert_int_equal(
		utimensat(f->fd, "a", (struct timespec[]){ st.st_atim, st.st_mtim }, 0), 0);
	assert_other_id(take(f), id);
}

static void changes_of_mode_link_and_type_are_seen(void **state)
{
	struct fixture *f = *state;
	struct digest id;

	put_dir(f, "d");
	put_link(f, "l", "d");
	id = take_until_known(f);
	assert_int_equal(fchmodat(f->fd, "d", 0700, 0), 0);
	assert_other_id(take(f), id);
	assert_int_equal(fchmodat(f->fd, "d", 0755, 0), 0);
	assert_same_id(take(f), id);
	assert_int_equal(unlinkat(f->fd, "l", 0), 0);
	put_link(f, "l", "e");
	assert_other_id(take(f), id);
	assert_int_equal(unlinkat(f->fd, "l", 0), 0);
	put_dir(f, "l");
	assert_other_id(take(f), id);
}

static void mtime_in_the_future_is_no_reason_to_read_again(void **state)
{
	struct fixture *f = *state;
	struct timespec future = { .tv_sec = time(NULL) + 86400 };

	put(f, "a", "1");
	assert_int_equal(utimensat(f->fd, "a", (struct timespec[]){ future, future }, 0), 0);
	take_until_known(f);
	take(f);
	assert_int_equal(f->snapshot.files_read, 0);
}

static char *index_path(struct fixture *f)
{
	_cleanup_(closedirp) DIR *dir = opendir(f->index);
	struct dirent *entry;

	while ((entry = readdir(dir)) && entry->d_name[0] == '.')
		;
	assert_non_null(entry);
	return path_join(f->index, entry->d_name);
}

/* Write the index anew: another start, and a wrong digest for every file. */
static void forge_index(struct fixture *f, int64_t start)
{
	_cleanup_(freep) char *path = index_path(f);
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	const char *name = strrchr(path, '/') + 1;
	struct snapshot_index index;
	struct snapshot_index_head head;

	assert_int_equal(snapshot_index_load(f->index, name, &index), 0);
	head = index.head;
	head.start = start;
	snapshot_index_begin(&bytes);
	const struct snapshot_index_entry *found = snapshot_index_find(&index, "a");
	assert_non_null(found);
	struct snapshot_index_entry entry = *found;
	memset(&entry.digest, 0x5a, sizeof(entry.digest));
	snapshot_index_add(&bytes, &entry);
	snapshot_index_finish(&bytes, &head);
	assert_int_equal(snapshot_index_save(f->index, name, &bytes), 0);
	snapshot_index_release(&index);
}

static void file_of_the_same_tick_is_read_again(void **state)
{
	struct fixture *f = *state;
	struct digest id;
	struct stat st;

	put(f, "a", "1");
	id = take_until_known(f);
	assert_int_equal(fstatat(f->fd, "a", &st, 0), 0);
	forge_index(f, file_time_ns(st.st_ctim) + FILE_STAMP_TICK);
	assert_same_id(take(f), id);
	assert_int_equal(f->snapshot.files_read, 1);

	/* The same lie is believed of a file that had been left alone: the start decides. */
	forge_index(f, file_time_ns(st.st_ctim) + FILE_STAMP_TICK + 1);
	take(f);
	assert_int_equal(f->snapshot.files_read, 0);
}

static void torn_index_only_costs_time(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *path = NULL;
	_cleanup_(strbuf_release) struct strbuf good = STRBUF_INIT;
	struct digest id;

	put(f, "a", "1");
	put(f, "b", "2");
	id = take_until_known(f);
	path = index_path(f);
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &good), 0);
	for (size_t size = 0; size < good.size; size += 7) {
		put_bytes(AT_FDCWD, path, good.data, size, 0600);
		assert_same_id(take(f), id);
		assert_int_equal(f->snapshot.files_read, 2);
	}
	for (size_t at = 0; at < good.size; at += 5) {
		good.data[at] ^= 1;
		put_bytes(AT_FDCWD, path, good.data, good.size, 0600);
		good.data[at] ^= 1;
		assert_same_id(take(f), id);
		assert_int_equal(f->snapshot.files_read, 2);
	}
	put_bytes(AT_FDCWD, path, good.data, good.size, 0600);
	assert_same_id(take(f), id);
	assert_int_equal(f->snapshot.files_read, 0);
}

static void index_that_cannot_be_written_does_no_harm(void **state)
{
	struct fixture *f = *state;

	put(f, "a", "1");
	free(f->index);
	f->index = mem_strdup("/dev/null/index");
	take(f);
	take(f);
	assert_int_equal(f->snapshot.files_read, 1);
}

static void memory_of_blobs_that_are_gone_is_not_believed(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *blobs = path_join(f->dir, "state/blobs");
	struct digest id;

	put(f, "a", "1");
	id = take_until_known(f);
	store_close(f->store);
	assert_int_equal(tree_remove(AT_FDCWD, blobs), 0);
	assert_int_equal(store_open(blobs, &f->store), 0);
	assert_same_id(take(f), id);
	assert_int_equal(f->snapshot.files_read, 1);
}

/* ---- others at work ---- */

#define TAKERS 4
#define TAKES 10

static void *take_many(void *data)
{
	const struct fixture *f = data;
	intptr_t wrong = 0;

	for (int i = 0; i < TAKES; i++) {
		struct snapshot snapshot = { 0 };

		_cleanup_(source_close) struct source source = SOURCE_INIT;

		if (source_open(NULL, f->source, &source, NULL) < 0 ||
			snapshot_take(f->store, f->index, &source, &f->limits, &snapshot, NULL) <
				0 ||
			snapshot.files != f->snapshot.files)
			wrong++;
		snapshot_release(&snapshot);
	}
	return (void *)wrong;
}

static void many_takes_of_one_folder_at_a_time(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[TAKERS];
	char path[32];
	struct digest id;

	for (int i = 0; i < 40; i++) {
		snprintf(path, sizeof(path), "%d", i);
		put(f, path, path);
	}
	f->snapshot.files = 40;
	for (int i = 0; i < TAKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_many, f), 0);
	for (int i = 0; i < TAKERS; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	id = take_until_known(f);
	take(f);
	assert_same_id(f->snapshot.id, id);
	assert_int_equal(f->snapshot.files_read, 0);
}

struct churn {
	int fd;
	atomic_bool stop;
};

/* Files and folders come, grow, move and go. */
static void *churn(void *data)
{
	struct churn *churn = data;

	for (unsigned i = 0; !atomic_load(&churn->stop); i++) {
		char path[32], other[32];

		snprintf(path, sizeof(path), "d%u", i % 7);
		snprintf(other, sizeof(other), "d%u/f%u", i % 7, i % 5);
		mkdirat(churn->fd, path, 0755);
		fd_close(openat(churn->fd, other, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
		snprintf(path, sizeof(path), "d%u/f%u", (i + 3) % 7, (i + 1) % 5);
		renameat(churn->fd, other, churn->fd, path);
		unlinkat(churn->fd, i % 2 ? other : path, 0);
		snprintf(path, sizeof(path), "d%u", (i + 2) % 7);
		unlinkat(churn->fd, path, AT_REMOVEDIR);
	}
	return NULL;
}

static void assert_lays_out(struct fixture *f)
{
	_cleanup_(freep) char *out = path_join(f->dir, "out");
	_cleanup_(closep) int fd = -EBADF;

	assert_int_equal(mkdir(out, 0700), 0);
	fd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(snapshot_lay_out(f->store, &f->snapshot.id, f->source, fd, &f->err), 0);
	assert_int_equal(tree_remove(AT_FDCWD, out), 0);
}

static void folder_may_change_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct churn work = { .fd = f->fd };
	pthread_t thread;
	int taken = 0;

	put(f, "a", "x");
	assert_int_equal(pthread_create(&thread, NULL, churn, &work), 0);
	for (int i = 0; i < 60; i++) {
		int r = try_take(f);

		if (r < 0 && r != -EBUSY)
			fail_msg("%s", f->err.message);
		if (r < 0)
			continue;
		taken++;
		assert_lays_out(f);
	}
	atomic_store(&work.stop, true);
	pthread_join(thread, NULL);
	assert_true(taken > 0);
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
		TEST(unchanged_files_are_not_read_again),
		TEST(unchanged_tree_writes_nothing),
		TEST(touched_file_is_read_and_has_the_same_id),
		TEST(change_of_same_size_and_mtime_is_seen),
		TEST(changes_of_mode_link_and_type_are_seen),
		TEST(mtime_in_the_future_is_no_reason_to_read_again),
		TEST(file_of_the_same_tick_is_read_again),
		TEST(torn_index_only_costs_time),
		TEST(index_that_cannot_be_written_does_no_harm),
		TEST(memory_of_blobs_that_are_gone_is_not_believed),
		TEST(many_takes_of_one_folder_at_a_time),
		TEST(folder_may_change_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
