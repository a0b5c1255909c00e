/* SPDX-License-Identifier: MIT */
/* run_admit - what is asked for and will never be given is refused at once; see run_manager.h */
#include "common/mem.h"
#include "common/quantity.h"
#include "runs/run_live.h"
#include "runs/run_submit.h"
#include "runs/wording.h"

static int too_large(const char *target, const char *asked, const char *all, struct error *err)
{
	return error_set(err, -EINVAL, target, "%s: %s asked for and this machine gives out %s",
		target, asked, all);
}

/* "2 were" */
static char *were_text(int64_t count)
{
	return mem_printf("%lld %s", (long long)count, count == 1 ? "was" : "were");
}

static char *all_text(int64_t count)
{
	return count ? mem_printf("%lld", (long long)count) : mem_strdup("none");
}

static int check_counts(const char *target, int64_t asked, int64_t all, struct error *err)
{
	_cleanup_(freep) char *asked_text = were_text(asked);
	_cleanup_(freep) char *text = all_text(all);

	return asked > all ? too_large(target, asked_text, text, err) : 0;
}

static int check_memory(int64_t asked, int64_t all, struct error *err)
{
	_cleanup_(freep) char *bytes = size_text(asked);
	_cleanup_(freep) char *asked_text = mem_printf("%s were", bytes);
	_cleanup_(freep) char *text = size_text(all);

	return asked > all ? too_large("resources.memory_bytes", asked_text, text, err) : 0;
}

static int check_size(
	const struct run_manager *manager, const struct run_request *request, struct error *err)
{
	const struct slots_amount *largest = &manager->largest;
	int r = check_counts("resources.cpus", request->cpus, largest->cpus, err);

	if (r >= 0)
		r = check_counts("resources.gpus", request->gpus, largest->gpus, err);
	return r < 0 ? r : check_memory(request->memory_bytes, largest->memory_bytes, err);
}

static int check_user_limit(
	const char *target, int64_t asked, int64_t limit, const char *key, struct error *err)
{
	_cleanup_(freep) char *text = were_text(asked);

	if (!limit || asked <= limit)
		return 0;
	return error_set(err, -EINVAL, target, "%s: %s asked for and one user may hold %lld (%s)",
		target, text, (long long)limit, key);
}

static int check_user_limits(
	const struct queue_options *options, const struct run_request *request, struct error *err)
{
	int r = check_user_limit("resources.cpus", request->cpus, options->max_cpus_per_user,
		"max_cpus_per_user", err);

	return r < 0 ? r
		     : check_user_limit("resources.gpus", request->gpus, options->max_gpus_per_user,
			       "max_gpus_per_user", err);
}

static int check_priority(const struct queue_options *options, const struct run_request *request,
	const struct submitter *by, struct error *err)
{
	if (by->admin || request->priority <= options->max_user_priority)
		return 0;
	return error_set(err, -EPERM, "priority",
		"priority: %lld is above %lld (max_user_priority), which only admins may ask for",
		(long long)request->priority, (long long)options->max_user_priority);
}

static int check_queued(struct run_manager *manager, uid_t uid, struct error *err)
{
	const struct scheduler_user *user = scheduler_user_of(&manager->scheduler, uid);
	int64_t queued = (user ? user->queued : 0) + run_submits_of(manager, uid);
	int64_t limit = manager->options.queue.max_queued_per_user;

	if (!limit || queued < limit)
		return 0;
	return error_set(err, -EUSERS, NULL,
		"you have %lld runs in the queue and the limit per user is %lld "
		"(max_queued_runs_per_user); wait until some of them have started, or cancel some",
		(long long)queued, (long long)limit);
}

int run_queue_admit(struct run_manager *manager, const struct run_request *request,
	const struct submitter *by, struct error *err)
{
	const struct queue_options *options = &manager->options.queue;
	int r = check_size(manager, request, err);

	if (r >= 0)
		r = check_user_limits(options, request, err);
	if (r >= 0)
		r = check_priority(options, request, by, err);
	if (r >= 0)
		r = check_queued(manager, by->uid, err);
	return r < 0 ? r : run_after_check(manager, request, err);
}
