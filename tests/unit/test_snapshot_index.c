/* SPDX-License-Identifier: MIT */
/* test_snapshot_index - the memory of a snapshot, and when a stamp is believed */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "capture/snapshot_index.h"

static const struct snapshot_index_head head = {
	.start = 5, .root_device = 1, .root_inode = 2, .count = 4, .snapshot_id = { { 9 } }
};

static void add(struct strbuf *out, const char *path, const char *target, uint64_t inode)
{
	struct snapshot_index_entry entry = {
		.stamp = { .inode = inode, .mode = 0100644, .mtime = -1 },
		.digest = { { 7, (uint8_t)inode } },
		.path = path,
		.target = target,
	};

	snapshot_index_add(out, &entry);
}

static void make(struct strbuf *out)
{
	snapshot_index_begin(out);
	add(out, "a", "", 1);
	add(out, "a/x", "", 2);
	add(out, "a-b", "target", 3);
	add(out, "b", "", 4);
	snapshot_index_finish(out, &head);
}

static void assert_found(struct snapshot_index *index, const char *path, uint64_t inode)
{
	const struct snapshot_index_entry *entry = snapshot_index_find(index, path);

	assert_non_null(entry);
	assert_string_equal(entry->path, path);
	assert_int_equal(entry->stamp.inode, inode);
	assert_int_equal(entry->stamp.mtime, -1);
	assert_int_equal(entry->digest.bytes[1], inode);
}

static void what_was_added_is_found_in_order(void **state)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	_cleanup_(snapshot_index_release) struct snapshot_index index = { 0 };

	(void)state;
	make(&bytes);
	assert_int_equal(snapshot_index_parse(&bytes, &index), 0);
	assert_null(bytes.data);
	assert_memory_equal(&index.head, &head, sizeof(head));
	assert_found(&index, "a", 1);
	assert_found(&index, "a/x", 2);
	assert_null(snapshot_index_find(&index, "a/y"));
	assert_found(&index, "a-b", 3);
	assert_string_equal(snapshot_index_find(&index, "a-b")->target, "target");
	assert_null(snapshot_index_find(&index, "aa"));
	assert_found(&index, "b", 4);
	assert_null(snapshot_index_find(&index, "c"));
	assert_null(snapshot_index_find(&index, "d"));
}

static void entries_may_be_passed_over(void **state)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	_cleanup_(snapshot_index_release) struct snapshot_index index = { 0 };

	(void)state;
	make(&bytes);
	assert_int_equal(snapshot_index_parse(&bytes, &index), 0);
	assert_null(snapshot_index_find(&index, "a/w"));
	assert_found(&index, "b", 4);
}

static void zeroed_one_is_empty(void **state)
{
	struct snapshot_index index = { 0 };

	(void)state;
	assert_null(snapshot_index_find(&index, "a"));
	snapshot_index_release(&index);
}

static void torn_or_changed_bytes_are_none_of_ours(void **state)
{
	_cleanup_(strbuf_release) struct strbuf good = STRBUF_INIT;

	(void)state;
	make(&good);
	for (size_t i = 0; i < 2 * good.size; i++) {
		_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
		struct snapshot_index index;

		strbuf_add(&bytes, good.data, i < good.size ? i : good.size);
		if (i >= good.size)
			bytes.data[i - good.size] ^= 0x10;
		assert_int_equal(snapshot_index_parse(&bytes, &index), -EBADMSG);
		assert_non_null(bytes.data);
	}
}

/* The digest is right, and what it covers is not. */
static void records_that_lie_end_the_list(void **state)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	_cleanup_(snapshot_index_release) struct snapshot_index index = { 0 };

	(void)state;
	snapshot_index_begin(&bytes);
	add(&bytes, "a", "", 1);
	add(&bytes, "b", "", 2);
	bytes.data[bytes.size - 1] = 'x'; /* the NUL of the target of b */
	snapshot_index_finish(&bytes, &head);
	assert_int_equal(snapshot_index_parse(&bytes, &index), 0);
	assert_found(&index, "a", 1);
	assert_null(snapshot_index_find(&index, "b"));
}

static bool settled(int64_t mtime, int64_t ctime, int64_t start)
{
	struct file_stamp stamp = { .mtime = mtime, .ctime = ctime };

	return file_stamp_is_settled(&stamp, start);
}

static void stamps_of_the_same_tick_are_not_believed(void **state)
{
	const int64_t now = 1000 * NSEC_PER_SEC + 1;

	(void)state;
	assert_true(settled(now, now, now + FILE_STAMP_TICK + 1));
	assert_false(settled(now, now, now + FILE_STAMP_TICK));
	assert_false(settled(now, now, now));
	assert_false(settled(now, now, now - 1));
	assert_false(settled(1, now, now));
	assert_false(settled(now, 1, now));
}

static void whole_seconds_need_two_of_them(void **state)
{
	const int64_t now = 1000 * NSEC_PER_SEC;

	(void)state;
	assert_false(settled(now, now, now + FILE_STAMP_COARSE_TICK));
	assert_true(settled(now, now, now + FILE_STAMP_COARSE_TICK + 1));
	assert_true(settled(now, now + 1, now + NSEC_PER_SEC));
}

static void mtime_of_tomorrow_says_nothing(void **state)
{
	const int64_t now = 1000 * NSEC_PER_SEC + 1;

	(void)state;
	assert_true(settled(now + 86400 * NSEC_PER_SEC, 1, now));
	assert_false(settled(now + 86400 * NSEC_PER_SEC, now + 86400 * NSEC_PER_SEC, now));
	assert_false(settled(now + NSEC_PER_SEC, 1, now));
	assert_true(settled(INT64_MAX, 1, now));
	assert_false(settled(now, now, INT64_MIN));
	assert_true(settled(INT64_MIN, INT64_MIN, now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_added_is_found_in_order),
		cmocka_unit_test(entries_may_be_passed_over),
		cmocka_unit_test(zeroed_one_is_empty),
		cmocka_unit_test(torn_or_changed_bytes_are_none_of_ours),
		cmocka_unit_test(records_that_lie_end_the_list),
		cmocka_unit_test(stamps_of_the_same_tick_are_not_believed),
		cmocka_unit_test(whole_seconds_need_two_of_them),
		cmocka_unit_test(mtime_of_tomorrow_says_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
