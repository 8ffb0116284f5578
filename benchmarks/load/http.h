/* The admin who sets lamps over HTTP (Kazoo's API), on some connections that are kept open. */
#ifndef HTTP_H
#define HTTP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct http_settings {
    struct sockaddr_in server;
    const char *account, *token;
};

void http_open(const struct http_settings *settings);

/* A changes_sender. While all connections are busy the command waits in line. */
bool http_send(uint32_t resource, bool ringing, int64_t due_at);

#endif
