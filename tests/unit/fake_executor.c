/* SPDX-License-Identifier: MIT */
/* fake_executor - executor.h without processes; see fake_executor.h */
#include "fake_executor.h"

#include <string.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "common/mem.h"
#include "test.h"

#define TICK_MS 1

/* One run that was started or reattached. It stays for the counts when it is over. */
struct task {
	char *run_id;
	void *run; /* NULL: over, or forgotten */
	int starts, stops;
	bool told_started;
	TAILQ_ENTRY(task) entry; /* fake_executor::tasks, in the order of their start */
	TAILQ_ENTRY(task) held;  /* fake_executor::held */
};

struct finding {
	char *run_id;
	enum executor_found found;
	SLIST_ENTRY(finding) entry;
};

struct fake_executor {
	struct executor base;
	uv_timer_t timer;
	TAILQ_HEAD(, task) tasks;
	TAILQ_HEAD(task_list, task) held;
	SLIST_HEAD(, finding) findings;
	int start_result, stop_result, look_result, reattach_result;
	int count, most;      /* held now, and at most */
	struct run_exit exit; /* by timer */
	void (*freed)(void *data);
	void *freed_data;
};

static struct task *find_held(const struct fake_executor *fake, const char *run_id)
{
	struct task *task;

	TAILQ_FOREACH(task, &fake->held, held)
	if (!strcmp(task->run_id, run_id))
		return task;
	return NULL;
}

static struct task *hold(struct fake_executor *fake, const char *run_dir, void *run)
{
	struct task *task = NEW(struct task);

	task->run_id = mem_strdup(strrchr(run_dir, '/') + 1);
	task->run = run;
	assert_null(find_held(fake, task->run_id)); /* one run, once */
	TAILQ_INSERT_TAIL(&fake->tasks, task, entry);
	TAILQ_INSERT_TAIL(&fake->held, task, held);
	if (++fake->count > fake->most)
		fake->most = fake->count;
	return task;
}

/* Forgotten: what is told next is the last. */
static void *let_go(struct fake_executor *fake, struct task *task)
{
	void *run = task->run;

	task->run = NULL;
	TAILQ_REMOVE(&fake->held, task, held);
	fake->count--;
	return run;
}

static void end(
	struct fake_executor *fake, struct task *task, const struct run_exit *exit, int64_t seen_us)
{
	fake->base.events->ended(let_go(fake, task), exit, seen_us);
}

static int start(struct executor *executor, const char *run_dir, void *run)
{
	struct fake_executor *fake = container_of(executor, struct fake_executor, base);

	if (fake->start_result < 0)
		return fake->start_result;
	hold(fake, run_dir, run)->starts = 1;
	return 0;
}

static int look(struct executor *executor, const char *run_dir, enum executor_found *ret)
{
	struct fake_executor *fake = container_of(executor, struct fake_executor, base);
	const struct finding *finding;

	if (fake->look_result < 0)
		return fake->look_result;
	SLIST_FOREACH(finding, &fake->findings, entry)
	if (!strcmp(finding->run_id, strrchr(run_dir, '/') + 1))
		break;
	*ret = finding ? finding->found : EXECUTOR_NEVER_STARTED;
	return 0;
}

static int reattach(struct executor *executor, const char *run_dir, void *run)
{
	struct fake_executor *fake = container_of(executor, struct fake_executor, base);

	if (fake->reattach_result < 0)
		return fake->reattach_result;
	hold(fake, run_dir, run);
	return 0;
}

static void lose(struct executor *executor, const char *run_dir, void *run)
{
	hold(container_of(executor, struct fake_executor, base), run_dir, run);
}

static int stop(struct executor *executor, void *run, const struct run_stop *why)
{
	struct fake_executor *fake = container_of(executor, struct fake_executor, base);
	struct task *task;

	assert_int_equal(why->why, RUN_STOP_CANCEL);
	TAILQ_FOREACH(task, &fake->held, held)
	if (task->run == run)
		break;
	assert_non_null(task); /* only what it holds */
	if (fake->stop_result < 0)
		return fake->stop_result;
	task->stops++;
	return 0;
}

static void timer_closed(uv_handle_t *handle)
{
	struct fake_executor *fake =
		container_of((uv_timer_t *)handle, struct fake_executor, timer);
	void (*freed)(void *data) = fake->freed;
	void *data = fake->freed_data;
	struct finding *finding;
	struct task *task;

	while ((task = TAILQ_FIRST(&fake->tasks))) {
		TAILQ_REMOVE(&fake->tasks, task, entry);
		free(task->run_id);
		free(task);
	}
	while ((finding = SLIST_FIRST(&fake->findings))) {
		SLIST_REMOVE_HEAD(&fake->findings, entry);
		free(finding->run_id);
		free(finding);
	}
	free(fake);
	freed(data);
}

static void executor_free(struct executor *executor, void (*freed)(void *data), void *data)
{
	struct fake_executor *fake = container_of(executor, struct fake_executor, base);

	fake->freed = freed;
	fake->freed_data = data;
	uv_close((uv_handle_t *)&fake->timer, timer_closed);
}

struct executor *fake_executor_new(
	uv_loop_t *loop, const struct executor_events *events, struct fake_executor **ret)
{
	static const struct executor_ops ops = { start, look, reattach, lose, stop, executor_free };
	struct fake_executor *fake = NEW(struct fake_executor);

	fake->base = (struct executor){ &ops, events };
	TAILQ_INIT(&fake->tasks);
	TAILQ_INIT(&fake->held);
	SLIST_INIT(&fake->findings);
	uv_timer_init(loop, &fake->timer);
	*ret = fake;
	return &fake->base;
}

void fake_executor_fail(struct fake_executor *fake, int start_result, int stop_result)
{
	fake->start_result = start_result;
	fake->stop_result = stop_result;
}

void fake_executor_fail_look(struct fake_executor *fake, int look_result, int reattach_result)
{
	fake->look_result = look_result;
	fake->reattach_result = reattach_result;
}

void fake_executor_will_find(
	struct fake_executor *fake, const char *run_id, enum executor_found found)
{
	struct finding *finding = NEW(struct finding);

	finding->run_id = mem_strdup(run_id);
	finding->found = found;
	SLIST_INSERT_HEAD(&fake->findings, finding, entry);
}

void fake_executor_started(struct fake_executor *fake, const char *run_id, int64_t start_us)
{
	struct task *task = find_held(fake, run_id);

	assert_non_null(task);
	assert_false(task->told_started);
	task->told_started = true;
	fake->base.events->started(task->run, start_us);
}

void fake_executor_ended(struct fake_executor *fake, const char *run_id,
	const struct run_exit *exit, int64_t seen_us)
{
	struct task *task = find_held(fake, run_id);

	assert_non_null(task);
	end(fake, task, exit, seen_us);
}

void fake_executor_not_started(struct fake_executor *fake, const char *run_id, int error)
{
	struct task *task = find_held(fake, run_id);

	assert_non_null(task);
	assert_false(task->told_started);
	fake->base.events->not_started(let_go(fake, task), error, "no room");
}

static void on_tick(uv_timer_t *timer)
{
	struct fake_executor *fake = container_of(timer, struct fake_executor, timer);
	struct task *next;

	/* What an end lets start comes at the list's end, and has its first step at once. */
	for (struct task *task = TAILQ_FIRST(&fake->held); task; task = next) {
		next = TAILQ_NEXT(task, held);
		if (task->told_started) {
			end(fake, task, &fake->exit, 0);
		} else {
			task->told_started = true;
			fake->base.events->started(task->run, clock_utc());
		}
	}
}

void fake_executor_go(struct fake_executor *fake, const struct run_exit *exit)
{
	fake->exit = *exit;
	uv_timer_start(&fake->timer, on_tick, TICK_MS, TICK_MS);
}

int fake_executor_starts(const struct fake_executor *fake, const char *run_id)
{
	const struct task *task;
	int starts = 0;

	TAILQ_FOREACH(task, &fake->tasks, entry)
	starts += strcmp(task->run_id, run_id) ? 0 : task->starts;
	return starts;
}

int fake_executor_stops(const struct fake_executor *fake, const char *run_id)
{
	const struct task *task;
	int stops = 0;

	TAILQ_FOREACH(task, &fake->tasks, entry)
	stops += strcmp(task->run_id, run_id) ? 0 : task->stops;
	return stops;
}

bool fake_executor_holds(const struct fake_executor *fake, const char *run_id)
{
	return find_held(fake, run_id) != NULL;
}

int fake_executor_most(const struct fake_executor *fake)
{
	return fake->most;
}

const char *fake_executor_nth(const struct fake_executor *fake, int n)
{
	const struct task *task;

	TAILQ_FOREACH(task, &fake->tasks, entry)
	if (task->starts && !n--)
		return task->run_id;
	return NULL;
}
