/* SPDX-License-Identifier: MIT */
/*
 * user_main - amlagent-user-helper: what the daemon as root lets a user's own process do for it
 *
 *	amlagent-user-helper IDENTITY files|interpreter|exec ...      (user_helper.h)
 */
#include <stdio.h>
#include <string.h>

#include "capture/user_confine.h"
#include "capture/user_exec.h"
#include "capture/user_files.h"
#include "capture/user_helper.h"
#include "capture/user_interpreter.h"

#define EXIT_USAGE 2

/* A file system that hangs keeps us from seeing that the daemon has gone. */
static int become(const struct identity *as)
{
	int r = identity_assume(as);

	return r < 0 ? r : user_die_with_parent();
}

static int be_files(char **argv)
{
	(void)argv;
	return user_files_main();
}

static int be_interpreter(char **argv)
{
	(void)argv;
	return user_interpreter_main();
}

/* Those that let programs of the user's run are confined, so that none outlives the question. */
static const struct mode {
	const char *name;
	int (*become)(const struct identity *as);
	int (*run)(char **argv);
} modes[] = {
	{ USER_HELPER_FILES, become, be_files },
	{ USER_HELPER_INTERPRETER, user_confine, be_interpreter },
	{ USER_HELPER_EXEC, user_confine, user_exec_main },
};

static const struct mode *mode_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(modes[i].name, name))
			return &modes[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct mode *mode = argc > 2 ? mode_find(argv[2]) : NULL;
	struct identity identity;
	int r;

	if (!mode || identity_parse(argv[1], &identity) < 0) {
		fprintf(stderr, USER_HELPER ": started by amlagentd alone, see its manual\n");
		return EXIT_USAGE;
	}
	r = mode->become(&identity);
	identity_release(&identity);
	if (r < 0) {
		fprintf(stderr, USER_HELPER ": cannot become %s: %s\n", argv[1], strerror(-r));
		return 1;
	}
	return mode->run(argv + 3);
}
