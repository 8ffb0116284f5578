/* The load generator: phones, and whoever changes lamps. It does what it is told on stdin, one phase after the other, and
 * writes a JSON object about each to stdout, so that its caller can look at the server in between:
 *
 *     connect                        connect all phones, over TCP
 *     subscribe WINDOW               SUBSCRIBE with every key; in an existing dialog that is a refresh
 *     unsubscribe WINDOW             end all subscriptions
 *     change TIMES PAUSE_MS          change the first resource, one time after the other
 *     steady RATE SECONDS            change all resources in turn
 *     unwatched RATE SECONDS         the same of resources that nobody watches
 *     idle SECONDS                   answer what comes
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "changes.h"
#include "clock.h"
#include "http.h"
#include "network.h"
#include "pending.h"
#include "phones.h"
#include "publish.h"
#include "stats.h"

enum { EXPIRES = 3600 };

static void usage(void)
{
    fputs("usage: load --server HOST:PORT [--http HOST:PORT --account ID --token TOKEN]\n"
          "            --phones N --keys N --resources N [--tcp]\n", stderr);
    exit(2);
}

static struct sockaddr_in parse_address(const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    unsigned port;
    if (sscanf(text, "%63[0-9.]:%u", host, &port) != 2 || port > 65535 || !inet_pton(AF_INET, host, &address.sin_addr))
        usage();
    address.sin_port = htons((uint16_t)port);
    return address;
}

/* The PBX marks its Call-IDs with a p. */
static void receive(uint32_t host, const char *data, size_t length)
{
    struct message message;
    if (!wire_parse(&message, data, length))
        stats.strays++;
    else if (message.call_id.at[0] == 'p')
        publish_receive(&message);
    else
        phones_receive(host, &message);
}

static void idle(unsigned seconds)
{
    int64_t end = clock_now() + (int64_t)seconds * SECOND;
    while (clock_now() < end)
        pending_wait(end);
}

static void perform(const char *phase, unsigned first, unsigned second)
{
    if (!strcmp(phase, "connect"))
        network_connect();
    else if (!strcmp(phase, "subscribe"))
        phones_subscribe(EXPIRES, first);
    else if (!strcmp(phase, "unsubscribe"))
        phones_subscribe(0, first);
    else if (!strcmp(phase, "change"))
        changes_one_by_one(first, (int64_t)second * MILLISECOND);
    else if (!strcmp(phase, "steady"))
        changes_steady(first, second, false);
    else if (!strcmp(phase, "unwatched"))
        changes_steady(first, second, true);
    else if (!strcmp(phase, "idle"))
        idle(first);
    else
        usage();
}

static void run(void)
{
    char line[128], phase[32];
    while (fgets(line, sizeof line, stdin)) {
        unsigned first = 1, second = 1;
        if (sscanf(line, "%31s %u %u", phase, &first, &second) < 1)
            usage();
        stats_start();
        perform(phase, first, second);
        stats_report(phase);
    }
}

int main(int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        {"server", required_argument, NULL, 's'}, {"http", required_argument, NULL, 'h'},
        {"account", required_argument, NULL, 'a'}, {"token", required_argument, NULL, 't'},
        {"phones", required_argument, NULL, 'p'}, {"keys", required_argument, NULL, 'k'},
        {"resources", required_argument, NULL, 'r'}, {"tcp", no_argument, NULL, 'c'}, {0},
    };
    struct network_settings network = {0};
    struct phones_settings phones = {0};
    struct http_settings http = {0};
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        switch (option) {
        case 's': network.server = parse_address(optarg); break;
        case 'h': http.server = parse_address(optarg); break;
        case 'a': http.account = optarg; break;
        case 't': http.token = optarg; break;
        case 'p': phones.phones = network.phones = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'k': phones.keys = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'r': phones.resources = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'c': network.tcp = true; break;
        default: usage();
        }
    }
    if (!network.server.sin_port || !phones.phones || !phones.keys || !phones.resources)
        usage();
    network_open(&network, receive);
    phones_open(&phones);
    changes_open(phones.resources, http.server.sin_port ? http_send : publish_send);
    publish_open(2 * phones.resources, phones.phones);
    if (http.server.sin_port)
        http_open(&http);
    run();
}
