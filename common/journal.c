/* SPDX-License-Identifier: MIT */
/* journal - entries with fields of their own; see journal.h */
#include "common/journal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/cleanup.h"

#define SOCKET_PATH "/run/systemd/journal/socket"

bool journal_is_stderr(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;
	char end;

	if (!stream || sscanf(stream, "%llu:%llu%c", &device, &inode, &end) != 2)
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void journal_format(const struct journal_field *fields, size_t count, struct strbuf *ret)
{
	for (size_t i = 0; i < count; i++) {
		size_t size = fields[i].value ? strlen(fields[i].value) : 0;

		if (!fields[i].value)
			continue;
		strbuf_adds(ret, fields[i].name);
		strbuf_addc(ret, '\n');
		/* Its length: eight bytes, the lowest first. */
		for (int j = 0; j < 8; j++)
			strbuf_addc(ret, (char)((uint64_t)size >> (8 * j)));
		strbuf_add(ret, fields[i].value, size);
		strbuf_addc(ret, '\n');
	}
}

int journal_send(const struct journal_field *fields, size_t count)
{
	_cleanup_(strbuf_release) struct strbuf entry = STRBUF_INIT;
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = SOCKET_PATH };
	ssize_t n;

	if (fd < 0)
		return -errno;
	journal_format(fields, count, &entry);
	do
		n = sendto(fd, entry.data, entry.size, MSG_NOSIGNAL | MSG_DONTWAIT,
			(const struct sockaddr *)&address, sizeof(address));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}
