/* SPDX-License-Identifier: MIT */
/*
 * git_url - a remote's URL without its credentials
 *
 * URLs of remotes end up in records that others read, and people paste tokens into them:
 *
 *	https://ana:secret@host/r.git    https://host/r.git     http, ftp, ...: a name alone is
 *often https://token@host/r.git         https://host/r.git     a token, so it goes too
 *	https://host/r.git?token=secret  https://host/r.git
 *	ssh://git:secret@host/r.git      ssh://git@host/r.git   the name is part of the address
 *	git:secret@host:r.git            git@host:r.git
 *	helper::https://t@host/r.git     helper::https://host/r.git
 *	ext::ssh -p secret host          ext::
 *	git@host:r.git, /srv/a@b:c.git   as they are
 *
 * When in doubt more is taken away. Pure; any bytes.
 */
#pragma once

/* malloc'ed, never longer than url. */
char *git_url_strip(const char *url) __attribute__((returns_nonnull));
