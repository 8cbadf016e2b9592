// Threads that wait for work: one pool a process. A call takes part in its own work, so a helper that wakes
// late costs nothing; a call that finds the pool busy works alone. After work a helper looks for more for
// some tens of microseconds, then sleeps: nothing spins when idle.
#pragma once

#include <functional>

namespace headfirst {

// Run work(i) for every i in 0 .. n - 1, on at most `threads` threads.
void parallel(int n, int threads, const std::function<void(int)>& work);

}  // namespace headfirst
