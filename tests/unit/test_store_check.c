/* SPDX-License-Identifier: MIT */
/* test_store_check - a look at the store: what it finds, what it leaves as it was; see store.h */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"
#include "store/store.h"

struct fixture {
	char dir[64];
	char *root;
	char **faults; /* strv: "fault name" */
};

static struct fixture fixture;

static int set_up(void **state)
{
	struct fixture *f = &fixture;

	alarm(60);
	*f = (struct fixture){ 0 };
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_store_check.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->root = mem_printf("%s/blobs", f->dir);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(tree_remove(AT_FDCWD, f->dir), 0);
	free(f->root);
	strv_free(f->faults);
	alarm(0);
	return 0;
}

static void on_fault(void *data, enum store_fault fault, const char *name, int error)
{
	struct fixture *f = data;

	(void)error;
	strv_addf(&f->faults, "%d %s", (int)fault, name);
}

static bool told(const struct fixture *f, enum store_fault fault, const char *name)
{
	_cleanup_(freep) char *line = mem_printf("%d %s", (int)fault, name);

	return strv_contains(f->faults, line);
}

static struct digest put(struct fixture *f, const char *text)
{
	_cleanup_(store_closep) struct store *store = NULL;
	struct store_batch *batch;
	struct digest digest;

	assert_int_equal(store_open(f->root, &store), 0);
	assert_int_equal(store_batch_begin(store, &batch), 0);
	assert_int_equal(store_batch_put(batch, text, strlen(text), &digest), 0);
	assert_int_equal(store_batch_commit(batch), 0);
	return digest;
}

/* "ab/<hex>" */
static char *name_of(const struct digest *digest)
{
	char hex[DIGEST_HEX_SIZE + 1];

	digest_format(digest, hex);
	return mem_printf("%.2s/%s", hex, hex);
}

static char *path_of(const struct fixture *f, const struct digest *digest)
{
	_cleanup_(freep) char *name = name_of(digest);

	return mem_printf("%s/sha256/%s", f->root, name);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static void spoil(const struct fixture *f, const struct digest *digest, const char *text)
{
	_cleanup_(freep) char *path = path_of(f, digest);

	assert_int_equal(chmod(path, 0600), 0);
	write_text(path, text);
	assert_int_equal(chmod(path, 0444), 0);
}

static struct store_check *begin(struct fixture *f)
{
	struct store_check *check = NULL;

	assert_int_equal(store_check_open(f->root, on_fault, f, &check), 0);
	return check;
}

static struct store_check_totals totals_of(const struct store_check *check)
{
	struct store_check_totals totals;

	store_check_totals(check, &totals);
	return totals;
}

static void a_store_that_is_not_there_is_not_made(void **state)
{
	struct fixture *f = *state;
	struct store_check *check = NULL;

	assert_int_equal(store_check_open(f->root, on_fault, f, &check), -ENOENT);
	assert_null(check);
	assert_int_equal(access(f->root, F_OK), -1);
}

static uint64_t last_done, last_total;

static void on_progress(const struct store_check_progress *progress)
{
	assert_true(progress->done >= last_done && progress->done <= progress->total);
	last_done = progress->done;
	last_total = progress->total;
}

static void whole_blobs_are_compared_and_counted(void **state)
{
	struct fixture *f = *state;
	struct store_check_progress progress = { .tell = on_progress };
	struct digest one = put(f, "one");
	_cleanup_(store_check_closep) struct store_check *check = NULL;
	uint64_t size = 0;

	put(f, "three");
	put(f, "");
	check = begin(f);
	last_done = last_total = 0;
	store_check_bytes(check, &progress);
	assert_int_equal(last_done, 8);
	assert_int_equal(last_total, 8);
	assert_int_equal(store_check_refer(check, &one, &size), 0);
	assert_int_equal(size, 3);
	assert_int_equal(totals_of(check).blobs, 3);
	assert_int_equal(totals_of(check).bytes, 8);
	assert_int_equal(totals_of(check).read, 3);
	assert_int_equal(totals_of(check).unreferred, 2);
	assert_int_equal(totals_of(check).unreferred_bytes, 5);
	assert_int_equal(strv_length(f->faults), 0);
}

static void damage_is_told_once_and_known_to_who_refers_to_it(void **state)
{
	struct fixture *f = *state;
	struct store_check_progress progress = { 0 };
	struct digest one = put(f, "one"), two = put(f, "two");
	_cleanup_(freep) char *name = name_of(&one);
	_cleanup_(store_check_closep) struct store_check *check = NULL;
	uint64_t size = 0;

	spoil(f, &one, "ono!");
	check = begin(f);
	assert_int_equal(store_check_refer(check, &one, NULL), 0); /* not looked at yet */
	store_check_bytes(check, &progress);
	assert_int_equal(strv_length(f->faults), 1);
	assert_true(told(f, STORE_FAULT_DAMAGED, name));
	assert_int_equal(store_check_refer(check, &one, &size), -EBADMSG);
	assert_int_equal(size, 4);
	assert_int_equal(store_check_refer(check, &two, NULL), 0);
}

static void a_blob_is_read_once_and_verified(void **state)
{
	struct fixture *f = *state;
	struct digest one = put(f, "one"), two = put(f, "two");
	_cleanup_(store_check_closep) struct store_check *check = NULL;
	_cleanup_(freep) char *text = NULL;
	size_t size = 0;

	spoil(f, &two, "owt");
	check = begin(f);
	assert_int_equal(store_check_read(check, &one, 2, &text, &size), -EFBIG);
	assert_int_equal(store_check_read(check, &one, 3, &text, &size), 0);
	assert_string_equal(text, "one");
	assert_int_equal(size, 3);
	assert_int_equal(store_check_read(check, &one, 3, &text, &size), -EALREADY);
	assert_int_equal(store_check_read(check, &two, 3, &text, &size), -EBADMSG);
	assert_int_equal(store_check_refer(check, &two, NULL), -EBADMSG);
}

static void a_blob_stored_meanwhile_is_found_and_a_missing_one_is_not(void **state)
{
	struct fixture *f = *state;
	struct digest late, none;
	_cleanup_(store_check_closep) struct store_check *check = NULL;
	uint64_t size = 0;

	put(f, "one");
	put(f, "two");
	check = begin(f);
	late = put(f, "later");
	digest_of("never", 5, &none);
	assert_int_equal(store_check_refer(check, &late, &size), 0);
	assert_int_equal(size, 5);
	assert_int_equal(store_check_refer(check, &late, &size), 0);
	assert_int_equal(store_check_refer(check, &none, &size), -ENOENT);
	assert_int_equal(totals_of(check).blobs, 3);
	assert_int_equal(totals_of(check).unreferred, 2);
}

static void a_blob_that_goes_meanwhile_is_missed_by_who_refers_to_it_alone(void **state)
{
	struct fixture *f = *state;
	struct store_check_progress progress = { 0 };
	struct digest one = put(f, "one");
	_cleanup_(freep) char *path = path_of(f, &one);
	_cleanup_(store_check_closep) struct store_check *check = begin(f);

	assert_int_equal(unlink(path), 0);
	store_check_bytes(check, &progress);
	assert_int_equal(strv_length(f->faults), 0);
	assert_int_equal(store_check_refer(check, &one, NULL), -ENOENT);
	assert_int_equal(totals_of(check).blobs, 0);
}

static void modes_and_strange_names_are_told(void **state)
{
	struct fixture *f = *state;
	struct digest one = put(f, "one"), two = put(f, "two");
	_cleanup_(freep) char *first = path_of(f, &one);
	_cleanup_(freep) char *second = path_of(f, &two);
	_cleanup_(freep) char *first_name = name_of(&one);
	_cleanup_(freep) char *second_name = name_of(&two);
	_cleanup_(freep) char *wrong = mem_printf("%s/sha256/00/%064d", f->root, 1);
	_cleanup_(freep) char *upper = mem_printf("%s/sha256/AB", f->root);
	_cleanup_(freep) char *folder = mem_printf("%s/sha256/ab/cd", f->root);
	_cleanup_(freep) char *other = mem_printf("%s/sha256/11/%064d", f->root, 0);
	_cleanup_(store_check_closep) struct store_check *check = NULL;

	assert_int_equal(chmod(first, 0644), 0);
	assert_int_equal(chmod(second, 0000), 0);
	write_text(wrong, "");
	write_text(upper, "");
	write_text(other, "");
	assert_int_equal(mkdir(folder, 0700), 0);
	check = begin(f);
	assert_true(told(f, STORE_FAULT_WRITABLE, first_name));
	assert_true(told(f, STORE_FAULT_UNREADABLE, second_name));
	assert_true(told(f, STORE_FAULT_STRANGE, "AB"));
	assert_true(told(f, STORE_FAULT_STRANGE, "ab/cd"));
	assert_true(told(f, STORE_FAULT_STRANGE, other + strlen(f->root) + strlen("/sha256/")));
	assert_int_equal(strv_length(f->faults), 5);
	assert_int_equal(totals_of(check).blobs, 3);
}

static void what_lies_in_tmp_is_counted_and_left(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *temp = mem_printf("%s/tmp/7", f->root);
	_cleanup_(store_check_closep) struct store_check *check = NULL;

	put(f, "one");
	write_text(temp, "half");
	check = begin(f);
	assert_int_equal(totals_of(check).temporary, 1);
	assert_int_equal(totals_of(check).temporary_bytes, 4);
	assert_int_equal(access(temp, F_OK), 0);
}

static void looking_changes_no_time(void **state)
{
	struct fixture *f = *state;
	struct store_check_progress progress = { 0 };
	struct digest one = put(f, "one");
	_cleanup_(freep) char *path = path_of(f, &one);
	struct timespec old[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	_cleanup_(store_check_closep) struct store_check *check = NULL;
	struct stat st;

	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	check = begin(f);
	store_check_bytes(check, &progress);
	assert_int_equal(totals_of(check).read, 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(st.st_atim.tv_sec, 1000000000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_store_that_is_not_there_is_not_made),
		TEST(whole_blobs_are_compared_and_counted),
		TEST(damage_is_told_once_and_known_to_who_refers_to_it),
		TEST(a_blob_is_read_once_and_verified),
		TEST(a_blob_stored_meanwhile_is_found_and_a_missing_one_is_not),
		TEST(a_blob_that_goes_meanwhile_is_missed_by_who_refers_to_it_alone),
		TEST(modes_and_strange_names_are_told),
		TEST(what_lies_in_tmp_is_counted_and_left),
		TEST(looking_changes_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
