#define _GNU_SOURCE
#include "phones.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "changes.h"
#include "clock.h"
#include "network.h"
#include "pending.h"
#include "stats.h"

struct subscription {
    uint32_t cseq;        /* of our last SUBSCRIBE */
    uint32_t notify_cseq; /* of the last NOTIFY; 0 before the first */
    int64_t version;      /* of the last document; -1 before the first */
    uint32_t told;        /* the last change that this lamp was told of */
    int64_t asked_at;
    bool answered, notified; /* what the last SUBSCRIBE has brought so far */
    char to_tag[64];
    char target[112];     /* the server's Contact: where requests within the dialog go (RFC 3261 section 12.2.1.1) */
};

static struct phones_settings settings;
static struct subscription *subscriptions; /* all phones' first keys, then their second ones, ... */
static uint32_t count;
static uint32_t *watching;
static struct pending *pending;
static unsigned asked_expires;
static uint32_t run; /* makes this run's Call-IDs and tags unlike those of the last */

static uint32_t phone_of(uint32_t id)
{
    return id % settings.phones;
}

static uint32_t resource_of(uint32_t id)
{
    uint32_t phone = phone_of(id), key = id / settings.phones;
    return (phone / settings.keys * settings.keys + key) % settings.resources;
}

static void write_subscribe(uint32_t id)
{
    const struct subscription *subscription = &subscriptions[id];
    uint32_t phone = phone_of(id), extension = changes_extension(resource_of(id));
    bool tcp = network_streams(phone), within = subscription->to_tag[0] != 0;
    const char *address = network_address(phone);
    char initial[64], data[MAX_MESSAGE];
    snprintf(initial, sizeof initial, "sip:%u@" REALM, extension);
    int length = snprintf(data, sizeof data,
        "SUBSCRIBE %s SIP/2.0\r\n"
        "Via: SIP/2.0/%s %s;branch=z9hG4bK%x.%x.%x;rport\r\n"
        "From: \"Phone %u\" <sip:phone%u@" REALM ">;tag=%x%x\r\n"
        "To: <sip:%u@" REALM ">%s%s\r\n"
        "Call-ID: %u_%x@%s\r\n"
        "CSeq: %u SUBSCRIBE\r\n"
        "Contact: <sip:phone%u@%s%s>\r\n"
        "Accept: application/dialog-info+xml\r\n"
        "Allow: INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE\r\n"
        "Max-Forwards: 70\r\n"
        "User-Agent: Yealink SIP-T46U 108.86.0.20\r\n"
        "Expires: %u\r\n"
        "Event: dialog\r\n"
        "Content-Length: 0\r\n\r\n",
        within ? subscription->target : initial, tcp ? "TCP" : "UDP", address, run, id, subscription->cseq, phone, phone,
        run, id, extension, within ? ";tag=" : "", subscription->to_tag, id, run, address, subscription->cseq, phone,
        address, tcp ? ";transport=TCP" : "", asked_expires);
    network_send(phone, data, length);
}

static void ask(uint32_t id)
{
    struct subscription *subscription = &subscriptions[id];
    subscription->cseq++;
    subscription->answered = subscription->notified = false;
    subscription->asked_at = clock_now();
    pending_add(pending, id);
    write_subscribe(id);
}

void phones_open(const struct phones_settings *chosen)
{
    settings = *chosen;
    run = (uint32_t)clock_now();
    count = settings.phones * settings.keys;
    subscriptions = calloc(count + 1, sizeof *subscriptions);
    watching = calloc(settings.resources, sizeof *watching);
    if (!subscriptions || !watching)
        network_fail("memory");
    for (uint32_t id = 0; id < count; id++) {
        subscriptions[id].version = -1;
        watching[resource_of(id)]++;
    }
    pending = pending_new(count, network_streams(0) ? NULL : write_subscribe);
}

uint32_t phones_watching(uint32_t resource)
{
    return resource < settings.resources ? watching[resource] : 0;
}

void phones_subscribe(unsigned expires, uint32_t window)
{
    asked_expires = expires;
    for (uint32_t next = 0; next < count || pending_count(pending);) {
        while (next < count && pending_count(pending) < window)
            ask(next++);
        pending_wait(INT64_MAX);
    }
}

/* The exchange has come to its end when both the 200 and the NOTIFY are here, in whatever order. */
static void end_if_complete(uint32_t id)
{
    struct subscription *subscription = &subscriptions[id];
    if (!pending_has(pending, id) || !subscription->answered || !subscription->notified)
        return;
    pending_remove(pending, id);
    stats.done++;
    stats_sample(clock_now() - subscription->asked_at);
}

static void take_answer(uint32_t id, const struct message *answer)
{
    struct subscription *subscription = &subscriptions[id];
    if (answer->status < 200 || answer->cseq != subscription->cseq || !pending_has(pending, id))
        return;
    if (answer->status >= 300) {
        stats.refused++;
        stats.last_refusal = answer->status;
        pending_remove(pending, id);
        return;
    }
    struct text target = wire_until(wire_after(answer->contact, "<"), ">");
    if (!wire_copy(subscription->to_tag, sizeof subscription->to_tag, wire_until(wire_after(answer->to, ";tag="), ";"))
        || !wire_copy(subscription->target, sizeof subscription->target, target))
        network_fail("the tag or the Contact of the server is too long");
    subscription->answered = true;
    pending_answered(pending, id);
    end_if_complete(id);
}

/* The version belongs to the document's first element, not to the XML declaration before it. */
static void check_document(struct subscription *subscription, struct text body)
{
    if (!body.length) {
        stats.without_document++;
        return;
    }
    int64_t version = wire_number(wire_after(wire_after(body, "<dialog-info"), "version=\""));
    if (subscription->version >= 0 ? version != subscription->version + 1 : version < 0)
        stats.wrong_version++;
    subscription->version = version;
}

static void take_notify(uint32_t id, const struct message *notify)
{
    struct subscription *subscription = &subscriptions[id];
    if (notify->cseq <= subscription->notify_cseq) {
        stats.notifies_again++;
        return;
    }
    if (subscription->notify_cseq && notify->cseq != subscription->notify_cseq + 1)
        stats.wrong_cseq++;
    subscription->notify_cseq = notify->cseq;
    stats.notifies++;
    stats.without_state += !notify->subscription_state.length;
    check_document(subscription, notify->body);
    changes_told(resource_of(id), &subscription->told, notify->body);
    subscription->notified = true;
    end_if_complete(id);
}

/* Which subscription a Call-ID is of; false if it is of none of this phone. */
static bool find(uint32_t *id, uint32_t phone, struct text call_id)
{
    char expected[64];
    int64_t number = wire_number(call_id);
    if (number < 0 || number >= count || phone_of((uint32_t)number) != phone)
        return false;
    int length = snprintf(expected, sizeof expected, "%u_%x@", (uint32_t)number, run);
    *id = (uint32_t)number;
    return call_id.length > (size_t)length && !memcmp(call_id.at, expected, length);
}

static void answer(uint32_t phone, const struct message *notify)
{
    char data[MAX_MESSAGE];
    size_t length = wire_write_ok(data, sizeof data, notify);
    if (length)
        network_send(phone, data, length);
}

void phones_receive(uint32_t phone, const struct message *message)
{
    uint32_t id;
    bool known = find(&id, phone, message->call_id);
    if (!known)
        stats.strays++;
    if (message->notify)
        answer(phone, message); /* one that belongs to nothing, too: it would only come again */
    if (known && message->notify)
        take_notify(id, message);
    else if (known && message->status)
        take_answer(id, message);
}
