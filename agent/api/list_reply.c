/* SPDX-License-Identifier: MIT */
/* list_reply - an array of the API, made in pieces; see list_reply.h */
#include "api/list_reply.h"

#include <string.h>

#include "common/mem.h"
#include "common/strbuf.h"

/* A piece ends with the item that reaches one of these. */
#define PIECE_BYTES (256u * 1024)
#define PIECE_ITEMS 200

struct listing {
	const struct list_source *source;
	void *list;
	struct strbuf piece;
	size_t at;         /* how much of it was sent */
	bool begun, whole; /* the first, the last piece was made */
};

static int add_item(struct listing *listing)
{
	_cleanup_(json_freep) struct json *item = NULL;
	_cleanup_(freep) char *text = NULL;
	int r = listing->source->next(listing->list, &item);

	if (r <= 0)
		return r;
	text = json_print(item);
	strbuf_addc(&listing->piece, listing->begun ? ',' : '[');
	strbuf_adds(&listing->piece, text);
	listing->begun = true;
	return r;
}

static int make_piece(struct listing *listing)
{
	int r = 1;

	/* Records may be large: what one of them took is not kept. */
	strbuf_release(&listing->piece);
	listing->at = 0;
	for (size_t i = 0; r > 0 && i < PIECE_ITEMS && listing->piece.size < PIECE_BYTES; i++)
		r = add_item(listing);
	if (r == 0) {
		strbuf_adds(&listing->piece, listing->begun ? "]" : "[]");
		listing->whole = true;
	}
	return r;
}

static ssize_t read_pieces(void *stream, char *to, size_t size)
{
	struct listing *listing = stream;
	int r;

	if (listing->at == listing->piece.size) {
		if (listing->whole)
			return 0;
		r = make_piece(listing);
		if (r < 0)
			return r == HTTP_STREAM_WAIT ? -EIO : r; /* nobody would wake it */
	}
	if (size > listing->piece.size - listing->at)
		size = listing->piece.size - listing->at;
	memcpy(to, listing->piece.data + listing->at, size);
	listing->at += size;
	return (ssize_t)size;
}

static void listing_free(void *stream)
{
	struct listing *listing = stream;

	listing->source->close(listing->list);
	strbuf_release(&listing->piece);
	free(listing);
}

void list_reply(struct call *call, const struct list_source *source, void *list)
{
	static const struct http_stream_ops ops = { read_pieces, listing_free };
	struct listing *listing = NEW(struct listing);
	int r;

	listing->source = source;
	listing->list = list;
	r = make_piece(listing);
	if (r > 0) {
		call->answered = true;
		http_reply_stream(
			call->request, 200, API_JSON, HTTP_SIZE_UNKNOWN, &ops, listing, NULL);
		return;
	}
	if (r < 0) /* -ENOENT: the run whose list it is has been deleted since the request began */
		access_reply_no_run(call, r);
	else
		api_reply_text(call, 200, strbuf_steal(&listing->piece));
	listing_free(listing);
}
