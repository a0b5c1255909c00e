/* SPDX-License-Identifier: MIT */
/*
 * test_gpu - GPUs found and looked at; see agent/gpu/gpu.h
 *
 * Device files that are on every machine and that nobody uses stand for GPUs: /dev/full, and for
 * root an unused loop device. NVML is tests/unit/fake_nvml.c.
 */
#include "test.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"
#include "gpu/gpu_internal.h"

#define ONE "/dev/full"
#define TWO "/dev/loop7"
#define UVM "/dev/random" /* stands for /dev/nvidia-uvm */

/* ---- finding: a list ---- */

static void expect_fault(const char *setting, int code, const char *words)
{
	struct gpus gpus = { .count = 77 };
	struct error err = ERROR_INIT;

	assert_int_equal(gpus_find(setting, &gpus, &err), code);
	assert_int_equal(err.code, code);
	assert_string_equal(err.target, "gpus");
	assert_non_null(strstr(err.message, words));
	assert_int_equal(gpus.count, 77);
}

static void list_names_devices_and_ids(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct stat st;

	(void)state;
	assert_int_equal(gpus_find(" " ONE " , " TWO " = GPU-5a1c/0/1 ", &gpus, NULL), 0);
	assert_int_equal(gpus.count, 2);
	assert_string_equal(gpus.items[0].id, "0");
	assert_string_equal(gpus.items[0].device, ONE);
	assert_int_equal(stat(ONE, &st), 0);
	assert_int_equal(gpus.items[0].rdev, st.st_rdev);
	assert_null(gpus.items[0].name);
	assert_int_equal(gpus.items[0].memory_bytes, 0);
	assert_string_equal(gpus.items[1].id, "GPU-5a1c/0/1");
	assert_null(gpus.nvml);
}

static void list_that_is_wrong_is_refused_with_a_reason(void **state)
{
	(void)state;
	expect_fault("/dev/there_is_no_such_gpu", -ENOENT, "/dev/there_is_no_such_gpu");
	expect_fault(ONE ",/etc/passwd", -ENODEV, "/etc/passwd is no device file");
	expect_fault(ONE "," ONE, -EINVAL, "twice");
	expect_fault(ONE "=a," TWO "=a", -EINVAL, "have one id: a");
	expect_fault(ONE "=1," TWO, -EINVAL, "have one id: 1");
	expect_fault(ONE "=a b", -EINVAL, "no id");
	expect_fault(ONE "=", -EINVAL, "no id");
	expect_fault(ONE ",", -EINVAL, "no absolute path");
	expect_fault("full", -EINVAL, "no absolute path");
	expect_fault("", -EINVAL, "no absolute path");
}

static void none_is_none(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct gpu_holder holder = { .pid = 7 };

	(void)state;
	assert_int_equal(gpus_find("none", &gpus, NULL), 0);
	assert_int_equal(gpus.count, 0);
	assert_int_equal(gpus_look(&gpus, &holder), 0);
	assert_int_equal(holder.pid, 7);
}

/* ---- finding: what the driver says ---- */

static void information_is_read(void **state)
{
	static const char text[] = "Model: \t\t NVIDIA H200\n"
				   "IRQ:   \t\t 167\n"
				   "GPU UUID: \t GPU-4d1b2f5e-0000-1111-2222-333344445555\n"
				   "Video BIOS: \t 96.00\n"
				   "Bus Location: \t 0000:07:00.0\n"
				   "Device Minor: \t 3\n"
				   "GPU Excluded:\t No\n";
	_cleanup_(gpu_information_release) struct gpu_information one = { 0 }, two = { 0 };
	static const char early[] = "GPU UUID: GPU-?\?\?\?-?\?\r\n"
				    "Device Minor: 255\nDevice Minor: 12x\nGPU Excluded: Yes\n"
				    "Model:\nno colon\n:\n";

	(void)state;
	gpu_information_parse(text, sizeof(text) - 1, &one);
	assert_string_equal(one.model, "NVIDIA H200");
	assert_string_equal(one.uuid, "GPU-4d1b2f5e-0000-1111-2222-333344445555");
	assert_int_equal(one.minor, 3);
	assert_false(one.excluded);
	gpu_information_parse(early, sizeof(early) - 1, &two);
	assert_null(two.uuid);
	assert_null(two.model);
	assert_int_equal(two.minor, -1);
	assert_true(two.excluded);
}

static void write_information(const char *dir, const char *name, const char *text)
{
	_cleanup_(freep) char *folder = path_join(dir, name);
	_cleanup_(freep) char *path = path_join(folder, "information");

	assert_int_equal(dir_make(folder, 0755), 0);
	assert_int_equal(file_replace(AT_FDCWD, path, text, strlen(text), 0644, FILE_NO_SYNC), 0);
}

static void gpus_of_the_driver_are_in_the_order_of_the_bus(void **state)
{
	char dir[] = "/tmp/test_gpu.XXXXXX";
	_cleanup_(gpus_release) struct gpus gpus = { 0 };

	(void)state;
	assert_non_null(mkdtemp(dir));
	write_information(dir, "0000:b1:00.0", "Model: B\nDevice Minor: 0\n");
	write_information(dir, "0000:07:00.0", "Model: A\nGPU UUID: GPU-a\nDevice Minor: 1\n");
	write_information(dir, "0000:08:00.0", "Model: X\nDevice Minor: 2\nGPU Excluded: Yes\n");
	write_information(dir, "0000:09:00.0", "nothing of use\n");
	assert_int_equal(gpus_find_by_driver(dir, "/nowhere", &gpus), 0);
	tree_remove(AT_FDCWD, dir);
	assert_int_equal(gpus.count, 2);
	assert_string_equal(gpus.items[0].id, "GPU-a");
	assert_string_equal(gpus.items[0].name, "A");
	assert_string_equal(gpus.items[0].device, "/nowhere/nvidia1");
	assert_int_equal(gpus.items[0].rdev, makedev(195, 1));
	assert_string_equal(gpus.items[1].id, "1");
	assert_string_equal(gpus.items[1].name, "B");
	assert_int_equal(gpus_find_by_driver("/nowhere", "/nowhere", &gpus), -ENOENT);
}

static void gpus_by_name_are_character_devices(void **state)
{
	char dir[] = "/tmp/test_gpu.XXXXXX";
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	_cleanup_(freep) char *file = NULL, *link = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	file = mem_printf("%s/nvidia0", dir);
	link = mem_printf("%s/nvidia12", dir);
	assert_int_equal(file_replace(AT_FDCWD, file, "", 0, 0644, FILE_NO_SYNC), 0);
	assert_int_equal(symlink(ONE, link), 0);
	assert_int_equal(gpus_find_by_name(dir, &gpus), 0);
	tree_remove(AT_FDCWD, dir);
	assert_int_equal(gpus.count, 1);
	assert_string_equal(gpus.items[0].device, link);
	assert_string_equal(gpus.items[0].id, "0");
}

/* ---- looking ---- */

/* A child that has what it was asked for, and waits to be killed. */
struct child {
	pid_t pid;
	int ready;
};

enum has { OPEN = 1, MAPPED = 2, HAS_UVM = 4, OF_A_RUN = 8, OTHER_USER = 16 };

static void be_child(const char *device, enum has has, int ready)
{
	int fd = has & (OPEN | MAPPED) ? open(device, O_RDONLY | O_CLOEXEC) : -1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "test holder");
	if (has & MAPPED) {
		if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
			_exit(1);
		close(fd);
	} else if (has & OPEN && fd < 0) {
		_exit(1);
	}
	if (has & HAS_UVM && open(UVM, O_RDONLY) < 0)
		_exit(1);
	if (has & OTHER_USER && setuid(65534) < 0)
		_exit(1);
	if (write(ready, "x", 1) == 1)
		pause();
	_exit(1);
}

/* Only execve() gives a process the environment that the kernel shows of it. */
static void be_child_of_a_run(const char *device, int ready)
{
	_cleanup_(freep) char *script =
		mem_printf("exec 9<%s; echo x >&%d; while read -r _; do :; done", device, ready);
	_cleanup_(strv_freep) char **env = NULL;

	strv_addf(&env, "PATH=/usr/bin:/bin");
	strv_addf(&env, RUN_DIR_VARIABLE "=/var/lib/amlagent/runs/x");
	fcntl(ready, F_SETFD, 0);
	execve("/bin/sh", (char *[]){ (char *)"sh", (char *)"-c", script, NULL }, env);
	_exit(1);
}

static struct child child_start(const char *device, enum has has)
{
	struct child child;
	int ends[2], life[2];
	char byte;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(pipe2(life, O_CLOEXEC), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (child.pid == 0) {
		dup2(life[0], STDIN_FILENO);
		close(life[1]);
		if (has & OF_A_RUN)
			be_child_of_a_run(device, ends[1]);
		be_child(device, has, ends[1]);
	}
	close(ends[1]);
	close(life[0]);
	assert_int_equal(read(ends[0], &byte, 1), 1); /* it has all */
	close(ends[0]);
	child.ready = life[1];
	return child;
}

static void child_end(struct child *child)
{
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	close(child->ready);
}

static void find(const char *setting, struct gpus *ret)
{
	struct error err = ERROR_INIT;

	if (gpus_find(setting, ret, &err) < 0)
		fail_msg("%s", err.message);
}

static void open_device_has_a_holder(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	const struct passwd *user = getpwuid(getuid());
	struct gpu_holder holders[2];
	struct child child;

	(void)state;
	find(ONE "," TWO, &gpus);
	assert_true(gpus_look(&gpus, holders) >= 0);
	assert_int_equal(holders[0].pid, 0);
	assert_int_equal(holders[1].pid, 0);
	child = child_start(ONE, OPEN);
	assert_true(gpus_look(&gpus, holders) >= 0);
	assert_int_equal(holders[0].pid, child.pid);
	assert_int_equal(holders[0].uid, getuid());
	if (user)
		assert_string_equal(holders[0].user, user->pw_name);
	assert_string_equal(holders[0].command, "test holder");
	assert_int_equal(holders[1].pid, 0);
	child_end(&child);
	assert_true(gpus_look(&gpus, holders) >= 0);
	assert_int_equal(holders[0].pid, 0);
}

static void mapped_device_has_a_holder(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct gpu_holder holders[2];
	struct child child;

	(void)state;
	if (getuid() != 0)
		skip();
	find(ONE "," TWO, &gpus);
	child = child_start(TWO, MAPPED);
	assert_true(gpus_look(&gpus, holders) >= 0);
	child_end(&child);
	assert_int_equal(holders[0].pid, 0);
	assert_int_equal(holders[1].pid, child.pid);
}

static void device_under_another_name_has_a_holder(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	const char *name = "/dev/test_gpu_other_name";
	struct gpu_holder holder;
	struct child child;
	struct stat st;

	(void)state;
	if (getuid() != 0 || stat(ONE, &st) < 0)
		skip();
	assert_int_equal(mknod(name, S_IFCHR | 0600, st.st_rdev), 0);
	find(ONE, &gpus);
	child = child_start(name, OPEN);
	unlink(name);
	assert_true(gpus_look(&gpus, &holder) >= 0);
	child_end(&child);
	assert_int_equal(holder.pid, child.pid);
}

/* As a process that may not be traced, it is root's by the looks of /proc. */
static void holder_is_the_user_that_runs_it(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct gpu_holder holder;
	struct child child;

	(void)state;
	if (getuid() != 0)
		skip();
	find(ONE, &gpus);
	child = child_start(ONE, OPEN | OTHER_USER);
	assert_true(gpus_look(&gpus, &holder) >= 0);
	child_end(&child);
	assert_int_equal(holder.uid, 65534);
	assert_string_equal(holder.user, "nobody");
}

/* In a process that is nobody: it may not look into root's. */
static void what_may_not_be_seen_is_counted(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct child child;
	int status;
	pid_t pid;

	(void)state;
	if (getuid() != 0)
		skip();
	find(ONE, &gpus);
	child = child_start(ONE, OPEN);
	pid = fork();
	if (pid == 0) {
		struct gpu_holder holder;

		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(2);
		_exit(gpus_look(&gpus, &holder) > 0 && !holder.pid ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	child_end(&child);
	assert_int_equal(status, 0);
}

static void processes_that_come_and_go_do_no_harm(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct gpu_holder holder;
	pid_t storm = fork();

	(void)state;
	if (storm == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			if (fork() == 0)
				_exit(0);
			wait(NULL);
		}
	}
	find(ONE, &gpus);
	for (int i = 0; i < 50; i++) {
		assert_true(gpus_look(&gpus, &holder) >= 0);
		assert_int_equal(holder.pid, 0);
	}
	kill(storm, SIGKILL);
	waitpid(storm, NULL, 0);
}

/* ---- NVML ---- */

static int load_fake_nvml(void **state)
{
	const char *build = getenv("AMLAGENT_BUILD_DIR");
	_cleanup_(freep) char *path = mem_printf("%s/tests/libnvidia-ml.so.1", build ? build : ".");

	/* Found by its name from now on. */
	*state = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	return *state ? 0 : -1;
}

static int unload_fake_nvml(void **state)
{
	static const char *const variables[] = { "FAKE_NVML_COUNT", "FAKE_NVML_MINORS",
		"FAKE_NVML_PIDS_0", "FAKE_NVML_PIDS_1" };

	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		unsetenv(variables[i]);
	return dlclose(*state);
}

static void nvml_knows_names_ids_and_memory(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };

	(void)state;
	setenv("FAKE_NVML_COUNT", "2", 1);
	setenv("FAKE_NVML_MINORS", "31", 1);
	find("auto", &gpus);
	assert_int_equal(gpus.count, 2);
	assert_string_equal(gpus.items[0].id, "GPU-fake-0");
	assert_string_equal(gpus.items[0].name, "Fake GPU 0");
	assert_string_equal(gpus.items[0].device, "/dev/nvidia3");
	assert_int_equal(gpus.items[0].rdev, makedev(195, 3));
	assert_int_equal(gpus.items[0].memory_bytes, 1ll << 30);
	assert_string_equal(gpus.items[1].id, "GPU-fake-1");
	assert_string_equal(gpus.items[1].device, "/dev/nvidia1");
	assert_int_equal(gpus.items[1].memory_bytes, 2ll << 30);
}

static void nvml_that_does_not_start_is_none(void **state)
{
	struct nvml *nvml = NULL;

	(void)state;
	assert_int_equal(nvml_open(&nvml), -ENOENT);
	assert_null(nvml);
}

/* Its GPUs, of which the first has the device file ONE and the second TWO. */
static void find_fake(struct gpus *ret)
{
	static const char *const devices[] = { ONE, TWO };
	struct stat st;

	setenv("FAKE_NVML_COUNT", "2", 1);
	find("auto", ret);
	assert_int_equal(ret->count, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(stat(devices[i], &st), 0);
		ret->items[i].rdev = st.st_rdev;
		mem_replace(&ret->items[i].device, devices[i]);
	}
}

static void set_pids(unsigned gpu, pid_t pid)
{
	_cleanup_(freep) char *name = mem_printf("FAKE_NVML_PIDS_%u", gpu);
	_cleanup_(freep) char *text = mem_printf("%d", (int)pid);

	setenv(name, text, 1);
}

static void process_that_the_driver_lists_is_a_holder(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct gpu_holder holders[2];
	struct child child;

	(void)state;
	find_fake(&gpus);
	child = child_start(ONE, HAS_UVM); /* it has no file open that we know of */
	set_pids(1, child.pid);
	assert_int_equal(gpus_look_beside(&gpus, UVM, holders), 0);
	child_end(&child);
	assert_int_equal(holders[0].pid, 0);
	assert_int_equal(holders[1].pid, child.pid);
	assert_string_equal(holders[1].command, "test holder");
}

static void listed_process_that_is_not_ours_to_see_is_a_holder(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct gpu_holder holders[2];

	(void)state;
	find_fake(&gpus);
	set_pids(0, 0x7ffffff0); /* larger than any pid */
	assert_int_equal(gpus_look_beside(&gpus, UVM, holders), 0);
	assert_int_equal(holders[0].pid, 0x7ffffff0);
	assert_string_equal(holders[0].command, "?");
	assert_string_equal(holders[0].user, "?");
}

static void long_list_of_the_driver_is_taken_whole(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct pid_list pids = { 0 };

	(void)state;
	find_fake(&gpus);
	for (int i = 1; i <= 500; i++)
		strbuf_addf(&text, "%d%s", i, i < 500 ? " " : "");
	setenv("FAKE_NVML_PIDS_0", text.data, 1);
	assert_int_equal(nvml_processes(gpus.nvml, &gpus.items[0], &pids), 0);
	assert_int_equal(pids.count, 500);
	assert_int_equal(pids.items[499], 500);
	free(pids.items);
}

/* Monitors, display servers, persistence daemons. */
static void who_only_watches_is_no_holder(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct gpu_holder holders[2];
	struct child child;

	(void)state;
	find_fake(&gpus);
	child = child_start(ONE, OPEN);
	assert_int_equal(gpus_look_beside(&gpus, UVM, holders), 0);
	assert_int_equal(holders[0].pid, 0);
	/* where there is no such file, every holder counts */
	assert_int_equal(gpus_look_beside(&gpus, "/dev/there_is_none", holders), 0);
	assert_int_equal(holders[0].pid, child.pid);
	child_end(&child);
}

static void worker_that_outlived_its_parent_is_a_holder(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct gpu_holder holders[2];
	struct child child;

	(void)state;
	find_fake(&gpus);
	child = child_start(ONE, OPEN | HAS_UVM);
	assert_int_equal(gpus_look_beside(&gpus, UVM, holders), 0);
	assert_int_equal(holders[0].pid, child.pid);
	/* one that the driver knows to compute elsewhere only looks at this one */
	set_pids(1, child.pid);
	assert_int_equal(gpus_look_beside(&gpus, UVM, holders), 0);
	assert_int_equal(holders[0].pid, 0);
	assert_int_equal(holders[1].pid, child.pid);
	/* where the driver does not say, the open files do */
	setenv("FAKE_NVML_PIDS_1", "-", 1);
	assert_true(gpus_look_beside(&gpus, UVM, holders) >= 0);
	assert_int_equal(holders[0].pid, child.pid);
	child_end(&child);
}

static void workers_of_our_runs_are_no_holders(void **state)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	struct gpu_holder holders[2];
	struct child child;

	(void)state;
	find_fake(&gpus);
	child = child_start(ONE, OF_A_RUN);
	assert_int_equal(gpus_look_beside(&gpus, "/dev/there_is_none", holders), 0);
	assert_int_equal(holders[0].pid, 0);
	/* but where the driver says that it computes */
	set_pids(0, child.pid);
	assert_int_equal(gpus_look_beside(&gpus, "/dev/there_is_none", holders), 0);
	assert_int_equal(holders[0].pid, child.pid);
	child_end(&child);
}

#define nvml_test(test) cmocka_unit_test_setup_teardown(test, load_fake_nvml, unload_fake_nvml)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list_names_devices_and_ids),
		cmocka_unit_test(list_that_is_wrong_is_refused_with_a_reason),
		cmocka_unit_test(none_is_none),
		cmocka_unit_test(information_is_read),
		cmocka_unit_test(gpus_of_the_driver_are_in_the_order_of_the_bus),
		cmocka_unit_test(gpus_by_name_are_character_devices),
		cmocka_unit_test(open_device_has_a_holder),
		cmocka_unit_test(mapped_device_has_a_holder),
		cmocka_unit_test(device_under_another_name_has_a_holder),
		cmocka_unit_test(holder_is_the_user_that_runs_it),
		cmocka_unit_test(what_may_not_be_seen_is_counted),
		cmocka_unit_test(processes_that_come_and_go_do_no_harm),
		nvml_test(nvml_knows_names_ids_and_memory),
		nvml_test(nvml_that_does_not_start_is_none),
		nvml_test(process_that_the_driver_lists_is_a_holder),
		nvml_test(listed_process_that_is_not_ours_to_see_is_a_holder),
		nvml_test(long_list_of_the_driver_is_taken_whole),
		nvml_test(who_only_watches_is_no_holder),
		nvml_test(worker_that_outlived_its_parent_is_a_holder),
		nvml_test(workers_of_our_runs_are_no_holders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
