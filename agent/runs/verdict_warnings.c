/* SPDX-License-Identifier: MIT */
/* verdict_warnings - what is worth knowing of any end; see verdict_warnings.h */
#include "runs/verdict_warnings.h"

#include <signal.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/quantity.h"
#include "common/strv.h"
#include "runs/wording.h"

/* With less than this left, what a disk had to take did not fit. */
#define DISK_FULL_BYTES (1 << 20)

bool verdict_disk_was_full(const struct run_exit *exit)
{
	return exit->disk_free_bytes >= 0 && exit->disk_free_bytes < DISK_FULL_BYTES;
}

/* Is the word one of the list's? */
static bool has_word(const char *list, const char *word)
{
	size_t size = strlen(word);

	for (const char *at = list; *at; at += strspn(at, " ")) {
		size_t here = strcspn(at, " ");

		if (here == size && !memcmp(at, word, size))
			return true;
		at += here;
	}
	return false;
}

static void warn_of_unenforced(const struct verdict_facts *facts, char ***warnings)
{
	static const struct {
		const char *word, *what, *controller;
	} kinds[] = {
		{ RUN_UNENFORCED_MEMORY, "its memory limit", "memory" },
		{ RUN_UNENFORCED_PIDS, "the limit of its processes (max_processes_per_run)",
			"pids" },
		{ RUN_UNENFORCED_CPU, "its share of the CPUs", "cpu" },
	};
	_cleanup_(freep) char *bytes = size_text(facts->memory_bytes);

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		bool sized = facts->memory_bytes && !strcmp(kinds[i].word, RUN_UNENFORCED_MEMORY);

		if (has_word(facts->exit->unenforced, kinds[i].word))
			strv_addf(warnings,
				"%s%s%s was not enforced: no cgroup with a %s controller here; see "
				"amlctl doctor",
				kinds[i].what, sized ? " of " : "", sized ? bytes : "",
				kinds[i].controller);
	}
}

/* A memory limit makes the kernel end all of a run at one instant (memory.oom.group): a process that
 * was still there did not go on, it was slow to die. */
static bool was_ended_as_one(const struct verdict_facts *facts)
{
	return facts->memory_bytes && facts->exit->oom_kills > 0 && facts->exit->signal == SIGKILL;
}

static void warn(const struct verdict_facts *facts, char ***warnings)
{
	const struct run_exit *exit = facts->exit;
	_cleanup_(freep) char *span = span_text(exit->gone_us - exit->end_us);
	_cleanup_(freep) char *free_text = size_text(exit->disk_free_bytes);

	if (exit->leftovers && !was_ended_as_one(facts))
		strv_addf(warnings,
			"%d process%s of the run went on when its command had ended; amlagent "
			"stopped %s%s%s",
			exit->leftovers, exit->leftovers > 1 ? "es" : "",
			exit->leftovers > 1 ? "them" : "it",
			exit->gone_us > exit->end_us ? ", the last was gone after " : "",
			exit->gone_us > exit->end_us ? span : "");
	if (exit->exit_code == 0 && exit->oom_kills > 0)
		strv_addf(warnings,
			"the kernel ended %lld of the run's processes for want of memory, although "
			"its command exited with 0",
			(long long)exit->oom_kills);
	if (exit->exit_code == 0 && verdict_disk_was_full(exit))
		strv_addf(warnings,
			"the disk of the run's folder was full (%s free) when its command exited "
			"with 0: see whether its outputs and log are whole",
			free_text);
}

void verdict_warn(const struct verdict_facts *facts, char ***warnings)
{
	warn(facts, warnings);
	warn_of_unenforced(facts, warnings);
}
