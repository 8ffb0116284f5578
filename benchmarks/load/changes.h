/* The resources and their changes: each is made busy and then ringing in turn, and it is known who was told, and when.
 *
 * A change is made by a command over HTTP, or by a PUBLISH (RFC 3903). Latency counts from when the change was due, so
 * that a server that makes us wait does not look the better for it.
 */
#ifndef CHANGES_H
#define CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

#define REALM "office.example.com"

/* How a change reaches the server: makes `extension` ring, or busy. False when that is impossible at this moment. */
typedef bool changes_sender(uint32_t resource, bool ringing, int64_t due_at);

void changes_open(uint32_t resources, changes_sender *sender);

/* What a resource is called. */
uint32_t changes_extension(uint32_t resource);

/* Change one resource `times` times; each time wait until all its subscribers have been told, and then `pause` us. */
void changes_one_by_one(unsigned times, int64_t pause);

/* `rate` changes a second for so many seconds, at fixed times, whatever the server does. Not of those that are watched
 * but of as many that are not, if `unwatched`. */
void changes_steady(unsigned rate, unsigned seconds, bool unwatched);

/* A document has come to a subscriber of this resource, whose last change is `*told`. */
void changes_told(uint32_t resource, uint32_t *told, struct text document);

#endif
