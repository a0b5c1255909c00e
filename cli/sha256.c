/* SPDX-License-Identifier: MIT */
/* sha256 - SHA-256, libcrypto's, loaded when it is needed; see sha256.h */
#include "cli/sha256.h"

#include <dlfcn.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"

#define LIBRARY "libcrypto.so.3"

struct sha256 {
	EVP_MD_CTX *context;
};

static struct {
	__typeof__(EVP_MD_CTX_new) *context_new;
	__typeof__(EVP_MD_CTX_free) *context_free;
	__typeof__(EVP_sha256) *sha256;
	__typeof__(EVP_DigestInit_ex) *init;
	__typeof__(EVP_DigestUpdate) *update;
	__typeof__(EVP_DigestFinal_ex) *final;
} evp;

static const struct {
	const char *name;
	void *to;
} functions[] = {
	{ "EVP_MD_CTX_new", &evp.context_new },
	{ "EVP_MD_CTX_free", &evp.context_free },
	{ "EVP_sha256", &evp.sha256 },
	{ "EVP_DigestInit_ex", &evp.init },
	{ "EVP_DigestUpdate", &evp.update },
	{ "EVP_DigestFinal_ex", &evp.final },
};

static int load(struct error *err)
{
	void *library = evp.final ? NULL : dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (evp.final)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		void *symbol = library ? dlsym(library, functions[i].name) : NULL;

		if (!symbol)
			return error_set(err, -ENOENT, LIBRARY,
				"cannot verify what is downloaded: %s; install libssl3", dlerror());
		memcpy(functions[i].to, &symbol, sizeof(symbol));
	}
	return 0;
}

int sha256_new(struct sha256 **ret, struct error *err)
{
	struct sha256 *sum;
	int r = load(err);

	if (r < 0)
		return r;
	sum = NEW(struct sha256);
	sum->context = evp.context_new();
	if (!sum->context || evp.init(sum->context, evp.sha256(), NULL) != 1)
		abort(); /* for want of memory only */
	*ret = sum;
	return 0;
}

void sha256_update(struct sha256 *sum, const void *data, size_t size)
{
	if (evp.update(sum->context, data, size) != 1)
		abort();
}

void sha256_finish(struct sha256 *sum, char ret[static SHA256_TEXT_SIZE])
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	unsigned size = 0;
	char *to = ret + sprintf(ret, "sha256:");

	if (evp.final(sum->context, bytes, &size) != 1)
		abort();
	for (unsigned i = 0; i < size && i < 32; i++)
		to += sprintf(to, "%02x", bytes[i]);
}

void sha256_free(struct sha256 *sum)
{
	if (!sum)
		return;
	evp.context_free(sum->context);
	free(sum);
}
