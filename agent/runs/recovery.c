/* SPDX-License-Identifier: MIT */
/* recovery - after a restart: history and run directories back into live runs; see run_manager.h */
#include <fcntl.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"

/* It was being prepared when the daemon died, and the supervisor had been started all the same: the
 * news had not been written. */
static void catch_up(struct run_live *run)
{
	struct run_event event = { .type = RUN_EVENT_START, .at_us = clock_utc() };

	if (run->record.state == RUN_PREPARING)
		run_live_apply(run, &event);
}

/* Nothing of it was ever started. In this boot the run directory is believed: it takes its place in
 * the queue again. After a reboot what was not flushed is gone, `status` among it: it may have run.
 * So it has when history knows its start, and the folder is gone. */
static void never_started(struct run_live *run, bool same_boot)
{
	enum run_state state = run->record.state;

	run->in_executor = false;
	run->manager->slots_used--;
	if (same_boot && state == RUN_CANCEL_REQUESTED && !run->record.start_us) {
		run_live_end(run, RUN_CAUSE_CANCELED_BY_USER, "canceled before it was started");
	} else if (same_boot && (state == RUN_PREPARING || state == RUN_STARTING)) {
		run_live_queue(run, clock_utc());
		/* Else a reboot now would find it as one that may have run. */
		history_update(
			run->manager->options.history, &run->record, HISTORY_DURABLE, NULL, NULL);
	} else {
		catch_up(run);
		run->manager->slots_used++; /* given back by `ended` */
		run_life_events.ended(run, NULL, run->record.start_us);
	}
}

static void recover_started(struct run_live *run)
{
	struct run_manager *manager = run->manager;
	struct executor *executor = manager->executor;
	bool same_boot = run->record.boot_id && !strcmp(run->record.boot_id, manager->boot_id);

	manager->slots_used++;
	run->in_executor = true;
	run->rebooted = !same_boot;
	switch (executor->ops->reattach(executor, run->dir, run)) {
	case EXECUTOR_LIVES:
		log_info("%s: still running, reattached", run->record.run_id);
		catch_up(run);
		if (run->record.state == RUN_CANCEL_REQUESTED)
			run_live_cancel(run, "user");
		break;
	case EXECUTOR_ENDED:
		catch_up(run);
		break;
	case EXECUTOR_LOST:
		log_warning("%s: lost", run->record.run_id);
		catch_up(run);
		break;
	case EXECUTOR_NEVER_STARTED:
		never_started(run, same_boot);
		break;
	}
}

static void recover(struct run_manager *manager, const struct run_record *record)
{
	struct run_live *run = run_live_new(manager, record);

	run_live_enlist(run);
	if (record->state == RUN_QUEUED)
		run_live_queue(run, record->queued_us);
	else
		recover_started(run);
}

/* ---- folders of runs that are over, or that were never accepted ---- */

struct sweep {
	struct run_manager *manager;
	char **remove; /* strv of paths */
	char **strip;
	struct work work;
};

static void sweep_on_thread(struct work *work)
{
	struct sweep *sweep = container_of(work, struct sweep, work);

	for (size_t i = 0; sweep->remove && sweep->remove[i]; i++)
		finish_clean_up(sweep->remove[i], false);
	for (size_t i = 0; sweep->strip && sweep->strip[i]; i++)
		finish_clean_up(sweep->strip[i], true);
}

static void sweep_done(struct work *work)
{
	struct sweep *sweep = container_of(work, struct sweep, work);
	struct run_manager *manager = sweep->manager;

	strv_free(sweep->remove);
	strv_free(sweep->strip);
	free(sweep);
	run_manager_unpend(manager);
}

/* A submission that was not accepted has got no further than its environment, a deleted run's
 * folder was emptied of this: it is another history's, and its processes may be there. */
static bool may_have_run(const char *path)
{
	_cleanup_(freep) char *launch = path_join(path, RUN_DIR_LAUNCH);

	return access(launch, F_OK) == 0;
}

/* Nobody needs the folder any more: the run has Completed, or there was time enough for a look. */
static bool is_spent(const struct run_manager *manager, const struct run_record *record)
{
	return record->state == RUN_COMPLETED ||
	       clock_utc() - record->end_us > manager->options.keep_work_us;
}

static void sweep_folder(struct sweep *sweep, const char *name)
{
	struct run_manager *manager = sweep->manager;
	char *path = path_join(manager->runs_dir, name);
	struct run_record record;
	int r = history_get(manager->options.history, name, &record);

	if (r == -ENOENT && may_have_run(path))
		log_warning("%s is of a run that is not in history; it is left alone", path);
	else if (r == -ENOENT)
		strv_take(&sweep->remove, TAKE(path));
	if (r < 0) {
		free(path);
		return;
	}
	strv_take(is_spent(manager, &record) ? &sweep->remove : &sweep->strip, path);
	run_record_release(&record);
}

static void sweep_folders(struct run_manager *manager)
{
	_cleanup_(closedirp) DIR *dir = opendir(manager->runs_dir);
	struct sweep *sweep = NEW(struct sweep);

	sweep->manager = manager;
	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (run_id_valid(entry->d_name) && !run_live_find(manager, entry->d_name))
			sweep_folder(sweep, entry->d_name);
	manager->pending++;
	work_queue(manager->options.loop, &sweep->work, sweep_on_thread, sweep_done);
}

int run_manager_recover(struct run_manager *manager, struct error *err)
{
	struct run_record_list live = { 0 };
	int count;
	int r = history_list_live(manager->options.history, &live);

	if (r < 0)
		return error_errno(err, r, NULL, "cannot read the history");
	count = (int)live.count;
	manager->scheduling = true; /* when all slots that are held are known */
	for (size_t i = 0; i < live.count; i++)
		recover(manager, &live.items[i]);
	manager->scheduling = false;
	run_record_list_release(&live);
	sweep_folders(manager);
	run_live_schedule(manager);
	return count;
}
