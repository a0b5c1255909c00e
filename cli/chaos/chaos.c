/* SPDX-License-Identifier: MIT */
/* chaos - kill a throw-away daemon under load and say what was lost; see chaos.h */
#include "cli/chaos/chaos.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "cli/chaos/draw.h"
#include "cli/chaos/process.h"
#include "cli/chaos/report.h"
#include "cli/chaos/soak.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/mem.h"

/* Rounds on one state folder: what it takes on disk stays below some 100 MiB. */
#define ROUNDS_OF_STATE 500

struct chaos {
	struct chaos_tally tally;
	struct chaos_place place;
	struct chaos_daemon daemon;
	int64_t rounds;
	bool alone;
};

/* A shell that became amlctl by `exec` may have left us children of its own. */
static bool has_children(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static int prepare(struct chaos *chaos, struct error *err)
{
	int r = chaos_draw_seed(&chaos->tally.seed);

	if (r < 0)
		return error_errno(err, r, "AMLAGENT_CHAOS_SEED",
			"AMLAGENT_CHAOS_SEED must be a whole number");
	chaos->alone = !has_children();
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return error_errno(err, -errno, NULL, "cannot become a subreaper");
	r = chaos_place_make(&chaos->place, err);
	return r < 0 ? r : chaos_daemon_init(&chaos->daemon, &chaos->place, err);
}

static void tick(void *data)
{
	const struct chaos *chaos = data;

	chaos_report_progress(&chaos->tally, chaos->rounds);
}

/* State folder after state folder. */
static int soak_all(struct chaos *chaos, struct error *err)
{
	int64_t next_number = 0;
	int r = 0;

	while (r >= 0 && chaos->tally.rounds < chaos->rounds &&
		chaos_tally_is_clean(&chaos->tally)) {
		int64_t left = chaos->rounds - chaos->tally.rounds;
		int64_t until =
			chaos->tally.rounds + (left < ROUNDS_OF_STATE ? left : ROUNDS_OF_STATE);
		struct soak *soak = NEW(struct soak);

		soak->tally = &chaos->tally;
		soak->place = &chaos->place;
		soak->daemon = &chaos->daemon;
		soak->alone = chaos->alone;
		soak->next_number = next_number;
		r = soak_run(soak, until, tick, chaos, err);
		next_number = soak->next_number;
		soak_release(soak);
		free(soak);
	}
	return r;
}

/* Whatever happened: no process stays, and the folder only when it is worth a look. */
static int clean_up(struct chaos *chaos, bool keep, struct error *err)
{
	int r = chaos->place.folder ? chaos_processes_end(chaos->place.folder, chaos->alone, err)
				    : 0;

	if (r >= 0)
		chaos_place_end(&chaos->place);
	if (r >= 0 && chaos->place.folder && !keep)
		r = chaos_place_remove(&chaos->place, err);
	return r < 0 ? r : 0;
}

/* interrupt_catch() lets a second signal end the program, which would leave folder and runs behind;
 * the end takes a moment only. */
static void catch_every_signal(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

	interrupt_catch();
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction action;

		if (sigaction(signals[i], NULL, &action) < 0)
			continue;
		action.sa_flags &= ~(int)SA_RESETHAND;
		sigaction(signals[i], &action, NULL);
	}
}

static int conclude(struct chaos *chaos, int r, bool json, struct error *err)
{
	bool faults = !chaos_tally_is_clean(&chaos->tally);
	struct error why = ERROR_INIT;
	int ended = clean_up(chaos, faults, &why);

	if (r < 0 && r != -EINTR)
		return r;
	if (ended < 0)
		return error_set(err, ended, NULL, "%s", why.message);
	*err = (struct error)ERROR_INIT;
	chaos_report(&chaos->tally, faults ? chaos->place.folder : NULL, r == -EINTR, json);
	if (finish_output() != EXIT_OK)
		return EXIT_TROUBLE;
	return faults ? 1 : r == -EINTR ? EXIT_CANCELED : EXIT_OK;
}

int chaos_run(struct cli *cli, int64_t rounds, bool json)
{
	struct chaos chaos = {
		.rounds = rounds,
		.place.witness_fd = -EBADF,
		.daemon.ready = -EBADF,
		.tally.started_us = clock_boot(),
	};
	int r;

	catch_every_signal();
	r = prepare(&chaos, &cli->err);
	if (r >= 0)
		r = soak_all(&chaos, &cli->err);
	r = conclude(&chaos, r, json, &cli->err);
	chaos_daemon_release(&chaos.daemon);
	chaos_place_release(&chaos.place);
	chaos_tally_release(&chaos.tally);
	return r;
}
