/* SPDX-License-Identifier: MIT */
/*
 * doctor - is everything there that amlagent needs, and what to do about what is not
 *
 *	install.c   what is installed: programs, configuration, socket and daemon, Python
 *	service.c   the system service: its units, groups, GPUs
 *	state.c     the state folder: where, whose, on what, how much room
 *	files.c     what its file system can do, tried in a temporary folder inside
 *	machine.c   kernel, limits, cgroups, clock
 *	record.c    database, blobs and run folders, as `amlagentd --check-state` sees them
 *	program.c   starts programs and reads what they print
 *	mount.c     what is mounted where
 *	cmd_doctor.c       the table of checks, and printing
 *
 * A check looks at one thing and fills in one finding. It starts no daemon and leaves nothing
 *behind. Checks are made in the order of the table; what one has found out lies in `struct doctor`
 *for those after it. Threads: one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/command.h"
#include "common/json.h"
#include "common/strbuf.h"

enum doctor_result {
	DOCTOR_OK,
	DOCTOR_NOTE,    /* worth knowing; nothing is wrong */
	DOCTOR_PROBLEM, /* something does not work, or something will be lost */
};

struct doctor_finding {
	enum doctor_result result;
	bool blind;   /* a problem: it could not be looked at */
	char *found;  /* one line */
	char *advice; /* what to do; NULL: nothing */
};

struct doctor {
	struct cli *cli;
	bool quick;          /* do not read the blobs */
	char *amlagentd;     /* NULL: not found */
	char *socket;        /* that answered, or would be used first */
	char *state_dir;     /* absolute */
	bool system;         /* it is the system service's */
	bool state_exists;   /* and can be looked into */
	struct json *status; /* of the daemon; NULL: none answers */
	int connected;       /* 0, or why it does not answer */
	struct error connect_err;
	struct json *record; /* of --check-state; NULL: none */
	bool record_asked;
	struct error record_err; /* why there is none */
};

/* Fill in a finding. The advice of the last two may be NULL. */
void doctor_ok(struct doctor_finding *finding, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void doctor_note(struct doctor_finding *finding, const char *advice, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void doctor_problem(struct doctor_finding *finding, const char *advice, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* install.c. doctor_meet() is first: is there a daemon, which state folder is it about? */
void doctor_meet(struct doctor *doctor);
void doctor_release(struct doctor *doctor);
void doctor_check_programs(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_configuration(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_socket(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_python(struct doctor *doctor, struct doctor_finding *ret);

/* The configuration that the daemon reads, there or not; malloc'ed. */
char *doctor_config_path(const struct doctor *doctor);

/* service.c */
void doctor_check_service(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_groups(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_gpus(struct doctor *doctor, struct doctor_finding *ret);

/* state.c */
void doctor_check_state_folder(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_space(struct doctor *doctor, struct doctor_finding *ret);

/* files.c */
void doctor_check_file_system(struct doctor *doctor, struct doctor_finding *ret);

/* machine.c */
void doctor_check_kernel(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_limits(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_cgroups(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_clock(struct doctor *doctor, struct doctor_finding *ret);

/* record.c */
void doctor_check_database(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_blobs(struct doctor *doctor, struct doctor_finding *ret);
void doctor_check_runs(struct doctor *doctor, struct doctor_finding *ret);
/* What --check-state says, asked once; NULL with doctor->record_err set. */
const struct json *doctor_record(struct doctor *doctor);

/*
 * program.c: run argv to its end and take what it prints on stdout; quiet: stderr goes to
 * /dev/null, else where ours does. timeout_ms -1: as long as it takes. The exit status, or a
 * negative errno: -ETIMEDOUT, -EFBIG (too much), -ECHILD (a signal ended it), or why it could not
 * be started.
 */
int doctor_program(char *const *argv, bool quiet, int timeout_ms, struct strbuf *ret);

/* mount.c: the mount that a path is on. */
struct doctor_mount {
	char *type;    /* "ext4", "fuse.sshfs" */
	char *options; /* "rw,relatime" */
};
int doctor_mount_of(const char *path, struct doctor_mount *ret);
/* Where the first file system of this type is mounted; NULL: nowhere. */
char *doctor_mount_point(const char *type);
void doctor_mount_release(struct doctor_mount *mount);
