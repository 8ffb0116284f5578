/* Time in microseconds: the monotonic clock, and the CPU that this process has used. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

enum { MILLISECOND = 1000, SECOND = 1000000 };

int64_t clock_now(void);
int64_t clock_cpu(void);

#endif
