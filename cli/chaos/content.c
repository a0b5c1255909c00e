/* SPDX-License-Identifier: MIT */
/* content - the bytes of one run that has ended; see content.h */
#include "cli/chaos/content.h"

#include <string.h>

#include "cli/artifact_list.h"
#include "cli/record.h"
#include "common/mem.h"
#include "common/run_dir.h"

#define SHOWN 40 /* bytes of evidence */

static int digest_of(
	const struct strbuf *bytes, char ret[static SHA256_TEXT_SIZE], struct error *err)
{
	struct sha256 *sum;
	int r = sha256_new(&sum, err);

	if (r < 0)
		return r;
	if (bytes->size)
		sha256_update(sum, bytes->data, bytes->size);
	sha256_finish(sum, ret);
	sha256_free(sum);
	return 0;
}

static size_t first_difference(const struct strbuf *a, const struct strbuf *b)
{
	size_t size = a->size < b->size ? a->size : b->size;
	size_t i = 0;

	while (i < size && a->data[i] == b->data[i])
		i++;
	return i;
}

/* Equal, or the beginning where that is enough. */
static bool is_as_expected(const struct strbuf *is, const struct strbuf *must, bool whole)
{
	return first_difference(is, must) == is->size && (!whole || is->size == must->size);
}

static void tell_difference(struct soak *soak, const struct chaos_job *job, enum chaos_fault fault,
	const char *what, const struct strbuf *is, const struct strbuf *must)
{
	size_t at = first_difference(is, must);
	const char *seen = is->size ? is->data + at : "";
	int size = is->size - at > SHOWN ? SHOWN : (int)(is->size - at);

	chaos_tally_fault(soak->tally, fault, job->run_id,
		"run %lld (%s): %s has %zu bytes and must have %zu; they differ from byte %zu on: \"%.*s\"",
		(long long)job->plan.number, chaos_job_kind_name(job->plan.kind), what, is->size,
		must->size, at, size, seen);
}

/* Does what the list says fit the bytes? */
static int check_digest(struct soak *soak, const struct chaos_job *job,
	const struct listed_artifact *item, const struct strbuf *bytes, struct error *err)
{
	char digest[SHA256_TEXT_SIZE];
	int r = digest_of(bytes, digest, err);

	if (r < 0)
		return r;
	if (!item->digest || strcmp(item->digest, digest))
		chaos_tally_fault(soak->tally, CHAOS_OUTPUT, job->run_id,
			"run %lld: the list says that %s has the digest %s; its bytes have %s",
			(long long)job->plan.number, item->name,
			item->digest ? item->digest : "null", digest);
	return 0;
}

static const struct listed_artifact *find_artifact(
	const struct artifact_list *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++)
		if (!strcmp(list->items[i].name, name))
			return &list->items[i];
	return NULL;
}

/* Has it said all, or must it have? */
static bool is_whole(struct soak *soak, const struct chaos_job *job)
{
	struct chaos_job_end end;

	chaos_job_expect(&job->plan, false, &end);
	return chaos_place_witnessed(soak->place, job->plan.number)->said_all ||
	       (!end.may_differ && !job->supervisor_killed);
}

static int check_output(struct soak *soak, const struct chaos_job *job,
	const struct artifact_list *list, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf must = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf is = STRBUF_INIT;
	const struct listed_artifact *item = find_artifact(list, CHAOS_OUTPUT_PATH);
	int status = item ? soak_ask(soak, "GET", item->href, &is, err) : 404;

	if (status < 0)
		return status;
	if (!item && !is_whole(soak, job))
		return 0;
	chaos_job_output(&job->plan, &must);
	if (status != 200 || !is_as_expected(&is, &must, is_whole(soak, job)))
		tell_difference(soak, job, CHAOS_OUTPUT, CHAOS_OUTPUT_PATH, &is, &must);
	return item ? check_digest(soak, job, item, &is, err) : 0;
}

static void check_follower(struct soak *soak, const struct chaos_job *job,
	const struct follower_report *report, const char *digest, size_t size)
{
	if (report->result < 0)
		chaos_tally_fault(soak->tally, CHAOS_LOG, job->run_id,
			"run %lld: whoever followed its log was cut off after %lld bytes: %s",
			(long long)job->plan.number, (long long)report->size, report->message);
	else if (strcmp(report->digest, digest))
		chaos_tally_fault(soak->tally, CHAOS_LOG, job->run_id,
			"run %lld: whoever followed its log saw %lld bytes (%s), and it has %zu (%s)",
			(long long)job->plan.number, (long long)report->size, report->digest, size,
			digest);
	else
		soak->tally->followed++;
}

static int check_log(struct soak *soak, const struct chaos_job *job,
	const struct artifact_list *list, const struct follower_report *report, struct error *err)
{
	_cleanup_(freep) char *target = run_target(job->run_id, "/logs/" RUN_LOG_ARTIFACT);
	_cleanup_(strbuf_release) struct strbuf must = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf is = STRBUF_INIT;
	const struct listed_artifact *item = find_artifact(list, RUN_LOG_ARTIFACT);
	char digest[SHA256_TEXT_SIZE];
	int r = soak_ask(soak, "GET", target, &is, err);

	if (r < 0)
		return r;
	if (r != 200) /* a run that was never started has none */
		strbuf_clear(&is);
	chaos_job_log(&job->plan, &must);
	if (!is_as_expected(&is, &must, is_whole(soak, job)))
		tell_difference(soak, job, CHAOS_LOG, "its log", &is, &must);
	r = digest_of(&is, digest, err);
	if (r >= 0 && report)
		check_follower(soak, job, report, digest, is.size);
	return r >= 0 && item ? check_digest(soak, job, item, &is, err) : r;
}

int check_content(struct soak *soak, struct chaos_job *job, const struct follower_report *report,
	struct error *err)
{
	_cleanup_(artifact_list_release) struct artifact_list list = { 0 };
	int r = artifact_list_get(&soak->client, job->run_id, &list, err);

	if (r == -EREMOTEIO) {
		chaos_tally_fault(soak->tally, CHAOS_OUTPUT, job->run_id,
			"run %lld: its artifacts cannot be listed: %s", (long long)job->plan.number,
			err->message);
		*err = (struct error)ERROR_INIT;
		return 0;
	}
	if (r >= 0)
		r = check_log(soak, job, &list, report, err);
	return r < 0 ? r : check_output(soak, job, &list, err);
}
