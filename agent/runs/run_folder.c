/* SPDX-License-Identifier: MIT */
/* run_folder - what a run directory says, as the daemon reads it; see run_folder.h */
#include "runs/run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/utf8.h"

#define RECORD_MAX 65536

/* 1, 0, or a negative errno: it cannot be told. */
static int is_there(int dirfd, const char *name)
{
	if (faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

static int read_exit(int dirfd, struct run_exit *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = file_read(dirfd, RUN_DIR_EXIT, RECORD_MAX, &text);

	return r < 0 ? r : run_exit_parse(text.data, text.size, ret);
}

int run_folder_status(int dirfd, struct run_status *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = file_read(dirfd, RUN_DIR_STATUS, RECORD_MAX, &text);

	return r < 0 ? r : run_status_parse(text.data, text.size, ret);
}

bool run_folder_is_locked(int dirfd)
{
	_cleanup_(closep) int fd = openat(dirfd, RUN_DIR_LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fd < 0)
		return errno != ENOENT;
	return fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

/* We would not understand what it goes on to write. */
static bool is_newer(int dirfd)
{
	struct run_status status = { 0 };
	int r = run_folder_status(dirfd, &status);

	if (r >= 0)
		run_status_release(&status);
	return r == -EPROTONOSUPPORT;
}

static enum executor_found found_without_exit(int dirfd)
{
	int r = is_there(dirfd, RUN_DIR_STATUS);

	if (r < 0)
		return EXECUTOR_LIVES;
	return r ? EXECUTOR_LOST : EXECUTOR_NEVER_STARTED;
}

int run_folder_ask(int dirfd, enum executor_found *ret, struct run_exit *ret_exit)
{
	if (is_newer(dirfd))
		return -EPROTONOSUPPORT;
	if (run_folder_is_locked(dirfd)) {
		*ret = EXECUTOR_LIVES;
		return 0;
	}
	return run_folder_ask_ended(dirfd, ret, ret_exit);
}

int run_folder_ask_ended(int dirfd, enum executor_found *ret, struct run_exit *ret_exit)
{
	int r = FAIL_POINT(FAIL_FINISH_READ_EXIT, read_exit(dirfd, ret_exit));
	if (r == -EPROTONOSUPPORT)
		return r;
	if (r == 0)
		*ret = EXECUTOR_ENDED;
	else if (r == -ENOENT)
		*ret = found_without_exit(dirfd);
	else /* damaged; or it cannot be read just now and is asked for again */
		*ret = r == -EBADMSG || r == -EFBIG ? EXECUTOR_LOST : EXECUTOR_LIVES;
	return 0;
}

/* Its beginning, record by record. */
static char *readable(const char *data, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;

	for (size_t i = 0; i < size; i++)
		strbuf_addc(&line, (unsigned char)data[i] < ' ' ? ' ' : data[i]);
	while (line.size && line.data[line.size - 1] == ' ')
		line.data[--line.size] = '\0';
	return line.size ? utf8_sanitize(line.data, line.size) : mem_strdup("");
}

char *run_folder_damaged_exit(int dirfd)
{
	static const char *const names[] = { RUN_DIR_EXIT, RUN_DIR_EXIT_DAMAGED };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
		struct run_exit exit;
		int r = file_read(dirfd, names[i], RECORD_MAX, &text);

		if (r == -EFBIG)
			return mem_strdup("");
		if (r >= 0 && run_exit_parse(text.data, text.size, &exit) == -EBADMSG)
			return readable(text.data, text.size);
	}
	return NULL;
}

static int64_t modified_us(int dirfd, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return st.st_mtim.tv_sec * USEC_PER_SEC + st.st_mtim.tv_nsec / 1000;
}

int64_t run_folder_last_sign_us(int dirfd)
{
	int64_t status_us = modified_us(dirfd, RUN_DIR_STATUS);
	int64_t log_us = modified_us(dirfd, RUN_DIR_LOG);

	return log_us > status_us ? log_us : status_us;
}

char *run_folder_last_words(int dirfd)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const char *line;

	if (file_read(dirfd, RUN_DIR_SUPERVISOR_LOG, RECORD_MAX, &text) < 0)
		return NULL;
	while (text.size && text.data[text.size - 1] == '\n')
		text.data[--text.size] = '\0';
	if (!text.size)
		return NULL;
	line = memrchr(text.data, '\n', text.size);
	line = line ? line + 1 : text.data;
	return utf8_sanitize(line, strlen(line));
}
