/* SPDX-License-Identifier: MIT */
/* test_manifest - the canonical form of a tree, and bytes that only look like it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "store/manifest.h"

#define FIRST "amlagent-manifest 1\n"
#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* A literal with NUL bytes in it, as bytes and size. */
#define BYTES(text) (text), sizeof(text) - 1

static const struct manifest_entry tree[] = {
	{ .type = MANIFEST_FILE, .mode = 0644, .path = "a" },
	{ .type = MANIFEST_DIRECTORY, .mode = 0755, .path = "b" },
	{ .type = MANIFEST_FILE, .mode = 0600, .size = UINT64_MAX, .path = "b/x y\n\"\xff" },
	{ .type = MANIFEST_DIRECTORY, .mode = 0, .path = "b/z" },
	{ .type = MANIFEST_FILE, .mode = 0777, .size = 10, .path = "b/z/deep" },
	{ .type = MANIFEST_LINK, .path = "b.c", .target = "../elsewhere" },
	{ .type = MANIFEST_LINK, .path = "b0", .target = "/" },
	{ .type = MANIFEST_DIRECTORY, .mode = 0700, .path = "\xfe" },
};

static void build(struct strbuf *out)
{
	manifest_begin(out);
	for (size_t i = 0; i < ARRAY_SIZE(tree); i++)
		manifest_add(out, &tree[i]);
}

/* The number of entries, or the error. */
static int count(const char *data, size_t size)
{
	/* Exact memory: the sanitizer sees a step beyond it. */
	_cleanup_(freep) char *copy = mem_dup(data, size);
	struct manifest_reader reader;
	struct manifest_entry entry;
	int r = manifest_open(&reader, copy, size);
	int n = 0;

	while (r >= 0 && (r = manifest_next(&reader, &entry)) > 0)
		n++;
	return r < 0 ? r : n;
}

static void what_was_built_is_read_back(void **state)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	struct manifest_reader reader;
	struct manifest_entry entry;

	(void)state;
	build(&bytes);
	assert_int_equal(manifest_open(&reader, bytes.data, bytes.size), 0);
	for (size_t i = 0; i < ARRAY_SIZE(tree); i++) {
		assert_int_equal(manifest_next(&reader, &entry), 1);
		assert_int_equal(entry.type, tree[i].type);
		assert_int_equal(entry.mode, tree[i].mode);
		assert_int_equal(entry.size, tree[i].size);
		assert_string_equal(entry.path, tree[i].path);
		if (tree[i].target)
			assert_string_equal(entry.target, tree[i].target);
		assert_true(digest_equal(&entry.digest, &tree[i].digest));
	}
	assert_int_equal(manifest_next(&reader, &entry), 0);
	assert_int_equal(manifest_next(&reader, &entry), 0);
}

static void the_form_is_the_documented_one(void **state)
{
	static const char expected[] = FIRST "D 755\0d\0F 644 " HEX " 0\0d/f\0L\0l\0t";
	struct manifest_entry directory = { .type = MANIFEST_DIRECTORY, .mode = 0755, .path = "d" };
	struct manifest_entry file = { .type = MANIFEST_FILE, .mode = 04644, .path = "d/f" };
	struct manifest_entry link = { .type = MANIFEST_LINK, .path = "l", .target = "t" };
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;

	(void)state;
	digest_of("", 0, &file.digest);
	manifest_begin(&bytes);
	manifest_add(&bytes, &directory);
	manifest_add(&bytes, &file);
	manifest_add(&bytes, &link);
	assert_int_equal(bytes.size, sizeof(expected));
	assert_memory_equal(bytes.data, expected, sizeof(expected));
}

static void an_empty_tree_has_a_first_line(void **state)
{
	(void)state;
	assert_int_equal(count(BYTES(FIRST)), 0);
	assert_int_equal(count(BYTES("")), -EBADMSG);
	assert_int_equal(count(BYTES("amlagent-manifest 1")), -EBADMSG);
	assert_int_equal(count(BYTES("amlagent-manifest 2\n")), -EBADMSG);
}

static void entries_come_in_the_order_of_a_walk(void **state)
{
	(void)state;
	assert_int_equal(count(BYTES(FIRST "D 755\0a\0D 755\0a/b\0D 755\0a.b\0D 755\0a0\0")), 4);
	assert_int_equal(count(BYTES(FIRST "D 755\0b\0D 755\0a\0")), -EBADMSG);
	assert_int_equal(count(BYTES(FIRST "D 755\0a\0D 755\0a\0")), -EBADMSG);
	assert_int_equal(count(BYTES(FIRST "D 755\0a\0D 755\0a.b\0D 755\0a/b\0")), -EBADMSG);
	assert_int_equal(count(BYTES(FIRST "D 755\0\xff\0D 755\0a\0")), -EBADMSG);
}

static void only_a_listed_directory_holds_entries(void **state)
{
	(void)state;
	assert_int_equal(count(BYTES(FIRST "L\0a\0/etc\0D 755\0a/b\0")), -EBADMSG);
	assert_int_equal(count(BYTES(FIRST "F 644 " HEX " 0\0a\0D 755\0a/b\0")), -EBADMSG);
	assert_int_equal(count(BYTES(FIRST "D 755\0a/b\0")), -EBADMSG);
	assert_int_equal(count(BYTES(FIRST "D 755\0a\0D 755\0a/b/c\0")), -EBADMSG);
	assert_int_equal(count(BYTES(FIRST "D 755\0a\0L\0a/b\0x\0D 755\0a/b/c\0")), -EBADMSG);
	assert_int_equal(count(BYTES(FIRST "D 755\0ab\0D 755\0abc/d\0")), -EBADMSG);
	assert_int_equal(count(BYTES(FIRST "D 755\0a\0D 755\0a/b\0D 755\0a/b/c\0L\0a/d\0x\0")), 4);
}

static void what_the_builder_would_not_write_is_refused(void **state)
{
	static const struct {
		const char *data;
		size_t size;
	} hostile[] = {
		{ BYTES(FIRST "X\0a\0") },
		{ BYTES(FIRST "\0") },
		{ BYTES(FIRST "D 755\0\0") },
		{ BYTES(FIRST "D 755\0a") },
		{ BYTES(FIRST "D 755") },
		{ BYTES(FIRST "D 75\0a\0") },
		{ BYTES(FIRST "D 0755\0a\0") },
		{ BYTES(FIRST "D 758\0a\0") },
		{ BYTES(FIRST "D  755\0a\0") },
		{ BYTES(FIRST "D\0a\0") },
		{ BYTES(FIRST "D 755 \0a\0") },
		{ BYTES(FIRST "D 755\0/a\0") },
		{ BYTES(FIRST "D 755\0a/\0") },
		{ BYTES(FIRST "D 755\0.\0") },
		{ BYTES(FIRST "D 755\0..\0") },
		{ BYTES(FIRST "D 755\0a\0D 755\0a/../b\0") },
		{ BYTES(FIRST "D 755\0a\0D 755\0a//b\0") },
		{ BYTES(FIRST "F 644 " HEX " 00\0a\0") },
		{ BYTES(FIRST "F 644 " HEX " 01\0a\0") },
		{ BYTES(FIRST "F 644 " HEX " -1\0a\0") },
		{ BYTES(FIRST "F 644 " HEX " +1\0a\0") },
		{ BYTES(FIRST "F 644 " HEX " 18446744073709551616\0a\0") },
		{ BYTES(FIRST "F 644 " HEX " \0a\0") },
		{ BYTES(FIRST "F 644 " HEX "\0a\0") },
		{ BYTES(FIRST "F 644 sha256:" HEX " 0\0a\0") },
		{ BYTES(FIRST "F 644 E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852"
			      "B855 0\0a\0") },
		{ BYTES(FIRST "F 644 e3b0 0\0a\0") },
		{ BYTES(FIRST "F 644\0a\0") },
		{ BYTES(FIRST "L\0a\0\0") },
		{ BYTES(FIRST "L\0a\0") },
		{ BYTES(FIRST "L 777\0a\0t\0") },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++)
		if (count(hostile[i].data, hostile[i].size) != -EBADMSG)
			fail_msg("case %zu: %s", i, hostile[i].data + sizeof(FIRST) - 1);
	assert_int_equal(
		count(BYTES(FIRST "D 755\0...\0F 644 " HEX " 18446744073709551615\0a\0")), 2);
}

static void a_cut_at_any_byte_is_seen(void **state)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	int whole = 0;

	(void)state;
	build(&bytes);
	for (size_t size = 0; size < bytes.size; size++)
		whole += count(bytes.data, size) >= 0;
	/* At the ends of the records, of which the last is not cut. */
	assert_int_equal(whole, ARRAY_SIZE(tree));
}

static void a_failure_leaves_reader_and_entry_alone(void **state)
{
	struct manifest_reader reader;
	struct manifest_entry entry = { .mode = 01234 };

	(void)state;
	assert_int_equal(manifest_open(&reader, BYTES(FIRST "D 755\0..\0")), 0);
	assert_int_equal(manifest_next(&reader, &entry), -EBADMSG);
	assert_int_equal(manifest_next(&reader, &entry), -EBADMSG);
	assert_int_equal(entry.mode, 01234);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_built_is_read_back),
		cmocka_unit_test(the_form_is_the_documented_one),
		cmocka_unit_test(an_empty_tree_has_a_first_line),
		cmocka_unit_test(entries_come_in_the_order_of_a_walk),
		cmocka_unit_test(only_a_listed_directory_holds_entries),
		cmocka_unit_test(what_the_builder_would_not_write_is_refused),
		cmocka_unit_test(a_cut_at_any_byte_is_seen),
		cmocka_unit_test(a_failure_leaves_reader_and_entry_alone),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
