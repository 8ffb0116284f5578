/* What is counted in one phase, and its report: one JSON object on a line. */
#ifndef STATS_H
#define STATS_H

#include <stdint.h>

struct stats {
    uint64_t done;                    /* exchanges that came to their end */
    uint64_t refused;                 /* requests that got another answer than 2xx */
    uint64_t lost;                    /* exchanges and connections that were given up */
    uint64_t sent_again;              /* our requests that nobody answered in time */
    uint64_t notifies;                /* each counted once */
    uint64_t notifies_again;          /* NOTIFYs that we had seen already */
    uint64_t strays;                  /* messages that belong to nothing, or that are no SIP */
    uint64_t without_state;           /* NOTIFYs without Subscription-State */
    uint64_t without_document;        /* NOTIFYs without a body */
    uint64_t wrong_cseq;              /* NOTIFYs whose CSeq is not the last one's plus one */
    uint64_t wrong_version;           /* documents whose version is not the last one's plus one per NOTIFY */
    uint64_t changes;                 /* changes of a resource that were asked for */
    uint64_t changes_expected;        /* NOTIFYs that they should cause */
    uint64_t changes_seen;            /* those that came */
    uint64_t skipped;                 /* changes that were due while the one before was not yet answered */
    int last_refusal;                 /* the status of the last refused request */
};

extern struct stats stats;

/* Forget what was counted and start the clocks of a phase. */
void stats_start(void);

/* A latency of this phase, in microseconds. */
void stats_sample(int64_t latency);

/* Time from a change to the last of its NOTIFYs. */
void stats_last(int64_t latency);

/* Stop the clocks of the phase, so that what follows (waiting for stragglers) does not count. */
void stats_stop(void);

/* Write the report of the phase to stdout. */
void stats_report(const char *phase);

#endif
