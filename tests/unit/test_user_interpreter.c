/* SPDX-License-Identifier: MIT */
/*
 * test_user_interpreter - the request, the answer, bytes that only look like them; then a real
 * helper, as another user where we are root
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#include "capture/child_process.h"
#include "capture/git_info.h"
#include "capture/user_exec.h"
#include "capture/user_helper.h"
#include "capture/user_interpreter.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/process.h"
#include "common/strv.h"

/* A literal with NUL bytes in it, as bytes and size. */
#define BYTES(text) (text), sizeof(text) - 1
#define HEAD "amlagent-interpreter=1\0"
#define PYTHON "/usr/bin/python3"
#define OTHER 54321
#define THIRD 54322
#define TARGET "environment.python.interpreter_path"

static char *folder; /* of the test at hand */
static gid_t groups[] = { OTHER, 54399 };
static const struct identity other = {
	.uid = OTHER, .gid = OTHER, .groups = groups, .group_count = 2
};

/* Exact memory: the sanitizer sees a step beyond it. */
static int parse_request(const char *data, size_t size, struct user_interpreter_request *ret)
{
	_cleanup_(freep) char *copy = mem_dup(data, size);

	return user_interpreter_request_parse(copy, size, ret);
}

static int parse_answer(const char *data, size_t size, struct user_interpreter_answer *ret)
{
	_cleanup_(freep) char *copy = mem_dup(data, size);

	return user_interpreter_answer_parse(copy, size, ret);
}

/* ---- the texts ---- */

static void a_request_is_read_back(void **state)
{
	static char *env[] = { "A=1", "EMPTY=", "X=y=z\n", "B=\xff", NULL };
	struct user_interpreter_request request = { "python3.11", "/home/ana/x y", env };
	struct user_interpreter_request again = { 0 };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	user_interpreter_request_format(&request, &text);
	assert_int_equal(parse_request(text.data, text.size, &again), 0);
	assert_string_equal(again.asked, "python3.11");
	assert_string_equal(again.source_dir, "/home/ana/x y");
	assert_int_equal(strv_length(again.env), 4);
	for (size_t i = 0; env[i]; i++)
		assert_string_equal(again.env[i], env[i]);
	user_interpreter_request_release(&again);
	assert_int_equal(parse_request(BYTES(HEAD "source_dir=/\0end=\0"), &again), 0);
	assert_null(again.asked);
	assert_null(again.env[0]);
	user_interpreter_request_release(&again);
}

static void an_answer_is_read_back(void **state)
{
	static char *env[] = { "PATH=/bin", NULL };
	struct user_interpreter_answer found = {
		.path = "/p", .version = "3.11.2", .prefix = "/", .env = env
	};
	struct user_interpreter_answer failed = {
		.error = ENOENT, .target = TARGET, .message = "no"
	};
	struct user_interpreter_answer again = { 0 };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	user_interpreter_answer_format(&found, &text);
	assert_int_equal(parse_answer(text.data, text.size, &again), 0);
	assert_int_equal(again.error, 0);
	assert_string_equal(again.path, "/p");
	assert_string_equal(again.version, "3.11.2");
	assert_string_equal(again.prefix, "/");
	assert_string_equal(again.env[0], "PATH=/bin");
	user_interpreter_answer_release(&again);
	strbuf_clear(&text);
	user_interpreter_answer_format(&failed, &text);
	assert_int_equal(parse_answer(text.data, text.size, &again), 0);
	assert_int_equal(again.error, ENOENT);
	assert_string_equal(again.target, TARGET);
	assert_string_equal(again.message, "no");
	assert_null(again.path);
	user_interpreter_answer_release(&again);
}

static void what_is_no_request_is_refused(void **state)
{
	static const struct {
		const char *data;
		size_t size;
	} bad[] = {
		{ BYTES("") },
		{ BYTES("\0") },
		{ BYTES("amlagent-interpreter=1") },
		{ BYTES(HEAD) },
		{ BYTES(HEAD "end=\0") },
		{ BYTES(HEAD "source_dir=/\0end=") },
		{ BYTES(HEAD "source_dir=/\0end=x\0") },
		{ BYTES(HEAD "source_dir=/\0xend=\0") },
		{ BYTES(HEAD "source_dir=/\0") },
		{ BYTES("amlagent-interpreter=2\0source_dir=/\0end=\0") },
		{ BYTES("source_dir=/\0amlagent-interpreter=1\0end=\0") },
		{ BYTES(HEAD "source_dir=relative\0end=\0") },
		{ BYTES(HEAD "source_dir=\0end=\0") },
		{ BYTES(HEAD "source_dir=/\0source_dir=/\0end=\0") },
		{ BYTES(HEAD "source_dir=/\0asked=a\0asked=b\0end=\0") },
		{ BYTES(HEAD "source_dir=/\0new=a\0end=\0") },
		{ BYTES(HEAD "source_dir=/\0\0end=\0") },
		{ BYTES(HEAD "source_dir=/\0env=A\0end=\0") },
		{ BYTES(HEAD "source_dir=/\0env==1\0end=\0") },
		{ BYTES(HEAD "source_dir=/\0env\0end=\0") },
		{ BYTES(HEAD "source_dir=/\0end=\0end=\0") },
		{ BYTES(HEAD "source_dir=/\0end=\0rest") },
	};
	struct user_interpreter_request request = { .asked = "untouched" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_request(bad[i].data, bad[i].size, &request), -EBADMSG);
	assert_string_equal(request.asked, "untouched");
}

static void an_answer_is_one_or_the_other(void **state)
{
	static const struct {
		const char *data;
		size_t size;
	} bad[] = {
		{ BYTES(HEAD "end=\0") },
		{ BYTES(HEAD "path=/p\0version=3\0end=\0") },
		{ BYTES(HEAD "path=p\0version=3\0prefix=/\0end=\0") },
		{ BYTES(HEAD "path=/p\0version=3\0prefix=relative\0end=\0") },
		{ BYTES(HEAD "path=/p\0version=3\0prefix=/\0message=m\0end=\0") },
		{ BYTES(HEAD "path=/p\0version=3\0prefix=/\0error=2\0message=m\0end=\0") },
		{ BYTES(HEAD "error=2\0end=\0") },
		{ BYTES(HEAD "message=m\0end=\0") },
		{ BYTES(HEAD "error=2\0message=m\0env=A=1\0end=\0") },
		{ BYTES(HEAD "error=0\0message=m\0end=\0") },
		{ BYTES(HEAD "error=-2\0message=m\0end=\0") },
		{ BYTES(HEAD "error=2x\0message=m\0end=\0") },
		{ BYTES(HEAD "error=\0message=m\0end=\0") },
		{ BYTES(HEAD "error=4096\0message=m\0end=\0") },
		{ BYTES(HEAD "error=99999999999999999999\0message=m\0end=\0") },
	};
	struct user_interpreter_answer answer = { .error = 77 };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_answer(bad[i].data, bad[i].size, &answer), -EBADMSG);
	/* A path that no kernel takes, a version that nobody has. */
	strbuf_add(&text, BYTES(HEAD "version=3\0prefix=/\0path=/"));
	for (int i = 0; i < 5000; i++)
		strbuf_addc(&text, 'p');
	strbuf_add(&text, BYTES("\0end=\0"));
	assert_int_equal(parse_answer(text.data, text.size, &answer), -EBADMSG);
	assert_int_equal(answer.error, 77);
}

static void every_prefix_of_a_text_is_safe(void **state)
{
	static const char request[] = HEAD "asked=a\0source_dir=/x\0env=A=1\0env=B=\0end=\0";
	static const char answer[] = HEAD "path=/p\0version=3\0prefix=/\0env=A=1\0end=\0";

	(void)state;
	for (size_t size = 0; size < sizeof(request) - 1; size++) {
		struct user_interpreter_request parsed;

		assert_int_equal(parse_request(request, size, &parsed), -EBADMSG);
	}
	for (size_t size = 0; size < sizeof(answer) - 1; size++) {
		struct user_interpreter_answer parsed;

		assert_int_equal(parse_answer(answer, size, &parsed), -EBADMSG);
	}
}

static void a_million_variables_take_no_time(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct user_interpreter_request request;

	(void)state;
	strbuf_add(&text, BYTES(HEAD "source_dir=/\0"));
	for (int i = 0; i < 1000000; i++)
		strbuf_add(&text, BYTES("env=A=1\0"));
	strbuf_add(&text, BYTES("end=\0"));
	assert_int_equal(user_interpreter_request_parse(text.data, text.size, &request), 0);
	assert_int_equal(strv_length(request.env), 1000000);
	user_interpreter_request_release(&request);
}

static void environments_go_in_as_they_are(void **state)
{
	static char *env[] = { "A=1", "B=x=y\n", "C=", NULL };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(strv_freep) char **again = NULL;

	(void)state;
	user_exec_format(env, &text);
	assert_int_equal(user_exec_parse(text.data, text.size, &again), 0);
	assert_int_equal(strv_length(again), 3);
	assert_string_equal(again[1], "B=x=y\n");
	strv_free(TAKE(again));
	assert_int_equal(user_exec_parse("", 0, &again), 0);
	assert_null(again[0]);
	strv_free(TAKE(again));
	assert_int_equal(user_exec_parse(BYTES("A=1"), &again), -EBADMSG);
	assert_int_equal(user_exec_parse(BYTES("A\0"), &again), -EBADMSG);
	assert_int_equal(user_exec_parse(BYTES("=1\0"), &again), -EBADMSG);
	assert_int_equal(user_exec_parse(BYTES("A=1\0\0"), &again), -EBADMSG);
	assert_null(again);
}

/* ---- as a user ---- */

/* What needs another user needs root. */
static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static char *put(const char *name, const char *text, mode_t mode, uid_t uid)
{
	char *path = path_join(folder, name);

	assert_int_equal(file_replace(AT_FDCWD, path, text, strlen(text), mode, FILE_NO_SYNC), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(path, uid, uid), 0);
	return path;
}

static char **environment(void)
{
	char **env = NULL;

	strv_add(&env, "PATH=/usr/bin:/bin");
	return env;
}

static void it_is_found_as_the_user(void **state)
{
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	_cleanup_(strv_freep) char **env = environment();
	struct error err = ERROR_INIT;

	(void)state;
	need_root();
	assert_int_equal(interpreter_prepare_as(&other, PYTHON, folder, &env, &found, &err), 0);
	assert_string_equal(found.path, PYTHON);
	assert_true(found.named);
	assert_int_equal(strncmp(found.version, "3.", 2), 0);
	assert_string_equal(env_get(env, "PATH"), "/usr/bin:/bin");
}

/* Both of them exist; each user finds what he may execute, and is told of what he may not. */
static void each_user_finds_what_is_his(void **state)
{
	_cleanup_(freep) char *his =
		put("his-python", "#!/bin/sh\nexec " PYTHON " \"$@\"\n", 0700, OTHER);
	_cleanup_(freep) char *third =
		put("third-python", "#!/bin/sh\nexec " PYTHON " \"$@\"\n", 0700, THIRD);
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	_cleanup_(strv_freep) char **env = environment();
	struct error err = ERROR_INIT;

	(void)state;
	need_root();
	assert_int_equal(interpreter_prepare_as(&other, his, folder, &env, &found, &err), 0);
	assert_string_equal(found.path, his);
	interpreter_release(&found);
	strv_free(TAKE(env));
	/* Root may: its answer would have been another one. */
	env = environment();
	assert_int_equal(interpreter_prepare_as(NULL, third, folder, &env, &found, &err), 0);
	interpreter_release(&found);
	strv_free(TAKE(env));
	env = environment();
	assert_int_equal(
		interpreter_prepare_as(&other, third, folder, &env, &found, &err), -EACCES);
	assert_string_equal(err.target, TARGET);
	assert_non_null(strstr(err.message, third));
	assert_string_equal(env_get(env, "PATH"), "/usr/bin:/bin");
}

/* Shims are asked as well: with the user's rights, and without root's environment or descriptors. */
static void what_is_asked_is_his_process(void **state)
{
	_cleanup_(freep) char *shim = put("shim",
		"#!/bin/sh\n{ id -u; id -G; cat /proc/self/loginuid >/dev/null; ls /proc/self/fd | wc -l; "
		"env | grep -c ROOTS; } >\"$WHERE\" 2>/dev/null\nexec " PYTHON " \"$@\"\n",
		0755, OTHER);
	_cleanup_(freep) char *where = put("said", "", 0600, OTHER);
	_cleanup_(freep) char *variable = mem_printf("WHERE=%s", where);
	_cleanup_(strbuf_release) struct strbuf said = STRBUF_INIT;
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	_cleanup_(strv_freep) char **env = environment();
	struct error err = ERROR_INIT;

	(void)state;
	need_root();
	setenv("ROOTS", "1", 1);
	strv_add(&env, variable);
	assert_int_equal(interpreter_prepare_as(&other, shim, folder, &env, &found, &err), 0);
	assert_int_equal(file_read(AT_FDCWD, where, 1000, &said), 0);
	assert_string_equal(said.data, "54321\n54321 54399\n4\n0\n");
}

/* What the user's process says of a shortage is not taken for one of the machine. */
static void answers_of_a_hostile_helper(void **state)
{
	static const struct {
		const char *script;
		int result;
	} helpers[] = {
		{ "cat >/dev/null; printf 'amlagent-interpreter=1\\0error=28\\0message=a\\nb\\0end=\\0'",
			-EPROTO },
		{ "printf 'amlagent-interpreter=1\\0error=11\\0target=x\\0message=m\\0end=\\0'",
			-EPROTO },
		{ "printf 'amlagent-interpreter=1\\0error=2\\0message=m\\0end=\\0'", -ENOENT },
		{ "printf 'amlagent-interpreter=1\\0path=p\\0end=\\0'", -EBADMSG },
		{ "exit 0", -EBADMSG },
		{ "exit 7", -EBADMSG },
		{ "kill -9 $$", -EBADMSG },
		{ "head -c 20000000 /dev/zero", -EBADMSG },
	};
	const char *real = user_helper_path();
	_cleanup_(freep) char *kept = mem_strdup(real);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++) {
		_cleanup_(freep) char *text = mem_printf("#!/bin/sh\n%s\n", helpers[i].script);
		_cleanup_(freep) char *path = put("helper", text, 0755, geteuid());
		_cleanup_(interpreter_release) struct interpreter found = { 0 };
		_cleanup_(strv_freep) char **env = environment();
		struct error err = ERROR_INIT;

		user_helper_use(path);
		assert_int_equal(interpreter_prepare_as(&other, "x", "/", &env, &found, &err),
			helpers[i].result);
		assert_true(err.message[0] && !strchr(err.message, '\n'));
		assert_string_equal(err.target, i == 0 || i == 1 || i == 2 ? "" : TARGET);
		assert_string_equal(env_get(env, "PATH"), "/usr/bin:/bin");
	}
	user_helper_use(kept);
}

/* ---- programs as a user ---- */

static bool count_his(void *data, pid_t pid)
{
	_cleanup_(freep) char *path = mem_printf("/proc/%d", (int)pid);
	struct process process;
	struct stat st;
	int proc_fd = process_open_list();

	if (stat(path, &st) == 0 && st.st_uid == OTHER &&
		process_read(proc_fd, pid, &process) == 0 && process.alive)
		++*(int *)data;
	close(proc_fd);
	return true;
}

static int users_processes(void)
{
	_cleanup_(closep) int proc_fd = process_open_list();
	int count = 0;

	assert_int_equal(process_each(proc_fd, count_his, &count), 0);
	return count;
}

static int run_as(char *const *argv, char *const *env, struct child_process *ret)
{
	struct child_process_options options = {
		.argv = argv, .env = env, .output_max = 10000, .timeout_ms = 10000, .as = &other
	};

	return child_process_run(&options, ret);
}

static void a_program_is_the_users(void **state)
{
	static char *const argv[] = { "/bin/sh", "-c",
		"id -u; id -G; readlink /proc/self/fd/0; echo \"$A\"; pwd; env | wc -l; kill -0 $PPID "
		"2>/dev/null; echo $?",
		NULL };
	static char *const env[] = { "A=x y", NULL };
	_cleanup_(child_process_release) struct child_process child = { 0 };

	(void)state;
	need_root();
	assert_int_equal(run_as(argv, env, &child), 0);
	assert_int_equal(child.end, CHILD_PROCESS_EXITED);
	/* env(1) and the shell see A, and PWD, which the shell adds. */
	assert_string_equal(child.output.data, "54321\n54321 54399\n/dev/null\nx y\n/\n2\n0\n");
}

/* Root's dynamic linker would load it into a process that is root still. */
static void the_users_environment_is_not_roots(void **state)
{
	static char *const argv[] = { "/usr/bin/env", NULL };
	static char *const env[] = { "LD_PRELOAD=/no/such/library.so", NULL };
	_cleanup_(child_process_release) struct child_process child = { 0 };

	(void)state;
	need_root();
	assert_int_equal(run_as(argv, env, &child), 0);
	assert_int_equal(child.status, 0);
	assert_non_null(strstr(child.output.data, "LD_PRELOAD=/no/such/library.so\n"));
	/* One complaint: of the program's own linker. Of the helper's there would be another. */
	assert_non_null(strstr(child.complaint.data, "/no/such/library.so"));
	assert_null(strstr(
		strstr(child.complaint.data, "/no/such/library.so") + 1, "/no/such/library.so"));
}

static void a_program_that_he_may_not_execute(void **state)
{
	_cleanup_(freep) char *path = put("program", "#!/bin/sh\necho never\n", 0700, 0);
	char *const argv[] = { path, NULL };
	_cleanup_(child_process_release) struct child_process child = { 0 };

	(void)state;
	need_root();
	assert_int_equal(run_as(argv, NULL, &child), 0);
	assert_int_equal(child.end, CHILD_PROCESS_EXITED);
	assert_int_equal(child.status, USER_EXEC_CANNOT + EACCES);
}

static void what_cannot_be_carried_over_is_refused(void **state)
{
	static char *const argv[] = { "/bin/true", NULL };
	struct child_process_options options = {
		.argv = argv, .cwd = "/tmp", .timeout_ms = 1000, .as = &other
	};
	struct child_process child;

	(void)state;
	assert_int_equal(child_process_run(&options, &child), -EINVAL);
}

/* Neither a session of its own nor the death of its parents lets it go on beside the daemon. */
static void nothing_of_it_stays(void **state)
{
	_cleanup_(freep) char *shim = put("shim",
		"#!/bin/sh\n(setsid sleep 7654 &) </dev/null >/dev/null 2>&1\nexec " PYTHON
		" \"$@\"\n",
		0755, OTHER);
	static char *const argv[] = { "/bin/sh", "-c",
		"(setsid sleep 7654 &) </dev/null >/dev/null 2>&1; exit 3", NULL };
	static char *const hang[] = { "/bin/sh", "-c", "setsid sleep 7654", NULL };
	static char *const env[] = { "PATH=/usr/bin:/bin", NULL };
	struct child_process_options brief = {
		.argv = hang, .env = env, .output_max = 10, .timeout_ms = 300, .as = &other
	};
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	_cleanup_(child_process_release) struct child_process child = { 0 }, hanging = { 0 };
	_cleanup_(strv_freep) char **list = environment();
	struct error err = ERROR_INIT;

	(void)state;
	need_root();
	assert_int_equal(interpreter_prepare_as(&other, shim, folder, &list, &found, &err), 0);
	assert_int_equal(run_as(argv, env, &child), 0);
	assert_int_equal(child.status, 3);
	assert_int_equal(child_process_run(&brief, &hanging), 0);
	assert_int_equal(hanging.end, CHILD_PROCESS_TIMED_OUT);
	/* They are told to die with the first; it takes them a moment. */
	while (users_processes() > 0)
		usleep(1000);
}

/* A repository that only he may read: root is not asked, and others learn nothing. */
static void git_is_read_as_the_user(void **state)
{
	static char *const init[] = { "/usr/bin/git", "init", "-q", "-b", "trunk", NULL, NULL };
	static char *const env[] = { "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", NULL };
	const char *build = getenv("AMLAGENT_BUILD_DIR");
	_cleanup_(freep) char *helper = mem_printf("%s/amlagent-git-info", build);
	_cleanup_(freep) char *dir = path_join(folder, "repository");
	char *argv[ARRAY_SIZE(init)];
	_cleanup_(child_process_release) struct child_process child = { 0 };
	struct identity third = { .uid = THIRD, .gid = THIRD };
	struct git_info info;

	(void)state;
	need_root();
	if (access(init[0], X_OK) < 0)
		skip();
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(chown(dir, OTHER, OTHER), 0);
	memcpy(argv, init, sizeof(init));
	argv[5] = dir;
	assert_int_equal(run_as(argv, env, &child), 0);
	assert_int_equal(child.status, 0);
	git_info_read(helper, &other, dir, env, &info);
	assert_string_equal(pairs_get(&info.properties, "azureml.git.branch"), "trunk");
	assert_null(info.warnings);
	git_info_release(&info);
	git_info_read(helper, &third, dir, env, &info);
	assert_int_equal(info.properties.count, 0);
	git_info_release(&info);
	git_info_read(helper, &other, "/", env, &info);
	assert_int_equal(info.properties.count, 0);
	assert_null(info.warnings);
	git_info_release(&info);
}

static int set_up(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	alarm(60);
	folder = mem_printf("%s/test_user.XXXXXX", base ? base : "/tmp");
	return mkdtemp(folder) && chmod(folder, 0755) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	tree_remove(AT_FDCWD, folder);
	free(folder);
	alarm(0);
	return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_is_read_back),
		TEST(an_answer_is_read_back),
		TEST(what_is_no_request_is_refused),
		TEST(an_answer_is_one_or_the_other),
		TEST(every_prefix_of_a_text_is_safe),
		TEST(a_million_variables_take_no_time),
		TEST(environments_go_in_as_they_are),
		TEST(it_is_found_as_the_user),
		TEST(each_user_finds_what_is_his),
		TEST(what_is_asked_is_his_process),
		TEST(answers_of_a_hostile_helper),
		TEST(a_program_is_the_users),
		TEST(the_users_environment_is_not_roots),
		TEST(a_program_that_he_may_not_execute),
		TEST(what_cannot_be_carried_over_is_refused),
		TEST(nothing_of_it_stays),
		TEST(git_is_read_as_the_user),
	};
	const char *build = getenv("AMLAGENT_BUILD_DIR");
	char *helper = mem_printf("%s/amlagent-user-helper", build ? build : ".");

	user_helper_use(helper);
	free(helper);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
