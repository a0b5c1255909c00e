/* SPDX-License-Identifier: MIT */
/* wording - times, sizes and signals as words of a sentence; see wording.h */
#include "runs/wording.h"

#include <signal.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"

char *time_text(int64_t utc_us)
{
	char text[CLOCK_TEXT_SIZE];
	char *dot;

	clock_format(utc_us, text);
	dot = strchr(text, '.');
	if (dot)
		strcpy(dot, "Z");
	return mem_strdup(text);
}

char *span_text(int64_t us)
{
	return mem_printf(us < 10 * USEC_PER_SEC ? "%.1f s" : "%.0f s", (double)us / USEC_PER_SEC);
}

char *signal_text(int number)
{
	const char *name = sigabbrev_np(number);

	if (name)
		return mem_printf("signal %d (SIG%s)", number, name);
	if (number >= SIGRTMIN && number <= SIGRTMAX)
		return mem_printf("signal %d (SIGRTMIN+%d)", number, number - SIGRTMIN);
	return mem_printf("signal %d", number);
}
