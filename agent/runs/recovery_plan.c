/* SPDX-License-Identifier: MIT */
/* recovery_plan - what is still owed to a run that a new daemon finds; see recovery_plan.h */
#include "runs/recovery_plan.h"

/* Of runs that were never started, by the state in which history left them. A state that is not
 * named here is of a run whose command history has seen: its folder is gone or damaged. */
static const struct never_started {
	bool known;
	enum recovery_plan same_boot, restarted;
} never_started[RUN_STATE_COUNT] = {
	[RUN_QUEUED] = { true, RECOVERY_QUEUE, RECOVERY_QUEUE },
	[RUN_PREPARING] = { true, RECOVERY_QUEUE_AGAIN, RECOVERY_LOSE },
	[RUN_STARTING] = { true, RECOVERY_QUEUE_AGAIN, RECOVERY_LOSE },
	[RUN_CANCEL_REQUESTED] = { true, RECOVERY_CANCEL, RECOVERY_LOSE },
};

enum recovery_plan recovery_plan(
	const struct run_record *record, enum executor_found found, bool same_boot)
{
	const struct never_started *plan = &never_started[record->state];

	if (found != EXECUTOR_NEVER_STARTED)
		return RECOVERY_REATTACH;
	if (!plan->known || record->start_us)
		return RECOVERY_LOSE;
	return same_boot ? plan->same_boot : plan->restarted;
}
