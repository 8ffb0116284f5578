/* SIP text: what the phones read of a message, and how a stream is cut into messages (RFC 3261 sections 7 and 18.3).
 *
 * Nothing is copied: a `text` points into the buffer that was received, so a parsed message lives as long as that.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_ECHOED = 12, MAX_MESSAGE = 16384 };

struct text {
    const char *at;
    size_t length;
};

struct message {
    int status;                       /* of a response; 0 in a request */
    bool notify;                      /* the request is a NOTIFY */
    uint32_t cseq;
    struct text to, call_id, contact, subscription_state, etag, body;
    struct text echoed[MAX_ECHOED];   /* the lines that a response repeats (section 8.2.6.2), with their line ends */
    int echoed_count;
};

/* Take a whole message apart; false when it is not SIP, or has no Call-ID or CSeq. */
bool wire_parse(struct message *message, const char *data, size_t length);

/* How long the first message of a stream is: 0 while it is incomplete, -1 when it cannot be one. */
long wire_frame(const char *data, size_t length);

/* Write the 200 to a request; returns its length, 0 when it does not fit. */
size_t wire_write_ok(char *out, size_t size, const struct message *request);

/* Find `name` in `text` and return what follows it; {NULL, 0} if it is not there. */
struct text wire_after(struct text text, const char *name);

/* The number at the start of `text`; -1 if there is none. */
int64_t wire_number(struct text text);

/* The text up to the first of the characters in `stops`. */
struct text wire_until(struct text text, const char *stops);

/* Copy to a C string; false, and an empty string, if it does not fit. */
bool wire_copy(char *out, size_t size, struct text text);

#endif
