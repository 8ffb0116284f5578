#define _GNU_SOURCE
#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "stats.h"
#include "wire.h"

enum {
    FIRST_HOST = 0x7f100001, /* 127.16.0.1 */
    BATCH = 64,              /* datagrams per system call */
    DATAGRAM = 4096,
    SOCKET_BUFFER = 64 << 20, /* a fan-out to 100,000 phones fits */
    EVENTS = 256,
};

enum kind { DATAGRAMS, STREAM, WATCHED };

struct stream {
    int descriptor;
    uint16_t port;
    size_t length;
    char data[MAX_MESSAGE];
};

struct batch {
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    char data[BATCH][DATAGRAM];
    char control[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))] __attribute__((aligned(8)));
};

static struct network_settings settings;
static network_receiver *receive;
static void (*watched)(uint32_t index);
static int epoll, datagrams;
static uint16_t datagram_port;
static struct stream *streams; /* one per phone once they are connected */
static struct batch in, out;
static int queued;

void network_fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void add_to_epoll(int descriptor, enum kind kind, uint32_t index)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)kind << 32 | index};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event))
        network_fail("epoll_ctl");
}

static void prepare(struct batch *batch)
{
    for (int i = 0; i < BATCH; i++) {
        batch->vectors[i].iov_base = batch->data[i];
        batch->vectors[i].iov_len = DATAGRAM;
        struct msghdr *header = &batch->headers[i].msg_hdr;
        header->msg_iov = &batch->vectors[i];
        header->msg_iovlen = 1;
        header->msg_control = batch->control[i];
        header->msg_controllen = sizeof batch->control[i];
    }
}

static void prepare_to_send(void)
{
    prepare(&out);
    for (int i = 0; i < BATCH; i++) {
        struct msghdr *header = &out.headers[i].msg_hdr;
        header->msg_name = &settings.server;
        header->msg_namelen = sizeof settings.server;
        struct cmsghdr *control = CMSG_FIRSTHDR(header);
        control->cmsg_level = IPPROTO_IP;
        control->cmsg_type = IP_PKTINFO;
        control->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    }
}

/* Without the right to exceed net.core.rmem_max the plain option has to do. */
static void enlarge(int descriptor, int forced, int plain)
{
    int size = SOCKET_BUFFER;
    if (setsockopt(descriptor, SOL_SOCKET, forced, &size, sizeof size))
        setsockopt(descriptor, SOL_SOCKET, plain, &size, sizeof size);
}

static void open_datagrams(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t length = sizeof any;
    int on = 1;
    datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (datagrams < 0 || bind(datagrams, (struct sockaddr *)&any, sizeof any)
        || setsockopt(datagrams, IPPROTO_IP, IP_PKTINFO, &on, sizeof on)
        || getsockname(datagrams, (struct sockaddr *)&any, &length))
        network_fail("UDP socket");
    datagram_port = ntohs(any.sin_port);
    enlarge(datagrams, SO_RCVBUFFORCE, SO_RCVBUF);
    enlarge(datagrams, SO_SNDBUFFORCE, SO_SNDBUF);
    add_to_epoll(datagrams, DATAGRAMS, 0);
}

void network_open(const struct network_settings *chosen, network_receiver *receiver)
{
    settings = *chosen;
    receive = receiver;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        network_fail("epoll_create1");
    prepare(&in);
    prepare_to_send();
    open_datagrams();
}

static void connect_phone(uint32_t phone)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(FIRST_HOST + phone)};
    socklen_t length = sizeof own;
    int on = 1, descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&own, sizeof own)
        || connect(descriptor, (struct sockaddr *)&settings.server, sizeof settings.server)
        || getsockname(descriptor, (struct sockaddr *)&own, &length)
        || setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)
        || fcntl(descriptor, F_SETFL, O_NONBLOCK))
        network_fail("TCP connection");
    streams[phone].descriptor = descriptor;
    streams[phone].port = ntohs(own.sin_port);
    add_to_epoll(descriptor, STREAM, phone);
}

void network_connect(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    streams = calloc(settings.phones, sizeof *streams);
    if (!streams)
        network_fail("streams");
    for (uint32_t phone = 0; phone < settings.phones; phone++)
        connect_phone(phone);
}

bool network_streams(uint32_t phone)
{
    return settings.tcp && phone < settings.phones;
}

const char *network_address(uint32_t phone)
{
    static char text[32];
    uint32_t host = FIRST_HOST + phone;
    snprintf(text, sizeof text, "%u.%u.%u.%u:%u", host >> 24, host >> 16 & 255, host >> 8 & 255, host & 255,
             network_streams(phone) ? streams[phone].port : datagram_port);
    return text;
}

static void flush(void)
{
    for (int sent = 0; sent < queued;) {
        int count = sendmmsg(datagrams, out.headers + sent, queued - sent, 0);
        if (count < 0 && errno != EINTR && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED)
            network_fail("sendmmsg");
        sent += count > 0 ? count : 0;
    }
    queued = 0;
}

static void queue_datagram(uint32_t phone, const char *data, size_t length)
{
    if (length > DATAGRAM)
        network_fail("a message does not fit into a datagram");
    struct in_pktinfo from = {.ipi_spec_dst.s_addr = htonl(FIRST_HOST + phone)};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&out.headers[queued].msg_hdr)), &from, sizeof from);
    memcpy(out.data[queued], data, length);
    out.vectors[queued].iov_len = length;
    if (++queued == BATCH)
        flush();
}

void network_send(uint32_t phone, const char *data, size_t length)
{
    if (!network_streams(phone))
        queue_datagram(phone, data, length);
    else if (streams[phone].descriptor >= 0
             && send(streams[phone].descriptor, data, length, MSG_NOSIGNAL) != (ssize_t)length)
        network_fail("the server does not read from a connection"); /* so little never fills a socket's buffer */
}

void network_watch(int descriptor, uint32_t index, void (*ready)(uint32_t index))
{
    watched = ready;
    add_to_epoll(descriptor, WATCHED, index);
}

static void pass_on_datagram(int i)
{
    struct msghdr *header = &in.headers[i].msg_hdr;
    struct cmsghdr *control = CMSG_FIRSTHDR(header);
    struct in_pktinfo to;
    if (control && control->cmsg_type == IP_PKTINFO && !(header->msg_flags & MSG_TRUNC)) {
        memcpy(&to, CMSG_DATA(control), sizeof to);
        receive(ntohl(to.ipi_addr.s_addr) - FIRST_HOST, in.data[i], in.headers[i].msg_len);
    } else
        stats.strays++;
    header->msg_controllen = sizeof in.control[i];
}

/* One batch at a time: there may be no end of them, and what has to be sent on time must not wait. */
static void read_datagrams(void)
{
    int count = recvmmsg(datagrams, in.headers, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++)
        pass_on_datagram(i);
}

static void close_stream(struct stream *stream)
{
    close(stream->descriptor);
    stream->descriptor = -1;
    stats.lost++;
}

static void read_stream(uint32_t phone)
{
    struct stream *stream = &streams[phone];
    ssize_t count = recv(stream->descriptor, stream->data + stream->length, sizeof stream->data - stream->length, 0);
    if (count <= 0) {
        if (count == 0 || (errno != EAGAIN && errno != EINTR))
            close_stream(stream);
        return;
    }
    stream->length += count;
    size_t start = 0;
    long length = 0;
    do {
        while (start < stream->length && (stream->data[start] == '\r' || stream->data[start] == '\n'))
            start++; /* a keepalive (RFC 5626 section 4.4.1) */
        length = wire_frame(stream->data + start, stream->length - start);
        if (length > 0)
            receive(phone, stream->data + start, length);
        start += length > 0 ? length : 0;
    } while (length > 0);
    if (length < 0)
        close_stream(stream);
    memmove(stream->data, stream->data + start, stream->length - start);
    stream->length -= start;
}

void network_wait(int64_t until)
{
    struct epoll_event events[EVENTS];
    flush();
    int64_t left = until - clock_now();
    left = left > 0 ? left : 0;
    struct timespec timeout = {.tv_sec = left / SECOND, .tv_nsec = left % SECOND * 1000};
    int count = epoll_pwait2(epoll, events, EVENTS, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        uint32_t index = (uint32_t)events[i].data.u64;
        switch ((enum kind)(events[i].data.u64 >> 32)) {
        case DATAGRAMS: read_datagrams(); break;
        case STREAM: read_stream(index); break;
        case WATCHED: watched(index); break;
        }
    }
    flush();
}
