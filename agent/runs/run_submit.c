/* SPDX-License-Identifier: MIT */
/* run_submit - from a request to a queued run that its submitter was told of; see run_manager.h */
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"
#include "runs/submission.h"

char *run_user_name(uid_t uid)
{
	struct passwd entry, *user = NULL;
	char buffer[4096];

	if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &user) || !user)
		return mem_printf("%u", (unsigned)uid);
	return mem_strdup(user->pw_name);
}

struct submit {
	struct run_manager *manager;
	struct submission submission;
	struct run_record record;
	uid_t uid;
	int result;
	struct error err;
	run_manager_done done;
	void *data;
	struct work work;
	struct run_live *run;
};

static void submit_reply(struct submit *submit, const struct run_record *record)
{
	struct run_manager *manager = submit->manager;

	submit->done(submit->data, record, &submit->err);
	submission_release(&submit->submission);
	run_record_release(&submit->record);
	free(submit);
	run_manager_unpend(manager);
}

/* The record and a copy of the run as it is now: the run may be over by the time of the answer. */
static void submit_accepted(struct submit *submit, int result)
{
	if (result < 0)
		log_warning("%s: its git patch is not in history: %s", submit->record.run_id,
			strerror(-result));
	submit_reply(submit, &submit->record);
}

static void patch_committed(void *data, int result)
{
	submit_accepted(data, result);
}

static void inserted(void *data, int result)
{
	struct submit *submit = data;
	struct run_manager *manager = submit->manager;
	struct artifacts patch = { 0 };

	if (result < 0) {
		_cleanup_(freep) char *dir = path_join(manager->runs_dir, submit->record.run_id);

		finish_clean_up(dir, false);
		error_errno(&submit->err, result, NULL, "cannot write the run to history");
		submit_reply(submit, NULL);
		return;
	}
	log_info("%s: Queued, submitted by %s", submit->record.run_id, submit->record.submitted_by);
	if (!manager->stopping) { /* else it is the next daemon's */
		struct run_live *run = run_live_new(manager, &submit->record);

		run_live_enlist(run);
		run_live_queue(run, run->record.queued_us);
		run_live_schedule(manager);
	}
	if (submit->submission.git.patch) {
		artifacts_add(&patch, GIT_PATCH_ARTIFACT, submit->submission.git.patch_size,
			&submit->submission.patch_digest, clock_utc());
		history_put_artifacts(manager->options.history, submit->record.run_id, &patch,
			patch_committed, submit);
		artifacts_release(&patch);
	} else {
		submit_accepted(submit, 0);
	}
}

static void fill_record(struct submit *submit)
{
	const struct run_request *request = &submit->submission.request;
	const struct git_info *git = &submit->submission.git;
	struct run_event event = { .type = RUN_EVENT_QUEUE, .at_us = clock_utc() };
	_cleanup_(json_freep) struct json *definition = run_request_definition(request);
	struct run_record *record = &submit->record;
	char digest[DIGEST_HEX_SIZE + 1];

	record->experiment_name = mem_strdup(request->experiment_name);
	record->display_name = mem_strdup(request->display_name);
	record->target = mem_strdup(request->compute_target);
	record->submitted_by = run_user_name(submit->uid);
	record->owner = submit->uid;
	record->exit_code = -1;
	record->warnings = strv_copy(submit->submission.snapshot.warnings);
	for (size_t i = 0; git->warnings && git->warnings[i]; i++)
		strv_add(&record->warnings, git->warnings[i]);
	digest_format(&submit->submission.snapshot.id, digest);
	record->snapshot_id = mem_printf("sha256:%s", digest);
	pairs_copy(&request->tags, &record->tags);
	pairs_copy(&request->properties, &record->properties);
	for (size_t i = 0; i < git->properties.count; i++)
		pairs_set(&record->properties, git->properties.items[i].key,
			git->properties.items[i].value);
	record->definition = json_print(definition);
	run_apply(record, &event);
}

static void submit_on_thread(struct work *work)
{
	struct submit *submit = container_of(work, struct submit, work);

	submit->result = submission_carry_out(&submit->submission, &submit->err);
}

static void submit_done(struct work *work)
{
	struct submit *submit = container_of(work, struct submit, work);

	if (submit->result < 0) {
		submit_reply(submit, NULL);
		return;
	}
	fill_record(submit);
	history_insert(submit->manager->options.history, &submit->record, HISTORY_DURABLE, inserted,
		submit);
}

void run_manager_submit(struct run_manager *manager, struct run_request *request, uid_t uid,
	run_manager_done done, void *data)
{
	struct submit *submit = NEW(struct submit);

	submit->manager = manager;
	submit->uid = uid;
	submit->done = done;
	submit->data = data;
	submit->record.created_us = clock_utc();
	submit->record.run_id = run_id_make(request->experiment_name);
	submit->submission = (struct submission){
		.store = manager->options.store,
		.index_dir = manager->index_dir,
		.runs_dir = manager->runs_dir,
		.git_helper = manager->options.git_helper,
		.limits = &manager->options.limits,
		.request = *request,
		.run_id = mem_strdup(submit->record.run_id),
	};
	*request = (struct run_request){ 0 };
	manager->pending++;
	work_queue(manager->options.loop, &submit->work, submit_on_thread, submit_done);
}
