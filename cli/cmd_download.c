/* SPDX-License-Identifier: MIT */
/* cmd_download - amlctl download: artifacts, verified */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/artifact_list.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/output_file.h"
#include "cli/record.h"
#include "cli/sha256.h"
#include "cli/table.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/quantity.h"

struct download_options {
	const char *folder;
};

static const struct option_spec options_table[] = {
	{ 'o', "output", "DIR", "where to put them (default: .); made when it is not there",
		option_text, offsetof(struct download_options, folder) },
};

DEFINE_CLEANUP(struct sha256 *, sha256_free);

enum match { MATCH_NAME, MATCH_FOLDER, MATCH_BEGINNING, MATCH_KINDS };

static bool matches(const char *name, const char *asked, enum match kind)
{
	size_t size = strlen(asked);

	if (strncmp(name, asked, size))
		return false;
	switch (kind) {
	case MATCH_NAME:
		return !name[size];
	case MATCH_FOLDER:
		return name[size] == '/' || (size && asked[size - 1] == '/');
	default:
		return true;
	}
}

/* The artifact of this name; else those in the folder of this name; else those that begin so. */
static int choose(
	struct cli *cli, const struct artifact_list *list, const char *asked, bool *chosen)
{
	for (enum match kind = MATCH_NAME; kind < MATCH_KINDS; kind++) {
		bool found = false;

		for (size_t i = 0; i < list->count; i++)
			if (matches(list->items[i].name, asked, kind))
				chosen[i] = found = true;
		if (found)
			return 0;
	}
	return error_set(&cli->err, -ENOENT, asked,
		"the run has no artifact named \"%s\" or beginning so; `amlctl files` lists them",
		asked);
}

/* The bytes of one answer, into the file and the sum. */
static int receive(struct cli *cli, const struct listed_artifact *item, int fd, struct sha256 *sum)
{
	int r = client_send(&cli->client, "GET", item->href, NULL, &cli->err);

	if (r >= 0)
		r = client_head(&cli->client, &cli->err);
	while (r >= 0) {
		const char *piece = NULL;
		ssize_t n = client_body(&cli->client, &piece, &cli->err);

		if (n <= 0)
			return (int)n;
		sha256_update(sum, piece, (size_t)n);
		r = file_write_all(fd, piece, (size_t)n);
		if (r < 0)
			return error_errno(&cli->err, r, item->name, "cannot write %s", item->name);
	}
	return r;
}

static int verify(struct cli *cli, const struct listed_artifact *item, struct sha256 *sum)
{
	char text[SHA256_TEXT_SIZE];

	sha256_finish(sum, text);
	if (!item->digest || !strcmp(item->digest, text))
		return 0;
	return error_set(&cli->err, -EBADMSG, item->name,
		"%s is damaged: the bytes are %.19s..., not %.19s...; nothing was written",
		item->name, text, item->digest);
}

static int download_once(struct cli *cli, const struct listed_artifact *item, int root)
{
	_cleanup_(output_file_release) struct output_file file = OUTPUT_FILE_INIT;
	_cleanup_(sha256_freep) struct sha256 *sum = NULL;
	int r = sha256_new(&sum, &cli->err);

	if (r >= 0)
		r = output_file_open(&file, root, item->name, &cli->err);
	if (r >= 0)
		r = receive(cli, item, file.fd, sum);
	if (r >= 0)
		r = verify(cli, item, sum);
	return r < 0 ? r : output_file_commit(&file, item->modified_us, &cli->err);
}

static int download(struct cli *cli, const struct listed_artifact *item, int root)
{
	int r = download_once(cli, item, root);

	while (r == -ECONNRESET) {
		r = client_reconnect(&cli->client, &cli->err);
		if (r < 0)
			return r;
		r = download_once(cli, item, root);
	}
	return r;
}

/* A file below logs/ that is listed while the run goes on and came with the snapshot is no artifact at
 * the end, if the run has not changed it. An error when it is the run that is not there any more. */
static int skip(struct cli *cli, const struct listed_artifact *item, const char *shown)
{
	const char *end = strstr(item->href, "/artifacts/");
	_cleanup_(freep) char *target = mem_strndup(item->href, (size_t)(end - item->href));
	_cleanup_(json_freep) struct json *record = NULL;
	int r;

	cli->err = (struct error)ERROR_INIT;
	r = client_get(&cli->client, target, &record, &cli->err);
	if (r < 0)
		return r;
	say("%s is no artifact of the run, which has not changed it: skipped", shown);
	return 0;
}

/* 1: it was downloaded; 0: it was skipped. */
static int download_or_skip(struct cli *cli, const struct listed_artifact *item, int root)
{
	_cleanup_(strbuf_release) struct strbuf shown = STRBUF_INIT;
	int r = download(cli, item, root);

	text_escape(&shown, item->name);
	if (!item->digest && client_found_none(&cli->client, r))
		return skip(cli, item, shown.data);
	if (r < 0)
		return r;
	if (isatty(STDERR_FILENO))
		say("%s", shown.data);
	return 1;
}

static int download_chosen(struct cli *cli, const struct artifact_list *list, const bool *chosen,
	const char *folder, int root)
{
	_cleanup_(freep) char *total = NULL;
	int64_t bytes = 0;
	size_t count = 0;

	for (size_t i = 0; i < list->count; i++) {
		int r;

		if (!chosen[i])
			continue;
		r = download_or_skip(cli, &list->items[i], root);
		if (r < 0)
			return r;
		bytes += r ? list->items[i].size : 0;
		count += (size_t)r;
	}
	total = size_text(bytes);
	say("downloaded %zu file%s (%s) to %s", count, count == 1 ? "" : "s", total, folder);
	return EXIT_OK;
}

static int open_folder(struct cli *cli, const char *folder)
{
	int r = dir_make(folder, 0777);
	int fd = r < 0 ? r : open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	return error_errno(
		&cli->err, r < 0 ? r : -errno, folder, "cannot make the folder %s", folder);
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct download_options *options = data;
	const char *folder = options->folder ? options->folder : ".";
	_cleanup_(artifact_list_release) struct artifact_list list = { 0 };
	_cleanup_(freep) bool *chosen = NULL;
	_cleanup_(closep) int root = -EBADF;
	int r = artifact_list_get(&cli->client, operands[0], &list, &cli->err);

	if (r < 0)
		return r;
	chosen = mem_alloc(list.count + 1);
	for (size_t i = 1; operands[i] && r >= 0; i++)
		r = choose(cli, &list, operands[i], chosen);
	if (r < 0)
		return r;
	if (!operands[1])
		memset(chosen, true, list.count);
	root = open_folder(cli, folder);
	if (root < 0)
		return root;
	interrupt_catch();
	return download_chosen(cli, &list, chosen, folder, root);
}

const struct command cmd_download = {
	.name = "download",
	.synopsis = "RUN [NAME...]",
	.summary = "Download artifacts of a run",
	.details =
		"A NAME is an artifact; where there is none of that name, all that is in the folder\n"
		"NAME; else all whose names begin with NAME. Without NAMEs, all of them. The bytes are\n"
		"verified against the artifact's digest; a file appears whole or not at all.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct download_options),
	.operands_min = 1,
	.operands_max = -1,
	.run = run,
};
