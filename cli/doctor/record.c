/* SPDX-License-Identifier: MIT */
/* record - database, blobs, run folders: what --check-state sees of them; see doctor.h */
#include <stdio.h>
#include <string.h>

#include "cli/doctor/doctor.h"
#include "cli/table.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/strv.h"

#define MORE "`amlagentd --check-state` with this state folder names them all"

static int ask(struct doctor *doctor, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	char *argv[] = { doctor->amlagentd, "--check-state", "--state-dir", doctor->state_dir, "-o",
		"json", doctor->quick ? "--quick" : NULL, NULL };
	const char *failed;
	int r;

	if (!doctor->amlagentd)
		return error_set(err, -ENOENT, NULL, "amlagentd, which looks, is not found");
	fflush(stdout);
	r = doctor_program(argv, false, -1, &text);
	if (r < 0)
		return error_errno(err, r, NULL, "cannot run %s", doctor->amlagentd);
	if (json_parse(text.data, text.size, &doctor->record, NULL) < 0)
		return error_set(err, -EBADMSG, NULL,
			"%s ended with %d and gave no report; is it an older version?",
			doctor->amlagentd, r);
	failed = json_string(json_get(doctor->record, "error"));
	return failed ? error_set(err, -EIO, NULL, "%s", failed) : 0;
}

const struct json *doctor_record(struct doctor *doctor)
{
	if (!doctor->record_asked && ask(doctor, &doctor->record_err) < 0) {
		json_free(doctor->record);
		doctor->record = NULL;
	}
	doctor->record_asked = true;
	return doctor->record;
}

/* The number of findings of this kind about a part; the first of them. */
static int count(
	const struct json *record, const char *part, bool problem, const struct json **ret_first)
{
	const struct json *findings = json_get(record, "findings");
	int found = 0;

	for (const struct json *m = json_first(findings); m; m = json_next(m)) {
		const char *of = json_string(json_get(m, "part"));

		if (!of || strcmp(of, part) != 0 || json_bool(json_get(m, "problem")) != problem)
			continue;
		if (!found++)
			*ret_first = m;
	}
	return found;
}

static char *advise(const struct json *finding, int number)
{
	const char *advice = json_string(json_get(finding, "advice"));

	if (number == 1)
		return mem_strdup(advice);
	return advice ? mem_printf("%s; %s", advice, MORE) : mem_strdup(MORE);
}

/* True: something was found of the part, and told. */
static bool tell(const struct json *record, const char *part, struct doctor_finding *ret)
{
	_cleanup_(freep) char *advice = NULL;
	const struct json *first = NULL;
	const char *text;
	bool problem = true;
	int number = count(record, part, true, &first);

	if (!number) {
		problem = false;
		number = count(record, part, false, &first);
	}
	if (!number)
		return false;
	advice = advise(first, number);
	text = json_string(json_get(first, "found"));
	if (problem && number > 1)
		doctor_problem(ret, advice, "%d problems; the first: %s", number, text);
	else if (problem)
		doctor_problem(ret, advice, "%s", text);
	else if (number > 1)
		doctor_note(ret, advice, "%d notes; the first: %s", number, text);
	else
		doctor_note(ret, advice, "%s", text);
	return true;
}

/* The report, unless the finding says why there is none or what is in it about the part. */
static const struct json *read_part(
	struct doctor *doctor, const char *part, struct doctor_finding *ret)
{
	const struct json *record;

	if (doctor->system && geteuid() != 0) {
		doctor_note(ret, "`sudo amlctl doctor` can look", "the system service's");
		return NULL;
	}
	record = doctor_record(doctor);
	if (!record) {
		doctor_problem(ret, NULL, "cannot look: %s", doctor->record_err.message);
		ret->blind = true;
		return NULL;
	}
	return tell(record, part, ret) ? NULL : record;
}

static int64_t number(const struct json *record, const char *part, const char *key)
{
	return json_int(json_get(json_get(record, part), key));
}

void doctor_check_database(struct doctor *doctor, struct doctor_finding *ret)
{
	const struct json *record = read_part(doctor, "database", ret);

	if (!record)
		return;
	if (!json_bool(json_get(json_get(record, "database"), "exists")))
		doctor_ok(ret, "none yet");
	else
		doctor_ok(ret, "format %lld, %lld runs, %lld of them not over",
			(long long)number(record, "database", "format"),
			(long long)number(record, "database", "runs"),
			(long long)number(record, "database", "live_runs"));
}

void doctor_check_blobs(struct doctor *doctor, struct doctor_finding *ret)
{
	const struct json *record = read_part(doctor, "blobs", ret);
	_cleanup_(freep) char *size = size_text(number(record, "blobs", "bytes"));
	_cleanup_(freep) char *spare = size_text(number(record, "blobs", "unreferenced_bytes"));

	if (!record)
		return;
	doctor_ok(ret, "%lld (%s)%s; %lld (%s) that no run refers to",
		(long long)number(record, "blobs", "count"), size,
		doctor->quick ? ", not read" : ", each as its digest says",
		(long long)number(record, "blobs", "unreferenced"), spare);
}

void doctor_check_runs(struct doctor *doctor, struct doctor_finding *ret)
{
	const struct json *record = read_part(doctor, "runs", ret);

	if (record)
		doctor_ok(ret, "%lld folders", (long long)number(record, "runs", "folders"));
}
