/* SPDX-License-Identifier: MIT */
/* gpu_look - who holds which GPU at this moment; see gpu.h */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/process.h"
#include "common/run_dir.h"
#include "common/utf8.h"
#include "gpu/gpu_internal.h"

#define ENVIRONMENT_MAX (4u << 20)

struct look {
	const struct gpus *gpus;
	struct gpu_holder *holders;
	int proc_fd;
	uint64_t uvm;           /* rdev of GPU_UVM_PATH; 0: there is none */
	struct pid_list listed; /* by the driver, on any GPU */
	bool driver_knows;      /* it told of every GPU */
	struct gpu_sights sights;
};

/* ---- one holder, for people ---- */

static void set_user(struct gpu_holder *holder)
{
	struct passwd entry, *found = NULL;
	char buffer[4096];

	/* No name to be had, or none that fits: the number is a name too. */
	if (getpwuid_r(holder->uid, &entry, buffer, sizeof(buffer), &found) == 0 && found &&
		strlen(entry.pw_name) < sizeof(holder->user))
		strcpy(holder->user, entry.pw_name);
	else
		snprintf(holder->user, sizeof(holder->user), "%u", holder->uid);
}

static void set_command(int proc_fd, struct gpu_holder *holder)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(freep) char *shown = NULL;
	char path[32];

	snprintf(path, sizeof(path), "%d/comm", (int)holder->pid);
	if (file_read(proc_fd, path, 256, &text) < 0 || text.size < 2)
		return;
	shown = utf8_sanitize(text.data, text.size - 1); /* its newline */
	if (strlen(shown) < sizeof(holder->command))
		strcpy(holder->command, shown);
}

/* The owner of /proc/PID is root's for one that may not be traced. */
static int read_uid(int proc_fd, pid_t pid, uid_t *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const char *line;
	char path[32];
	int r;

	snprintf(path, sizeof(path), "%d/status", (int)pid);
	r = file_read(proc_fd, path, 65536, &text);
	line = r < 0 ? NULL : strstr(text.data, "\nUid:");
	if (!line)
		return r < 0 ? r : -EBADMSG;
	*ret = (uid_t)strtoul(line + 5, NULL, 10);
	return 0;
}

/* -ESRCH, -ENOENT: there is no such process (any more). *ret is filled in as far as it goes. */
static int describe(int proc_fd, pid_t pid, struct gpu_holder *ret)
{
	int r;

	*ret = (struct gpu_holder){ .pid = pid, .uid = (uid_t)-1, .user = "?", .command = "?" };
	r = read_uid(proc_fd, pid, &ret->uid);
	if (r < 0)
		return r;
	set_user(ret);
	set_command(proc_fd, ret);
	return 0;
}

/* ---- what the driver says ---- */

static bool is_listed(const struct look *look, pid_t pid)
{
	for (size_t i = 0; i < look->listed.count; i++)
		if (look->listed.items[i] == pid)
			return true;
	return false;
}

static void ask_driver(struct look *look)
{
	const struct gpus *gpus = look->gpus;

	look->driver_knows = true;
	for (size_t i = 0; i < gpus->count; i++) {
		const struct gpu *gpu = &gpus->items[i];
		size_t before = look->listed.count;

		if (!gpu->nvml_device || nvml_processes(gpus->nvml, gpu, &look->listed) < 0)
			look->driver_knows = false;
		else if (look->listed.count > before) /* of another pid namespace, maybe */
			describe(look->proc_fd, look->listed.items[before], &look->holders[i]);
	}
}

/* ---- what /proc says ---- */

/* Its environment as it was at its start: a process that wants to be taken for a run's can be. It
 * gains that a GPU counts as free which it uses beside somebody else. */
static bool is_of_a_run(int proc_fd, pid_t pid)
{
	static const char name[] = RUN_DIR_VARIABLE "=";
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	char path[32];

	snprintf(path, sizeof(path), "%d/environ", (int)pid);
	if (file_read(proc_fd, path, ENVIRONMENT_MAX, &text) < 0)
		return false;
	for (size_t at = 0; at < text.size; at += strlen(text.data + at) + 1)
		if (!strncmp(text.data + at, name, sizeof(name) - 1))
			return true;
	return false;
}

/* Does a process that has an NVIDIA device file open compute with it? See gpu.h. */
static bool computes(const struct look *look, const struct gpu_sight *sight)
{
	if (look->uvm && !sight->has_uvm)
		return false;
	return !look->driver_knows ||
	       (!is_listed(look, sight->pid) && !is_of_a_run(look->proc_fd, sight->pid));
}

static void take_sight(struct look *look, const struct gpu_sight *sight)
{
	for (size_t i = 0; i < look->gpus->count; i++) {
		struct gpu_holder *holder = &look->holders[i];

		if (holder->pid || !gpu_sight_holds(sight, i))
			continue;
		if (gpu_is_nvidia(&look->gpus->items[i]) && !computes(look, sight))
			continue;
		if (describe(look->proc_fd, sight->pid, holder) < 0)
			*holder = (struct gpu_holder){ 0 }; /* it has ended */
	}
}

int gpus_look_beside(const struct gpus *gpus, const char *uvm_path, struct gpu_holder *ret)
{
	_cleanup_(closep) int proc_fd = process_open_list();
	struct look look = { .gpus = gpus, .holders = ret, .proc_fd = proc_fd };
	struct stat st;
	int r;

	if (proc_fd < 0)
		return proc_fd;
	if (!gpus->count)
		return 0;
	memset(ret, 0, gpus->count * sizeof(*ret));
	if (stat(uvm_path, &st) == 0 && S_ISCHR(st.st_mode))
		look.uvm = st.st_rdev;
	ask_driver(&look);
	r = gpu_scan(gpus, proc_fd, look.uvm, &look.sights);
	for (size_t i = 0; i < look.sights.count; i++)
		take_sight(&look, &look.sights.items[i]);
	free(look.sights.items);
	free(look.listed.items);
	if (r < 0)
		return r;
	return look.driver_knows ? 0 : (int)look.sights.unseen;
}

int gpus_look(const struct gpus *gpus, struct gpu_holder *ret)
{
	return gpus_look_beside(gpus, GPU_UVM_PATH, ret);
}
