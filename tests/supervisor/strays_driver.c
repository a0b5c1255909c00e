/* SPDX-License-Identifier: MIT */
/* strays_driver - strays_kill() once, for test_escapes.py: strays_driver RUN_DIR CGROUP UID [...] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "runs/strays.h"

#define RUNS_MAX 16

/* Prints how many it found of each, and "?" behind none when it is in doubt. CGROUP "-": none. */
int main(int argc, char **argv)
{
	struct stray_run runs[RUNS_MAX] = { 0 };
	size_t count = (size_t)(argc - 1) / 3;
	int r;

	if (argc % 3 != 1 || count > ARRAY_SIZE(runs))
		return 2;
	for (size_t i = 0; i < count; i++) {
		const char *cgroup = argv[3 * i + 2];

		runs[i].run_dir = argv[3 * i + 1];
		runs[i].uid = (uid_t)strtoul(argv[3 * i + 3], NULL, 10);
		runs[i].cgroup = strcmp(cgroup, "-") ? cgroup : NULL;
	}
	r = strays_kill(runs, count);
	for (size_t i = 0; r == 0 && i < count; i++)
		printf("%d%s\n", runs[i].found, !runs[i].found && runs[i].in_doubt ? "?" : "");
	if (r < 0)
		fprintf(stderr, "strays_kill: %s\n", strerror(-r));
	return r < 0;
}
