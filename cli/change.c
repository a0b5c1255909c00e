/* SPDX-License-Identifier: MIT */
/* change - one request for each of several runs; see change.h */
#include "cli/change.h"

#include "cli/output.h"
#include "cli/record.h"
#include "cli/waiting.h"
#include "common/mem.h"
#include "common/strv.h"

static int change_one(
	struct cli *cli, const struct change *change, const char *id, struct json *records)
{
	_cleanup_(freep) char *target = run_target(id, "%s", change->route);
	_cleanup_(freep) char *waiting = NULL;
	struct json *record = NULL;
	int r = client_call(&cli->client, change->method, target, change->body, &record, &cli->err);

	if (r < 0) {
		record_name_in_error(id, &cli->err);
		return r;
	}
	waiting = waiting_text(record);
	say("run %s %s%s%s", id, change->done, waiting ? "; " : "", waiting ? waiting : "");
	json_append(records, record);
	return 0;
}

int change_all(struct cli *cli, const struct change *change, char *const *names, bool json)
{
	_cleanup_(json_freep) struct json *records = json_new_array();
	_cleanup_(strv_freep) char **ids = NULL;
	int r = record_resolve_all(&cli->client, names, &ids, &cli->err);

	for (size_t i = 0; ids && ids[i] && r >= 0; i++)
		r = change_one(cli, change, ids[i], records);
	if (json && json_size(records))
		print_records(records);
	return finish_output() ? EXIT_TROUBLE : r;
}
