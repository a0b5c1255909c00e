/* SPDX-License-Identifier: MIT */
/* test_prepare - a run directory made ready: environment, arguments, work/, `launch` */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/user_helper.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "runs/prepare.h"
#include "runs/submission.h"
#include "store/store.h"
#include "test.h"

#define PYTHON "/usr/bin/python3"

static struct {
	char *dir, *source, *runs, *run;
	struct store *store;
	struct submission submission;
	struct prepare prepare;
	struct prepare with; /* what a test adds to the prepare */
	struct run_launch launch;
	struct error err;
} t;

static gid_t groups[] = { 54321, 54399 };
static struct identity other = { .uid = 54321, .gid = 54321, .groups = groups, .group_count = 2 };

static char *below(const char *name)
{
	return path_join(t.dir, name);
}

static void put(const char *name, const char *text, mode_t mode)
{
	_cleanup_(freep) char *path = path_join(t.source, name);

	assert_int_equal(file_replace(AT_FDCWD, path, text, strlen(text), mode, FILE_NO_SYNC), 0);
}

static int set_up(void **state)
{
	const char *temp = getenv("TMPDIR");
	_cleanup_(freep) char *blobs = NULL;

	(void)state;
	alarm(60);
	memset(&t, 0, sizeof(t));
	t.dir = mem_printf("%s/prepare.XXXXXX", temp ? temp : "/tmp");
	assert_non_null(mkdtemp(t.dir));
	t.source = below("source");
	t.runs = below("runs");
	t.run = below("runs/e_1_0");
	blobs = below("blobs");
	assert_int_equal(mkdir(t.source, 0755), 0);
	assert_int_equal(mkdir(t.runs, 0700), 0);
	assert_int_equal(store_open(blobs, &t.store), 0);
	put("train.py", "print(1)\n", 0644);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	run_launch_release(&t.launch);
	prepare_release(&t.prepare);
	submission_release(&t.submission);
	store_close(t.store);
	assert_int_equal(tree_remove(AT_FDCWD, t.dir), 0);
	free(t.dir);
	free(t.source);
	free(t.runs);
	free(t.run);
	alarm(0);
	return 0;
}

/* more: members of the request beside the source directory. */
static void submit(const char *more)
{
	static const struct snapshot_limits limits = { 1 << 30, 10000, 1 << 30, 10000 };
	_cleanup_(freep) char *index = below("index");
	_cleanup_(freep) char *text = mem_printf(
		"{\"source_directory\": \"%s\", \"experiment_name\": \"e\", %s}", t.source, more);
	_cleanup_(json_freep) struct json *body = NULL;

	t.submission = (struct submission){ .store = t.store,
		.index_dir = index,
		.runs_dir = t.runs,
		.limits = &limits,
		.run_id = mem_strdup("e_1_0") };
	assert_int_equal(json_parse(text, strlen(text), &body, &t.err), 0);
	assert_int_equal(run_request_parse(body, &t.submission.request, &t.err), 0);
	assert_int_equal(submission_carry_out(&t.submission, &t.err), 0);
	assert_int_equal(submission_accept(t.run), 0);
}

static void read_launch(void)
{
	_cleanup_(freep) char *path = path_join(t.run, RUN_DIR_LAUNCH);
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(file_read(AT_FDCWD, path, RUN_DIR_FILE_MAX, &bytes), 0);
	run_launch_release(&t.launch);
	assert_int_equal(run_launch_parse(bytes.data, bytes.size, &t.launch), 0);
}

static int try_prepare(void)
{
	prepare_release(&t.prepare);
	t.err = (struct error)ERROR_INIT;
	t.prepare = (struct prepare){ .store = t.store,
		.run_dir = t.run,
		.run_id = "e_1_0",
		.request = &t.submission.request,
		.snapshot_id = t.submission.snapshot.id,
		.grace_us = 3000000,
		.cgroup_parent = t.with.cgroup_parent,
		.as = t.with.as,
		.gpu_ids = t.with.gpu_ids,
		.hide_gpus = t.with.hide_gpus,
		.memory_max = t.with.memory_max,
		.pids_max = t.with.pids_max,
		.cpus = t.with.cpus };
	return prepare_carry_out(&t.prepare, &t.err);
}

static void prepare(void)
{
	int r = try_prepare();

	if (r < 0)
		print_error("%s\n", t.err.message);
	assert_int_equal(r, 0);
	read_launch();
}

static const char *env(const char *name)
{
	return env_get(t.launch.env, name);
}

#define assert_env(name, value) assert_string_equal(env(name) ? env(name) : "(not set)", value)

static struct stat stat_of(const char *name)
{
	_cleanup_(freep) char *path = path_join(t.run, name);
	struct stat st;

	if (lstat(path, &st) < 0)
		st.st_mode = 0;
	return st;
}

/* ---- arguments ---- */

static void variables_are_expanded_and_nothing_else(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "$A", "1" },
		{ "${A}", "1" },
		{ "$AB", "two" },
		{ "${A}B", "1B" },
		{ "$A$AB", "1two" },
		{ "x$A-y", "x1-y" },
		{ "$EMPTY.", "." },
		{ "$NONE", "$NONE" },
		{ "${NONE}", "${NONE}" },
		{ "${A", "${A" },
		{ "${}", "${}" },
		{ "$", "$" },
		{ "$$A", "$1" },
		{ "$ A", "$ A" },
		{ "${A-x}", "${A-x}" },
		{ "$(id)`id`*~", "$(id)`id`*~" },
		{ "$R", "$A" }, /* once */
		{ "\xc3\xa4$A\xff", "\xc3\xa4"
				    "1\xff" },
	};
	char *list[] = { "A=1", "AB=two", "EMPTY=", "R=$A", NULL };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(freep) char *text = prepare_expand(cases[i].text, list);

		assert_string_equal(text, cases[i].expected);
	}
}

static void an_argument_is_not_longer_than_linux_takes(void **state)
{
	_cleanup_(freep) char *value = mem_alloc(RUN_ARGUMENT_BYTES_MAX + 3);
	char *list[] = { value, NULL };
	char *text;

	(void)state;
	memset(value, 'x', RUN_ARGUMENT_BYTES_MAX + 2);
	memcpy(value, "A=", 2); /* as long as may be */
	value[RUN_ARGUMENT_BYTES_MAX + 2] = '\0';
	text = prepare_expand("$A", list);
	assert_int_equal(strlen(text), RUN_ARGUMENT_BYTES_MAX);
	free(text);
	assert_null(prepare_expand("$A.", list));
	assert_null(prepare_expand("$A$A$A$A$A$A", list));
}

static void write_attempts(size_t count)
{
	_cleanup_(freep) char *path = path_join(t.run, "attempts");
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	while (count--)
		fputc('+', file);
	assert_int_equal(fclose(file), 0);
}

/* Each `+` is a daemon that died of it. */
static void a_run_that_daemons_die_of_is_not_tried_for_ever(void **state)
{
	(void)state;
	submit("\"command\": \"true\"");
	write_attempts(PREPARE_ATTEMPTS_MAX - 1);
	prepare();
	assert_false(S_ISREG(stat_of("attempts").st_mode)); /* that one was survived */
	write_attempts(PREPARE_ATTEMPTS_MAX);
	assert_int_equal(try_prepare(), -ELOOP);
	assert_non_null(strstr(t.err.message, "died 9 times"));
}

static void arguments_see_the_environment_of_the_run(void **state)
{
	(void)state;
	submit("\"script\": \"train.py\", \"arguments\": [\"$X\", \"${AZUREML_RUN_ID}\", \"$PWD\", \"\"],"
	       "\"environment\": {\"environment_variables\": {\"X\": \"a b\"}, \"python\": "
	       "{\"interpreter_path\": \"" PYTHON
	       "\"}}, \"submit_environment\": {\"PATH\": \"/bin\"}");
	prepare();
	assert_int_equal(strv_length(t.launch.argv), 6);
	assert_string_equal(t.launch.argv[0], PYTHON);
	assert_string_equal(t.launch.argv[1], "train.py");
	assert_string_equal(t.launch.argv[2], "a b");
	assert_string_equal(t.launch.argv[3], "e_1_0");
	assert_string_equal(t.launch.argv[4], env("PWD"));
	assert_string_equal(t.launch.argv[5], "");
	assert_string_equal(t.prepare.program, PYTHON);
	assert_string_equal(t.prepare.interpreter.path, PYTHON);
	assert_non_null(t.prepare.interpreter.version);
}

static void a_command_is_the_shells(void **state)
{
	(void)state;
	submit("\"command\": \"echo $X | cat\", \"submit_environment\": {}, "
	       "\"max_run_duration_seconds\": 90");
	prepare();
	assert_int_equal(strv_length(t.launch.argv), 3);
	assert_string_equal(t.launch.argv[0], "/bin/sh");
	assert_string_equal(t.launch.argv[1], "-c");
	assert_string_equal(t.launch.argv[2], "echo $X | cat");
	assert_null(t.prepare.interpreter.path);
	assert_string_equal(t.launch.cwd, RUN_DIR_WORK);
	assert_int_equal(t.launch.limit_us, 90000000);
	assert_int_equal(t.launch.grace_us, 3000000);
}

static void no_limit_is_none(void **state)
{
	(void)state;
	submit("\"command\": \"true\", \"max_run_duration_seconds\": null");
	prepare();
	assert_int_equal(t.launch.limit_us, 0);
}

/* ---- environment ---- */

static void later_variables_win(void **state)
{
	_cleanup_(freep) char *venv = below("venv");
	_cleanup_(freep) char *python = below("venv/bin/python");
	_cleanup_(freep) char *bin = below("venv/bin");
	_cleanup_(freep) char *config = below("venv/pyvenv.cfg");
	_cleanup_(freep) char *more = mem_printf(
		"\"script\": \"train.py\", \"submit_environment\": {\"PATH\": \"/usr/bin:/bin\", "
		"\"ONLY\": \"submit\", \"BOTH\": \"submit\", \"VIRTUAL_ENV\": \"/submit\", "
		"\"PYTHONHOME\": \"/submit\", \"AZUREML_RUN_ID\": \"submit\", \"PWD\": \"/submit\", "
		"\"OLDPWD\": \"/submit\", \"EMPTY\": \"\"}, "
		"\"environment\": {\"environment_variables\": {\"BOTH\": \"request\", "
		"\"AZUREML_EXPERIMENT_ID\": \"request\", \"E\": \"a=b\"}, \"python\": "
		"{\"interpreter_path\": \"%s\"}}",
		venv);

	(void)state;
	assert_int_equal(dir_make(bin, 0755), 0);
	assert_int_equal(symlink(PYTHON, python), 0);
	assert_int_equal(
		file_replace(AT_FDCWD, config, "home = /usr/bin\n", 16, 0644, FILE_NO_SYNC), 0);
	submit(more);
	prepare();
	assert_env("ONLY", "submit");
	assert_env("EMPTY", "");
	assert_env("VIRTUAL_ENV", venv); /* activation over the submitter's */
	assert_null(env("PYTHONHOME"));
	assert_int_equal(strncmp(env("PATH"), bin, strlen(bin)), 0);
	assert_env("BOTH", "request");
	assert_env("E", "a=b");
	assert_env("AZUREML_RUN_ID", "e_1_0");
	assert_env("AZUREML_EXPERIMENT_ID", "e");
	assert_env("AZUREML_ARM_PROJECT_NAME", "e");
	assert_non_null(env("AZUREML_ARM_SUBSCRIPTION"));
	assert_non_null(env("AZUREML_ARM_RESOURCEGROUP"));
	assert_non_null(env("AZUREML_ARM_WORKSPACE_NAME"));
	assert_env("PYTHONUNBUFFERED", "1");
	assert_int_equal(strncmp(env("PWD"), t.run, strlen(t.run)), 0);
	assert_string_equal(env("PWD") + strlen(t.run), "/work");
	assert_null(env("OLDPWD"));
}

static void the_requests_variables_win_over_activation(void **state)
{
	(void)state;
	submit("\"script\": \"train.py\", \"submit_environment\": {\"PATH\": \"/usr/bin:/bin\"}, "
	       "\"environment\": {\"environment_variables\": {\"PATH\": \"/mine\", "
	       "\"PYTHONUNBUFFERED\": \"\"}, \"python\": {\"interpreter_path\": \"" PYTHON "\"}}");
	prepare();
	assert_env("PATH", "/mine");
	assert_env("PYTHONUNBUFFERED", "");
}

static void a_clean_environment_has_what_a_login_gives(void **state)
{
	(void)state;
	assert_int_equal(setenv("OF_THE_DAEMON", "1", 1), 0);
	submit("\"command\": \"true\"");
	prepare();
	assert_env("PATH", "/usr/local/bin:/usr/bin:/bin");
	assert_non_null(env("HOME"));
	assert_non_null(env("USER"));
	assert_non_null(env("AZUREML_RUN_ID"));
	assert_null(env("OF_THE_DAEMON"));
}

static void an_empty_environment_is_not_the_daemons(void **state)
{
	(void)state;
	submit("\"command\": \"true\", \"submit_environment\": {\"ONE\": \"1\"}");
	prepare();
	assert_env("ONE", "1");
	assert_null(env("HOME"));
	assert_null(env("PATH"));
}

/* ---- slots and bounds ---- */

static void a_slot_wins_over_whatever_the_script_asked_for(void **state)
{
	static char *one[] = { "GPU-1", NULL };
	static char *two[] = { "GPU-1", "3", NULL };
	static char *none[] = { NULL };
	static const struct {
		char *const *ids;
		bool hide;
		const char *expected; /* NULL: as it was submitted */
	} cases[] = {
		{ NULL, false, "submitted" },
		{ none, false, "submitted" },
		{ NULL, true, "" },
		{ none, true, "" },
		{ one, false, "GPU-1" },
		{ two, true, "GPU-1,3" },
	};

	(void)state;
	submit("\"command\": \"true\", \"environment\": {\"environment_variables\": "
	       "{\"CUDA_VISIBLE_DEVICES\": \"submitted\"}}, "
	       "\"submit_environment\": {\"CUDA_VISIBLE_DEVICES\": \"0\"}");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		t.with.gpu_ids = cases[i].ids;
		t.with.hide_gpus = cases[i].hide;
		prepare();
		assert_env("CUDA_VISIBLE_DEVICES", cases[i].expected);
	}
}

static void bounds_and_limits_go_into_launch(void **state)
{
	_cleanup_(freep) char *path = path_join(t.run, RUN_LIMITS_FILE);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	submit("\"command\": \"true\"");
	prepare();
	assert_int_equal(t.launch.limits.known, 0);
	assert_int_equal(t.launch.memory_max, 0);
	assert_int_equal(t.launch.cpu_weight, 0);
	assert_null(t.launch.as);
	t.with.memory_max = 1 << 30;
	t.with.pids_max = 100;
	t.with.cpus = 3;
	assert_int_equal(file_replace(AT_FDCWD, path, "nofile=10:20", 12, 0600, FILE_NO_SYNC), 0);
	prepare();
	assert_int_equal(t.launch.memory_max, 1 << 30);
	assert_int_equal(t.launch.pids_max, 100);
	assert_int_equal(t.launch.cpu_weight, 300);
	run_limits_format(&t.launch.limits, &text);
	assert_string_equal(text.data, "nofile=10:20");
	t.with.cpus = 512;
	prepare();
	assert_int_equal(t.launch.cpu_weight, RUN_CPU_WEIGHT_MAX);
	assert_int_equal(file_replace(AT_FDCWD, path, "nofile", 6, 0600, FILE_NO_SYNC), 0);
	assert_int_equal(try_prepare(), -EBADMSG);
	assert_non_null(strstr(t.err.message, "limits"));
}

/* ---- another user's ---- */

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
	t.with.as = &other;
}

#define assert_is(name, user, bits) \
	do { \
		struct stat is_st = stat_of(name); \
		assert_int_equal(is_st.st_uid, user); \
		assert_int_equal(is_st.st_gid, user); \
		assert_int_equal(is_st.st_mode & 07777, bits); \
	} while (0)

static void work_and_log_are_the_users_and_the_rest_is_roots(void **state)
{
	_cleanup_(freep) char *folder = path_join(t.source, "deep");
	_cleanup_(freep) char *link = path_join(t.source, "deep/link");

	(void)state;
	need_root();
	assert_int_equal(mkdir(folder, 0750), 0);
	put("deep/file", "x", 0640);
	put("run.sh", "x", 0755);
	assert_int_equal(symlink("/etc/shadow", link), 0);
	submit("\"command\": \"true\"");
	prepare();
	assert_is("work", 54321, 0700);
	assert_is("work/deep", 54321, stat_of("work/deep").st_mode & 0777);
	assert_is("work/deep/file", 54321, stat_of("work/deep/file").st_mode & 0777);
	assert_is("work/run.sh", 54321, stat_of("work/run.sh").st_mode & 0777);
	assert_int_equal(stat_of("work/deep/link").st_uid, 54321);
	assert_is("work/outputs", 54321, 0755);
	assert_is("work/user_logs/std_log.txt", 54321, 0600);
	assert_is(RUN_DIR_LOG, 54321, 0600);
	assert_is(RUN_DIR_LAUNCH, 0, 0600);
	assert_is(RUN_DIR_CONTROL, 0, 0600);
	assert_int_equal(stat_of("").st_uid, geteuid());
	/* What a link leads to is not his. */
	{
		struct stat shadow;

		assert_int_equal(stat("/etc/shadow", &shadow), 0);
		assert_int_equal(shadow.st_uid, 0);
	}
	assert_int_equal(t.launch.as->uid, 54321);
	assert_int_equal(t.launch.as->group_count, 2);
	assert_null(t.launch.as->name);
}

static void the_second_attempt_is_like_the_first(void **state)
{
	_cleanup_(freep) char *left = path_join(t.run, "work/outputs/left");
	_cleanup_(freep) char *trap = path_join(t.run, "work/trap");

	(void)state;
	need_root();
	submit("\"command\": \"true\"");
	prepare();
	assert_int_equal(symlink("/etc", trap), 0);
	assert_int_equal(mkdir(left, 0), 0);
	prepare();
	assert_int_equal(stat_of("work/trap").st_mode, 0);
	assert_int_equal(stat_of("work/outputs/left").st_mode, 0);
	assert_is("work", 54321, 0700);
	assert_is(RUN_DIR_LOG, 54321, 0600);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
}

/* Whatever the source had: it was root's while it was laid out. */
static void setuid_and_setgid_never_survive(void **state)
{
	_cleanup_(freep) char *folder = path_join(t.source, "folder");
	_cleanup_(freep) char *file = path_join(t.source, "program");

	(void)state;
	need_root();
	put("program", "x", 0755);
	assert_int_equal(mkdir(folder, 0755), 0);
	put("folder/x", "x", 0644);
	assert_int_equal(chmod(file, 07755), 0);
	assert_int_equal(chmod(folder, 07777), 0);
	submit("\"command\": \"true\"");
	for (int i = 0; i < 2; i++) {
		prepare();
		assert_int_equal(stat_of("work/program").st_mode & 07000, 0);
		assert_int_equal(stat_of("work/program").st_mode & 0111, 0111);
		assert_int_equal(stat_of("work/folder").st_mode & 07000, 0);
		t.with.as = NULL;
	}
}

static void a_clean_environment_is_the_users(void **state)
{
	(void)state;
	need_root();
	submit("\"command\": \"true\"");
	prepare(); /* numbers alone, of one who has no name any more */
	assert_null(env("HOME"));
	assert_null(env("USER"));
	assert_env("PATH", "/usr/local/bin:/usr/bin:/bin");
	other.name = "ana";
	other.home = "/home/ana";
	other.shell = "/bin/zsh";
	prepare();
	other.name = other.home = other.shell = NULL;
	assert_env("HOME", "/home/ana");
	assert_env("USER", "ana");
	assert_env("LOGNAME", "ana");
	assert_env("SHELL", "/bin/zsh");
}

/* Root could read it: it is found, or not, with the user's rights. */
static void the_interpreter_is_looked_for_as_the_user(void **state)
{
	_cleanup_(freep) char *more = mem_printf(
		"\"script\": \"train.py\", \"submit_environment\": {\"PATH\": \"/bin\"}, "
		"\"environment\": {\"python\": {\"interpreter_path\": \"%s/python\"}}",
		t.dir);
	_cleanup_(freep) char *python = below("python");

	(void)state;
	need_root();
	assert_int_equal(symlink(PYTHON, python), 0);
	submit(more);
	assert_int_equal(try_prepare(), -EACCES); /* t.dir is 0700 */
	assert_non_null(strstr(t.err.message, python));
	assert_int_equal(stat_of(RUN_DIR_LAUNCH).st_mode, 0);
	assert_int_equal(chmod(t.dir, 0755), 0);
	prepare();
	assert_string_equal(t.launch.argv[0], python);
	assert_env("AZUREML_RUN_ID", "e_1_0");
}

/* ---- work/ ---- */

static void the_folder_is_laid_out(void **state)
{
	struct stat log, name;

	(void)state;
	put("run.sh", "x", 0755);
	submit("\"command\": \"true\"");
	prepare();
	assert_int_equal(stat_of("work/run.sh").st_mode & 0111, 0111);
	assert_true(S_ISREG(stat_of("work/train.py").st_mode));
	assert_true(S_ISDIR(stat_of("work/outputs").st_mode));
	assert_true(S_ISDIR(stat_of("work/logs").st_mode));
	log = stat_of(RUN_DIR_LOG);
	name = stat_of("work/user_logs/std_log.txt");
	assert_true(S_ISREG(log.st_mode) && log.st_size == 0);
	assert_int_equal(log.st_ino, name.st_ino);
	assert_true(S_ISFIFO(stat_of(RUN_DIR_CONTROL).st_mode));
}

static void what_an_earlier_attempt_left_is_gone(void **state)
{
	_cleanup_(freep) char *left = path_join(t.run, "work/outputs/left");
	_cleanup_(freep) char *log = path_join(t.run, RUN_DIR_LOG);

	(void)state;
	submit("\"command\": \"true\"");
	prepare();
	assert_int_equal(file_replace(AT_FDCWD, left, "x", 1, 0600, FILE_NO_SYNC), 0);
	assert_int_equal(truncate(log, 10), 0);
	prepare();
	assert_int_equal(stat_of("work/outputs/left").st_mode, 0);
	assert_int_equal(stat_of(RUN_DIR_LOG).st_size, 0);
	assert_true(S_ISREG(stat_of("work/train.py").st_mode));
}

static void allow_descriptors(rlim_t count)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = count;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* However few there are: it is laid out, or it says that it wants for some (and is not mistaken for
 * a run that cannot be set up); the next attempt is none the worse. */
static void want_of_descriptors_is_told_as_such(void **state)
{
	_cleanup_(freep) char *folder = path_join(t.source, "folder");
	struct rlimit enough;
	int r = -EMFILE;

	(void)state;
	assert_int_equal(mkdir(folder, 0755), 0);
	put("folder/deep", "deep", 0644);
	submit("\"script\": \"train.py\"");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &enough), 0);
	for (rlim_t count = 3; r < 0 && count < 64; count++) {
		allow_descriptors(count);
		r = try_prepare();
		allow_descriptors(enough.rlim_cur);
		if (r < 0)
			assert_int_equal(r, -EMFILE);
		if (r < 0)
			assert_non_null(strstr(t.err.message, strerror(EMFILE)));
		prepare();
	}
	assert_int_equal(r, 0);
}

static void special_folders_of_the_source_are_kept_and_made_writable(void **state)
{
	_cleanup_(freep) char *outputs = path_join(t.source, "outputs");
	_cleanup_(freep) char *user_logs = path_join(t.source, "user_logs");

	(void)state;
	assert_int_equal(mkdir(outputs, 0755), 0);
	assert_int_equal(mkdir(user_logs, 0755), 0);
	put("outputs/old", "x", 0444);
	put("user_logs/std_log.txt", "an old log", 0644);
	assert_int_equal(chmod(outputs, 0555), 0);
	submit("\"command\": \"true\"");
	prepare();
	assert_int_equal(stat_of("work/outputs").st_mode & 0700, 0700);
	assert_true(S_ISREG(stat_of("work/outputs/old").st_mode));
	assert_int_equal(stat_of("work/user_logs/std_log.txt").st_size, 0);
	assert_int_equal(stat_of("work/user_logs/std_log.txt").st_ino, stat_of(RUN_DIR_LOG).st_ino);
	prepare(); /* a read-only folder is no obstacle the second time */
	assert_int_equal(chmod(outputs, 0755), 0);
}

static void a_file_or_link_where_a_folder_goes_is_an_error_that_names_it(void **state)
{
	static const char *const names[] = { "outputs", "logs", "user_logs" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		for (int link = 0; link < 2; link++) {
			_cleanup_(freep) char *path = path_join(t.source, names[i]);

			if (link)
				assert_int_equal(symlink("/tmp", path), 0);
			else
				put(names[i], "x", 0644);
			submit("\"command\": \"true\"");
			assert_true(try_prepare() < 0);
			assert_non_null(strstr(t.err.message, names[i]));
			submission_release(&t.submission);
			assert_int_equal(tree_remove(AT_FDCWD, t.run), 0);
			assert_int_equal(unlink(path), 0);
		}
}

static void a_folder_where_the_log_goes_is_an_error_that_names_it(void **state)
{
	_cleanup_(freep) char *path = path_join(t.source, RUN_LOG_ARTIFACT);

	(void)state;
	assert_int_equal(dir_make(path, 0755), 0);
	put("user_logs/std_log.txt/x", "x", 0644);
	submit("\"command\": \"true\"");
	assert_true(try_prepare() < 0);
	assert_non_null(strstr(t.err.message, "std_log.txt"));
}

static void a_missing_interpreter_is_an_error_that_names_it(void **state)
{
	(void)state;
	submit("\"script\": \"train.py\", \"submit_environment\": {\"PATH\": \"/none\"}");
	assert_int_equal(try_prepare(), -ENOENT);
	assert_non_null(strstr(t.err.message, "python"));
	submission_release(&t.submission);
	assert_int_equal(tree_remove(AT_FDCWD, t.run), 0);
	submit("\"script\": \"train.py\", \"environment\": {\"python\": {\"interpreter_path\": "
	       "\"/none/py\"}}");
	assert_int_equal(try_prepare(), -ENOENT);
	assert_non_null(strstr(t.err.message, "/none/py"));
	assert_int_equal(stat_of(RUN_DIR_LAUNCH).st_mode, 0);
}

static void a_folder_that_is_gone_is_an_error(void **state)
{
	(void)state;
	submit("\"command\": \"true\"");
	assert_int_equal(tree_remove(AT_FDCWD, t.run), 0);
	assert_int_equal(try_prepare(), -ENOENT);
	assert_non_null(strstr(t.err.message, t.run));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(variables_are_expanded_and_nothing_else),
		TEST(an_argument_is_not_longer_than_linux_takes),
		TEST(a_run_that_daemons_die_of_is_not_tried_for_ever),
		TEST(arguments_see_the_environment_of_the_run),
		TEST(a_command_is_the_shells),
		TEST(no_limit_is_none),
		TEST(later_variables_win),
		TEST(the_requests_variables_win_over_activation),
		TEST(a_clean_environment_has_what_a_login_gives),
		TEST(an_empty_environment_is_not_the_daemons),
		TEST(a_slot_wins_over_whatever_the_script_asked_for),
		TEST(bounds_and_limits_go_into_launch),
		TEST(work_and_log_are_the_users_and_the_rest_is_roots),
		TEST(the_second_attempt_is_like_the_first),
		TEST(setuid_and_setgid_never_survive),
		TEST(a_clean_environment_is_the_users),
		TEST(the_interpreter_is_looked_for_as_the_user),
		TEST(the_folder_is_laid_out),
		TEST(what_an_earlier_attempt_left_is_gone),
		TEST(want_of_descriptors_is_told_as_such),
		TEST(special_folders_of_the_source_are_kept_and_made_writable),
		TEST(a_file_or_link_where_a_folder_goes_is_an_error_that_names_it),
		TEST(a_folder_where_the_log_goes_is_an_error_that_names_it),
		TEST(a_missing_interpreter_is_an_error_that_names_it),
		TEST(a_folder_that_is_gone_is_an_error),
	};

	const char *build = getenv("AMLAGENT_BUILD_DIR");
	_cleanup_(freep) char *helper = mem_printf("%s/" USER_HELPER, build ? build : ".");

	user_helper_use(helper);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
