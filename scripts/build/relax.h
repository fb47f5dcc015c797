// ggml's threads wait for one another in a loop that never gives the processor away. Where more threads than cores want
// to run (recognition beside a language model), a thread may wait out its whole time slice for one that has no core: on
// two cores, 2 minutes of recordings with cleanup took 69 to 92 s instead of 30, recognition alone 6.6 s either way. After some 50 microseconds of waiting,
// more than the threads of one graph are apart where each has its core, the scheduler may run somebody else.
#pragma once
#if !defined(__cplusplus) && defined(__x86_64__) && defined(__unix__)
#include <immintrin.h>
#include <sched.h>
static inline void bestbox_relax(void) {
    static _Thread_local unsigned waits;
    _mm_pause();
    if (++waits % 1024 == 0) {
        sched_yield();
    }
}
#define _mm_pause bestbox_relax
#endif
