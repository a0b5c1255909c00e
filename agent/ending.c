/* SPDX-License-Identifier: MIT */
/* ending - when the daemon ends, and how long it may take; see ending.h */
#include "ending.h"

#include <errno.h>
#include <signal.h>
#include <sys/file.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

enum { TERMINATE, INTERRUPT, SIGNALS };

struct ending {
	struct ending_options options;
	uv_signal_t signals[SIGNALS];
	uv_timer_t idle;
	int64_t idle_since_us; /* boot clock; 0: busy */
	int open;              /* handles */
};

static void on_signal(uv_signal_t *signal, int number)
{
	struct ending *ending = signal->data;

	log_info("signal %d: ending; runs go on", number);
	ending->options.end(ending->options.data);
}

/* Looks a few times within the span; only daemons that somebody's amlctl started have it at all. */
static void on_idle(uv_timer_t *timer)
{
	struct ending *ending = timer->data;
	int64_t span = ending->options.idle_seconds;

	if (ending->options.is_busy(ending->options.data)) {
		ending->idle_since_us = 0;
	} else if (!ending->idle_since_us) {
		ending->idle_since_us = clock_boot();
	} else if (clock_boot() - ending->idle_since_us >= span * USEC_PER_SEC) {
		log_info("nothing to do for %lld s: ending", (long long)span);
		ending->options.end(ending->options.data);
	}
}

static void watch_idleness(struct ending *ending)
{
	uint64_t every = (uint64_t)ending->options.idle_seconds * 1000 / 4 + 1;

	uv_timer_init(ending->options.loop, &ending->idle);
	ending->open++;
	ending->idle.data = ending;
	uv_timer_start(&ending->idle, on_idle, every, every);
}

static int watch_signal(struct ending *ending, uv_signal_t *signal, int number)
{
	int r = uv_signal_init(ending->options.loop, signal);

	if (r < 0)
		return r;
	ending->open++;
	signal->data = ending;
	return uv_signal_start(signal, on_signal, number);
}

int ending_new(const struct ending_options *options, struct ending **ret)
{
	struct ending *ending = NEW(struct ending);
	int r;

	ending->options = *options;
	r = watch_signal(ending, &ending->signals[TERMINATE], SIGTERM);
	if (r >= 0)
		r = watch_signal(ending, &ending->signals[INTERRUPT], SIGINT);
	if (r < 0) {
		ending_free(ending);
		return r;
	}
	if (options->idle_seconds)
		watch_idleness(ending);
	*ret = ending;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct ending *ending = handle->data;

	if (--ending->open == 0)
		free(ending);
}

static void close_handles(struct ending *ending)
{
	uv_handle_t *const handles[] = { (uv_handle_t *)&ending->signals[TERMINATE],
		(uv_handle_t *)&ending->signals[INTERRUPT], (uv_handle_t *)&ending->idle };

	/* They were made in this order. */
	for (int i = 0, open = ending->open; i < open; i++)
		uv_close(handles[i], on_closed);
}

void ending_free(struct ending *ending)
{
	if (ending && ending->open)
		close_handles(ending);
	else
		free(ending);
}

/* ---- the limit ---- */

static int limit_lock_fd = -EBADF;

static void on_limit(int number)
{
	static const char text[] = "amlagentd: some work does not end (a file server that hangs?): "
				   "ending without it; runs go on\n";

	(void)number;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	(void)flock(limit_lock_fd, LOCK_UN);
	_exit(0);
}

int ending_limit(unsigned seconds, int lock_fd)
{
	struct sigaction action = { .sa_handler = on_limit };

	limit_lock_fd = lock_fd;
	if (sigaction(SIGALRM, &action, NULL) < 0)
		return -errno;
	alarm(seconds);
	return 0;
}
