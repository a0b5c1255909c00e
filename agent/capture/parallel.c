/* SPDX-License-Identifier: MIT */
/* parallel - the same step for many items, on a few threads; see parallel.h */
#include "capture/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

struct crew {
	const struct parallel *parallel;
	atomic_size_t next; /* item to be handed out */
	atomic_bool failed;
	pthread_mutex_t lock; /* all below */
	size_t failed_item;
	int failure;
	struct error *err;
};

struct worker {
	struct crew *crew;
	unsigned number;
	pthread_t thread;
};

static void crew_fail(struct crew *crew, size_t item, int r, const struct error *err)
{
	atomic_store(&crew->failed, true);
	pthread_mutex_lock(&crew->lock);
	if (item < crew->failed_item) {
		crew->failed_item = item;
		crew->failure = r;
		if (crew->err)
			*crew->err = *err;
	}
	pthread_mutex_unlock(&crew->lock);
}

static void *work(void *data)
{
	const struct worker *worker = data;
	struct crew *crew = worker->crew;
	const struct parallel *parallel = crew->parallel;
	struct error err = ERROR_INIT;

	while (!atomic_load(&crew->failed)) {
		size_t item = atomic_fetch_add(&crew->next, parallel->grain);
		size_t end = item + parallel->grain;

		if (item >= parallel->count)
			break;
		for (; item < end && item < parallel->count; item++) {
			int r = parallel->step(parallel->context, worker->number, item, &err);

			if (r < 0) {
				crew_fail(crew, item, r, &err);
				return NULL;
			}
		}
	}
	return NULL;
}

static unsigned workers_for(const struct parallel *parallel)
{
	size_t wanted = 1 + parallel->count / parallel->worth;
	size_t cpus = 1;
	cpu_set_t set;

	if (wanted > 1 && sched_getaffinity(0, sizeof(set), &set) == 0)
		cpus = (size_t)CPU_COUNT(&set);
	if (wanted > cpus)
		wanted = cpus;
	return wanted < PARALLEL_WORKERS_MAX ? (unsigned)wanted : PARALLEL_WORKERS_MAX;
}

/* As many as can be had: fewer only take longer. */
static unsigned start_helpers(struct worker *workers, unsigned count)
{
	sigset_t all, before;
	unsigned started = 1;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (started < count &&
		pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0)
		started++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return started;
}

int parallel_run(const struct parallel *parallel, struct error *err)
{
	struct crew crew = { .parallel = parallel, .failed_item = SIZE_MAX, .err = err };
	struct worker workers[PARALLEL_WORKERS_MAX];
	unsigned count = workers_for(parallel);

	for (unsigned i = 0; i < ARRAY_SIZE(workers); i++)
		workers[i] = (struct worker){ .crew = &crew, .number = i };
	pthread_mutex_init(&crew.lock, NULL);
	if (count > 1)
		count = start_helpers(workers, count);
	work(&workers[0]);
	for (unsigned i = 1; i < count; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_mutex_destroy(&crew.lock);
	return crew.failure;
}
