/* The pattern and its check, the clock, the latencies, and the lines to the driver. */
#include "load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

unsigned char *pattern;
static unsigned char *expected; /* the correct reply */
static uint64_t verified;

void pattern_make(void)
{
    size_t total = (size_t)PERIOD + SPAN;
    uint64_t x = 88172645463325252u; /* xorshift64 (Marsaglia 2003); the seed is his */

    pattern = allocate(total, 1);
    expected = allocate(total, 1);
    for (size_t i = 0; i < total; i++) {
        if (i < PERIOD) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            pattern[i] = (unsigned char)(x >> 24);
        } else {
            pattern[i] = pattern[i - PERIOD];
        }
        bool lower = pattern[i] >= 'a' && pattern[i] <= 'z';
        expected[i] = (unsigned char)(opt.upper && lower ? pattern[i] - 32 : pattern[i]);
    }
}

void verify(const unsigned char *got, size_t n, uint64_t offset, const char *what, unsigned index)
{
    const unsigned char *want = expected + offset % PERIOD;

    if (memcmp(got, want, n) != 0) {
        size_t at = 0;
        while (got[at] == want[at])
            at++;
        fail("wrong byte: %s %u, offset %llu: received 0x%02x, expected 0x%02x", what, index,
             (unsigned long long)(offset + at), got[at], want[at]);
    }
    verified += n;
}

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void fail(const char *format, ...)
{
    va_list arguments;

    fputs("load: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

void *allocate(size_t count, size_t size)
{
    void *p = calloc(count, size);

    if (p == NULL)
        fail("no memory for %zu × %zu bytes", count, size);
    return p;
}

ssize_t recv_restarted(int fd, void *to, size_t size)
{
    ssize_t r;

    while ((r = recv(fd, to, size, 0)) < 0 && errno == EINTR)
        ;
    return r;
}

void say(const char *line)
{
    puts(line);
    fflush(stdout);
}

void wait_for_driver(void)
{
    char c;

    while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
        ;
}

/* Latencies: 64 buckets per power of two, so a bucket is at most 1.6 % wide and the table fits a run of any length. */
enum { SUB = 6, BUCKETS = (64 - SUB + 1) << SUB };
static uint64_t buckets[BUCKETS];

void latency_add(uint64_t ns)
{
    unsigned shift = ns < 2u << SUB ? 0 : 63u - (unsigned)__builtin_clzll(ns) - SUB;

    buckets[(shift << SUB) + (ns >> shift)]++;
}

static uint64_t bucket_top(unsigned index)
{
    unsigned shift = index < 2u << SUB ? 0 : (index >> SUB) - 1;

    return (((uint64_t)index - ((uint64_t)shift << SUB) + 1) << shift) - 1;
}

uint64_t outstanding;

uint64_t closed_loop(const struct flows *flows, double seconds)
{
    enum { EVENTS = 256, DRAIN = 5 };
    const uint64_t second = 1000000000u;
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns(), end = now + (uint64_t)(seconds * 1e9), messages = 0;

    for (unsigned i = 0; i < opt.connections; i++)
        flows->issue(i, opt.depth, now_ns());
    while (outstanding > 0) {
        int n = epoll_wait(flows->ep, events, EVENTS, 100);
        now = now_ns();
        bool over = now >= end;
        if (now > end + DRAIN * second)
            fail("%llu messages had no reply within %d s", (unsigned long long)outstanding, DRAIN);
        for (int k = 0; k < n; k++) {
            unsigned index = events[k].data.u32;
            if (events[k].events & EPOLLOUT)
                flows->push(index);
            if (events[k].events & ~(unsigned)EPOLLOUT) {
                unsigned count = flows->pull(index, &now);
                messages += count;
                if (count > 0 && !over)
                    flows->issue(index, count, now);
            }
        }
    }
    return messages;
}

static uint64_t began;
static double busy;

static double own_cpu(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

void slice_begin(void)
{
    say("warm");
    wait_for_driver();
    memset(buckets, 0, sizeof buckets);
    verified = 0;
    busy = own_cpu();
    began = now_ns();
}

void slice_report(uint64_t messages, uint64_t lost)
{
    const char *comma = "";
    double seconds = 1e-9 * (double)(now_ns() - began);

    printf("{\"messages\": %llu, \"seconds\": %.6f, \"verified\": %llu, \"lost\": %llu, \"load_cpu\": %.6f, \"latency\": [",
           (unsigned long long)messages, seconds, (unsigned long long)verified, (unsigned long long)lost,
           own_cpu() - busy);
    for (unsigned i = 0; i < BUCKETS; i++) {
        if (buckets[i] == 0)
            continue;
        printf("%s[%llu, %llu]", comma, (unsigned long long)bucket_top(i), (unsigned long long)buckets[i]);
        comma = ", ";
    }
    say("]}");
    wait_for_driver(); /* the driver reads the clocks of processes that exit with their connections */
}
