#define _GNU_SOURCE
#include "publish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "changes.h"
#include "clock.h"
#include "network.h"
#include "pending.h"
#include "stats.h"

static struct publication {
    uint32_t cseq;
    bool ringing;
    char etag[64];
} *publications;
static uint32_t count, pbx, run;
static struct pending *pending;

/* As our own server writes it, so that the NOTIFYs of both carry the same. */
static int write_document(char *out, size_t size, uint32_t extension, const struct publication *publication)
{
    return snprintf(out, size,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n"
        "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"%u\" state=\"full\" entity=\"sip:%u@" REALM "\">\r\n"
        "<dialog id=\"5e7d0f0bb1d349a8b1a54c2d9a%06u\" direction=\"recipient\">\r\n"
        "<state>%s</state>\r\n"
        "<local><identity>sip:%u@" REALM "</identity><target uri=\"sip:%u@" REALM "\"/></local>\r\n"
        "<remote><identity>sip:%u@" REALM "</identity><target uri=\"sip:%u@" REALM "\"/></remote>\r\n"
        "</dialog>\r\n</dialog-info>\r\n",
        publication->cseq, extension, extension, publication->ringing ? "early" : "confirmed", extension, extension,
        extension, extension);
}

static void write_publish(uint32_t resource)
{
    const struct publication *publication = &publications[resource];
    const char *address = network_address(pbx);
    uint32_t extension = changes_extension(resource);
    char document[2048], match[96] = "", data[MAX_MESSAGE];
    int body = write_document(document, sizeof document, extension, publication);
    if (publication->etag[0])
        snprintf(match, sizeof match, "SIP-If-Match: %s\r\n", publication->etag);
    int length = snprintf(data, sizeof data,
        "PUBLISH sip:%u@" REALM " SIP/2.0\r\n"
        "Via: SIP/2.0/UDP %s;branch=z9hG4bKp%x.%x.%x;rport\r\n"
        "From: <sip:%u@" REALM ">;tag=p%x%x\r\n"
        "To: <sip:%u@" REALM ">\r\n"
        "Call-ID: p%u_%x@%s\r\n"
        "CSeq: %u PUBLISH\r\n"
        "Max-Forwards: 70\r\n"
        "Event: dialog\r\n"
        "Expires: 3600\r\n"
        "%s"
        "Content-Type: application/dialog-info+xml\r\n"
        "Content-Length: %d\r\n\r\n%s",
        extension, address, run, resource, publication->cseq, extension, run, resource, extension, resource, run, address,
        publication->cseq, match, body, document);
    network_send(pbx, data, length);
}

void publish_open(uint32_t resources, uint32_t host)
{
    count = resources;
    pbx = host;
    run = (uint32_t)clock_now();
    publications = calloc(count, sizeof *publications);
    if (!publications)
        network_fail("memory");
    pending = pending_new(count, write_publish);
}

bool publish_send(uint32_t resource, bool ringing, int64_t due_at)
{
    (void)due_at;
    struct publication *publication = &publications[resource];
    if (pending_has(pending, resource))
        return false;
    publication->cseq++;
    publication->ringing = ringing;
    pending_add(pending, resource);
    write_publish(resource);
    return true;
}

void publish_receive(const struct message *answer)
{
    struct text call_id = {answer->call_id.at + 1, answer->call_id.length - 1}; /* without the p */
    int64_t resource = wire_number(call_id);
    if (answer->status < 200 || resource < 0 || resource >= count || !pending_has(pending, (uint32_t)resource)
        || answer->cseq != publications[resource].cseq) {
        stats.strays += answer->status >= 200;
        return;
    }
    pending_remove(pending, (uint32_t)resource);
    if (answer->status < 300) {
        stats.done++;
    } else {
        stats.refused++;
        stats.last_refusal = answer->status;
    }
    if (!wire_copy(publications[resource].etag, sizeof publications[resource].etag, answer->etag))
        network_fail("the entity tag is too long");
}
