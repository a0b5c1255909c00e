/* SPDX-License-Identifier: MIT */
/* oom - the kernel's out-of-memory killer; see oom.h */
#include "supervisor/oom.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/file.h"

#define SCORE_ADJ "-900"

void oom_protect_self(void)
{
	_cleanup_(closep) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	/* Not allowed to most users: then not. */
	if (fd >= 0)
		(void)file_write_all(fd, SCORE_ADJ, strlen(SCORE_ADJ));
}

void oom_unprotect_self(void)
{
	_cleanup_(closep) int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	char text[16];

	if (fd >= 0 && read(fd, text, sizeof(text)) > 0 && text[0] == '-')
		(void)file_write_all(fd, "0", 1);
}

int64_t oom_kill_count(void)
{
	static const char key[] = "\noom_kill ";
	_cleanup_(closep) int fd = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	char text[16384];
	size_t size = 0;
	ssize_t n;
	const char *found;

	if (fd < 0)
		return -1;
	while (size < sizeof(text) - 1 && (n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
		size += (size_t)n;
	text[size] = '\0';
	found = strstr(text, key);
	return found ? strtoll(found + sizeof(key) - 1, NULL, 10) : -1;
}
