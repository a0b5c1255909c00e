/* SPDX-License-Identifier: MIT */
/* place - the folder of a chaos run, and the witness in it; see place.h */
#include "cli/chaos/place.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/chaos/job.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"

#define PIECE 65536

/* A short grace, so that a job which ignores SIGTERM holds its slot for a second only. */
static const char config_text[] = "max_running_runs = 8\n"
				  "stop_grace_seconds = 1\n"
				  "log_level = warning\n";

static int write_file(const char *path, const char *text, struct error *err)
{
	int r = file_replace(AT_FDCWD, path, text, strlen(text), 0600, FILE_NO_SYNC);

	return r < 0 ? error_errno(err, r, path, "cannot write %s", path) : 0;
}

static int fill(struct chaos_place *place, struct error *err)
{
	_cleanup_(freep) char *script = path_join(place->source, CHAOS_JOB_SCRIPT);
	int r;

	if (mkdir(place->source, 0700) < 0)
		return error_errno(err, -errno, place->source, "cannot make %s", place->source);
	place->witness_fd = open(place->witness, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	if (place->witness_fd < 0)
		return error_errno(err, -errno, place->witness, "cannot make %s", place->witness);
	r = write_file(script, chaos_job_script, err);
	return r < 0 ? r : write_file(place->config, config_text, err);
}

/* Absolute: the daemon's folder is "/". */
static char *make_folder(struct error *err)
{
	const char *base = getenv("TMPDIR");
	_cleanup_(freep) char *absolute = path_absolute(base && base[0] ? base : "/var/tmp");
	_cleanup_(freep) char *folder = NULL;

	if (!absolute) {
		error_set(err, -ENOENT, "TMPDIR", "the current folder is gone; change to another");
		return NULL;
	}
	folder = mem_printf("%s/amlagent-chaos-XXXXXX", absolute);
	if (!mkdtemp(folder)) {
		error_errno(err, -errno, absolute, "cannot make a folder in %s", absolute);
		return NULL;
	}
	return TAKE(folder);
}

int chaos_place_make(struct chaos_place *ret, struct error *err)
{
	char *folder = make_folder(err);
	int r;

	if (!folder)
		return err->code;
	*ret = (struct chaos_place){
		.folder = folder,
		.config = path_join(folder, "amlagentd.conf"),
		.log = path_join(folder, "amlagentd.log"),
		.source = path_join(folder, "source"),
		.witness = path_join(folder, "witness"),
		.socket = path_join(folder, "s"),
		.witness_fd = -EBADF,
	};
	r = fill(ret, err);
	if (r < 0) {
		tree_remove(AT_FDCWD, folder);
		chaos_place_release(ret);
	}
	return r;
}

int chaos_place_next_state(struct chaos_place *place, struct error *err)
{
	int r = place->state ? tree_remove(AT_FDCWD, place->state) : 0;

	if (r < 0)
		return error_errno(err, r, place->state, "cannot remove %s", place->state);
	free(place->state);
	place->state = mem_printf("%s/state-%d", place->folder, ++place->state_number);
	r = dir_make(place->state, 0700);
	return r < 0 ? error_errno(err, r, place->state, "cannot make %s", place->state) : 0;
}

struct chaos_witnessed *chaos_place_witnessed(struct chaos_place *place, int64_t number)
{
	while (number >= place->witnessed_room) {
		int64_t room = place->witnessed_room ? place->witnessed_room * 2 : 1024;

		place->witnessed =
			mem_realloc(place->witnessed, (size_t)room * sizeof(*place->witnessed));
		memset(place->witnessed + place->witnessed_room, 0,
			(size_t)(room - place->witnessed_room) * sizeof(*place->witnessed));
		place->witnessed_room = room;
	}
	return &place->witnessed[number];
}

static void take_line(struct chaos_place *place, const char *line)
{
	int64_t number;
	char what;

	if (sscanf(line, "%c %" SCNd64, &what, &number) != 2 || number < 0)
		return;
	if (what == 's')
		chaos_place_witnessed(place, number)->starts++;
	else
		chaos_place_witnessed(place, number)->said_all++;
}

int chaos_place_read_witness(struct chaos_place *place, struct error *err)
{
	char piece[PIECE + 1];

	for (;;) {
		ssize_t n = pread(place->witness_fd, piece, PIECE, place->witness_read);
		char *line = piece;

		if (n < 0)
			return error_errno(
				err, -errno, place->witness, "cannot read %s", place->witness);
		piece[n] = '\0';
		/* A job's line is one write(), so it is there whole or not at all. */
		for (char *end; (end = strchr(line, '\n')); line = end + 1)
			take_line(place, line);
		if (line == piece)
			return 0;
		place->witness_read += line - piece;
	}
}

/* Of a run that was ended before its end: nobody else will. */
static void remove_cgroup(const char *runs, const char *run_id)
{
	_cleanup_(freep) char *path = mem_printf("%s/%s/%s", runs, run_id, RUN_DIR_LAUNCH);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct run_launch launch;
	const char *name;

	if (file_read(AT_FDCWD, path, RUN_DIR_FILE_MAX, &text) < 0 ||
		run_launch_parse(text.data ? text.data : "", text.size, &launch) < 0)
		return;
	name = launch.cgroup ? strrchr(launch.cgroup, '/') : NULL;
	if (name && !strcmp(name + 1, run_id))
		rmdir(launch.cgroup);
	run_launch_release(&launch);
}

static void remove_cgroups(const char *state)
{
	_cleanup_(freep) char *runs = path_join(state, "runs");
	_cleanup_(closedirp) DIR *dir = opendir(runs);

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (entry->d_name[0] != '.')
			remove_cgroup(runs, entry->d_name);
}

void chaos_place_end(const struct chaos_place *place)
{
	if (place->state)
		remove_cgroups(place->state);
}

int chaos_place_remove(struct chaos_place *place, struct error *err)
{
	int r = tree_remove(AT_FDCWD, place->folder);

	return r < 0 ? error_errno(err, r, place->folder, "cannot remove %s", place->folder) : 0;
}

void chaos_place_release(struct chaos_place *place)
{
	fd_close(place->witness_fd);
	free(place->folder);
	free(place->config);
	free(place->log);
	free(place->source);
	free(place->witness);
	free(place->socket);
	free(place->state);
	free(place->witnessed);
	*place = (struct chaos_place){ .witness_fd = -EBADF };
}
