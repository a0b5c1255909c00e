/* SPDX-License-Identifier: MIT */
/* queue_words - why a run waits in line, as one plain sentence; see queue_words.h */
#include "runs/queue_words.h"

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/strbuf.h"
#include "runs/wording.h"

/* So many users are named, the others counted. */
#define NAMED_MAX 8

/* ---- the things that are given out ---- */

static char *count_text(int64_t count, const char *one, const char *many)
{
	return mem_printf("%lld %s", (long long)count, count == 1 ? one : many);
}

static char *gpus_text(int64_t count)
{
	return count_text(count, "GPU", "GPUs");
}

static char *cpus_text(int64_t count)
{
	return count_text(count, "CPU", "CPUs");
}

static char *memory_text(int64_t bytes)
{
	_cleanup_(freep) char *text = size_text(bytes);

	return mem_printf("%s of memory", text);
}

static char *place_text(int64_t count)
{
	(void)count;
	return mem_strdup("a place");
}

static char *number_text(int64_t number)
{
	return mem_printf("%lld", (long long)number);
}

/* By the reason that it is wanting. */
static const struct thing {
	const char *many;
	size_t offset;                  /* in struct slots_amount */
	char *(*asked)(int64_t amount); /* "2 CPUs" */
	char *(*bare)(int64_t amount);  /* "2" */
	const char *held;               /* "3 of 4 are ..." */
	const char *addition;           /* NULL: none */
} things[SCHEDULER_REASON_COUNT] = {
#define AT(name) offsetof(struct slots_amount, name)
	[SCHEDULER_NO_GPUS] = { "GPUs", AT(gpus), gpus_text, number_text, "held", NULL },
	[SCHEDULER_NO_MEMORY] = { "memory", AT(memory_bytes), memory_text, size_text, "held",
		NULL },
	[SCHEDULER_NO_CPUS] = { "CPUs", AT(cpus), cpus_text, number_text, "held", NULL },
	[SCHEDULER_NO_PLACE] = { "a place", AT(places), place_text, number_text, "taken",
		", as many runs as may go at once (max_running_runs)" },
#undef AT
};

static int64_t part(const struct slots_amount *amount, const struct thing *thing)
{
	return *(const int64_t *)((const char *)amount + thing->offset);
}

/* ---- sentences ---- */

static char *name_of(const struct queue_names *names, uid_t uid)
{
	const char *name = names->user(names->data, uid);

	return name ? mem_strdup(name) : mem_printf("user %u", (unsigned)uid);
}

/* " (ana 1, bob 1)" */
static void add_holders(const struct scheduler *scheduler, const struct thing *thing,
	const struct queue_names *names, struct strbuf *out)
{
	size_t count = 0;

	for (size_t i = 0; i < scheduler->user_count; i++) {
		const struct scheduler_user *user = scheduler->users[i];
		_cleanup_(freep) char *name = NULL;
		_cleanup_(freep) char *amount = NULL;

		if (!part(&user->held, thing) || count++ >= NAMED_MAX)
			continue;
		name = name_of(names, user->uid);
		amount = thing->bare(part(&user->held, thing));
		strbuf_addf(out, "%s%s %s", count == 1 ? " (" : ", ", name, amount);
	}
	if (count > NAMED_MAX)
		strbuf_addf(out, " and %zu more", count - NAMED_MAX);
	if (count)
		strbuf_adds(out, ")");
}

static void add_aside(const struct scheduler *scheduler, const struct queue_names *names,
	const char *separator, struct strbuf *out)
{
	for (int64_t i = 0; i < scheduler->slots.total.gpus; i++) {
		const struct slots_gpu *gpu = &scheduler->slots.gpus[i];
		_cleanup_(freep) char *why = NULL;

		if (!gpu->aside || gpu->holder)
			continue;
		why = names->aside(names->data, (size_t)i);
		strbuf_addf(out, "%sGPU %lld is set aside: %s", separator, (long long)i, why);
		separator = "; ";
	}
}

/* "waits for 2 CPUs: 4 of 4 are held (ana 3, bob 1)" */
static char *lacks_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names)
{
	const struct thing *thing = &things[run->wait.reason];
	int64_t used = part(&scheduler->slots.used, thing);
	_cleanup_(freep) char *asked = thing->asked(part(&run->wants, thing));
	_cleanup_(freep) char *held = thing->bare(used);
	_cleanup_(freep) char *total = thing->bare(part(&scheduler->slots.total, thing));
	struct strbuf out = STRBUF_INIT;

	strbuf_addf(&out, "waits for %s: ", asked);
	if (used) {
		strbuf_addf(
			&out, "%s of %s %s %s", held, total, used == 1 ? "is" : "are", thing->held);
		add_holders(scheduler, thing, names, &out);
		strbuf_adds(&out, thing->addition ? thing->addition : "");
	}
	if (run->wait.reason == SCHEDULER_NO_GPUS)
		add_aside(scheduler, names, used ? "; " : "", &out);
	return strbuf_steal(&out);
}

static char *before_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names)
{
	size_t before = run->wait.before;

	if (!before)
		return lacks_words(scheduler, run, names);
	return mem_printf("%zu %s before it %s for %s", before, before == 1 ? "run" : "runs",
		before == 1 ? "waits" : "wait", things[run->wait.reason].many);
}

static char *behind_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names)
{
	(void)scheduler;
	(void)names;
	return mem_printf(
		"there is room for it now, but a run before it, which waits for %s, could then "
		"start later than without it",
		things[run->wait.head].many);
}

static char *user_runs_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names)
{
	const struct scheduler_user *user = scheduler_user_of(scheduler, run->uid);
	_cleanup_(freep) char *name = name_of(names, run->uid);
	_cleanup_(freep) char *runs = count_text(user->held.places, "run", "runs");

	return mem_printf("%s has %s going, the limit per user is %lld (max_running_runs_per_user)",
		name, runs, (long long)scheduler->limits.runs);
}

static char *user_limit_words(
	const char *name, const char *held, const char *asked, int64_t limit, const char *key)
{
	return mem_printf("%s holds %s and this run asks for %s: the limit per user is %lld (%s)",
		name, held, asked, (long long)limit, key);
}

static char *user_cpus_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names)
{
	_cleanup_(freep) char *name = name_of(names, run->uid);
	_cleanup_(freep) char *held = cpus_text(scheduler_user_of(scheduler, run->uid)->held.cpus);
	_cleanup_(freep) char *asked = number_text(run->wants.cpus);

	return user_limit_words(name, held, asked, scheduler->limits.cpus, "max_cpus_per_user");
}

static char *user_gpus_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names)
{
	_cleanup_(freep) char *name = name_of(names, run->uid);
	_cleanup_(freep) char *held = gpus_text(scheduler_user_of(scheduler, run->uid)->held.gpus);
	_cleanup_(freep) char *asked = number_text(run->wants.gpus);

	return user_limit_words(name, held, asked, scheduler->limits.gpus, "max_gpus_per_user");
}

static char *too_large_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names)
{
	static const enum scheduler_reason parts[] = { SCHEDULER_NO_GPUS, SCHEDULER_NO_MEMORY,
		SCHEDULER_NO_CPUS };

	(void)names;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		const struct thing *thing = &things[parts[i]];
		int64_t wanted = part(&run->wants, thing);
		int64_t total = part(&scheduler->slots.total, thing);
		_cleanup_(freep) char *asked = thing->asked(wanted);
		_cleanup_(freep) char *all = thing->bare(total);

		if (wanted > total)
			return mem_printf("asks for %s and this machine gives out %s now: cancel "
					  "it, or have the configuration changed",
				asked, all);
	}
	return mem_strdup("asks for more than this machine gives out now");
}

static char *looking_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names)
{
	_cleanup_(freep) char *asked = gpus_text(run->wants.gpus);

	(void)scheduler;
	(void)names;
	return mem_printf(
		"waits for %s: whether anybody uses it outside the queue is being looked at",
		asked);
}

static char *goes_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names)
{
	(void)scheduler;
	(void)run;
	(void)names;
	return mem_strdup("is about to be started");
}

char *queue_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names)
{
	static char *(*const words[SCHEDULER_REASON_COUNT])(const struct scheduler *scheduler,
		const struct scheduler_run *run, const struct queue_names *names) = {
		[SCHEDULER_GOES] = goes_words,
		[SCHEDULER_PARKED] = goes_words,
		[SCHEDULER_LOOKING] = looking_words,
		[SCHEDULER_NO_GPUS] = before_words,
		[SCHEDULER_NO_MEMORY] = before_words,
		[SCHEDULER_NO_CPUS] = before_words,
		[SCHEDULER_NO_PLACE] = before_words,
		[SCHEDULER_BEHIND] = behind_words,
		[SCHEDULER_USER_RUNS] = user_runs_words,
		[SCHEDULER_USER_CPUS] = user_cpus_words,
		[SCHEDULER_USER_GPUS] = user_gpus_words,
		[SCHEDULER_TOO_LARGE] = too_large_words,
	};

	return words[run->wait.reason](scheduler, run, names);
}
