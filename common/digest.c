/* SPDX-License-Identifier: MIT */
/* digest - SHA-256 as a value; see digest.h */
#include "common/digest.h"

#include <errno.h>
#include <openssl/evp.h>

#include "common/mem.h"

struct digest_sum {
	EVP_MD_CTX *context;
};

/* Fetched once: looking an algorithm up by name for each sum costs more than hashing a small file. */
static const EVP_MD *sha256(void)
{
	static EVP_MD *fetched;
	EVP_MD *md = __atomic_load_n(&fetched, __ATOMIC_ACQUIRE);

	if (!md) {
		EVP_MD *expected = NULL;

		md = EVP_MD_fetch(NULL, "SHA256", NULL);
		if (!md)
			abort();
		if (!__atomic_compare_exchange_n(
			    &fetched, &expected, md, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			EVP_MD_free(md);
			md = expected;
		}
	}
	return md;
}

void digest_of(const void *data, size_t size, struct digest *ret)
{
	if (EVP_Digest(data, size, ret->bytes, NULL, sha256(), NULL) != 1)
		abort();
}

struct digest_sum *digest_sum_new(void)
{
	struct digest_sum *sum = NEW(struct digest_sum);

	sum->context = EVP_MD_CTX_new();
	if (!sum->context || EVP_DigestInit_ex2(sum->context, sha256(), NULL) != 1)
		abort();
	return sum;
}

void digest_sum_update(struct digest_sum *sum, const void *data, size_t size)
{
	if (EVP_DigestUpdate(sum->context, data, size) != 1)
		abort();
}

void digest_sum_final(struct digest_sum *sum, struct digest *ret)
{
	if (EVP_DigestFinal_ex(sum->context, ret->bytes, NULL) != 1)
		abort();
	digest_sum_free(sum);
}

void digest_sum_free(struct digest_sum *sum)
{
	if (!sum)
		return;
	EVP_MD_CTX_free(sum->context);
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
