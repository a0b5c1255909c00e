/* SPDX-License-Identifier: MIT */
/* service - the system service: its units, its groups, the GPUs that it gives out; see doctor.h */
#include <grp.h>
#include <string.h>

#include "cli/doctor/doctor.h"
#include "common/config.h"
#include "common/mem.h"

#define SYSTEMCTL "/bin/systemctl"
#define SYSTEMCTL_MS 10000
#define DAEMON_UNIT "amlagentd.service"
#define RUNS_UNIT "amlagent-runs.service"
/* What the daemon says of itself (agent/service.h). */
#define REFUSED "configuration refused"

/* ---- units ---- */

/* A property of a unit; NULL: systemd does not say. */
static char *property_of(const char *unit, const char *name)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	char *const argv[] = { SYSTEMCTL, "show", (char *)unit, "--property", (char *)name,
		"--value", NULL };

	if (doctor_program(argv, true, SYSTEMCTL_MS, &text) != 0 || !text.size)
		return NULL;
	text.data[strcspn(text.data, "\n")] = '\0';
	return strbuf_steal(&text);
}

static bool is_systemd_there(void)
{
	return access("/run/systemd/system", F_OK) == 0 && access(SYSTEMCTL, X_OK) == 0;
}

static void judge_units(const struct doctor *doctor, struct doctor_finding *ret)
{
	_cleanup_(freep) char *main_pid = property_of(DAEMON_UNIT, "MainPID");
	_cleanup_(freep) char *said = property_of(DAEMON_UNIT, "StatusText");
	_cleanup_(freep) char *runs = property_of(RUNS_UNIT, "ActiveState");
	long long pid = (long long)json_int(json_get(doctor->status, "pid"));
	const char *refused = said ? strstr(said, REFUSED) : NULL;

	if (refused)
		doctor_problem(ret, "correct it, then `systemctl reload amlagentd`", "%s", refused);
	else if (!main_pid || atoll(main_pid) != pid)
		doctor_note(ret, "`systemctl start amlagentd`, when this one has ended",
			"the daemon that answers (pid %lld) is not that of " DAEMON_UNIT, pid);
	else if (!runs || strcmp(runs, "active") != 0)
		doctor_note(ret,
			"`journalctl -u " RUNS_UNIT "` says why; it needs cgroup v2. Runs outlive "
			"the daemon all the same",
			RUNS_UNIT " is not there: runs share the daemon's cgroup, and no limits "
				  "hold for all of them together");
	else
		doctor_ok(ret, DAEMON_UNIT ", its runs in " RUNS_UNIT);
}

void doctor_check_service(struct doctor *doctor, struct doctor_finding *ret)
{
	const char *user = json_string(json_get(doctor->status, "user"));

	if (!doctor->status)
		doctor_ok(ret, "no daemon answers");
	else if (!doctor->system)
		doctor_ok(ret, "the daemon that answers is one user's (%s), not the system's",
			user ? user : "?");
	else if (!is_systemd_there())
		doctor_ok(ret, "the system's daemon, without systemd");
	else
		judge_units(doctor, ret);
}

/* ---- groups ---- */

static const char *missing_group(const struct config *config)
{
	const char *const names[] = { config->admin_group, config->users_group,
		config->share_with_group };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i][0] && !getgrnam(names[i]))
			return names[i];
	return NULL;
}

void doctor_check_groups(struct doctor *doctor, struct doctor_finding *ret)
{
	_cleanup_(freep) char *path = doctor_config_path(doctor);
	const char *missing, *you;
	struct config config;

	if (!doctor->system) {
		doctor_ok(ret, "one user's daemon serves him and root");
		return;
	}
	if (access(path, F_OK) < 0 || config_load(path, &config, NULL, NULL) < 0)
		config_default(&config); /* what is wrong with it is another check's */
	missing = missing_group(&config);
	you = json_bool(json_get(doctor->status, "admin")) ? " (you are one)" : "";
	if (missing)
		doctor_problem(ret, "make it (groupadd), or correct the configuration",
			"%s names the group \"%s\", and there is none", path, missing);
	else if (!config.admin_group[0])
		doctor_note(ret, "set admin_group to the group of those who look after the machine",
			"admins: root alone%s", you);
	else
		doctor_ok(ret, "admins: root and the group %s%s; served: %s", config.admin_group,
			you, config.users_group[0] ? config.users_group : "everybody");
}

/* ---- GPUs ---- */

static bool has_state(const struct json *gpu, const char *state)
{
	const char *is = json_string(json_get(gpu, "state"));

	return is && !strcmp(is, state);
}

void doctor_check_gpus(struct doctor *doctor, struct doctor_finding *ret)
{
	const struct json *gpus = json_get(doctor->status, "gpus");
	const char *reason = NULL;
	size_t count = json_size(gpus);
	size_t free_count = 0, aside = 0;

	for (const struct json *gpu = json_first(gpus); gpu; gpu = json_next(gpu)) {
		free_count += has_state(gpu, "free");
		aside += has_state(gpu, "aside");
		if (has_state(gpu, "aside") && !reason)
			reason = json_string(json_get(gpu, "reason"));
	}
	if (!doctor->status)
		doctor_ok(ret, "no daemon answers");
	else if (!count)
		doctor_ok(ret, "the daemon has found none to give out");
	else if (aside)
		doctor_note(ret, "they are given out by themselves when nobody uses them",
			"%zu, of which %zu free and %zu set aside: %s", count, free_count, aside,
			reason ? reason : "in use by others");
	else
		doctor_ok(ret, "%zu, of which %zu free", count, free_count);
}
