/* The native helper of the fast path: forwards bytes in C until Python has to act. It is optional: without this library
 * `echod/fastpath/forwarding.py` does the same in Python, and defines the behaviour. `native_loop.py` uses it.
 *
 *     cc -O3 -fPIC -shared -o libnative_helper.so native_helper.c
 *
 * It needs no header of Python and keeps no state of its own: Python owns all memory that it uses. It never closes a
 * descriptor, never changes the events of one, and never blocks except in epoll_wait. Python decides about ends, errors
 * and short writes. The structures are declared for Python in generate_libc.py; ABI is changed with them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { ABI = 1, ROUND = 64, UNIT = 65536 };
enum { LARGE = 8192 }; /* bytes of a read from which the next one uses splice; below it, recv and send cost less */
enum { ECHO, UPPER };
enum { READY, END, LOST, LOST_IN_PIPE, SHORT, SHORT_IN_PIPE };

/* Of a listener. `most` is the bytes of a read. */
struct echod_lane { int kind, pipe_read, pipe_write; unsigned int most; };
/* Of a descriptor. `lane` is NULL if Python serves it; `large` is whether its last read was. */
struct echod_entry { uint64_t carried; struct echod_lane *lane; uint64_t large; };
/* What Python has to do. READY: `received` has the events. */
struct echod_told { int descriptor, what, received, sent; };
struct echod_loop {
    int epoll;
    unsigned int size; /* number of entries */
    struct echod_entry *entries;
    struct echod_told told[ROUND];
    char buffer[UNIT];
};

int echod_abi(void) { return ABI; }

static void upper(char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] -= (unsigned char)(data[i] - 'a') < 26 ? 'a' - 'A' : 0;
}

/* Forwards one read of a connection. Returns 0 if everything was sent; otherwise fills `told` and returns 1. */
static int forward(struct echod_loop *loop, struct echod_lane *lane, struct echod_entry *entry, struct echod_told *told)
{
    int descriptor = told->descriptor, piped = entry->large && lane->kind == ECHO;
    ssize_t received = -1, sent;

    told->received = 0;
    if (piped) {
        received = splice(descriptor, NULL, lane->pipe_write, NULL, lane->most, SPLICE_F_NONBLOCK);
        if (received < 0 && errno != EAGAIN && errno != EINTR) {
            told->what = LOST;
            return 1;
        }
    }
    if (received <= 0) { /* also at the end of input, and before urgent data: only recv can distinguish them */
        piped = 0;
        received = recv(descriptor, loop->buffer, lane->most < UNIT ? lane->most : UNIT, MSG_DONTWAIT);
        if (received < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (received <= 0) {
            told->what = received ? LOST : END;
            return 1;
        }
        if (lane->kind == UPPER)
            upper(loop->buffer, received);
    }
    entry->carried += received;
    entry->large = received >= LARGE;
    do
        sent = piped ? splice(lane->pipe_read, NULL, descriptor, NULL, received, SPLICE_F_NONBLOCK)
                     : send(descriptor, loop->buffer, received, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent == received)
        return 0;
    told->what = sent >= 0 || errno == EAGAIN ? SHORT : LOST;
    told->what += piped; /* …_IN_PIPE */
    told->received = received;
    told->sent = sent > 0 ? sent : 0;
    return 1;
}

/* Serves the descriptors of the loop for at most `rounds` rounds, and until Python has to act. The first round waits for
 * `timeout` ms, -1 without limit. Returns the number of entries of `told`, or a negative error of epoll_wait. */
int echod_serve(struct echod_loop *loop, int timeout, int rounds)
{
    struct epoll_event events[ROUND];
    int count = 0;

    while (rounds-- > 0 && !count) {
        int ready = epoll_wait(loop->epoll, events, ROUND, timeout), stop = 0;
        if (ready <= 0)
            return ready ? -errno : 0;
        for (int i = 0; i < ready; i++) {
            struct echod_told *told = &loop->told[count];
            unsigned int descriptor = events[i].data.fd;
            struct echod_entry *entry = descriptor < loop->size ? &loop->entries[descriptor] : NULL;
            *told = (struct echod_told){descriptor, READY, events[i].events, 0};
            /* Bytes left in the buffer or the pipe belong to a connection: Python serves the rest of the round. */
            if (stop || !entry || !entry->lane)
                count++;
            else if (forward(loop, entry->lane, entry, told)) {
                stop = told->what > LOST;
                count++;
            }
        }
    }
    return count;
}
