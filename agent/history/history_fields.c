/* SPDX-License-Identifier: MIT */
/* history_fields - the columns of a run, as one table; see history_internal.h */
#include "history/history_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"

enum field_kind {
	FIELD_TEXT, /* char * */
	FIELD_INT64,
	FIELD_INT,
	FIELD_UID,
	FIELD_BOOL,
	FIELD_STATE, /* by name: the numbers may change, the names may not */
	FIELD_CAUSE,
	FIELD_LIST, /* strv; its strings, each ended by a NUL */
};

#define FIELD(name, kind) \
	{ \
#name, kind, offsetof(struct run_record, name) \
	}

static const struct field {
	const char *column;
	enum field_kind kind;
	size_t offset;
} fields[] = {
	FIELD(run_id, FIELD_TEXT),
	FIELD(display_name, FIELD_TEXT),
	FIELD(shared, FIELD_BOOL), /* these three are not changed by an update */
	FIELD(experiment_name, FIELD_TEXT),
	FIELD(target, FIELD_TEXT),
	FIELD(submitted_by, FIELD_TEXT),
	FIELD(owner, FIELD_UID),
	FIELD(state, FIELD_STATE),
	FIELD(cause, FIELD_CAUSE),
	FIELD(error_message, FIELD_TEXT),
	FIELD(created_us, FIELD_INT64),
	FIELD(queued_us, FIELD_INT64),
	FIELD(start_us, FIELD_INT64),
	FIELD(end_us, FIELD_INT64),
	FIELD(exit_code, FIELD_INT),
	FIELD(signal, FIELD_INT),
	FIELD(warnings, FIELD_LIST),
	FIELD(snapshot_id, FIELD_TEXT),
	FIELD(definition, FIELD_TEXT),
	FIELD(used_known, FIELD_BOOL),
	FIELD(wall_us, FIELD_INT64),
	FIELD(user_us, FIELD_INT64),
	FIELD(system_us, FIELD_INT64),
	FIELD(peak_bytes, FIELD_INT64),
	FIELD(interpreter_path, FIELD_TEXT),
	FIELD(interpreter_version, FIELD_TEXT),
	FIELD(parent_run_id, FIELD_TEXT),
	FIELD(boot_id, FIELD_TEXT),
	FIELD(canceled_by, FIELD_TEXT),
	FIELD(cpus, FIELD_INT64),
	FIELD(gpus, FIELD_INT64),
	FIELD(memory_bytes, FIELD_INT64),
	FIELD(priority, FIELD_INT64),
	FIELD(shared_gid, FIELD_INT64),
	FIELD(held_by, FIELD_TEXT),
	FIELD(after, FIELD_LIST),
	FIELD(gpu_ids, FIELD_LIST),
};

#define FIELDS_NOT_UPDATED 3

void history_fields_sql(struct history *history)
{
	struct strbuf insert = STRBUF_INIT, values = STRBUF_INIT;
	struct strbuf update = STRBUF_INIT, select = STRBUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		strbuf_addf(&insert, ", %s", fields[i].column);
		strbuf_addf(&values, ", ?%zu", i + 1);
		strbuf_addf(&select, ", runs.%s", fields[i].column);
		if (i >= FIELDS_NOT_UPDATED)
			strbuf_addf(&update, ", %s = ?%zu", fields[i].column,
				i + 1 - FIELDS_NOT_UPDATED);
	}
	history->insert_sql =
		mem_printf("INSERT INTO runs (%s) VALUES (%s)", insert.data + 2, values.data + 2);
	history->update_sql = mem_printf("UPDATE runs SET %s WHERE seq = ?%zu", update.data + 2,
		ARRAY_SIZE(fields) + 1 - FIELDS_NOT_UPDATED);
	history->select_sql = mem_printf("SELECT runs.seq%s FROM runs", select.data);
	history->get_sql = mem_printf("%s WHERE run_id = ?1", history->select_sql);
	strbuf_release(&insert);
	strbuf_release(&values);
	strbuf_release(&update);
	strbuf_release(&select);
}

static void bind_list(sqlite3_stmt *statement, int index, char *const *list)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;

	for (size_t i = 0; list && list[i]; i++)
		strbuf_add(&bytes, list[i], strlen(list[i]) + 1);
	if (bytes.size)
		sqlite3_bind_blob(statement, index, bytes.data, (int)bytes.size, SQLITE_TRANSIENT);
}

static void bind_field(
	sqlite3_stmt *statement, int index, const struct field *field, const void *at)
{
	switch (field->kind) {
	case FIELD_TEXT:
		history_bind_text(statement, index, *(char *const *)at);
		break;
	case FIELD_INT64:
		sqlite3_bind_int64(statement, index, *(const int64_t *)at);
		break;
	case FIELD_INT:
		sqlite3_bind_int(statement, index, *(const int *)at);
		break;
	case FIELD_UID:
		sqlite3_bind_int64(statement, index, *(const uid_t *)at);
		break;
	case FIELD_BOOL:
		sqlite3_bind_int(statement, index, *(const bool *)at);
		break;
	case FIELD_STATE:
		history_bind_text(statement, index, run_state_name(*(const enum run_state *)at));
		break;
	case FIELD_CAUSE:
		history_bind_text(statement, index, run_cause_name(*(const enum run_cause *)at));
		break;
	case FIELD_LIST:
		bind_list(statement, index, *(char **const *)at);
		break;
	}
}

static int bind_from(sqlite3_stmt *statement, size_t first, const struct run_record *record)
{
	int index = 1;

	for (size_t i = first; i < ARRAY_SIZE(fields); i++)
		bind_field(statement, index++, &fields[i], (const char *)record + fields[i].offset);
	return index;
}

void history_fields_bind_insert(sqlite3_stmt *statement, const struct run_record *record)
{
	bind_from(statement, 0, record);
}

int history_fields_bind_update(sqlite3_stmt *statement, const struct run_record *record)
{
	return bind_from(statement, FIELDS_NOT_UPDATED, record);
}

static char **read_list(sqlite3_stmt *statement, int index)
{
	const char *bytes = sqlite3_column_blob(statement, index);
	size_t left = (size_t)sqlite3_column_bytes(statement, index);
	char **list = NULL;

	while (left) {
		size_t size = strnlen(bytes, left);

		strv_take(&list, mem_strndup(bytes, size));
		size += size < left;
		bytes += size;
		left -= size;
	}
	return list;
}

static int read_field(sqlite3_stmt *statement, int index, const struct field *field, void *at)
{
	const char *name = NULL;

	switch (field->kind) {
	case FIELD_TEXT:
		*(char **)at = history_column_text(statement, index);
		return 0;
	case FIELD_INT64:
		*(int64_t *)at = sqlite3_column_int64(statement, index);
		return 0;
	case FIELD_INT:
		*(int *)at = sqlite3_column_int(statement, index);
		return 0;
	case FIELD_UID:
		*(uid_t *)at = (uid_t)sqlite3_column_int64(statement, index);
		return 0;
	case FIELD_BOOL:
		*(bool *)at = sqlite3_column_int(statement, index) != 0;
		return 0;
	case FIELD_STATE:
		name = (const char *)sqlite3_column_text(statement, index);
		return run_state_parse(name ? name : "", at);
	case FIELD_CAUSE:
		name = (const char *)sqlite3_column_text(statement, index);
		return name ? run_cause_parse(name, at) : 0;
	case FIELD_LIST:
		*(char ***)at = read_list(statement, index);
		return 0;
	}
	return -EINVAL;
}

/* Column 0 is seq. */
int history_fields_read(sqlite3_stmt *statement, struct run_record *ret)
{
	struct run_record record = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		void *at = (char *)&record + fields[i].offset;

		if (read_field(statement, (int)i + 1, &fields[i], at) < 0) {
			run_record_release(&record);
			return -EBADMSG;
		}
	}
	*ret = record;
	return 0;
}
