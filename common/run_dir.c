/* SPDX-License-Identifier: MIT */
/* run_dir - the contract between daemon and supervisor; see run_dir.h */
#include "common/run_dir.h"

#include <limits.h>
#include <string.h>

#include "common/mem.h"
#include "common/strv.h"

/* A field of a struct that is a number. */
struct number_field {
	const char *key;
	size_t offset;
	size_t size; /* sizeof the field: 1, 4 or 8 */
	int64_t low, high;
};

#define NUMBER(type, field, least, most) \
	{ \
#field, offsetof(struct type, field), sizeof(((struct type *)0)->field), least, \
			most \
	}

static void add_text(struct strbuf *out, const char *key, const char *value)
{
	strbuf_adds(out, key);
	strbuf_addc(out, '=');
	strbuf_add(out, value, strlen(value) + 1);
}

static void add_number(struct strbuf *out, const char *key, int64_t value)
{
	strbuf_addf(out, "%s=%lld", key, (long long)value);
	strbuf_addc(out, '\0');
}

static int64_t load(const void *from, size_t size)
{
	if (size == sizeof(bool))
		return *(const bool *)from;
	return size == sizeof(int) ? *(const int *)from : *(const int64_t *)from;
}

static void store(void *to, size_t size, int64_t value)
{
	if (size == sizeof(bool))
		*(bool *)to = value != 0;
	else if (size == sizeof(int))
		*(int *)to = (int)value;
	else
		*(int64_t *)to = value;
}

static void format_numbers_as(struct strbuf *out, int format, const struct number_field *fields,
	size_t count, const void *from)
{
	add_number(out, "format", format);
	for (size_t i = 0; i < count; i++)
		add_number(out, fields[i].key,
			load((const char *)from + fields[i].offset, fields[i].size));
}

static void format_numbers(
	struct strbuf *out, const struct number_field *fields, size_t count, const void *from)
{
	format_numbers_as(out, RUN_DIR_FORMAT, fields, count, from);
}

static int parse_number(const char *text, int64_t low, int64_t high, int64_t *ret)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno || end == text || *end || value < low || value > high)
		return -EBADMSG;
	*ret = value;
	return 0;
}

/* One record of the file: key and value, both ended by NUL, in the file's own bytes. */
struct record {
	const char *key;
	size_t key_size;
	const char *value;
};

/* Take the record at *at. 1: there was one, 0: the end, -EBADMSG. */
static int next_record(const char *data, size_t size, size_t *at, struct record *ret)
{
	const char *start = data + *at;
	const char *end;
	const char *equals;

	if (*at == size)
		return 0;
	end = memchr(start, '\0', size - *at);
	equals = end ? memchr(start, '=', (size_t)(end - start)) : NULL;
	if (!equals)
		return -EBADMSG;
	*ret = (struct record){ start, (size_t)(equals - start), equals + 1 };
	*at += (size_t)(end - start) + 1;
	return 1;
}

static bool is(const struct record *record, const char *key)
{
	return strlen(key) == record->key_size && !memcmp(key, record->key, record->key_size);
}

/* The format, at most newest. */
static int take_format(const char *data, size_t size, int newest, size_t *at)
{
	struct record record;
	int64_t format;

	*at = 0;
	if (next_record(data, size, at, &record) <= 0 || !is(&record, "format") ||
		parse_number(record.value, 1, INT64_MAX, &format) < 0)
		return -EBADMSG;
	return format > newest ? -EPROTONOSUPPORT : (int)format;
}

static int take_number(
	const struct record *record, const struct number_field *fields, size_t count, void *to)
{
	for (size_t i = 0; i < count; i++) {
		int64_t value;

		if (!is(record, fields[i].key))
			continue;
		if (parse_number(record->value, fields[i].low, fields[i].high, &value) < 0)
			return -EBADMSG;
		store((char *)to + fields[i].offset, fields[i].size, value);
	}
	return 0;
}

static int take_short_text(const struct record *record, char *to, size_t room)
{
	if (strlen(record->value) >= room)
		return -EBADMSG;
	strcpy(to, record->value);
	return 0;
}

typedef int (*take_record)(const struct record *record, void *to);

/* The format. */
static int parse_up_to(int newest, const char *data, size_t size, take_record take, void *to)
{
	struct record record;
	size_t at;
	int format = take_format(data, size, newest, &at);
	int r;

	if (format < 0)
		return format;
	while ((r = next_record(data, size, &at, &record)) > 0) {
		r = take(&record, to);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : format;
}

static int parse(const char *data, size_t size, take_record take, void *to)
{
	return parse_up_to(RUN_DIR_FORMAT, data, size, take, to);
}

static const struct number_field launch_numbers[] = {
	NUMBER(run_launch, limit_us, 0, INT64_MAX),
	NUMBER(run_launch, grace_us, 0, INT64_MAX),
	NUMBER(run_launch, memory_max, 0, INT64_MAX),
	NUMBER(run_launch, pids_max, 0, INT64_MAX),
	NUMBER(run_launch, cpu_weight, 0, RUN_CPU_WEIGHT_MAX),
};

void run_launch_release(struct run_launch *launch)
{
	strv_free(launch->argv);
	strv_free(launch->env);
	free(launch->cwd);
	free(launch->cgroup);
	if (launch->as)
		identity_release(launch->as);
	free(launch->as);
	*launch = (struct run_launch){ 0 };
}

static void add_user(struct strbuf *out, const struct identity *as)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	identity_format(as, &text);
	add_text(out, "user", text.data);
}

static void add_limits(struct strbuf *out, const struct run_limits *limits)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	run_limits_format(limits, &text);
	if (text.size)
		add_text(out, "limits", text.data);
}

void run_launch_format(const struct run_launch *launch, struct strbuf *ret)
{
	format_numbers_as(ret, launch->as ? RUN_DIR_FORMAT_AS_USER : RUN_DIR_FORMAT, launch_numbers,
		ARRAY_SIZE(launch_numbers), launch);
	if (launch->as)
		add_user(ret, launch->as);
	add_limits(ret, &launch->limits);
	add_text(ret, "cwd", launch->cwd);
	if (launch->cgroup)
		add_text(ret, "cgroup", launch->cgroup);
	for (size_t i = 0; launch->argv && launch->argv[i]; i++)
		add_text(ret, "arg", launch->argv[i]);
	for (size_t i = 0; launch->env && launch->env[i]; i++)
		add_text(ret, "env", launch->env[i]);
}

/* Counts first: a list of a hundred thousand is then one allocation, not as many. */
static size_t count_key(const char *data, size_t size, const char *key)
{
	struct record record;
	size_t at = 0;
	size_t n = 0;

	while (next_record(data, size, &at, &record) > 0)
		n += is(&record, key);
	return n;
}

static char **read_list(const char *data, size_t size, const char *key)
{
	char **list = mem_alloc((count_key(data, size, key) + 1) * sizeof(*list));
	struct record record;
	size_t at = 0;
	size_t n = 0;

	while (next_record(data, size, &at, &record) > 0)
		if (is(&record, key))
			list[n++] = mem_strdup(record.value);
	return list;
}

static int take_user(struct run_launch *launch, const char *text)
{
	struct identity as;
	int r = identity_parse(text, &as);

	if (r < 0)
		return -EBADMSG;
	if (launch->as)
		identity_release(launch->as);
	else
		launch->as = NEW(struct identity);
	*launch->as = as;
	return 0;
}

static int take_launch(const struct record *record, void *to)
{
	struct run_launch *launch = to;

	if (is(record, "user"))
		return take_user(launch, record->value);
	if (is(record, "limits"))
		return run_limits_parse(record->value, &launch->limits);
	if (is(record, "cwd"))
		mem_replace(&launch->cwd, record->value);
	if (is(record, "cgroup"))
		mem_replace(&launch->cgroup, record->value);
	return take_number(record, launch_numbers, ARRAY_SIZE(launch_numbers), launch);
}

int run_launch_parse(const char *data, size_t size, struct run_launch *ret)
{
	struct run_launch launch = { 0 };
	int r = parse_up_to(RUN_DIR_FORMAT_AS_USER, data, size, take_launch, &launch);

	if (r >= 0 && (launch.as != NULL) != (r == RUN_DIR_FORMAT_AS_USER))
		r = -EBADMSG;
	if (r >= 0) {
		launch.argv = read_list(data, size, "arg");
		launch.env = read_list(data, size, "env");
	}
	if (r >= 0 && (!launch.argv[0] || !launch.cwd))
		r = -EBADMSG;
	if (r < 0) {
		run_launch_release(&launch);
		return r;
	}
	*ret = launch;
	return 0;
}

static const struct number_field status_numbers[] = {
	NUMBER(run_status, supervisor_pid, 1, INT_MAX),
	NUMBER(run_status, child_pid, 0, INT_MAX),
	NUMBER(run_status, child_start, 0, INT64_MAX),
	NUMBER(run_status, start_us, 0, INT64_MAX),
};

void run_status_release(struct run_status *status)
{
	free(status->cgroup);
	*status = (struct run_status){ 0 };
}

void run_status_format(const struct run_status *status, struct strbuf *ret)
{
	format_numbers(ret, status_numbers, ARRAY_SIZE(status_numbers), status);
	add_text(ret, "boot_id", status->boot_id);
	if (status->cgroup)
		add_text(ret, "cgroup", status->cgroup);
}

static int take_status(const struct record *record, void *to)
{
	struct run_status *status = to;

	if (is(record, "boot_id"))
		return take_short_text(record, status->boot_id, sizeof(status->boot_id));
	if (is(record, "cgroup"))
		mem_replace(&status->cgroup, record->value);
	return take_number(record, status_numbers, ARRAY_SIZE(status_numbers), status);
}

int run_status_parse(const char *data, size_t size, struct run_status *ret)
{
	struct run_status status = { 0 };
	int r = parse(data, size, take_status, &status);

	if (r >= 0 && !status.supervisor_pid)
		r = -EBADMSG;
	if (r < 0) {
		run_status_release(&status);
		return r;
	}
	*ret = status;
	return 0;
}

static const struct number_field stop_numbers[] = {
	NUMBER(run_stop, why, RUN_STOP_LIMIT, RUN_STOP_WHY_COUNT - 1),
	NUMBER(run_stop, grace_us, 0, INT64_MAX),
};

void run_stop_format(const struct run_stop *stop, struct strbuf *ret)
{
	format_numbers(ret, stop_numbers, ARRAY_SIZE(stop_numbers), stop);
}

static int take_stop(const struct record *record, void *to)
{
	return take_number(record, stop_numbers, ARRAY_SIZE(stop_numbers), to);
}

int run_stop_parse(const char *data, size_t size, struct run_stop *ret)
{
	struct run_stop stop = { 0 };
	int r = parse(data, size, take_stop, &stop);

	if (r < 0)
		return r;
	if (stop.why == RUN_STOP_NONE)
		return -EBADMSG;
	*ret = stop;
	return 0;
}

static const struct number_field exit_numbers[] = {
	NUMBER(run_exit, stopped, RUN_STOP_NONE, RUN_STOP_WHY_COUNT - 1),
	NUMBER(run_exit, exit_code, -1, 255),
	NUMBER(run_exit, signal, 0, 128),
	NUMBER(run_exit, exec_errno, 0, 4095),
	NUMBER(run_exit, oom, 0, 1),
	NUMBER(run_exit, leftovers, 0, INT_MAX),
	NUMBER(run_exit, start_us, 0, INT64_MAX),
	NUMBER(run_exit, end_us, 0, INT64_MAX),
	NUMBER(run_exit, gone_us, 0, INT64_MAX),
	NUMBER(run_exit, stop_us, 0, INT64_MAX),
	NUMBER(run_exit, wall_us, 0, INT64_MAX),
	NUMBER(run_exit, user_us, 0, INT64_MAX),
	NUMBER(run_exit, system_us, 0, INT64_MAX),
	NUMBER(run_exit, peak_bytes, 0, INT64_MAX),
	NUMBER(run_exit, peak_of_all, 0, 1),
	NUMBER(run_exit, oom_kills, -1, INT64_MAX),
	NUMBER(run_exit, disk_free_bytes, -1, INT64_MAX),
};

void run_exit_format(const struct run_exit *exit, struct strbuf *ret)
{
	format_numbers(ret, exit_numbers, ARRAY_SIZE(exit_numbers), exit);
	if (exit->unenforced[0])
		add_text(ret, "unenforced", exit->unenforced);
	/* The last record: without it the file is not whole. */
	add_text(ret, "end", "");
}

struct exit_reader {
	struct run_exit exit;
	bool whole;
};

static int take_exit(const struct record *record, void *to)
{
	struct exit_reader *reader = to;

	reader->whole = is(record, "end");
	if (is(record, "unenforced"))
		return take_short_text(
			record, reader->exit.unenforced, sizeof(reader->exit.unenforced));
	return take_number(record, exit_numbers, ARRAY_SIZE(exit_numbers), &reader->exit);
}

int run_exit_parse(const char *data, size_t size, struct run_exit *ret)
{
	struct exit_reader reader = {
		.exit = { .exit_code = -1, .oom_kills = -1, .disk_free_bytes = -1 },
	};
	int r = parse(data, size, take_exit, &reader);

	if (r < 0)
		return r;
	if (!reader.whole)
		return -EBADMSG;
	*ret = reader.exit;
	return 0;
}
