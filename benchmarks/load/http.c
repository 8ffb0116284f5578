#define _GNU_SOURCE
#include "http.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "changes.h"
#include "network.h"
#include "stats.h"
#include "wire.h"

enum { CONNECTIONS = 8, LINE = 1 << 16 };

struct command {
    uint32_t resource;
    bool ringing;
};

static struct http_settings settings;
static struct connection {
    int descriptor;
    bool busy;
    size_t length;
    char data[MAX_MESSAGE];
} connections[CONNECTIONS];
static struct command line[LINE]; /* a ring */
static uint32_t first, behind;

static void write_command(struct connection *connection, struct command command)
{
    char body[128], data[1024];
    int size = snprintf(body, sizeof body, "{\"data\":{\"action\":\"set\",\"state\":\"%s\"}}",
                        command.ringing ? "early" : "confirmed");
    int length = snprintf(data, sizeof data,
        "POST /v2/accounts/%s/presence/%u HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        "X-Auth-Token: %s\r\n"
        "Content-Type: application/json\r\n"
        "Content-Length: %d\r\n\r\n%s",
        settings.account, changes_extension(command.resource), settings.token, size, body);
    if (length >= (int)sizeof data || send(connection->descriptor, data, length, MSG_NOSIGNAL) != length)
        network_fail("HTTP request");
    connection->busy = true;
}

static void next_command(struct connection *connection)
{
    if (first != behind)
        write_command(connection, line[first++ % LINE]);
}

bool http_send(uint32_t resource, bool ringing, int64_t due_at)
{
    (void)due_at;
    if (behind - first == LINE)
        return false;
    line[behind++ % LINE] = (struct command){resource, ringing};
    for (int i = 0; i < CONNECTIONS; i++)
        if (!connections[i].busy) {
            next_command(&connections[i]);
            break;
        }
    return true;
}

/* How long the answer is as a whole; 0 while it is incomplete. */
static size_t answer_length(struct text answer)
{
    struct text body = wire_after(answer, "\r\n\r\n");
    struct text head = {answer.at, body.at ? (size_t)(body.at - answer.at) : 0};
    int64_t length = wire_number(wire_after(head, "Content-Length: "));
    if (!body.at || (length >= 0 && (size_t)length > body.length))
        return 0;
    if (length < 0 || (size_t)length < body.length)
        network_fail("an HTTP answer of unknown or wrong length");
    return answer.length;
}

static void take_answer(struct connection *connection)
{
    int64_t status = wire_number(wire_after((struct text){connection->data, connection->length}, "HTTP/1.1 "));
    if (status >= 200 && status < 300) {
        stats.done++;
    } else {
        stats.refused++;
        stats.last_refusal = (int)status;
    }
    connection->length = 0;
    connection->busy = false;
    next_command(connection);
}

static void read_connection(uint32_t index)
{
    struct connection *connection = &connections[index];
    ssize_t count = recv(connection->descriptor, connection->data + connection->length,
                         sizeof connection->data - connection->length, 0);
    if (count <= 0)
        network_fail("HTTP connection closed");
    connection->length += count;
    if (answer_length((struct text){connection->data, connection->length}))
        take_answer(connection);
}

void http_open(const struct http_settings *chosen)
{
    settings = *chosen;
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        int on = 1, descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&settings.server, sizeof settings.server)
            || setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
            network_fail("HTTP connection");
        connections[i].descriptor = descriptor;
        network_watch(descriptor, i, read_connection);
    }
}
