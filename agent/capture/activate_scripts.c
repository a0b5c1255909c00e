/* SPDX-License-Identifier: MIT */
/* activate_scripts - what a folder of scripts does to an environment; see activate_scripts.h */
#include "capture/activate_scripts.h"

#include <ctype.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/child_process.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/mem.h"
#include "common/strv.h"

#define OUTPUT_MAX ((size_t)1 << 20)
#define VARIABLES_MAX 8192
#define SCRIPTS_MAX 1000
#define MEMORY_SIZE 16 /* an effect can be as large as an environment */

/* stdout is for env alone. The list is expanded once, so a script may change its own arguments. */
static const char source_all[] =
	"for amlagent_script in \"$@\"; do . \"$amlagent_script\"; done >&2; exec /usr/bin/env -0";

/* What was different afterwards. */
struct effect {
	struct pairs set;
	char **unset; /* strv of names */
};

static struct {
	pthread_mutex_t lock;
	struct {
		bool used;
		struct digest key;
		struct effect effect;
	} entries[MEMORY_SIZE];
	size_t next; /* the one to replace */
} memory = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void effect_release(struct effect *effect)
{
	pairs_release(&effect->set);
	strv_free(effect->unset);
	*effect = (struct effect){ 0 };
}

static void effect_apply(const struct effect *effect, char ***env)
{
	for (size_t i = 0; i < effect->set.count; i++)
		env_set(env, effect->set.items[i].key, effect->set.items[i].value);
	for (size_t i = 0; effect->unset && effect->unset[i]; i++)
		env_set(env, effect->unset[i], NULL);
}

static bool recall(const struct digest *key, char ***env)
{
	bool found = false;

	pthread_mutex_lock(&memory.lock);
	for (size_t i = 0; i < MEMORY_SIZE && !found; i++) {
		found = memory.entries[i].used && digest_equal(&memory.entries[i].key, key);
		if (found)
			effect_apply(&memory.entries[i].effect, env);
	}
	pthread_mutex_unlock(&memory.lock);
	return found;
}

/* Takes over effect. */
static void remember(const struct digest *key, struct effect *effect)
{
	size_t at;

	pthread_mutex_lock(&memory.lock);
	at = memory.next++ % MEMORY_SIZE;
	effect_release(&memory.entries[at].effect);
	memory.entries[at].used = true;
	memory.entries[at].key = *key;
	memory.entries[at].effect = *effect;
	pthread_mutex_unlock(&memory.lock);
	*effect = (struct effect){ 0 };
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void reverse_list(char **list, size_t count)
{
	for (size_t i = 0; i < count / 2; i++) {
		char *other = list[count - 1 - i];

		list[count - 1 - i] = list[i];
		list[i] = other;
	}
}

static bool is_script(const char *name)
{
	size_t size = strlen(name);

	return size > 3 && !strcmp(name + size - 3, ".sh");
}

/* A strv of paths; NULL when there are none. */
static int list_scripts(const char *dir, bool reverse, char ***ret, struct error *err)
{
	_cleanup_(closedirp) DIR *stream = opendir(dir);
	_cleanup_(strv_freep) char **list = NULL;
	size_t count = 0;

	if (!stream && errno != ENOENT && errno != ENOTDIR)
		return error_errno(err, -errno, NULL, "activation scripts in %s", dir);
	for (struct dirent *entry; stream && (entry = readdir(stream));) {
		if (!is_script(entry->d_name))
			continue;
		if (++count > SCRIPTS_MAX)
			return error_set(err, -E2BIG, NULL, "more than %d activation scripts in %s",
				SCRIPTS_MAX, dir);
		strv_addf(&list, "%s/%s", dir, entry->d_name);
	}
	if (count > 1)
		qsort(list, count, sizeof(*list), by_name);
	if (reverse)
		reverse_list(list, count);
	*ret = TAKE(list);
	return 0;
}

static void add_text(struct digest_sum *sum, const char *text)
{
	digest_sum_update(sum, text, strlen(text) + 1);
}

/* Of the scripts in their order, each file as it is, and the environment. */
static struct digest key_of(char *const *scripts, char *const *env)
{
	struct digest_sum *sum = digest_sum_new();
	struct digest key;

	for (size_t i = 0; scripts[i]; i++) {
		struct stat st = { 0 };
		int64_t state[7];

		if (stat(scripts[i], &st) < 0)
			st = (struct stat){ 0 };
		state[0] = (int64_t)st.st_dev;
		state[1] = (int64_t)st.st_ino;
		state[2] = st.st_size;
		state[3] = st.st_mtim.tv_sec;
		state[4] = st.st_mtim.tv_nsec;
		state[5] = st.st_ctim.tv_sec;
		state[6] = st.st_ctim.tv_nsec;
		add_text(sum, scripts[i]);
		digest_sum_update(sum, state, sizeof(state));
	}
	add_text(sum, "");
	for (size_t i = 0; env && env[i]; i++)
		add_text(sum, env[i]);
	digest_sum_final(sum, &key);
	return key;
}

/* Does the shell itself, and not a script, change it? BASH_ENV and ENV are kept from it. */
static bool is_shells_own(const char *name)
{
	static const char *const names[] = { "_", "PWD", "OLDPWD", "SHLVL", "BASH_ENV", "ENV" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* Others cannot be unset by a script; dash drops them by itself. */
static bool is_identifier(const char *name)
{
	if (!isalpha((unsigned char)*name) && *name != '_')
		return false;
	while (isalnum((unsigned char)*name) || *name == '_')
		name++;
	return !*name;
}

/* The records of `env -0`: "NAME=VALUE", each ended by a NUL. */
static int parse_environment(const struct strbuf *output, struct pairs *ret)
{
	const char *at = output->data, *end = at + output->size;

	if (!output->size || end[-1] != '\0')
		return -EPROTO;
	for (; at < end; at += strlen(at) + 1) {
		const char *equals = strchr(at, '=');
		_cleanup_(freep) char *name = NULL;

		if (!equals || equals == at)
			continue;
		if (ret->count == VARIABLES_MAX)
			return -E2BIG;
		name = mem_strndup(at, (size_t)(equals - at));
		pairs_set(ret, name, equals + 1);
	}
	return 0;
}

static void compare(char *const *before, const struct pairs *after, struct effect *ret)
{
	for (size_t i = 0; i < after->count; i++) {
		const struct pair *now = &after->items[i];
		const char *was = env_get(before, now->key);

		if (!is_shells_own(now->key) && (!was || strcmp(was, now->value) != 0))
			pairs_set(&ret->set, now->key, now->value);
	}
	for (size_t i = 0; before && before[i]; i++) {
		const char *equals = strchr(before[i], '=');
		_cleanup_(freep) char *name =
			equals ? mem_strndup(before[i], (size_t)(equals - before[i])) : NULL;

		if (name && is_identifier(name) && !is_shells_own(name) && !pairs_get(after, name))
			strv_add(&ret->unset, name);
	}
}

static const char *find_shell(void)
{
	static const char *const shells[] = { "/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash" };

	for (size_t i = 0; i < ARRAY_SIZE(shells); i++)
		if (access(shells[i], X_OK) == 0)
			return shells[i];
	return "/bin/sh";
}

static int explain(const char *dir, const struct child_process *child, struct error *err)
{
	if (child->end == CHILD_PROCESS_TIMED_OUT)
		return error_set(err, -ETIMEDOUT, NULL,
			"the activation scripts in %s did not end within %d s: source them by hand "
			"to see which one hangs",
			dir, ACTIVATE_SCRIPTS_TIMEOUT_MS / 1000);
	if (child->end == CHILD_PROCESS_TOO_MUCH_OUTPUT)
		return error_set(err, -E2BIG, NULL,
			"the activation scripts in %s make an environment of more than %zu bytes",
			dir, OUTPUT_MAX);
	return error_set(err, -EPROTO, NULL,
		"the activation scripts in %s end the shell that sources them (%s %d): %.300s", dir,
		child->end == CHILD_PROCESS_EXITED ? "exit status" : "signal", child->status,
		child->complaint.size ? child->complaint.data : "no message");
}

static int run_shell(char *const *scripts, char *const *env, struct child_process *ret)
{
	_cleanup_(strv_freep) char **argv = NULL;
	_cleanup_(strv_freep) char **clean = strv_copy(env);
	struct child_process_options options = {
		.output_max = OUTPUT_MAX,
		.timeout_ms = ACTIVATE_SCRIPTS_TIMEOUT_MS,
	};

	/* Files that a shell reads by itself are none of the activation's. */
	env_set(&clean, "BASH_ENV", NULL);
	env_set(&clean, "ENV", NULL);
	strv_add(&argv, find_shell());
	strv_add(&argv, "-c");
	strv_add(&argv, source_all);
	strv_add(&argv, "amlagent");
	for (size_t i = 0; scripts[i]; i++)
		strv_add(&argv, scripts[i]);
	options.argv = argv;
	options.env = clean;
	return child_process_run(&options, ret);
}

static int capture(const char *dir, char *const *scripts, char *const *env, struct effect *ret,
	struct error *err)
{
	_cleanup_(child_process_release) struct child_process child = { 0 };
	_cleanup_(pairs_release) struct pairs after = { 0 };
	int r = run_shell(scripts, env, &child);

	if (r < 0)
		return error_errno(err, r, NULL, "cannot run the activation scripts in %s", dir);
	if (child.end != CHILD_PROCESS_EXITED || child.status != 0 || !child.output.size)
		return explain(dir, &child, err);
	r = parse_environment(&child.output, &after);
	if (r < 0)
		return error_errno(
			err, r, NULL, "the environment that the scripts in %s make", dir);
	compare(env, &after, ret);
	return 0;
}

int activate_scripts_apply(const char *dir, bool reverse, char ***env, struct error *err)
{
	_cleanup_(effect_release) struct effect effect = { 0 };
	_cleanup_(strv_freep) char **scripts = NULL;
	struct digest key;
	int r = list_scripts(dir, reverse, &scripts, err);

	if (r < 0 || !scripts)
		return r;
	key = key_of(scripts, *env);
	if (recall(&key, env))
		return 0;
	r = capture(dir, scripts, *env, &effect, err);
	if (r < 0)
		return r;
	effect_apply(&effect, env);
	remember(&key, &effect);
	return 0;
}
