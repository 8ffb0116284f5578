#include "pending.h"

#include <stdlib.h>

#include "clock.h"
#include "network.h"
#include "stats.h"

enum {
    T1 = 500 * MILLISECOND,
    T2 = 4 * SECOND,
    GIVE_UP = 64 * T1,
    TICK = 50 * MILLISECOND,
    NOWHERE = UINT32_MAX,
};

/* All that are pending are looked through at every tick: they are as many as the window allows, a few hundred. */
struct pending {
    void (*repeat)(uint32_t id);
    uint32_t *ids;    /* those that are pending, in no order */
    uint32_t *places; /* of each id in `ids` */
    struct timer {
        int64_t give_up_at, repeat_at, interval;
    } *timers;        /* of each id */
    uint32_t count;
    struct pending *next; /* of all that there are */
};

static struct pending *all;
static int64_t tick_at;

struct pending *pending_new(uint32_t capacity, void (*repeat)(uint32_t id))
{
    struct pending *pending = calloc(1, sizeof *pending);
    if (!pending)
        network_fail("memory");
    pending->repeat = repeat;
    pending->ids = calloc(capacity + 1, sizeof *pending->ids);
    pending->places = calloc(capacity + 1, sizeof *pending->places);
    pending->timers = calloc(capacity + 1, sizeof *pending->timers);
    if (!pending->ids || !pending->places || !pending->timers)
        network_fail("memory");
    for (uint32_t id = 0; id < capacity; id++)
        pending->places[id] = NOWHERE;
    pending->next = all;
    return all = pending;
}

void pending_add(struct pending *pending, uint32_t id)
{
    int64_t now = clock_now();
    pending->timers[id] = (struct timer){now + GIVE_UP, now + T1, T1};
    if (pending_has(pending, id))
        return;
    pending->places[id] = pending->count;
    pending->ids[pending->count++] = id;
}

void pending_remove(struct pending *pending, uint32_t id)
{
    if (!pending_has(pending, id))
        return;
    uint32_t place = pending->places[id], last = pending->ids[--pending->count];
    pending->ids[place] = last;
    pending->places[last] = place;
    pending->places[id] = NOWHERE;
}

bool pending_has(const struct pending *pending, uint32_t id)
{
    return pending->places[id] != NOWHERE;
}

uint32_t pending_count(const struct pending *pending)
{
    return pending->count;
}

void pending_answered(struct pending *pending, uint32_t id)
{
    pending->timers[id].repeat_at = INT64_MAX;
}

static void send_again(struct pending *pending, uint32_t id, int64_t now)
{
    struct timer *timer = &pending->timers[id];
    timer->interval = 2 * timer->interval < T2 ? 2 * timer->interval : T2;
    timer->repeat_at = now + timer->interval;
    stats.sent_again++;
    pending->repeat(id);
}

static void tick(struct pending *pending, int64_t now)
{
    for (uint32_t place = pending->count; place-- > 0;) { /* backwards, since what is given up is replaced by the last */
        uint32_t id = pending->ids[place];
        if (now >= pending->timers[id].give_up_at) {
            pending_remove(pending, id);
            stats.lost++;
        } else if (pending->repeat && now >= pending->timers[id].repeat_at) {
            send_again(pending, id, now);
        }
    }
}

void pending_wait(int64_t until)
{
    network_wait(until < tick_at ? until : tick_at);
    int64_t now = clock_now();
    if (now < tick_at)
        return;
    tick_at = now + TICK;
    for (struct pending *pending = all; pending; pending = pending->next)
        tick(pending, now);
}
