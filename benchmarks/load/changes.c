#include "changes.h"

#include <stdlib.h>

#include "clock.h"
#include "network.h"
#include "pending.h"
#include "phones.h"
#include "stats.h"

enum {
    FIRST_EXTENSION = 10000,
    STRIDE = 617, /* prime: changes that follow each other are in different offices */
    PATIENCE = 40 * SECOND,
    TAIL = 5 * SECOND, /* how long stragglers are waited for after a steady phase */
};

/* The last change to each of the two states: a NOTIFY says which of them it is about by the state it shows. */
struct change {
    uint32_t number;
    int64_t due_at;
};

static struct resource {
    uint32_t changes;
    struct change last[2]; /* to busy, to ringing */
} *resources;
static uint32_t count;
static changes_sender *sender;
static int64_t latest; /* when the last subscriber was told */

/* Twice as many as the phones watch: the second half is watched by nobody. */
void changes_open(uint32_t watched, changes_sender *chosen)
{
    count = watched;
    sender = chosen;
    resources = calloc(2 * (size_t)watched, sizeof *resources);
    if (!resources)
        network_fail("memory");
}

uint32_t changes_extension(uint32_t resource)
{
    return FIRST_EXTENSION + resource;
}

static void change(uint32_t number, int64_t due_at)
{
    struct resource *resource = &resources[number];
    bool ringing = (resource->changes + 1) & 1;
    if (!sender(number, ringing, due_at)) {
        stats.skipped++;
        return;
    }
    resource->last[ringing] = (struct change){++resource->changes, due_at};
    stats.changes++;
    stats.changes_expected += phones_watching(number);
}

void changes_told(uint32_t number, uint32_t *told, struct text document)
{
    struct text state = wire_after(document, "<state>");
    if (!state.length)
        return;
    bool ringing = *state.at == 'e';
    const struct change *change = &resources[number].last[ringing];
    if (change->number <= *told || (!ringing && *state.at != 'c'))
        return;
    *told = change->number;
    latest = clock_now();
    stats.changes_seen++;
    stats_sample(latest - change->due_at);
}

static void wait_for_all(int64_t until)
{
    while (stats.changes_seen < stats.changes_expected && clock_now() < until)
        pending_wait(until);
}

static void wait_until(int64_t until)
{
    while (clock_now() < until)
        pending_wait(until);
}

void changes_one_by_one(unsigned times, int64_t pause)
{
    for (unsigned i = 0; i < times; i++) {
        int64_t now = latest = clock_now();
        change(0, now);
        wait_for_all(now + PATIENCE);
        stats_last(latest - now);
        wait_until(clock_now() + pause);
    }
}

void changes_steady(unsigned rate, unsigned seconds, bool unwatched)
{
    int64_t start = clock_now();
    for (uint64_t i = 0; i < (uint64_t)rate * seconds; i++) {
        int64_t due_at = start + (int64_t)(i * SECOND / rate);
        wait_until(due_at);
        change((uint32_t)(i * STRIDE % count) + (unwatched ? count : 0), due_at);
    }
    wait_for_all(clock_now() + TAIL);
}
