/* SPDX-License-Identifier: MIT */
/* digest - SHA-256 as a value; see digest.h */
#include "common/digest.h"

#include <errno.h>

/* The one-algorithm functions, not EVP: they are the same code with the CPU's own instructions, but
 * do not load OpenSSL's configuration and providers, which cost two megabytes that an idle daemon
 * keeps. They are "deprecated" since 3.0 only in favour of the loadable providers that we do not
 * want. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include "common/mem.h"

struct digest_sum {
	SHA256_CTX context;
};

void digest_of(const void *data, size_t size, struct digest *ret)
{
	SHA256_CTX context; /* not SHA256(): that goes through EVP */

	SHA256_Init(&context);
	SHA256_Update(&context, data, size);
	SHA256_Final(ret->bytes, &context);
}

struct digest_sum *digest_sum_new(void)
{
	struct digest_sum *sum = NEW(struct digest_sum);

	SHA256_Init(&sum->context);
	return sum;
}

void digest_sum_update(struct digest_sum *sum, const void *data, size_t size)
{
	SHA256_Update(&sum->context, data, size);
}

void digest_sum_final(struct digest_sum *sum, struct digest *ret)
{
	SHA256_Final(ret->bytes, &sum->context);
	digest_sum_free(sum);
}

void digest_sum_free(struct digest_sum *sum)
{
	free(sum);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int digest_parse(const char *text, struct digest *ret)
{
	static const char prefix[] = "sha256:";
	struct digest digest;

	if (!strncmp(text, prefix, sizeof(prefix) - 1))
		text += sizeof(prefix) - 1;
	if (strlen(text) != DIGEST_HEX_SIZE)
		return -EINVAL;
	for (size_t i = 0; i < DIGEST_SIZE; i++) {
		int high = hex_value(text[2 * i]);
		int low = hex_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		digest.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*ret = digest;
	return 0;
}

void digest_format(const struct digest *digest, char ret[static DIGEST_HEX_SIZE + 1])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < DIGEST_SIZE; i++) {
		ret[2 * i] = digits[digest->bytes[i] >> 4];
		ret[2 * i + 1] = digits[digest->bytes[i] & 15];
	}
	ret[DIGEST_HEX_SIZE] = '\0';
}
