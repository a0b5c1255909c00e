/* SPDX-License-Identifier: MIT */
/* test_identity - who a user is, as text and back, and being him for good */
#include <errno.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "common/identity.h"

#define NOBODYS_UID 61234 /* in no user database that Debian makes */
#define NOBODYS_GID 61235

static void roots_identity_is_what_the_user_database_says(void **state)
{
	_cleanup_(identity_release) struct identity root = { 0 };

	(void)state;
	assert_int_equal(identity_of_user(0, &root), 0);
	assert_int_equal(root.uid, 0);
	assert_int_equal(root.gid, 0);
	assert_string_equal(root.name, "root");
	assert_string_equal(root.home, "/root");
	assert_true(root.group_count >= 1);
}

static void a_user_who_is_not_there_is_enoent_and_nothing_is_changed(void **state)
{
	struct identity kept = { .uid = 7 };

	(void)state;
	assert_int_equal(identity_of_user(NOBODYS_UID, &kept), -ENOENT);
	assert_int_equal(kept.uid, 7);
}

static void text_and_back_is_the_same(void **state)
{
	gid_t groups[] = { 5, 6, 4294967294u };
	const struct identity some = {
		.uid = 4294967294u, .gid = 5, .groups = groups, .group_count = 3
	};
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(identity_release) struct identity back = { 0 };

	(void)state;
	identity_format(&some, &text);
	assert_string_equal(text.data, "4294967294:5:5,6,4294967294");
	assert_int_equal(identity_parse(text.data, &back), 0);
	assert_int_equal(back.uid, some.uid);
	assert_int_equal(back.gid, some.gid);
	assert_int_equal(back.group_count, 3);
	assert_memory_equal(back.groups, groups, sizeof(groups));
}

static void no_groups_at_all_is_an_identity_too(void **state)
{
	_cleanup_(identity_release) struct identity back = { 0 };

	(void)state;
	assert_int_equal(identity_parse("10:20:", &back), 0);
	assert_int_equal(back.group_count, 0);
}

static void what_is_no_identity_is_refused(void **state)
{
	/* 4294967295 is -1: "leave it as it is", and so root. */
	static const char *const wrong[] = { "", ":", "1", "1:", "1:2", "1:2:3,", "1:2:,3",
		"1:2:3 ", "-1:2:3", "+1:2:3", " 1:2:3", "1:2:3:4", "4294967295:1:1",
		"1:4294967295:1", "1:1:4294967295", "4294967296:1:1", "99999999999999999999:1:1",
		"a:b:c", "1:2:0x3" };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct identity kept = { .uid = 7 };

		if (identity_parse(wrong[i], &kept) != -EINVAL)
			fail_msg("\"%s\" was taken", wrong[i]);
		assert_int_equal(kept.uid, 7);
	}
}

static void a_copy_is_its_own(void **state)
{
	struct identity root = { 0 }, copy;

	(void)state;
	assert_int_equal(identity_of_user(0, &root), 0);
	identity_copy(&root, &copy);
	identity_release(&root);
	assert_string_equal(copy.name, "root");
	identity_release(&copy);
}

/* In a process of its own; the step at which it went wrong, 0 for none. */
static int be_somebody(void)
{
	gid_t groups[] = { NOBODYS_GID, NOBODYS_GID + 1 };
	const struct identity somebody = {
		.uid = NOBODYS_UID, .gid = NOBODYS_GID, .groups = groups, .group_count = 2
	};
	gid_t now[8];

	if (identity_assume(&somebody) < 0)
		return 1;
	if (getuid() != NOBODYS_UID || geteuid() != NOBODYS_UID || getgid() != NOBODYS_GID)
		return 2;
	if (getgroups(8, now) != 2 || now[0] != groups[0] || now[1] != groups[1])
		return 3;
	if (setuid(0) == 0 || setgid(0) == 0 || setgroups(0, NULL) == 0)
		return 4;
	if (access("/etc/shadow", R_OK) == 0)
		return 5;
	return prctl(PR_GET_DUMPABLE) == 1 ? 6 : 0;
}

static void who_becomes_a_user_cannot_go_back(void **state)
{
	int status;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		skip();
	child = fork();
	if (child == 0)
		_exit(be_somebody());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roots_identity_is_what_the_user_database_says),
		cmocka_unit_test(a_user_who_is_not_there_is_enoent_and_nothing_is_changed),
		cmocka_unit_test(text_and_back_is_the_same),
		cmocka_unit_test(no_groups_at_all_is_an_identity_too),
		cmocka_unit_test(what_is_no_identity_is_refused),
		cmocka_unit_test(a_copy_is_its_own),
		cmocka_unit_test(who_becomes_a_user_cannot_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
