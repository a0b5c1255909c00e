/* SPDX-License-Identifier: MIT */
/* prepare - the blocking part of getting a run ready; see prepare.h */
#include "runs/prepare.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/snapshot.h"
#include "capture/user_interpreter.h"
#include "common/clock.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "runs/give_away.h"
#include "runs/submission.h"

#define SHELL "/bin/sh"
#define ATTEMPTS "attempts" /* in the run directory */
#define GPU_VARIABLE "CUDA_VISIBLE_DEVICES"
#define GPU_ORDER "CUDA_DEVICE_ORDER"

/* What `env -i` plus a login would give: no more than a program can expect anywhere. */
static char **clean_environment(const struct identity *as)
{
	_cleanup_(identity_release) struct identity self = { 0 };
	const struct identity *who = as ? as : &self;
	char **env = NULL;

	if (!as)
		(void)identity_of_user(geteuid(), &self); /* not found: names nobody */
	env_set(&env, "PATH", "/usr/local/bin:/usr/bin:/bin");
	env_set(&env, "LANG", "C.UTF-8");
	env_set(&env, "HOME", who->home);
	env_set(&env, "USER", who->name);
	env_set(&env, "LOGNAME", who->name);
	env_set(&env, "SHELL", who->shell);
	return env;
}

static int read_environment(const struct prepare *prepare, int dirfd, char ***ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	size_t count = 0;
	char **env;
	int r = file_read(dirfd, SUBMISSION_ENVIRONMENT, RUN_DIR_FILE_MAX, &text);

	if (r == -ENOENT) {
		*ret = clean_environment(prepare->as);
		return 0;
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < text.size; i++)
		count += !text.data[i];
	env = mem_alloc((count + 1) * sizeof(*env));
	for (size_t i = 0, at = 0; at < text.size && i < count; at += strlen(text.data + at) + 1)
		if (text.data[at]) /* what is empty is none: an environment without variables */
			env[i++] = mem_strdup(text.data + at);
	*ret = env;
	return 0;
}

static void set_all(char ***env, char *const *variables)
{
	for (size_t i = 0; variables && variables[i]; i++) {
		const char *equals = strchr(variables[i], '=');
		_cleanup_(freep) char *name =
			mem_strndup(variables[i], (size_t)(equals - variables[i]));

		env_set(env, name, equals + 1);
	}
}

/* The coordinates that libraries take as the sign of being inside Azure ML. There is no
 * subscription here; the words say so. */
static void set_azureml(const struct prepare *prepare, char ***env)
{
	const char *experiment = prepare->request->experiment_name;

	env_set(env, "AZUREML_RUN_ID", prepare->run_id);
	env_set(env, "AZUREML_EXPERIMENT_ID", experiment);
	env_set(env, "AZUREML_ARM_SUBSCRIPTION", "local");
	env_set(env, "AZUREML_ARM_RESOURCEGROUP", "local");
	env_set(env, "AZUREML_ARM_WORKSPACE_NAME", "local");
	env_set(env, "AZUREML_ARM_PROJECT_NAME", experiment);
}

/* A slot is not the script's choice: whatever it was set to before. */
static void set_gpus(const struct prepare *prepare, char ***env)
{
	_cleanup_(strbuf_release) struct strbuf list = STRBUF_INIT;

	for (size_t i = 0; prepare->gpu_ids && prepare->gpu_ids[i]; i++)
		strbuf_addf(&list, "%s%s", i ? "," : "", prepare->gpu_ids[i]);
	if (list.size || prepare->hide_gpus)
		env_set(env, GPU_VARIABLE, list.size ? list.data : "");
	/* An id that is an index counts in the bus' order (gpu.h); CUDA's own is the fastest first. */
	if (list.size)
		env_set(env, GPU_ORDER, "PCI_BUS_ID");
}

static int make_environment(struct prepare *prepare, int dirfd, char ***ret, struct error *err)
{
	const struct run_request *request = prepare->request;
	_cleanup_(strv_freep) char **env = NULL;
	_cleanup_(freep) char *work = path_join(prepare->run_dir, RUN_DIR_WORK);
	int r = read_environment(prepare, dirfd, &env);

	if (r < 0)
		return error_errno(err, r, NULL, "cannot read the submitter's environment back");
	if (request->script || request->interpreter_path) {
		r = interpreter_prepare_as(prepare->as, request->interpreter_path,
			request->source_directory, &env, &prepare->interpreter, err);
		if (r < 0)
			return r;
	}
	set_all(&env, request->environment_variables);
	set_azureml(prepare, &env);
	set_gpus(prepare, &env);
	if (!env_get(env, "PYTHONUNBUFFERED"))
		env_set(&env, "PYTHONUNBUFFERED", "1");
	env_set(&env, "PWD", work);
	env_set(&env, "OLDPWD", NULL);
	*ret = TAKE(env);
	return 0;
}

/* The size of a reference at text: "$NAME" or "${NAME}"; 0: there is none. ret_name: malloc'ed. */
static size_t reference(const char *text, char **ret_name)
{
	bool braces = text[0] == '$' && text[1] == '{';
	const char *name = text + 1 + braces;
	size_t size = 0;

	if (text[0] != '$')
		return 0;
	while (isalnum((unsigned char)name[size]) || name[size] == '_')
		size++;
	if (!size || (braces && name[size] != '}'))
		return 0;
	*ret_name = mem_strndup(name, size);
	return (size_t)(name - text) + size + braces;
}

char *prepare_expand(const char *text, char *const *env)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	while (*text && out.size <= RUN_ARGUMENT_BYTES_MAX) {
		_cleanup_(freep) char *name = NULL;
		size_t size = reference(text, &name);
		const char *value = size ? env_get(env, name) : NULL;

		if (value)
			strbuf_adds(&out, value);
		else
			strbuf_add(&out, text, size ? size : 1);
		text += size ? size : 1;
	}
	return out.size <= RUN_ARGUMENT_BYTES_MAX ? strbuf_steal(&out) : NULL;
}

static int add_arguments(char *const *arguments, struct run_launch *launch, struct error *err)
{
	size_t total = 0;

	for (size_t i = 0; arguments && arguments[i]; i++) {
		char *argument = prepare_expand(arguments[i], launch->env);

		if (!argument)
			return error_set(err, -E2BIG, "arguments",
				"arguments[%zu]: with its variables filled in it is longer than the %u "
				"bytes that Linux takes; put it into a file",
				i, RUN_ARGUMENT_BYTES_MAX);
		total += strlen(argument) + 1;
		strv_take(&launch->argv, argument);
		if (total > RUN_DIR_FILE_MAX)
			return error_set(err, -E2BIG, "arguments",
				"arguments: with their variables filled in they are longer than %u "
				"bytes; put them into a file",
				RUN_DIR_FILE_MAX);
	}
	return 0;
}

static int make_command(struct prepare *prepare, struct run_launch *launch, struct error *err)
{
	const struct run_request *request = prepare->request;

	if (request->command) {
		strv_add(&launch->argv, SHELL);
		strv_add(&launch->argv, "-c");
		strv_add(&launch->argv, request->command);
		return 0;
	}
	strv_add(&launch->argv, prepare->interpreter.path);
	strv_add(&launch->argv, request->script);
	return add_arguments(request->arguments, launch, err);
}

static int make_folder(int workfd, const char *name)
{
	struct stat st;

	if (mkdirat(workfd, name, 0755) == 0)
		return 0;
	if (errno != EEXIST || fstatat(workfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/* A read-only one from the snapshot must take files all the same. */
	return fchmodat(workfd, name, st.st_mode | 0700, 0) < 0 ? -errno : 0;
}

static int make_special_folders(int workfd, struct error *err)
{
	static const char *const folders[] = { "outputs", "logs", "user_logs" };

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		int r = make_folder(workfd, folders[i]);

		if (r < 0)
			return error_errno(err, r, folders[i],
				"\"%s\" of the source directory stands where the run's folder goes; rename it "
				"or name it in .amlignore (or .gitignore)",
				folders[i]);
	}
	return 0;
}

/* The log is the kernel's: a file opened for append. Its name in work/ is only for the script's
 * eyes; the one in the run directory is the log, whatever the script does. */
static int make_log(const struct identity *as, int dirfd, int workfd, struct error *err)
{
	_cleanup_(closep) int fd =
		openat(dirfd, RUN_DIR_LOG, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_errno(err, -errno, NULL, "cannot make the log");
	if (as && fchown(fd, as->uid, as->gid) < 0)
		return error_errno(err, -errno, NULL, "cannot give the log to the run's user");
	if (unlinkat(workfd, RUN_LOG_ARTIFACT, 0) < 0 && errno != ENOENT)
		return error_errno(
			err, -errno, RUN_LOG_ARTIFACT, "cannot replace %s", RUN_LOG_ARTIFACT);
	linkat(dirfd, RUN_DIR_LOG, workfd, RUN_LOG_ARTIFACT, 0); /* nice to have */
	return 0;
}

static int lay_out(const struct prepare *prepare, int dirfd, struct error *err)
{
	_cleanup_(closep) int workfd = -EBADF;
	int r = tree_remove(dirfd, RUN_DIR_WORK);

	if (r < 0 || mkdirat(dirfd, RUN_DIR_WORK, 0700) < 0)
		return error_errno(
			err, r < 0 ? r : -errno, NULL, "cannot make the working directory");
	workfd = openat(dirfd, RUN_DIR_WORK, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (workfd < 0)
		return error_errno(err, -errno, NULL, "cannot open the working directory");
	r = FAIL_POINT(
		FAIL_PREPARE_LAY_OUT, snapshot_lay_out(prepare->store, &prepare->snapshot_id,
					      prepare->request->source_directory, workfd, err));
	if (r >= 0)
		r = make_special_folders(workfd, err);
	if (r >= 0)
		r = FAIL_POINT(FAIL_PREPARE_LOG, make_log(prepare->as, dirfd, workfd, err));
	if (r >= 0 && prepare->as)
		r = give_away(workfd, prepare->as->uid, prepare->as->gid, err);
	return error_default(err, r, "cannot lay the snapshot out");
}

/* How its supervisor is asked to stop, also when the disk is full by then. */
static int make_control(int dirfd)
{
	if (mkfifoat(dirfd, RUN_DIR_CONTROL, 0600) < 0 && errno != EEXIST)
		return -errno;
	return file_set_aside(dirfd, RUN_DIR_STOP, 0600);
}

static int write_launch(const struct prepare *prepare, const struct run_launch *launch, int dirfd,
	struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = FAIL_POINT(FAIL_PREPARE_CONTROL, make_control(dirfd));

	run_launch_format(launch, &text);
	if (text.size > RUN_DIR_FILE_MAX)
		return error_set(err, -E2BIG, NULL,
			"the command with its environment has %zu bytes, more than %u: "
			"put what is large into a file",
			text.size, RUN_DIR_FILE_MAX);
	if (r >= 0)
		r = FAIL_POINT(FAIL_PREPARE_LAUNCH, file_replace(dirfd, RUN_DIR_LAUNCH, text.data,
							    text.size, 0600, FILE_NO_SYNC));
	return r < 0 ? error_errno(
			       err, r, NULL, "cannot write what to run into %s", prepare->run_dir)
		     : 0;
}

/* ---- attempts ---- */

/* A byte for each preparation that is under way, or was when a daemon died. */
static int count_attempt(int dirfd, struct error *err)
{
	_cleanup_(closep) int fd =
		openat(dirfd, ATTEMPTS, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || write(fd, "+", 1) < 0)
		return error_errno(err, -errno, NULL, "cannot count the attempts to start it");
	if (st.st_size >= PREPARE_ATTEMPTS_MAX)
		return error_set(err, -ELOOP, NULL,
			"amlagentd has died %d times while it prepared this run, which is not tried "
			"again: report that, with the log of amlagentd",
			PREPARE_ATTEMPTS_MAX);
	return 0;
}

/* Of an attempt that had no process or memory for the command. While `exit` is there it tells so; so
 * it goes last. */
static int forget_attempt(int dirfd, struct error *err)
{
	static const char *const told[] = { RUN_DIR_STATUS, RUN_DIR_EXIT };
	bool removed = false;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(told); i++) {
		if (unlinkat(dirfd, told[i], 0) == 0)
			removed = true;
		else if (errno != ENOENT)
			r = -errno;
	}
	/* Back after a loss of power they would have it started a second time. */
	if (r >= 0 && removed)
		r = file_fsync(dirfd);
	return r < 0 ? error_errno(err, r, NULL, "cannot remove what an earlier attempt left") : 0;
}

static int read_limits(int dirfd, struct run_limits *ret, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = file_read(dirfd, RUN_LIMITS_FILE, RUN_LIMITS_TEXT_MAX, &text);

	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = run_limits_parse(text.data, ret);
	return r < 0 ? error_errno(err, r, NULL, "cannot read the submitter's limits back") : 0;
}

/* What the run may use, and whose it is. */
static int set_bounds(
	const struct prepare *prepare, int dirfd, struct run_launch *launch, struct error *err)
{
	int64_t weight = prepare->cpus * RUN_CPU_WEIGHT_USUAL;

	launch->memory_max = prepare->memory_max;
	launch->pids_max = prepare->pids_max;
	launch->cpu_weight = weight < RUN_CPU_WEIGHT_MAX ? weight : RUN_CPU_WEIGHT_MAX;
	if (prepare->as) {
		launch->as = NEW(struct identity);
		identity_copy(prepare->as, launch->as);
	}
	return read_limits(dirfd, &launch->limits, err);
}

static int make_launch(struct prepare *prepare, int dirfd, struct error *err)
{
	_cleanup_(run_launch_release) struct run_launch launch = {
		.limit_us = prepare->request->max_run_duration_seconds * USEC_PER_SEC,
		.grace_us = prepare->grace_us,
	};
	int r = set_bounds(prepare, dirfd, &launch, err);

	if (r >= 0)
		r = make_environment(prepare, dirfd, &launch.env, err);
	if (r >= 0)
		r = lay_out(prepare, dirfd, err);
	if (r >= 0)
		r = make_command(prepare, &launch, err);
	if (r < 0)
		return r;
	launch.cwd = mem_strdup(RUN_DIR_WORK);
	if (prepare->cgroup_parent)
		launch.cgroup = path_join(prepare->cgroup_parent, prepare->run_id);
	prepare->program = mem_strdup(launch.argv[0]);
	return write_launch(prepare, &launch, dirfd, err);
}

int prepare_carry_out(struct prepare *prepare, struct error *err)
{
	_cleanup_(closep) int dirfd = open(prepare->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (dirfd < 0)
		return error_errno(
			err, -errno, NULL, "cannot open the run's folder %s", prepare->run_dir);
	r = count_attempt(dirfd, err);
	if (r >= 0)
		r = forget_attempt(dirfd, err);
	if (r >= 0)
		r = make_launch(prepare, dirfd, err);
	(void)unlinkat(dirfd, ATTEMPTS, 0);
	return r;
}

void prepare_release(struct prepare *prepare)
{
	interpreter_release(&prepare->interpreter);
	free(prepare->program);
	prepare->program = NULL;
}
