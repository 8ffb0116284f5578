/* The phones and their lamp keys: each key is a subscription to one resource (RFC 6665, RFC 4235).
 *
 * Offices of as many phones as a phone has keys: in an office everybody watches everybody. With ten keys each resource
 * thus has ten subscribers; with one key and one resource, all phones watch the same one.
 */
#ifndef PHONES_H
#define PHONES_H

#include <stdint.h>

#include "wire.h"

struct phones_settings {
    uint32_t phones, keys, resources;
};

void phones_open(const struct phones_settings *settings);

/* How many phones watch a resource. */
uint32_t phones_watching(uint32_t resource);

/* SUBSCRIBE with every key, for so many seconds (0: end it), with `window` of them under way at a time. All phones act
 * at once, each one key after another. Returns when all are done: answered 200, and the NOTIFY received. */
void phones_subscribe(unsigned expires, uint32_t window);

/* Take in a NOTIFY or an answer to a SUBSCRIBE. */
void phones_receive(uint32_t phone, const struct message *message);

#endif
