/* SPDX-License-Identifier: MIT */
/*
 * git_info_driver - what git_info_read() says of a directory; for test_git_info.py
 *
 *	git_info_driver HELPER DIRECTORY [TIMES]
 *
 * HELPER "-" means none. Prints records, each ended by a NUL: p KEY=VALUE for a property, w TEXT
 * for a warning, and last d SIZE and the bytes of the patch, where there is one. With TIMES it
 *reads so often, and prints the microseconds that one reading took instead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/git_info.h"
#include "common/clock.h"

static void print_info(const struct git_info *info)
{
	for (size_t i = 0; i < info->properties.count; i++)
		printf("p %s=%s%c", info->properties.items[i].key, info->properties.items[i].value,
			0);
	for (size_t i = 0; info->warnings && info->warnings[i]; i++)
		printf("w %s%c", info->warnings[i], 0);
	if (!info->patch)
		return;
	printf("d %zu%c", info->patch_size, 0);
	fwrite(info->patch, 1, info->patch_size, stdout);
}

int main(int argc, char **argv)
{
	const char *helper = argc > 2 && strcmp(argv[1], "-") != 0 ? argv[1] : NULL;
	int times = argc > 3 ? atoi(argv[3]) : 1;
	int64_t start = clock_boot();

	if (argc < 3)
		return 2;
	for (int i = 0; i < times; i++) {
		struct git_info info;

		git_info_read(helper, NULL, argv[2], environ, &info);
		if (argc == 3)
			print_info(&info);
		git_info_release(&info);
	}
	if (argc > 3 && times > 0)
		printf("%.1f\n", (double)(clock_boot() - start) / times);
	return ferror(stdout) ? 1 : 0;
}
