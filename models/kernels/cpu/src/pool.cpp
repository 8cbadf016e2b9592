// See pool.h. Reads and writes nothing but its own queue of one; a wake-up costs some 5 to 50 microseconds on
// the helper's side and one system call on the caller's, none while the helpers are still awake.
#include "pool.h"

#include <unistd.h>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace headfirst {
namespace {

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Wait for up to some tens of microseconds, longer than which a pause is worth a system call. A pause takes 5
// to 50 ns, as the processor has it, so the clock decides.
template <class Done>
void spin(Done done) {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::microseconds(30);
    while (!done() && Clock::now() < end)
        for (int i = 0; i < 8 && !done(); i++) pause();
}

class Pool {
  public:
    void run(int n, int threads, const std::function<void(int)>& work) {
        std::unique_lock<std::mutex> alone(busy_, std::try_to_lock);
        if (!alone.owns_lock()) {
            for (int i = 0; i < n; i++) work(i);
            return;
        }
        const int helpers = (threads < n ? threads : n) - 1;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (started_ < helpers) {
                std::thread(&Pool::help, this, started_).detach();
                started_++;
            }
            work_ = &work, n_ = n, wanted_ = helpers;
            next_.store(0, std::memory_order_relaxed);
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        claim(work, n);
        std::unique_lock<std::mutex> lock(mutex_);
        work_ = nullptr;  // from here on no helper begins; those that have begun end soon
        lock.unlock();
        spin([&] { return active_.load(std::memory_order_acquire) == 0; });
        lock.lock();
        done_.wait(lock, [&] { return active_.load(std::memory_order_relaxed) == 0; });
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

  private:
    void claim(const std::function<void(int)>& work, int n) {
        try {
            for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n;) work(i);
        } catch (...) {
            next_.store(n, std::memory_order_relaxed);
            std::lock_guard<std::mutex> lock(mutex_);
            failure_ = std::current_exception();
        }
    }

    void help(int index) {
        for (unsigned seen = 0;;) {
            spin([&] { return generation_.load(std::memory_order_acquire) != seen; });
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
            seen = generation_.load(std::memory_order_relaxed);
            if (work_ == nullptr || index >= wanted_) continue;
            const std::function<void(int)>& work = *work_;
            const int n = n_;
            active_.fetch_add(1, std::memory_order_relaxed);
            lock.unlock();
            claim(work, n);
            lock.lock();
            if (active_.fetch_sub(1, std::memory_order_release) == 1) done_.notify_one();
        }
    }

    std::mutex busy_, mutex_;
    std::condition_variable wake_, done_;
    const std::function<void(int)>* work_ = nullptr;
    int n_ = 0, wanted_ = 0, started_ = 0;
    std::exception_ptr failure_;
    std::atomic<int> active_{0};
    std::atomic<int> next_{0};
    std::atomic<unsigned> generation_{0};
};

// A forked child has none of its parent's threads: it gets a pool of its own. Pools are never destroyed,
// because their threads may outlive the destructors of static objects.
Pool& pool() {
    static std::mutex mutex;
    static Pool* mine = nullptr;
    static pid_t owner = 0;
    std::lock_guard<std::mutex> lock(mutex);
    if (mine == nullptr || owner != getpid()) mine = new Pool, owner = getpid();
    return *mine;
}

}  // namespace

void parallel(int n, int threads, const std::function<void(int)>& work) {
    if (n <= 1 || threads <= 1) {
        for (int i = 0; i < n; i++) work(i);
        return;
    }
    pool().run(n, threads, work);
}

}  // namespace headfirst
