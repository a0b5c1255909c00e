/* SPDX-License-Identifier: MIT */
/* test_git_url - no credentials in a record, and no harm to what is none */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "capture/git_url.h"
#include "common/cleanup.h"

struct url {
	const char *before, *after;
};

static void assert_stripped(const struct url *urls, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		_cleanup_(freep) char *once = git_url_strip(urls[i].before);
		_cleanup_(freep) char *twice = git_url_strip(once);

		assert_string_equal(once, urls[i].after);
		assert_string_equal(twice, once);
	}
}

static void test_names_and_passwords_go(void **state)
{
	static const struct url urls[] = {
		{ "https://user:secret@host/r.git", "https://host/r.git" },
		{ "https://secret@host/r.git", "https://host/r.git" },
		{ "https://user:@host/r.git", "https://host/r.git" },
		{ "https://:secret@host:8443/r.git", "https://host:8443/r.git" },
		{ "HTTPS://user:secret@host/r.git", "HTTPS://host/r.git" },
		{ "http://user:sec%40ret@host/r@v2.git", "http://host/r@v2.git" },
		{ "http://user:sec@ret@host/r.git", "http://host/r.git" },
		{ "https://user:sec/ret@host/r.git", "https://host/r.git" },
		{ "https://user:sec?r#et@host/r.git", "https://host/r.git" },
		{ "https://user:secret@[::1]:8443/r", "https://[::1]:8443/r" },
		{ "https://x-access-token:ghp_secret@github.com", "https://github.com" },
		{ "ftp://user:secret@host/r.git", "ftp://host/r.git" },
		{ "git://user:secret@host/r.git", "git://host/r.git" },
		{ "unknown+x://user:secret@host/r.git", "unknown+x://host/r.git" },
		{ "://secret@host", "://host" },
	};

	(void)state;
	assert_stripped(urls, ARRAY_SIZE(urls));
}

static void test_a_name_that_is_part_of_the_address_stays(void **state)
{
	static const struct url urls[] = {
		{ "ssh://git@host/r.git", "ssh://git@host/r.git" },
		{ "ssh://git:secret@host:22/r.git", "ssh://git@host:22/r.git" },
		{ "SSH://git:se@cr@host/r.git", "SSH://git@host/r.git" },
		{ "git+ssh://git:secret@host/r.git", "git+ssh://git@host/r.git" },
		{ "ssh+git://git:secret@host/r.git", "ssh+git://git@host/r.git" },
		{ "ssh://:secret@host/r.git", "ssh://host/r.git" },
		{ "git@host:r.git", "git@host:r.git" },
		{ "git:secret@host:r.git", "git@host:r.git" },
		{ "git:se@cret@host:r.git", "git@host:r.git" },
	};

	(void)state;
	assert_stripped(urls, ARRAY_SIZE(urls));
}

static void test_a_query_goes(void **state)
{
	static const struct url urls[] = {
		{ "https://host/r.git?private_token=secret", "https://host/r.git" },
		{ "https://host/r.git#secret", "https://host/r.git" },
		{ "https://host?t=secret@x", "https://host" },
		{ "file:///srv/c#/what?", "file:///srv/c#/what?" },
	};

	(void)state;
	assert_stripped(urls, ARRAY_SIZE(urls));
}

static void test_helpers_are_looked_through(void **state)
{
	static const struct url urls[] = {
		{ "codecommit::https://user:secret@host/r", "codecommit::https://host/r" },
		{ "a::ssh://git:secret@host/r", "a::ssh://git@host/r" },
		{ "a://u:p@b::https://secret@host/r", "a://b::https://host/r" },
		{ "ext::sh -c 'curl -u user:secret host'", "ext::" },
	};

	(void)state;
	assert_stripped(urls, ARRAY_SIZE(urls));
}

static void test_what_has_no_credentials_stays(void **state)
{
	static const char *const same[] = {
		"",
		"https://host/r.git",
		"https://host:8443/g/p@v2.git",
		"https://[::1]:80/a@b",
		"ssh://host/~ana/c#.git",
		"host:r.git",
		"host:a@b",
		"ana@host:a:b@c",
		"/srv/a:b@c:d.git",
		"./a:b@c:d",
		"../r",
		"C:\\r\\a",
		"C:/r",
		"file:///srv/a@b.git",
		"origin",
		"@",
		":",
		"://",
		"https://",
		"host:",
		"\xff\xfe@x:y",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(same); i++)
		assert_stripped(&(struct url){ same[i], same[i] }, 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_passwords_go),
		cmocka_unit_test(test_a_name_that_is_part_of_the_address_stays),
		cmocka_unit_test(test_a_query_goes),
		cmocka_unit_test(test_helpers_are_looked_through),
		cmocka_unit_test(test_what_has_no_credentials_stays),
	};

	alarm(30);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
