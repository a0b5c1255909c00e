/* SPDX-License-Identifier: MIT */
/* user_interpreter - which Python runs the script, with a user's rights; see user_interpreter.h */
#include "capture/user_interpreter.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "capture/child_process.h"
#include "capture/python_probe.h"
#include "capture/user_helper.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"
#include "common/utf8.h"

#define HEADER_KEY "amlagent-interpreter"
#define HEADER_VALUE "1"
#define END_KEY "end"
#define ENV_KEY "env"
#define ERRNO_MAX 4095
#define VERSION_MAX 256
#define EXIT_BAD_REQUEST 2

/* ---- records ---- */

/* A key that is there at most once, and where its value goes. */
struct text_field {
	const char *key;
	char **value;
};

static void add(struct strbuf *to, const char *key, const char *value)
{
	if (!value)
		return;
	strbuf_adds(to, key);
	strbuf_addc(to, '=');
	strbuf_add(to, value, strlen(value) + 1);
}

static void format(
	const struct text_field *fields, size_t count, char *const *env, struct strbuf *to)
{
	add(to, HEADER_KEY, HEADER_VALUE);
	for (size_t i = 0; i < count; i++)
		add(to, fields[i].key, *fields[i].value);
	for (size_t i = 0; env && env[i]; i++)
		add(to, ENV_KEY, env[i]);
	add(to, END_KEY, "");
}

/* The value of a record of that key; NULL: it is another's. */
static const char *value_of(const char *record, const char *key)
{
	size_t size = strlen(key);

	return !strncmp(record, key, size) && record[size] == '=' ? record + size + 1 : NULL;
}

static int take_text(const char *record, const struct text_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *value = value_of(record, fields[i].key);

		if (!value)
			continue;
		if (*fields[i].value)
			return -EBADMSG;
		*fields[i].value = mem_strdup(value);
		return 0;
	}
	return -EBADMSG;
}

static bool is_variable(const char *text)
{
	return text[0] != '=' && strchr(text, '=');
}

/* One record between the first and the last. env has room for all. */
static int take(
	const char *record, const struct text_field *fields, size_t count, char **env, size_t *used)
{
	const char *variable = value_of(record, ENV_KEY);

	if (!variable)
		return take_text(record, fields, count);
	if (!is_variable(variable))
		return -EBADMSG;
	env[(*used)++] = mem_strdup(variable);
	return 0;
}

static bool is_whole(const char *data, size_t size, size_t records)
{
	static const char last[] = END_KEY "=";
	const char *header = records >= 2 ? value_of(data, HEADER_KEY) : NULL;

	return header && !strcmp(header, HEADER_VALUE) && size > sizeof(last) &&
	       !memcmp(data + size - sizeof(last), last, sizeof(last)) &&
	       !data[size - sizeof(last) - 1];
}

/* What was taken before a failure is the caller's to release. */
static int parse(const char *data, size_t size, const struct text_field *fields, size_t count,
	char ***ret_env)
{
	size_t records = 0;
	size_t used = 0;
	int r = 0;

	if (!size || size > USER_INTERPRETER_MAX || data[size - 1])
		return -EBADMSG;
	for (size_t i = 0; i < size; i++)
		records += !data[i];
	if (!is_whole(data, size, records))
		return -EBADMSG;
	*ret_env = mem_alloc(records * sizeof(char *));
	data += strlen(data) + 1;
	for (size_t i = 0; r >= 0 && i < records - 2; i++, data += strlen(data) + 1)
		r = take(data, fields, count, *ret_env, &used);
	return r;
}

/* ---- the request ---- */

#define REQUEST_FIELDS(request) \
	{ \
		{ "asked", &(request)->asked }, { "source_dir", &(request)->source_dir }, \
	}

void user_interpreter_request_release(struct user_interpreter_request *request)
{
	free(request->asked);
	free(request->source_dir);
	strv_free(request->env);
	*request = (struct user_interpreter_request){ 0 };
}

void user_interpreter_request_format(
	const struct user_interpreter_request *request, struct strbuf *ret)
{
	struct user_interpreter_request copy = *request;
	const struct text_field fields[] = REQUEST_FIELDS(&copy);

	format(fields, ARRAY_SIZE(fields), request->env, ret);
}

int user_interpreter_request_parse(
	const char *data, size_t size, struct user_interpreter_request *ret)
{
	_cleanup_(user_interpreter_request_release) struct user_interpreter_request request = { 0 };
	const struct text_field fields[] = REQUEST_FIELDS(&request);
	int r = parse(data, size, fields, ARRAY_SIZE(fields), &request.env);

	if (r < 0)
		return r;
	if (!request.source_dir || request.source_dir[0] != '/')
		return -EBADMSG;
	*ret = request;
	request = (struct user_interpreter_request){ 0 };
	return 0;
}

/* ---- the answer ---- */

#define ANSWER_FIELDS(answer, number) \
	{ \
		{ "error", number }, { "target", &(answer)->target }, \
			{ "message", &(answer)->message }, { "path", &(answer)->path }, \
			{ "version", &(answer)->version }, { "prefix", &(answer)->prefix }, \
	}

void user_interpreter_answer_release(struct user_interpreter_answer *answer)
{
	free(answer->target);
	free(answer->message);
	free(answer->path);
	free(answer->version);
	free(answer->prefix);
	strv_free(answer->env);
	*answer = (struct user_interpreter_answer){ 0 };
}

void user_interpreter_answer_format(
	const struct user_interpreter_answer *answer, struct strbuf *ret)
{
	struct user_interpreter_answer copy = *answer;
	_cleanup_(freep) char *number = answer->error ? mem_printf("%d", answer->error) : NULL;
	const struct text_field fields[] = ANSWER_FIELDS(&copy, &number);

	format(fields, ARRAY_SIZE(fields), answer->env, ret);
}

static int parse_error(const char *text, int *ret)
{
	char *end;
	long value;

	if (*text < '1' || *text > '9')
		return -EBADMSG;
	value = strtol(text, &end, 10);
	if (*end || value > ERRNO_MAX)
		return -EBADMSG;
	*ret = (int)value;
	return 0;
}

static bool is_path(const char *text)
{
	return text && text[0] == '/' && strlen(text) < PATH_MAX;
}

/* Either what was found or why not. */
static int check_answer(const struct user_interpreter_answer *answer)
{
	bool found = is_path(answer->path) && is_path(answer->prefix) && answer->version &&
		     strlen(answer->version) <= VERSION_MAX && !answer->target && !answer->message;
	bool failed = answer->message && !answer->path && !answer->prefix && !answer->version &&
		      !answer->env[0];

	return (answer->error ? failed : found) ? 0 : -EBADMSG;
}

int user_interpreter_answer_parse(
	const char *data, size_t size, struct user_interpreter_answer *ret)
{
	_cleanup_(user_interpreter_answer_release) struct user_interpreter_answer answer = { 0 };
	_cleanup_(freep) char *number = NULL;
	const struct text_field fields[] = ANSWER_FIELDS(&answer, &number);
	int r = parse(data, size, fields, ARRAY_SIZE(fields), &answer.env);

	if (r >= 0 && number)
		r = parse_error(number, &answer.error);
	if (r >= 0)
		r = check_answer(&answer);
	if (r < 0)
		return r;
	*ret = answer;
	answer = (struct user_interpreter_answer){ 0 };
	return 0;
}

/* ---- in the helper ---- */

static int find_and_activate(const char *asked, const char *source_dir, char ***env,
	struct interpreter *ret, struct error *err)
{
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	int r = interpreter_find(asked, source_dir, *env, &found, err);

	if (r >= 0)
		r = interpreter_activate(&found, env, err);
	if (r < 0)
		return r;
	*ret = found;
	found = (struct interpreter){ 0 };
	return 0;
}

static void answer_request(struct user_interpreter_request *request, struct strbuf *ret)
{
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	struct user_interpreter_answer answer = { 0 };
	struct error err = ERROR_INIT;
	int r = find_and_activate(request->asked, request->source_dir, &request->env, &found, &err);

	if (r < 0) {
		error_default(&err, r, "the interpreter cannot be found");
		answer.error = -r;
		answer.target = err.target[0] ? err.target : NULL;
		answer.message = err.message;
	} else {
		answer.path = found.path;
		answer.version = found.version;
		answer.prefix = found.prefix;
		answer.env = request->env;
	}
	user_interpreter_answer_format(&answer, ret);
}

int user_interpreter_main(void)
{
	_cleanup_(user_interpreter_request_release) struct user_interpreter_request request = { 0 };
	_cleanup_(strbuf_release) struct strbuf input = STRBUF_INIT, output = STRBUF_INIT;
	int r = file_read_fd(STDIN_FILENO, USER_INTERPRETER_MAX, &input);

	if (r >= 0)
		r = user_interpreter_request_parse(input.data, input.size, &request);
	if (r < 0)
		return EXIT_BAD_REQUEST;
	answer_request(&request, &output);
	return file_write_all(STDOUT_FILENO, output.data, output.size) < 0;
}

/* ---- in the daemon ---- */

/* One line, whoever wrote it. */
static char *clean(const char *text)
{
	char *line = utf8_sanitize(text, strlen(text));

	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	return line;
}

static int no_answer(const struct child_process *child, struct error *err)
{
	_cleanup_(freep) char *complaint =
		clean(child->complaint.size ? child->complaint.data : "no message");

	if (child->end == CHILD_PROCESS_TIMED_OUT)
		return error_set(err, -ETIMEDOUT, PYTHON_TARGET,
			"the interpreter could not be found within %d s: a disk that holds it does not "
			"answer, or its activation scripts do not end; %s",
			USER_INTERPRETER_TIMEOUT_MS / 1000, PYTHON_ADVICE);
	return error_set(err, -EBADMSG, PYTHON_TARGET,
		"%s gave no answer about the interpreter (%s %d): %.300s", USER_HELPER,
		child->end == CHILD_PROCESS_SIGNALED ? "signal" : "exit status", child->status,
		complaint);
}

/* What a user's process says is wanting (processes, room) is wanting to him: it must not look like a
 * machine that has no room for anybody. */
static int failure_of(int error)
{
	static const int passed_on[] = { ENOENT, EACCES, ENOEXEC, ETIMEDOUT };

	for (size_t i = 0; i < ARRAY_SIZE(passed_on); i++)
		if (error == passed_on[i])
			return -error;
	return -EPROTO;
}

static int take_failure(const struct user_interpreter_answer *answer, struct error *err)
{
	_cleanup_(freep) char *message = clean(answer->message);
	bool ours = answer->target && !strcmp(answer->target, PYTHON_TARGET);

	return error_set(
		err, failure_of(answer->error), ours ? PYTHON_TARGET : NULL, "%s", message);
}

static int ask(const struct identity *as, const struct user_interpreter_request *request,
	struct user_interpreter_answer *ret, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf who = STRBUF_INIT, input = STRBUF_INIT;
	_cleanup_(child_process_release) struct child_process child = { 0 };
	const char *argv[] = { user_helper_path(), NULL, USER_HELPER_INTERPRETER, NULL };
	struct child_process_options options = {
		.argv = (char *const *)argv,
		.output_max = USER_INTERPRETER_MAX,
		.timeout_ms = USER_INTERPRETER_TIMEOUT_MS,
		.input = &input,
	};
	int r = argv[0] ? 0 : -ENOPKG;

	identity_format(as, &who);
	argv[1] = who.data;
	user_interpreter_request_format(request, &input);
	if (r >= 0)
		r = child_process_run(&options, &child);
	if (r < 0)
		return error_errno(err, r, NULL, "cannot start %s", USER_HELPER);
	if (child.end == CHILD_PROCESS_EXITED && child.status == 0 &&
		user_interpreter_answer_parse(child.output.data, child.output.size, ret) == 0)
		return 0;
	return no_answer(&child, err);
}

int interpreter_prepare_as(const struct identity *as, const char *asked, const char *source_dir,
	char ***env, struct interpreter *ret, struct error *err)
{
	_cleanup_(user_interpreter_answer_release) struct user_interpreter_answer answer = { 0 };
	const struct user_interpreter_request request = { (char *)asked, (char *)source_dir, *env };
	int r;

	if (!as)
		return find_and_activate(asked, source_dir, env, ret, err);
	r = ask(as, &request, &answer, err);
	if (r >= 0 && answer.error)
		r = take_failure(&answer, err);
	if (r < 0)
		return r;
	*ret = (struct interpreter){ .named = asked };
	ret->path = TAKE(answer.path);
	ret->version = TAKE(answer.version);
	ret->prefix = TAKE(answer.prefix);
	strv_free(*env);
	*env = TAKE(answer.env);
	return 0;
}
