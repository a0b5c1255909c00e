/* SPDX-License-Identifier: MIT */
/* run_submit - from a request to a queued run that its submitter was told of; see run_manager.h */
#include "runs/run_submit.h"

#include <string.h>

#include "common/clock.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"
#include "runs/submission.h"

struct submit {
	struct run_manager *manager;
	struct submission submission;
	struct run_record record;
	uid_t uid;
	struct identity as; /* of a foreign one */
	char *user;         /* his name, or the number */
	int result;
	struct error err;
	run_manager_done done;
	void *data;
	struct user_work work;
	TAILQ_ENTRY(submit) entry;
};

int64_t run_submits_of(const struct run_manager *manager, uid_t uid)
{
	const struct submit *submit;
	int64_t count = 0;

	TAILQ_FOREACH(submit, &manager->submits, entry)
	count += submit->uid == uid;
	return count;
}

bool run_submit_is_under_way(const struct run_manager *manager, const char *run_id)
{
	const struct submit *submit;

	TAILQ_FOREACH(submit, &manager->submits, entry)
	if (!strcmp(submit->record.run_id, run_id))
		return true;
	return false;
}

static void submit_reply(struct submit *submit, const struct run_record *record)
{
	struct run_manager *manager = submit->manager;

	submit->done(submit->data, record, &submit->err);
	submission_release(&submit->submission);
	run_record_release(&submit->record);
	identity_release(&submit->as);
	free(submit->user);
	free(submit);
	run_manager_unpend(manager);
}

/* It is refused, or in the queue: it counts there. */
static void submit_counted(struct submit *submit)
{
	TAILQ_REMOVE(&submit->manager->submits, submit, entry);
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

static void submit_refused(struct submit *submit)
{
	submit_counted(submit);
	submit_reply(submit, NULL);
}

static void queue_new(struct run_manager *manager, const struct run_record *record)
{
	struct run_live *run = run_live_new(manager, record);

	run_live_enlist(run);
	run_live_queue(run, run->record.queued_us, false);
	run_live_follow(run);
	run_live_schedule(manager);
}

static void inserted(void *data, int result)
{
	struct submit *submit = data;
	struct run_manager *manager = submit->manager;
	_cleanup_(freep) char *dir = path_join(manager->runs_dir, submit->record.run_id);
	struct artifacts patch = { 0 };

	if (result < 0) {
		finish_clean_up(dir, false);
		error_ours(&submit->err, result, NULL, "cannot write the run to history");
		submit_refused(submit);
		return;
	}
	/* What fails here is done by the next daemon: history knows the run. */
	(void)FAIL_POINT(FAIL_SUBMIT_ACCEPT, submission_accept(dir));
	log_info("%s: Queued, submitted by %s", submit->record.run_id, submit->record.submitted_by);
	submit_counted(submit);
	if (!manager->stopping) /* else it is the next daemon's */
		queue_new(manager, &submit->record);
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

/* What was known before anything was looked at. */
static void fill_request(struct submit *submit, const struct submitter *by)
{
	const struct run_request *request = &submit->submission.request;
	gid_t gid = submit->manager->options.queue.share_with_gid;
	struct run_record *record = &submit->record;

	record->created_us = clock_utc();
	record->run_id = run_id_make(request->experiment_name);
	record->experiment_name = mem_strdup(request->experiment_name);
	record->display_name = mem_strdup(request->display_name);
	record->target = mem_strdup(request->compute_target);
	record->owner = by->uid;
	record->exit_code = -1;
	record->cpus = request->cpus;
	record->gpus = request->gpus;
	record->memory_bytes = request->memory_bytes;
	record->priority = request->priority;
	record->shared = request->share;
	for (size_t i = 0; gid && i < by->group_count; i++)
		if (by->groups[i] == gid)
			record->shared_gid = gid;
	record->after = run_after_format(request);
}

static void fill_record(struct submit *submit)
{
	const struct run_request *request = &submit->submission.request;
	const struct git_info *git = &submit->submission.git;
	struct run_event event = { .type = RUN_EVENT_QUEUE, .at_us = clock_utc() };
	_cleanup_(json_freep) struct json *definition = run_request_definition(request);
	struct run_record *record = &submit->record;
	char digest[DIGEST_HEX_SIZE + 1];

	record->submitted_by = mem_strdup(submit->user);
	if (request->hold)
		record->held_by = mem_strdup(submit->user);
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

static int look_up_identity(struct submit *submit)
{
	int r;

	if (!run_is_foreign(submit->manager, submit->uid)) {
		submit->user = user_name_look_up(submit->uid);
		return 0;
	}
	r = identity_of_user(submit->uid, &submit->as);
	if (r == -ENOENT)
		return error_set(&submit->err, -EACCES, NULL,
			"user %u is not in this machine's user database: no run can be started as "
			"him",
			(unsigned)submit->uid);
	if (r < 0)
		return error_errno(
			&submit->err, r, NULL, "cannot look up user %u", (unsigned)submit->uid);
	submit->user = mem_strdup(submit->as.name);
	submit->submission.as = &submit->as;
	return 0;
}

static void submit_on_thread(struct user_work *work)
{
	struct submit *submit = container_of(work, struct submit, work);

	submit->result = look_up_identity(submit);
	if (submit->result >= 0)
		submit->result = submission_carry_out(&submit->submission, &submit->err);
}

static void submit_done(struct user_work *work)
{
	struct submit *submit = container_of(work, struct submit, work);

	if (submit->user)
		user_names_set(&submit->manager->names, submit->uid, submit->user);
	if (submit->result < 0) {
		submit_refused(submit);
		return;
	}
	fill_record(submit);
	history_insert(submit->manager->options.history, &submit->record, HISTORY_DURABLE, inserted,
		submit);
}

/* Limits that were set for a user hold for his runs too: who connects, hands the socket on and ends,
 * so that there is nothing to read, is not served. Our own user needs no such trick. */
static int read_limits(const struct run_manager *manager, const struct submitter *by,
	struct run_limits *ret, struct error *err)
{
	int r = by->pid > 0 ? run_limits_of_process(by->pid, by->uid, ret) : 0;

	if (r >= 0 || !run_is_foreign(manager, by->uid))
		return 0;
	return error_set(err, -EPERM, "client",
		"the process that connected to amlagentd (%d) has gone or is another user's by now, "
		"and its limits (ulimit) would be the run's: connect and submit from one process",
		(int)by->pid);
}

void run_manager_submit(struct run_manager *manager, struct run_request *request,
	const struct submitter *by, run_manager_done done, void *data)
{
	struct run_limits limits = { 0 };
	struct error err = ERROR_INIT;
	struct submit *submit;

	if (run_queue_admit(manager, request, by, &err) < 0 ||
		read_limits(manager, by, &limits, &err) < 0) {
		run_request_release(request);
		done(data, NULL, &err);
		return;
	}
	submit = NEW(struct submit);
	submit->manager = manager;
	submit->uid = by->uid;
	submit->done = done;
	submit->data = data;
	submit->submission = (struct submission){
		.store = manager->options.store,
		.index_dir = manager->index_dir,
		.runs_dir = manager->runs_dir,
		.git_helper = manager->options.git_helper,
		.limits = &manager->options.limits,
		.request = *request,
	};
	*request = (struct run_request){ 0 };
	fill_request(submit, by);
	submit->submission.run_id = mem_strdup(submit->record.run_id);
	submit->submission.run_limits = limits;
	manager->pending++;
	TAILQ_INSERT_TAIL(&manager->submits, submit, entry);
	user_work_queue(&manager->works, by->uid, run_is_foreign(manager, by->uid), &submit->work,
		submit_on_thread, submit_done);
}
