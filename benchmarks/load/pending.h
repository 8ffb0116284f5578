/* Requests that wait for their answer: when each is sent again, and when it is given up (RFC 3261 section 17.1.2).
 *
 * A request is known by a small number, its place in a table of its owner: a subscription, or a resource.
 */
#ifndef PENDING_H
#define PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pending;

/* For requests numbered 0 to `capacity` - 1. `repeat` sends one again; NULL on a transport that loses nothing. What
 * nobody has answered for 32 s is given up, and counted as lost. */
struct pending *pending_new(uint32_t capacity, void (*repeat)(uint32_t id));

void pending_add(struct pending *pending, uint32_t id);
void pending_remove(struct pending *pending, uint32_t id);
bool pending_has(const struct pending *pending, uint32_t id);
uint32_t pending_count(const struct pending *pending);

/* The request has been answered, though what else it causes is still awaited: it is not sent again. */
void pending_answered(struct pending *pending, uint32_t id);

/* Let the network work until something happens or `until` is reached, and all requests be repeated that are due. */
void pending_wait(int64_t until);

#endif
