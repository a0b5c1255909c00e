/* SPDX-License-Identifier: MIT */
/* recovery - after a restart: history and run directories back into live runs; see run_manager.h */
#include <fcntl.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/unowed.h"
#include "runs/recovery_plan.h"
#include "runs/run_folder.h"
#include "runs/run_live.h"
#include "runs/submission.h"
#include "store/store.h"

static bool is_of_this_boot(const struct run_live *run)
{
	return run->record.boot_id && !strcmp(run->record.boot_id, run->manager->boot_id);
}

/* It was started, and the news of it had not been written. */
static void catch_up(struct run_live *run)
{
	const struct run_event prepare = {
		.type = RUN_EVENT_PREPARE, .at_us = clock_utc(), .boot_id = run->manager->boot_id
	};
	const struct run_event start = { .type = RUN_EVENT_START, .at_us = clock_utc() };

	if (run->record.state == RUN_QUEUED)
		run_live_apply(run, &prepare);
	if (run->record.state == RUN_PREPARING)
		run_live_apply(run, &start);
}

/* ---- one action for each plan; any number of times ---- */

static void queue(struct run_live *run)
{
	run_live_queue(run, run->record.queued_us, true);
	run_live_follow(run);
}

/* Told durably: else a restart of the machine now would find it as one that may have run. */
static void queue_again(struct run_live *run)
{
	queue(run);
	run_live_commit_queued(run);
}

static void reattach(struct run_live *run)
{
	struct executor *executor = run->manager->executor;
	int r;

	run_live_claim_slots(run);
	/* Of one that history calls Queued the boot is not known. */
	run->rebooted = run->record.boot_id && !is_of_this_boot(run);
	r = executor->ops->reattach(executor, run->dir, run);
	if (r < 0) {
		run_live_owe(run, OWED_RECOVERY, "it cannot be taken over", r);
		return;
	}
	run->in_executor = true;
	catch_up(run);
	if (run->record.state == RUN_CANCEL_REQUESTED)
		run_live_ask_to_stop(run);
}

/* In this boot some of it may go on, though its folder is gone. */
static void lose(struct run_live *run)
{
	struct executor *executor = run->manager->executor;

	log_warning("%s: lost", run->record.run_id);
	run->rebooted = !is_of_this_boot(run);
	run_live_claim_slots(run); /* given back by `ended` */
	catch_up(run);
	if (run->rebooted) {
		run_life_events.ended(run, NULL, 0);
		return;
	}
	run->in_executor = true;
	executor->ops->lose(executor, run->dir, run);
}

void run_live_recover(struct run_live *run)
{
	static void (*const actions[RECOVERY_COUNT])(struct run_live * run) = {
		[RECOVERY_QUEUE] = queue,
		[RECOVERY_QUEUE_AGAIN] = queue_again,
		[RECOVERY_REATTACH] = reattach,
		[RECOVERY_CANCEL] = run_live_end_unstarted,
		[RECOVERY_LOSE] = lose,
	};
	struct executor *executor = run->manager->executor;
	enum executor_found found;
	int r = executor->ops->look(executor, run->dir, &found);

	if (r == 0) {
		actions[recovery_plan(&run->record, found, is_of_this_boot(run))](run);
		return;
	}
	run_live_claim_slots(run); /* it may live */
	run_live_owe(run, OWED_RECOVERY, "its folder cannot be looked at", r);
}

bool run_live_is_recovered(struct run_live *run)
{
	if (run->owed & OWED_RECOVERY) {
		run->owed &= ~(unsigned)OWED_RECOVERY;
		run_live_recover(run);
	}
	return !(run->owed & OWED_RECOVERY);
}

static void recover(struct run_manager *manager, const struct run_record *record)
{
	struct run_live *run = run_live_new(manager, record);

	user_names_set(&manager->names, record->owner, record->submitted_by);
	run_live_enlist(run);
	(void)submission_accept(run->dir); /* the crash came before that */
	run_live_recover(run);
}

/* Before anything is done: a state folder of a newer version is left as it is. */
static int check_formats(
	struct run_manager *manager, const struct run_record_list *live, struct error *err)
{
	struct executor *executor = manager->executor;

	for (size_t i = 0; i < live->count; i++) {
		_cleanup_(freep) char *dir = path_join(manager->runs_dir, live->items[i].run_id);
		enum executor_found found;

		if (executor->ops->look(executor, dir, &found) == -EPROTONOSUPPORT)
			return error_set(err, -EPROTONOSUPPORT, dir,
				"the run in %s was begun by a newer version; install that version "
				"again, or use another --state-dir",
				dir);
	}
	return 0;
}

/* ---- folders of runs that are over, or that were never accepted ---- */

/* Of one user: in his own folders he can make us wait. What has no owner is ours. */
struct sweep {
	struct run_manager *manager;
	uid_t uid;
	char **remove; /* strv of paths */
	char **strip;
	struct user_work work;
	SLIST_ENTRY(sweep) entry;
};

SLIST_HEAD(sweep_heads, sweep);

struct sweep_list {
	struct sweep_heads heads;
	size_t left_alone; /* folders of runs that history does not know */
	char *first;       /* of them; NULL: there is none */
};

static void sweep_on_thread(struct user_work *work)
{
	struct sweep *sweep = container_of(work, struct sweep, work);

	for (size_t i = 0; sweep->remove && sweep->remove[i]; i++)
		finish_clean_up(sweep->remove[i], false);
	for (size_t i = 0; sweep->strip && sweep->strip[i]; i++)
		finish_clean_up(sweep->strip[i], true);
}

static void sweep_done(struct user_work *work)
{
	struct sweep *sweep = container_of(work, struct sweep, work);
	struct run_manager *manager = sweep->manager;

	strv_free(sweep->remove);
	strv_free(sweep->strip);
	free(sweep);
	run_manager_unpend(manager);
}

/* Nobody needs the folder any more: the run has Completed, or there was time enough for a look. */
static bool is_spent(const struct run_manager *manager, const struct run_record *record)
{
	return record->state == RUN_COMPLETED ||
	       clock_utc() - record->end_us > manager->options.keep_work_us;
}

/* ---- what history does not know ---- */

/* When history is new everything is unknown to it, and nothing goes. */
static bool is_unowed(const struct run_manager *manager, int runs_fd, const char *name)
{
	return !history_is_new(manager->options.history) && unowed_look(runs_fd, name) > 0;
}

/* It holds no slot, and nobody can cancel it: what it was submitted as is not in its folder. */
static void tell_of_living(int runs_fd, const char *path)
{
	_cleanup_(closep) int dirfd = openat(
		runs_fd, strrchr(path, '/') + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_(run_status_release) struct run_status status = { 0 };

	if (dirfd >= 0 && run_folder_is_locked(dirfd) && run_folder_status(dirfd, &status) >= 0)
		log_warning(
			"the run in %s goes on, and history does not know it: what it uses is not "
			"counted, and amlctl cannot stop it; `kill %lld` (its supervisor) ends it "
			"in order",
			path, (long long)status.supervisor_pid);
}

/* What a person has to look at is told once; which ones they are tells --check-state. */
static void leave_alone(struct sweep_list *sweeps, int runs_fd, const char *path)
{
	tell_of_living(runs_fd, path);
	if (!sweeps->left_alone++)
		sweeps->first = mem_strdup(path);
}

static void tell_of_left_alone(const struct run_manager *manager, const struct sweep_list *sweeps)
{
	bool is_new = history_is_new(manager->options.history);

	if (is_new && (sweeps->left_alone || !store_is_empty(manager->options.store)))
		log_warning(
			"history.db was missing or empty, and %s holds runs or blobs of another "
			"one: a new one was begun, and nothing was removed; to have the old one "
			"back, end this daemon and restore history.db from a copy",
			manager->options.state_dir);
	if (sweeps->left_alone)
		log_warning(
			"history does not know the runs of %zu folders below %s (one is %s): they "
			"are left alone; if history.db is not the one that belongs to them, end "
			"this daemon and restore that one, else take from them what you need and "
			"remove them; `amlagentd --check-state` names them",
			sweeps->left_alone, manager->runs_dir, strrchr(sweeps->first, '/') + 1);
}

/* ---- the sweep ---- */

static struct sweep *sweep_of(struct run_manager *manager, struct sweep_list *sweeps, uid_t uid)
{
	struct sweep *sweep;

	SLIST_FOREACH(sweep, &sweeps->heads, entry)
	if (sweep->uid == uid)
		return sweep;
	sweep = NEW(struct sweep);
	sweep->manager = manager;
	sweep->uid = uid;
	SLIST_INSERT_HEAD(&sweeps->heads, sweep, entry);
	return sweep;
}

static void sweep_folder(
	struct run_manager *manager, struct sweep_list *sweeps, int runs_fd, const char *name)
{
	char *path = path_join(manager->runs_dir, name);
	struct run_record record;
	struct sweep *sweep;
	int r = history_get(manager->options.history, name, &record);

	if (r == -ENOENT && is_unowed(manager, runs_fd, name))
		strv_take(&sweep_of(manager, sweeps, geteuid())->remove, TAKE(path));
	else if (r == -ENOENT)
		leave_alone(sweeps, runs_fd, path);
	if (r < 0) {
		free(path);
		return;
	}
	(void)unowed_unmark(path); /* a delete that was not committed */
	sweep = sweep_of(manager, sweeps, record.owner);
	strv_take(is_spent(manager, &record) ? &sweep->remove : &sweep->strip, path);
	run_record_release(&record);
}

/* What a crash left of an index that was being written. */
static void list_half_written(struct run_manager *manager, struct sweep_list *sweeps)
{
	const char *index_dir = manager->index_dir;
	_cleanup_(closedirp) DIR *dir = opendir(index_dir);

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (strstr(entry->d_name, ".tmp."))
			strv_take(&sweep_of(manager, sweeps, geteuid())->remove,
				path_join(index_dir, entry->d_name));
}

static void sweep_folders(struct run_manager *manager)
{
	_cleanup_(closedirp) DIR *dir = opendir(manager->runs_dir);
	struct sweep_list sweeps = { 0 };
	struct sweep *sweep;

	/* There is always work for a thread: libuv starts its threads with the first, all of them, and
	 * aborts where it cannot. That is to be now and not at somebody's submit. */
	(void)sweep_of(manager, &sweeps, geteuid());
	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (run_id_valid(entry->d_name) && !run_live_find(manager, entry->d_name))
			sweep_folder(manager, &sweeps, dirfd(dir), entry->d_name);
	list_half_written(manager, &sweeps);
	tell_of_left_alone(manager, &sweeps);
	free(sweeps.first);
	while ((sweep = SLIST_FIRST(&sweeps.heads))) {
		SLIST_REMOVE_HEAD(&sweeps.heads, entry);
		manager->pending++;
		user_work_queue(&manager->works, sweep->uid, run_is_foreign(manager, sweep->uid),
			&sweep->work, sweep_on_thread, sweep_done);
	}
}

int run_manager_recover(struct run_manager *manager, struct error *err)
{
	struct run_record_list live = { 0 };
	int count;
	int r = history_list_live(manager->options.history, &live);

	if (r < 0)
		return history_explain(manager->options.history, r, err);
	r = check_formats(manager, &live, err);
	if (r < 0) {
		run_record_list_release(&live);
		return r;
	}
	count = (int)live.count;
	r = run_queue_charge_history(manager);
	if (r < 0)
		log_warning("what users have used cannot be read: %s", strerror(-r));
	manager->scheduling = true; /* when all slots that are held are known */
	for (size_t i = 0; i < live.count; i++)
		recover(manager, &live.items[i]);
	manager->scheduling = false;
	run_record_list_release(&live);
	sweep_folders(manager);
	run_live_schedule(manager);
	return count;
}
