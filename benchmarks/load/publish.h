/* The PBX: tells the server of changes by PUBLISH, one publication per resource (RFC 3903). */
#ifndef PUBLISH_H
#define PUBLISH_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

/* For so many resources; the PBX is the host behind the last phone. */
void publish_open(uint32_t resources, uint32_t host);

/* A changes_sender. False while the PUBLISH before it is not yet answered: its answer brings the entity tag. */
bool publish_send(uint32_t resource, bool ringing, int64_t due_at);

/* Take in the answer to a PUBLISH. */
void publish_receive(const struct message *message);

#endif
