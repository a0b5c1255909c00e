/* SPDX-License-Identifier: MIT */
/* test_http_user - who the client is: his groups, and whose the lent uids are */
#include "http_fixture.h"

#include <sys/syscall.h>

#include "http/http_internal.h"

static void reply_groups(struct http_request *request)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	size_t count;
	const gid_t *groups = http_request_groups(request, &count);

	for (size_t i = 0; i < count; i++)
		strbuf_addf(&text, "%u ", groups[i]);
	http_reply(request, 200, NULL, text.data, text.size, NULL);
}

static const struct behaviour behaviours[] = {
	{ "/groups", reply_groups },
	{ 0 },
};

static void groups_client(struct fixture *f)
{
	gid_t groups[] = { 70001, 70002 };
	_cleanup_(closep) int fd = -EBADF;

	assert_int_equal(syscall(SYS_setgroups, ARRAY_SIZE(groups), groups), 0);
	assert_int_equal(syscall(SYS_setresgid, -1, 70003, -1), 0);
	become(ANA);
	fd = dial(f);
	expect(fd, GET("/groups"), 200, "70001 70002 70003 ");
}

static void groups_are_the_kernels(void **state)
{
	struct fixture f;

	(void)state;
	need_root();
	fixture_init_users(&f, behaviours);
	fixture_start(&f);
	with_client(&f, groups_client);
	fixture_close(&f);
}

static void own_groups_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(freep) char *own = mem_printf("%u ", getegid());
	_cleanup_(answer_release) struct answer answer;

	send_text(fd, GET("/groups"));
	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, 200);
	assert_non_null(strstr(answer.body.data, own));
}

static void primary_group_is_among_the_groups(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init_users(&f, behaviours);
	fixture_start(&f);
	with_client(&f, own_groups_client);
	fixture_close(&f);
}

static void lent_uids_are_their_owners(void **state)
{
	static const char text[] = "ana:100000:65536\n"
				   "# a comment\n"
				   "bob:165536:65536\n"
				   "broken\n:\nx:y:z\nx:5\n"
				   "carl:300000:1";

	(void)state;
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 99999), 99999);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 100000), 100000);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 165535), 100000);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 165536), 165536);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 231071), 165536);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 231072), 231072);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 300000), 300000);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 300001), 300001);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 5), 5);
	assert_int_equal(http_subuid_owner(NULL, 0, 7), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_are_the_kernels),
		cmocka_unit_test(primary_group_is_among_the_groups),
		cmocka_unit_test(lent_uids_are_their_owners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
