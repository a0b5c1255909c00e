/* SPDX-License-Identifier: MIT */
/* blobs - the store, and what history refers to in it; see internal.h */
#include <errno.h>
#include <string.h>

#include "check/internal.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"
#include "store/manifest.h"

/* A larger one was never made (capture/snapshot.h). */
#define MANIFEST_MAX ((size_t)256 << 20)

static void on_fault(void *data, enum store_fault fault, const char *name, int error)
{
	struct checking *c = data;

	switch (fault) {
	case STORE_FAULT_STRANGE:
		check_note(c, CHECK_BLOBS, mem_printf("blobs/sha256/%s is no blob", name),
			"amlagentd did not make it: whoever did may remove it");
		return;
	case STORE_FAULT_WRITABLE:
		check_note(c, CHECK_BLOBS, mem_printf("blobs/sha256/%s can be written to", name),
			"a crash may leave that, and nothing is lost; chmod 444 it");
		return;
	case STORE_FAULT_UNREADABLE:
		check_problem(c, CHECK_BLOBS,
			mem_printf("blobs/sha256/%s cannot be read: %s", name, strerror(-error)),
			error == -EACCES ? "chmod 444 it"
					 : "the disk may be failing: `dmesg` says more");
		return;
	case STORE_FAULT_DAMAGED:
		strv_add(&c->damaged, name);
		return;
	}
}

int check_blobs_open(struct checking *c)
{
	_cleanup_(freep) char *path = path_join(c->options->state_dir, "blobs");
	int r = store_check_open(path, on_fault, c, &c->store);

	if (r < 0 && r != -ENOENT)
		return error_errno(&c->err, r, path, "cannot look into %s", path);
	return 0;
}

int check_blobs_read(struct checking *c)
{
	struct store_check_progress progress = { .tell = check_report_progress };

	if (!c->store || c->options->quick)
		return 0;
	store_check_bytes(c->store, &progress);
	check_report_progress_end();
	c->report.blobs_read = true;
	return 0;
}

/* ---- who needs what ---- */

static struct check_ailing *find_ailing(const struct checking *c, const struct digest *digest)
{
	for (size_t i = 0; i < c->ailing_count; i++)
		if (digest_equal(&c->ailing[i].digest, digest))
			return &c->ailing[i];
	return NULL;
}

/* Many runs share a blob: it ails once. */
static void ails(struct checking *c, const struct digest *digest, enum check_ailment ailment,
	const char *user)
{
	struct check_ailing *known = find_ailing(c, digest);

	if (known) {
		known->users++;
		return;
	}
	if (c->ailing_count == CHECK_AILING_MAX) {
		c->ailing_more++;
		return;
	}
	GROW(c->ailing, c->ailing_count, c->ailing_room);
	c->ailing[c->ailing_count++] =
		(struct check_ailing){ *digest, ailment, mem_strdup(user), 1 };
}

static void refer(struct checking *c, const struct digest *digest, uint64_t size, const char *user)
{
	uint64_t found = 0;
	int r = c->store ? store_check_refer(c->store, digest, &found) : -ENOENT;

	if (r == -ENOENT)
		ails(c, digest, AILS_MISSING, user);
	else if (r == -EBADMSG)
		ails(c, digest, AILS_DAMAGED, user);
	else if (found != size)
		ails(c, digest, AILS_SIZE, user);
}

static void on_artifact(void *data, const char *run_id, const struct artifact *artifact)
{
	static const struct digest not_known_yet;
	struct checking *c = data;
	_cleanup_(freep) char *user = NULL;

	if (digest_equal(&artifact->digest, &not_known_yet))
		return;
	user = mem_printf("%s of run %s", artifact->path, run_id);
	refer(c, &artifact->digest, artifact->size, user);
}

int check_blobs_of_artifacts(struct checking *c)
{
	return history_check_artifacts(c->history, on_artifact, c);
}

static int refer_to_files(struct checking *c, const char *data, size_t size, const char *run_id)
{
	struct manifest_reader reader;
	struct manifest_entry entry;
	int r = manifest_open(&reader, data, size);

	while (r >= 0 && (r = manifest_next(&reader, &entry)) > 0) {
		_cleanup_(freep) char *user = NULL;

		if (entry.type != MANIFEST_FILE)
			continue;
		user = mem_printf("%s in the snapshot of run %s", entry.path, run_id);
		refer(c, &entry.digest, entry.size, user);
	}
	return r;
}

/* Of many runs with the same snapshot the first reads it. */
static int look_into(struct checking *c, const struct digest *snapshot, const char *run_id)
{
	_cleanup_(freep) char *data = NULL;
	size_t size;
	int r = c->store ? store_check_refer(c->store, snapshot, NULL) : -ENOENT;

	if (r >= 0)
		r = store_check_read(c->store, snapshot, MANIFEST_MAX, &data, &size);
	if (r == -EALREADY)
		return 0;
	if (r < 0)
		return r;
	if (refer_to_files(c, data, size, run_id) < 0)
		check_problem(c, CHECK_BLOBS,
			mem_printf("the snapshot of run %s is no list of files", run_id),
			"its source cannot be laid out again: delete the run");
	return 0;
}

void check_blobs_of_run(struct checking *c, const struct history_check_run *run)
{
	_cleanup_(freep) char *user = mem_printf("the snapshot of run %s", run->run_id);
	struct digest snapshot;
	int r;

	if (!run->snapshot_id)
		return;
	r = digest_parse(run->snapshot_id, &snapshot);
	if (r >= 0)
		r = look_into(c, &snapshot, run->run_id);
	if (r == -ENOENT || r == -EBADMSG)
		ails(c, &snapshot, r == -ENOENT ? AILS_MISSING : AILS_DAMAGED, user);
	else if (r < 0)
		check_problem(c, CHECK_BLOBS,
			mem_printf("%s cannot be read: %s", user, strerror(-r)), NULL);
}

/* ---- what that means ---- */

#define ADVICE_BLOB \
	"restore it from a copy of the state folder; without one these bytes are lost, and stored " \
	"anew only when they are submitted again"

static void report_ailing(struct checking *c, const struct check_ailing *ailing)
{
	static const struct {
		const char *what, *advice;
	} words[] = {
		[AILS_MISSING] = { "is missing", ADVICE_BLOB },
		[AILS_DAMAGED] = { "is damaged",
			"restore it from a copy of the state folder; without one, remove it, so that "
			"these bytes are stored anew when they are submitted again" },
		[AILS_SIZE] = { "has not the size that was recorded", ADVICE_BLOB },
	};
	_cleanup_(freep) char *more = NULL;
	char hex[DIGEST_HEX_SIZE + 1];

	if (ailing->users > 1)
		more = mem_printf(" and %llu more", (unsigned long long)ailing->users - 1);
	digest_format(&ailing->digest, hex);
	check_problem(c, CHECK_BLOBS,
		mem_printf("blobs/sha256/%.2s/%s %s; needed by %s%s", hex, hex,
			words[ailing->ailment].what, ailing->user, more ? more : ""),
		words[ailing->ailment].advice);
}

/* It would be taken for the bytes of its name when these are stored. */
static void report_unneeded(struct checking *c, const char *name)
{
	struct digest digest;

	if (digest_parse(name + strlen("ab/"), &digest) == 0 && find_ailing(c, &digest))
		return;
	check_problem(c, CHECK_BLOBS,
		mem_printf("blobs/sha256/%s is damaged%s", name,
			check_has_runs(c) ? "; no run refers to it" : ""),
		check_has_runs(c) ? "remove it" : "restore it from a copy of the state folder");
}

int check_blobs_conclude(struct checking *c)
{
	struct check_report *report = &c->report;

	for (size_t i = 0; i < c->ailing_count; i++)
		report_ailing(c, &c->ailing[i]);
	if (c->ailing_more)
		check_problem(c, CHECK_BLOBS,
			mem_printf("%llu more references to blobs that are missing or damaged",
				(unsigned long long)c->ailing_more),
			NULL);
	for (size_t i = 0; c->damaged && c->damaged[i]; i++)
		report_unneeded(c, c->damaged[i]);
	if (c->store)
		store_check_totals(c->store, &report->store);
	if (report->store.temporary && !report->in_use)
		check_note(c, CHECK_BLOBS,
			mem_printf("%llu files in blobs/tmp that a crash left",
				(unsigned long long)report->store.temporary),
			"the next daemon removes them");
	return 0;
}
