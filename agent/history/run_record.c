/* SPDX-License-Identifier: MIT */
/* run_record - what is known of a run; see history.h */
#include "history/history.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

void run_record_copy(const struct run_record *record, struct run_record *ret)
{
	*ret = *record;
	ret->run_id = mem_strdup(record->run_id);
	ret->experiment_name = mem_strdup(record->experiment_name);
	ret->display_name = mem_strdup(record->display_name);
	ret->target = mem_strdup(record->target);
	ret->submitted_by = mem_strdup(record->submitted_by);
	ret->error_message = mem_strdup(record->error_message);
	ret->warnings = strv_copy(record->warnings);
	ret->snapshot_id = mem_strdup(record->snapshot_id);
	ret->definition = mem_strdup(record->definition);
	ret->interpreter_path = mem_strdup(record->interpreter_path);
	ret->interpreter_version = mem_strdup(record->interpreter_version);
	ret->parent_run_id = mem_strdup(record->parent_run_id);
	ret->boot_id = mem_strdup(record->boot_id);
	ret->canceled_by = mem_strdup(record->canceled_by);
	ret->held_by = mem_strdup(record->held_by);
	ret->after = strv_copy(record->after);
	ret->gpu_ids = strv_copy(record->gpu_ids);
	pairs_copy(&record->tags, &ret->tags);
	pairs_copy(&record->properties, &ret->properties);
}

void run_record_release(struct run_record *record)
{
	free(record->run_id);
	free(record->experiment_name);
	free(record->display_name);
	free(record->target);
	free(record->submitted_by);
	free(record->error_message);
	strv_free(record->warnings);
	free(record->snapshot_id);
	free(record->definition);
	free(record->interpreter_path);
	free(record->interpreter_version);
	free(record->parent_run_id);
	free(record->boot_id);
	free(record->canceled_by);
	free(record->held_by);
	strv_free(record->after);
	strv_free(record->gpu_ids);
	pairs_release(&record->tags);
	pairs_release(&record->properties);
	*record = (struct run_record){ 0 };
}

bool run_record_is_held_by_other(const struct run_record *record)
{
	return record->held_by && strcmp(record->held_by, record->submitted_by) != 0;
}

void run_record_list_release(struct run_record_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		run_record_release(&list->items[i]);
	free(list->items);
	*list = (struct run_record_list){ 0 };
}

void history_experiments_release(struct history_experiments *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].name);
	free(list->items);
	*list = (struct history_experiments){ 0 };
}
