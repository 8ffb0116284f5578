#include "stats.h"

#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

struct stats stats;

struct samples {
    int64_t *values;
    size_t count, capacity;
};

static struct samples latencies, lasts;
static int64_t started, stopped, cpu_started, cpu_stopped;

static void add(struct samples *samples, int64_t value)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity ? 2 * samples->capacity : 65536;
        samples->values = realloc(samples->values, samples->capacity * sizeof *samples->values);
        if (!samples->values)
            abort();
    }
    samples->values[samples->count++] = value;
}

static int ascending(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static void report_samples(const char *name, struct samples *samples)
{
    if (!samples->count)
        return;
    qsort(samples->values, samples->count, sizeof *samples->values, ascending);
    size_t last = samples->count - 1;
    printf(",\"%s\":{\"p50\":%ld,\"p99\":%ld,\"max\":%ld}", name, (long)samples->values[last / 2],
           (long)samples->values[last * 99 / 100], (long)samples->values[last]);
}

void stats_start(void)
{
    stats = (struct stats){0};
    latencies.count = lasts.count = 0;
    stopped = cpu_stopped = 0;
    started = clock_now();
    cpu_started = clock_cpu();
}

void stats_sample(int64_t latency)
{
    add(&latencies, latency);
}

void stats_last(int64_t latency)
{
    add(&lasts, latency);
}

void stats_stop(void)
{
    stopped = clock_now();
    cpu_stopped = clock_cpu();
}

void stats_report(const char *phase)
{
    if (!stopped)
        stats_stop();
    printf("{\"phase\":\"%s\",\"seconds\":%.6f,\"load_cpu\":%.6f", phase, (stopped - started) / 1e6,
           (cpu_stopped - cpu_started) / 1e6);
    const struct {
        const char *name;
        uint64_t count;
    } counts[] = {
        {"done", stats.done}, {"refused", stats.refused}, {"lost", stats.lost}, {"sent_again", stats.sent_again},
        {"notifies", stats.notifies}, {"notifies_again", stats.notifies_again}, {"strays", stats.strays},
        {"without_state", stats.without_state}, {"without_document", stats.without_document},
        {"wrong_cseq", stats.wrong_cseq}, {"wrong_version", stats.wrong_version}, {"changes", stats.changes},
        {"changes_expected", stats.changes_expected}, {"changes_seen", stats.changes_seen},
        {"skipped", stats.skipped},
        {"last_refusal", (uint64_t)stats.last_refusal},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        printf(",\"%s\":%lu", counts[i].name, (unsigned long)counts[i].count);
    report_samples("latency_us", &latencies);
    report_samples("last_us", &lasts);
    printf("}\n");
    fflush(stdout);
}
