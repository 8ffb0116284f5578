/* The phones' sockets. Each phone is a host of its own: 127.16.0.1, 127.16.0.2, ...
 *
 * All of them share one UDP socket, bound to every address: the kernel says of each datagram which phone it is for
 * (IP_PKTINFO), and is told of each which phone it is from. On TCP each phone has a connection of its own. The PBX that
 * publishes is one more host, behind the last phone, and always speaks UDP.
 */
#ifndef NETWORK_H
#define NETWORK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct network_settings {
    struct sockaddr_in server;
    uint32_t phones;
    bool tcp;
};

/* Called for each whole message. */
typedef void network_receiver(uint32_t phone, const char *data, size_t length);

void network_open(const struct network_settings *settings, network_receiver *receiver);

/* Connect the phones to the server, over TCP. */
void network_connect(void);

/* "127.16.0.1:5062": where a phone is to be reached. Valid until the next call. */
const char *network_address(uint32_t phone);

/* Whether this host speaks TCP. */
bool network_streams(uint32_t phone);

/* Queue a datagram, or write to the phone's connection. */
void network_send(uint32_t phone, const char *data, size_t length);

/* Call `ready` whenever the descriptor can be read. */
void network_watch(int descriptor, uint32_t index, void (*ready)(uint32_t index));

/* Send what is queued, wait until something arrives or `until` is reached, and pass on all that has arrived. */
void network_wait(int64_t until);

/* Say what is wrong, and end. */
void network_fail(const char *what) __attribute__((noreturn));

#endif
